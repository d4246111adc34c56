//! The file system itself: every call is made on the backing directory.
//!
//! Nothing is synced: the tests are about processes, not about crashes of the machine.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyLock, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::nodes::{Nodes, attributes, nothing, path_of};
use super::wire::LARGEST_WRITE;

/// `F_UNLCK`, `F_RDLCK` as the kernel sends them.
const UNLOCK: i32 = 2;
const SHARED: i32 = 0;

/// The file system, shared with the reader of orders.
#[derive(Clone)]
pub(super) struct Passthrough {
    /// How long the kernel caches a name or an attribute.
    cached_for: Duration,
    state: Arc<Mutex<State>>,
}

struct State {
    nodes: Nodes,
    open: HashMap<u64, Open>,
    opened: u64,
}

enum Open {
    File { file: Arc<File>, locked: bool },
    Directory { fd: OwnedFd, entries: Vec<(u64, FileType, Vec<u8>)> },
}

impl Passthrough {
    pub(super) fn over(backing: &Path, cached_for: Duration) -> io::Result<Self> {
        let state = State { nodes: Nodes::new(backing)?, open: HashMap::new(), opened: 0 };
        Ok(Self { cached_for, state: Arc::new(Mutex::new(state)) })
    }

    /// Releases every lock on the server, as after an expired lease, without notice. Returns how many.
    pub(super) fn lose_locks(&self) -> usize {
        let mut lost = 0;
        for open in self.state().open.values_mut() {
            if let Open::File { file, locked: locked @ true } = open {
                rustix::fs::flock(&**file, FlockOperation::Unlock).unwrap();
                *locked = false;
                lost += 1;
            }
        }
        lost
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn entry(&self, reply: ReplyEntry, made: Result<FileAttr, Errno>) {
        match made {
            Ok(attributes) => reply.entry(&self.cached_for, &attributes, Generation(0)),
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    /// Creates something with `make`, then looks its name up.
    fn made(
        &self,
        parent: INodeNo,
        name: &OsStr,
        make: impl FnOnce(&OwnedFd) -> rustix::io::Result<()>,
    ) -> Result<FileAttr, Errno> {
        let mut state = self.state();
        make(&*state.nodes.get(parent)?)?;
        state.nodes.look_up(parent, name)
    }
}

impl State {
    fn keep(&mut self, open: Open) -> FileHandle {
        self.opened += 1;
        self.open.insert(self.opened, open);
        FileHandle(self.opened)
    }

    fn file(&self, handle: FileHandle) -> Result<Arc<File>, Errno> {
        match self.open.get(&handle.0) {
            Some(Open::File { file, .. }) => Ok(file.clone()),
            Some(Open::Directory { .. }) | None => Err(Errno::BADF),
        }
    }

    fn open_node(&self, node: INodeNo, flags: OFlags) -> Result<OwnedFd, Errno> {
        // Opening asks the server: a removed file is gone, even while its name is still cached.
        self.nodes.stat(node)?;
        rustix::fs::open(path_of(&*self.nodes.get(node)?), flags | OFlags::CLOEXEC, Mode::empty())
    }
}

fn fuse(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

fn empty(reply: ReplyEmpty, done: rustix::io::Result<()>) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(fuse(errno)),
    }
}

/// The flags of `open` that concern the file itself.
fn flags_of(flags: i32) -> OFlags {
    let own = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::NOCTTY;
    OFlags::from_bits_retain(flags.cast_unsigned()) - own
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl Filesystem for Passthrough {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
        config.add_capabilities(InitFlags::FUSE_FLOCK_LOCKS).map_err(|_| unsupported())?;
        // Changing an owner clears set-user-id here, too; otherwise the kernel first checks for it, which would count as a
        // call.
        config.add_capabilities(InitFlags::FUSE_HANDLE_KILLPRIV).map_err(|_| unsupported())?;
        config.set_max_write(LARGEST_WRITE).map_err(|_| unsupported())?;
        let _less_is_fine = config.set_max_readahead(LARGEST_WRITE);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.state().nodes.look_up(parent, name) {
            // A missing name is cached as long as an existing one.
            Err(Errno::NOENT) if !self.cached_for.is_zero() => {
                reply.entry(&self.cached_for, &nothing(), Generation(0));
            }
            found => self.entry(reply, found),
        }
    }

    fn forget(&self, _: &Request, node: INodeNo, times: u64) {
        self.state().nodes.forget(node, times);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.state().nodes.stat(node) {
            Ok(attributes) => reply.attr(&self.cached_for, &attributes),
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let state = self.state();
        let change = || {
            let fd = state.nodes.get(node)?;
            if let Some(mode) = mode {
                rustix::fs::chmod(path_of(&fd), Mode::from_raw_mode(mode & 0o7777))?;
            }
            if uid.is_some() || gid.is_some() {
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                rustix::fs::chownat(&fd, "", uid, gid, AtFlags::EMPTY_PATH)?;
            }
            if let Some(size) = size {
                let file = File::from(rustix::fs::open(path_of(&fd), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?);
                file.set_len(size).map_err(|error| errno(&error))?;
            }
            rustix::fs::fstat(&*fd)
        };
        match change() {
            Ok(stat) => reply.attr(&self.cached_for, &attributes(&stat)),
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        match self.state().nodes.get(node).and_then(|fd| rustix::fs::readlinkat(&fd, "", Vec::new())) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn mknod(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, rdev: u32, reply: ReplyEntry) {
        let kind = rustix::fs::FileType::from_raw_mode(mode);
        let made = self.made(parent, name, |parent| {
            rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(mode), rdev.into())
        });
        self.entry(reply, made);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let mode = Mode::from_raw_mode(mode);
        let made = self.made(parent, name, |parent| rustix::fs::mkdirat(parent, name, mode));
        self.entry(reply, made);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.state();
        state.nodes.removes(parent, name);
        let fd = state.nodes.get(parent);
        empty(reply, fd.and_then(|fd| rustix::fs::unlinkat(&fd, name, AtFlags::empty())));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.state();
        state.nodes.removes(parent, name);
        let fd = state.nodes.get(parent);
        empty(reply, fd.and_then(|fd| rustix::fs::unlinkat(&fd, name, AtFlags::REMOVEDIR)));
    }

    fn symlink(&self, _: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let made = self.made(parent, name, |parent| rustix::fs::symlinkat(target, parent, name));
        self.entry(reply, made);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        state.nodes.removes(new_parent, new_name);
        let rename = || {
            let (from, to) = (state.nodes.get(parent)?, state.nodes.get(new_parent)?);
            let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
            rustix::fs::renameat_with(&from, name, &to, new_name, flags)
        };
        empty(reply, rename());
    }

    fn link(&self, _: &Request, node: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: ReplyEntry) {
        let source = self.state().nodes.get(node);
        let made = source.and_then(|source| {
            let make = |parent: &OwnedFd| {
                rustix::fs::linkat(rustix::fs::CWD, path_of(&source), parent, new_name, AtFlags::SYMLINK_FOLLOW)
            };
            self.made(new_parent, new_name, make)
        });
        self.entry(reply, made);
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let mut state = self.state();
        match state.open_node(node, flags_of(flags.0)) {
            Ok(fd) => {
                let open = Open::File { file: Arc::new(File::from(fd)), locked: false };
                // Each open reads the content again, not from the cache.
                reply.opened(state.keep(open), FopenFlags::empty());
            }
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, flags: i32, reply: ReplyCreate) {
        let mut state = self.state();
        let mut create = || {
            let own = OFlags::from_bits_retain(flags.cast_unsigned()) & OFlags::EXCL;
            let flags = flags_of(flags) | own | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&state.nodes.get(parent)?, name, flags, Mode::from_raw_mode(mode & 0o7777))?;
            Ok((fd, state.nodes.look_up(parent, name)?))
        };
        match create() {
            Ok((fd, attributes)) => {
                let open = Open::File { file: Arc::new(File::from(fd)), locked: false };
                let handle = state.keep(open);
                reply.created(&self.cached_for, &attributes, Generation(0), handle, FopenFlags::empty());
            }
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let file = match self.state().file(handle) {
            Ok(file) => file,
            Err(errno) => return reply.error(fuse(errno)),
        };
        let mut bytes = vec![0; size as usize];
        match file.read_at(&mut bytes, offset) {
            Ok(read) => reply.data(&bytes[..read]),
            Err(error) => reply.error(fuse(errno(&error))),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let file = self.state().file(handle);
        let written = file.and_then(|file| file.write_all_at(bytes, offset).map_err(|error| errno(&error)));
        match written {
            Ok(()) => reply.written(u32::try_from(bytes.len()).unwrap()),
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        // This also releases its lock.
        drop(self.state().open.remove(&handle.0));
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.state().file(handle).map(drop));
    }

    fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut state = self.state();
        match state.open_node(node, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => {
                let handle = state.keep(Open::Directory { fd, entries: Vec::new() });
                reply.opened(handle, FopenFlags::empty());
            }
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut state = self.state();
        let Some(Open::Directory { fd, entries }) = state.open.get_mut(&handle.0) else {
            return reply.error(fuse(Errno::BADF));
        };
        if offset == 0 {
            match list(fd) {
                Ok(listed) => *entries = listed,
                Err(errno) => return reply.error(fuse(errno)),
            }
        }
        let from = usize::try_from(offset).unwrap();
        for (at, (ino, kind, name)) in entries.iter().enumerate().skip(from) {
            let name: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name);
            if reply.add(INodeNo(*ino), at as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        drop(self.state().open.remove(&handle.0));
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        // EFS has no limit of space.
        reply.statfs(1 << 40, 1 << 40, 1 << 40, 1 << 30, 1 << 30, 1 << 20, 255, 1 << 20);
    }

    fn getlk(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _: u64,
        _: u64,
        _: i32,
        _: u32,
        reply: ReplyLock,
    ) {
        // `flock` has no such query, and POSIX locks stay within the kernel.
        reply.error(fuse(Errno::NOSYS));
    }

    fn setlk(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: LockOwner,
        _: u64,
        _: u64,
        kind: i32,
        _: u32,
        waits: bool,
        reply: ReplyEmpty,
    ) {
        let file = match self.state().file(handle) {
            Ok(file) => file,
            Err(errno) => return reply.error(fuse(errno)),
        };
        let operation = match (kind, waits) {
            (UNLOCK, _) => FlockOperation::Unlock,
            (SHARED, false) => FlockOperation::NonBlockingLockShared,
            (SHARED, true) => FlockOperation::LockShared,
            (_, false) => FlockOperation::NonBlockingLockExclusive,
            (_, true) => FlockOperation::LockExclusive,
        };
        let this = self.clone();
        let take = move || {
            let done = rustix::fs::flock(&*file, operation);
            if let (Ok(()), Some(Open::File { locked, .. })) = (done, this.state().open.get_mut(&handle.0)) {
                *locked = kind != UNLOCK;
            }
            empty(reply, done);
        };
        if waits {
            std::thread::spawn(take);
        } else {
            take();
        }
    }
}

fn list(fd: &OwnedFd) -> rustix::io::Result<Vec<(u64, FileType, Vec<u8>)>> {
    let listed = rustix::fs::Dir::read_from(fd)?.map(|entry| {
        let entry = entry?;
        let kind = match entry.file_type() {
            rustix::fs::FileType::Directory => FileType::Directory,
            rustix::fs::FileType::Symlink => FileType::Symlink,
            _ => FileType::RegularFile,
        };
        Ok((entry.ino(), kind, entry.file_name().to_bytes().to_vec()))
    });
    listed.collect()
}
