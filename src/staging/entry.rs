//! The entry script in a user's directory: what the container runs before its gateway. Blocking.
//!
//! It is the tenant's to change, and runs as the tenant in the tenant's own container: nobody else is harmed.

use super::Owner;
use super::error::StagingError;
use super::jail::{Found, Name};
use super::places::{self, OURS};
use super::write::{Replaced, replace};
use crate::domain::user_id::UserId;
use crate::files::Root;

/// Name and content of each file.
static FILES: [(Name, &str); 2] = [
    (Name::fixed("entry.sh"), include_str!("container/entry.sh")),
    (Name::fixed("import.mjs"), include_str!("container/import.mjs")),
];

/// Writes the files that are missing or not of this build; answers what was in the way.
pub(super) fn stage(root: &Root, user: &UserId, owner: Option<Owner>) -> Result<Vec<String>, StagingError> {
    let home = places::make_home(root, user, owner)?;
    let mut moved_aside = Vec::new();
    let directory = places::make(&home, &OURS, owner, &mut moved_aside)?;
    for (name, content) in &FILES {
        let is_current =
            |found: &Found| matches!(found, Found::Regular(bytes) if bytes.as_slice() == content.as_bytes());
        if is_current(&directory.read(name)?) {
            directory.heal_file(name, owner)?;
            continue;
        }
        match replace(&directory, name, content.as_bytes(), owner, || Ok(true))? {
            Replaced::Done { moved_aside: path } => moved_aside.extend(path),
            Replaced::Disturbed => {
                return Err(StagingError::Contended { path: directory.path_of(name), attempts: 1 });
            }
        }
    }
    Ok(moved_aside)
}

#[cfg(test)]
mod tests {
    use super::FILES;
    use crate::domain::UPSTREAM_COMMAND;

    /// `doctor` tells operators what the script runs where the base names no command.
    #[test]
    fn the_script_runs_what_is_said_that_it_runs() {
        let (program, arguments) = UPSTREAM_COMMAND.split_once(" gateway").unwrap();
        let script = FILES[0].1;
        assert!(script.contains(&format!("exec {program} \"$@\"")), "{program}");
        assert!(script.contains(&format!("run_openclaw gateway{arguments}")), "{arguments}");
    }
}
