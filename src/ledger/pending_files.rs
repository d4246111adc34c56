//! Accepted work on files, in `.provisioner/pending`. Blocking.
//!
//! | file | holds |
//! |---|---|
//! | `<user>.pending` | what is wanted, without secrets |
//! | `<user>.<random>.sign-in` | the sign-in that came with it; `<user>.pending` names the one that counts |
//! | `<user>.ended` | why work ended that only another request can mend |
//! | `<user>.ask` | what the user's present holder is asked for |
//!
//! A directory of its own, beside that of the locks: every replica lists it every few seconds, and a lock file is there
//! for every user. The lock file says whether there is anything to read here, so that a call on a user of whom nothing is
//! pending costs nothing.

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

/// Raised when a member gets a meaning that an earlier version must not miss. Other members may come and go.
const VERSION: u32 = 1;
const PENDING: &str = ".pending";
const SIGN_IN: &str = ".sign-in";
const ENDED: &str = ".ended";
const ASK: &str = ".ask";
/// More users than EFS has access points for, with all their files.
const MOST_NAMES: usize = 100_000;

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    /// Which file has the sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sign_in: Option<String>,
    #[serde(default)]
    intent: Value,
}

#[derive(Serialize, Deserialize)]
struct Asked {
    /// Of the holder who is asked.
    generation: String,
    ask: Ask,
}

/// What the file of a user's says.
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

/// Nothing else becomes a part of a name.
fn is_random(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn sign_in_name(user: &UserId, random: &str) -> Name {
    Name::of(user).plus(".").plus(random).plus(SIGN_IN)
}

/// What is noted, without what is secret of it.
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

/// The users whose names stand in the directory. What a kill left of a write, which may hold a sign-in, is removed.
pub(super) fn list(root: &Root) -> Result<Vec<Listed>, StagingError> {
    let directory = paths::pending(root)?;
    let names = directory.names(MOST_NAMES)?;
    remove_old_leftovers(&directory, &names, |name| name.bytes().ends_with(ASK.as_bytes()))?;
    let mut listed = BTreeMap::<UserId, bool>::new();
    for name in names {
        let Some((user, rest)) = std::str::from_utf8(name.bytes()).ok().and_then(|name| name.split_once('.')) else {
            continue;
        };
        // A sign-in that stands alone is what a kill left: whoever takes the user up removes it.
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

/// What is pending, with its sign-in; `Err(())` where it cannot be understood. Removes what a kill left beside it.
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
            // It is written before what names it and removed after it: somebody else has removed it.
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

/// The file that holds this very sign-in already.
fn standing(directory: &Dir, user: &UserId, bytes: &[u8]) -> Result<Option<String>, StagingError> {
    let Read::Envelope(Envelope { sign_in: Some(random), .. }) = read(directory, &name(user, PENDING))? else {
        return Ok(None);
    };
    let is_same = matches!(directory.read(&sign_in_name(user, &random))?, Found::Regular(found) if **found == *bytes);
    Ok(is_same.then_some(random))
}

/// How work ended, in its place.
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
    // In this order: what is pending never lacks its sign-in.
    for suffix in [PENDING, ENDED, ASK] {
        remove(&directory, &name(user, suffix))?;
    }
    remove_sign_ins(&directory, user, None)?;
    directory.sync()
}

pub(super) fn ask(root: &Root, user: &UserId, generation: String, ask: Ask) -> Result<(), StagingError> {
    let directory = paths::pending(root)?;
    // Whoever is to stop is not asked for less.
    let stands = read_ask(&directory, user)?.filter(|asked| asked.generation == generation && asked.ask >= ask);
    if stands.is_some() {
        return Ok(());
    }
    let bytes = serde_json::to_vec(&Asked { generation, ask }).unwrap_or_default();
    put(&directory, &name(user, ASK), &bytes)
}

/// What the holder of this generation was asked for. Whatever stands there is taken away: another holder is gone.
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
    // Strings, numbers and maps of strings: there is nothing in it that JSON cannot hold.
    serde_json::to_vec(envelope).unwrap_or_default()
}

fn put(directory: &Dir, name: &Name, bytes: &[u8]) -> Result<(), StagingError> {
    match replace(directory, name, bytes, None, || Ok(true))? {
        Replaced::Done { .. } => Ok(()),
        Replaced::Disturbed => Err(StagingError::Contended { path: directory.path_of(name), attempts: 1 }),
    }
}

/// Answers whether there was one.
fn remove(directory: &Dir, name: &Name) -> Result<bool, StagingError> {
    match directory.unlink(name) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(StagingError::io("remove", directory.path_of(name))(errno)),
    }
}

/// Removes the user's sign-ins but one; answers whether there were any.
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
