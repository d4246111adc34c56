//! File calls that fail from the n-th on, for every n: nothing is lost, the answer is true, and registered revisions are
//! remembered or gone.

use std::fs;
use std::path::Path;

use aws_emulator::Options as EmulatorOptions;
use openclaw_provisioner::domain::UserId;
use openclaw_provisioner::fleet;
use openclaw_provisioner::reconcile::Options;
use rustix::io::Errno;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fuse::{Failure, Group, Kind, Mount};
use crate::harness::{Answer, CLUSTER, TestApp, auth};
use crate::mount;

/// The allowed answers: retry, or an operator has to repair it. Never a success.
fn expected(errno: Errno) -> &'static [u16] {
    if errno == Errno::ROFS { &[500, 503] } else { &[503] }
}

/// All kinds with a waiting caller. Nobody waits for the result of a close.
fn kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.iter().copied().filter(|kind| kind.group() != Group::End)
}

async fn app(efs: &Mount) -> TestApp {
    let root = TempDir::new_in(efs.path()).unwrap();
    TestApp::in_directory(root, EmulatorOptions::default(), Options::default(), fleet::Options::default()).await
}

/// The user's registered revisions that are not deregistered.
fn registered(app: &TestApp, user: &str) -> Vec<String> {
    let mut found = app.user_revisions();
    found.retain(|arn| {
        let described = app.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": arn}));
        let labels = &described["taskDefinition"]["containerDefinitions"][0]["dockerLabels"];
        labels.to_string().contains(&format!("\"{user}\""))
    });
    found
}

/// The revision of the user's service.
fn running(app: &TestApp, user: &str) -> Option<String> {
    let service = UserId::parse(user).unwrap().service_name();
    let described = app.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [service]}));
    described["services"][0]["taskDefinition"].as_str().map(str::to_owned)
}

/// Checks that each of the user's revisions is named by their service or remembered.
fn assert_remembered(app: &TestApp, user: &str, context: &str) {
    let running = running(app, user);
    for arn in registered(app, user) {
        let note = fs::read(app.path(&format!(".provisioner/locks/{user}.lock"))).unwrap_or_default();
        let is_noted = note.windows(arn.len()).any(|window| window == arn.as_bytes());
        assert!(is_noted || running.as_ref() == Some(&arn), "{context}: nobody remembers {arn}");
    }
}

/// The refresh token in the sign-in on disk; checks that the file is whole if it exists.
fn refresh_token(app: &TestApp, user: &str, context: &str) -> Option<String> {
    let text = fs::read_to_string(app.path(&format!("users/{user}/codex/auth.json"))).ok()?;
    let parsed: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{context}: {error} in {text:?}"));
    Some(parsed["tokens"]["refresh_token"].as_str().unwrap().to_owned())
}

/// Checks that every file below is whole or missing, and that after a success no temporary file is left.
fn assert_no_leftovers(directory: &Path, context: &str) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!(name.starts_with(".provisioner-") && name.ends_with(".tmp")), "{context}: {}", path.display());
        if path.is_dir() {
            assert_no_leftovers(&path, context);
        }
    }
}

fn assert_true(answer: &Answer, errno: Errno, context: &str) {
    let status = answer.status;
    assert!((200..300).contains(&status) || expected(errno).contains(&status), "{context}: {status} {}", answer.body);
}

fn sign_in(user: &str, refresh_token: &str, issued_at: i64) -> Value {
    json!({"user_id": user, "auth": auth("acc_1", refresh_token, issued_at)})
}

/// A new user, with calls failing from each one on.
async fn new_users(errno: Errno) {
    let backing = tempfile::tempdir().unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    let first = app(&efs).await;
    for n in 1.. {
        // A new replica with new tokens: more revisions are registered than the limits allow at once.
        let app = first.replica().await;
        let (user, context) = (format!("user-{n}"), format!("{errno} from call {n} on"));
        efs.take_counts();
        efs.fail(Failure::from_nth(kinds(), n, errno));
        let answer = app.provision(&user).await;
        let calls: u64 =
            efs.take_counts().iter().filter(|(kind, _)| kind.is_waited_for()).map(|(_, count)| count).sum();
        efs.mend();
        assert_true(&answer, errno, &context);
        let is_done = answer.status == 201;
        let found = refresh_token(&app, &user, &context);
        if is_done {
            assert_eq!(found.as_deref(), Some("rt_1"), "{context}: {}", answer.body);
            assert!(running(&app, &user).is_some(), "{context}");
        } else {
            assert_eq!(running(&app, &user), None, "{context}: {}", answer.body);
        }
        assert_remembered(&app, &user, &context);
        let again = app.provision(&user).await;
        assert!((200..=202).contains(&again.status), "{context}, then none: {} {}", again.status, again.body);
        assert_eq!(refresh_token(&app, &user, &context).as_deref(), Some("rt_1"), "{context}");
        assert_eq!(running(&app, &user).as_slice(), registered(&app, &user), "{context}");
        assert_no_leftovers(&app.path(&format!("users/{user}")), &context);
        if is_done && calls < n {
            return;
        }
    }
}

/// A user who signs in again, with calls failing from each one on.
async fn users_who_sign_in_anew(errno: Errno) {
    let backing = tempfile::tempdir().unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    let app = app(&efs).await;
    let user = "alice";
    assert_eq!(app.post("/provision", sign_in(user, "rt_0", 1_770_000_000)).await.status, 201);
    let mut before = "rt_0".to_owned();
    for n in 1.. {
        let (new, context) = (format!("rt_{n}"), format!("{errno} from call {n} on"));
        let issued_at = 1_770_000_000 + i64::try_from(n).unwrap();
        efs.take_counts();
        efs.fail(Failure::from_nth(kinds(), n, errno));
        let answer = app.post("/provision", sign_in(user, &new, issued_at)).await;
        let calls: u64 =
            efs.take_counts().iter().filter(|(kind, _)| kind.is_waited_for()).map(|(_, count)| count).sum();
        efs.mend();
        assert_true(&answer, errno, &context);
        let found = refresh_token(&app, user, &context).expect(&context);
        let is_done = (200..300).contains(&answer.status);
        if is_done {
            assert_eq!((found.as_str(), &answer.body["credentials"]), (new.as_str(), &json!("written")), "{context}");
        }
        assert!(found == before || found == new, "{context}: {found}");
        assert_remembered(&app, user, &context);
        before = found;
        if is_done && calls < n {
            return;
        }
    }
}

macro_rules! errors {
    ($($new:ident, $anew:ident: $errno:ident;)*) => {
        $(
            #[tokio::test]
            async fn $new() {
                new_users(Errno::$errno).await;
            }

            #[tokio::test]
            async fn $anew() {
                users_who_sign_in_anew(Errno::$errno).await;
            }
        )*
    };
}

errors! {
    a_new_user_survives_eio_at_any_call, a_new_sign_in_survives_eio_at_any_call: IO;
    a_new_user_survives_estale_at_any_call, a_new_sign_in_survives_estale_at_any_call: STALE;
    a_new_user_survives_a_full_file_system_at_any_call, a_new_sign_in_survives_a_full_file_system_at_any_call: NOSPC;
    a_new_user_survives_erofs_at_any_call, a_new_sign_in_survives_erofs_at_any_call: ROFS;
    a_new_user_survives_a_full_quota_at_any_call, a_new_sign_in_survives_a_full_quota_at_any_call: DQUOT;
}
