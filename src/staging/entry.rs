//! The entry script in a user's directory, which the container runs before its gateway. Blocking.
//!
//! The tenant can change it, but it runs as the tenant in the tenant's own container, so it harms nobody else.

use super::Owner;
use super::error::StagingError;
use super::home::{Edit, Home, What};
use super::jail::{Found, Name};
use super::paths::OURS;

/// Name and content of each file.
static FILES: [(Name, &str); 2] = {
    let [(script, of_script), (import, of_import)] = openclaw::entry::FILES;
    [(Name::fixed(script), of_script), (Name::fixed(import), of_import)]
};

/// The files that must be written: missing ones, and those of another build. Anything in the way is moved aside.
pub(super) fn edits(
    home: &mut Home,
    owner: Option<Owner>,
    moved_aside: &mut Vec<String>,
) -> Result<Vec<Edit<'static>>, StagingError> {
    let at = home.make_at(&OURS, moved_aside)?;
    let directory = home.at(at);
    let mut edits = Vec::new();
    for (name, content) in &FILES {
        let is_current =
            |found: &Found| matches!(found, Found::Regular(bytes) if bytes.as_slice() == content.as_bytes());
        if is_current(&directory.read(name)?) {
            directory.heal_file(name, owner)?;
        } else {
            edits.push(Edit { path: &OURS, name: name.clone(), before: None, what: What::Write(content.as_bytes()) });
        }
    }
    Ok(edits)
}
