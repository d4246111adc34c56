//! Staging of the plans beyond the recipe, on a file system.

use std::os::unix::fs::symlink;

use serde_json::Value;

use super::*;

const PROFILES: &str = "agents/main/agent/auth-profiles.json";

fn plan(month: u16, patch: u16) -> CredentialPlan {
    credential_plan(OpenClawVersion::new(2026, month, patch), PlanInputs::default())
}

impl Fixture {
    async fn stage_for(&self, plan: &CredentialPlan, auth: &ChatGptAuth) -> Staged {
        self.staging.stage_sign_in(&self.user, plan, auth.clone(), false).await.unwrap()
    }

    fn json(&self, beneath: &str) -> Value {
        serde_json::from_slice(&fs::read(self.own(beneath)).unwrap()).unwrap()
    }

    fn refresh_tokens(&self) -> (String, String) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let codex = text(&self.json("codex/auth.json")["tokens"]["refresh_token"]);
        if !self.own(PROFILES).exists() {
            return (codex, String::new());
        }
        let profiles = self.json(PROFILES)["profiles"].as_object().unwrap().clone();
        (codex, profiles.values().map(|profile| text(&profile["refresh"])).collect())
    }

    /// As the container does it: in place, and with members of its own.
    fn rotate_profile(&self, second: i64) {
        let rotated = format!("rt-{second}");
        let access = jwt(&json!({"iat": second, "exp": second + 864_000}));
        let mut file = self.json(PROFILES);
        for profile in file["profiles"].as_object_mut().unwrap().values_mut() {
            profile["refresh"] = json!(rotated);
            profile["access"] = json!(access);
        }
        file["lastGood"] = json!({"openai-codex": "openai-codex:default"});
        fs::write(self.own(PROFILES), file.to_string()).unwrap();
    }
}

#[tokio::test]
async fn a_profile_is_staged_private_in_directories_of_the_containers_own() {
    let f = Fixture::new();
    fs::create_dir_all(f.own("agents/main")).unwrap();
    fs::set_permissions(f.own("agents"), fs::Permissions::from_mode(0o777)).unwrap();
    let staged = f.stage_for(&plan(5, 7), &auth(OLD)).await;
    assert_eq!((staged.outcome, staged.reason), (Outcome::Written, Reason::Missing));
    assert_eq!(f.refresh_tokens(), (String::new(), format!("rt-{OLD}")));
    for (path, expected) in [
        ("agents", 0o700),
        ("agents/main", 0o700),
        ("agents/main/agent", 0o700),
        (PROFILES, 0o600),
        ("codex/auth.json", 0o600),
    ] {
        let path = f.own(path);
        assert_eq!((mode(&path), owner(&path)), (expected, container_user()), "{}", path.display());
    }
    let record = f.path(".provisioner/staged/mallory.json");
    assert_eq!(mode(&record), 0o600);
    let record = fs::read_to_string(record).unwrap();
    assert!(record.contains("\"complete\":true") && !record.contains("rt-") && !record.contains("\"acc\""), "{record}");
}

/// Incident 28, in `auth-profiles.json`.
#[tokio::test]
async fn a_rotated_profile_is_kept_until_forced() {
    let f = Fixture::new();
    f.stage_for(&plan(5, 7), &auth(OLD)).await;
    f.rotate_profile(NEW);
    let before = fs::read(f.own(PROFILES)).unwrap();
    let kept = f.stage_for(&plan(5, 7), &auth(OLD)).await;
    assert_eq!((kept.outcome, kept.reason), (Outcome::KeptFresher, Reason::StoredIssuedLater));
    assert_eq!(fs::read(f.own(PROFILES)).unwrap(), before);
    f.staging.stage_sign_in(&f.user, &plan(5, 7), auth(OLD), true).await.unwrap();
    assert_eq!(f.refresh_tokens(), (String::new(), format!("rt-{OLD}")));
    assert_eq!(f.json(PROFILES)["lastGood"], json!({"openai-codex": "openai-codex:default"}));
}

/// Incident 28: the container rotates between the judgement and the rename, in either file.
#[test]
fn a_rotation_of_either_file_after_the_judgement_stops_the_write() {
    let owner = Some(container_user());
    for rotated in ["codex/auth.json", PROFILES] {
        let f = Fixture::new();
        let root = f.root.path();
        credentials::prepare(root, &f.user, owner, &plan(5, 7)).unwrap();
        fs::write(f.auth_json(), auth(OLD).to_file_bytes().expose_secret()).unwrap();
        let observed = credentials::prepare(root, &f.user, owner, &plan(5, 7)).unwrap();
        let verdict = judge(&plan(5, 7), observed.disk(), None, false);
        fs::write(f.own(rotated), auth(NEW).to_file_bytes().expose_secret()).unwrap();
        let replaced = credentials::commit(root, &f.user, owner, &plan(5, 7), &verdict, &observed).unwrap();
        assert!(matches!(replaced, write::Replaced::Disturbed), "{rotated}");
        assert_eq!(fs::read(f.own(rotated)).unwrap(), auth(NEW).to_file_bytes().expose_secret());
    }
}

#[tokio::test]
async fn a_change_of_release_carries_the_live_sign_in_there_and_back() {
    let f = Fixture::new();
    assert!(!f.staging.carry_over(&f.user, &plan(5, 7)).await.unwrap());
    assert!(!f.own("").exists());
    f.stage(&auth(NEW)).await;
    for _ in 0..2 {
        assert!(f.staging.carry_over(&f.user, &plan(5, 7)).await.unwrap());
        assert_eq!(f.refresh_tokens(), (String::new(), format!("rt-{NEW}")));
    }
    f.rotate_profile(NEW + 1);
    assert!(f.staging.carry_over(&f.user, &recipe()).await.unwrap());
    assert_eq!(f.refresh_tokens(), (format!("rt-{}", NEW + 1), String::new()));
    assert!(!f.own(PROFILES).exists());
}

/// openclaw-facts §4.
#[tokio::test]
async fn after_an_import_the_record_decides_and_a_purge_forgets_it() {
    let f = Fixture::new();
    f.stage_for(&plan(9, 6), &auth(OLD)).await;
    fs::remove_file(f.own(PROFILES)).unwrap();
    fs::create_dir(f.own("state")).unwrap();
    fs::write(f.own("state/openclaw.sqlite"), "SQLite").unwrap();
    assert_eq!(f.stage_for(&plan(9, 6), &auth(OLD)).await.reason, Reason::SameSignIn);
    assert!(!f.own(PROFILES).exists());
    assert!(f.staging.has_sign_in(&f.user).await.unwrap());
    assert_eq!(f.stage_for(&plan(9, 6), &auth(NEW)).await.reason, Reason::RefreshedLater);
    f.staging.purge(&f.user).await.unwrap();
    assert_eq!(files(f.root.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn removing_takes_our_profile_and_the_record_and_leaves_the_users() {
    let f = Fixture::new();
    f.stage_for(&plan(5, 7), &auth(OLD)).await;
    let mut file = f.json(PROFILES);
    file["profiles"]["anthropic:default"] = json!({"type": "api_key", "key": "sk"});
    fs::write(f.own(PROFILES), file.to_string()).unwrap();
    assert!(f.staging.remove_sign_in(&f.user).await.unwrap());
    assert!(!f.staging.remove_sign_in(&f.user).await.unwrap());
    assert_eq!(files(f.root.path()), [f.own(PROFILES)]);
    assert_eq!(f.json(PROFILES)["profiles"], json!({"anthropic:default": {"type": "api_key", "key": "sk"}}));
}

/// Incident 27, on the way to the agent's directory.
#[tokio::test]
async fn links_on_the_way_to_the_profiles_are_moved_aside_and_never_followed() {
    let f = Fixture::new();
    let victim = UserId::parse("victim").unwrap();
    f.staging.stage_sign_in(&victim, &plan(5, 7), auth(NEW), false).await.unwrap();
    let theirs = fs::read(f.path("users/victim").join(PROFILES)).unwrap();
    for (at, target) in
        [("agents", "agents"), ("agents/main", "agents/main"), ("agents/main/agent", "agents/main/agent")]
    {
        let _none = fs::remove_dir_all(f.own(""));
        fs::create_dir_all(f.own(at).parent().unwrap()).unwrap();
        symlink(f.path("users/victim").join(target), f.own(at)).unwrap();
        assert!(!f.staging.has_sign_in(&f.user).await.unwrap());
        let staged = f.stage_for(&plan(5, 7), &auth(OLD)).await;
        assert_eq!((staged.reason, staged.moved_aside.len()), (Reason::Missing, 1), "{at}");
        assert_eq!(f.refresh_tokens().1, format!("rt-{OLD}"));
        assert_eq!(fs::read(f.path("users/victim").join(PROFILES)).unwrap(), theirs);
    }
}

#[tokio::test]
async fn openclaw_json_is_merged_once_and_the_gateways_token_kept() {
    let f = Fixture::new();
    let model = plan(9, 6).model;
    for _ in 0..2 {
        assert_eq!(f.staging.stage_configuration(&f.user, model, true).await.unwrap(), None);
    }
    let token = f.json("openclaw.json")["gateway"]["auth"]["token"].as_str().unwrap().to_owned();
    assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!((mode(&f.own("openclaw.json")), owner(&f.own("openclaw.json"))), (0o600, container_user()));
    let before = fs::metadata(f.own("openclaw.json")).unwrap().ino();
    f.staging.stage_configuration(&f.user, model, true).await.unwrap();
    assert_eq!(fs::metadata(f.own("openclaw.json")).unwrap().ino(), before);
    f.staging.stage_configuration(&f.user, plan(4, 21).model, true).await.unwrap();
    assert_eq!(f.json("openclaw.json")["gateway"]["auth"]["token"], json!(token));
}

#[tokio::test]
async fn an_openclaw_json_that_cannot_be_merged_is_left_alone_with_a_warning() {
    for plant in ["json5", "link", "directory"] {
        let f = Fixture::new();
        let file = f.own("openclaw.json");
        fs::create_dir_all(f.own("")).unwrap();
        match plant {
            "json5" => fs::write(&file, "{ /* mine */ gateway: {} }").unwrap(),
            "link" => symlink("elsewhere.json", &file).unwrap(),
            _ => fs::create_dir(&file).unwrap(),
        }
        let warning = f.staging.stage_configuration(&f.user, plan(9, 6).model, true).await.unwrap().unwrap();
        assert_eq!(warning.code(), "openclaw_json_left_alone");
        assert!(plant != "json5" || fs::read_to_string(&file).unwrap().contains("mine"));
        assert_eq!(fs::read_dir(f.own("")).unwrap().count(), 1, "{plant}");
    }
}
