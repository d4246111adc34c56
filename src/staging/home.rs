//! A user's directory during one piece of work: each directory in it is opened once, files are written in parallel and put
//! into place in order, and each directory is synced once.

use std::cell::Cell;

use rustix::io::Errno;
use secrecy::zeroize::Zeroizing;

use super::Owner;
use super::error::StagingError;
use super::jail::{Child, Dir, Found, Inode, Name};
use super::paths;
use super::write::{Replaced, Written, remove_leftovers};
use crate::domain::user_id::UserId;
use crate::files::Root;

/// The directories that one piece of work uses.
pub(super) struct Home {
    owner: Option<Owner>,
    users: Dir,
    /// Whether `users` must be synced.
    is_new: Cell<bool>,
    /// The user's own directory first; each directory before those in it.
    opened: Vec<Opened>,
}

struct Opened {
    directory: Dir,
    identity: Inode,
    /// Relative to the user's directory.
    path: &'static [Name],
    /// Whether it must be synced.
    is_changed: Cell<bool>,
    is_swept: bool,
}

/// Index of an opened directory.
#[derive(Clone, Copy)]
pub(super) struct At(usize);

impl At {
    /// The user's own.
    pub(super) const HOME: Self = Self(0);
}

/// A change of one file, which must not have changed since it was read.
pub(super) struct Edit<'a> {
    pub(super) path: &'static [Name],
    pub(super) name: Name,
    /// The file as it was read; `None`: it does not matter.
    pub(super) before: Option<&'a Found>,
    pub(super) what: What<'a>,
}

/// What to do with a file.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Write(&'a [u8]),
    /// Write content that a later edit removes elsewhere: it is durable before anything else is changed.
    Keep(&'a [u8]),
    /// Rename the existing file, then write.
    MoveAsideAndWrite(&'a [u8]),
    MoveAside,
    Remove,
}

impl<'a> What<'a> {
    const fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Write(bytes) | Self::Keep(bytes) | Self::MoveAsideAndWrite(bytes) => Some(bytes),
            Self::MoveAside | Self::Remove => None,
        }
    }
}

impl Home {
    /// Opens the user's directory, or creates it; corrects its owner and mode.
    pub(super) fn make(root: &Root, user: &UserId, owner: Option<Owner>) -> Result<Self, StagingError> {
        let users = paths::users(root)?;
        let home = paths::make_home(&users, user, owner)?;
        let is_new = Cell::new(home.is_new());
        Ok(Self { owner, users, is_new, opened: vec![Opened::new(home, &[])?] })
    }

    /// Whether this piece of work created it.
    pub(super) fn is_new(&self) -> bool {
        self.at(At::HOME).is_new()
    }

    pub(super) fn at(&self, at: At) -> &Dir {
        &self.opened[at.0].directory
    }

    /// The directory at a path; each directory on the way is created or corrected. `moved_aside` gets the new paths of things
    /// that were in the way.
    pub(super) fn make_at(&mut self, path: &'static [Name], moved_aside: &mut Vec<String>) -> Result<At, StagingError> {
        self.walk(path, |parent, name, owner| paths::make(parent, name, owner, moved_aside).map(Some))
            .map(|at| at.unwrap_or(At::HOME))
    }

    /// The directory at a path, if there is one.
    pub(super) fn find(&mut self, path: &'static [Name]) -> Result<Option<At>, StagingError> {
        self.walk(path, |parent, name, _| {
            // A new directory is empty. If it is not any more, each write there checks again.
            if parent.is_new() {
                return Ok(None);
            }
            match parent.child(name)? {
                Child::Directory(directory) => Ok(Some(directory)),
                Child::Missing | Child::Other => Ok(None),
            }
        })
    }

    fn walk(
        &mut self,
        path: &'static [Name],
        mut open: impl FnMut(&Dir, &Name, Option<Owner>) -> Result<Option<Dir>, StagingError>,
    ) -> Result<Option<At>, StagingError> {
        let mut at = 0;
        for (depth, name) in path.iter().enumerate() {
            let here = &path[..=depth];
            at = match self.opened.iter().position(|opened| opened.path == here) {
                Some(opened) => opened,
                None => {
                    let parent = &self.opened[at];
                    let Some(directory) = open(&parent.directory, name, self.owner)? else { return Ok(None) };
                    if directory.is_new() {
                        parent.is_changed.set(true);
                    }
                    self.opened.push(Opened::new(directory, here)?);
                    self.opened.len() - 1
                }
            };
        }
        Ok(Some(At(at)))
    }

    /// Reads a file; it is missing if its directory is.
    pub(super) fn read(&mut self, path: &'static [Name], name: &Name) -> Result<Found, StagingError> {
        let directory = self.find(path)?.map(|at| self.at(at)).filter(|directory| !directory.is_new());
        directory.map_or(Ok(Found::Missing), |directory| directory.read(name))
    }

    /// Removes a killed process's leftovers in a directory, once.
    pub(super) fn sweep(&mut self, at: At) -> Result<(), StagingError> {
        let opened = &mut self.opened[at.0];
        if !opened.is_swept {
            remove_leftovers(&opened.directory)?;
            opened.is_swept = true;
        }
        Ok(())
    }

    /// Makes the changes in this order; they are durable when this returns. `false` as soon as a file has changed since it was
    /// read: then the files must be read again.
    ///
    /// Nothing is removed before the files that were put into place are durable and still there, so a crash may leave one copy
    /// too many but never none.
    pub(super) fn apply(&mut self, edits: &[Edit<'_>], moved_aside: &mut Vec<String>) -> Result<bool, StagingError> {
        Ok(self.apply_first(edits, moved_aside)? == Some(edits.len()))
    }

    /// The same; returns how many changes were made, and `None` if a directory was moved away.
    pub(super) fn apply_first(
        &mut self,
        edits: &[Edit<'_>],
        moved_aside: &mut Vec<String>,
    ) -> Result<Option<usize>, StagingError> {
        let before = moved_aside.len();
        let mut directories = Vec::new();
        for edit in edits {
            directories.push(match edit.what.bytes() {
                Some(_) => Some(self.make_at(edit.path, moved_aside)?),
                None => self.find(edit.path)?,
            });
        }
        // If something had to be moved aside for a directory, the files were not read in that directory.
        let is_as_read = moved_aside.len() == before;
        let done = if is_as_read { self.change(edits, &directories, moved_aside)? } else { None };
        // Changes that are already in place stay.
        Ok(if self.settle()? { done } else { None })
    }

    fn change(
        &self,
        edits: &[Edit<'_>],
        directories: &[Option<At>],
        moved_aside: &mut Vec<String>,
    ) -> Result<Option<usize>, StagingError> {
        let mut written = self.write(edits, directories)?.into_iter();
        let (mut is_settled, mut has_kept) = (true, false);
        for (done, (edit, at)) in edits.iter().zip(directories).enumerate() {
            let Some(at) = at else {
                match edit.before {
                    None | Some(Found::Missing) => continue,
                    Some(_) => return Ok(Some(done)),
                }
            };
            let Opened { directory, is_changed, .. } = &self.opened[at.0];
            let takes_away = match edit.what {
                // The file that it replaces may be the only other copy of what was kept.
                What::Write(_) => has_kept,
                What::Keep(_) => false,
                What::MoveAsideAndWrite(_) | What::MoveAside | What::Remove => true,
            };
            if takes_away && !is_settled {
                if !self.settle()? {
                    return Ok(None);
                }
                (is_settled, has_kept) = (true, false);
            }
            is_changed.set(true);
            if edit.what.bytes().is_some() {
                is_settled = false;
                has_kept |= matches!(edit.what, What::Keep(_));
                let Some(file) = written.next() else { return Ok(Some(done)) };
                match put(directory, edit, file, moved_aside)? {
                    Replaced::Done { moved_aside: path } => moved_aside.extend(path),
                    Replaced::Disturbed => return Ok(Some(done)),
                }
                continue;
            }
            if edit.before.is_some() && !edit.is_of(&directory.read(&edit.name)?) {
                return Ok(Some(done));
            }
            match edit.what {
                What::MoveAside => moved_aside.extend(directory.move_aside(&edit.name)?),
                What::Remove | What::Write(_) | What::Keep(_) | What::MoveAsideAndWrite(_) => {
                    remove(directory, &edit.name)?;
                }
            }
        }
        Ok(Some(edits.len()))
    }

    /// Writes all files in parallel under temporary names; the result is in the order of the edits.
    fn write(&self, edits: &[Edit<'_>], directories: &[Option<At>]) -> Result<Vec<Written>, StagingError> {
        let owner = self.owner;
        let files = edits.iter().zip(directories).filter_map(|(edit, at)| {
            let (directory, bytes) = (self.at((*at)?).clone(), Zeroizing::new(edit.what.bytes()?.to_vec()));
            Some(move || Written::new(&directory, &bytes, owner))
        });
        self.users.side_by_side(files.collect()).into_iter().collect()
    }

    /// Syncs each changed directory once, so that all changes are durable. `false` if a directory is no longer in its place:
    /// the tenant may have moved one away.
    pub(super) fn settle(&self) -> Result<bool, StagingError> {
        let users = self.is_new.replace(false).then_some(&self.users);
        let changed = self.opened.iter().filter(|opened| opened.is_changed.replace(false));
        let changed = users.into_iter().chain(changed.map(|opened| &opened.directory)).cloned();
        let syncs = changed.map(|directory| move || directory.sync()).collect();
        self.users.side_by_side(syncs).into_iter().collect::<Result<(), _>>()?;
        for opened in &self.opened {
            let Some((name, path)) = opened.path.split_last() else { continue };
            let parent = self.opened.iter().find(|parent| parent.path == path);
            let now = parent.map_or(Ok(None), |parent| parent.directory.identity_of(name))?;
            if now != Some(opened.identity) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Edit<'_> {
    /// Whether the file is still the same as when it was read.
    fn is_of(&self, now: &Found) -> bool {
        self.before.is_none_or(|before| before == now)
    }
}

/// Puts a written file into place, unless the file there has changed since it was read.
fn put(
    directory: &Dir,
    edit: &Edit<'_>,
    file: Written,
    moved_aside: &mut Vec<String>,
) -> Result<Replaced, StagingError> {
    let mut file = file;
    if let (What::Write(_), Some(Found::Missing)) = (edit.what, edit.before) {
        // If the file system supports it, a file that came meanwhile is never replaced; otherwise it is read first.
        match file.put_new(&edit.name)? {
            Ok(replaced) => return Ok(replaced),
            Err(again) => file = again,
        }
    }
    // Right before the file is replaced, because the container may renew the same token (incident 28).
    if edit.before.is_some() && !edit.is_of(&directory.read(&edit.name)?) {
        return Ok(Replaced::Disturbed);
    }
    if let What::MoveAsideAndWrite(_) = edit.what {
        moved_aside.extend(directory.move_aside(&edit.name)?);
        if directory.identity_of(&edit.name)?.is_some() {
            return Ok(Replaced::Disturbed);
        }
    }
    file.put(&edit.name)
}

impl Opened {
    fn new(directory: Dir, path: &'static [Name]) -> Result<Self, StagingError> {
        let (identity, is_swept) = (directory.identity()?, directory.is_new());
        Ok(Self { directory, identity, path, is_changed: Cell::new(false), is_swept })
    }
}

fn remove(directory: &Dir, name: &Name) -> Result<(), StagingError> {
    match directory.unlink(name) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        // A directory of this name has no sign-in, and belongs to the tenant. POSIX says EPERM for it.
        Err(Errno::ISDIR | Errno::PERM) if !directory.is_file(name)? => Ok(()),
        Err(errno) => Err(StagingError::io("remove", directory.path_of(name))(errno)),
    }
}
