//! Measuring users' directories, including hostile ones.

use std::os::unix::fs::symlink;

use super::*;
use crate::staging::measure::{Measured, Pace};

/// Without pauses, for tests.
fn quick() -> Pace {
    Pace { pause: Duration::ZERO, time: Duration::from_secs(60), ..Pace::default() }
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

impl Fixture {
    /// Creates a directory in `users`.
    fn home(&self, name: &str) -> PathBuf {
        let home = self.path("users").join(name);
        fs::create_dir_all(&home).unwrap();
        home
    }
}

fn taken(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().blocks() * 512
}

/// The size that `du` would report.
fn beneath(path: &Path) -> u64 {
    let mut sum = taken(path);
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let is_directory = entry.file_type().unwrap().is_dir();
        sum += if is_directory { beneath(&entry.path()) } else { taken(&entry.path()) };
    }
    sum
}

#[tokio::test]
async fn a_directorys_size_is_what_its_content_takes_on_the_file_system() {
    let place = Fixture::new().await;
    let home = place.home("alice");
    fs::create_dir_all(home.join("workspace/deep/er")).unwrap();
    fs::write(home.join("workspace/deep/er/large"), vec![1; 300_000]).unwrap();
    fs::write(home.join("small"), "x").unwrap();
    let measured = place.staging.measure(&user("alice"), quick()).await.unwrap();
    assert_eq!(measured, Some(Measured { bytes: beneath(&home), entries: 5, complete: true }));
    assert!(beneath(&home) > 300_000);
}

#[tokio::test]
async fn a_user_without_a_directory_has_no_size() {
    let place = Fixture::new().await;
    assert_eq!(place.staging.measure(&user("nobody"), quick()).await.unwrap(), None);
}

#[tokio::test]
async fn a_file_with_two_names_counts_once_and_a_hole_counts_nothing() {
    let place = Fixture::new().await;
    let home = place.home("alice");
    fs::write(home.join("one"), vec![1; 400_000]).unwrap();
    fs::hard_link(home.join("one"), home.join("another")).unwrap();
    let hole = fs::File::create(home.join("hole")).unwrap();
    hole.set_len(1 << 40).unwrap();
    let measured = place.staging.measure(&user("alice"), quick()).await.unwrap().unwrap();
    assert_eq!(measured, Measured { bytes: taken(&home) + taken(&home.join("one")), entries: 3, complete: true });
}

#[tokio::test]
async fn links_are_not_followed_and_fifos_are_not_opened() {
    let place = Fixture::new().await;
    let (home, outside) = (place.home("alice"), place.home("bob"));
    fs::write(outside.join("large"), vec![1; 500_000]).unwrap();
    symlink(&outside, home.join("bob")).unwrap();
    symlink(".", home.join("loop")).unwrap();
    symlink("/proc", home.join("proc")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, home.join("fifo"), rustix::fs::Mode::RUSR).unwrap();
    let measured = place.staging.measure(&user("alice"), quick()).await.unwrap().unwrap();
    assert_eq!((measured.entries, measured.complete), (4, true));
    assert!(measured.bytes < 100_000, "{measured:?}");
}

#[tokio::test]
async fn a_directory_that_exceeds_the_limits_of_a_walk_is_marked_incomplete() {
    let place = Fixture::new().await;
    let home = place.home("alice");
    for name in 0..30 {
        fs::write(home.join(name.to_string()), "x").unwrap();
    }
    let short = Pace { most_entries: 20, ..quick() };
    let measured = place.staging.measure(&user("alice"), short).await.unwrap().unwrap();
    assert_eq!((measured.entries, measured.complete), (20, false));

    let mut deep = place.home("bob");
    for _ in 0..70 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    let measured = place.staging.measure(&user("bob"), quick()).await.unwrap().unwrap();
    assert_eq!((measured.entries, measured.complete), (64, false));
}

#[tokio::test]
async fn a_walk_continues_where_its_last_slice_ended() {
    let place = Fixture::new().await;
    let home = place.home("alice");
    for directory in ["a", "b", "c"] {
        fs::create_dir(home.join(directory)).unwrap();
        for name in 0..7 {
            fs::write(home.join(directory).join(name.to_string()), "x").unwrap();
        }
    }
    let small = Pace { entries: 2, ..quick() };
    let measured = place.staging.measure(&user("alice"), small).await.unwrap();
    assert_eq!(measured, Some(Measured { bytes: beneath(&home), entries: 24, complete: true }));
}

#[tokio::test]
async fn measuring_changes_nothing() {
    let place = Fixture::new().await;
    let home = place.home("alice");
    fs::create_dir(home.join("closed")).unwrap();
    fs::write(home.join("closed/file"), "x").unwrap();
    fs::set_permissions(home.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let measured = place.staging.measure(&user("alice"), quick()).await.unwrap().unwrap();
    assert_eq!(fs::metadata(home.join("closed")).unwrap().mode() & 0o777, 0o000);
    // Root can read it nevertheless.
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!((measured.entries, measured.complete), (if is_root { 2 } else { 1 }, is_root));
}

#[tokio::test]
async fn exactly_the_users_with_an_entry_are_listed() {
    let place = Fixture::new().await;
    for name in ["alice", "bob", "with space", ".hidden"] {
        place.home(name);
    }
    fs::write(place.home("alice").parent().unwrap().join("file"), "x").unwrap();
    let mut users = place.staging.users().await.unwrap();
    users.sort();
    // Listing includes a file; only measuring finds that it is no directory.
    assert_eq!(users, [user("alice"), user("bob"), user("file")]);
    let measured = place.staging.measure(&user("file"), quick()).await.unwrap().unwrap();
    assert_eq!(measured.entries, 0);
}
