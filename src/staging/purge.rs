//! Removing a user's directory, whatever the tenant has built in it.
//!
//! Depth is the tenant's choice, so there is neither recursion nor a descriptor per level: every directory found inside
//! is first moved up to the user directory, and emptied there. A handful of descriptors is
//! open at a time, and every directory moves at most once.

use rustix::io::Errno;

use super::error::StagingError;
use super::jail::{Child, Dir, Name};

/// Names that are listed at a time, because a directory may hold millions.
const BATCH: usize = 512;
/// What one call removes at most. A container that still writes could otherwise keep it busy for ever.
const MOST_ENTRIES: u64 = 1_000_000;
const MOVED_UP: Name = Name::fixed(".provisioner-purge-");

/// Removes `name` and everything beneath it; nothing there is success. Links are removed, never followed.
pub(super) fn purge(parent: &Dir, name: &Name) -> Result<(), StagingError> {
    let mut removed = 0;
    loop {
        let top = match parent.child(name)? {
            Child::Directory(top) => top,
            Child::Missing => return parent.sync(),
            Child::Other => {
                return finish(parent, name, parent.unlink(name)).and_then(|()| parent.sync());
            }
        };
        empty(&top, &top, &mut removed, &parent.path_of(name))?;
        match parent.remove_directory(name) {
            // Written to meanwhile, or NFS lists it from a cache: once more, but not for ever.
            Err(Errno::NOTEMPTY | Errno::EXIST) => spend(&mut removed, &parent.path_of(name))?,
            result => finish(parent, name, result)?,
        }
    }
}

/// Empties `directory`: what is a directory in it goes to `top`, or, when it is at the top already, is emptied and removed.
fn empty(directory: &Dir, top: &Dir, removed: &mut u64, shown: &str) -> Result<(), StagingError> {
    let at_top = std::ptr::eq(directory, top);
    let cannot = |name: &Name| StagingError::io("remove", directory.path_of(name));
    // Packages are often installed read-only; without root, that also keeps their owner from removing them.
    directory.unlock_permissions().map_err(StagingError::io("unlock", shown))?;
    loop {
        let names = directory.names(BATCH)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            spend(removed, shown)?;
            match directory.unlink(&name) {
                // Linux says EISDIR of a directory, POSIX says EPERM.
                Err(why @ (Errno::ISDIR | Errno::PERM)) => match directory.child(&name)? {
                    Child::Directory(child) if at_top => {
                        empty(&child, top, removed, shown)?;
                        match directory.remove_directory(&name) {
                            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                            result => finish(directory, &name, result)?,
                        }
                    }
                    Child::Directory(child) => {
                        // Without root, moving a directory takes the permission to write into it.
                        child.unlock_permissions().map_err(cannot(&name))?;
                        let new_name = MOVED_UP.plus(&format!("{:016x}", fastrand::u64(..)));
                        finish(directory, &name, top.adopt(directory, &name, &new_name))?;
                    }
                    Child::Missing => {}
                    Child::Other => return Err(cannot(&name)(why)),
                },
                result => finish(directory, &name, result)?,
            }
        }
    }
}

fn spend(removed: &mut u64, shown: &str) -> Result<(), StagingError> {
    *removed += 1;
    if *removed <= MOST_ENTRIES {
        return Ok(());
    }
    Err(StagingError::PurgeUnfinished { path: shown.to_owned(), removed: MOST_ENTRIES })
}

/// Somebody else removing it first is as good.
fn finish(directory: &Dir, name: &Name, result: Result<(), Errno>) -> Result<(), StagingError> {
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(StagingError::io("remove", directory.path_of(name))(errno)),
    }
}
