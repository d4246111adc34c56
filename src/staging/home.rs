//! A user's directory under work: each directory in it opened once, files written side by side and put into place in
//! order, and each directory synced once.

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

/// The directories that one piece of work has to do with.
pub(super) struct Home {
    owner: Option<Owner>,
    users: Dir,
    /// `users` has to be synced.
    is_new: Cell<bool>,
    /// The user's own first, and each before those in it.
    opened: Vec<Opened>,
}

struct Opened {
    directory: Dir,
    identity: Inode,
    /// From the user's directory.
    path: &'static [Name],
    /// Has to be synced.
    is_changed: Cell<bool>,
    is_swept: bool,
}

/// Which of the opened directories.
#[derive(Clone, Copy)]
pub(super) struct At(usize);

impl At {
    /// The user's own.
    pub(super) const HOME: Self = Self(0);
}

/// A change of one file, which must still be what was found there.
pub(super) struct Edit<'a> {
    pub(super) path: &'static [Name],
    pub(super) name: Name,
    /// `None`: it does not matter.
    pub(super) before: Option<&'a Found>,
    pub(super) what: What<'a>,
}

/// What is to be done with a file.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Write(&'a [u8]),
    /// Write what an edit after it takes away: it is durable before anything else is changed.
    Keep(&'a [u8]),
    /// Keep what is there under another name, then write.
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
    /// The user's directory, made or healed.
    pub(super) fn make(root: &Root, user: &UserId, owner: Option<Owner>) -> Result<Self, StagingError> {
        let users = paths::users(root)?;
        let home = paths::make_home(&users, user, owner)?;
        let is_new = Cell::new(home.is_new());
        Ok(Self { owner, users, is_new, opened: vec![Opened::new(home, &[])?] })
    }

    /// Whether this piece of work has made it.
    pub(super) fn is_new(&self) -> bool {
        self.at(At::HOME).is_new()
    }

    pub(super) fn at(&self, at: At) -> &Dir {
        &self.opened[at.0].directory
    }

    /// The directory at a path, each one on the way made or healed. What was in the way is at these paths.
    pub(super) fn make_at(&mut self, path: &'static [Name], moved_aside: &mut Vec<String>) -> Result<At, StagingError> {
        self.walk(path, |parent, name, owner| paths::make(parent, name, owner, moved_aside).map(Some))
            .map(|at| at.unwrap_or(At::HOME))
    }

    /// The directory at a path, if it is one.
    pub(super) fn find(&mut self, path: &'static [Name]) -> Result<Option<At>, StagingError> {
        self.walk(path, |parent, name, _| {
            // Nothing is in it yet. Were it otherwise by now, what is written there is looked at once more.
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

    /// Reads a file; in a directory that is none, there is none.
    pub(super) fn read(&mut self, path: &'static [Name], name: &Name) -> Result<Found, StagingError> {
        let directory = self.find(path)?.map(|at| self.at(at)).filter(|directory| !directory.is_new());
        directory.map_or(Ok(Found::Missing), |directory| directory.read(name))
    }

    /// Removes what a killed process left in a directory, once.
    pub(super) fn sweep(&mut self, at: At) -> Result<(), StagingError> {
        let opened = &mut self.opened[at.0];
        if !opened.is_swept {
            remove_leftovers(&opened.directory)?;
            opened.is_swept = true;
        }
        Ok(())
    }

    /// Makes the changes in this order, durable when it returns. `false` as soon as a file is not what was found any more:
    /// then it has to be looked at anew.
    ///
    /// Nothing is taken away before what was put into place is durable and still in its place, so a crash leaves one too
    /// many and never none.
    pub(super) fn apply(&mut self, edits: &[Edit<'_>], moved_aside: &mut Vec<String>) -> Result<bool, StagingError> {
        Ok(self.apply_first(edits, moved_aside)? == Some(edits.len()))
    }

    /// The same; answers how many of them were made, and `None` where a directory is not where it was.
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
        // What was read before was not read in a directory that had to be made instead of something else.
        let is_as_read = moved_aside.len() == before;
        let done = if is_as_read { self.change(edits, &directories, moved_aside)? } else { None };
        // What is in place already stays, and is not looked at again.
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
                // What it replaces may be what was kept.
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

    /// Writes all files side by side under temporary names, in the order of the edits.
    fn write(&self, edits: &[Edit<'_>], directories: &[Option<At>]) -> Result<Vec<Written>, StagingError> {
        let owner = self.owner;
        let files = edits.iter().zip(directories).filter_map(|(edit, at)| {
            let (directory, bytes) = (self.at((*at)?).clone(), Zeroizing::new(edit.what.bytes()?.to_vec()));
            Some(move || Written::new(&directory, &bytes, owner))
        });
        self.users.side_by_side(files.collect()).into_iter().collect()
    }

    /// Makes durable what was made, put into place, or taken away, each directory once. Whether all directories are
    /// where they were: the tenant may have moved one away.
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
    /// Whether that is what was found before.
    fn is_of(&self, now: &Found) -> bool {
        self.before.is_none_or(|before| before == now)
    }
}

/// Puts a file that is written into place, unless something else is there than was found.
fn put(
    directory: &Dir,
    edit: &Edit<'_>,
    file: Written,
    moved_aside: &mut Vec<String>,
) -> Result<Replaced, StagingError> {
    let mut file = file;
    if let (What::Write(_), Some(Found::Missing)) = (edit.what, edit.before) {
        // Where that can be promised, nothing that came meanwhile is replaced; elsewhere it is looked for first.
        match file.put_new(&edit.name)? {
            Ok(replaced) => return Ok(replaced),
            Err(again) => file = again,
        }
    }
    // Right before it is replaced: the container may rotate the very token (incident 28).
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
        // A directory of this name holds no sign-in, and is the tenant's. POSIX says EPERM of one.
        Err(Errno::ISDIR | Errno::PERM) if !directory.is_file(name)? => Ok(()),
        Err(errno) => Err(StagingError::io("remove", directory.path_of(name))(errno)),
    }
}
