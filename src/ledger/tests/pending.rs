//! The guarantees of every ledger for accepted work, and the additional guarantees of the ledger on files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::{Value, json};

use super::*;

fn pending(intent: &str, sign_in: Option<&str>) -> Pending {
    let sign_in = sign_in.map(|text| Arc::new(SecretSlice::from(text.as_bytes().to_vec())));
    Pending { intent: json!({ "wants": intent }), sign_in }
}

fn told(pending: Option<Pending>) -> Option<(String, Option<String>)> {
    let text = |secret: Secret| String::from_utf8(secret.expose_secret().to_vec()).unwrap();
    pending.map(|Pending { intent, sign_in }| (intent["wants"].as_str().unwrap().to_owned(), sign_in.map(text)))
}

fn was(intent: &str, sign_in: Option<&str>) -> Option<(String, Option<String>)> {
    Some((intent.to_owned(), sign_in.map(str::to_owned)))
}

fn listed(is_pending: bool) -> Vec<Listed> {
    vec![Listed { user: user(), is_pending }]
}

#[tokio::test]
async fn accepted_work_and_its_sign_in_are_found_by_the_next_holder_on_any_replica() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        let held = one.acquire(&user(), AT_ONCE).await.unwrap();
        let slot = held.pending();
        assert!(!slot.is_noted() && slot.read().await.unwrap().is_none());
        assert_eq!((two.noted(&user()).await.unwrap(), two.list_noted().await.unwrap()), (None, vec![]));
        slot.write(&pending("first", Some("secret"))).await.unwrap();
        assert_eq!(two.noted(&user()).await.unwrap(), Some(Noted::Pending(json!({"wants": "first"}))));
        assert_eq!(two.list_noted().await.unwrap(), listed(true));
        drop((held, slot));
        let held = two.acquire(&user(), LONG).await.unwrap();
        assert!(held.pending().is_noted());
        assert_eq!(told(held.pending().read().await.unwrap()), was("first", Some("secret")));
    }
}

#[tokio::test]
async fn the_last_written_work_counts_and_does_not_change_the_record() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        let mut held = one.acquire(&user(), AT_ONCE).await.unwrap();
        let slot = held.pending();
        held.write(revisions(&["a"])).await.unwrap();
        for (intent, sign_in) in [("a", None), ("b", Some("1")), ("c", Some("1")), ("d", Some("2")), ("e", None)] {
            slot.write(&pending(intent, sign_in)).await.unwrap();
            assert_eq!(told(slot.read().await.unwrap()), was(intent, sign_in));
        }
        held.write(revisions(&["b"])).await.unwrap();
        assert_eq!(told(slot.read().await.unwrap()), was("e", None));
        slot.clear().await.unwrap();
        assert!(!slot.is_noted() && slot.read().await.unwrap().is_none());
        assert_eq!((two.noted(&user()).await.unwrap(), two.list_noted().await.unwrap()), (None, vec![]));
        drop((held, slot));
        let held = two.acquire(&user(), LONG).await.unwrap();
        assert_eq!((held.record(), held.pending().is_noted()), (&revisions(&["b"]), false));
    }
}

#[tokio::test]
async fn the_reason_why_work_ended_stays_until_new_work_is_accepted_or_the_user_removed() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        let held = one.acquire(&user(), AT_ONCE).await.unwrap();
        let slot = held.pending();
        slot.write(&pending("a", Some("secret"))).await.unwrap();
        slot.end(json!("why")).await.unwrap();
        assert!(slot.is_noted() && slot.read().await.unwrap().is_none());
        assert_eq!(two.noted(&user()).await.unwrap(), Some(Noted::Ended(json!("why"))));
        assert_eq!(two.list_noted().await.unwrap(), listed(false));
        slot.write(&pending("b", None)).await.unwrap();
        assert_eq!(two.list_noted().await.unwrap(), listed(true));
        slot.clear().await.unwrap();
        slot.end(json!("without any work before")).await.unwrap();
        assert_eq!(two.list_noted().await.unwrap(), listed(false));
        drop(slot);
        held.remove().await.unwrap();
        assert_eq!((two.noted(&user()).await.unwrap(), two.list_noted().await.unwrap()), (None, vec![]));
    }
}

#[tokio::test]
async fn a_holder_that_lost_the_user_cannot_change_the_pending_work() {
    for world in World::all().await {
        let stopped = world.one.acquire(&user(), AT_ONCE).await.unwrap();
        let slot = stopped.pending();
        slot.write(&pending("old", Some("old"))).await.unwrap();
        world.lose_lease();
        let other = world.two.acquire(&user(), AT_ONCE).await.unwrap();
        other.pending().write(&pending("new", Some("new"))).await.unwrap();
        world.pass(VERIFIED_FOR);
        assert!(is_lost(slot.write(&pending("stale", None)).await));
        assert!(is_lost(slot.end(Value::Null).await));
        assert!(is_lost(slot.clear().await));
        assert_eq!(told(other.pending().read().await.unwrap()), was("new", Some("new")));
    }
}

#[tokio::test]
async fn a_holder_receives_a_request_once_and_later_holders_do_not() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        // Without a holder, a request has no effect.
        two.ask(&user(), Ask::Cancel).await.unwrap();
        let held = one.acquire(&user(), AT_ONCE).await.unwrap();
        held.verify().await.unwrap();
        assert_eq!(held.pending().asked().await.unwrap(), None);
        for (asks, heard) in [
            (&[Ask::Yield][..], Ask::Yield),
            (&[Ask::Yield, Ask::Cancel], Ask::Cancel),
            (&[Ask::Cancel, Ask::Yield], Ask::Cancel),
        ] {
            for ask in asks {
                two.ask(&user(), *ask).await.unwrap();
            }
            assert_eq!(held.pending().asked().await.unwrap(), Some(heard));
            assert_eq!(held.pending().asked().await.unwrap(), None);
        }
        two.ask(&user(), Ask::Cancel).await.unwrap();
        drop(held);
        let next = two.acquire(&user(), LONG).await.unwrap();
        next.verify().await.unwrap();
        assert_eq!(next.pending().asked().await.unwrap(), None);
    }
}

#[test]
fn nothing_pending_is_ever_printed() {
    let shown = format!("{:?}", pending("words", Some("secret")));
    assert!(!shown.contains("secret") && !shown.contains("words"), "{shown}");
}

/// The ledger on files, for the tests below.
struct OnFiles {
    world: World,
}

impl OnFiles {
    async fn new() -> Self {
        Self { world: World::on_files().await }
    }

    fn directory(&self) -> std::path::PathBuf {
        let Kind::Files { root, .. } = &self.world.kind else { panic!("not on files") };
        root.path().join(".provisioner/pending")
    }

    fn names(&self) -> Vec<String> {
        names(&self.directory())
    }
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_sign_in_is_a_private_file_that_is_removed_with_the_work_that_names_it() {
    let files = OnFiles::new().await;
    let held = files.world.one.acquire(&user(), AT_ONCE).await.unwrap();
    let slot = held.pending();
    slot.write(&pending("a", Some("the secret"))).await.unwrap();
    let sign_in = files.names().into_iter().find(|name| name.ends_with(".sign-in")).unwrap();
    let mode = |name: &str| fs::metadata(files.directory().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([".", &sign_in, "u.pending"].map(mode), [0o700, 0o600, 0o600]);
    let content = |name: &str| fs::read_to_string(files.directory().join(name)).unwrap();
    assert_eq!(content(&sign_in), "the secret");
    assert!(!content("u.pending").contains("the secret"));
    // The same sign-in is not written again, and another one replaces it.
    slot.write(&pending("b", Some("the secret"))).await.unwrap();
    assert_eq!(files.names(), [sign_in.clone(), "u.pending".to_owned()]);
    slot.write(&pending("c", Some("another"))).await.unwrap();
    assert!(files.names().len() == 2 && !files.names().contains(&sign_in));
    slot.write(&pending("d", None)).await.unwrap();
    assert_eq!(files.names(), ["u.pending"]);
    for ends in [true, false] {
        slot.write(&pending("e", Some("the secret"))).await.unwrap();
        if ends {
            slot.end(Value::Null).await.unwrap()
        } else {
            slot.clear().await.unwrap()
        }
        assert!(files.names().iter().all(|name| !name.ends_with(".sign-in")), "{:?}", files.names());
    }
    assert_eq!(files.names(), Vec::<String>::new());
}

/// After a kill at any point of a write, either the old or the new work is pending. The next holder removes the files that
/// are left.
#[tokio::test]
async fn files_that_a_kill_leaves_are_found_and_removed() {
    let files = OnFiles::new().await;
    let held = files.world.one.acquire(&user(), AT_ONCE).await.unwrap();
    held.pending().write(&pending("a", Some("the secret"))).await.unwrap();
    // Killed before the file that names the sign-in was written.
    fs::write(files.directory().join("u.0123456789abcdef.sign-in"), "left").unwrap();
    assert_eq!(files.world.two.list_noted().await.unwrap(), listed(true));
    assert_eq!(told(held.pending().read().await.unwrap()), was("a", Some("the secret")));
    assert_eq!(files.names().len(), 2);
    // No pending work names it.
    fs::remove_file(files.directory().join("u.pending")).unwrap();
    assert_eq!(files.world.two.list_noted().await.unwrap(), listed(true));
    assert_eq!(told(held.pending().read().await.unwrap()), None);
    assert_eq!((files.names(), files.world.two.list_noted().await.unwrap()), (vec![], vec![]));
    // An unfinished write: it stays while it may still continue, and is removed when it is old.
    let temporary = files.directory().join(".provisioner-0123456789abcdef.tmp");
    fs::write(&temporary, "half of a secret").unwrap();
    files.world.two.list_noted().await.unwrap();
    assert!(temporary.exists());
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(600);
    fs::File::options().write(true).open(&temporary).unwrap().set_modified(long_ago).unwrap();
    files.world.two.ask(&user(), Ask::Yield).await.unwrap();
    files.world.two.list_noted().await.unwrap();
    assert!(!temporary.exists());
    // So is a request that nobody received.
    let ask = files.directory().join("u.ask");
    assert!(ask.exists());
    fs::File::options().write(true).open(&ask).unwrap().set_modified(long_ago).unwrap();
    files.world.two.list_noted().await.unwrap();
    assert!(!ask.exists());
}

/// For example after an operator removed the lock file: the work that a caller was promised is still done.
#[tokio::test]
async fn accepted_work_is_found_even_if_the_lock_file_is_lost() {
    let files = OnFiles::new().await;
    let held = files.world.one.acquire(&user(), AT_ONCE).await.unwrap();
    held.pending().write(&pending("a", Some("the secret"))).await.unwrap();
    drop(held);
    fs::remove_file(files.directory().parent().unwrap().join("locks/u.lock")).unwrap();
    let held = files.world.two.acquire(&user(), LONG).await.unwrap();
    let slot = held.pending();
    assert!(held.is_new() && slot.read().await.unwrap().is_none());
    assert_eq!(told(slot.find().await.unwrap()), was("a", Some("the secret")));
    assert_eq!(told(slot.read().await.unwrap()), was("a", Some("the secret")));
    slot.clear().await.unwrap();
    assert_eq!(files.names(), Vec::<String>::new());
    assert!(slot.find().await.unwrap().is_none() && !slot.is_noted());
}

#[tokio::test]
async fn work_of_a_later_version_is_not_changed_and_unknown_members_are_ignored() {
    let files = OnFiles::new().await;
    let held = files.world.one.acquire(&user(), AT_ONCE).await.unwrap();
    let slot = held.pending();
    slot.write(&pending("a", None)).await.unwrap();
    let path = files.directory().join("u.pending");
    fs::write(&path, r#"{"version":1,"intent":{"wants":"b"},"and":["more"]}"#).unwrap();
    assert_eq!(told(slot.read().await.unwrap()), was("b", None));
    for text in [r#"{"version":2,"intent":{"wants":"b"}}"#, r#"{"version":1,"sign_in":"../../x","intent":{}}"#, "{", ""]
    {
        fs::write(&path, text).unwrap();
        assert!(matches!(slot.read().await, Err(LedgerError::NotUnderstood { .. })), "{text}");
        assert_eq!(files.world.two.noted(&user()).await.unwrap(), Some(Noted::NotUnderstood));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    // A cancel removes it.
    slot.clear().await.unwrap();
    assert_eq!(files.names(), Vec::<String>::new());
}

#[tokio::test]
async fn other_files_in_the_directory_are_ignored() {
    let files = OnFiles::new().await;
    for name in ["u.ask", "u.other", "no user.pending", ".pending", "pending"] {
        fs::write(files.directory().join(name), "").unwrap();
    }
    assert_eq!(files.world.one.list_noted().await.unwrap(), vec![]);
}
