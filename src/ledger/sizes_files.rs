//! What users' directories hold, on a file: `.provisioner/sizes.json`. Blocking. What cannot be read counts as nothing: then they
//! are measured anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rollout_files::whole;
use crate::domain::{DirectorySize, UserId};
use crate::files::Root;
use crate::staging::StagingError;
use crate::staging::jail::Name;
use crate::staging::paths;
use crate::staging::write::{Replaced, replace};

const VERSION: u32 = 1;
const SIZES: Name = Name::fixed("sizes.json");

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    sizes: BTreeMap<String, DirectorySize>,
}

pub(super) fn read(root: &Root) -> Result<BTreeMap<UserId, DirectorySize>, StagingError> {
    let bytes = whole(&paths::ours(root)?, &SIZES)?;
    Ok(match serde_json::from_slice::<Envelope>(&bytes) {
        Ok(envelope) if envelope.version == VERSION => {
            let sizes = envelope.sizes.into_iter();
            sizes.filter_map(|(user, size)| Some((UserId::parse(&user).ok()?, size))).collect()
        }
        Ok(_) | Err(_) => BTreeMap::new(),
    })
}

pub(super) fn write(root: &Root, sizes: &BTreeMap<UserId, DirectorySize>) -> Result<(), StagingError> {
    let directory = paths::ours(root)?;
    let sizes = sizes.iter().map(|(user, size)| (user.to_string(), *size)).collect();
    let bytes = serde_json::to_vec(&Envelope { version: VERSION, sizes }).unwrap_or_default();
    match replace(&directory, &SIZES, &bytes, None, || Ok(true))? {
        Replaced::Done { .. } => Ok(()),
        Replaced::Disturbed => Err(StagingError::Contended { path: directory.path_of(&SIZES), attempts: 1 }),
    }
}
