//! `openclaw.json` in a user's directory: merges our entries into it, and keeps the gateway's token.

use std::fs::File;
use std::io::Read as _;

use openclaw::openclaw_json::{
    Agent, GatewayToken, Merged, default_agent, gateway_port, gateway_token, with_gateway_token,
};
use openclaw::{ProfileProvider, Warning, auth_profiles};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::error::StagingError;
use super::home::{At, Edit, Home, What};
use super::jail::{Child, Found, Name};
use super::paths;
use super::{ATTEMPTS, Owner, Staging};
use crate::domain::user_id::UserId;
use crate::files::Root;

const OPENCLAW_JSON: Name = Name::fixed("openclaw.json");
/// The agent whose sign-in is staged.
const MAIN: &str = "main";
/// Random bytes in the gateway's token.
const GATEWAY_TOKEN_BYTES: usize = 32;

impl Staging {
    /// A warning if the default agent is not `main` and has its own sign-in, which may be used before the staged one.
    /// Agents without one use that of `main` (`ensureAuthProfileStore` of all releases).
    pub async fn agent_elsewhere(
        &self,
        user: &UserId,
        profile: Option<ProfileProvider>,
    ) -> Result<Option<Warning>, StagingError> {
        let agent = self.blocking(user, move |root, user| {
            let Child::Directory(home) = paths::home(root, user)? else { return Ok(None) };
            let found = home.read(&OPENCLAW_JSON)?;
            Ok(content(&found).ok().flatten().and_then(|existing| default_agent(existing).ok().flatten()))
        });
        self.reads_elsewhere(user, agent.await?, profile).await
    }

    pub(super) async fn reads_elsewhere(
        &self,
        user: &UserId,
        agent: Option<Agent>,
        profile: Option<ProfileProvider>,
    ) -> Result<Option<Warning>, StagingError> {
        let Some((provider, agent)) = profile.zip(agent) else { return Ok(None) };
        if let Some(directory) = agent.directory {
            return Ok(Some(Warning::AgentReadsElsewhere { path: directory }));
        }
        let Some(id) = Name::of_agent(&agent.id).filter(|_| agent.id != MAIN) else { return Ok(None) };
        self.blocking(user, move |root, user| {
            let Child::Directory(home) = paths::home(root, user)? else { return Ok(None) };
            let [agents, _, inner] = &paths::AGENT;
            let Some(directory) = paths::walk(&home, &[agents.clone(), id, inner.clone()])? else { return Ok(None) };
            let has_own = match directory.read(&paths::AUTH_PROFILES)? {
                Found::Regular(bytes) => auth_profiles::parse(&bytes).is_some_and(|file| {
                    auth_profiles::read(&file).iter().any(|profile| provider.is_meant_by(profile.provider.name()))
                }),
                Found::Missing | Found::TooLarge(_) | Found::Other(_) => false,
            };
            let path = format!("agents/{}/agent/auth-profiles.json", agent.id);
            Ok(has_own.then_some(Warning::AgentReadsElsewhere { path }))
        })
        .await
    }

    /// The gateway's token in the user's `openclaw.json`; changes nothing.
    pub async fn gateway_token(&self, user: &UserId) -> Result<GatewayToken, StagingError> {
        self.gateway(user).await.map(|(token, _)| token)
    }

    /// The gateway's token and, if it is set, its port in the user's `openclaw.json`; changes nothing.
    pub async fn gateway(&self, user: &UserId) -> Result<(GatewayToken, Option<u16>), StagingError> {
        self.blocking(user, |root, user| {
            let Child::Directory(home) = paths::home(root, user)? else { return Ok((GatewayToken::Missing, None)) };
            let found = home.read(&OPENCLAW_JSON)?;
            let existing = content(&found).map_err(|problem| unusable(user, problem))?;
            let token = existing.map_or(Ok(GatewayToken::Missing), gateway_token);
            Ok((token.map_err(|problem| unusable(user, problem))?, existing.and_then(gateway_port)))
        })
        .await
    }

    /// Writes a new token for the gateway, which reads it when it starts.
    pub async fn rotate_gateway_token(&self, user: &UserId) -> Result<(), StagingError> {
        let edit = |existing: Option<&[u8]>, token: &SecretString| (with_gateway_token(existing, token), ());
        match self.edit(user, edit).await? {
            Ok(()) => Ok(()),
            Err(problem) => Err(unusable(user, problem)),
        }
    }

    /// Edits the file; if it changes meanwhile, reads it again. Returns the findings of the edit, or why the file was not
    /// changed.
    pub(super) async fn edit<F, T>(&self, user: &UserId, edit: F) -> Result<Result<T, &'static str>, StagingError>
    where
        F: Fn(Option<&[u8]>, &SecretString) -> (Merged, T) + Clone + Send + 'static,
        T: Send + 'static,
    {
        let mut patience = self.reread.times;
        for _ in 0..ATTEMPTS {
            let (owner, edit) = (self.owner, edit.clone());
            match self.blocking(user, move |root, user| edit_once(root, user, owner, edit)).await {
                Ok(Edited::Done(noted)) => return Ok(Ok(noted)),
                // It may be half written.
                Ok(Edited::LeftAlone(_)) if patience > 0 => {
                    patience -= 1;
                    tokio::time::sleep(self.reread.pause).await;
                }
                Ok(Edited::LeftAlone(problem)) => {
                    tracing::warn!(user_id = %user, problem, "openclaw.json was left alone");
                    return Ok(Err(problem));
                }
                Ok(Edited::Disturbed) | Err(StagingError::Contended { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StagingError::Contended { path: path(user), attempts: ATTEMPTS })
    }
}

/// The result of one try.
enum Edited<T> {
    Done(T),
    LeftAlone(&'static str),
    /// The file changed meanwhile.
    Disturbed,
}

fn edit_once<T>(
    root: &Root,
    user: &UserId,
    owner: Option<Owner>,
    edit: impl Fn(Option<&[u8]>, &SecretString) -> (Merged, T),
) -> Result<Edited<T>, StagingError> {
    let mut home = Home::make(root, user, owner)?;
    let planned = plan(&mut home, owner, edit)?;
    let edits: Vec<_> = planned.edit().into_iter().collect();
    let is_done = home.apply(&edits, &mut Vec::new())?;
    drop(edits);
    Ok(match planned.noted() {
        _ if !is_done => Edited::Disturbed,
        Ok(noted) => Edited::Done(noted),
        Err(problem) => Edited::LeftAlone(problem),
    })
}

/// The planned change of the file.
pub(super) enum ConfigurationEdit<T> {
    /// The file already has all entries.
    Nothing(T),
    /// The file cannot be merged into.
    LeftAlone(&'static str),
    Write {
        bytes: Zeroizing<Vec<u8>>,
        before: Found,
        noted: T,
    },
}

impl<T> ConfigurationEdit<T> {
    /// The findings of the edit, or why the file is not changed.
    pub(super) fn noted(self) -> Result<T, &'static str> {
        match self {
            Self::Nothing(noted) | Self::Write { noted, .. } => Ok(noted),
            Self::LeftAlone(problem) => Err(problem),
        }
    }

    pub(super) fn edit(&self) -> Option<Edit<'_>> {
        match self {
            Self::Nothing(_) | Self::LeftAlone(_) => None,
            Self::Write { bytes, before, .. } => {
                Some(Edit { path: &[], name: OPENCLAW_JSON, before: Some(before), what: What::Write(bytes) })
            }
        }
    }
}

/// Reads the file and merges into it.
pub(super) fn plan<T>(
    home: &mut Home,
    owner: Option<Owner>,
    edit: impl Fn(Option<&[u8]>, &SecretString) -> (Merged, T),
) -> Result<ConfigurationEdit<T>, StagingError> {
    let before = home.read(&[], &OPENCLAW_JSON)?;
    let existing = match content(&before) {
        Ok(existing) => existing,
        Err(problem) => return Ok(ConfigurationEdit::LeftAlone(problem)),
    };
    let (merged, noted) = edit(existing, &random_token()?);
    Ok(match merged {
        Merged::Unchanged => {
            home.at(At::HOME).heal_file(&OPENCLAW_JSON, owner)?;
            ConfigurationEdit::Nothing(noted)
        }
        Merged::LeftAlone(problem) => ConfigurationEdit::LeftAlone(problem),
        Merged::Write(bytes) => {
            home.sweep(At::HOME)?;
            ConfigurationEdit::Write { bytes: Zeroizing::new(bytes), before, noted }
        }
    })
}

fn content(found: &Found) -> Result<Option<&[u8]>, &'static str> {
    match found {
        Found::Missing => Ok(None),
        Found::Regular(bytes) => Ok(Some(bytes.as_slice())),
        Found::TooLarge(_) => Err("it is too large"),
        // The user may keep the file behind a link on purpose, but links are not followed (incident 27).
        Found::Other(_) => Err("it is not a regular file"),
    }
}

fn path(user: &UserId) -> String {
    format!("users/{user}/openclaw.json")
}

fn unusable(user: &UserId, problem: &'static str) -> StagingError {
    StagingError::UnusableConfiguration { path: path(user), problem }
}

/// 32 random bytes of the system, in hex.
fn random_token() -> Result<SecretString, StagingError> {
    let mut bytes = Zeroizing::new([0; GATEWAY_TOKEN_BYTES]);
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(bytes.as_mut_slice()));
    read.map_err(|source| StagingError::Io { action: "read", path: "/dev/urandom".to_owned(), source })?;
    Ok(SecretString::from(hex::encode(bytes.as_slice())))
}
