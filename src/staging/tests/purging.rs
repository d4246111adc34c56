//! Removing a user's directory.

use std::os::unix::fs::symlink;

use rustix::fs::CWD;

use super::*;

impl Fixture {
    /// Purges slice by slice until nothing is left.
    async fn purge(&self) {
        loop {
            match self.staging.purge(&self.user).await {
                Ok(()) => break,
                Err(StagingError::PurgeUnfinished { removed, .. }) => assert_ne!(removed, 0),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn purging_removes_everything_of_the_user_and_nothing_else() {
    let f = Fixture::new().await;
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
    f.purge().await;
    assert!(!f.own("").exists());
    assert!(!f.staging.user_directory_exists(&f.user).await.unwrap());
    assert_eq!(files(&f.path("users")), [other.join("codex/auth.json")]);
    f.purge().await;
}

#[tokio::test]
async fn purging_a_link_removes_the_link() {
    let f = Fixture::new().await;
    fs::create_dir_all(f.path("users/other")).unwrap();
    fs::write(f.path("users/other/file"), "theirs").unwrap();
    symlink("other", f.path("users/mallory")).unwrap();
    f.purge().await;
    assert!(fs::symlink_metadata(f.path("users/mallory")).is_err());
    assert_eq!(files(&f.path("users")), [f.path("users/other/file")]);
}

/// 3,000 levels exceed both the descriptors of a process and the longest path.
#[tokio::test]
async fn both_a_deep_and_a_wide_tree_are_purged() {
    let f = Fixture::new().await;
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
    f.purge().await;
    assert!(!f.own("").exists());
    assert_eq!(files(f.root.path()), Vec::<PathBuf>::new());
}

/// Incident 19, as far as files go: an interrupted delete is finished by the next one.
#[tokio::test]
async fn an_interrupted_purge_is_finished_by_the_next() {
    let f = Fixture::new().await;
    fs::create_dir_all(f.own(".provisioner-purge-0123456789abcdef/deeper/still")).unwrap();
    f.purge().await;
    assert!(!f.own("").exists());
}

/// On EFS a million names take hours: the caller can stop between two slices, and the next call continues.
#[tokio::test]
async fn a_purge_continues_slice_by_slice_and_each_slice_keeps_its_limit() {
    let f = Fixture::new().await;
    let deep = f.own("a/b/c");
    fs::create_dir_all(&deep).unwrap();
    for number in 0..100 {
        fs::write(deep.join(number.to_string()), "").unwrap();
        fs::write(f.own(&number.to_string()), "").unwrap();
    }
    let slice = async |entries, time| {
        let slice = purge::Slice { entries, time };
        let purge = move |root: &Root, user: &UserId| purge::purge(&paths::users(root)?, &jail::Name::of(user), slice);
        f.staging.blocking(&f.user, purge).await
    };
    let long = Duration::from_secs(3_600);
    assert!(matches!(slice(1, Duration::ZERO).await, Err(StagingError::Contended { .. })), "no time, no entry");
    let (mut calls, mut left) = (0, files(&f.own("")).len());
    assert_eq!(left, 200);
    loop {
        calls += 1;
        match slice(30, long).await {
            Ok(()) => break,
            Err(StagingError::PurgeUnfinished { path, removed: 30 }) => assert_eq!(path, "users/mallory"),
            Err(error) => panic!("{error}"),
        }
        let now = files(&f.own("")).len();
        assert!((left - 30..=left).contains(&now), "{left} files, then {now}");
        left = now;
    }
    // 200 files, and three directories that were first moved up.
    assert_eq!(calls, 7);
    assert!(!f.own("").exists());
}

/// The owner can remove a directory that they have closed, as root or not.
#[tokio::test]
async fn closed_directories_are_purged_and_closed_homes_are_used() {
    let f = Fixture::new().await;
    let close = |path: &str| fs::set_permissions(f.own(path), fs::Permissions::from_mode(0o0)).unwrap();
    f.stage(&auth(OLD)).await;
    close("");
    assert_eq!(f.live().await.as_ref(), Some(auth(OLD).sign_in()));
    close("codex");
    close("");
    f.stage(&auth(NEW)).await;
    f.assert_staged(&auth(NEW));
    fs::create_dir_all(f.own("closed/inner/most")).unwrap();
    for path in ["closed/inner/most", "closed/inner", "closed", ""] {
        close(path);
    }
    f.purge().await;
    assert!(!f.own("").exists());
}
