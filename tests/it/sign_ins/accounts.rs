//! The identity of sign-ins: accounts and persons.

use super::*;

/// Two accounts in one file, as OpenClaw documents it.
fn two(home: Value, other: Value) -> Value {
    json!({"openai-codex:default": home, "openai-codex:other": other})
}

#[tokio::test(start_paused = true)]
async fn a_second_account_stays_after_a_newer_sign_in_of_the_first() {
    let app = with_base("o:2026.5.7").await;
    provision(&app, auth("rt_1", "home", ISSUED)).await;
    write_profiles(&app, two(profile("rt_2", "home", ROTATED), profile("rt_other", "other", ROTATED - 1)));
    let newer = provision(&app, auth("rt_3", "home", LATER)).await;
    assert_eq!((outcome(&newer), codes(&newer.body)), (["written", "issued_later"], vec![]));
    assert_eq!(in_profiles(&app), json!({"openai-codex:default": "rt_3", "openai-codex:other": "rt_other"}));
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_is_compared_only_with_its_own_account() {
    let app = with_base("o:2026.5.7").await;
    let sent = auth("rt_1", "home", ISSUED);
    provision(&app, sent.clone()).await;
    write_profiles(&app, two(profile("rt_2", "home", ROTATED), profile("rt_other", "other", LATER)));
    let both = in_profiles(&app);
    for answer in [provision(&app, sent.clone()).await, put(&app, sent).await] {
        assert_eq!(outcome(&answer), ["kept_fresher", "stored_issued_later"]);
        assert_eq!(in_profiles(&app), both);
    }
    // If the caller sends the other account, it takes over, and nothing is lost.
    let other = provision(&app, auth("rt_other_1", "other", ISSUED)).await;
    assert_eq!(outcome(&other), ["kept_fresher", "stored_issued_later"]);
    assert_eq!(
        (in_profiles(&app), aside(&app)),
        (json!({"openai-codex:default": "rt_other"}), vec!["rt_2".to_owned()])
    );
    assert_eq!(codes(&other.body), ["sign_in_set_aside"]);
    // And back again: the sign-in that was moved aside is fresher.
    let back = provision(&app, auth("rt_1", "home", ISSUED)).await;
    assert_eq!(outcome(&back), ["kept_fresher", "stored_issued_later"]);
    assert_eq!(
        (in_profiles(&app), aside(&app)),
        (json!({"openai-codex:default": "rt_2"}), vec!["rt_other".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_of_release_moves_our_account_and_keeps_the_other() {
    let app = with_base("o:2026.5.7").await;
    provision(&app, auth("rt_1", "home", ISSUED)).await;
    write_profiles(&app, two(profile("rt_2", "home", ROTATED), profile("rt_other", "other", LATER)));
    app.post("/containers/alice/redeploy", json!({"image": "o:2026.9.6"})).await;
    assert_eq!(file(&app, HAND_OVER)["profile"]["refresh"], "rt_2");
    assert_eq!(in_profiles(&app), json!({"openai-codex:other": "rt_other"}));
    // Nothing was imported yet, and the older release uses any profile before codex/auth.json.
    let back = app.post("/containers/alice/redeploy", json!({"image": "o:2026.4.21"})).await;
    assert_eq!(file(&app, CODEX)["tokens"]["refresh_token"], "rt_2");
    assert_eq!((in_profiles(&app), aside(&app)), (json!({}), vec!["rt_other".to_owned()]));
    assert_eq!(codes(&back.body), ["sign_in_set_aside"]);
    let shown = app.get(CREDENTIALS).await.body;
    let kept: Vec<&Value> =
        shown["locations"].as_array().unwrap().iter().filter(|place| place["kind"] == "aside").collect();
    let [kept] = kept[..] else { panic!("{shown}") };
    assert!(kept["path"].as_str().unwrap().starts_with(".provisioner/aside/"));
    assert_eq!((&kept["shadowing"], &kept["stale"], &kept["readable"]), (&json!(false), &json!(false), &json!(true)));
    app.delete(CREDENTIALS).await;
    assert_eq!(aside(&app), Vec::<String>::new(), "signed out is signed out");
}

/// Release 5.7 writes the token's claim over the account id when it refreshes.
#[tokio::test(start_paused = true)]
async fn an_account_id_unlike_the_claim_is_the_same_account_and_gives_a_warning() {
    for image in ["o:2026.4.21", "o:2026.5.7", "o:2026.6.1"] {
        let app = with_base(image).await;
        let mut sent = auth("rt_1", "account-1", ISSUED);
        sent["tokens"]["account_id"] = json!("org-example");
        let first = provision(&app, sent.clone()).await;
        assert_eq!(codes(&first.body), ["account_id_not_in_token"], "{image}");
        match in_profiles(&app).as_object().unwrap().is_empty() {
            true => write(&app, CODEX, &auth("rt_2", "account-1", ROTATED)),
            false => {
                let mut file = file(&app, PROFILES);
                let (_, stored) = file["profiles"].as_object_mut().unwrap().iter_mut().next().unwrap();
                stored["refresh"] = json!("rt_2");
                stored["access"] = json!(access("account-1", ROTATED, &json!({})));
                stored["accountId"] = json!("account-1");
                write(&app, PROFILES, &file);
            }
        }
        let again = provision(&app, sent).await;
        assert_eq!(outcome(&again), ["kept_fresher", "stored_issued_later"], "{image}");
    }
}

#[tokio::test(start_paused = true)]
async fn members_of_one_team_are_not_one_person() {
    let app = with_base("o:2026.5.7").await;
    let of = |refresh: &str, person: &str, issued| {
        auth_of(
            refresh,
            "team",
            issued,
            &json!({"chatgpt_user_id": person, "chatgpt_account_user_id": format!("{person}__team")}),
        )
    };
    provision(&app, of("rt_ada", "user-ada", LATER)).await;
    let other = provision(&app, of("rt_bob", "user-bob", ISSUED)).await;
    assert_eq!((outcome(&other), codes(&other.body)), (["written", "other_account"], vec!["sign_in_set_aside"]));
    assert_eq!(
        (in_profiles(&app), aside(&app)),
        (json!({"openai-codex:default": "rt_bob"}), vec!["rt_ada".to_owned()])
    );
    // A token without a person contradicts nobody, and it is not certain that it makes the other one useless.
    let silent = provision(&app, auth("rt_silent", "team", LATER)).await;
    assert_eq!(outcome(&silent), ["written", "issued_later"]);
    assert_eq!(aside(&app), ["rt_ada", "rt_bob"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_sign_in_resets_its_failures_and_others_keep_theirs() {
    let app = with_base("o:2026.5.7").await;
    provision(&app, auth("rt_1", "home", ISSUED)).await;
    let failed = json!({"errorCount": 4, "disabledUntil": 4_102_444_800_000_i64, "disabledReason": "auth_permanent"});
    let usage = json!({"openai-codex:default": failed, "anthropic:default": failed});
    let mut profiles = file(&app, PROFILES);
    profiles["usageStats"] = usage.clone();
    write(&app, PROFILES, &profiles);
    let order = json!({"openai-codex": ["openai-codex:other"], "anthropic": ["anthropic:default"]});
    write(&app, STATE, &json!({"version": 1, "usageStats": usage, "order": order, "lastGood": {}}));
    // The same sign-in again is not new: its failure stays.
    let same = provision(&app, auth("rt_1", "home", ISSUED)).await;
    assert_eq!((outcome(&same)[0], file(&app, STATE)["usageStats"].clone()), ("kept_fresher", usage));
    assert_eq!(codes(&same.body), ["auth_order_changed"]);
    let answer = provision(&app, auth("rt_2", "home", LATER)).await;
    assert_eq!((outcome(&answer)[0], codes(&answer.body)), ("written", vec![]));
    assert_eq!(file(&app, PROFILES)["usageStats"], json!({"anthropic:default": failed}));
    assert_eq!(
        file(&app, STATE),
        json!({
            "version": 1, "usageStats": {"anthropic:default": failed}, "lastGood": {},
            "order": {"openai-codex": ["openai-codex:default", "openai-codex:other"], "anthropic": ["anthropic:default"]},
        })
    );
}

#[tokio::test(start_paused = true)]
async fn repairing_keeps_another_accounts_sign_in() {
    let app = with_base("o:2026.5.7").await;
    provision(&app, auth("rt_1", "home", ISSUED)).await;
    write(&app, CODEX, &auth("rt_other_2", "other", ROTATED));
    write_profiles(&app, two(profile("rt_2", "home", ROTATED), profile("rt_third", "third", ROTATED)));
    let repaired = app.post("/containers/alice/credentials/repair", json!({})).await.body;
    assert_eq!(repaired["moved"].as_array().unwrap().len(), 1, "{repaired}");
    // In its place is the file that this release needs: of the user's account, without a refresh token.
    let codex = &file(&app, CODEX)["tokens"];
    assert_eq!((&codex["account_id"], &codex["refresh_token"]), (&json!("home"), &json!("")));
    assert_eq!(aside(&app), ["rt_other_2"]);
    assert_eq!(in_profiles(&app), json!({"openai-codex:default": "rt_2", "openai-codex:other": "rt_third"}));
    let other = provision(&app, auth("rt_other_1", "other", ISSUED)).await;
    assert_eq!(outcome(&other), ["kept_fresher", "stored_issued_later"]);
    assert_eq!(in_profiles(&app)["openai-codex:default"], "rt_other_2");
}

/// A change of provider removes the staged sign-in, but nothing that the user added.
#[tokio::test(start_paused = true)]
async fn another_provider_removes_only_the_staged_account() {
    let app = with_base("o:2026.5.7").await;
    provision(&app, auth("rt_1", "home", ISSUED)).await;
    write_profiles(&app, two(profile("rt_2", "home", ROTATED), profile("rt_other", "other", LATER)));
    let secrets = json!({"OPENAI_API_KEY": "arn:aws:secretsmanager:us-east-1:123456789012:secret:k-AbCdEf"});
    let body = json!({"user_id": "alice", "provider": "openai_key", "secrets": secrets});
    let answer = app.post("/provision", body).await;
    assert!(answer.status < 300, "{}", answer.body);
    assert_eq!(in_profiles(&app), json!({"openai-codex:other": "rt_other"}));
}

#[tokio::test(start_paused = true)]
async fn an_api_key_with_the_sign_ins_id_is_renamed_with_a_warning() {
    for (image, authority) in [("o:2026.6.1", PROFILES), ("o:2026.9.6", HAND_OVER)] {
        let app = with_base(image).await;
        let key = json!({"type": "api_key", "provider": "openai", "key": "sk-theirs"});
        write_profiles(&app, json!({"openai:default": key}));
        let answer = provision(&app, auth("rt_1", "home", ISSUED)).await;
        assert_eq!(codes(&answer.body), ["auth_profile_renamed"], "{image}");
        assert_eq!(file(&app, PROFILES)["profiles"]["openai:kept"], key, "{image}");
        assert!(file(&app, authority).to_string().contains("rt_1"), "{image}");
        let again = provision(&app, auth("rt_1", "home", ISSUED)).await;
        assert_eq!((outcome(&again), codes(&again.body)), (["kept_fresher", "same_sign_in"], Vec::<&str>::new()));
        app.delete(CREDENTIALS).await;
        assert_eq!(file(&app, PROFILES)["profiles"], json!({"openai:kept": key}), "{image}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_key_in_codex_auth_json_is_moved_aside_with_a_warning() {
    let with_tokens = |mut auth: Value| {
        auth["OPENAI_API_KEY"] = json!("sk-theirs");
        auth
    };
    for image in ["o:2026.4.21", "o:2026.5.7", "o:2026.9.6"] {
        for left in [
            json!({"auth_mode": "apikey", "OPENAI_API_KEY": "sk-theirs", "tokens": null}),
            with_tokens(auth("rt_0", "home", ISSUED - 9)),
        ] {
            let app = with_base(image).await;
            provision(&app, auth("rt_1", "home", ISSUED)).await;
            write(&app, CODEX, &left);
            let answer = provision(&app, auth("rt_1", "home", ISSUED)).await;
            assert_eq!(codes(&answer.body), ["api_key_set_aside"], "{image} {left}");
            let keys = || {
                let directory = app.path("users/alice/.provisioner/aside");
                let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
                names.map(|path| std::fs::read_to_string(path).unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(keys(), ["{\n  \"OPENAI_API_KEY\": \"sk-theirs\"\n}\n"], "{image} {left}");
            assert!(!file(&app, CODEX).to_string().contains("sk-theirs"));
            let again = provision(&app, auth("rt_1", "home", ISSUED)).await;
            assert_eq!(codes(&again.body), Vec::<&str>::new(), "{image} {left}");
            write(&app, CODEX, &json!({"OPENAI_API_KEY": "sk-theirs"}));
            app.delete(CREDENTIALS).await;
            assert_eq!(keys().len(), 1, "a key is no sign-in: {image} {left}");
        }
    }
}
