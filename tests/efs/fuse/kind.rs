//! Kinds of file calls, as the kernel sends them to a FUSE server.

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $group:ident $(, $opcode:literal)+;)*) => {
        /// The kind of a call. The numbers are FUSE's opcodes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            pub const fn group(self) -> Group {
                match self {
                    $(Self::$kind => Group::$group,)*
                }
            }

            /// The kind of an opcode; `None` for calls without a waiting caller and for those about the connection itself.
            pub const fn of(opcode: u32) -> Option<Self> {
                match opcode {
                    $($($opcode)|+ => Some(Self::$kind),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    Lookup = Look, 1;
    /// `stat` of a known or open file, unless the kernel still has the last answer in its cache.
    Getattr = Look, 3;
    Readlink = Look, 5;
    Open = Look, 14;
    Read = Look, 15;
    Statfs = Look, 17;
    Opendir = Look, 27;
    Readdir = Look, 28;
    Access = Look, 34;
    /// chmod, chown, truncate.
    Setattr = Change, 4;
    Symlink = Change, 6;
    Mknod = Change, 8;
    Mkdir = Change, 9;
    Unlink = Change, 10;
    Rmdir = Change, 11;
    Rename = Change, 12, 45;
    Link = Change, 13;
    Write = Change, 16;
    Create = Change, 35;
    Fsync = Sync, 20;
    Fsyncdir = Sync, 30;
    Getlk = Lock, 31;
    /// `flock`, to lock and to unlock.
    Lock = Lock, 32, 33;
    /// `close`: nobody waits for it.
    Release = End, 18, 29;
}

impl Kind {
    /// The name that a request looks up or creates, with its directory. A header of 40 bytes comes first, then the
    /// structure of this kind (linux/fuse.h).
    pub(super) fn name_in(self, message: &[u8]) -> Option<(u64, Vec<u8>)> {
        let number = |at: usize| Some(u64::from_ne_bytes(message.get(at..at + 8)?.try_into().ok()?));
        let name = |at: usize, nth: usize| Some(message.get(at..)?.split(|byte| *byte == 0).nth(nth)?.to_vec());
        let is_rename2 = message.get(4..8).is_some_and(|opcode| opcode == 45u32.to_ne_bytes());
        match self {
            Self::Lookup | Self::Symlink => Some((number(16)?, name(40, 0)?)),
            Self::Mkdir | Self::Link => Some((number(16)?, name(48, 0)?)),
            Self::Create | Self::Mknod => Some((number(16)?, name(56, 0)?)),
            // The new name, in the new directory.
            Self::Rename => Some((number(40)?, name(if is_rename2 { 56 } else { 48 }, 1)?)),
            _ => None,
        }
    }

    /// Whether a caller waits for it.
    pub fn is_waited_for(self) -> bool {
        self.group() != Group::End
    }
}

/// Groups of kinds with the same cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Changes nothing.
    Look,
    /// Changes a name, an attribute or content.
    Change,
    /// Makes changes durable.
    Sync,
    Lock,
    /// Nobody waits for it.
    End,
}

impl Group {
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().filter(move |kind| kind.group() == self)
    }
}
