//! The sign-in in a user's directory: read, and replaced as the plan's judge says. Blocking; `Staging` runs these off
//! the runtime's threads.

use std::path::Path;

use rustix::io::Errno;
use secrecy::{ExposeSecret as _, SecretSlice};

use super::Owner;
use super::error::StagingError;
use super::jail::{Child, Dir, Found, Name};
use super::places::{
    AGENT, AGENT_STORE, AUTH_JSON, AUTH_PROFILES, CODEX, Places, STATE, STATE_STORE, SWAPS_ENDURED, home, make, walk,
};
use super::records;
use super::write::{Replaced, remove_leftovers, replace};
use crate::domain::credential_plan::{
    Change, Content, CredentialPlan, OnDisk, Provider, Record, Verdict, auth_profiles,
};
use crate::domain::user_id::UserId;

/// What was found where sign-ins belong.
pub(super) struct Observed {
    codex: Found,
    profiles: Found,
    has_store: bool,
    record: Option<Record>,
    pub(super) moved_aside: Vec<String>,
}

impl Observed {
    pub(super) fn disk(&self) -> OnDisk<'_> {
        OnDisk {
            codex: content(&self.codex),
            profiles: content(&self.profiles),
            has_store: self.has_store,
            record: self.record.as_ref(),
        }
    }

    /// Whether there may be a file that is being rewritten in place just now (openclaw-facts §3).
    pub(super) fn may_be_half_written(&self) -> bool {
        let disk = self.disk();
        disk.codex.may_be_half_written() || disk.profiles.may_be_half_written()
    }
}

fn content(found: &Found) -> Content<'_> {
    match found {
        Found::Missing => Content::Missing,
        Found::Regular(bytes) => Content::Bytes(bytes),
        Found::TooLarge(_) | Found::Other(_) => Content::Junk,
    }
}

/// Makes the directories, heals their owner and mode, removes leftovers, and reads what is there.
pub(super) fn prepare(
    root: &Path,
    user: &UserId,
    owner: Option<Owner>,
    plan: &CredentialPlan,
) -> Result<Observed, StagingError> {
    let (places, moved_aside) = make(root, user, owner, plan)?;
    remove_leftovers(&places.codex)?;
    if let Some(agent) = &places.agent {
        remove_leftovers(agent)?;
    }
    observe(root, user, &places.home, Some(&places.codex), places.agent.as_ref(), moved_aside)
}

/// Reads what is there and changes nothing.
pub(super) fn inspect(root: &Path, user: &UserId) -> Result<Observed, StagingError> {
    let Child::Directory(home) = home(root, user)? else {
        let (codex, profiles, moved_aside) = (Found::Missing, Found::Missing, Vec::new());
        return Ok(Observed { codex, profiles, has_store: false, record: records::read(root, user)?, moved_aside });
    };
    let (codex, agent) = (walk(&home, &[CODEX])?, walk(&home, &AGENT)?);
    observe(root, user, &home, codex.as_ref(), agent.as_ref(), Vec::new())
}

fn observe(
    root: &Path,
    user: &UserId,
    home: &Dir,
    codex: Option<&Dir>,
    agent: Option<&Dir>,
    moved_aside: Vec<String>,
) -> Result<Observed, StagingError> {
    let read = |directory: Option<&Dir>, name| directory.map_or(Ok(Found::Missing), |directory| directory.read(name));
    let holds = |directory: Option<&Dir>, name| directory.map_or(Ok(false), |directory| directory.is_file(name));
    Ok(Observed {
        codex: read(codex, &AUTH_JSON)?,
        profiles: read(agent, &AUTH_PROFILES)?,
        has_store: holds(agent, &AGENT_STORE)? || holds(walk(home, &STATE)?.as_ref(), &STATE_STORE)?,
        record: records::read(root, user)?,
        moved_aside,
    })
}

/// Does what the verdict says, unless what was observed has changed since.
pub(super) fn commit(
    root: &Path,
    user: &UserId,
    owner: Option<Owner>,
    plan: &CredentialPlan,
    verdict: &Verdict,
    observed: &Observed,
) -> Result<Replaced, StagingError> {
    let (places, moved_aside) = make(root, user, owner, plan)?;
    if !moved_aside.is_empty() {
        return Ok(Replaced::Disturbed);
    }
    // Incomplete before the files and complete after them: a crash between the two must neither pass for a sign-in
    // that was staged nor be forgotten.
    if let Some(record) = &verdict.record {
        records::write(root, user, &record.marked(false))?;
    }
    let replaced = commit_into(&places, owner, plan, verdict, observed)?;
    if let (Some(record), Replaced::Done { .. }) = (&verdict.record, &replaced) {
        records::write(root, user, &record.marked(true))?;
    }
    Ok(replaced)
}

/// The files of [`commit`], with the directories as they were opened.
pub(super) fn commit_into(
    places: &Places,
    owner: Option<Owner>,
    plan: &CredentialPlan,
    verdict: &Verdict,
    observed: &Observed,
) -> Result<Replaced, StagingError> {
    let Places { home, codex, agent } = places;
    let codex = Target { home, path: &[CODEX], directory: codex, name: &AUTH_JSON, found: &observed.codex };
    let agent = agent.as_ref().map(|directory| Target {
        home,
        path: &AGENT,
        directory,
        name: &AUTH_PROFILES,
        found: &observed.profiles,
    });
    let codex = Some((codex, &verdict.codex));
    let agent = agent.map(|target| (target, &verdict.profiles));
    // The authority first: a crash in between leaves a sign-in twice, which the next call mends, and never none.
    let (first, second) = if plan.authority.is_codex_auth_json() { (codex, agent) } else { (agent, codex) };
    let second_found = second.as_ref().map(|(target, _)| target.unchanged());
    // What is moved away from is dead when the container has rotated it meanwhile (incident 28).
    if !second_found.transpose()?.unwrap_or(true) {
        return Ok(Replaced::Disturbed);
    }
    let mut moved_aside = Vec::new();
    for (target, change) in [first, second].into_iter().flatten() {
        match target.apply(change, owner)? {
            Replaced::Done { moved_aside: path } => moved_aside.extend(path),
            Replaced::Disturbed => return Ok(Replaced::Disturbed),
        }
    }
    Ok(Replaced::Done { moved_aside })
}

/// A file to change.
struct Target<'a> {
    home: &'a Dir,
    path: &'a [Name],
    directory: &'a Dir,
    name: &'a Name,
    found: &'a Found,
}

impl Target<'_> {
    fn unchanged(&self) -> Result<bool, StagingError> {
        Ok(self.directory.read(self.name)? == *self.found)
    }

    fn apply(&self, change: &Change, owner: Option<Owner>) -> Result<Replaced, StagingError> {
        let replaced = match change {
            // Readable for the container in any case (incident 24).
            Change::Keep => {
                if let Found::Regular(_) = self.found {
                    self.directory.heal_file(self.name, owner)?;
                }
                return Ok(Replaced::Done { moved_aside: Vec::new() });
            }
            Change::Write(bytes) => self.write(bytes, owner)?,
            Change::Remove if !self.unchanged()? => Replaced::Disturbed,
            Change::Remove => {
                unlink(self.directory, self.name)?;
                Replaced::Done { moved_aside: Vec::new() }
            }
        };
        // The tenant may have moved the directory away while we wrote into it; then it is something else now.
        let in_place = match walk(self.home, self.path)? {
            Some(now) => now.identity()? == self.directory.identity()?,
            None => false,
        };
        Ok(if in_place { replaced } else { Replaced::Disturbed })
    }

    fn write(&self, bytes: &SecretSlice<u8>, owner: Option<Owner>) -> Result<Replaced, StagingError> {
        replace(self.directory, self.name, bytes.expose_secret(), owner, || self.unchanged())
    }
}

/// Removes what was staged and leftovers of it; `false` when there was none. What a release has imported into its
/// database is beyond us.
pub(super) fn remove(root: &Path, user: &UserId, owner: Option<Owner>) -> Result<bool, StagingError> {
    let mut removed = records::remove(root, user)?;
    let Child::Directory(home) = home(root, user)? else { return Ok(removed) };
    if let Some(codex) = walk(&home, &[CODEX])? {
        remove_leftovers(&codex)?;
        removed |= unlink(&codex, &AUTH_JSON)?;
    }
    if let Some(agent) = walk(&home, &AGENT)? {
        remove_leftovers(&agent)?;
        removed |= remove_profiles(&agent, owner)?;
    }
    Ok(removed)
}

/// Takes our profiles out of the file; the user's others stay.
fn remove_profiles(agent: &Dir, owner: Option<Owner>) -> Result<bool, StagingError> {
    for _ in 0..SWAPS_ENDURED {
        let found = agent.read(&AUTH_PROFILES)?;
        let Some(mut file) = found_bytes(&found).and_then(auth_profiles::parse) else { return Ok(false) };
        let removed = Provider::ALL.map(|provider| auth_profiles::remove(&mut file, provider));
        if !removed.contains(&true) {
            return Ok(false);
        }
        if auth_profiles::is_empty(&file) {
            return unlink(agent, &AUTH_PROFILES);
        }
        let bytes = auth_profiles::to_bytes(file);
        let unchanged = || Ok(agent.read(&AUTH_PROFILES)? == found);
        if let Replaced::Done { .. } = replace(agent, &AUTH_PROFILES, bytes.expose_secret(), owner, unchanged)? {
            return Ok(true);
        }
    }
    Err(StagingError::Contended { path: agent.path_of(&AUTH_PROFILES), attempts: SWAPS_ENDURED })
}

pub(super) fn found_bytes(found: &Found) -> Option<&[u8]> {
    match found {
        Found::Regular(bytes) => Some(bytes),
        Found::Missing | Found::TooLarge(_) | Found::Other(_) => None,
    }
}

fn unlink(directory: &Dir, name: &Name) -> Result<bool, StagingError> {
    let removed = match directory.unlink(name) {
        Ok(()) => true,
        // A directory of this name holds no sign-in, and is the tenant's. POSIX says EPERM of one.
        Err(Errno::NOENT | Errno::ISDIR | Errno::PERM) if !directory.is_file(name)? => false,
        Err(errno) => return Err(StagingError::io("remove", directory.path_of(name))(errno)),
    };
    directory.sync()?;
    Ok(removed)
}
