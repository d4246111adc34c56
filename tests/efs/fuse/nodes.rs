//! The files that the kernel knows, each held by a descriptor, whatever its current name.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

pub(super) struct Nodes {
    known: HashMap<u64, Node>,
    /// The inode of the root, which the kernel calls 1.
    root: u64,
}

struct Node {
    fd: Arc<OwnedFd>,
    lookups: u64,
    /// Removed by this client. NFS keeps such a file while it is open.
    removed_here: bool,
}

impl Nodes {
    pub(super) fn new(root: &std::path::Path) -> Result<Self, Errno> {
        let fd = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let root = rustix::fs::fstat(&fd)?.st_ino;
        let node = Node { fd: Arc::new(fd), lookups: 1, removed_here: false };
        Ok(Self { known: HashMap::from([(root, node)]), root })
    }

    /// The file that the kernel means; never one that was opened for reading or writing.
    pub(super) fn get(&self, node: INodeNo) -> Result<Arc<OwnedFd>, Errno> {
        let known = self.known.get(if node.0 == 1 { &self.root } else { &node.0 });
        known.map(|node| node.fd.clone()).ok_or(Errno::STALE)
    }

    /// Finds a name, and remembers its file until the kernel forgets it.
    pub(super) fn look_up(&mut self, parent: INodeNo, name: &std::ffi::OsStr) -> Result<FileAttr, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.get(parent)?, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        let node =
            self.known.entry(stat.st_ino).or_insert_with(|| Node { fd: Arc::new(fd), lookups: 0, removed_here: false });
        node.lookups += 1;
        Ok(attributes(&stat))
    }

    pub(super) fn forget(&mut self, node: INodeNo, times: u64) {
        let Some(known) = self.known.get_mut(&node.0) else { return };
        known.lookups = known.lookups.saturating_sub(times);
        if known.lookups == 0 && node.0 != self.root {
            self.known.remove(&node.0);
        }
    }

    pub(super) fn stat(&self, node: INodeNo) -> Result<FileAttr, Errno> {
        let stat = rustix::fs::fstat(&*self.get(node)?)?;
        let removed_here = self.known.get(&node.0).is_some_and(|node| node.removed_here);
        // A file that another replica removed is gone even while it is open.
        if stat.st_nlink == 0 && !removed_here { Err(Errno::STALE) } else { Ok(attributes(&stat)) }
    }

    /// Records that this client removes a name.
    pub(super) fn removes(&mut self, parent: INodeNo, name: &std::ffi::OsStr) {
        let Ok(parent) = self.get(parent) else { return };
        let Ok(stat) = rustix::fs::statat(&parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) else { return };
        if let Some(node) = self.known.get_mut(&stat.st_ino) {
            node.removed_here = true;
        }
    }
}

/// The path with which this process can open or change the file of a descriptor.
pub(super) fn path_of(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

pub(super) fn attributes(stat: &Stat) -> FileAttr {
    let time = |seconds: i64, nanos: u64| -> SystemTime {
        UNIX_EPOCH + Duration::new(u64::try_from(seconds).unwrap_or_default(), u32::try_from(nanos).unwrap_or_default())
    };
    FileAttr {
        ino: INodeNo(stat.st_ino),
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        blocks: u64::try_from(stat.st_blocks).unwrap_or_default(),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::Directory => FileType::Directory,
            rustix::fs::FileType::Symlink => FileType::Symlink,
            rustix::fs::FileType::Fifo => FileType::NamedPipe,
            rustix::fs::FileType::Socket => FileType::Socket,
            rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
            rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
            _ => FileType::RegularFile,
        },
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: u32::try_from(stat.st_rdev).unwrap_or_default(),
        blksize: 4096,
        flags: 0,
    }
}

/// The attributes that mean that a name does not exist.
pub(super) fn nothing() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}
