//! Every place where a release may look for a user's sign-in, described without any token. Blocking; changes nothing.

use std::path::Path;

use jiff::Timestamp;

use super::credentials::found_bytes;
use super::error::StagingError;
use super::jail::{Child, Dir, Found, Name};
use super::places::{self, AGENT, AGENT_STORE, AUTH_JSON, AUTH_PROFILES, CODEX, STATE, STATE_STORE, home};
use crate::domain::auth_json::ChatGptAuth;
use crate::domain::credential_plan::{Authority, CredentialPlan, Profile, Provider, auth_profiles};
use crate::domain::freshness::{Existing, SignIn};
use crate::domain::user_id::{UserId, sha256_hex12};

/// Where else sign-ins of the agent `main` were seen (openclaw-facts §2). Listed only when there is something.
const CODEX_HOME_OF_AGENT: Name = Name::fixed("codex-home");
const HARNESS: [Name; 2] = [Name::fixed("harness-auth"), Name::fixed("codex")];
const ENCRYPTED: [Name; 2] = [Name::fixed("credentials"), Name::fixed("auth-profiles")];
/// A tenant's directory may hold millions of names; copies are looked for among this many, and so many are described.
const NAMES_LOOKED_THROUGH: usize = 1_000;
const MOST_COPIES: usize = 32;

/// What a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocationKind {
    /// A file as Codex writes it.
    CodexAuth,
    /// A profile in `auth-profiles.json` or a copy of it.
    AuthProfile,
    /// Tokens that only the container can decrypt.
    Encrypted,
    /// A database that only the container reads.
    Database,
}

impl LocationKind {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CodexAuth => "codex_auth",
            Self::AuthProfile => "auth_profile",
            Self::Encrypted => "encrypted",
            Self::Database => "database",
        }
    }
}

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Relative to the user's directory.
    pub path: String,
    /// What it is.
    pub kind: LocationKind,
    /// Whether there is something by that name.
    pub present: bool,
    /// Whether it can be read as what it should be.
    pub readable: bool,
    /// The first 12 hex digits of SHA-256 of the account.
    pub account: Option<String>,
    /// When the tokens were last refreshed or issued.
    pub issued_at: Option<Timestamp>,
    /// When the access token expires.
    pub expires_at: Option<Timestamp>,
    /// The first 12 hex digits of SHA-256 of the refresh token; `None` when there is none or it cannot be read.
    pub refresh_token_fingerprint: Option<String>,
    /// Permissions in octal.
    pub mode: Option<String>,
    /// `uid:gid`.
    pub owner: Option<String>,
    /// The release spends and rotates this one.
    pub authoritative: bool,
    /// It holds a refresh token that another place should hold alone (incidents 29, 30).
    pub shadowing: bool,
}

/// All places of a user.
pub(super) fn list(root: &Path, user: &UserId, plan: &CredentialPlan) -> Result<Vec<Location>, StagingError> {
    let home = match home(root, user)? {
        Child::Directory(home) => Some(home),
        Child::Missing | Child::Other => None,
    };
    let walk = |path: &[Name]| home.as_ref().map_or(Ok(None), |home| places::walk(home, path));
    let (codex, agent, state) = (walk(&[CODEX])?, walk(&AGENT)?, walk(&STATE)?);
    let mut found = vec![codex_auth("codex/auth.json", codex.as_ref(), &AUTH_JSON)?];
    found.extend(profiles("agents/main/agent/auth-profiles.json", agent.as_ref(), &AUTH_PROFILES)?);
    let databases = [
        ("agents/main/agent/openclaw-agent.sqlite", &agent, &AGENT_STORE),
        ("state/openclaw.sqlite", &state, &STATE_STORE),
    ];
    for (path, directory, name) in databases {
        found.push(blank(path.to_owned(), LocationKind::Database, directory.as_ref(), name)?);
    }
    mark_authority(plan, &mut found);

    let mut others = Vec::new();
    if let Some(agent) = &agent {
        for name in copies(agent)? {
            others.extend(profiles(&format!("agents/main/agent/{}", name.shown()), Some(agent), &name)?);
        }
        if let Child::Directory(nested) = agent.child(&CODEX_HOME_OF_AGENT)? {
            others.push(codex_auth("agents/main/agent/codex-home/auth.json", Some(&nested), &AUTH_JSON)?);
        }
        if let Some(harness) = places::walk(agent, &HARNESS)? {
            for name in harness.names(MOST_COPIES)? {
                if let Child::Directory(nested) = harness.child(&name)? {
                    let path = format!("agents/main/agent/harness-auth/codex/{}/auth.json", name.shown());
                    others.push(codex_auth(&path, Some(&nested), &AUTH_JSON)?);
                }
            }
        }
    }
    if let Some(encrypted) = walk(&ENCRYPTED)? {
        for name in encrypted.names(MOST_COPIES)? {
            let path = format!("credentials/auth-profiles/{}", name.shown());
            others.push(blank(path, LocationKind::Encrypted, Some(&encrypted), &name)?);
        }
    }
    found.extend(others.into_iter().filter(|location| location.present));
    for location in &mut found {
        location.shadowing = !location.authoritative && location.refresh_token_fingerprint.is_some();
    }
    Ok(found)
}

/// Which of the first places the release uses: of several, the first that is there.
fn mark_authority(plan: &CredentialPlan, found: &mut [Location]) {
    let wanted = |location: &Location| match (plan.authority, location.kind) {
        (Authority::CodexHome | Authority::CodexPlugin, kind) => kind == LocationKind::CodexAuth,
        (Authority::AuthProfiles, kind) => kind == LocationKind::AuthProfile,
        // Until it is imported, the file; a file beside a database waits for its import.
        (Authority::ImportedAuthProfiles, LocationKind::AuthProfile) => location.present,
        (Authority::ImportedAuthProfiles, LocationKind::Database) => location.present,
        (Authority::ImportedAuthProfiles, LocationKind::CodexAuth | LocationKind::Encrypted) => false,
    };
    let ours = plan.profile.map(|provider| format!("#{}", provider.profile_id()));
    let of_our_profile = |location: &Location| match location.kind {
        LocationKind::AuthProfile => !location.present || ours.as_ref().is_some_and(|id| location.path.ends_with(id)),
        LocationKind::CodexAuth | LocationKind::Encrypted | LocationKind::Database => true,
    };
    if let Some(location) = found.iter_mut().find(|location| wanted(location) && of_our_profile(location)) {
        location.authoritative = true;
    }
}

/// Copies that an import or the user left beside the profiles.
fn copies(agent: &Dir) -> Result<Vec<Name>, StagingError> {
    let names = agent.names(NAMES_LOOKED_THROUGH)?.into_iter();
    let is_copy = |name: &Name| {
        let rest = name.bytes().strip_prefix(AUTH_PROFILES.bytes());
        rest.is_some_and(|rest| rest.starts_with(b".migrated-") || rest.ends_with(b".bak"))
    };
    Ok(names.filter(is_copy).take(MOST_COPIES).collect())
}

fn codex_auth(path: &str, directory: Option<&Dir>, name: &Name) -> Result<Location, StagingError> {
    let mut location = blank(path.to_owned(), LocationKind::CodexAuth, directory, name)?;
    let found = read(directory, name)?;
    let Some(bytes) = found_bytes(&found) else { return Ok(location) };
    match Existing::from_file_bytes(bytes) {
        Existing::Parsed(sign_in) => describe(&mut location, &sign_in, true),
        Existing::Missing | Existing::Empty | Existing::Unreadable => {
            if let Some(sign_in) = ChatGptAuth::without_refresh_token(bytes) {
                describe(&mut location, &sign_in, false);
            }
        }
    }
    Ok(location)
}

/// A place for each of our profiles, or one without.
fn profiles(path: &str, directory: Option<&Dir>, name: &Name) -> Result<Vec<Location>, StagingError> {
    let bare = blank(path.to_owned(), LocationKind::AuthProfile, directory, name)?;
    let found = read(directory, name)?;
    let Some(file) = found_bytes(&found).and_then(auth_profiles::parse) else { return Ok(vec![bare]) };
    let mut locations = Vec::new();
    for provider in Provider::ALL {
        let mut location = Location { path: format!("{path}#{}", provider.profile_id()), ..bare.clone() };
        match auth_profiles::read(&file, provider) {
            Profile::Tokens(tokens) => describe(&mut location, &tokens.sign_in, true),
            // The tokens are where only the container can decrypt them.
            Profile::Moved => location.readable = true,
            Profile::Missing => continue,
        }
        locations.push(location);
    }
    if locations.is_empty() {
        locations.push(Location { readable: true, ..bare });
    }
    Ok(locations)
}

fn read(directory: Option<&Dir>, name: &Name) -> Result<Found, StagingError> {
    directory.map_or(Ok(Found::Missing), |directory| directory.read(name))
}

fn blank(path: String, kind: LocationKind, directory: Option<&Dir>, name: &Name) -> Result<Location, StagingError> {
    let stat = directory.map_or(Ok(None), |directory| directory.stat(name))?;
    Ok(Location {
        path,
        kind,
        present: stat.is_some(),
        readable: false,
        account: None,
        issued_at: None,
        expires_at: None,
        refresh_token_fingerprint: None,
        mode: stat.as_ref().map(|stat| format!("{:04o}", stat.st_mode & 0o7777)),
        owner: stat.as_ref().map(|stat| format!("{}:{}", stat.st_uid, stat.st_gid)),
        authoritative: false,
        shadowing: false,
    })
}

fn describe(location: &mut Location, sign_in: &SignIn, has_refresh_token: bool) {
    location.readable = true;
    location.account = sign_in.account_id.as_ref().map(|account| sha256_hex12(account.as_bytes()));
    location.issued_at = sign_in.last_refresh.or(sign_in.issued_at);
    location.expires_at = sign_in.expires_at;
    location.refresh_token_fingerprint = has_refresh_token.then(|| sign_in.fingerprint.clone());
}
