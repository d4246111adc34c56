//! Staging for well-behaved users. `hostile` tests the others, `purging` the removal of both.
//!
//! All tests run with and without root: as root the container's user is 1000, otherwise the user who runs the tests.

mod configuring;
mod hostile;
mod measuring;
mod purging;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use openclaw::freshness::Existing;
use openclaw::openclaw_json::{Entries, merge};
use openclaw::{ChatGptAuth, OpenClawVersion};
use rustix::fs::{Mode, OFlags};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::metrics::Metrics;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A root directory with staging on it, and one user.
struct Fixture {
    root: TempDir,
    staging: Staging,
    user: UserId,
}

fn container_user() -> Owner {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        Owner { uid: 1000, gid: 1000 }
    } else {
        Owner { uid: uid.as_raw(), gid: rustix::process::getegid().as_raw() }
    }
}

/// Opens staging on this runtime's threads, because a paused clock waits only for those.
async fn open(root: &Path, owner: Option<Owner>) -> Result<Staging, StagingError> {
    Staging::open(&Files::on_this_runtime(root, Metrics::default()), owner).await
}

/// Single parts of staging.
impl Staging {
    async fn place(
        &self,
        user: &UserId,
        release: &Release,
        sent: Option<&ChatGptAuth>,
        force: bool,
    ) -> Result<StagingResult, StagingError> {
        self.arrange(user, release, ToStage::SignIn { sent, force }, None, crate::staging::arrange::Whose::Anybody)
            .await
            .map(Option::unwrap)
    }

    async fn configure(&self, user: &UserId, entries: Entries) -> Result<Vec<Warning>, StagingError> {
        let noted = self.edit(user, move |existing, fresh_token| merge(existing, &entries, fresh_token)).await?;
        Ok(match noted {
            Ok(noted) => noted.warnings,
            Err(problem) => vec![Warning::ConfigurationLeftAlone { problem }],
        })
    }
}

impl Fixture {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let staging = open(root.path(), Some(container_user())).await.unwrap();
        let staging = staging.with_reread(Reread { times: 1, pause: Duration::ZERO });
        Self { root, staging, user: UserId::parse("mallory").unwrap() }
    }

    fn path(&self, beneath: &str) -> PathBuf {
        self.root.path().join(beneath)
    }

    /// A path in the user's own directory.
    fn own(&self, beneath: &str) -> PathBuf {
        self.path("users/mallory").join(beneath)
    }

    fn auth_json(&self) -> PathBuf {
        self.own("codex/auth.json")
    }

    async fn stage(&self, auth: &ChatGptAuth) -> StagingResult {
        self.try_stage(&self.user, auth, false).await.unwrap()
    }

    /// For a release that reads `codex/auth.json`.
    async fn try_stage(&self, user: &UserId, auth: &ChatGptAuth, force: bool) -> Result<StagingResult, StagingError> {
        self.staging.place(user, &recipe(), Some(auth), force).await
    }

    async fn live(&self) -> Option<SignIn> {
        self.staging.look(&self.user, &recipe()).await.unwrap().live
    }

    fn assert_staged(&self, auth: &ChatGptAuth) {
        assert!(fs::symlink_metadata(self.auth_json()).unwrap().is_file());
        assert_eq!(fs::read(self.auth_json()).unwrap(), auth.to_file_bytes().expose_secret());
    }
}

/// A release that reads `codex/auth.json`.
fn recipe() -> Release {
    Release::plain(OpenClawVersion::new(2026, 4, 21))
}

/// An unsigned JWT with these claims.
fn jwt(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({"alg": "RS256"})), part(claims))
}

/// A sign-in that was refreshed, and whose access token was issued, at this second.
fn auth(second: i64) -> ChatGptAuth {
    let access = jwt(&json!({"iat": second, "exp": second + 864_000}));
    let last_refresh = jiff::Timestamp::from_second(second).unwrap().to_string();
    ChatGptAuth::parse(json!({
        "auth_mode": "chatgpt",
        "tokens": {"access_token": access, "refresh_token": format!("rt-{second}"), "account_id": "acc"},
        "last_refresh": last_refresh,
    }))
    .unwrap()
}

const OLD: i64 = 1_777_000_000;
const NEW: i64 = 1_777_500_000;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn owner(path: &Path) -> Owner {
    let metadata = fs::symlink_metadata(path).unwrap();
    Owner { uid: metadata.uid(), gid: metadata.gid() }
}

/// All files beneath a directory.
fn files(beneath: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(beneath).unwrap() {
        let path = entry.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Incident 23: the service started before its files were written; staging is complete when it returns.
#[tokio::test]
async fn a_new_users_sign_in_is_there_private_and_the_containers_own() {
    let f = Fixture::new().await;
    assert!(!f.staging.user_directory_exists(&f.user).await.unwrap());
    let staged = f.stage(&auth(OLD)).await;
    assert_eq!(staged.staged, Some(Staged { outcome: StagingOutcome::Written, reason: FreshnessReason::Missing }));
    assert_eq!((staged.live.as_ref(), staged.moved_aside), (Some(auth(OLD).sign_in()), vec![]));
    assert!(!staged.needs_start && !staged.reauth_required);
    f.assert_staged(&auth(OLD));
    for (path, expected) in [(f.own(""), 0o700), (f.own("codex"), 0o700), (f.auth_json(), 0o600)] {
        assert_eq!((mode(&path), owner(&path)), (expected, container_user()), "{}", path.display());
    }
    assert_eq!(format!("{:04o}", mode(&f.own(""))), USER_DIRECTORY_PERMISSIONS);
    assert_eq!(mode(&f.path("users")), 0o755);
    assert_eq!(owner(&f.path("users")).uid, rustix::process::geteuid().as_raw());
    assert!(f.staging.user_directory_exists(&f.user).await.unwrap());
}

/// Incident 24: the owner changed between 0 and 1000 and left unreadable files.
#[tokio::test]
async fn owner_and_mode_are_corrected_whether_the_sign_in_is_written_or_kept() {
    for (second, outcome) in [(NEW + 1, StagingOutcome::Written), (OLD, StagingOutcome::KeptFresher)] {
        let f = Fixture::new().await;
        f.stage(&auth(NEW)).await;
        for path in [f.auth_json(), f.own("codex"), f.own("")] {
            if rustix::process::geteuid().is_root() {
                std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(if path.is_dir() { 0o777 } else { 0o400 })).unwrap();
        }
        assert_eq!(f.stage(&auth(second)).await.staged.unwrap().outcome, outcome);
        for (path, expected) in [(f.own(""), 0o700), (f.own("codex"), 0o700), (f.auth_json(), 0o600)] {
            assert_eq!((mode(&path), owner(&path)), (expected, container_user()), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn without_an_owner_files_belong_to_this_process() {
    let f = Fixture::new().await;
    let staging = open(f.root.path(), None).await.unwrap();
    staging.place(&f.user, &recipe(), Some(&auth(OLD)), false).await.unwrap();
    assert_eq!(owner(&f.auth_json()).uid, rustix::process::geteuid().as_raw());
}

/// Incident 26: a crash between truncate and write left a 0-byte auth.json.
#[tokio::test]
async fn an_empty_file_is_replaced_and_leftovers_of_a_crash_are_removed() {
    let f = Fixture::new().await;
    fs::create_dir_all(f.own("codex")).unwrap();
    fs::write(f.auth_json(), "").unwrap();
    let leftover = f.own("codex/.provisioner-0123456789abcdef.tmp");
    let (theirs, similar) = (f.own("codex/sessions.tmp"), f.own("codex/.provisioner-notes.tmp"));
    for path in [&leftover, &theirs, &similar] {
        fs::write(path, "half a tok").unwrap();
    }
    fs::create_dir(f.own("codex/.provisioner-fedcba9876543210.tmp")).unwrap();
    assert_eq!(f.stage(&auth(OLD)).await.staged.unwrap().reason, FreshnessReason::Empty);
    f.assert_staged(&auth(OLD));
    assert_eq!([&leftover, &theirs, &similar].map(|path| path.exists()), [false, true, true]);
}

/// Incident 26: a reader always sees a complete file, old or new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_a_half_written_file() {
    let f = Fixture::new().await;
    f.stage(&auth(OLD)).await;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (path, stop) = (f.auth_json(), done.clone());
    let reader = std::thread::spawn(move || {
        let mut reads = 0;
        while reads == 0 || !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let existing = Existing::from_file_bytes(&fs::read(&path).unwrap());
            assert!(matches!(existing, Existing::Parsed(_)), "{existing:?}");
            reads += 1;
        }
    });
    for second in 1..40 {
        assert_eq!(f.stage(&auth(OLD + second)).await.staged.unwrap().outcome, StagingOutcome::Written);
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    reader.join().unwrap();
}

/// Incident 28: re-provisioning wrote an older refresh token over one that the container had rotated.
#[tokio::test]
async fn a_sign_in_that_the_container_rotated_is_kept_until_forced() {
    let f = Fixture::new().await;
    f.stage(&auth(OLD)).await;
    // As Codex does: in place, with its own fields.
    let mut rotated: serde_json::Value = serde_json::from_slice(auth(NEW).to_file_bytes().expose_secret()).unwrap();
    rotated["agent_identity"] = json!(null);
    fs::write(f.auth_json(), rotated.to_string()).unwrap();
    let staged = f.stage(&auth(OLD)).await;
    let kept = Staged { outcome: StagingOutcome::KeptFresher, reason: FreshnessReason::StoredRefreshedLater };
    assert_eq!((staged.staged, staged.live.as_ref()), (Some(kept), Some(auth(NEW).sign_in())));
    assert_eq!(fs::read_to_string(f.auth_json()).unwrap(), rotated.to_string());

    let forced = f.try_stage(&f.user, &auth(OLD), true).await.unwrap();
    assert_eq!(forced.staged, Some(Staged { outcome: StagingOutcome::Written, reason: FreshnessReason::Forced }));
    f.assert_staged(&auth(OLD));
}

/// Incident 28: the container may renew the token between our decision and our rename.
#[tokio::test]
async fn a_token_that_is_renewed_after_the_decision_stops_the_write() {
    let f = Fixture::new().await;
    let path = f.auth_json();
    let work = f.staging.blocking(&f.user, move |root, user| {
        let owner = Some(container_user());
        let mut home = Home::make(root, user, owner)?;
        let observed = credentials::prepare(&mut home, owner, &mut vec![])?;
        fs::write(path, auth(NEW).to_file_bytes().expose_secret()).unwrap();
        let changes = [Change::Write(openclaw::CredentialFile::Codex, auth(OLD).to_file_bytes())];
        let edits: Vec<_> = credentials::edits(&observed, &changes).collect();
        home.apply(&edits, &mut vec![])
    });
    assert!(!work.await.unwrap());
    f.assert_staged(&auth(NEW));
    assert_eq!(files(&f.own("")), [f.auth_json()]);
}

/// Incident 28, and openclaw-facts §3: Codex 0.130 rewrites in place, so a half-written file is read again.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_half_written_when_first_read_is_not_overwritten() {
    let f = Fixture::new().await;
    let staging = f.staging.clone().with_reread(Reread { times: 1, pause: Duration::from_millis(200) });
    for half in [0, 40] {
        let whole = auth(NEW).to_file_bytes();
        fs::create_dir_all(f.own("codex")).unwrap();
        fs::write(f.auth_json(), &whole.expose_secret()[..half]).unwrap();
        let finish = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            fs::write(f.auth_json(), whole.expose_secret()).unwrap();
        };
        let (release, sent) = (recipe(), auth(OLD));
        let (staged, ()) = tokio::join!(staging.place(&f.user, &release, Some(&sent), false), finish);
        assert_eq!(staged.unwrap().staged.unwrap().outcome, StagingOutcome::KeptFresher);
        f.assert_staged(&auth(NEW));
    }
}

/// Incident 29: the same refresh token was in two files; the copy that was refreshed second was invalid.
#[tokio::test]
async fn the_refresh_token_is_in_exactly_one_file() {
    let f = Fixture::new().await;
    for second in [OLD, NEW] {
        f.stage(&auth(second)).await;
        f.stage(&auth(second)).await;
        assert_eq!(files(f.root.path()), [f.auth_json()]);
    }
}

#[tokio::test]
async fn the_same_sign_in_is_kept_and_inspecting_changes_nothing() {
    let f = Fixture::new().await;
    assert_eq!(f.live().await, None);
    assert_eq!(files(f.root.path()), Vec::<PathBuf>::new());
    f.stage(&auth(OLD)).await;
    let before = fs::metadata(f.auth_json()).unwrap().ino();
    assert_eq!(f.stage(&auth(OLD)).await.staged.unwrap().reason, FreshnessReason::SameSignIn);
    assert_eq!(f.live().await.as_ref(), Some(auth(OLD).sign_in()));
    assert_eq!(fs::metadata(f.auth_json()).unwrap().ino(), before);
}

#[tokio::test]
async fn removing_a_sign_in_removes_leftovers_too_and_can_be_repeated() {
    let f = Fixture::new().await;
    assert!(!f.staging.remove_sign_in(&f.user, &recipe()).await.unwrap());
    f.stage(&auth(OLD)).await;
    fs::write(f.own("codex/config.toml"), "").unwrap();
    fs::write(f.own("codex/.provisioner-0123456789abcdef.tmp"), "rt").unwrap();
    for _ in 0..2 {
        assert!(!f.staging.remove_sign_in(&f.user, &recipe()).await.unwrap());
        assert_eq!(files(&f.own("")), [f.own("codex/config.toml")]);
    }
}

#[tokio::test]
async fn readiness_leaves_nothing_behind_and_fails_when_the_root_is_gone() {
    let f = Fixture::new().await;
    f.staging.check().await.unwrap();
    assert_eq!(files(f.root.path()), Vec::<PathBuf>::new());
    assert_eq!(mode(&f.path(".provisioner")), 0o700);
    fs::rename(f.root.path(), f.root.path().with_extension("gone")).unwrap();
    let error = f.staging.check().await.unwrap_err();
    fs::rename(f.root.path().with_extension("gone"), f.root.path()).unwrap();
    assert!(!error.is_retryable() && error.to_string().starts_with("could not open the EFS root /"), "{error}");
    assert!(open(&f.path("nowhere"), None).await.is_err());
}

/// A service that may not chown would start, receive traffic, and fail every provision.
#[tokio::test]
async fn readiness_fails_if_files_cannot_be_given_to_their_owner() {
    let root = tempfile::tempdir().unwrap();
    // Another user: only root may change the owner of a file.
    let staging = open(root.path(), Some(Owner { uid: 1, gid: 1 })).await.unwrap();
    let checked = staging.check().await;
    assert_eq!(checked.is_ok(), rustix::process::geteuid().is_root(), "{checked:?}");
    assert_eq!(files(root.path()), Vec::<PathBuf>::new());
}

/// Without the file system, the mount point is an empty directory: nothing is written there, and no purge succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn an_unmounted_file_system_is_noticed_and_nothing_is_written_in_its_place() {
    let root = tempfile::tempdir().unwrap();
    let files = Files::on_this_runtime(root.path(), Metrics::default());
    let staging = Staging::open(&files, None).await.unwrap();
    let user = UserId::parse("alice").unwrap();
    for made in ["users", ".provisioner"] {
        std::fs::rename(root.path().join(made), root.path().join(format!("{made}.unmounted"))).unwrap();
    }
    let gone = |result: Result<(), StagingError>| matches!(result, Err(StagingError::NotMounted { .. }));
    assert!(gone(staging.check().await));
    assert!(gone(staging.purge(&user).await));
    assert!(gone(staging.place(&user, &recipe(), Some(&auth(OLD)), false).await.map(drop)));
    assert!(!root.path().join("users").exists() && !root.path().join(".provisioner").exists());
}
