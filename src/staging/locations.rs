//! Describes every place where a release keeps a user's sign-in (openclaw-facts §2), without tokens. Blocking.

use jiff::Timestamp;
use openclaw::auth_profiles::{self, ProfileContent};
use openclaw::freshness::SignIn;
use openclaw::identity::Identity;
use openclaw::{Aside, AsideName, Authority, CredentialPlan, HandOver, Profiles, Stored, files, sha256_hex12};
use rustix::io::Errno;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{StagingError, StagingErrorKind};
use super::home::Home;
use super::jail::{Child, Dir, Found, Name};
use super::paths::{self, ASIDE, AUTH_JSON, AUTH_PROFILES, CODEX, HAND_OVER, NAMES_LOOKED_THROUGH, OURS};
use super::write::{Replaced, replace};
use super::{ATTEMPTS, Owner};
use crate::domain::user_id::UserId;
use crate::files::Root;

const AGENTS: Name = Name::fixed(files::AGENTS);
const AGENT: Name = Name::fixed(files::AGENT[2]);
const CODEX_HOME: Name = Name::fixed(files::AGENTS_CODEX_HOME);
const HARNESS: [Name; 2] = [Name::fixed(files::HARNESS[0]), Name::fixed(files::HARNESS[1])];
const ENCRYPTED: [Name; 2] = [Name::fixed(files::ENCRYPTED[0]), Name::fixed(files::ENCRYPTED[1])];
const STATE: [Name; 1] = [Name::fixed(files::STATE[0])];
static AGENT_STORE: Name = Name::fixed(files::AGENT_STORE);
static STATE_STORE: Name = Name::fixed(files::STATE_STORE);
/// The most copies that are described.
const MOST_COPIES: usize = 32;

/// The kind of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LocationKind {
    /// An `auth.json` in Codex's format.
    CodexAuth,
    /// A profile in `auth-profiles.json` or in a copy of it.
    AuthProfile,
    /// A sign-in that waits for the entry script, or the script's receipt.
    HandOver,
    /// Tokens that only the container can decrypt.
    Encrypted,
    /// A database that only the container reads.
    Database,
    /// A sign-in of another account, moved out of the way of the one that is used.
    Aside,
}

impl LocationKind {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CodexAuth => "codex_auth",
            Self::AuthProfile => "auth_profile",
            Self::HandOver => "hand_over",
            Self::Encrypted => "encrypted",
            Self::Database => "database",
            Self::Aside => "aside",
        }
    }
}

/// A place that may hold a sign-in, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CredentialLocation)]
pub struct Location {
    /// Relative to the user's directory; with `#` and the profile's id if a file has several.
    pub path: String,
    /// The kind of the place.
    #[schema(value_type = String)]
    pub kind: LocationKind,
    /// Whether the name exists.
    pub present: bool,
    /// Whether it can be read and has the expected format.
    pub readable: bool,
    /// The first 12 hex digits of SHA-256 of the account.
    #[schema(required)]
    pub account: Option<String>,
    /// When the tokens were last refreshed or issued.
    #[schema(required)]
    pub issued_at: Option<Timestamp>,
    /// When the access token expires.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    /// The first 12 hex digits of SHA-256 of the refresh token.
    #[schema(required)]
    pub refresh_token_fingerprint: Option<String>,
    /// Octal.
    #[schema(required)]
    pub mode: Option<String>,
    /// `uid:gid`.
    #[schema(required)]
    pub owner: Option<String>,
    /// Whether the release uses this sign-in.
    pub authoritative: bool,
    /// Whether it may hide the sign-in that is used: it has a refresh token, in a place where this release should have none.
    pub shadowing: bool,
    /// Whether it is older than the sign-in that is used: of the same account and person, with another refresh token.
    pub stale: bool,
    /// Account and person of the sign-in.
    #[serde(skip)]
    pub(super) identity: Option<Identity>,
}

/// A file that may contain a sign-in; only its directory is open.
struct Candidate<'a> {
    directory: Option<&'a Dir>,
    name: &'a Name,
    path: String,
    kind: LocationKind,
    /// A release reads it: it belongs to the agent `main`, and is not a copy.
    is_read: bool,
    /// Nothing reads it: it was moved out of the way.
    is_aside: bool,
}

/// All places of a user. The three files that this service writes and the databases are listed even if they are missing.
pub(super) fn list(
    root: &Root,
    user: &UserId,
    plan: &CredentialPlan,
    live: Option<&SignIn>,
) -> Result<Vec<Location>, StagingError> {
    let mut found = Vec::new();
    visit(root, user, |place| {
        found.extend(describe(&place, plan, live)?);
        Ok(())
    })?;
    let is_live = |location: &Location| {
        let fingerprint = location.refresh_token_fingerprint.as_deref();
        fingerprint.is_some() && fingerprint == live.map(|live| live.fingerprint.as_str())
    };
    // Among the places that the release reads, the one that it will use.
    let used = found.iter().position(|location| location.authoritative && is_live(location));
    let there = || found.iter().position(|location| location.authoritative && location.present);
    let used = used.or_else(there).or_else(|| found.iter().position(|location| location.authoritative));
    for (at, location) in found.iter_mut().enumerate() {
        location.authoritative = Some(at) == used;
        let is_anothers = is_anothers(location.identity.as_ref(), live);
        location.stale = location.refresh_token_fingerprint.is_some() && !is_live(location) && !is_anothers;
    }
    Ok(found)
}

/// Moves shadowing files aside; see [`super::Staging::repair`]. Moved files are in `moved` even if this fails: a file that
/// only the user can repair does not keep the others from being moved.
pub(super) fn repair(
    root: &Root,
    user: &UserId,
    owner: Option<Owner>,
    plan: &CredentialPlan,
    live: Option<&SignIn>,
    moved: &mut Vec<(String, String)>,
) -> Result<(), StagingError> {
    visit(root, user, |place| {
        if let Some(to) = repair_one(root, user, &place, owner, plan, live)? {
            moved.push((place.path.clone(), to));
        }
        Ok(())
    })
}

/// Moves a place's file aside if it shadows or cannot be read; returns its new path. The container may write to it at any
/// moment, so it is compared again right before it is replaced: a token that was renewed meanwhile is never overwritten.
fn repair_one(
    root: &Root,
    user: &UserId,
    place: &Candidate<'_>,
    owner: Option<Owner>,
    plan: &CredentialPlan,
    live: Option<&SignIn>,
) -> Result<Option<String>, StagingError> {
    let Some(directory) = place.directory else { return Ok(None) };
    for _ in 0..ATTEMPTS {
        let before = directory.read(place.name)?;
        let described = describe(place, plan, live)?;
        let is_broken = place.is_read
            && matches!(place.kind, LocationKind::AuthProfile | LocationKind::CodexAuth)
            && described.iter().all(|location| location.present && !location.readable);
        if !is_broken && !described.iter().any(|location| location.shadowing) {
            return Ok(None);
        }
        if directory.read(place.name)? != before {
            continue;
        }
        // Another account's sign-in is kept where it is found again if a sign-in to that account is sent.
        if let Found::Regular(bytes) = &before
            && let Some(name) = name_of_anothers(bytes, live)
        {
            let mut home = Home::make(root, user, owner)?;
            let asides = home.make_at(&ASIDE, &mut Vec::new())?;
            let replaced = replace(home.at(asides), &Name::of_aside(&name), bytes, owner, || Ok(true))?;
            // The copy must be durable and in its place before the original is removed.
            let is_kept = matches!(replaced, Replaced::Done { .. }) && home.settle()?;
            if is_kept && directory.read(place.name)? == before {
                directory.unlink(place.name).map_err(StagingError::io("remove", directory.path_of(place.name)))?;
                directory.sync()?;
                return Ok(Some(name.path()));
            }
            continue;
        }
        let aside = place.name.displaced();
        let is_done = match (&before, kept(place, &before, &described)) {
            (Found::Regular(bytes), Some(kept)) => {
                let unchanged = || Ok(directory.read(place.name)? == before);
                replace(directory, &aside, bytes, owner, || Ok(true))?;
                match replace(directory, place.name, kept.expose_secret(), owner, unchanged)? {
                    Replaced::Done { .. } => true,
                    Replaced::Disturbed => {
                        directory.unlink(&aside).map_err(StagingError::io("remove", directory.path_of(&aside)))?;
                        false
                    }
                }
            }
            (Found::Missing | Found::Regular(_) | Found::TooLarge(_) | Found::Other(_), _) => {
                match directory.rename(place.name, &aside) {
                    Ok(()) => {}
                    Err(Errno::NOENT) => return Ok(None),
                    Err(errno) => return Err(StagingError::io("move aside", directory.path_of(place.name))(errno)),
                }
                // If the file changed in between, somebody is using it: it is put back, unless there is another one by now.
                directory.read(&aside)? == before || !directory.restore(&aside, place.name)?
            }
        };
        if is_done {
            directory.sync()?;
            let parent = place.path.rsplit_once('/').map_or("", |(parent, _)| parent);
            return Ok(Some(format!("{parent}/{}", aside.shown())));
        }
    }
    Err(StagingError::Contended { path: directory.path_of(place.name), attempts: ATTEMPTS })
}

/// The part of a file that stays when the file is moved aside: other providers' keys, and a sign-in that the release uses.
fn kept(place: &Candidate<'_>, before: &Found, described: &[Location]) -> Option<SecretSlice<u8>> {
    let (LocationKind::AuthProfile, true, Found::Regular(bytes)) = (place.kind, place.is_read, before) else {
        return None;
    };
    let mut file = auth_profiles::parse(bytes)?;
    let shadows = |id: &String| {
        let path = format!("{}#{id}", place.path);
        described.iter().any(|location| location.shadowing && location.path == path)
    };
    let ids: Vec<String> = auth_profiles::read(&file).into_iter().map(|profile| profile.id).filter(shadows).collect();
    auth_profiles::remove(&mut file, &ids);
    (!auth_profiles::is_empty(&file)).then(|| auth_profiles::to_bytes(file))
}

/// The first error that only the user can solve, kept until the rest is done.
#[derive(Default)]
struct Obstacle(Option<StagingError>);

impl Obstacle {
    /// The value; `None` if only the user can solve the error, which is then kept.
    fn pass<T>(&mut self, found: Result<T, StagingError>) -> Result<Option<T>, StagingError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == StagingErrorKind::Tenant => {
                self.0.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether it certainly belongs to another account or person than the live sign-in.
fn is_anothers(identity: Option<&Identity>, live: Option<&SignIn>) -> bool {
    identity.zip(live).is_some_and(|(identity, live)| !identity.same(&live.identity))
}

/// The new name of another account's `auth.json` when it is moved aside.
fn name_of_anothers(bytes: &[u8], live: Option<&SignIn>) -> Option<AsideName> {
    let Stored::Tokens(tokens) = Stored::from_file_bytes(bytes) else { return None };
    is_anothers(Some(&tokens.sign_in.identity), live).then(|| AsideName::of(&tokens.sign_in.fingerprint))
}

/// Calls `see` with every place; an error that only the user can solve is returned after all places.
fn visit(
    root: &Root,
    user: &UserId,
    mut see: impl FnMut(Candidate<'_>) -> Result<(), StagingError>,
) -> Result<(), StagingError> {
    let home = match paths::home(root, user)? {
        Child::Directory(home) => Some(home),
        Child::Missing | Child::Other => None,
    };
    let mut obstacle = Obstacle::default();
    let mut walk = |path: &[Name]| {
        let found = home.as_ref().map_or(Ok(None), |home| paths::walk(home, path));
        obstacle.pass(found).map(Option::flatten)
    };
    let (codex, ours, main, state) = (walk(&CODEX)?, walk(&OURS)?, walk(&paths::AGENT)?, walk(&STATE)?);
    let (agents, encrypted, asides) = (walk(&[AGENTS])?, walk(&ENCRYPTED)?, walk(&ASIDE)?);
    let mut see = |place: Candidate<'_>, obstacle: &mut Obstacle| obstacle.pass(see(place)).map(drop);
    let file = |directory, name, path: &str, kind| Candidate {
        directory,
        name,
        path: path.to_owned(),
        kind,
        is_read: true,
        is_aside: false,
    };
    see(file(codex.as_ref(), &AUTH_JSON, "codex/auth.json", LocationKind::CodexAuth), &mut obstacle)?;
    let profiles = "agents/main/agent/auth-profiles.json";
    see(file(main.as_ref(), &AUTH_PROFILES, profiles, LocationKind::AuthProfile), &mut obstacle)?;
    see(file(ours.as_ref(), &HAND_OVER, ".provisioner/sign-in.json", LocationKind::HandOver), &mut obstacle)?;
    let store = "agents/main/agent/openclaw-agent.sqlite";
    see(file(main.as_ref(), &AGENT_STORE, store, LocationKind::Database), &mut obstacle)?;
    see(file(state.as_ref(), &STATE_STORE, "state/openclaw.sqlite", LocationKind::Database), &mut obstacle)?;
    let displaced = obstacle.pass(codex.as_ref().map_or(Ok(Vec::new()), |codex| displaced(codex, &AUTH_JSON)))?;
    for name in displaced.unwrap_or_default() {
        let (path, kind) = (format!("codex/{}", name.shown()), LocationKind::CodexAuth);
        let place = Candidate { directory: codex.as_ref(), name: &name, path, kind, is_read: false, is_aside: true };
        see(place, &mut obstacle)?;
    }
    if let Some(asides) = asides {
        let names = obstacle.pass(asides.names(NAMES_LOOKED_THROUGH))?.unwrap_or_default().into_iter();
        let names = names.filter(|name| AsideName::parse(&name.shown()).is_some());
        for name in names.take(paths::MOST_ASIDES) {
            let path = format!(".provisioner/aside/{}", name.shown());
            let kind = LocationKind::Aside;
            let place = Candidate { directory: Some(&asides), name: &name, path, kind, is_read: false, is_aside: true };
            see(place, &mut obstacle)?;
        }
    }
    if let Some(agents) = agents {
        for id in obstacle.pass(agents.names(MOST_COPIES))?.unwrap_or_default() {
            if let Some(agent) = obstacle.pass(paths::walk(&agents, &[id.clone(), AGENT]))?.flatten() {
                of_agent(&agent, &id.shown(), &mut see, &mut obstacle)?;
            }
        }
    }
    if let Some(encrypted) = encrypted {
        for name in obstacle.pass(encrypted.names(MOST_COPIES))?.unwrap_or_default() {
            let path = format!("credentials/auth-profiles/{}", name.shown());
            let kind = LocationKind::Encrypted;
            let place =
                Candidate { directory: Some(&encrypted), name: &name, path, kind, is_read: false, is_aside: false };
            see(place, &mut obstacle)?;
        }
    }
    obstacle.0.map_or(Ok(()), Err)
}

/// Files that were moved aside as a whole.
fn displaced(directory: &Dir, of: &Name) -> Result<Vec<Name>, StagingError> {
    let names = directory.names(NAMES_LOOKED_THROUGH)?.into_iter();
    Ok(names.filter(|name| is_displaced(name, of)).take(MOST_COPIES).collect())
}

fn is_displaced(name: &Name, of: &Name) -> bool {
    name.is_displaced() && name.bytes().starts_with(of.bytes())
}

/// Visits the copies that the release itself, an import or the user left next to an agent's profiles.
fn of_agent(
    agent: &Dir,
    id: &str,
    see: &mut impl FnMut(Candidate<'_>, &mut Obstacle) -> Result<(), StagingError>,
    obstacle: &mut Obstacle,
) -> Result<(), StagingError> {
    let at = |rest: &str| format!("agents/{id}/agent/{rest}");
    let is_main = id == files::MAIN;
    let names = obstacle.pass(agent.names(NAMES_LOOKED_THROUGH))?.unwrap_or_default().into_iter();
    let is_copy = |name: &Name| {
        let rest = name.bytes().strip_prefix(AUTH_PROFILES.bytes());
        rest.is_some_and(|rest| {
            rest.starts_with(b".migrated-") || rest.ends_with(b".bak") || rest.is_empty() && !is_main
        }) || is_displaced(name, &AUTH_PROFILES)
    };
    for name in names.filter(is_copy).take(MOST_COPIES) {
        let (path, kind) = (at(&name.shown()), LocationKind::AuthProfile);
        // A file that was moved aside is already out of the way.
        let is_aside = is_displaced(&name, &AUTH_PROFILES);
        see(Candidate { directory: Some(agent), name: &name, path, kind, is_read: false, is_aside }, obstacle)?;
    }
    let mut codex_auth = |directory: &Dir, path: String, obstacle: &mut Obstacle| {
        let (name, kind) = (&AUTH_JSON, LocationKind::CodexAuth);
        see(Candidate { directory: Some(directory), name, path, kind, is_read: false, is_aside: false }, obstacle)
    };
    if let Some(Child::Directory(nested)) = obstacle.pass(agent.child(&CODEX_HOME))? {
        codex_auth(&nested, at("codex-home/auth.json"), obstacle)?;
    }
    if let Some(harness) = obstacle.pass(paths::walk(agent, &HARNESS))?.flatten() {
        for name in obstacle.pass(harness.names(MOST_COPIES))?.unwrap_or_default() {
            if let Some(Child::Directory(nested)) = obstacle.pass(harness.child(&name))? {
                codex_auth(&nested, at(&format!("harness-auth/codex/{}/auth.json", name.shown())), obstacle)?;
            }
        }
    }
    Ok(())
}

/// The sign-ins of a place; `auth-profiles.json` has one per profile.
fn describe(
    place: &Candidate<'_>,
    plan: &CredentialPlan,
    live: Option<&SignIn>,
) -> Result<Vec<Location>, StagingError> {
    let stat = place.directory.map_or(Ok(None), |directory| directory.stat(place.name))?;
    if stat.is_none() && !place.is_read {
        return Ok(Vec::new());
    }
    let bare = Location {
        path: place.path.clone(),
        kind: place.kind,
        present: stat.is_some(),
        readable: false,
        account: None,
        issued_at: None,
        expires_at: None,
        refresh_token_fingerprint: None,
        mode: stat.as_ref().map(|stat| format!("{:04o}", stat.st_mode & 0o7777)),
        owner: stat.as_ref().map(|stat| format!("{}:{}", stat.st_uid, stat.st_gid)),
        authoritative: place.is_read && is_read_by(plan, place.kind, place.name),
        shadowing: false,
        stale: false,
        identity: None,
    };
    let found = match place.kind {
        LocationKind::Encrypted | LocationKind::Database => return Ok(vec![bare]),
        // An unreadable file is shown as unreadable, and is no reason to fail.
        _ => match place.directory.map_or(Ok(Found::Missing), |directory| directory.read(place.name)) {
            Err(error) if error.kind() == StagingErrorKind::Tenant => return Ok(vec![bare]),
            found => found?,
        },
    };
    let Found::Regular(bytes) = &found else { return Ok(vec![bare]) };
    let with = |location: Location, sign_in: &SignIn, has_refresh_token: bool| {
        let mut location = location.with(sign_in, has_refresh_token);
        // Another account's profile is used together with the live one, or waits to be imported; it hides nothing.
        let is_beside = place.kind == LocationKind::AuthProfile && place.is_read;
        location.shadowing &= !(place.is_aside || is_beside && is_anothers(location.identity.as_ref(), live));
        location
    };
    let one = |sign_in: &SignIn, has_refresh_token: bool| vec![with(bare.clone(), sign_in, has_refresh_token)];
    Ok(match place.kind {
        LocationKind::CodexAuth => match Stored::from_file_bytes(bytes) {
            Stored::Tokens(tokens) => one(&tokens.sign_in, true),
            Stored::Blank(sign_in) => one(&sign_in, false),
            Stored::Missing | Stored::Empty | Stored::Unreadable => vec![bare],
        },
        LocationKind::HandOver => match HandOver::from_file_bytes(bytes) {
            HandOver::Pending { tokens, .. } => one(&tokens.sign_in, true),
            HandOver::Imported { sign_in, .. } => one(&sign_in, false),
            HandOver::SignOut => vec![Location { readable: true, ..bare }],
            HandOver::Nothing => vec![bare],
        },
        LocationKind::AuthProfile => match Profiles::from_file_bytes(bytes) {
            Profiles::File(file) => {
                let mut found: Vec<Location> = Vec::new();
                for profile in auth_profiles::read(&file) {
                    let named = Location { path: format!("{}#{}", bare.path, profile.id), ..bare.clone() };
                    found.push(match profile.content {
                        ProfileContent::Tokens(tokens) => with(named, &tokens.sign_in, true),
                        ProfileContent::Moved(sign_in) => with(named, &sign_in, false),
                        ProfileContent::Useless => Location { readable: true, ..named },
                    });
                }
                if found.is_empty() { vec![Location { readable: true, ..bare }] } else { found }
            }
            Profiles::Missing | Profiles::Unreadable => vec![bare],
        },
        LocationKind::Aside => {
            let name = AsideName::parse(&place.name.shown());
            match name.and_then(|name| Aside::from_file_bytes(name, bytes)).map(|aside| aside.content) {
                Some(ProfileContent::Tokens(tokens)) => one(&tokens.sign_in, true),
                Some(ProfileContent::Moved(sign_in)) => one(&sign_in, false),
                Some(ProfileContent::Useless) | None => vec![bare],
            }
        }
        LocationKind::Encrypted | LocationKind::Database => vec![bare],
    })
}

/// Whether the release looks for its sign-in in this place.
fn is_read_by(plan: &CredentialPlan, kind: LocationKind, name: &Name) -> bool {
    match (plan.authority, kind) {
        (Authority::CodexHome, LocationKind::CodexAuth | LocationKind::AuthProfile)
        | (Authority::CodexPlugin, LocationKind::CodexAuth)
        | (Authority::AuthProfiles, LocationKind::AuthProfile)
        | (Authority::Store, LocationKind::HandOver) => true,
        (Authority::Store, LocationKind::Database) => *name == STATE_STORE || *name == AGENT_STORE,
        _ => false,
    }
}

impl Location {
    fn with(mut self, sign_in: &SignIn, has_refresh_token: bool) -> Self {
        self.readable = true;
        self.identity = Some(sign_in.identity.clone());
        self.account = sign_in.identity.account().map(|account| sha256_hex12(account.as_bytes()));
        self.issued_at = sign_in.last_refresh.or(sign_in.issued_at);
        self.expires_at = sign_in.expires_at;
        self.refresh_token_fingerprint = has_refresh_token.then(|| sign_in.fingerprint.clone());
        self.shadowing = !self.authoritative && has_refresh_token;
        self
    }
}
