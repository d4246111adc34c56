//! What users' directories hold.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a user's directory held when it was last walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectorySize {
    /// Bytes that its files and directories take on the file system. A file with several names counts once.
    pub bytes: u64,
    /// Names in it and beneath.
    pub entries: u64,
    /// Whether all of it was walked; otherwise it holds at least that.
    pub complete: bool,
    /// When the walk ended.
    pub measured_at: Timestamp,
}

/// What all users' directories hold together, as far as they were walked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DirectorySizes {
    /// Bytes of all.
    pub bytes: u64,
    /// Directories that were walked.
    pub users: u64,
    /// Of these, the ones that hold more than was walked.
    pub incomplete: u64,
}

impl DirectorySizes {
    /// The sum.
    #[must_use]
    pub fn of<'a>(sizes: impl IntoIterator<Item = &'a DirectorySize>) -> Self {
        sizes.into_iter().fold(Self::default(), |sum, size| Self {
            // A sparse file may claim to be as large as it likes.
            bytes: sum.bytes.saturating_add(size.bytes),
            users: sum.users + 1,
            incomplete: sum.incomplete + u64::from(!size.complete),
        })
    }
}
