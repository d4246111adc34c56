//! What was last staged for a user, beyond every tenant's root: `.provisioner/staged/<user id>.json`.

use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::error::StagingError;
use super::jail::{Child, Dir, Name};
use super::locks::PROVISIONER;
use super::write::{Replaced, replace};
use crate::domain::credential_plan::Record;
use crate::domain::user_id::UserId;

const STAGED: Name = Name::fixed("staged");

/// The user's record. One that does not parse is none: then the files alone are judged.
pub(super) fn read(root: &Path, user: &UserId) -> Result<Option<Record>, StagingError> {
    let Some(directory) = look(root)? else { return Ok(None) };
    let found = directory.read(&file_name(user))?;
    let Some(bytes) = super::credentials::found_bytes(&found) else { return Ok(None) };
    let parsed = serde_json::from_slice(bytes);
    if let Err(error) = &parsed {
        tracing::warn!(user_id = %user, %error, "the record of what was staged does not parse");
    }
    Ok(parsed.ok())
}

pub(super) fn write(root: &Path, user: &UserId, record: &Record) -> Result<(), StagingError> {
    let make = |parent: &Dir, name: &Name| {
        let taken = || StagingError::NotADirectory { path: parent.path_of(name) };
        parent.ensure(name, Mode::RWXU, None)?.ok_or_else(taken)
    };
    let directory = make(&make(&Dir::root(root)?, &PROVISIONER)?, &STAGED)?;
    let name = file_name(user);
    let bytes = serde_json::to_vec(record).unwrap_or_default();
    // Nobody else writes here, and the caller holds the user's lock.
    match replace(&directory, &name, &bytes, None, || Ok(true))? {
        Replaced::Done { .. } => Ok(()),
        Replaced::Disturbed => Err(StagingError::Contended { path: directory.path_of(&name), attempts: 1 }),
    }
}

/// Removes the record; `false` when there was none.
pub(super) fn remove(root: &Path, user: &UserId) -> Result<bool, StagingError> {
    let Some(directory) = look(root)? else { return Ok(false) };
    match directory.unlink(&file_name(user)) {
        Ok(()) => directory.sync().map(|()| true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(StagingError::io("remove", directory.path_of(&file_name(user)))(errno)),
    }
}

fn look(root: &Path) -> Result<Option<Dir>, StagingError> {
    let Child::Directory(ours) = Dir::root(root)?.child(&PROVISIONER)? else { return Ok(None) };
    match ours.child(&STAGED)? {
        Child::Directory(staged) => Ok(Some(staged)),
        Child::Missing | Child::Other => Ok(None),
    }
}

fn file_name(user: &UserId) -> Name {
    Name::of(user).plus(".json")
}
