//! Replacing a file so that a reader, or a crash at any point, sees the old one or the new one (incident 26).

use std::io::Write as _;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::Owner;
use super::error::StagingError;
use super::jail::{Dir, Inode, Name};

/// What begins and ends the names of our temporary files. Only such names are ever cleaned up.
const TEMPORARY: (&str, &str) = (".provisioner-", ".tmp");
/// A tenant's directory may hold millions of names; leftovers of a crash are looked for among this many.
const NAMES_LOOKED_THROUGH: usize = 10_000;

/// How a replacement ended.
pub(crate) enum Replaced {
    /// The name is our file now. What was in its way as a directory is at this path.
    Done { moved_aside: Option<String> },
    /// Somebody else changed the directory meanwhile; nothing is known to be written.
    Disturbed,
}

/// Writes `bytes` to `name`: temporary file in the same directory, fsync, rename, fsync of the directory.
///
/// `still_wanted` is asked after everything slow is done and right before the rename, because the container may rotate
/// the very token that is about to be overwritten (incident 28).
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

/// A file that is whole and durable, under a temporary name.
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
        // Owner and mode before the name exists: a container that starts right now can read it (incident 24). And before
        // anything is written, while the answer to what they are is still known from creating it.
        let identity = directory.heal_created(&file, &path, Mode::RUSR | Mode::WUSR, owner)?;
        file.write_all(bytes).map_err(failed("write", path.clone()))?;
        file.sync_all().map_err(failed("sync", path))?;
        Ok(Self { temporary, identity })
    }

    /// Gives it its name, if nothing has that; see [`Dir::rename_to_new`]. Where that cannot be
    /// promised, the file is still there to be put.
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

    /// Gives it its name, which is durable once the directory is synced.
    pub(crate) fn put(mut self, name: &Name) -> Result<Replaced, StagingError> {
        let directory = self.temporary.directory.clone();
        let mut moved_aside = None;
        let renamed = match directory.rename(&self.temporary.name, name) {
            // A directory cannot be replaced by rename; whatever else is there can, and is never followed (incident 27).
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                moved_aside = directory.move_aside(name)?;
                directory.rename(&self.temporary.name, name)
            }
            renamed => renamed,
        };
        match renamed {
            Ok(()) => self.temporary.is_there = false,
            // The tenant can delete our temporary file, put a directory in its place, or the next one in the file's.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                return Ok(Replaced::Disturbed);
            }
            Err(errno) => return Err(StagingError::io("replace", directory.path_of(name))(errno)),
        }
        self.named(name, moved_aside)
    }

    /// It was not necessarily our file that was renamed: the tenant may have swapped it under its temporary name.
    fn named(&self, name: &Name, moved_aside: Option<String>) -> Result<Replaced, StagingError> {
        let is_ours = self.temporary.directory.identity_of(name)?.is_some_and(|now| now == self.identity);
        Ok(if is_ours { Replaced::Done { moved_aside } } else { Replaced::Disturbed })
    }
}

/// Removes temporary files that a killed process left, which hold tokens. The caller holds the user's lock.
pub(crate) fn remove_leftovers(directory: &Dir) -> Result<(), StagingError> {
    for name in directory.names(NAMES_LOOKED_THROUGH)? {
        if is_temporary(&name) {
            match directory.unlink(&name) {
                // A directory by our name is the tenant's joke, and not a leftover.
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR | Errno::PERM) => {}
                Err(errno) => {
                    return Err(StagingError::io("remove", directory.path_of(&name))(errno));
                }
            }
        }
    }
    Ok(())
}

/// Removes temporary files of these names that nobody can be writing any more: for a directory that several write to at a
/// time. A write is a matter of seconds, and is given up after [`crate::files::WITHIN`]. Others that are as old go where
/// `is_short_lived` says so.
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

/// A temporary name that is removed again, unless it was renamed.
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
            // What cannot be removed is a leftover for the next run.
            let _gone_or_left = self.directory.unlink(&self.name);
        }
    }
}
