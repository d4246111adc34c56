//! Checks whether staging can work beneath this root. Blocking.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::StagingError;
use super::jail::EVERY_BIT;
use super::{Owner, identity, paths, write};
use crate::files::Root;

/// Details of a root that can be written and whose locks work.
#[derive(Debug)]
pub struct Diagnosis {
    /// Whether files can be given to the owner.
    pub owner: Result<(), StagingError>,
    /// Whether it is on NFS, as EFS always is.
    pub is_nfs: bool,
}

/// Checks that the root exists, is the file system with this id and is writable, that files can be given to the owner, and
/// that locks work.
pub(super) fn check(root: &Root, owner: Option<Owner>, file_system_id: Option<&str>) -> Result<(), StagingError> {
    file_system_id.map_or(Ok(()), |id| identity::check(root, id))?;
    paths::users(root)?;
    let directory = paths::locks(root)?;
    let temporary = write::Temporary::new(&directory);
    let path = directory.path_of(&temporary.name);
    let first = directory.create_new(&temporary.name)?;
    rustix::io::write(&first, b"ok").map_err(StagingError::io("write", &*path))?;
    directory.heal(&first, &path, Mode::RUSR | Mode::WUSR, EVERY_BIT, owner)?;
    rustix::fs::fsync(&first).map_err(StagingError::io("sync", &*path))?;
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let second = directory.open(&temporary.name, flags, Mode::empty()).map_err(StagingError::io("open", &*path))?;
    let lock = |file| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive);
    lock(first.as_fd()).map_err(StagingError::io("lock", &*path))?;
    match lock(second.as_fd()) {
        Err(Errno::WOULDBLOCK) => Ok(()),
        Ok(()) => Err(StagingError::LocksDoNotExclude),
        Err(errno) => Err(StagingError::io("lock", path)(errno)),
    }
}

pub(super) fn diagnose(root: &Root, owner: Option<Owner>) -> Result<Diagnosis, StagingError> {
    check(root, None, None)?;
    let directory = paths::locks(root)?;
    let temporary = write::Temporary::new(&directory);
    let path = directory.path_of(&temporary.name);
    let file = directory.create_new(&temporary.name)?;
    let owner = directory.heal(&file, &path, Mode::RUSR | Mode::WUSR, EVERY_BIT, owner);
    let is_nfs = is_nfs(&file).map_err(StagingError::io("look at the file system of", path))?;
    Ok(Diagnosis { owner, is_nfs })
}

#[cfg(target_os = "linux")]
fn is_nfs(file: &File) -> Result<bool, Errno> {
    rustix::fs::fstatfs(file).map(|found| found.f_type == rustix::fs::NFS_SUPER_MAGIC)
}

/// Only Linux mounts EFS; the file systems of a developer's machine do not matter.
#[cfg(not(target_os = "linux"))]
fn is_nfs(_: &File) -> Result<bool, Errno> {
    Ok(true)
}
