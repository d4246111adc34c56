//! Accepted work on files, in `.provisioner/pending`. Blocking.
//!
//! | file | holds |
//! |---|---|
//! | `<user>.pending` | the accepted request, without secrets |
//! | `<user>.<random>.sign-in` | the sign-in of the request; `<user>.pending` names the one that counts |
//! | `<user>.ended` | why work ended, if only another request can solve it |
//! | `<user>.ask` | the request to the user's present holder |
//!
//! The files have their own directory, apart from the locks, because every replica lists it every few seconds and there is a
//! lock file for every user. The lock file says whether there is anything to read here, so that a call on a user without
//! pending work costs nothing.

use std::collections::BTreeMap;

use rustix::io::Errno;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pending::{Ask, Listed, Noted, Pending};
use crate::domain::UserId;
use crate::files::Root;
use crate::staging::StagingError;
use crate::staging::jail::{Dir, Found, Name};
use crate::staging::paths;
use crate::staging::write::{Replaced, remove_old_leftovers, replace};

/// Version of the format. It is raised when earlier versions must not ignore a new member; other members may come and go.
const VERSION: u32 = 1;
const PENDING: &str = ".pending";
const SIGN_IN: &str = ".sign-in";
const ENDED: &str = ".ended";
const ASK: &str = ".ask";
/// The most names that are read: more than all files of as many users as EFS has access points for.
const MOST_NAMES: usize = 100_000;

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    /// The random part of the sign-in's file name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sign_in: Option<String>,
    #[serde(default)]
    intent: Value,
}

#[derive(Serialize, Deserialize)]
struct Asked {
    /// Generation of the holder that is asked.
    generation: String,
    ask: Ask,
}

/// The content of a user's file.
enum Read {
    Nothing,
    Envelope(Envelope),
    NotUnderstood,
}

fn name(user: &UserId, suffix: &str) -> Name {
    Name::of(user).plus(suffix)
}

fn read(directory: &Dir, name: &Name) -> Result<Read, StagingError> {
    Ok(match directory.read(name)? {
        Found::Missing => Read::Nothing,
        Found::Regular(bytes) => match serde_json::from_slice::<Envelope>(&bytes) {
            Ok(envelope) if envelope.version == VERSION && envelope.sign_in.as_deref().is_none_or(is_random) => {
                Read::Envelope(envelope)
            }
            Ok(_) | Err(_) => Read::NotUnderstood,
        },
        Found::TooLarge(_) | Found::Other(_) => Read::NotUnderstood,
    })
}

/// Whether a text has the form of the random part; nothing else may become part of a file name.
fn is_random(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn sign_in_name(user: &UserId, random: &str) -> Name {
    Name::of(user).plus(".").plus(random).plus(SIGN_IN)
}

/// The note on a user's work, without secrets.
pub(super) fn noted(root: &Root, user: &UserId) -> Result<Option<Noted>, StagingError> {
    let directory = paths::pending(root)?;
    match read(&directory, &name(user, PENDING))? {
        Read::Envelope(envelope) => return Ok(Some(Noted::Pending(envelope.intent))),
        Read::NotUnderstood => return Ok(Some(Noted::NotUnderstood)),
        Read::Nothing => {}
    }
    Ok(match read(&directory, &name(user, ENDED))? {
        Read::Envelope(envelope) => Some(Noted::Ended(envelope.intent)),
        Read::NotUnderstood => Some(Noted::NotUnderstood),
        Read::Nothing => None,
    })
}

/// The users whose names are in the directory. Temporary files of a killed process, which may contain a sign-in, are removed.
pub(super) fn list(root: &Root) -> Result<Vec<Listed>, StagingError> {
    let directory = paths::pending(root)?;
    let names = directory.names(MOST_NAMES)?;
    remove_old_leftovers(&directory, &names, |name| name.bytes().ends_with(ASK.as_bytes()))?;
    let mut listed = BTreeMap::<UserId, bool>::new();
    for name in names {
        let Some((user, rest)) = std::str::from_utf8(name.bytes()).ok().and_then(|name| name.split_once('.')) else {
            continue;
        };
        // A sign-in without a request was left by a killed process; the next holder of the user removes it.
        let is_pending = match rest {
            "pending" => true,
            "ended" => false,
            rest if rest.ends_with(SIGN_IN) => true,
            _ => continue,
        };
        if let Ok(user) = UserId::parse(user) {
            *listed.entry(user).or_default() |= is_pending;
        }
    }
    Ok(listed.into_iter().map(|(user, is_pending)| Listed { user, is_pending }).collect())
}

/// The pending work with its sign-in; `Err(())` if it cannot be parsed. Removes files that a killed process left.
pub(super) fn take_up(root: &Root, user: &UserId) -> Result<Result<Option<Pending>, ()>, StagingError> {
    let directory = paths::pending(root)?;
    let envelope = match read(&directory, &name(user, PENDING))? {
        Read::NotUnderstood => return Ok(Err(())),
        Read::Nothing => None,
        Read::Envelope(envelope) => Some(envelope),
    };
    let kept = envelope.as_ref().and_then(|envelope| envelope.sign_in.as_deref());
    remove_sign_ins(&directory, user, kept)?;
    let Some(Envelope { sign_in, intent, .. }) = envelope else { return Ok(Ok(None)) };
    let sign_in = match sign_in {
        Some(random) => match directory.read(&sign_in_name(user, &random))? {
            Found::Regular(bytes) => Some(SecretSlice::from(bytes.to_vec()).into()),
            // The sign-in is written before the file that names it and removed after it, so somebody else has removed it.
            Found::Missing | Found::TooLarge(_) | Found::Other(_) => return Ok(Err(())),
        },
        None => None,
    };
    Ok(Ok(Some(Pending { intent, sign_in })))
}

pub(super) fn write(root: &Root, user: &UserId, pending: &Pending) -> Result<(), StagingError> {
    let directory = paths::pending(root)?;
    let sign_in = match &pending.sign_in {
        Some(secret) => Some(match standing(&directory, user, secret.expose_secret())? {
            Some(random) => random,
            None => {
                let random = format!("{:016x}", fastrand::u64(..));
                put(&directory, &sign_in_name(user, &random), secret.expose_secret())?;
                random
            }
        }),
        None => None,
    };
    let envelope = Envelope { version: VERSION, sign_in, intent: pending.intent.clone() };
    put(&directory, &name(user, PENDING), &encoded(&envelope))?;
    let removed =
        remove(&directory, &name(user, ENDED))? | remove_sign_ins(&directory, user, envelope.sign_in.as_deref())?;
    if removed { directory.sync() } else { Ok(()) }
}

/// The random part of the file that already contains this same sign-in.
fn standing(directory: &Dir, user: &UserId, bytes: &[u8]) -> Result<Option<String>, StagingError> {
    let Read::Envelope(Envelope { sign_in: Some(random), .. }) = read(directory, &name(user, PENDING))? else {
        return Ok(None);
    };
    let is_same = matches!(directory.read(&sign_in_name(user, &random))?, Found::Regular(found) if **found == *bytes);
    Ok(is_same.then_some(random))
}

/// Replaces the pending work by a note why it ended.
pub(super) fn end(root: &Root, user: &UserId, why: Value) -> Result<(), StagingError> {
    let directory = paths::pending(root)?;
    let envelope = Envelope { version: VERSION, sign_in: None, intent: why };
    put(&directory, &name(user, ENDED), &encoded(&envelope))?;
    remove(&directory, &name(user, PENDING))?;
    remove_sign_ins(&directory, user, None)?;
    directory.sync()
}

pub(super) fn clear(root: &Root, user: &UserId) -> Result<(), StagingError> {
    let directory = paths::pending(root)?;
    // In this order, so that pending work never lacks its sign-in.
    for suffix in [PENDING, ENDED, ASK] {
        remove(&directory, &name(user, suffix))?;
    }
    remove_sign_ins(&directory, user, None)?;
    directory.sync()
}

pub(super) fn ask(root: &Root, user: &UserId, generation: String, ask: Ask) -> Result<(), StagingError> {
    let directory = paths::pending(root)?;
    // A weaker request never replaces a stronger one.
    let stands = read_ask(&directory, user)?.filter(|asked| asked.generation == generation && asked.ask >= ask);
    if stands.is_some() {
        return Ok(());
    }
    let bytes = serde_json::to_vec(&Asked { generation, ask }).unwrap_or_default();
    put(&directory, &name(user, ASK), &bytes)
}

/// The request to the holder of this generation. The file is always removed: a request to another holder is obsolete.
pub(super) fn asked(root: &Root, user: &UserId, generation: &str) -> Result<Option<Ask>, StagingError> {
    let directory = paths::pending(root)?;
    let Some(asked) = read_ask(&directory, user)? else { return Ok(None) };
    remove(&directory, &name(user, ASK))?;
    Ok((asked.generation == generation).then_some(asked.ask))
}

fn read_ask(directory: &Dir, user: &UserId) -> Result<Option<Asked>, StagingError> {
    Ok(match directory.read(&name(user, ASK))? {
        Found::Regular(bytes) => serde_json::from_slice(&bytes).ok(),
        Found::Missing | Found::TooLarge(_) | Found::Other(_) => None,
    })
}

fn encoded(envelope: &Envelope) -> Vec<u8> {
    // Cannot fail: it contains only strings, numbers and maps with string keys.
    serde_json::to_vec(envelope).unwrap_or_default()
}

fn put(directory: &Dir, name: &Name, bytes: &[u8]) -> Result<(), StagingError> {
    match replace(directory, name, bytes, None, || Ok(true))? {
        Replaced::Done { .. } => Ok(()),
        Replaced::Disturbed => Err(StagingError::Contended { path: directory.path_of(name), attempts: 1 }),
    }
}

/// Removes a file; returns whether it existed.
fn remove(directory: &Dir, name: &Name) -> Result<bool, StagingError> {
    match directory.unlink(name) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(StagingError::io("remove", directory.path_of(name))(errno)),
    }
}

/// Removes the user's sign-ins except one; returns whether there were any.
fn remove_sign_ins(directory: &Dir, user: &UserId, kept: Option<&str>) -> Result<bool, StagingError> {
    let kept = kept.map(|random| sign_in_name(user, random));
    let start = format!("{user}.");
    let mut removed = false;
    for name in directory.names(MOST_NAMES)? {
        let is_theirs = name.bytes().starts_with(start.as_bytes()) && name.bytes().ends_with(SIGN_IN.as_bytes());
        if is_theirs && Some(&name) != kept.as_ref() {
            removed |= remove(directory, &name)?;
        }
    }
    Ok(removed)
}
