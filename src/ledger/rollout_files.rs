//! Rollouts in files, in `.provisioner/rollouts`. Blocking.
//!
//! | file | holds |
//! |---|---|
//! | `rollout-<id>.json` | the rollout and whether it should go on; written completely or not at all |
//! | `rollout-<id>.journal` | its users, one line per event; appended and synced |
//!
//! A journal without a rollout is ignored: the process that started the rollout was killed.

use std::collections::BTreeSet;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LedgerError;
use super::fleet_files::lock;
use super::kept_files::whole;
use crate::files::Root;
use crate::staging::StagingError;
use crate::staging::jail::{Dir, Found, Name};
use crate::staging::paths;
use crate::staging::write::{Replaced, remove_old_leftovers, replace};

/// Version of the format. It is raised when earlier versions must not ignore a new member.
const VERSION: u32 = 1;
const PREFIX: Name = Name::fixed("rollout-");
const ROLLOUT: &str = ".json";
const JOURNAL: &str = ".journal";
/// The most names that are read; far fewer are kept.
const MOST_NAMES: usize = 1_000;

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    rollout: Value,
}

/// The name of a rollout's file; `None`: no rollout can have that id.
fn name(id: &str, suffix: &str) -> Option<Name> {
    let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_id.then(|| PREFIX.plus(id).plus(suffix))
}

pub(super) fn list(root: &Root) -> Result<Vec<(String, Option<Value>)>, StagingError> {
    let directory = paths::rollouts(root)?;
    let names = directory.names(MOST_NAMES)?;
    remove_old_leftovers(&directory, &names, |_| false)?;
    let id_of = |name: &Name| {
        let name = std::str::from_utf8(name.bytes()).ok()?;
        name.strip_prefix("rollout-")?.strip_suffix(ROLLOUT).map(str::to_owned)
    };
    let ids: BTreeSet<String> = names.iter().filter_map(id_of).collect();
    let mut found = Vec::new();
    for id in ids {
        match read(&directory, &id)? {
            Ok(Some(rollout)) => found.push((id, Some(rollout))),
            Ok(None) => {}
            Err(_) => found.push((id, None)),
        }
    }
    Ok(found)
}

pub(super) fn one(root: &Root, id: &str) -> Result<Result<Option<Value>, LedgerError>, StagingError> {
    read(&paths::rollouts(root)?, id)
}

fn read(directory: &Dir, id: &str) -> Result<Result<Option<Value>, LedgerError>, StagingError> {
    let Some(name) = name(id, ROLLOUT) else { return Ok(Ok(None)) };
    let not_understood = || LedgerError::RolloutNotUnderstood { path: directory.path_of(&name) };
    Ok(match directory.read(&name)? {
        Found::Missing => Ok(None),
        Found::Regular(bytes) => match serde_json::from_slice::<Envelope>(&bytes) {
            Ok(envelope) if envelope.version == VERSION => Ok(Some(envelope.rollout)),
            Ok(_) | Err(_) => Err(not_understood()),
        },
        Found::TooLarge(_) | Found::Other(_) => Err(not_understood()),
    })
}

/// Replaces a rollout under the lock of the fleet's data, if it is still `before`.
pub(super) fn put(
    root: &Root,
    id: &str,
    before: Option<&Value>,
    after: Option<Value>,
) -> Result<Result<bool, LedgerError>, StagingError> {
    let _locked = lock(root, &paths::ours(root)?)?;
    let directory = paths::rollouts(root)?;
    let Some((rollout, journal)) = name(id, ROLLOUT).zip(name(id, JOURNAL)) else { return Ok(Ok(false)) };
    match read(&directory, id)? {
        Ok(now) if now.as_ref() == before => {}
        Ok(_) => return Ok(Ok(false)),
        Err(error) => return Ok(Err(error)),
    }
    match after {
        Some(after) => {
            let bytes = serde_json::to_vec(&Envelope { version: VERSION, rollout: after }).unwrap_or_default();
            match replace(&directory, &rollout, &bytes, None, || Ok(true))? {
                Replaced::Done { .. } => {}
                Replaced::Disturbed => {
                    return Err(StagingError::Contended { path: directory.path_of(&rollout), attempts: 1 });
                }
            }
        }
        None => {
            for name in [&rollout, &journal] {
                match directory.unlink(name) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(StagingError::io("remove", directory.path_of(name))(errno)),
                }
            }
            directory.sync()?;
        }
    }
    Ok(Ok(true))
}

pub(super) fn journal(root: &Root, id: &str) -> Result<Vec<u8>, StagingError> {
    let directory = paths::rollouts(root)?;
    let Some(name) = name(id, JOURNAL) else { return Ok(Vec::new()) };
    whole(&directory, &name)
}

/// Appends complete lines, durable when it returns. An incomplete line of a killed writer is ended first, and is then ignored.
pub(super) fn append(root: &Root, id: &str, lines: &[u8]) -> Result<(), StagingError> {
    let directory = paths::rollouts(root)?;
    let Some(name) = name(id, JOURNAL) else { return Ok(()) };
    let failed = |action| StagingError::io(action, directory.path_of(&name));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = directory.open(&name, flags, Mode::RUSR | Mode::WUSR).map_err(failed("open"))?;
    let length = u64::try_from(rustix::fs::fstat(&file).map_err(failed("look at"))?.st_size).unwrap_or(0);
    let mut last = [b'\n'];
    if length > 0 {
        rustix::io::pread(&file, &mut last, length - 1).map_err(failed("read"))?;
    }
    let start: &[u8] = if last == [b'\n'] { b"" } else { b"\n" };
    let bytes = [start, lines].concat();
    if !root.permit().holds() {
        return Err(StagingError::LockLost { path: directory.path_of(&name) });
    }
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::pwrite(&file, &bytes[written..], length + written as u64) {
            Ok(more) => written += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("write")(errno)),
        }
    }
    rustix::fs::fsync(&file).map_err(failed("sync"))?;
    if length == 0 { directory.sync() } else { Ok(()) }
}
