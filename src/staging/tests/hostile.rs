//! Hostile tenants, who own their directory. Each case also has a victim, whose files must not change.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::CWD;

use super::*;
use crate::staging::home::{Edit, What};

impl Fixture {
    /// The user's directories after a first provision, and another tenant with a sign-in.
    async fn with_victim() -> (Self, PathBuf) {
        let f = Self::new().await;
        fs::create_dir_all(f.own("codex")).unwrap();
        let victim = UserId::parse("victim").unwrap();
        f.try_stage(&victim, &auth(NEW), false).await.unwrap();
        let theirs = f.path("users/victim/codex/auth.json");
        (f, theirs)
    }

    fn assert_unharmed(&self, theirs: &Path) {
        assert_eq!(fs::read(theirs).unwrap(), auth(NEW).to_file_bytes().expose_secret());
        assert_eq!(files(&self.path("users/victim")), [theirs]);
        assert_eq!((mode(theirs), owner(theirs)), (0o600, container_user()));
    }
}

/// Incident 27: the provisioner followed a link that a tenant had planted and wrote another tenant's files.
#[tokio::test]
async fn a_link_at_auth_json_is_replaced_and_never_followed() {
    let (f, theirs) = Fixture::with_victim().await;
    for target in [theirs.clone(), f.path("users/victim/codex/new.json"), PathBuf::from("/dev/zero"), f.auth_json()] {
        let _none = fs::remove_file(f.auth_json());
        symlink(target, f.auth_json()).unwrap();
        // If the link were followed, the victim's sign-in would be fresher, and kept.
        assert_eq!(f.stage(&auth(OLD)).await.staged.unwrap().reason, FreshnessReason::Unreadable);
        f.assert_staged(&auth(OLD));
        f.assert_unharmed(&theirs);
    }
}

/// Incident 27, one level up; and users are not locked out by files that they left there.
#[tokio::test]
async fn anything_in_the_place_of_codex_is_moved_aside() {
    let (f, theirs) = Fixture::with_victim().await;
    for plant in ["link", "dangling", "file", "fifo"] {
        fs::remove_dir_all(f.own("")).unwrap();
        fs::create_dir(f.own("")).unwrap();
        match plant {
            "link" => symlink(f.path("users/victim/codex"), f.own("codex")).unwrap(),
            "dangling" => symlink("../victim/new", f.own("codex")).unwrap(),
            "file" => fs::write(f.own("codex"), "mine").unwrap(),
            _ => rustix::fs::mkfifoat(CWD, f.own("codex"), Mode::RWXU).unwrap(),
        }
        assert_eq!(f.live().await, None);
        assert!(!f.staging.remove_sign_in(&f.user, &recipe()).await.unwrap());
        let staged = f.stage(&auth(OLD)).await;
        f.assert_staged(&auth(OLD));
        f.assert_unharmed(&theirs);
        let [aside] = staged.moved_aside.as_slice() else { panic!("{plant}: {staged:?}") };
        assert!(aside.starts_with("users/mallory/codex.displaced-"), "{aside}");
        assert!(fs::symlink_metadata(f.path(aside)).is_ok());
    }
}

/// Incident 27: only an operator can put a link in the place of the user's directory; it is refused.
#[tokio::test]
async fn a_link_in_the_place_of_the_user_directory_is_refused() {
    let (f, theirs) = Fixture::with_victim().await;
    fs::remove_dir_all(f.own("")).unwrap();
    symlink("victim", f.path("users/mallory")).unwrap();
    let error = f.try_stage(&f.user, &auth(OLD), true).await.unwrap_err();
    assert_eq!(error.to_string(), "users/mallory is not a real directory");
    assert_eq!(error.kind(), StagingErrorKind::Operator);
    assert!(!f.staging.user_directory_exists(&f.user).await.unwrap());
    assert!(!f.staging.remove_sign_in(&f.user, &recipe()).await.unwrap());
    f.assert_unharmed(&theirs);
}

#[tokio::test]
async fn anything_but_a_regular_file_is_replaced_without_being_opened() {
    let f = Fixture::new().await;
    fs::create_dir_all(f.own("codex")).unwrap();
    // Opening a FIFO without a writer would hang this test.
    rustix::fs::mkfifoat(CWD, f.auth_json(), Mode::RWXU).unwrap();
    assert_eq!(f.stage(&auth(OLD)).await.staged.unwrap().reason, FreshnessReason::Unreadable);
    f.assert_staged(&auth(OLD));

    fs::remove_file(f.auth_json()).unwrap();
    let _socket = UnixListener::bind(f.auth_json()).unwrap();
    assert_eq!(f.stage(&auth(OLD)).await.staged.unwrap().reason, FreshnessReason::Unreadable);
    f.assert_staged(&auth(OLD));

    fs::remove_file(f.auth_json()).unwrap();
    // Only root can create a device, and not in every sandbox: then a second FIFO is used instead.
    #[cfg(target_os = "linux")]
    let made = rustix::fs::mknodat(
        CWD,
        f.auth_json(),
        rustix::fs::FileType::CharacterDevice,
        Mode::RWXU,
        rustix::fs::makedev(1, 5),
    );
    #[cfg(not(target_os = "linux"))]
    let made: Result<(), Errno> = Err(Errno::PERM);
    if made.is_err() {
        rustix::fs::mkfifoat(CWD, f.auth_json(), Mode::RWXU).unwrap();
    }
    assert!(!fs::symlink_metadata(f.auth_json()).unwrap().is_file());
    assert_eq!(f.stage(&auth(OLD)).await.staged.unwrap().reason, FreshnessReason::Unreadable);
    f.assert_staged(&auth(OLD));
    assert_eq!(files(&f.own("")), [f.auth_json()]);
}

#[tokio::test]
async fn a_directory_at_auth_json_is_moved_aside_with_its_content() {
    let f = Fixture::new().await;
    for inside in [None, Some("keep me")] {
        let _none = fs::remove_file(f.auth_json());
        fs::create_dir_all(f.auth_json()).unwrap();
        if let Some(text) = inside {
            fs::write(f.auth_json().join("file"), text).unwrap();
        }
        assert!(!f.staging.remove_sign_in(&f.user, &recipe()).await.unwrap());
        let staged = f.stage(&auth(OLD)).await;
        f.assert_staged(&auth(OLD));
        let [aside] = staged.moved_aside.as_slice() else { panic!("{staged:?}") };
        assert_eq!(fs::read_to_string(f.path(aside).join("file")).ok().as_deref(), inside);
    }
}

#[tokio::test]
async fn a_hard_linked_file_is_never_written_or_given_another_owner() {
    let f = Fixture::new().await;
    fs::create_dir_all(f.own("codex")).unwrap();
    let elsewhere = f.path("somebody-elses");
    fs::write(&elsewhere, auth(NEW).to_file_bytes().expose_secret()).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o440)).unwrap();
    let before = (mode(&elsewhere), owner(&elsewhere));
    fs::hard_link(&elsewhere, f.auth_json()).unwrap();

    assert_eq!(f.stage(&auth(OLD)).await.staged.unwrap().outcome, StagingOutcome::KeptFresher);
    assert_eq!((mode(&elsewhere), owner(&elsewhere)), before);
    assert_eq!(f.stage(&auth(NEW + 1)).await.staged.unwrap().outcome, StagingOutcome::Written);
    assert_eq!((mode(&elsewhere), owner(&elsewhere)), before);
    assert_eq!(fs::read(&elsewhere).unwrap(), auth(NEW).to_file_bytes().expose_secret());
    f.assert_staged(&auth(NEW + 1));
}

#[tokio::test]
async fn a_huge_file_is_read_no_further_than_its_limit() {
    let f = Fixture::new().await;
    fs::create_dir_all(f.own("codex")).unwrap();
    // Sparse: reading all of it would exhaust memory.
    fs::File::create(f.auth_json()).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(f.stage(&auth(OLD)).await.staged.unwrap().reason, FreshnessReason::Unreadable);
    f.assert_staged(&auth(OLD));

    // A sign-in at the limit still counts; with one byte more it does not.
    let mut padded = auth(NEW).to_file_bytes().expose_secret().to_vec();
    padded.resize(usize::try_from(jail::MAX_FILE_BYTES).unwrap(), b' ');
    fs::write(f.auth_json(), &padded).unwrap();
    assert_eq!(f.stage(&auth(OLD)).await.staged.unwrap().outcome, StagingOutcome::KeptFresher);
    padded.push(b' ');
    fs::write(f.auth_json(), &padded).unwrap();
    assert_eq!(f.stage(&auth(OLD)).await.staged.unwrap().reason, FreshnessReason::Unreadable);
}

/// Incident 23: a file in a directory that is no longer `codex` does not count as staged.
#[tokio::test]
async fn a_codex_that_was_moved_away_while_it_was_open_does_not_count() {
    let f = Fixture::new().await;
    let (own, away, made) = (f.own(""), f.own("away"), f.own("codex"));
    let work = f.staging.blocking(&f.user, move |root, user| {
        let mut home = Home::make(root, user, Some(container_user()))?;
        home.make_at(&paths::CODEX, &mut vec![])?;
        fs::rename(&made, &away).unwrap();
        for replacement in [false, true] {
            if replacement {
                fs::remove_file(away.join("auth.json")).unwrap();
                fs::create_dir(&made).unwrap();
            }
            let (bytes, before) = (auth(OLD).to_file_bytes(), jail::Found::Missing);
            let what = What::Write(bytes.expose_secret());
            let edit = Edit { path: &paths::CODEX, name: paths::AUTH_JSON.clone(), before: Some(&before), what };
            assert!(!home.apply(&[edit], &mut vec![])?);
            assert_eq!(files(&own), [away.join("auth.json")]);
        }
        Ok(())
    });
    work.await.unwrap();
}

/// A name of 255 bytes leaves no room for a suffix. It is shortened, and no two names are ever the same.
#[test]
fn a_file_that_is_moved_aside_gets_a_name_that_fits() {
    for name in ["auth.json".to_owned(), "n".repeat(217), "n".repeat(218), "n".repeat(255), "é".repeat(127)] {
        let c_name = std::ffi::CString::new(name.as_str()).unwrap();
        let displaced = || jail::Name::listed(&c_name).unwrap().displaced();
        let (first, second) = (displaced(), displaced());
        let text = std::str::from_utf8(first.bytes()).unwrap();
        let (kept, _) = text.split_once(".displaced-").unwrap();
        assert!(text.len() <= 255 && name.starts_with(kept), "{text}");
        assert!(text.len() >= 253 || kept == name, "{text}");
        assert!(first != second && first.is_displaced() && second.displaced().is_displaced());
    }
    let like = ["auth.json", "auth.json.displaced-", "auth.json.displaced-17-0123", "x.displaced-now-0123456789abcdef"];
    for name in like.map(|name| std::ffi::CString::new(name).unwrap()) {
        assert!(!jail::Name::listed(&name).unwrap().is_displaced(), "{name:?}");
    }
}

/// Even a file with the longest possible name is moved, so that no release imports its refresh token. A file that was moved
/// aside once is not moved again.
#[tokio::test]
async fn a_copy_with_the_longest_name_is_moved_aside_once() {
    let f = Fixture::new().await;
    f.stage(&auth(NEW)).await;
    let agent = f.own("agents/main/agent");
    fs::create_dir_all(&agent).unwrap();
    let profile = json!({"version": 1, "profiles": {"openai-codex:default": {
        "type": "oauth", "provider": "openai-codex", "access": jwt(&json!({"iat": OLD, "exp": OLD + 864_000})),
        "refresh": "rt-copy", "expires": (OLD + 864_000) * 1000, "accountId": "acc",
    }}});
    let start = "auth-profiles.json.migrated-";
    let names = [format!("{start}{}", "x".repeat(255 - start.len())), format!("{start}short")];
    for name in &names {
        fs::write(agent.join(name), profile.to_string()).unwrap();
    }
    let moved = f.staging.repair(&f.user, &recipe()).await.unwrap();
    let mut from: Vec<String> = moved.iter().map(|(from, _)| from.clone()).collect();
    from.sort();
    let mut expected = names.map(|name| format!("agents/main/agent/{name}"));
    expected.sort();
    assert_eq!(from, expected);
    for (_, to) in &moved {
        assert_eq!(fs::read_to_string(f.own(to)).unwrap(), profile.to_string());
    }
    assert_eq!(f.staging.repair(&f.user, &recipe()).await.unwrap(), []);
    f.assert_staged(&auth(NEW));
}

/// The tenant swaps the directory of the entry script while it is staged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapping_the_entry_scripts_directory_is_only_ever_a_contention() {
    let (f, theirs) = Fixture::with_victim().await;
    let release = Release::plain(OpenClawVersion::new(2026, 9, 6));
    assert!(release.plan().needs_entry);
    let (ours, away, target) = (f.own(".provisioner"), f.own("away"), f.path("users/victim"));
    // On a busy machine the tenant may win every round for a while, so the loop continues until staging has won one.
    let has_won = Arc::new(AtomicBool::new(false));
    let won = Arc::clone(&has_won);
    let swapper = std::thread::spawn(move || {
        for round in (0..).take_while(|round| *round < 2_000 || !won.load(Ordering::Relaxed)) {
            // Any of these may fail, and the next round goes on.
            let _moved = fs::rename(&ours, &away);
            let _put = match round % 3 {
                0 => symlink(&target, &ours),
                1 => fs::write(&ours, ""),
                _ => fs::create_dir_all(ours.join("entry.sh/import.mjs")),
            };
            let _removed = fs::remove_file(&ours).or_else(|_| fs::remove_dir_all(&ours));
            let _back = fs::rename(&away, &ours);
        }
    });
    while !swapper.is_finished() {
        match f.staging.place(&f.user, &release, Some(&auth(OLD)), true).await {
            Ok(_) => has_won.store(true, Ordering::Relaxed),
            Err(StagingError::Contended { attempts: ATTEMPTS, .. }) => {}
            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
        }
        f.assert_unharmed(&theirs);
    }
    swapper.join().unwrap();
    f.staging.place(&f.user, &release, Some(&auth(OLD)), true).await.unwrap();
    assert!(fs::symlink_metadata(f.own(".provisioner/entry.sh")).unwrap().is_file());
}

/// Incident 27, with a tenant who swaps `codex` for a link to another tenant's while staging walks through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapping_codex_for_a_link_during_staging_harms_no_other_tenant() {
    let (f, theirs) = Fixture::with_victim().await;
    let (codex, away, target) = (f.own("codex"), f.own("away"), f.path("users/victim/codex"));
    let swapper = std::thread::spawn(move || {
        for _ in 0..2_000 {
            // Staging moves links aside and makes directories: any of these may fail, and the next round goes on.
            let _moved = fs::rename(&codex, &away);
            let _linked = symlink(&target, &codex);
            let _unlinked = fs::remove_file(&codex);
            let _back = fs::rename(&away, &codex);
        }
    });
    while !swapper.is_finished() {
        match f.try_stage(&f.user, &auth(OLD), true).await {
            Ok(_) | Err(StagingError::Contended { .. }) => {}
            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
        }
        f.assert_unharmed(&theirs);
    }
    swapper.join().unwrap();
    f.try_stage(&f.user, &auth(OLD), true).await.unwrap();
    f.assert_staged(&auth(OLD));
    f.assert_unharmed(&theirs);
}
