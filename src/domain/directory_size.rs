//! Sizes of users' directories.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The size of a user's directory when it was last measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectorySize {
    /// Bytes that its files and directories take on the file system. A file with several hard links counts once.
    pub bytes: u64,
    /// Directory entries in it and in its subdirectories.
    pub entries: u64,
    /// Whether all of it was measured; if not, it holds at least this much.
    pub complete: bool,
    /// When the measurement ended.
    pub measured_at: Timestamp,
}

/// The total size of all users' directories, as far as they were measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DirectorySizes {
    /// Bytes of all of them.
    pub bytes: u64,
    /// Directories that were measured.
    pub users: u64,
    /// Directories among them that were measured only in part.
    pub incomplete: u64,
}

impl DirectorySizes {
    /// Adds the sizes up.
    #[must_use]
    pub fn of<'a>(sizes: impl IntoIterator<Item = &'a DirectorySize>) -> Self {
        sizes.into_iter().fold(Self::default(), |sum, size| Self {
            // A sparse file can claim any size, so the sum may overflow.
            bytes: sum.bytes.saturating_add(size.bytes),
            users: sum.users + 1,
            incomplete: sum.incomplete + u64::from(!size.complete),
        })
    }
}
