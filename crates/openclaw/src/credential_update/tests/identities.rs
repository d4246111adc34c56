//! Several accounts and persons in one directory: whatever is sent, moved and rotated, in any order, nobody's only live
//! refresh token is lost.

use std::collections::BTreeMap;

use super::*;

/// Two accounts, two members of one team, and one whose written account id is in no claim.
const PEOPLE: usize = 5;

/// The parts that identify a token's owner: the written account, the claim, the person.
fn person(who: usize) -> (&'static str, &'static str, Option<&'static str>) {
    [
        ("home", "home", Some("ada")),
        ("work", "work", Some("ada")),
        ("team", "team", Some("bob")),
        ("team", "team", Some("cleo")),
        ("org-1", "paid", None),
    ][who]
}

/// The `n`th token of a person. Some tokens do not say when they were refreshed.
fn sign_in(who: usize, n: i64) -> ChatGptAuth {
    let (written, claimed, user) = person(who);
    let issued = START + 1_000 * n;
    let claims = json!({"chatgpt_account_id": claimed, "chatgpt_user_id": user});
    let access = jwt(&json!({"iat": issued, "exp": issued + 864_000, "https://api.openai.com/auth": claims}));
    let last_refresh = (n % 3 == 0).then(|| Timestamp::from_second(issued).unwrap().to_string());
    ChatGptAuth::parse(json!({
        "tokens": {"access_token": access, "refresh_token": format!("rt-{who}-{n}"), "account_id": written},
        "last_refresh": last_refresh,
    }))
    .unwrap()
}

/// The owner and the number of a token.
fn named(token: &Value) -> Option<(usize, i64)> {
    let (who, n) = token.as_str()?.strip_prefix("rt-")?.split_once('-')?;
    Some((who.parse().ok()?, n.parse().ok()?))
}

/// A user's directory, and the store that only the container reads: profile id → token.
#[derive(Clone, Debug, Default)]
struct Home {
    files: World,
    store: BTreeMap<String, (usize, i64)>,
    /// Files that were moved whole.
    displaced: Vec<Vec<u8>>,
    /// The newest token of each person that was ever here.
    newest: [i64; PEOPLE],
    next: i64,
}

impl Home {
    fn update(&mut self, release: &Release, sent: Option<(usize, i64)>, writes: usize) -> CredentialUpdate {
        let sent = sent.map(|(who, n)| sign_in(who, n));
        let now = Timestamp::from_second(START).unwrap();
        let update = update_credentials(release, &self.files.on_disk(), sent.as_ref(), false, now);
        for change in update.changes.iter().take(writes) {
            if let Change::MoveAside(place) | Change::MoveAsideAndWrite(place, _) = change {
                self.displaced.extend(self.files.file(*place).clone());
            }
            self.files.write(std::slice::from_ref(change), 1);
        }
        update
    }

    fn profiles(&self) -> Value {
        World::json(self.files.profiles.as_ref())
    }

    fn set_profile(&mut self, id: &str, provider: ProfileProvider, token: (usize, i64)) {
        let mut file = self.profiles();
        if !file.is_object() {
            file = json!({"version": 1});
        }
        file["profiles"][id] = auth_profiles::profile(provider, &sign_in(token.0, token.1));
        self.files.profiles = Some(file.to_string().into_bytes());
    }

    /// As `import.mjs` does: other profiles keep their places or are moved aside, and a fresher one of the store stays.
    fn import(&mut self, release: &Release) {
        let mut order = World::json(self.files.hand_over.as_ref());
        let ours = ProfileProvider::OpenAi.profile_id();
        if let Some((who, n)) = named(&order["profile"]["refresh"]) {
            let fresher = self.store.get(ours).is_some_and(|(known, m)| *known == who && *m > n);
            if let Some((known, m)) = self.store.get(ours).filter(|(known, _)| *known != who) {
                self.set_aside((*known, *m));
            }
            if !fresher {
                self.store.insert(ours.to_owned(), (who, n));
            }
            order.as_object_mut().unwrap().remove("profile");
            order["imported_by"] = json!(release.version().unwrap().to_string());
            self.files.hand_over = Some(order.to_string().into_bytes());
        }
        for (id, profile) in self.profiles()["profiles"].as_object().into_iter().flatten() {
            let id = id.replace("openai-codex:", "openai:");
            let Some(token) = named(&profile["refresh"]) else { continue };
            match self.store.get(&id) {
                // Doctor never overwrites a profile of the store.
                Some(known) if *known != token => self.set_aside(token),
                _ => drop(self.store.insert(id, token)),
            }
        }
        self.files.profiles = None;
    }

    fn set_aside(&mut self, (who, n): (usize, i64)) {
        let auth = sign_in(who, n);
        let bytes = auth.to_file_bytes().expose_secret().to_vec();
        self.files.asides.push((AsideName::of(auth.fingerprint()), bytes));
    }

    /// Rotates one of the tokens that the running release may spend.
    fn rotates(&mut self, release: &Release, authority: Authority, which: usize) {
        let places: Vec<String> = match authority {
            Authority::CodexPlugin => vec!["codex".to_owned()],
            Authority::Store => self.store.keys().cloned().collect(),
            Authority::CodexHome | Authority::AuthProfiles => {
                let provider = release.plan().profile.unwrap_or(ProfileProvider::OpenAiCodex);
                let file = self.profiles();
                let ids = file["profiles"].as_object().into_iter().flatten();
                let ids = ids.filter(|(_, profile)| profile["provider"] == provider.name());
                let ids = ids.map(|(id, _)| id.clone());
                let codex = (authority == Authority::CodexHome).then(|| "codex".to_owned());
                ids.chain(codex).collect()
            }
        };
        let Some(place) = places.get(which % places.len().max(1)).cloned() else { return };
        match (authority, place.as_str()) {
            (Authority::Store, id) => {
                let Some(token) = self.next(self.store.get(id).copied()) else { return };
                self.store.insert(place, token);
            }
            (_, "codex") => {
                let file = World::json(self.files.codex.as_ref());
                let Some((who, n)) = self.next(named(&file["tokens"]["refresh_token"])) else { return };
                let bytes = sign_in(who, n).codex_file_bytes(CodexRefreshToken::Real).expose_secret().to_vec();
                self.files.codex = Some(bytes);
            }
            (_, id) => {
                let profile = self.profiles()["profiles"][id].clone();
                let Some(token) = self.next(named(&profile["refresh"])) else { return };
                let provider = ProfileProvider::ALL.into_iter().find(|known| profile["provider"] == known.name());
                self.set_profile(&place, provider.unwrap(), token);
            }
        }
    }

    fn next(&mut self, token: Option<(usize, i64)>) -> Option<(usize, i64)> {
        let (who, _) = token?;
        self.next += 1;
        self.newest[who] = self.next;
        Some((who, self.next))
    }

    /// The newest token of a person, anywhere.
    fn newest_of(&self, who: usize) -> i64 {
        let files = [&self.files.codex, &self.files.profiles, &self.files.hand_over].into_iter().flatten();
        let asides = self.files.asides.iter().map(|(_, bytes)| bytes);
        let texts = files.chain(asides).chain(&self.displaced).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let in_files = texts.flat_map(|text| {
            let found = text.split('"').filter_map(|word| named(&json!(word)));
            found.collect::<Vec<_>>()
        });
        let all = in_files.chain(self.store.values().copied()).filter(|(known, _)| *known == who);
        all.map(|(_, n)| n).max().unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A new sign-in is sent, by provision or PUT.
    SignsIn(usize),
    /// A sign-in that the caller has kept is sent again, however old.
    SentAgain(usize),
    Redeployed(usize),
    RolledBack(usize),
    Restarted,
    Rotates(usize),
    /// The user signs in to another account by themselves, under an id of its own.
    AddsProfile(usize, usize),
    /// Killed after that many writes of a provision.
    Killed(usize, usize),
}

fn event() -> impl Strategy<Value = Event> {
    let release = 0..releases().len();
    let who = 0..PEOPLE;
    prop_oneof![
        2 => who.clone().prop_map(Event::SignsIn),
        4 => who.clone().prop_map(Event::SentAgain),
        3 => release.clone().prop_map(Event::Redeployed),
        1 => release.prop_map(Event::RolledBack),
        1 => Just(Event::Restarted),
        5 => (0_usize..4).prop_map(Event::Rotates),
        2 => (who.clone(), 0_usize..3).prop_map(|(who, id)| Event::AddsProfile(who, id)),
        1 => (who, 0_usize..4).prop_map(|(who, writes)| Event::Killed(who, writes)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_destroys_the_only_live_refresh_token_of_anybody(
        first in 0..releases().len(),
        events in prop::collection::vec(event(), 1..20),
    ) {
        // 5.12 keeps tokens in a place that this model lacks; `a_user_stays_signed_in` covers it.
        let releases: Vec<Release> =
            releases().into_iter().filter(|release| !release.plan().needs_profile_secret_key).collect();
        let (mut home, mut at) = (Home::default(), first % releases.len());
        let mut kept = [0_i64; PEOPLE];
        let mut authority = releases[at].plan().authority;
        for event in events {
            let mut send = None;
            match event {
                Event::Rotates(which) => {
                    home.rotates(&releases[at], authority, which);
                    continue;
                }
                Event::AddsProfile(who, id) => {
                    home.next += 1;
                    let provider = releases[at].plan().profile.unwrap_or(ProfileProvider::OpenAiCodex);
                    let id = format!("{}:{}", provider.name(), ["work", "ada@example.com", "z"][id]);
                    let in_store = authority == Authority::Store;
                    let known = match in_store {
                        true => home.store.get(&id).copied(),
                        false => named(&home.profiles()["profiles"][id.as_str()]["refresh"]),
                    };
                    // A user who signs in over a profile of their own does so on purpose.
                    if known.is_some_and(|(known, _)| known != who) {
                        continue;
                    }
                    let token = (who, home.next);
                    match in_store {
                        true => drop(home.store.insert(id, token)),
                        false => home.set_profile(&id, provider, token),
                    }
                    home.newest[who] = home.next;
                    continue;
                }
                Event::SignsIn(who) => {
                    home.next += 1;
                    kept[who] = home.next;
                    send = Some((who, home.next));
                }
                Event::SentAgain(who) => send = (kept[who] > 0).then_some((who, kept[who])),
                Event::Killed(who, writes) => {
                    let sent = (kept[who] > 0).then_some((who, kept[who]));
                    home.update(&releases[at], sent, writes);
                    send = sent;
                }
                Event::Redeployed(release) => at = release % releases.len(),
                Event::RolledBack(release) => {
                    home.update(&releases[release % releases.len()], None, usize::MAX);
                }
                Event::Restarted => {}
            }
            let update = home.update(&releases[at], send, usize::MAX);
            authority = update.plan.authority;
            if let Some((who, n)) = send {
                home.newest[who] = home.newest[who].max(n);
            }
            if releases[at].plan().needs_entry {
                home.import(&releases[at]);
            }
            for who in 0..PEOPLE {
                prop_assert_eq!(home.newest_of(who), home.newest[who], "of {} after {:?}: {:?}", who, event, update);
            }
        }
    }

    /// Each sign-in is compared only with those of the same person.
    #[test]
    fn an_older_sign_in_never_replaces_a_rotated_one_of_the_same_person(
        at in 0..releases().len(), who in 0..PEOPLE, others in prop::collection::vec((0..PEOPLE, 0_usize..3), 0..4),
    ) {
        let release = &releases()[at];
        let mut home = Home { next: 1, ..Home::default() };
        let authority = home.update(release, Some((who, 1)), usize::MAX).plan.authority;
        home.rotates(release, authority, 0);
        for (other, id) in others {
            home.next += 1;
            let provider = release.plan().profile.unwrap_or(ProfileProvider::OpenAiCodex);
            let token = (other, home.next);
            if other != who {
                home.set_profile(&format!("{}:{id}", provider.name()), provider, token);
            }
        }
        let rotated = home.newest_of(who);
        let again = home.update(release, Some((who, 1)), usize::MAX);
        prop_assert!(matches!(again.decision, Some(Decision::KeepFresher { .. })), "{:?}", again);
        prop_assert_eq!(home.newest_of(who), rotated);
    }
}
