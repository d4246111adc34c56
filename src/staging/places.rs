//! The directories and files of a user that staging knows, walked, made and healed.

use std::path::Path;

use rustix::fs::Mode;

use super::Owner;
use super::error::StagingError;
use super::jail::{Child, Dir, Name};
use crate::domain::credential_plan::CredentialPlan;
use crate::domain::user_id::UserId;

const USERS: Name = Name::fixed("users");
pub(super) const CODEX: Name = Name::fixed("codex");
pub(super) static AUTH_JSON: Name = Name::fixed("auth.json");
/// `agents/main/agent`, where OpenClaw keeps the sign-ins of its agent `main`.
pub(super) static AGENT: [Name; 3] = [Name::fixed("agents"), Name::fixed("main"), Name::fixed("agent")];
pub(super) static AUTH_PROFILES: Name = Name::fixed("auth-profiles.json");
/// The databases that a release imports sign-ins into: of 2026.6.5 – 7.x in the agent's directory, from 8.1 in `state`.
pub(super) static AGENT_STORE: Name = Name::fixed("openclaw-agent.sqlite");
pub(super) static STATE: [Name; 1] = [Name::fixed("state")];
pub(super) static STATE_STORE: Name = Name::fixed("openclaw.sqlite");
/// The tenant's own, and nobody else's business.
const PRIVATE: Mode = Mode::RWXU;
/// `users/` is not a secret and never the tenant's: root-owned, beyond every access point's root.
const LISTABLE: Mode = Mode::from_raw_mode(0o755);
/// The tenant may keep swapping a directory while it is opened.
pub(super) const SWAPS_ENDURED: u32 = 8;

/// The directories that files are staged into.
pub(super) struct Places {
    pub(super) home: Dir,
    pub(super) codex: Dir,
    /// Only where the plan stages something there, or a sign-in may have to be taken out.
    pub(super) agent: Option<Dir>,
}

/// `users/`, made if missing.
pub(super) fn users(root: &Path) -> Result<Dir, StagingError> {
    let root = Dir::root(root)?;
    root.ensure(&USERS, LISTABLE, None)?.ok_or_else(|| not_a_directory(&root, &USERS))
}

/// The user's directory if there is one, whatever it is.
pub(super) fn home(root: &Path, user: &UserId) -> Result<Child, StagingError> {
    match Dir::root(root)?.child(&USERS)? {
        Child::Directory(users) => users.child(&Name::of(user)),
        Child::Missing => Ok(Child::Missing),
        Child::Other => Ok(Child::Other),
    }
}

/// The directory at a path, if it is one.
pub(super) fn walk(from: &Dir, path: &[Name]) -> Result<Option<Dir>, StagingError> {
    let mut at: Option<Dir> = None;
    for name in path {
        match at.as_ref().unwrap_or(from).child(name)? {
            Child::Directory(child) => at = Some(child),
            Child::Missing | Child::Other => return Ok(None),
        }
    }
    Ok(at)
}

/// The user's directory, made or healed.
pub(super) fn make_home(root: &Path, user: &UserId, owner: Option<Owner>) -> Result<Dir, StagingError> {
    let users = users(root)?;
    let name = Name::of(user);
    // Nobody but an operator can put something else here.
    users.ensure(&name, PRIVATE, owner)?.ok_or_else(|| not_a_directory(&users, &name))
}

/// The user's directory and those for the plan's files in it, made or healed; and what was in the way.
pub(super) fn make(
    root: &Path,
    user: &UserId,
    owner: Option<Owner>,
    plan: &CredentialPlan,
) -> Result<(Places, Vec<String>), StagingError> {
    let home = make_home(root, user, owner)?;
    let mut moved_aside = Vec::new();
    let codex = make_path(&home, &CODEX, &[], owner, &mut moved_aside)?;
    let [agents, below @ ..] = &AGENT;
    let agent = match plan.profile {
        Some(_) => Some(make_path(&home, agents, below, owner, &mut moved_aside)?),
        // Looked into for a sign-in that another release left; on 4.7 nothing may be staged there.
        None => walk(&home, &AGENT)?,
    };
    Ok((Places { home, codex, agent }, moved_aside))
}

/// Directories one in the other.
///
/// A link or a file that the tenant put where one belongs is moved aside, within their own directory: nobody is locked
/// out by their own junk, and nothing of it is followed or lost.
fn make_path(
    parent: &Dir,
    name: &Name,
    below: &[Name],
    owner: Option<Owner>,
    moved_aside: &mut Vec<String>,
) -> Result<Dir, StagingError> {
    for _ in 0..SWAPS_ENDURED {
        if let Some(directory) = parent.ensure(name, PRIVATE, owner)? {
            return match below {
                [] => Ok(directory),
                [next, below @ ..] => make_path(&directory, next, below, owner, moved_aside),
            };
        }
        moved_aside.extend(parent.move_aside(name)?);
    }
    Err(StagingError::Contended { path: parent.path_of(name), attempts: SWAPS_ENDURED })
}

fn not_a_directory(parent: &Dir, name: &Name) -> StagingError {
    StagingError::NotADirectory { path: parent.path_of(name) }
}
