//! Replaces files so that every reader, even after a crash at any point, sees the old file or the new one (incident 26).

use std::io::Write as _;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::Owner;
use super::error::StagingError;
use super::jail::{Dir, Inode, Name};

/// Prefix and suffix of our temporary files' names. Only files with such names are ever removed.
const TEMPORARY: (&str, &str) = (".provisioner-", ".tmp");
/// The most names that are searched for leftovers of a crash: a tenant's directory may have millions.
const NAMES_LOOKED_THROUGH: usize = 10_000;

/// The result of a replacement.
pub(crate) enum Replaced {
    /// The name is our file now. A directory that was in its way was moved to this path.
    Done { moved_aside: Option<String> },
    /// Somebody else changed the directory meanwhile; it is unknown whether anything was written.
    Disturbed,
}

/// Writes `bytes` to `name`: temporary file in the same directory, fsync, rename, fsync of the directory.
///
/// `still_wanted` is called after all slow work and right before the rename, because the container may renew the token
/// that would be overwritten (incident 28).
pub(crate) fn replace(
    directory: &Dir,
    name: &Name,
    bytes: &[u8],
    owner: Option<Owner>,
    still_wanted: impl FnOnce() -> Result<bool, StagingError>,
) -> Result<Replaced, StagingError> {
    let written = Written::new(directory, bytes, owner)?;
    if !still_wanted()? {
        return Ok(Replaced::Disturbed);
    }
    let replaced = written.put(name)?;
    directory.sync()?;
    Ok(replaced)
}

/// A complete and durable file with a temporary name.
pub(crate) struct Written {
    temporary: Temporary,
    identity: Inode,
}

impl Written {
    pub(crate) fn new(directory: &Dir, bytes: &[u8], owner: Option<Owner>) -> Result<Self, StagingError> {
        let temporary = Temporary::new(directory);
        let path = directory.path_of(&temporary.name);
        let failed = |action, path| move |source| StagingError::Io { action, path, source };
        let mut file = directory.create_new(&temporary.name)?;
        // Owner and mode are set before the name exists, so that a container that starts now can read the file (incident 24);
        // and before anything is written, while the current ones are still known from creating the file.
        let identity = directory.heal_created(&file, &path, Mode::RUSR | Mode::WUSR, owner)?;
        file.write_all(bytes).map_err(failed("write", path.clone()))?;
        file.sync_all().map_err(failed("sync", path))?;
        Ok(Self { temporary, identity })
    }

    /// Gives the file its name, if that is free; see [`Dir::rename_to_new`]. If the file system cannot do this, the file
    /// is returned for [`Self::put`].
    pub(crate) fn put_new(mut self, name: &Name) -> Result<Result<Replaced, Self>, StagingError> {
        let directory = self.temporary.directory.clone();
        match directory.rename_to_new(&self.temporary.name, name) {
            Ok(()) => {
                self.temporary.is_there = false;
                self.named(name, None).map(Ok)
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(Err(self)),
            Err(Errno::EXIST | Errno::NOENT) => Ok(Ok(Replaced::Disturbed)),
            Err(errno) => Err(StagingError::io("create", directory.path_of(name))(errno)),
        }
    }

    /// Gives the file its name, which is durable once the directory is synced.
    pub(crate) fn put(mut self, name: &Name) -> Result<Replaced, StagingError> {
        let directory = self.temporary.directory.clone();
        let mut moved_aside = None;
        let renamed = match directory.rename(&self.temporary.name, name) {
            // rename replaces everything but a directory, and never follows a link (incident 27).
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                moved_aside = directory.move_aside(name)?;
                directory.rename(&self.temporary.name, name)
            }
            renamed => renamed,
        };
        match renamed {
            Ok(()) => self.temporary.is_there = false,
            // The tenant can delete our temporary file, or put a directory in its place or in that of the target.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                return Ok(Replaced::Disturbed);
            }
            Err(errno) => return Err(StagingError::io("replace", directory.path_of(name))(errno)),
        }
        self.named(name, moved_aside)
    }

    /// Checks that the renamed file is ours: the tenant may have swapped it under its temporary name.
    fn named(&self, name: &Name, moved_aside: Option<String>) -> Result<Replaced, StagingError> {
        let is_ours = self.temporary.directory.identity_of(name)?.is_some_and(|now| now == self.identity);
        Ok(if is_ours { Replaced::Done { moved_aside } } else { Replaced::Disturbed })
    }
}

/// Removes temporary files of a killed process, which may contain tokens. The caller holds the user's lock.
pub(crate) fn remove_leftovers(directory: &Dir) -> Result<(), StagingError> {
    for name in directory.names(NAMES_LOOKED_THROUGH)? {
        if is_temporary(&name) {
            match directory.unlink(&name) {
                // A directory with such a name is the tenant's, and not a leftover.
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR | Errno::PERM) => {}
                Err(errno) => {
                    return Err(StagingError::io("remove", directory.path_of(&name))(errno));
                }
            }
        }
    }
    Ok(())
}

/// Removes those temporary files of these names that are too old to be still written; for a directory with several writers.
/// A write takes seconds, and is given up after [`crate::files::WITHIN`]. Other files of that age are removed if
/// `is_short_lived` returns true.
pub(crate) fn remove_old_leftovers(
    directory: &Dir,
    names: &[Name],
    is_short_lived: impl Fn(&Name) -> bool,
) -> Result<(), StagingError> {
    const OLD_SECONDS: i64 = 120;
    let now = jiff::Timestamp::now().as_second();
    for name in names.iter().filter(|name| is_temporary(name) || is_short_lived(name)) {
        let written = directory.stat(name)?.map(|stat| stat.st_mtime);
        if written.is_none_or(|written| now.saturating_sub(written) < OLD_SECONDS) {
            continue;
        }
        match directory.unlink(name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(StagingError::io("remove", directory.path_of(name))(errno)),
        }
    }
    Ok(())
}

fn is_temporary(name: &Name) -> bool {
    let (start, end) = TEMPORARY;
    let random = name.bytes().strip_prefix(start.as_bytes()).and_then(|rest| rest.strip_suffix(end.as_bytes()));
    random.is_some_and(|random| random.len() == 16 && random.iter().all(u8::is_ascii_hexdigit))
}

/// A temporary file that is removed on drop, unless it was renamed.
pub(crate) struct Temporary {
    directory: Dir,
    pub(crate) name: Name,
    is_there: bool,
}

impl Temporary {
    pub(crate) fn new(directory: &Dir) -> Self {
        let (start, end) = TEMPORARY;
        let name = Name::fixed(start).plus(&format!("{:016x}{end}", fastrand::u64(..)));
        Self { directory: directory.clone(), name, is_there: true }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_there {
            // A file that cannot be removed is a leftover for the next run.
            let _gone_or_left = self.directory.unlink(&self.name);
        }
    }
}
