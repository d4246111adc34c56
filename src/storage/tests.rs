use std::fs;
use std::path::Path;

use super::*;
use crate::files::Files;
use crate::ledger::FileLedger;

const HOUR: Duration = Duration::from_secs(3_600);

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn at(second: i64) -> DirectorySize {
    let measured_at = Timestamp::from_second(second).unwrap();
    DirectorySize { bytes: 1, entries: 1, complete: true, measured_at }
}

/// A replica on this file system, with file work on this runtime, so that a paused clock waits for it.
async fn replica(root: &Path, options: Options) -> Storage {
    let metrics = Metrics::default();
    let files = Files::on_this_runtime(root, metrics.clone());
    let staging = Staging::open(&files, None).await.unwrap();
    Storage::new(staging, Arc::new(FileLedger::new(files, metrics.clone())), options, metrics)
}

fn root_with(users: &[(&str, usize)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (user, bytes) in users {
        let home = root.path().join("users").join(user);
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("file"), vec![1; *bytes]).unwrap();
    }
    root
}

/// The sizes, as soon as the condition is true.
async fn once(storage: &Storage, is_so: impl Fn(&Sizes) -> bool) -> Arc<Sizes> {
    let looked = async {
        loop {
            let sizes = storage.sizes().await;
            if is_so(&sizes) {
                return sizes;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(100 * HOUR, looked).await.unwrap()
}

#[test]
fn users_who_were_never_measured_are_due_first_and_then_the_oldest() {
    let now = Timestamp::now().as_second();
    let users = ["ahead", "failed", "fresh", "never", "old", "older"].map(user);
    let failed = BTreeMap::from([(user("failed"), Timestamp::from_second(now - 60).unwrap())]);
    let sizes = [("ahead", now + 7_200), ("fresh", now - 60), ("old", now - 90_000), ("older", now - 95_000)];
    let sizes = sizes.map(|(id, second)| (user(id), at(second))).into();
    let found = due(&users, &sizes, &failed, 24 * HOUR);
    // A clock was set back after "ahead" was measured.
    assert_eq!(found, ["never", "older", "old", "ahead"].map(user));
}

#[tokio::test(start_paused = true)]
async fn one_replica_measures_and_all_replicas_report_its_results() {
    let root = root_with(&[("alice", 5_000), ("bob", 50_000)]);
    let one = replica(root.path(), Options::default()).await;
    let other = replica(root.path(), Options { measures: false, ..Options::default() }).await;
    let background = [one.measure_in_background(), other.measure_in_background()];
    let is_whole = |sizes: &Sizes| sizes.total().users == 2;
    let (of_one, of_other) = (once(&one, is_whole).await, once(&other, is_whole).await);
    assert_eq!(of_one.of(&user("alice")), of_other.of(&user("alice")));
    let [alice, bob] = ["alice", "bob"].map(|id| of_other.of(&user(id)).unwrap());
    assert!(alice.bytes >= 5_000 && bob.bytes >= 50_000 && alice.complete && bob.complete);
    assert_eq!((alice.entries, of_other.total().bytes), (1, alice.bytes + bob.bytes));
    // Both of them show it.
    for storage in [one, other] {
        let shown = move || {
            let text = storage.0.metrics.encode();
            text.contains(&format!("openclaw_provisioner_directories_bytes{{}} {}", alice.bytes + bob.bytes))
        };
        tokio::time::timeout(HOUR, async {
            while !shown() {
                sleep(Duration::from_secs(1)).await
            }
        })
        .await
        .unwrap();
    }
    background.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn another_replica_continues_where_the_measuring_one_ended() {
    let root = root_with(&[("alice", 5_000)]);
    let one = replica(root.path(), Options::default()).await;
    let background = one.measure_in_background();
    let before = once(&one, |sizes| sizes.total().users == 1).await;
    // Results are stored some time later.
    let next = replica(root.path(), Options::default()).await;
    let kept = once(&next, |sizes| sizes.total().users == 1).await;
    assert_eq!(kept.of(&user("alice")), before.of(&user("alice")));
    background.abort();
    fs::create_dir_all(root.path().join("users/bob")).unwrap();
    let background = next.measure_in_background();
    let after = once(&next, |sizes| sizes.total().users == 2).await;
    assert_eq!(after.of(&user("alice")), before.of(&user("alice")), "it is not old enough to be measured again");
    background.abort();
}

#[tokio::test(start_paused = true)]
async fn a_user_whose_directory_was_removed_is_no_longer_reported() {
    let root = root_with(&[("alice", 5_000), ("bob", 5_000)]);
    let storage = replica(root.path(), Options::default()).await;
    let background = storage.measure_in_background();
    once(&storage, |sizes| sizes.total().users == 2).await;
    fs::remove_dir_all(root.path().join("users/alice")).unwrap();
    let sizes = once(&storage, |sizes| sizes.total().users == 1).await;
    assert_eq!((sizes.of(&user("alice")), sizes.of(&user("bob")).is_some()), (None, true));
    background.abort();
}

#[tokio::test(start_paused = true)]
async fn known_sizes_are_kept_while_they_cannot_be_read() {
    let root = root_with(&[("alice", 5_000)]);
    let measuring = replica(root.path(), Options::default()).await;
    let background = measuring.measure_in_background();
    let storage = replica(root.path(), Options { measures: false, ..Options::default() }).await;
    let before = once(&storage, |sizes| sizes.total().users == 1).await;
    background.abort();
    fs::rename(root.path().join(".provisioner"), root.path().join("away")).unwrap();
    sleep(HOUR).await;
    assert_eq!(storage.sizes().await.of(&user("alice")), before.of(&user("alice")));
    // A replica that never read them reports nothing, and does not wait.
    let new =
        Storage::new(storage.0.staging.clone(), Arc::clone(&storage.0.ledger), Options::default(), Metrics::default());
    assert_eq!(new.sizes().await.total(), DirectorySizes::default());
}

#[tokio::test(start_paused = true)]
async fn users_above_the_soft_limit_are_counted_but_no_metric_names_them() {
    let root = root_with(&[("alice", 5_000), ("bob", 50_000)]);
    let options = Options { soft_limit: Some(40_000), ..Options::default() };
    let storage = replica(root.path(), options).await;
    let background = storage.measure_in_background();
    let sizes = once(&storage, |sizes| sizes.total().users == 2).await;
    let limit_below = |id: &str| sizes.limit_below(&sizes.of(&user(id)).unwrap());
    assert_eq!((limit_below("alice"), limit_below("bob")), (None, Some(40_000)));
    let text = storage.0.metrics.encode();
    assert!(text.contains("openclaw_provisioner_directories_above_soft_limit{} 1"), "{text}");
    let bob = sizes.of(&user("bob")).unwrap().bytes;
    assert!(text.contains(&format!("openclaw_provisioner_directories_largest_bytes{{rank=\"1\"}} {bob}")), "{text}");
    assert!(!text.contains("bob") && !text.contains("rank=\"3\""), "{text}");
    background.abort();
}
