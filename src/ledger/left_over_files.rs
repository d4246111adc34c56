//! Since when things have belonged to nobody, on a file: `.provisioner/left-over.json`. Blocking. What cannot be read counts as
//! nothing: then it is waited from now on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files::Root;
use crate::staging::StagingError;
use crate::staging::jail::{Found, Name};
use crate::staging::paths;
use crate::staging::write::{Replaced, replace};

const VERSION: u32 = 1;
const LEFT_OVER: Name = Name::fixed("left-over.json");

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    since: BTreeMap<String, Timestamp>,
}

pub(super) fn read(root: &Root) -> Result<BTreeMap<String, Timestamp>, StagingError> {
    let directory = paths::ours(root)?;
    Ok(match directory.read(&LEFT_OVER)? {
        Found::Regular(bytes) => match serde_json::from_slice::<Envelope>(&bytes) {
            Ok(envelope) if envelope.version == VERSION => envelope.since,
            Ok(_) | Err(_) => BTreeMap::new(),
        },
        Found::Missing | Found::TooLarge(_) | Found::Other(_) => BTreeMap::new(),
    })
}

pub(super) fn write(root: &Root, since: BTreeMap<String, Timestamp>) -> Result<(), StagingError> {
    let directory = paths::ours(root)?;
    let bytes = serde_json::to_vec(&Envelope { version: VERSION, since }).unwrap_or_default();
    match replace(&directory, &LEFT_OVER, &bytes, None, || Ok(true))? {
        Replaced::Done { .. } => Ok(()),
        Replaced::Disturbed => Err(StagingError::Contended { path: directory.path_of(&LEFT_OVER), attempts: 1 }),
    }
}
