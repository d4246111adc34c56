//! Data of the whole fleet that can be found out again; each kind in its own file in `.provisioner`, written completely or not
//! at all. Blocking. Data that cannot be parsed is ignored.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::files::Root;
use crate::staging::StagingError;
use crate::staging::jail::{Dir, Name};
use crate::staging::paths;
use crate::staging::write::{Replaced, replace};

const VERSION: u32 = 1;
/// The largest file: some hundred bytes for each event of each of ten thousand users.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A file and its only member besides the version.
pub(super) struct Kept {
    name: Name,
    member: &'static str,
}

/// Since when resources have belonged to nobody. Without the file, their time starts again now.
pub(super) static LEFT_OVER: Kept = Kept { name: Name::fixed("left-over.json"), member: "since" };
/// Sizes of users' directories. Without the file, they are measured again.
pub(super) static SIZES: Kept = Kept { name: Name::fixed("sizes.json"), member: "sizes" };

impl Kept {
    pub(super) fn read<T: DeserializeOwned + Default>(&self, root: &Root) -> Result<T, StagingError> {
        let bytes = whole(&paths::ours(root)?, &self.name)?;
        let mut envelope: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let is_known = envelope["version"] == json!(VERSION);
        let kept = envelope.get_mut(self.member).filter(|_| is_known).map(Value::take);
        Ok(kept.and_then(|kept| serde_json::from_value(kept).ok()).unwrap_or_default())
    }

    pub(super) fn write(&self, root: &Root, kept: &impl Serialize) -> Result<(), StagingError> {
        let directory = paths::ours(root)?;
        let bytes = json!({"version": VERSION, self.member: kept}).to_string();
        match replace(&directory, &self.name, bytes.as_bytes(), None, || Ok(true))? {
            Replaced::Done { .. } => Ok(()),
            Replaced::Disturbed => Err(StagingError::Contended { path: directory.path_of(&self.name), attempts: 1 }),
        }
    }
}

/// Reads a file of this service of any size; empty if there is none.
pub(super) fn whole(directory: &Dir, name: &Name) -> Result<Vec<u8>, StagingError> {
    let failed = |action| StagingError::io(action, directory.path_of(name));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match directory.open(name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(failed("open")(errno)),
    };
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    while bytes.len() < MOST_BYTES {
        match rustix::io::pread(&file, &mut chunk, bytes.len() as u64) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("read")(errno)),
        }
    }
    Ok(bytes)
}
