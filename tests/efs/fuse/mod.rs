//! EFS in miniature: a FUSE file system on top of a directory, which can be slow, hang, fail, and lose its locks.
//!
//! ```text
//! a process under test ── kernel ── /dev/fuse ── wire ── passthrough ── backing directory
//!                                                 ▲ rules: count, delay, hang, fail
//! ```
//! Each mount has its own server process, so that a mount can always be ended: the server is killed, and the kernel fails
//! every call on it. The server is this executable, started again ([`serve_if_asked`]); it gets its orders through the
//! socket that is its standard input, and ends when that closes. Two mounts of one backing directory are two replicas:
//! locks are locks on the backing files, so they exclude each other.
//!
//! Like EFS, which is NFS 4.1 mounted hard: a call can take for ever, and only a kill ends the wait; names and
//! attributes are cached for a while, but opening asks the server; a file removed by another replica is ESTALE; `flock` goes
//! to the server, and a client that was away too long loses its lock without notice.

mod kind;
mod mount;
mod nodes;
mod passthrough;
mod rules;
mod server;
mod wire;

pub use kind::{Group, Kind};
pub use mount::{Mount, missing};
pub use rules::Failure;
pub use server::serve_if_asked;
