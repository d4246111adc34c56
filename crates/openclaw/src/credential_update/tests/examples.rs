//! What each plan writes, and the cases that reviews found.

use super::*;

/// The sign-in of this number, staged for a release in an empty directory.
fn staged(release: &Release, number: i64) -> World {
    let mut world = World::default();
    world.update(release, Some(number), usize::MAX);
    world
}

/// openclaw-facts §2, "Plan that follows": exactly one place holds the live refresh token (incident 29), and
/// `codex/auth.json` is always there and complete.
#[test]
fn every_plan_puts_the_refresh_token_into_its_one_place() {
    for release in releases() {
        let world = staged(&release, 1);
        let pending = World::json(world.hand_over.as_ref())["profile"]["refresh"].clone();
        let found = (world.in_codex(), world.in_our_profile(&release), number_of(&pending));
        let expected = match release.plan().authority {
            Authority::CodexHome | Authority::CodexPlugin => (Some(1), None, None),
            Authority::AuthProfiles => (None, Some(1), None),
            Authority::Store => (None, None, Some(1)),
        };
        assert_eq!(found, expected, "{release:?}");
        let codex = World::json(world.codex.as_ref());
        for token in ["access_token", "id_token", "account_id"] {
            assert!(codex["tokens"][token].as_str().is_some_and(|token| !token.is_empty()), "{codex}");
        }
        assert!(codex["tokens"]["refresh_token"].is_string() && codex["last_refresh"].is_string());
        assert_eq!(world.copies(), 1);
    }
}

/// A receipt is worth nothing beside the file that it was made from, once the container cannot read its store.
#[test]
fn the_only_live_file_is_never_removed_because_of_a_receipt() {
    let mut world = staged(&release(9, 6), 1);
    world.import(&release(9, 6));
    // Downgraded, and signed in there with the same sign-in.
    world.update(&release(5, 7), Some(1), usize::MAX);
    assert_eq!(world.in_profiles(ProfileProvider::OpenAiCodex), Some(1));
    let again = world.update(&release(5, 7), None, usize::MAX);
    assert!(again.changes.is_empty() && again.live.is_some());
    assert_eq!(world.in_profiles(ProfileProvider::OpenAiCodex), Some(1));
}

/// An `auth-profiles.json` that cannot be read may hold other providers' keys.
#[test]
fn profiles_that_cannot_be_read_are_moved_aside_and_never_overwritten() {
    let mut world = World { profiles: Some(b"{\"profiles\": {".to_vec()), ..World::default() };
    let update = world.update(&release(5, 7), Some(1), usize::MAX);
    assert!(matches!(&update.changes[..], [Change::MoveAsideAndWrite(CredentialFile::Profiles, _), ..]));
    assert_eq!(update.warnings, [Warning::ProfilesUnreadable]);
    let untouched = World { profiles: Some(b"{\"profiles\": {".to_vec()), ..World::default() };
    assert_eq!(
        signed_out(&release(5, 7), &untouched.on_disk(), Timestamp::UNIX_EPOCH).unwrap_err(),
        CredentialFile::Profiles
    );
}

/// Another account's sign-in replaces what is there, even a fresher one; the old account's is kept where no release reads
/// it.
#[test]
fn another_account_takes_over_completely() {
    let other = ChatGptAuth::parse(json!({
        "auth_mode": "chatgpt",
        "tokens": {"access_token": jwt(&json!({"iat": START})), "refresh_token": "rt-0", "account_id": "other"},
    }))
    .unwrap();
    for release in releases() {
        let mut world = staged(&release, 5);
        let update =
            update_credentials(&release, &world.on_disk(), Some(&other), false, Timestamp::from_second(START).unwrap());
        world.write(&update.changes, usize::MAX);
        let kept: Vec<&str> = world.asides.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(kept, [format!("{}.json", auth(5).fingerprint())], "{release:?}");
        let path = format!(".provisioner/aside/{}", kept[0]);
        assert_eq!(update.warnings[0], Warning::SignInSetAside { path });
        assert_eq!(world.copies(), 1, "{release:?}");
        assert_eq!(update.live.unwrap().identity.account(), Some("other"));
    }
}

#[test]
fn signing_out_leaves_no_token_and_an_order_if_only_the_container_can_do_it() {
    for release in releases() {
        let mut world = staged(&release, 1);
        if release.plan().authority == Authority::Store {
            world.import(&release);
        }
        world.write(&signed_out(&release, &world.on_disk(), Timestamp::UNIX_EPOCH).unwrap(), usize::MAX);
        assert_eq!((world.copies(), world.codex.is_none()), (0, true), "{release:?}");
        let ordered = matches!(world.on_disk().hand_over, HandOver::SignOut);
        assert_eq!(ordered, release.plan().authority == Authority::Store);
        assert!(world.update(&release, None, usize::MAX).reauth_required);
    }
}

/// Wherever it is killed, the result is the same, and the way back to ChatGPT stays open.
#[test]
fn another_provider_leaves_no_sign_in_and_a_later_one_is_used() {
    for (release, writes) in
        releases().into_iter().flat_map(|release| (0..4).map(move |writes| (release.clone(), writes)))
    {
        let mut world = staged(&release, 1);
        if release.plan().authority == Authority::Store {
            world.import(&release);
        }
        world.place_none(&release, writes);
        let finished = world.place_none(&release, usize::MAX);
        assert!(!finished.reauth_required && finished.live.is_none() && finished.warnings.is_empty());
        assert_eq!((world.copies(), world.codex.is_none()), (0, true), "{release:?} after {writes}");
        let ordered = matches!(world.on_disk().hand_over, HandOver::SignOut);
        assert_eq!(ordered, release.plan().authority == Authority::Store);
        let again = world.place_none(&release, usize::MAX);
        assert!(again.changes.is_empty() && !again.needs_start, "{again:?}");
        let authority = world.update(&release, Some(2), usize::MAX).plan.authority;
        assert_eq!(world.start(&release, authority), Some(2), "{release:?} after {writes}");
    }
}

/// A file that the tenant broke must not block an operator's redeploy.
#[test]
fn profiles_that_cannot_be_read_are_moved_aside_for_another_provider() {
    let mut world = World { profiles: Some(b"{".to_vec()), ..staged(&release(4, 21), 1) };
    let update = world.place_none(&release(4, 21), usize::MAX);
    assert!(matches!(
        &update.changes[..],
        [Change::MoveAside(CredentialFile::Profiles), Change::Remove(CredentialFile::Codex)]
    ));
    assert_eq!(update.warnings, [Warning::ProfilesUnreadable]);
}

#[test]
fn an_expired_sign_in_or_one_that_cannot_be_refreshed_is_reported() {
    let access = jwt(&json!({"iat": START - 10, "exp": START - 5, "scp": ["openid", "profile"]}));
    let tokens = json!({"access_token": access, "refresh_token": "rt-1", "account_id": "acc"});
    let sent = ChatGptAuth::parse(json!({"auth_mode": "chatgpt", "tokens": tokens})).unwrap();
    let now = Timestamp::from_second(START).unwrap();
    let update = update_credentials(&release(4, 21), &OnDisk::default(), Some(&sent), false, now);
    assert_eq!(
        update.warnings,
        [Warning::AccessTokenExpired, Warning::ScopeMissing { scope: "offline_access" }, Warning::AccountClaimMissing,]
    );
}
