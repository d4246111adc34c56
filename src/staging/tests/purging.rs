//! Removing a user's directory.

use std::os::unix::fs::symlink;

use rustix::fs::CWD;

use super::*;

#[tokio::test]
async fn purging_removes_everything_of_the_user_and_nothing_else() {
    let f = Fixture::new();
    f.stage(&auth(OLD)).await;
    let other = f.path("users/other");
    fs::create_dir_all(other.join("codex")).unwrap();
    fs::write(other.join("codex/auth.json"), "theirs").unwrap();
    symlink(&other, f.own("link")).unwrap();
    symlink(other.join("codex/auth.json"), f.own("codex/link")).unwrap();
    fs::hard_link(other.join("codex/auth.json"), f.own("hard")).unwrap();
    rustix::fs::mkfifoat(CWD, f.own("fifo"), Mode::RWXU).unwrap();
    fs::write(f.own("new\nline"), "").unwrap();
    fs::create_dir_all(f.own("packages/a/b")).unwrap();
    fs::write(f.own("packages/a/b/file"), "").unwrap();
    for path in ["packages/a/b", "packages/a", "packages"] {
        fs::set_permissions(f.own(path), fs::Permissions::from_mode(0o555)).unwrap();
    }
    f.staging.purge(&f.user).await.unwrap();
    assert!(!f.own("").exists());
    assert!(!f.staging.user_directory_exists(&f.user).await.unwrap());
    assert_eq!(files(&f.path("users")), [other.join("codex/auth.json")]);
    f.staging.purge(&f.user).await.unwrap();
}

#[tokio::test]
async fn purging_a_link_removes_the_link() {
    let f = Fixture::new();
    fs::create_dir_all(f.path("users/other")).unwrap();
    fs::write(f.path("users/other/file"), "theirs").unwrap();
    symlink("other", f.path("users/mallory")).unwrap();
    f.staging.purge(&f.user).await.unwrap();
    assert!(fs::symlink_metadata(f.path("users/mallory")).is_err());
    assert_eq!(files(&f.path("users")), [f.path("users/other/file")]);
}

/// 3,000 levels are more than the descriptors of a process and more than the longest path.
#[tokio::test]
async fn a_deep_and_a_wide_tree_are_purged_alike() {
    let f = Fixture::new();
    fs::create_dir_all(f.own("wide")).unwrap();
    for number in 0..1_500 {
        fs::write(f.own(&format!("wide/{number}")), "").unwrap();
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut level = rustix::fs::open(f.own(""), flags, Mode::empty()).unwrap();
    for _ in 0..3_000 {
        rustix::fs::mkdirat(&level, "deep", Mode::RWXU).unwrap();
        level = rustix::fs::openat(&level, "deep", flags, Mode::empty()).unwrap();
    }
    f.staging.purge(&f.user).await.unwrap();
    assert!(!f.own("").exists());
    assert_eq!(files(f.root.path()), Vec::<PathBuf>::new());
}

/// Incident 19, as far as files go: an interrupted delete is finished by the next one.
#[tokio::test]
async fn an_interrupted_purge_is_finished_by_the_next() {
    let f = Fixture::new();
    fs::create_dir_all(f.own(".provisioner-purge-0123456789abcdef/deeper/still")).unwrap();
    f.staging.purge(&f.user).await.unwrap();
    assert!(!f.own("").exists());
}
