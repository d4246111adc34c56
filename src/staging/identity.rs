//! The id of the file system that is mounted at the EFS root, kept in a file in the root itself.
//!
//! A bare mount point looks like an empty file system, and a wrong file system like one without users. A service that works on
//! either reports deletes of users whose files still exist, and creates users again who have files elsewhere. So the
//! id is written into the root once, and a root without it, or with another one, is refused.

use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::error::StagingError;
use super::jail::{Child, Dir, Found, Name};
use super::write::Temporary;
use crate::files::{Files, Job, Root};

const PROVISIONER: Name = Name::fixed(".provisioner");
const FILE_SYSTEM: Name = Name::fixed("file-system");
/// Longest accepted id; EFS's have 20 characters.
const LONGEST_ID: usize = 128;

/// What to do with a root that has no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialize {
    /// Refuse it.
    No,
    /// Write the expected id into it.
    IfMissing,
    /// Write the expected id, even over another one: for the directory of an emulator, which forgets the ids that it made.
    Anew,
}

/// Makes sure that the file system at `root` is the one with this id.
///
/// # Errors
/// [`StagingError::NotInitialized`], [`StagingError::OtherFileSystem`], or the reason why the file cannot be read or written.
pub async fn identify(files: &Files, id: &str, initialize: Initialize) -> Result<(), StagingError> {
    let id = id.to_owned();
    files.run(Job::ours(), move |root| identify_at(root, &id, initialize)).await
}

fn identify_at(root: &Root, id: &str, initialize: Initialize) -> Result<(), StagingError> {
    let at = Dir::root(root)?;
    match (read(root, &at)?, initialize) {
        (Some(found), _) if found == id => return Ok(()),
        (None, Initialize::No) | (Some(_), Initialize::No | Initialize::IfMissing) => {}
        (None, Initialize::IfMissing) => write(&at, id, true)?,
        (_, Initialize::Anew) => write(&at, id, false)?,
    }
    // Read it again: another replica may have been first.
    check(root, id)?;
    tracing::info!(root = %root.path().display(), file_system_id = id, "wrote the file system's id into its root");
    Ok(())
}

/// The id in the root; `None` when there is none.
///
/// # Errors
/// When the file cannot be read, or does not contain an id.
pub async fn file_system_of(files: &Files) -> Result<Option<String>, StagingError> {
    files.run(Job::ours(), |root| read(root, &Dir::root(root)?)).await
}

/// Checks that the file system at `root` is the one with this id.
pub(super) fn check(root: &Root, id: &str) -> Result<(), StagingError> {
    match read(root, &Dir::root(root)?)? {
        Some(found) if found == id => Ok(()),
        Some(found) => Err(other_file_system(root.path(), found, id)),
        None => Err(StagingError::NotInitialized { path: shown(root.path()), expected: id.to_owned() }),
    }
}

/// The error for a root that is another file system than the settings say.
#[must_use]
pub fn other_file_system(root: &Path, found: String, expected: &str) -> StagingError {
    StagingError::OtherFileSystem { path: shown(root), found, expected: expected.to_owned() }
}

fn read(root: &Root, at: &Dir) -> Result<Option<String>, StagingError> {
    let directory = match at.child(&PROVISIONER)? {
        Child::Directory(directory) => directory,
        Child::Missing => return Ok(None),
        Child::Other => return Err(StagingError::NotADirectory { path: at.path_of(&PROVISIONER) }),
    };
    let bytes = match directory.read(&FILE_SYSTEM)? {
        Found::Regular(bytes) => bytes,
        Found::Missing => return Ok(None),
        Found::TooLarge(_) | Found::Other(_) => return Err(StagingError::NoIdentity { path: shown(root.path()) }),
    };
    let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    let is_id = !text.is_empty() && text.len() <= LONGEST_ID && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_id { Ok(Some(text.to_owned())) } else { Err(StagingError::NoIdentity { path: shown(root.path()) }) }
}

/// Writes the id completely or not at all; with `once`, never over an existing one.
fn write(at: &Dir, id: &str, once: bool) -> Result<(), StagingError> {
    use std::io::Write as _;
    let taken = || StagingError::NotADirectory { path: at.path_of(&PROVISIONER) };
    let directory = at.ensure_durably(&PROVISIONER, Mode::RWXU, None)?.ok_or_else(taken)?;
    let temporary = Temporary::new(&directory);
    let path = directory.path_of(&temporary.name);
    let failed = |action| {
        let path = path.clone();
        move |source| StagingError::Io { action, path, source }
    };
    let mut file = directory.create_new(&temporary.name)?;
    file.write_all(format!("{id}\n").as_bytes()).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    let cannot = |errno| StagingError::io("write", directory.path_of(&FILE_SYSTEM))(errno);
    let linked = if once { directory.link(&temporary.name, &FILE_SYSTEM) } else { Err(Errno::OPNOTSUPP) };
    match linked {
        // Another replica was first; the caller reads next which id it wrote.
        Ok(()) | Err(Errno::EXIST) => {}
        // Without hard links the last of two writers wins, and both read its id next.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::MLINK) => {
            directory.rename(&temporary.name, &FILE_SYSTEM).map_err(cannot)?;
        }
        Err(errno) => return Err(cannot(errno)),
    }
    directory.sync()?;
    at.sync()
}

/// The path of the file, for messages.
fn shown(root: &Path) -> String {
    root.join(".provisioner").join("file-system").display().to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::metrics::Metrics;
    use crate::staging::{Staging, StagingErrorKind};

    const ID: &str = "fs-0123456789abcdef0";

    fn files(root: &Path) -> Files {
        Files::new(root, Metrics::default()).unwrap()
    }

    async fn identify(root: &Path, id: &str, initialize: Initialize) -> Result<(), StagingError> {
        super::identify(&files(root), id, initialize).await
    }

    async fn refused(root: &Path, id: &str, initialize: Initialize) -> String {
        let before = paths(root);
        let error = identify(root, id, initialize).await.unwrap_err();
        assert_eq!(error.kind(), StagingErrorKind::Operator);
        assert_eq!(paths(root), before, "a root that is refused stays as it is");
        error.to_string()
    }

    fn paths(root: &Path) -> Vec<std::path::PathBuf> {
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[tokio::test]
    async fn a_root_without_an_identity_is_refused_until_it_is_given_one() {
        let root = tempfile::tempdir().unwrap();
        let message = refused(root.path(), ID, Initialize::No).await;
        for part in [root.path().to_str().unwrap(), ID, "--initialize", "mounted"] {
            assert!(message.contains(part), "{message}");
        }
        identify(root.path(), ID, Initialize::IfMissing).await.unwrap();
        for initialize in [Initialize::No, Initialize::IfMissing, Initialize::Anew] {
            identify(root.path(), ID, initialize).await.unwrap();
        }
        let inside: Vec<_> = fs::read_dir(root.path().join(".provisioner")).unwrap().collect();
        assert_eq!(inside.len(), 1, "nothing temporary is left: {inside:?}");
    }

    #[tokio::test]
    async fn a_root_of_another_file_system_is_refused_with_both_ids() {
        let root = tempfile::tempdir().unwrap();
        identify(root.path(), ID, Initialize::IfMissing).await.unwrap();
        for initialize in [Initialize::No, Initialize::IfMissing] {
            let message = refused(root.path(), "fs-other", initialize).await;
            for part in [root.path().to_str().unwrap(), ID, "fs-other", "PROVISIONER_FILE_SYSTEM_ID"] {
                assert!(message.contains(part), "{message}");
            }
        }
        assert_eq!(file_system_of(&files(root.path())).await.unwrap().as_deref(), Some(ID));
        identify(root.path(), "fs-other", Initialize::Anew).await.unwrap();
        assert_eq!(file_system_of(&files(root.path())).await.unwrap().as_deref(), Some("fs-other"));
    }

    #[tokio::test]
    async fn a_file_without_a_valid_id_is_refused_and_not_overwritten() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(".provisioner")).unwrap();
        let file = root.path().join(".provisioner/file-system");
        for content in ["", "\n", "fs-1 fs-2", "fs-\u{e9}", &"x".repeat(129)] {
            fs::write(&file, content).unwrap();
            let message = refused(root.path(), ID, Initialize::IfMissing).await;
            assert!(message.contains(file.to_str().unwrap()), "{message}");
            assert_eq!(fs::read_to_string(&file).unwrap(), content);
        }
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
        refused(root.path(), ID, Initialize::IfMissing).await;
    }

    #[tokio::test]
    async fn of_two_writers_at_the_same_time_one_is_refused() {
        for _ in 0..20 {
            let root = tempfile::tempdir().unwrap();
            let path = root.path();
            let write = |id| identify(path, id, Initialize::IfMissing);
            let (one, two) = tokio::join!(write("fs-a"), write("fs-b"));
            let results = [one, two];
            let refused: Vec<&StagingError> = results.iter().filter_map(|result| result.as_ref().err()).collect();
            assert!(matches!(refused[..], [StagingError::OtherFileSystem { .. }]), "{results:?}");
        }
    }

    /// Readiness: the mounted file system may change while the process runs.
    #[tokio::test]
    async fn a_file_system_that_is_exchanged_during_use_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        identify(root.path(), ID, Initialize::IfMissing).await.unwrap();
        let staging = Staging::open(&files(root.path()), None).await.unwrap().with_file_system(ID);
        staging.check().await.unwrap();
        fs::write(root.path().join(".provisioner/file-system"), "fs-other\n").unwrap();
        assert!(matches!(staging.check().await, Err(StagingError::OtherFileSystem { .. })));
        fs::remove_file(root.path().join(".provisioner/file-system")).unwrap();
        assert!(matches!(staging.check().await, Err(StagingError::NotInitialized { .. })));
    }
}
