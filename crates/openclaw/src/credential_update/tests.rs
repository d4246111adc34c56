//! A user's files through any history of releases, sign-ins, rotations and crashes. The model does what real releases were
//! seen to do (openclaw-facts §2).

mod examples;
mod identities;

use std::collections::BTreeSet;
use std::ops::Range;

use jiff::Timestamp;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::*;
use crate::OpenClawVersion;
use crate::jwt::tests::jwt;
use crate::{Aside, CodexConfig, EnvironmentValue};

const START: i64 = 1_777_000_000;
/// The releases that encrypt a sign-in, and those that read an encrypted one.
const ENCRYPT: Range<OpenClawVersion> = OpenClawVersion::new(2026, 5, 12)..OpenClawVersion::new(2026, 5, 18);
const DECRYPT: Range<OpenClawVersion> = OpenClawVersion::new(2026, 5, 12)..OpenClawVersion::new(2026, 6, 0);

/// The `n`th sign-in of all: its tokens carry the number.
fn auth(n: i64) -> ChatGptAuth {
    let issued = START + 1_000 * n;
    let claim = json!({"chatgpt_account_id": "acc"});
    let access = jwt(&json!({"iat": issued, "exp": issued + 864_000, "https://api.openai.com/auth": claim}));
    ChatGptAuth::parse(json!({
        "auth_mode": "chatgpt",
        "tokens": {"access_token": access, "refresh_token": format!("rt-{n}"), "account_id": "acc"},
        "last_refresh": Timestamp::from_second(issued).unwrap().to_string(),
    }))
    .unwrap()
}

fn number_of(refresh_token: &Value) -> Option<i64> {
    refresh_token.as_str()?.strip_prefix("rt-")?.parse().ok()
}

fn release(month: u16, patch: u16) -> Release {
    Release::plain(OpenClawVersion::new(2026, month, patch))
}

fn releases() -> Vec<Release> {
    let plain = [(4, 7), (4, 20), (4, 21), (4, 23), (5, 7), (5, 12), (5, 28), (6, 1), (6, 35), (7, 35), (8, 2), (9, 6)];
    let plugin = |name: &str| (name == "OPENCLAW_CODEX_PLUGIN").then_some(EnvironmentValue::Plain("2026.9.6"));
    let with_plugin = Release::new("o:2026.9.6", Some(OpenClawVersion::new(2026, 9, 6)), plugin);
    plain.into_iter().map(|(month, patch)| release(month, patch)).chain([with_plugin]).collect()
}

/// One user's directory, and what this service cannot see.
#[derive(Clone, Debug, Default)]
struct World {
    codex: Option<Vec<u8>>,
    profiles: Option<Vec<u8>>,
    hand_over: Option<Vec<u8>>,
    auth_state: Option<Vec<u8>>,
    asides: Vec<(AsideName, Vec<u8>)>,
    /// What 5.12 encrypted, and the store of 6.5 and later.
    encrypted: Option<i64>,
    store: Option<i64>,
    spent: BTreeSet<i64>,
    newest: i64,
}

impl World {
    fn on_disk(&self) -> OnDisk {
        OnDisk {
            codex: self.codex.as_deref().map_or(Stored::Missing, Stored::from_file_bytes),
            codex_api_key: self.codex.as_deref().and_then(api_key_in),
            profiles: self.profiles.as_deref().map_or(Profiles::Missing, Profiles::from_file_bytes),
            hand_over: self.hand_over.as_deref().map_or(HandOver::Nothing, HandOver::from_file_bytes),
            auth_state: self.auth_state.as_deref().map_or(AuthState::Nothing, AuthState::from_file_bytes),
            asides: self
                .asides
                .iter()
                .filter_map(|(name, bytes)| Aside::from_file_bytes(name.clone(), bytes))
                .collect(),
            codex_config: CodexConfig::default(),
        }
    }

    fn file(&mut self, place: CredentialFile) -> &mut Option<Vec<u8>> {
        match place {
            CredentialFile::Codex => &mut self.codex,
            CredentialFile::Profiles => &mut self.profiles,
            CredentialFile::HandOver => &mut self.hand_over,
            CredentialFile::AuthState => &mut self.auth_state,
        }
    }

    /// Updates, and is killed after that many writes.
    fn update(&mut self, release: &Release, sent: Option<i64>, writes: usize) -> CredentialUpdate {
        let sent = sent.map(auth);
        let update =
            update_credentials(release, &self.on_disk(), sent.as_ref(), false, Timestamp::from_second(START).unwrap());
        self.write(&update.changes, writes);
        update
    }

    /// As [`Self::update`], for a provider that takes no sign-in.
    fn place_none(&mut self, release: &Release, writes: usize) -> CredentialUpdate {
        let update = unneeded(release, &self.on_disk(), Timestamp::from_second(START).unwrap());
        self.write(&update.changes, writes);
        update
    }

    fn write(&mut self, changes: &[Change], writes: usize) {
        for change in changes.iter().take(writes) {
            match change {
                Change::Write(place, bytes) | Change::MoveAsideAndWrite(place, bytes) => {
                    *self.file(*place) = Some(bytes.expose_secret().to_vec());
                }
                Change::MoveAside(place) | Change::Remove(place) => *self.file(*place) = None,
                Change::SetAside(name, bytes) => {
                    self.asides.retain(|(known, _)| known != name);
                    self.asides.push((name.clone(), bytes.expose_secret().to_vec()));
                }
                Change::RemoveAside(name) => self.asides.retain(|(known, _)| known != name),
            }
        }
    }

    fn json(file: Option<&Vec<u8>>) -> Value {
        file.map(|bytes| serde_json::from_slice(bytes).unwrap()).unwrap_or_default()
    }

    /// The number in `codex/auth.json`, if it has one.
    fn in_codex(&self) -> Option<i64> {
        number_of(&Self::json(self.codex.as_ref())["tokens"]["refresh_token"])
    }

    fn in_profiles(&self, provider: ProfileProvider) -> Option<i64> {
        number_of(&Self::json(self.profiles.as_ref())["profiles"][provider.profile_id()]["refresh"])
    }

    /// The number in the profile that this release reads, if it reads one.
    fn in_our_profile(&self, release: &Release) -> Option<i64> {
        release.plan().profile.and_then(|provider| self.in_profiles(provider))
    }

    /// Does what the entry script does.
    fn import(&mut self, release: &Release) {
        let mut file = Self::json(self.hand_over.as_ref());
        let pending = number_of(&file["profile"]["refresh"]);
        let moved =
            !Self::json(self.profiles.as_ref())["profiles"][ProfileProvider::OpenAiCodex.profile_id()]["oauthRef"]
                .is_null();
        if pending.is_none() && !moved {
            return;
        }
        self.store = pending.or(self.encrypted);
        self.profiles = None;
        let receipt = file.as_object_mut().unwrap();
        receipt.remove("profile");
        receipt.insert("imported_by".into(), json!(release.version().unwrap().to_string()));
        self.hand_over = Some(file.to_string().into_bytes());
    }

    /// Starts a task, which signs in with the token of the returned number.
    fn start(&mut self, release: &Release, authority: Authority) -> Option<i64> {
        let version = release.version().unwrap();
        if release.plan().needs_entry {
            self.import(release);
        }
        match authority {
            Authority::CodexHome if version < OpenClawVersion::new(2026, 4, 20) => self.in_codex(),
            Authority::CodexHome => self.in_profiles(ProfileProvider::OpenAiCodex).or(self.in_codex()),
            Authority::CodexPlugin => self.in_codex(),
            Authority::AuthProfiles => {
                let found = self.in_our_profile(release);
                if found.is_some() && ENCRYPT.contains(&version) {
                    self.encrypted = found;
                    let mut file = Self::json(self.profiles.as_ref());
                    let profile = file["profiles"][ProfileProvider::OpenAiCodex.profile_id()].as_object_mut().unwrap();
                    profile.retain(|name, _| name != "access" && name != "refresh");
                    profile.insert("oauthRef".into(), json!({"id": "x"}));
                    self.profiles = Some(file.to_string().into_bytes());
                }
                let moved = !Self::json(self.profiles.as_ref())["profiles"][ProfileProvider::OpenAiCodex.profile_id()]
                    ["oauthRef"]
                    .is_null();
                if moved && DECRYPT.contains(&version) { self.encrypted } else { found }
            }
            Authority::Store => self.store,
        }
    }

    /// The running container spends its token and keeps the next one.
    fn rotate(&mut self, release: &Release, authority: Authority) {
        let Some(used) = self.start(release, authority) else { return };
        self.spent.insert(used);
        self.newest += 1;
        let next = auth(self.newest);
        let in_codex = Some(next.codex_file_bytes(CodexRefreshToken::Real).expose_secret().to_vec());
        let provider = release.plan().profile.unwrap_or(ProfileProvider::OpenAiCodex);
        let file = auth_profiles::with_profile(Map::new(), provider, &next);
        match authority {
            Authority::CodexPlugin => self.codex = in_codex,
            Authority::Store => self.store = Some(self.newest),
            Authority::CodexHome if release.version() < Some(OpenClawVersion::new(2026, 4, 20)) => {
                self.codex = in_codex;
                self.profiles = Some(auth_profiles::to_bytes(file).expose_secret().to_vec());
            }
            Authority::AuthProfiles if ENCRYPT.contains(&release.version().unwrap()) => {
                self.encrypted = Some(self.newest);
                let mut file = Self::json(self.profiles.as_ref());
                let expires = next.sign_in().expires_at.unwrap().as_millisecond();
                file["profiles"][ProfileProvider::OpenAiCodex.profile_id()]["expires"] = json!(expires);
                self.profiles = Some(file.to_string().into_bytes());
            }
            Authority::CodexHome | Authority::AuthProfiles => {
                self.profiles = Some(auth_profiles::to_bytes(file).expose_secret().to_vec());
            }
        }
    }

    /// How many of the places that we write hold a refresh token.
    fn copies(&self) -> usize {
        let pending = number_of(&Self::json(self.hand_over.as_ref())["profile"]["refresh"]);
        let profiles = ProfileProvider::ALL.into_iter().filter_map(|provider| self.in_profiles(provider));
        profiles.chain(pending).chain(self.in_codex()).count()
    }
}

/// Something that happens to a user.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Provisioned with a new sign-in.
    SignsIn,
    /// Provisioned again with the newest sign-in that the caller has.
    SentAgain,
    /// Redeployed to another release, and started there.
    Redeployed(usize),
    /// Told to run another release, which never started, so that ECS rolled back.
    RolledBack(usize),
    /// Started again without a change.
    Restarted,
    /// The container spends its refresh token.
    Rotates,
    /// Killed while files were written for a provision.
    Killed(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let release = 0..releases().len();
    prop_oneof![
        1 => Just(Event::SignsIn),
        3 => Just(Event::SentAgain),
        3 => release.clone().prop_map(Event::Redeployed),
        1 => release.prop_map(Event::RolledBack),
        1 => Just(Event::Restarted),
        4 => Just(Event::Rotates),
        1 => (0_usize..3).prop_map(Event::Killed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Incidents 28, 29 and 30: re-provisioned, redeployed, rolled back, restarted and killed in any order, a user stays
    /// signed in with an unspent token, unless the answer said that the sign-in could not be carried over.
    #[test]
    fn a_user_stays_signed_in(first in 0..releases().len(), events in prop::collection::vec(event(), 1..14)) {
        let releases = releases();
        let (mut world, mut at) = (World { newest: 1, ..World::default() }, first);
        let mut sent = 1;
        let mut authority = world.update(&releases[at], Some(sent), usize::MAX).plan.authority;
        prop_assert_eq!(world.start(&releases[at], authority), Some(1));
        let mut lost = false;
        for event in events {
            let mut send = None;
            match event {
                Event::Rotates => {
                    world.rotate(&releases[at], authority);
                    continue;
                }
                Event::SignsIn => {
                    world.newest += 1;
                    sent = world.newest;
                    send = Some(sent);
                }
                Event::SentAgain => send = Some(sent),
                Event::Redeployed(release) => at = release,
                Event::RolledBack(release) => {
                    world.update(&releases[release], None, usize::MAX);
                }
                Event::Killed(writes) => {
                    world.update(&releases[at], Some(sent), writes);
                }
                Event::Restarted => {}
            }
            let update = world.update(&releases[at], send, usize::MAX);
            authority = update.plan.authority;
            let used = world.start(&releases[at], authority);
            let is_fresh = matches!(event, Event::SignsIn);
            lost = !is_fresh && (lost || update.warnings.contains(&Warning::NotCarriedOver));
            if lost {
                continue;
            }
            let used = used.ok_or_else(|| TestCaseError::fail(format!("nobody signed in after {event:?}: {update:?}")))?;
            prop_assert!(!world.spent.contains(&used), "{used} was spent before {event:?}");
            prop_assert!(used >= sent || !is_fresh, "{used} is older than what was sent: {sent}");
            // The copies that 4.x keeps for itself must not be removed while it runs.
            if authority != Authority::CodexHome {
                prop_assert!(world.copies() <= 1, "{event:?} left {} copies", world.copies());
            }
            prop_assert!(update.reauth_required == update.live.is_none() || !update.reauth_required);
        }
    }

    /// A second update changes nothing: what is in place stays untouched (0 writes for an unchanged user).
    #[test]
    fn a_second_update_writes_nothing(at in 0..releases().len(), events in prop::collection::vec(0..releases().len(), 0..4)) {
        let releases = releases();
        let mut world = World::default();
        world.update(&releases[at], Some(1), usize::MAX);
        for next in events {
            world.update(&releases[next], Some(1), usize::MAX);
            let again = world.update(&releases[next], Some(1), usize::MAX);
            prop_assert!(again.changes.is_empty(), "{:?}", again.changes.len());
        }
    }
}
