//! Data of the whole fleet, in files. Blocking.
//!
//! | file in `.provisioner` | holds |
//! |---|---|
//! | `promoted-base.json` | the promoted base; if it is missing, the newest is used |
//! | `fleet.lock` | nothing: it is locked during a change of these files |

use std::os::fd::OwnedFd;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::LedgerError;
use crate::domain::Promotion;
use crate::files::{Files, Job, Root};
use crate::staging::StagingError;
use crate::staging::jail::{Dir, Found, Name};
use crate::staging::paths;
use crate::staging::write::{Replaced, replace};

/// Version of the format. It is raised when earlier versions must not ignore a new member.
const VERSION: u32 = 1;
const PROMOTED_BASE: Name = Name::fixed("promoted-base.json");
const LOCK: Name = Name::fixed("fleet.lock");
/// Pause between tries of the lock, which is held for one write.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    #[serde(flatten)]
    promotion: Promotion,
}

/// The promoted base beneath the root of `files`.
///
/// # Errors
/// When the file system does not answer, or the file cannot be parsed.
pub async fn promotion_in(files: &Files) -> Result<Option<Promotion>, LedgerError> {
    let read = files.run(Job::ours(), |root| read(&paths::ours(root)?)).await;
    read.map_err(LedgerError::Fleet)?
}

/// Replaces the promoted base under the lock, if it is still `before`.
pub(super) async fn promote(
    files: &Files,
    before: Option<Promotion>,
    after: Option<Promotion>,
) -> Result<bool, LedgerError> {
    let done = files.run(Job::ours(), move |root| {
        let directory = paths::ours(root)?;
        let _locked = lock(root, &directory)?;
        let now = match read(&directory)? {
            Ok(now) => now,
            // A caller that only wants to remove it can do so even if it cannot be parsed.
            Err(_) if after.is_none() && before.is_none() => None,
            Err(error) => return Ok(Err(error)),
        };
        if now != before {
            return Ok(Ok(false));
        }
        match after {
            Some(promotion) => write(&directory, promotion)?,
            None => remove(&directory)?,
        }
        Ok::<_, StagingError>(Ok(true))
    });
    done.await.map_err(LedgerError::Fleet)?
}

fn read(directory: &Dir) -> Result<Result<Option<Promotion>, LedgerError>, StagingError> {
    let not_understood = || LedgerError::FleetNotUnderstood { path: directory.path_of(&PROMOTED_BASE) };
    Ok(match directory.read(&PROMOTED_BASE)? {
        Found::Missing => Ok(None),
        Found::Regular(bytes) => match serde_json::from_slice::<Envelope>(&bytes) {
            Ok(envelope) if envelope.version == VERSION => Ok(Some(envelope.promotion)),
            Ok(_) | Err(_) => Err(not_understood()),
        },
        Found::TooLarge(_) | Found::Other(_) => Err(not_understood()),
    })
}

fn write(directory: &Dir, promotion: Promotion) -> Result<(), StagingError> {
    let bytes = serde_json::to_vec(&Envelope { version: VERSION, promotion }).unwrap_or_default();
    match replace(directory, &PROMOTED_BASE, &bytes, None, || Ok(true))? {
        Replaced::Done { .. } => Ok(()),
        Replaced::Disturbed => Err(StagingError::Contended { path: directory.path_of(&PROMOTED_BASE), attempts: 1 }),
    }
}

fn remove(directory: &Dir) -> Result<(), StagingError> {
    match directory.unlink(&PROMOTED_BASE) {
        Ok(()) => directory.sync(),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(StagingError::io("remove", directory.path_of(&PROMOTED_BASE))(errno)),
    }
}

/// Waits for the lock as long as somebody waits for the work. Closing the file releases it.
pub(super) fn lock(root: &Root, directory: &Dir) -> Result<OwnedFd, StagingError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = directory.open(&LOCK, flags, Mode::RUSR | Mode::WUSR);
    let file = file.map_err(StagingError::io("open", directory.path_of(&LOCK)))?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) if root.permit().holds() => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                return Err(StagingError::Contended { path: directory.path_of(&LOCK), attempts: 1 });
            }
            Err(errno) => return Err(StagingError::io("lock", directory.path_of(&LOCK))(errno)),
        }
    }
}
