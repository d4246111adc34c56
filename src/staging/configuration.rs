//! `openclaw.json` in a user's directory: our entries merged in. Blocking.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::zeroize::Zeroizing;

use super::Owner;
use super::error::StagingError;
use super::jail::{Found, Name};
use super::places::make_home;
use super::write::{Replaced, remove_leftovers, replace};
use crate::domain::credential_plan::openclaw_json::{Merged, has_gateway_token, merge};
use crate::domain::credential_plan::{ModelEntries, Warning};
use crate::domain::user_id::UserId;

const OPENCLAW_JSON: Name = Name::fixed("openclaw.json");
/// What the gateway's token is made of, in bytes.
const GATEWAY_TOKEN_BYTES: usize = 32;

/// What one try came to.
pub(super) enum Tried {
    Done(Option<Warning>),
    /// The file changed meanwhile.
    Disturbed,
}

/// Merges our entries in, unless the file changes meanwhile; what cannot be merged is left alone, with a warning.
pub(super) fn stage(
    root: &Path,
    user: &UserId,
    owner: Option<Owner>,
    model: ModelEntries,
    makes_token: bool,
) -> Result<Tried, StagingError> {
    let home = make_home(root, user, owner)?;
    remove_leftovers(&home)?;
    let found = home.read(&OPENCLAW_JSON)?;
    let left_alone = |problem| Ok(Tried::Done(Some(Warning::ConfigurationLeftAlone { problem })));
    let existing = match &found {
        Found::Missing => None,
        Found::Regular(bytes) => Some(bytes.as_slice()),
        Found::TooLarge(_) => return left_alone("it is too large"),
        // A link may well be how the user keeps it; it is not followed (incident 27).
        Found::Other(_) => return left_alone("it is a link or no file"),
    };
    let token = match makes_token && !existing.is_some_and(has_gateway_token) {
        true => Some(random_token()?),
        false => None,
    };
    let bytes = match merge(existing, model, token.as_ref().map(|token| token.as_str())) {
        Merged::Unchanged => return Ok(Tried::Done(None)),
        Merged::LeftAlone(problem) => return left_alone(problem),
        Merged::Write(bytes) => Zeroizing::new(bytes),
    };
    let unchanged = || Ok(home.read(&OPENCLAW_JSON)? == found);
    Ok(match replace(&home, &OPENCLAW_JSON, &bytes, owner, unchanged)? {
        Replaced::Done { .. } => Tried::Done(None),
        Replaced::Disturbed => Tried::Disturbed,
    })
}

/// 32 bytes of the system's entropy in hex.
fn random_token() -> Result<Zeroizing<String>, StagingError> {
    let mut bytes = Zeroizing::new([0; GATEWAY_TOKEN_BYTES]);
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(bytes.as_mut_slice()));
    read.map_err(|source| StagingError::Io { action: "read", path: "/dev/urandom".to_owned(), source })?;
    Ok(Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}
