//! Descriptor-relative access beneath the EFS root.
//!
//! The tenant owns `users/<id>` and is hostile, and this process may be root on the whole file system (incident 27).
//! Therefore every path is walked one validated name at a time, each step by descriptor with `O_NOFOLLOW`: no name can
//! lead outside, even if the tenant swaps files meanwhile. openat2's RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS would do the
//! same, but this also works on macOS.

use std::borrow::Cow;
use std::ffi::CStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use openclaw::AsideName;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use secrecy::zeroize::Zeroizing;

use super::Owner;
use super::error::{LOCK_LOST, StagingError};
use crate::domain::user_id::UserId;
use crate::files::{Permit, Root};

/// The largest file that is read. A sign-in has about 10 KiB. The size that a file claims is never trusted.
pub(crate) const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Longest name of a file in bytes, on EFS as on Linux's own file systems.
const LONGEST_NAME: usize = 255;
/// Suffix of files that were moved aside; the time and a random number follow it.
const DISPLACED: &str = ".displaced-";

/// How often a new directory may vanish again before this counts as somebody's interference.
const RACES_ENDURED: u32 = 8;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Flags for a directory on the way to another one: opening with them sends no request to the server.
#[cfg(target_os = "linux")]
const ON_THE_WAY: OFlags = OFlags::PATH.union(DIRECTORY);
#[cfg(not(target_os = "linux"))]
const ON_THE_WAY: OFlags = DIRECTORY;

/// The bits that `heal` sets when the whole mode must match.
pub(crate) const EVERY_BIT: Mode = Mode::from_raw_mode(0o7777);

/// One path component that cannot lead to another directory: not empty, not `.` or `..`, without `/` and NUL.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Name(Cow<'static, [u8]>);

impl Name {
    /// A fixed name of this service; a wrong one in a `const` does not compile.
    pub(crate) const fn fixed(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(is_component(bytes));
        Self(Cow::Borrowed(bytes))
    }

    pub(crate) fn of(user: &UserId) -> Self {
        Self(Cow::Owned(user.as_str().as_bytes().to_vec()))
    }

    /// The name of a sign-in that was moved aside.
    pub(super) fn of_aside(name: &AsideName) -> Self {
        Self(Cow::Owned(name.as_str().as_bytes().to_vec()))
    }

    /// The name of an agent's directory; `None` if the id cannot be a name.
    pub(super) fn of_agent(id: &str) -> Option<Self> {
        is_component(id.as_bytes()).then(|| Self(Cow::Owned(id.as_bytes().to_vec())))
    }

    /// A name from a directory listing; `None` for `.` and `..`.
    pub(crate) fn listed(name: &CStr) -> Option<Self> {
        is_component(name.to_bytes()).then(|| Self(Cow::Owned(name.to_bytes().to_vec())))
    }

    /// This name with a suffix, which may not contain a slash.
    pub(crate) fn plus(&self, suffix: &str) -> Self {
        debug_assert!(!suffix.contains('/'), "a suffix stays within one component");
        Self(Cow::Owned([&self.0, suffix.as_bytes()].concat()))
    }

    /// The new name of a file that is moved aside: as much of this name as fits, with a unique suffix, so that a file that was
    /// moved aside earlier is never replaced.
    pub(super) fn displaced(&self) -> Self {
        let now = jiff::Timestamp::now().as_second();
        let suffix = format!("{DISPLACED}{now}-{:016x}", fastrand::u64(..));
        let fits = LONGEST_NAME.saturating_sub(suffix.len()).min(self.0.len());
        // Do not cut within a character, so that UTF-8 stays UTF-8.
        let is_within = |at: &usize| self.0.get(*at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
        let end = (fits.saturating_sub(3)..=fits).rev().find(|at| !is_within(at)).unwrap_or(fits);
        Self(Cow::Owned([&self.0[..end], suffix.as_bytes()].concat()))
    }

    /// Whether [`Self::displaced`] made it.
    pub(super) fn is_displaced(&self) -> bool {
        let name = String::from_utf8_lossy(&self.0);
        let Some((_, suffix)) = name.rsplit_once(DISPLACED) else { return false };
        suffix.split_once('-').is_some_and(|(seconds, random)| {
            let is = |text: &str, digit: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(digit);
            is(seconds, u8::is_ascii_digit) && random.len() == 16 && is(random, u8::is_ascii_hexdigit)
        })
    }

    /// The name for messages, escaped: a tenant can put any byte into a name.
    pub(crate) fn shown(&self) -> String {
        self.0.escape_ascii().to_string()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

const fn is_component(name: &[u8]) -> bool {
    if matches!(name, b"" | b"." | b"..") {
        return false;
    }
    let mut at = 0;
    while at < name.len() {
        if name[at] == b'/' || name[at] == 0 {
            return false;
        }
        at += 1;
    }
    true
}

/// The identity of a file, independent of its name: device and inode.
pub(crate) type Inode = (i128, i128);

/// The identity in file attributes. The types differ between Linux and macOS; all fit.
pub(crate) fn identity(stat: &Stat) -> Inode {
    (i128::from(stat.st_dev), i128::from(stat.st_ino))
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// The result of opening a name as a directory.
pub(crate) enum Child {
    Directory(Dir),
    Missing,
    /// A link, a file, a FIFO …; never opened.
    Other,
}

/// The result of reading a name as a file.
#[derive(PartialEq, Eq)]
pub(crate) enum Found {
    Missing,
    Regular(Zeroizing<Vec<u8>>),
    /// Larger than [`MAX_FILE_BYTES`].
    TooLarge(Inode),
    /// A link, a directory, a FIFO, a socket, a device; never opened.
    Other(Inode),
}

/// An open directory beneath the root, with its path for messages. Cheap to clone; clones share the descriptor.
#[derive(Clone)]
pub(crate) struct Dir {
    fd: Arc<OwnedFd>,
    path: Arc<str>,
    permit: Permit,
    /// Whether this process has just created it, so that it is most likely empty.
    is_new: bool,
}

impl Dir {
    /// Opens the root itself. The operator chose its path, so links in it are followed.
    pub(crate) fn root(root: &Root) -> Result<Self, StagingError> {
        let fd = retry_on_intr(|| rustix::fs::open(root.path(), ON_THE_WAY - OFlags::NOFOLLOW, Mode::empty()))
            .map_err(StagingError::io("open", format!("the EFS root {}", root.path().display())))?;
        Ok(Self { fd: Arc::new(fd), path: Arc::default(), permit: root.permit().clone(), is_new: false })
    }

    /// Does all works at the same time; see [`Permit::side_by_side`].
    pub(crate) fn side_by_side<R: Send + 'static>(&self, works: Vec<impl FnOnce() -> R + Send + 'static>) -> Vec<R> {
        self.permit.side_by_side(works)
    }

    /// Checked before every change: its lock may have been lost.
    fn may_change(&self) -> Result<(), Errno> {
        if self.permit.holds() { Ok(()) } else { Err(LOCK_LOST) }
    }

    /// The path of an entry relative to the root, for messages.
    pub(crate) fn path_of(&self, name: &Name) -> String {
        if self.path.is_empty() { name.shown() } else { format!("{}/{}", self.path, name.shown()) }
    }

    fn io(&self, action: &'static str, name: &Name) -> impl FnOnce(Errno) -> StagingError {
        failed(action, self.path_of(name))
    }

    pub(crate) fn identity(&self) -> Result<Inode, StagingError> {
        rustix::fs::fstat(&self.fd).map(|stat| identity(&stat)).map_err(StagingError::io("stat", &*self.path))
    }

    /// Whether this process has just created it, so that nobody's files are in it.
    pub(crate) const fn is_new(&self) -> bool {
        self.is_new
    }

    /// The identity of the file at a name, without following links. Attributes are not needed, so they are not requested.
    #[cfg(target_os = "linux")]
    pub(crate) fn identity_of(&self, name: &Name) -> Result<Option<Inode>, StagingError> {
        use rustix::fs::{StatxFlags, makedev, statx};
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        match statx(&self.fd, name.bytes(), flags, StatxFlags::INO) {
            Ok(found) => Ok(Some((makedev(found.stx_dev_major, found.stx_dev_minor).into(), found.stx_ino.into()))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.io("stat", name)(errno)),
        }
    }

    /// The identity of the file at a name, without following links.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn identity_of(&self, name: &Name) -> Result<Option<Inode>, StagingError> {
        Ok(self.stat(name)?.map(|stat| identity(&stat)))
    }

    /// The attributes of a name, without following links.
    pub(crate) fn stat(&self, name: &Name) -> Result<Option<Stat>, StagingError> {
        match rustix::fs::statat(&self.fd, name.bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.io("stat", name)(errno)),
        }
    }

    /// Whether the name exists and is not a directory.
    pub(crate) fn is_file(&self, name: &Name) -> Result<bool, StagingError> {
        Ok(self.stat(name)?.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory))
    }

    pub(crate) fn child(&self, name: &Name) -> Result<Child, StagingError> {
        self.child_as(name, DIRECTORY)
    }

    fn child_as(&self, name: &Name, flags: OFlags) -> Result<Child, StagingError> {
        match self.open(name, flags, Mode::empty()) {
            Ok(fd) => {
                let (path, permit) = (self.path_of(name), self.permit.clone());
                Ok(Child::Directory(Self { fd: Arc::new(fd), path: path.into(), permit, is_new: false }))
            }
            Err(Errno::NOENT) => Ok(Child::Missing),
            // A link gives ELOOP or ENOTDIR, depending on the system; EMLINK on some BSDs.
            Err(Errno::LOOP | Errno::NOTDIR | Errno::MLINK) => Ok(Child::Other),
            Err(errno) => Err(self.io("open", name)(errno)),
        }
    }

    /// The same, even if the tenant has set a mode that keeps this process out.
    pub(super) fn unlocked_child(&self, name: &Name) -> Result<Child, StagingError> {
        match self.child(name) {
            Err(StagingError::Io { source, .. }) if Errno::from_io_error(&source) == Some(Errno::ACCESS) => {
                // If the mode may not be changed, opening it again reports the error.
                let _unlocked = self.unlock_child(name);
                self.child(name)
            }
            child => child,
        }
    }

    /// Opens a child directory that exists as long as the file system is mounted.
    pub(crate) fn existing(&self, name: &Name) -> Result<Self, StagingError> {
        match self.child_as(name, ON_THE_WAY)? {
            Child::Directory(directory) => Ok(directory),
            Child::Missing => Err(StagingError::NotMounted { path: self.path_of(name) }),
            Child::Other => Err(StagingError::NotADirectory { path: self.path_of(name) }),
        }
    }

    /// Opens a child directory, and creates it if it is missing. Mode and owner are corrected if they differ (incident 24).
    /// `None` when something else has the name. A new one is durable once this directory is synced.
    pub(crate) fn ensure(&self, name: &Name, mode: Mode, owner: Option<Owner>) -> Result<Option<Self>, StagingError> {
        // A new directory is empty, so looking first is not necessary.
        let mut is_missing = self.is_new;
        for _ in 0..RACES_ENDURED {
            let mut is_new = false;
            if is_missing {
                match self.may_change().and_then(|()| rustix::fs::mkdirat(&self.fd, name.bytes(), mode)) {
                    Ok(()) => is_new = true,
                    // Another replica, or the container, was first.
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(self.io("create", name)(errno)),
                }
            }
            match self.unlocked_child(name)? {
                Child::Directory(directory) => {
                    directory.heal(&directory.fd, &directory.path, mode, EVERY_BIT, owner)?;
                    return Ok(Some(Self { is_new, ..directory }));
                }
                Child::Other => return Ok(None),
                Child::Missing => is_missing = true,
            }
        }
        Err(StagingError::Contended { path: self.path_of(name), attempts: RACES_ENDURED })
    }

    /// The same; the directory is durable when this returns.
    pub(crate) fn ensure_durably(
        &self,
        name: &Name,
        mode: Mode,
        owner: Option<Owner>,
    ) -> Result<Option<Self>, StagingError> {
        let directory = self.ensure(name, mode, owner)?;
        if directory.as_ref().is_some_and(Self::is_new) {
            self.sync()?;
        }
        Ok(directory)
    }

    /// Reads a regular file of limited size. Anything else is neither followed nor opened.
    pub(crate) fn read(&self, name: &Name) -> Result<Found, StagingError> {
        let Some(before) = self.stat(name)? else {
            return Ok(Found::Missing);
        };
        let other = Found::Other(identity(&before));
        if !is_regular(&before) {
            return Ok(other);
        }
        // It may be swapped at this moment: with these flags a link is refused, a FIFO does not block, and a terminal does not
        // become ours.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match self.open(name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(Found::Missing),
            Err(Errno::LOOP | Errno::MLINK | Errno::NXIO) => return Ok(other),
            Err(errno) => return Err(self.io("open", name)(errno)),
        };
        let opened = rustix::fs::fstat(&fd).map_err(self.io("stat", name))?;
        if !is_regular(&opened) {
            return Ok(Found::Other(identity(&opened)));
        }
        let mut bytes = Zeroizing::new(Vec::new());
        let read = File::from(fd).take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
        let read = read.map_err(|source| StagingError::Io { action: "read", path: self.path_of(name), source })?;
        let fits = u64::try_from(read).is_ok_and(|read| read <= MAX_FILE_BYTES);
        Ok(if fits { Found::Regular(bytes) } else { Found::TooLarge(identity(&opened)) })
    }

    /// Gives a file the right owner and lets them read and write it, if it has only one name.
    ///
    /// A file with a second name is not changed: the other name may belong to somebody else.
    pub(crate) fn heal_file(&self, name: &Name, owner: Option<Owner>) -> Result<(), StagingError> {
        if self.is_new {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match self.open(name, flags, Mode::empty()) {
            Ok(fd) => fd,
            // It was replaced after it was read, so the container can write it.
            Err(Errno::NOENT | Errno::LOOP | Errno::MLINK | Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(self.io("open", name)(errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(self.io("stat", name))?;
        if !is_regular(&stat) || i128::from(stat.st_nlink) != 1 {
            return Ok(());
        }
        let owner_can = Mode::RUSR | Mode::WUSR;
        self.heal(&fd, &self.path_of(name), owner_can, owner_can, owner)
    }

    /// Opens with exactly these flags; for callers that handle the errors themselves.
    pub(crate) fn open(&self, name: &Name, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        retry_on_intr(|| rustix::fs::openat(&self.fd, name.bytes(), flags, mode))
    }

    /// Creates a new file, private to this process's user; an existing file is an error.
    pub(crate) fn create_new(&self, name: &Name) -> Result<File, StagingError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let created = self.may_change().and_then(|()| self.open(name, flags, Mode::RUSR | Mode::WUSR));
        created.map(File::from).map_err(self.io("create", name))
    }

    /// Renames within this directory to an unused name: EEXIST when the name is used, EINVAL if the file system cannot do this
    /// (NFS cannot).
    #[cfg(target_os = "linux")]
    pub(crate) fn rename_to_new(&self, from: &Name, to: &Name) -> Result<(), Errno> {
        self.may_change()?;
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(&self.fd, from.bytes(), &self.fd, to.bytes(), flags)
    }

    /// Other systems have no such call.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn rename_to_new(&self, _: &Name, _: &Name) -> Result<(), Errno> {
        Err(Errno::INVAL)
    }

    /// Renames within this directory. Links are renamed, never followed.
    pub(crate) fn rename(&self, from: &Name, to: &Name) -> Result<(), Errno> {
        self.may_change()?;
        rustix::fs::renameat(&self.fd, from.bytes(), &self.fd, to.bytes())
    }

    /// Gives a file a second name, unless that name is taken.
    pub(super) fn link(&self, from: &Name, to: &Name) -> Result<(), Errno> {
        self.may_change()?;
        rustix::fs::linkat(&self.fd, from.bytes(), &self.fd, to.bytes(), AtFlags::empty())
    }

    /// Moves an entry of another directory into this one.
    pub(crate) fn adopt(&self, from: &Self, name: &Name, to: &Name) -> Result<(), Errno> {
        self.may_change()?;
        rustix::fs::renameat(&from.fd, name.bytes(), &self.fd, to.bytes())
    }

    /// Renames something that is in the way, and keeps it. Returns its new path, or `None` if it no longer existed.
    pub(crate) fn move_aside(&self, name: &Name) -> Result<Option<String>, StagingError> {
        let aside = name.displaced();
        match self.rename(name, &aside) {
            Ok(()) => Ok(Some(self.path_of(&aside))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.io("move aside", name)(errno)),
        }
    }

    /// Gives a file its former name back, unless the name is used again; returns whether it did.
    pub(crate) fn restore(&self, from: &Name, to: &Name) -> Result<bool, StagingError> {
        // A link never replaces a file; a rename on NFS always does.
        match self.link(from, to) {
            Ok(()) => self.unlink(from).map(|()| true).map_err(self.io("remove", from)),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(self.io("put back", to)(errno)),
        }
    }

    /// Removes a name that is not a directory. Links are removed, never followed.
    pub(crate) fn unlink(&self, name: &Name) -> Result<(), Errno> {
        self.may_change()?;
        rustix::fs::unlinkat(&self.fd, name.bytes(), AtFlags::empty())
    }

    pub(crate) fn remove_directory(&self, name: &Name) -> Result<(), Errno> {
        self.may_change()?;
        rustix::fs::unlinkat(&self.fd, name.bytes(), AtFlags::REMOVEDIR)
    }

    /// At most `limit` names, in no order.
    pub(crate) fn names(&self, limit: usize) -> Result<Vec<Name>, StagingError> {
        self.entries()?.take(limit).collect()
    }

    /// All names, in no order, read one after another: a directory may have millions.
    pub(super) fn entries(&self) -> Result<impl Iterator<Item = Result<Name, StagingError>> + use<>, StagingError> {
        let path = self.path.clone();
        let entries =
            self.opened_in_earnest().and_then(rustix::fs::Dir::new).map_err(failed("list", path.to_string()))?;
        Ok(entries.filter_map(move |entry| match entry {
            Ok(entry) => Name::listed(entry.file_name()).map(Ok),
            Err(errno) => Some(Err(failed("list", path.to_string())(errno))),
        }))
    }

    /// Lets this process use a child whose mode keeps it out. Without root, this works only for the owner.
    ///
    /// It uses the descriptor, because the tenant may put a link in the child's place.
    #[cfg(target_os = "linux")]
    pub(super) fn unlock_child(&self, name: &Name) -> Result<(), Errno> {
        use std::os::fd::AsRawFd as _;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let child = self.open(name, flags, Mode::empty())?;
        self.may_change()?;
        rustix::fs::chmod(format!("/proc/self/fd/{}", child.as_raw_fd()), Mode::RWXU)
    }

    /// Other systems have no way to change a directory that cannot be opened.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn unlock_child(&self, _: &Name) -> Result<(), Errno> {
        Err(Errno::ACCESS)
    }

    /// Lets this process list and change the directory.
    pub(crate) fn unlock_permissions(&self) -> Result<(), Errno> {
        self.may_change()?;
        rustix::fs::fchmod(&self.fd, Mode::RWXU)
    }

    /// Opens the directory again: with the flags for the way it can be neither listed nor synced.
    fn opened_in_earnest(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        retry_on_intr(|| rustix::fs::openat(&self.fd, ".", flags, Mode::empty()))
    }

    /// Makes names durable: EFS guarantees them after fsync of the directory.
    pub(crate) fn sync(&self) -> Result<(), StagingError> {
        let synced = match rustix::fs::fsync(&self.fd) {
            Err(Errno::BADF) => self.opened_in_earnest().and_then(rustix::fs::fsync),
            synced => synced,
        };
        synced.map_err(StagingError::io("sync", &*self.path))
    }

    /// Corrects the owner, and sets those bits of the mode that are in `within` to `mode`, if they differ.
    pub(crate) fn heal(
        &self,
        fd: impl AsFd,
        path: &str,
        mode: Mode,
        within: Mode,
        owner: Option<Owner>,
    ) -> Result<(), StagingError> {
        let stat = rustix::fs::fstat(&fd).map_err(StagingError::io("stat", path))?;
        let now = Attributes { mode: Mode::from_raw_mode(stat.st_mode), uid: stat.st_uid, gid: stat.st_gid };
        self.set(fd, path, &now, (mode, within), owner)
    }

    /// The same for a file that was just created; returns its identity. The answer to its creation contains its attributes,
    /// so they are not requested again.
    #[cfg(target_os = "linux")]
    pub(crate) fn heal_created(
        &self,
        fd: impl AsFd,
        path: &str,
        mode: Mode,
        owner: Option<Owner>,
    ) -> Result<Inode, StagingError> {
        use rustix::fs::{StatxFlags, makedev, statx};
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let asked = StatxFlags::INO | StatxFlags::MODE | StatxFlags::UID | StatxFlags::GID;
        let found = statx(&fd, "", flags, asked).map_err(StagingError::io("stat", path))?;
        let mode_now = Mode::from_raw_mode(found.stx_mode.into());
        let now = Attributes { mode: mode_now, uid: found.stx_uid, gid: found.stx_gid };
        self.set(fd, path, &now, (mode, EVERY_BIT), owner)?;
        Ok((makedev(found.stx_dev_major, found.stx_dev_minor).into(), found.stx_ino.into()))
    }

    /// The same for a file that was just created; returns its identity.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn heal_created(
        &self,
        fd: impl AsFd,
        path: &str,
        mode: Mode,
        owner: Option<Owner>,
    ) -> Result<Inode, StagingError> {
        self.heal(&fd, path, mode, EVERY_BIT, owner)?;
        rustix::fs::fstat(&fd).map(|stat| identity(&stat)).map_err(StagingError::io("stat", path))
    }

    fn set(
        &self,
        fd: impl AsFd,
        path: &str,
        now: &Attributes,
        (mode, within): (Mode, Mode),
        owner: Option<Owner>,
    ) -> Result<(), StagingError> {
        if let Some(owner) = owner.filter(|owner| (owner.uid, owner.gid) != (now.uid, now.gid)) {
            let (uid, gid) = (Some(owner.raw_uid()), Some(owner.raw_gid()));
            self.may_change().and_then(|()| rustix::fs::fchown(&fd, uid, gid)).map_err(|errno| {
                // Without root no file can be given to another owner; this is never the tenant's fault.
                match errno == Errno::PERM && !rustix::process::geteuid().is_root() {
                    true => StagingError::OwnerNotSettable { path: path.to_owned(), source: errno.into() },
                    false => StagingError::io("change the owner of", path)(errno),
                }
            })?;
        }
        let has = now.mode & EVERY_BIT;
        if has & within != mode {
            self.may_change()
                .and_then(|()| rustix::fs::fchmod(&fd, (has - within) | mode))
                .map_err(StagingError::io("change the mode of", path))?;
        }
        Ok(())
    }
}

/// Mode and owner of a file.
struct Attributes {
    mode: Mode,
    uid: u32,
    gid: u32,
}

/// An error beneath the root. "Not found" in an open directory means that somebody removed the directory.
fn failed(action: &'static str, path: String) -> impl FnOnce(Errno) -> StagingError {
    move |errno| match errno {
        Errno::NOENT => StagingError::Contended { path, attempts: 1 },
        errno => StagingError::io(action, path)(errno),
    }
}
