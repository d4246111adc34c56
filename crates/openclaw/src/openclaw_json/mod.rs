//! The entries of `openclaw.json` that are ours, merged into what the user and the container wrote (openclaw-facts §5).
//!
//! Without `gateway.mode` the gateway exits with 78, and it does the same on `bind: "lan"` without auth. Everything else in
//! the file belongs to the user, comments too, so the text is edited in place. `openclaw doctor` rewrites the file,
//! therefore our paths are compared and never a hash of the file. What doctor makes of them stays: from 2026.8 on it copies
//! the names in `agents.defaults.models` to `agents.defaults.modelPolicy.allow`, once, and leaves the entries where they
//! are.
//!
//! `gateway` decides from the whole section of that name, `profiles` puts the staged sign-in into an order that lacks it,
//! `agents` returns the agent that answers.

mod agents;
mod document;
mod gateway;
mod profiles;

use jsonc_parser::cst::CstInputValue;
use secrecy::zeroize::Zeroize as _;
use secrecy::{ExposeSecret as _, SecretString};

use super::table::our_references;
use super::{ModelEntries, ProfileProvider, Warning};
pub use agents::{Agent, default_agent};
use document::{Document, Member, Problem};

/// The gateway's port, if a definition names no other; the base definition maps it.
pub const GATEWAY_PORT: u16 = 18_789;

const TOKEN: [&str; 3] = ["gateway", "auth", "token"];
const MODEL: [&str; 3] = ["agents", "defaults", "model"];
const PRIMARY: [&str; 4] = ["agents", "defaults", "model", "primary"];
const WORKSPACE: [&str; 3] = ["agents", "defaults", "workspace"];
const HOME_SCOPE: [&str; 6] = ["plugins", "entries", "codex", "config", "appServer", "homeScope"];
const DISCOVERY: [&str; 6] = ["plugins", "entries", "amazon-bedrock", "config", "discovery", "enabled"];
/// The only value of [`HOME_SCOPE`] that a plan ever sets.
const USER: &str = "user";
/// Every runtime that a plan ever set.
const OUR_RUNTIMES: [&str; 2] = ["pi", "openclaw"];
/// All references to models on Bedrock begin with this.
const BEDROCK: &str = "amazon-bedrock/";

/// What the file should say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The model and its settings.
    pub model: ModelEntries,
    /// The secrets that open the gateway.
    pub secrets: GatewaySecrets,
    /// The provider of the profile with the staged sign-in; `None`: it is in no profile.
    pub profile: Option<ProfileProvider>,
}

/// The secrets that open the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewaySecrets {
    /// Where its token comes from.
    pub token: TokenSource,
    /// Whether the environment has a password.
    pub has_password: bool,
}

/// Settings of the definition with which the file has to agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The port on which command or environment make the gateway listen; other readers of the file have to find it there.
    pub port: u16,
    /// Where the workspace has to be, if it would otherwise be in a home that ends with the task. Before 2026.9 it is in the
    /// home, whatever the state directory (`resolveDefaultAgentWorkspaceDir`).
    pub workspace: Option<String>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { port: GATEWAY_PORT, workspace: None }
    }
}

/// Where the gateway's token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// It is in the file; made once.
    File,
    /// The environment has it. Then the file must not have one of ours, because the file wins.
    Environment,
}

/// What to do with the file.
#[derive(Clone, PartialEq, Eq)]
pub enum Merged {
    /// It already says all that it should.
    Unchanged,
    /// Write this. It may hold the gateway's token.
    Write(Vec<u8>),
    /// It cannot be merged without losing something of the user's.
    LeftAlone(&'static str),
}

/// The gateway's token in the file.
#[derive(Debug)]
pub enum GatewayToken {
    /// Nothing.
    Missing,
    /// The token itself.
    Text(SecretString),
    /// A reference that only OpenClaw resolves.
    Reference,
}

/// What to report of a merge besides the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// The user's values that were changed, or that keep others out.
    pub warnings: Vec<Warning>,
    /// The agent that answers, if the file names one.
    pub agent: Option<Agent>,
}

/// Merges our entries into the file, for a definition without settings of its own. `fresh_token` is used only if a token is
/// needed and there is none.
#[must_use]
pub fn merge(existing: Option<&[u8]>, entries: &Entries, fresh_token: &SecretString) -> (Merged, Noted) {
    merge_for(existing, entries, &Surroundings::default(), fresh_token)
}

/// Merges our entries into the file, in agreement with the definition.
#[must_use]
pub fn merge_for(
    existing: Option<&[u8]>,
    entries: &Entries,
    around: &Surroundings,
    fresh_token: &SecretString,
) -> (Merged, Noted) {
    let mut noted = Noted::default();
    let merged = edited(existing, |file| {
        let mut found = gateway::set(file, entries.secrets, fresh_token, around.port)?;
        if let Some(workspace) = around.workspace.as_deref().filter(|_| file.get(&WORKSPACE) == Ok(Member::Missing)) {
            file.set_text(&WORKSPACE, workspace)?;
        }
        set_model(file, entries.model)?;
        set_codex(file, entries.model.codex_user_scope)?;
        if let Some(provider) = entries.profile {
            found.extend(profiles::set(file, provider)?);
        }
        // The second pass only checks that the edits of the first one are found again.
        if noted.warnings.is_empty() {
            noted = Noted { warnings: found, agent: agents::of(file)? };
        }
        Ok(())
    });
    (merged, noted)
}

/// Puts another gateway token into the file.
#[must_use]
pub fn with_gateway_token(existing: Option<&[u8]>, token: &SecretString) -> Merged {
    edited(existing, |file| match token_in(file)? {
        _ if !is_opened_by_token(file)? => Err("gateway.auth.mode is the user's own, and no token opens the gateway"),
        GatewayToken::Reference => Err("gateway.auth.token refers to a secret that is kept elsewhere"),
        GatewayToken::Missing | GatewayToken::Text(_) => file.set_text(&TOKEN, token.expose_secret()),
    })
}

/// The token that opens the gateway, as the file has it.
///
/// # Errors
/// The reason why it could not be read.
pub fn gateway_token(existing: &[u8]) -> Result<GatewayToken, &'static str> {
    let file = Document::parse(existing)?;
    if is_opened_by_token(&file)? { token_in(&file) } else { Ok(GatewayToken::Missing) }
}

/// Whether a token opens it, and not a password or a proxy, which stay as the user chose them.
fn is_opened_by_token(file: &Document) -> Result<bool, Problem> {
    let mode = file.get(&["gateway", "auth", "mode"])?;
    Ok(!matches!(&mode, Member::Text(mode) if mode == "password" || mode == "trusted-proxy"))
}

/// The port in the file, on which the gateway listens if neither command nor environment name one.
#[must_use]
pub fn gateway_port(existing: &[u8]) -> Option<u16> {
    match Document::parse(existing).ok()?.get(&["gateway", "port"]).ok()? {
        Member::Other(number) => number.parse().ok().filter(|port| *port > 0),
        Member::Missing | Member::Null | Member::Text(_) | Member::Object | Member::List => None,
    }
}

fn token_in(file: &Document) -> Result<GatewayToken, Problem> {
    Ok(match file.get(&TOKEN)? {
        Member::Missing | Member::Null => GatewayToken::Missing,
        // OpenClaw fills in variables.
        Member::Text(text) if text.contains("${") => GatewayToken::Reference,
        Member::Text(text) if text.trim().is_empty() => GatewayToken::Missing,
        Member::Text(mut text) => {
            let token = SecretString::from(text.trim());
            text.zeroize();
            GatewayToken::Text(token)
        }
        // A reference to a secret that OpenClaw fetches.
        Member::Object => GatewayToken::Reference,
        Member::List | Member::Other(_) => return Err("gateway.auth.token is neither a text nor a reference"),
    })
}

fn edited(existing: Option<&[u8]>, mut edit: impl FnMut(&mut Document) -> Result<(), Problem>) -> Merged {
    let mut once = |bytes: &[u8]| {
        let mut file = Document::parse(bytes)?;
        edit(&mut file)?;
        Ok(file.is_changed().then(|| file.to_bytes()))
    };
    let bytes = match once(existing.unwrap_or_default()) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Merged::Unchanged,
        Err(problem) => return Merged::LeftAlone(problem),
    };
    match once(&bytes) {
        Ok(None) => Merged::Write(bytes),
        // An edit that is not found again would be made at every converge, with unknown effects.
        Ok(Some(_)) | Err(_) => Merged::LeftAlone("it could not be edited safely"),
    }
}

fn set_model(file: &mut Document, model: ModelEntries) -> Result<(), Problem> {
    let ModelEntries { reference, runtime, codex_user_scope: _ } = model;
    // The short form, which OpenClaw accepts too, or the long one.
    let (path, before) = match file.get(&MODEL)? {
        Member::Text(text) => (&MODEL[..], Member::Text(text)),
        Member::Missing => (&PRIMARY[..], Member::Missing),
        Member::Object => (&PRIMARY[..], file.get(&PRIMARY)?),
        Member::Null | Member::List | Member::Other(_) => {
            return Err("agents.defaults.model is neither a text nor an object");
        }
    };
    forget_runtimes(file, reference, runtime)?;
    let was_ours = match &before {
        Member::Missing => true,
        Member::Text(text) => our_references().any(|ours| ours == text),
        Member::Null | Member::Object | Member::List | Member::Other(_) => false,
    };
    // Another model is the user's choice, with everything that belongs to it.
    if !was_ours {
        return Ok(());
    }
    file.set_text(path, reference)?;
    if let Some(runtime) = runtime {
        let path = runtime_of(reference);
        match file.get(&path)? {
            Member::Missing => file.set_text(&path, runtime)?,
            Member::Text(text) if OUR_RUNTIMES.contains(&text.as_str()) => file.set_text(&path, runtime)?,
            // No plan sets anything else.
            Member::Null | Member::Text(_) | Member::Object | Member::List | Member::Other(_) => {}
        }
    }
    let is_on = |member: Member| member == Member::Other("true".to_owned());
    match (reference.starts_with(BEDROCK), before) {
        (true, _) if file.get(&DISCOVERY)? == Member::Missing => {
            file.set_literal(&DISCOVERY, "true", CstInputValue::Bool(true))
        }
        (false, Member::Text(text)) if text.starts_with(BEDROCK) && is_on(file.get(&DISCOVERY)?) => {
            file.remove(&DISCOVERY, 0)
        }
        _ => Ok(()),
    }
}

fn runtime_of(reference: &str) -> [&str; 6] {
    ["agents", "defaults", "models", reference, "agentRuntime", "id"]
}

/// Removes what the plans for other releases and providers set.
fn forget_runtimes(file: &mut Document, reference: &str, runtime: Option<&str>) -> Result<(), Problem> {
    for ours in our_references() {
        let path = runtime_of(ours);
        let Member::Text(found) = file.get(&path)? else { continue };
        let is_wanted = ours == reference && Some(found.as_str()) == runtime;
        if OUR_RUNTIMES.contains(&found.as_str()) && !is_wanted {
            file.remove(&path, 2)?;
        }
    }
    Ok(())
}

fn set_codex(file: &mut Document, user_scope: bool) -> Result<(), Problem> {
    match (user_scope, file.get(&HOME_SCOPE)?) {
        (true, Member::Missing) => file.set_text(&HOME_SCOPE, USER),
        (false, Member::Text(scope)) if scope == USER => file.remove(&HOME_SCOPE, 0),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
