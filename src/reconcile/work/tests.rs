//! How a later request changes earlier ones, and that nothing is lost on the way to the ledger and back.

use serde_json::json;

use super::*;
use crate::domain::{RawSize, Size, UserId, Variables};
use crate::reconcile::{Caller, Redeploy, Verb};

fn auth(refresh_token: &str) -> SignInChange {
    let jwt = "eyJhbGciOiJub25lIn0.eyJpYXQiOjE3NzAwMDAwMDAsImh0dHBzOi8vYXBpLm9wZW5haS5jb20vYXV0aCI6eyJjaGF0Z3B0X2FjY291bnRfaWQiOiJhIn19.c2ln";
    let tokens = json!({"access_token": jwt, "refresh_token": refresh_token, "id_token": jwt, "account_id": "a"});
    let auth = ChatGptAuth::parse(json!({"auth_mode": "chatgpt", "tokens": tokens})).unwrap();
    SignInChange::Send { auth: Box::new(auth), force: false }
}

fn work(target: Target, sign_in: SignInChange) -> Work {
    let (caller, user) = (Caller::new("caller"), UserId::parse("alice").unwrap());
    Work::new(Intent { sign_in, ..Intent::new(Verb::Redeploy, &caller, user, target) })
}

fn provision(refresh_token: &str) -> Work {
    work(Target::provision(SpecPatch { has_auth: true, ..SpecPatch::default() }), auth(refresh_token))
}

fn delete(purge: bool) -> Work {
    work(Target::delete(purge, false), SignInChange::None)
}

fn size(cpu: u32) -> Size {
    Size::parse(RawSize { cpu, memory_mib: 4096 }, "size").unwrap()
}

fn plain(target: Target) -> Work {
    work(target, SignInChange::None)
}

/// The kind of a target, in a word.
fn short(target: &Target) -> &'static str {
    match target {
        Target::Absent { .. } => "delete",
        Target::Present { if_missing: IfMissing::Create, .. } => "provision",
        Target::Present { definition: Definition::Render(_), .. } => "render",
        Target::Present { desired: Desired::Running, .. } => "start",
        Target::Present { desired: Desired::Stopped, .. } => "stop",
        Target::Present { desired: Desired::Unchanged, .. } => "unchanged",
    }
}

/// The kinds of targets and of sign-in changes, in order.
fn told(work: &Work) -> (Vec<&'static str>, Vec<String>) {
    let change = |change: &SignInChange| match change {
        SignInChange::Send { auth, .. } => auth.fingerprint().to_owned(),
        SignInChange::None => "none".to_owned(),
        SignInChange::Remove => "remove".to_owned(),
        SignInChange::Repair => "repair".to_owned(),
        SignInChange::RotateGatewayToken => "rotate".to_owned(),
    };
    let targets = work.targets();
    (targets.iter().map(short).collect(), work.sign_in_changes().iter().map(change).collect())
}

fn fingerprint(refresh_token: &str) -> String {
    sha256_hex12(refresh_token.as_bytes())
}

#[test]
fn a_delete_replaces_earlier_work_but_never_takes_a_purge_back() {
    let both = provision("one").then(delete(false)).unwrap();
    assert_eq!(told(&both), (vec!["delete"], vec![]));
    let purged = delete(true).then(delete(false)).unwrap();
    assert_eq!(purged.targets(), [Target::delete(true, false)]);
    let all = delete(true).then(provision("one")).unwrap().then(delete(false)).unwrap();
    assert_eq!(all.targets(), [Target::delete(true, false)]);
}

#[test]
fn a_request_after_a_delete_is_done_if_it_creates_the_user_and_refused_otherwise() {
    let both = delete(true).then(provision("one")).unwrap();
    assert_eq!(told(&both), (vec!["delete", "provision"], vec![fingerprint("one")]));
    assert_eq!(delete(false).then(plain(Target::stop())).unwrap_err(), Refusal::NotFound);
    let stopped = both.then(plain(Target::stop())).unwrap();
    let Target::Present { if_missing, desired, .. } = stopped.targets()[1].clone() else { panic!("{stopped:?}") };
    assert_eq!((if_missing, desired), (IfMissing::Create, Desired::Stopped));
    assert_eq!(told(&stopped).1, [fingerprint("one")]);
}

#[test]
fn the_later_of_two_contradicting_changes_wins_and_other_changes_are_both_made() {
    let resize = |cpu| plain(Target::resize(size(cpu)));
    let image = crate::domain::ImageRef::parse("ghcr.io/openclaw/openclaw:2026.4.25", "image").unwrap();
    let pinned =
        plain(Target::redeploy(Redeploy { image: Some(Some(image.clone())), restart: true, ..Redeploy::default() }));
    let all = resize(512).then(pinned).unwrap().then(resize(1024)).unwrap().then(plain(Target::stop())).unwrap();
    let [.., Target::Present { if_missing, definition: Definition::Render(patch), desired, restart, .. }] =
        &all.targets()[..]
    else {
        panic!("{all:?}")
    };
    assert_eq!((*if_missing, *desired, *restart), (IfMissing::Refuse, Desired::Stopped, true));
    assert_eq!((patch.size, &patch.image), (Some(size(1024)), &Some(Some(image))));
    let started = all.then(plain(Target::start())).unwrap();
    let Some(Target::Present { desired, .. }) = started.targets().pop() else { panic!("{started:?}") };
    assert_eq!(desired, Desired::Running);
}

/// Stopping what runs needs no base, so it does not wait until somebody repairs one.
#[test]
fn a_change_that_needs_no_base_is_made_at_once_and_stays_in_the_pending_work() {
    let both = plain(Target::resize(size(1024))).then(plain(Target::stop())).unwrap();
    let targets = both.targets();
    assert_eq!((targets.len(), &targets[0]), (2, &Target::stop()));
    assert!(both.is_at_once(&targets[0]) && !both.is_at_once(&targets[1]));
    let Target::Present { desired, .. } = &targets[1] else { panic!("{both:?}") };
    assert_eq!(*desired, Desired::Stopped);
    let read = Work::of_pending(&both.to_pending()).unwrap();
    assert_eq!(read.targets(), targets[1..]);
    for other in [delete(false).then(provision("one")).unwrap(), plain(Target::stop())] {
        assert_eq!(other.clone().then(plain(Target::stop())).unwrap().targets().len(), other.targets().len());
    }
}

#[test]
fn sign_ins_are_staged_once_in_order_and_dropped_by_a_sign_out_or_a_new_provider() {
    let put = |refresh_token: &str| work(Target::unchanged(), auth(refresh_token));
    let two = provision("one").then(put("two")).unwrap();
    assert_eq!(told(&two).1, [fingerprint("one"), fingerprint("two")]);
    let again = two.clone().then(put("one")).unwrap();
    assert_eq!(told(&again).1, [fingerprint("two"), fingerprint("one")]);
    let out = again.then(work(Target::unchanged(), SignInChange::Remove)).unwrap();
    assert_eq!(told(&out).1, ["remove"]);
    assert_eq!(told(&out.then(put("three")).unwrap()).1, ["remove".to_owned(), fingerprint("three")]);
    let bedrock = SpecPatch { provider: Some(Provider::Bedrock), ..SpecPatch::default() };
    let changed = two.then(plain(Target::provision(bedrock))).unwrap();
    assert_eq!(told(&changed).1, Vec::<String>::new());
    let Target::Present { definition: Definition::Render(patch), .. } = changed.targets()[0].clone() else { panic!() };
    assert!(!patch.has_auth, "{patch:?}");
}

#[test]
fn work_survives_the_ledger_and_its_note_contains_no_secret() {
    let variables = Variables::parse([("GREETING".to_owned(), "hello".to_owned())].into()).unwrap();
    let patch = SpecPatch { has_auth: true, image: Some(None), variables: Some(variables), ..SpecPatch::default() };
    let all = delete(true)
        .then(work(Target::provision(patch), auth("the-secret")))
        .unwrap()
        .then(work(Target::unchanged(), auth("another-secret")))
        .unwrap();
    let pending = all.to_pending();
    let text = pending.intent.to_string();
    assert!(!text.contains("secret") && !format!("{all:?}{pending:?}").contains("hello"), "{text}");
    let read = Work::of_pending(&pending).unwrap();
    assert_eq!((read.targets(), told(&read)), (all.targets(), told(&all)));
    // What was sent without `last_refresh` is read back without it: freshness is judged by it.
    let [SignInChange::Send { auth, .. }, _] = &read.sign_in_changes()[..] else { panic!("{read:?}") };
    assert_eq!(auth.sign_in().last_refresh, None);

    let mut more = pending.intent.clone();
    more["of_a_later_version"] = json!({"x": 1});
    assert!(Work::of_pending(&Pending { intent: more.clone(), sign_in: pending.sign_in.clone() }).is_some());
    more["present"]["present"]["desired"] = json!("of a later version");
    for (intent, sign_in) in [(more, pending.sign_in.clone()), (pending.intent.clone(), None), (json!({}), None)] {
        assert!(Work::of_pending(&Pending { intent, sign_in }).is_none());
    }
}

#[test]
fn a_request_that_was_accepted_already_is_recognized_by_the_note() {
    let note = |work: &Work| WorkNote::read(&work.to_pending().intent).unwrap();
    let both = delete(true).then(provision("one")).unwrap();
    assert!(Work::includes(note(&delete(true)), &delete(false)));
    assert!(!Work::includes(note(&delete(false)), &delete(true)));
    assert!(Work::includes(note(&both), &provision("one")));
    assert!(!Work::includes(note(&both), &provision("two")));
    assert!(!Work::includes(note(&both), &delete(true)));
    assert!(!Work::includes(note(&delete(true)), &plain(Target::stop())));
}
