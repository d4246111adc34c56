use secrecy::ExposeSecret as _;

use super::super::{PlanInputs, credential_plan};
use super::*;
use crate::domain::jwt::tests::jwt;
use crate::domain::openclaw_version::OpenClawVersion;

const OLD: i64 = 1_777_000_000;
const NEW: i64 = 1_777_500_000;

fn plan(month: u16, patch: u16) -> CredentialPlan {
    credential_plan(OpenClawVersion::new(2026, month, patch), PlanInputs::default())
}

fn auth_of(account: &str, second: i64) -> ChatGptAuth {
    let access = jwt(&json!({"iat": second, "exp": second + 864_000}));
    let tokens = json!({"access_token": access, "refresh_token": format!("rt-{second}"), "account_id": account});
    ChatGptAuth::parse(json!({"auth_mode": "chatgpt", "tokens": tokens})).unwrap()
}

fn auth(second: i64) -> ChatGptAuth {
    auth_of("acc", second)
}

/// A user's directory.
#[derive(Default, Clone)]
struct Files {
    codex: Option<Vec<u8>>,
    profiles: Option<Vec<u8>>,
    has_store: bool,
    record: Option<Record>,
}

impl Files {
    fn disk(&self) -> OnDisk<'_> {
        OnDisk {
            codex: self.codex.as_deref().map_or(Content::Missing, Content::Bytes),
            profiles: self.profiles.as_deref().map_or(Content::Missing, Content::Bytes),
            has_store: self.has_store,
            record: self.record.as_ref(),
        }
    }

    /// Judges, and does what the verdict says.
    fn stage(&mut self, plan: &CredentialPlan, sent: Option<&ChatGptAuth>) -> Verdict {
        let verdict = judge(plan, self.disk(), sent, false);
        let apply = |file: &mut Option<Vec<u8>>, change: &Change| match change {
            Change::Keep => {}
            Change::Write(bytes) => *file = Some(bytes.expose_secret().to_vec()),
            Change::Remove => *file = None,
        };
        apply(&mut self.codex, &verdict.codex);
        apply(&mut self.profiles, &verdict.profiles);
        if let Some(record) = &verdict.record {
            self.record = Some(record.marked(true));
        }
        verdict
    }

    /// The refresh tokens in the files, as `place token`.
    fn refresh_tokens(&self) -> Vec<String> {
        let parse = |file: &Option<Vec<u8>>| -> Value {
            file.as_ref().map_or(Value::Null, |bytes| serde_json::from_slice(bytes).unwrap())
        };
        let (codex, profiles) = (parse(&self.codex), parse(&self.profiles));
        let mut found = vec![("codex".to_owned(), codex["tokens"]["refresh_token"].clone())];
        for (id, profile) in profiles["profiles"].as_object().into_iter().flatten() {
            found.push((id.clone(), profile["refresh"].clone()));
        }
        let live = found.into_iter().filter(|(_, token)| token.as_str().is_some_and(|token| !token.is_empty()));
        live.map(|(place, token)| format!("{place} {}", token.as_str().unwrap())).collect()
    }

    /// What a container does: it spends the refresh token and writes the next one where it found it.
    fn rotate(&mut self, second: i64) {
        let next = auth(second);
        if let Some(Place::Profile(provider)) = best(&plan(5, 7), &self.disk(), self.file().as_ref()).map(|l| l.place) {
            let file = auth_profiles::with_profile(self.file().unwrap(), provider, &next);
            self.profiles = Some(auth_profiles::to_bytes(file).expose_secret().to_vec());
        } else {
            self.codex = Some(next.to_file_bytes().expose_secret().to_vec());
        }
    }

    fn file(&self) -> Option<Map<String, Value>> {
        self.profiles.as_deref().and_then(auth_profiles::parse)
    }

    /// What `doctor --fix` does.
    fn import(&mut self) {
        self.profiles = None;
        self.has_store = true;
    }
}

fn reason(verdict: &Verdict) -> Option<(bool, Reason)> {
    verdict.decision.map(|decision| match decision {
        Decision::Write { reason } => (true, reason),
        Decision::KeepFresher { reason } => (false, reason),
    })
}

/// Incident 29, for every kind of plan.
#[test]
fn a_new_users_refresh_token_is_in_the_authority_alone_and_codex_auth_json_is_complete() {
    for (plan, expected) in [
        (plan(4, 7), "codex rt-1777000000"),
        (plan(4, 23), "openai-codex:default rt-1777000000"),
        (plan(9, 6), "openai:default rt-1777000000"),
    ] {
        let mut files = Files::default();
        let verdict = files.stage(&plan, Some(&auth(OLD)));
        assert_eq!(reason(&verdict), Some((true, Reason::Missing)));
        assert_eq!(files.refresh_tokens(), [expected]);
        assert!(is_complete_without_refresh(files.codex.as_ref().unwrap()));
        assert_eq!(files.record.is_some(), plan.profile.is_some());
        let again = files.stage(&plan, Some(&auth(OLD)));
        assert_eq!(reason(&again), Some((false, Reason::SameSignIn)));
        assert!(matches!((again.codex, again.profiles, again.record), (Change::Keep, Change::Keep, None)));
    }
}

/// Incident 28, where the container rotates `auth-profiles.json` in place.
#[test]
fn a_profile_that_the_container_rotated_is_kept() {
    let mut files = Files::default();
    files.stage(&plan(5, 7), Some(&auth(OLD)));
    files.rotate(NEW);
    let verdict = files.stage(&plan(5, 7), Some(&auth(OLD)));
    assert_eq!(reason(&verdict), Some((false, Reason::StoredIssuedLater)));
    assert_eq!(files.refresh_tokens(), ["openai-codex:default rt-1777500000"]);
    assert_eq!(reason(&files.stage(&plan(5, 7), Some(&auth(NEW + 1)))), Some((true, Reason::IssuedLater)));
}

/// Incident 28: every way between releases whose authority is a file, without and with the first sign-in sent again.
#[test]
fn a_change_of_release_carries_the_rotated_sign_in_over() {
    let plans = [plan(4, 7), plan(4, 23), plan(5, 12), plan(6, 35), plan(9, 6)];
    for (from, to) in plans.iter().flat_map(|from| plans.iter().map(move |to| (from, to))) {
        for sent in [None, Some(auth(OLD))] {
            let mut files = Files::default();
            files.stage(from, Some(&auth(OLD)));
            if from.import.is_none() {
                files.rotate(NEW);
            } else {
                let fresh = auth_profiles::with_profile(files.file().unwrap(), Provider::OpenAi, &auth(NEW));
                files.profiles = Some(auth_profiles::to_bytes(fresh).expose_secret().to_vec());
            }
            let verdict = files.stage(to, sent.as_ref());
            let place = to.profile.map_or("codex", Provider::profile_id);
            assert_eq!(files.refresh_tokens(), [format!("{place} rt-{NEW}")], "{from:?} {to:?}");
            assert!(!verdict.not_carried_over);
            assert_eq!(verdict.decision.is_some(), sent.is_some());
            assert!(is_complete_without_refresh(files.codex.as_ref().unwrap()));
        }
    }
}

/// openclaw-facts §4: where the authority is out of sight, our record is the judge.
#[test]
fn an_imported_sign_in_is_staged_again_only_for_a_newer_one() {
    let mut files = Files::default();
    files.stage(&plan(6, 35), Some(&auth(OLD)));
    files.import();
    let kept = files.stage(&plan(6, 35), Some(&auth(OLD)));
    assert_eq!((reason(&kept), files.refresh_tokens()), (Some((false, Reason::SameSignIn)), vec![]));
    assert_eq!(reason(&files.stage(&plan(9, 6), Some(&auth(OLD - 1)))), Some((false, Reason::StoredIssuedLater)));
    assert!(!files.stage(&plan(9, 6), None).not_carried_over);

    assert_eq!(reason(&files.stage(&plan(6, 35), Some(&auth(NEW)))), Some((true, Reason::IssuedLater)));
    assert_eq!(files.refresh_tokens(), ["openai:default rt-1777500000"]);
    let other = files.clone().stage(&plan(6, 35), Some(&auth_of("other", OLD)));
    assert_eq!(reason(&other), Some((true, Reason::OtherAccount)));
}

#[test]
fn a_record_counts_only_while_what_it_speaks_of_can_be_there() {
    let mut files = Files::default();
    files.stage(&plan(6, 35), Some(&auth(OLD)));
    files.profiles = None;
    assert_eq!(reason(&files.clone().stage(&plan(6, 35), Some(&auth(OLD)))), Some((true, Reason::Missing)));
    // Killed before the file was written, and after.
    files.has_store = true;
    files.record.as_mut().unwrap().complete = false;
    assert_eq!(reason(&files.clone().stage(&plan(6, 35), Some(&auth(OLD)))), Some((true, Reason::Missing)));
    let older = files.clone().stage(&plan(6, 35), Some(&auth(OLD - 1)));
    assert_eq!((reason(&older), older.record), (Some((false, Reason::StoredIssuedLater)), None));
    let mut written = Files { record: files.record.clone(), ..Files::default() };
    written.profiles = Some(
        auth_profiles::to_bytes(auth_profiles::with_profile(Map::new(), Provider::OpenAi, &auth(OLD)))
            .expose_secret()
            .to_vec(),
    );
    assert!(written.stage(&plan(6, 35), Some(&auth(OLD))).record.is_some());
    assert!(written.record.unwrap().complete);
}

/// openclaw-facts §2: 5.12 takes the tokens out of the file.
#[test]
fn a_profile_whose_tokens_moved_is_judged_by_the_record() {
    let mut files = Files::default();
    files.stage(&plan(5, 12), Some(&auth(OLD)));
    let moved = json!({"profiles": {"openai-codex:default": {"type": "oauth", "oauthRef": {"id": "x"}}}});
    files.profiles = Some(moved.to_string().into_bytes());
    assert_eq!(reason(&files.stage(&plan(5, 12), Some(&auth(OLD)))), Some((false, Reason::SameSignIn)));
    assert_eq!(reason(&files.stage(&plan(5, 12), Some(&auth(NEW)))), Some((true, Reason::IssuedLater)));
    assert_eq!(files.refresh_tokens(), ["openai-codex:default rt-1777500000"]);
}

#[test]
fn what_a_database_holds_cannot_be_carried_back_and_that_is_said() {
    let mut files = Files::default();
    files.stage(&plan(9, 6), Some(&auth(OLD)));
    files.import();
    for older in [plan(4, 21), plan(5, 7)] {
        assert!(files.clone().stage(&older, None).not_carried_over);
        assert!(files.clone().stage(&older, Some(&auth(OLD))).not_carried_over);
        let verdict = files.clone().stage(&older, Some(&auth(NEW)));
        assert_eq!((reason(&verdict), verdict.not_carried_over), (Some((true, Reason::Missing)), false));
    }
}

/// Incident 30: on 4.21 a profile outranks the recipe's file.
#[test]
fn a_stale_profile_of_ours_is_taken_out_and_everything_else_is_left() {
    let theirs = json!({"profiles": {
        "anthropic:default": {"type": "api_key", "key": "sk"},
        "openai-codex:default": {"type": "oauth", "access": "a", "refresh": "stale", "accountId": "former"},
    }});
    let mut files = Files { profiles: Some(theirs.to_string().into_bytes()), ..Files::default() };
    files.stage(&plan(4, 21), Some(&auth(OLD)));
    assert_eq!(files.refresh_tokens(), ["codex rt-1777000000"]);
    assert_eq!(files.file().unwrap()["profiles"], json!({"anthropic:default": {"type": "api_key", "key": "sk"}}));
}

#[test]
fn another_accounts_own_codex_login_is_left_to_the_user() {
    let mut files = Files::default();
    files.stage(&plan(5, 7), Some(&auth(OLD)));
    files.codex = Some(auth_of("theirs", NEW).to_file_bytes().expose_secret().to_vec());
    files.stage(&plan(5, 7), Some(&auth(OLD)));
    assert_eq!(files.refresh_tokens(), ["codex rt-1777500000", "openai-codex:default rt-1777000000"]);
    assert_eq!(reason(&files.stage(&plan(5, 7), Some(&auth(OLD + 1)))), Some((true, Reason::IssuedLater)));
    assert_eq!(files.refresh_tokens(), ["openai-codex:default rt-1777000001"]);
}

#[test]
fn anywhere_counts_for_being_signed_in() {
    assert!(!signed_in(Files::default().disk()));
    for plan in [plan(4, 7), plan(5, 7), plan(9, 6)] {
        let mut files = Files::default();
        files.stage(&plan, Some(&auth(OLD)));
        assert!(signed_in(files.disk()), "{plan:?}");
        files.record = None;
        files.profiles = None;
        assert_eq!(signed_in(files.disk()), plan.profile.is_none());
    }
}
