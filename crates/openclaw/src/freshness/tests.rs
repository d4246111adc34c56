use proptest::prelude::*;
use serde_json::json;

use super::super::jwt::tests::jwt;
use super::*;

fn at(second: i64) -> Option<Timestamp> {
    Timestamp::from_second(second).ok()
}

fn sign_in(last_refresh: Option<i64>, issued_at: Option<i64>, expires_at: Option<i64>) -> SignIn {
    SignIn {
        identity: Identity::of_account(Some("acc"), None),
        last_refresh: last_refresh.and_then(at),
        issued_at: issued_at.and_then(at),
        expires_at: expires_at.and_then(at),
        fingerprint: format!("{last_refresh:?}{issued_at:?}{expires_at:?}"),
    }
}

fn against(stored: &SignIn, incoming: &SignIn) -> Decision {
    decide(&Existing::Parsed(stored.clone()), incoming, false)
}

fn wrote(decision: Decision) -> bool {
    matches!(decision, Decision::Write { .. })
}

#[test]
fn the_first_field_that_both_have_and_that_differs_decides() {
    let cases = [
        (sign_in(Some(1), Some(9), Some(9)), sign_in(Some(2), Some(1), Some(1)), FreshnessReason::RefreshedLater),
        (sign_in(Some(2), Some(1), Some(1)), sign_in(Some(1), Some(9), Some(9)), FreshnessReason::StoredRefreshedLater),
        (sign_in(None, Some(1), Some(9)), sign_in(Some(1), Some(2), Some(1)), FreshnessReason::IssuedLater),
        (sign_in(Some(1), Some(2), Some(1)), sign_in(None, Some(1), Some(9)), FreshnessReason::StoredIssuedLater),
        (sign_in(Some(1), Some(1), Some(1)), sign_in(Some(1), Some(1), Some(2)), FreshnessReason::ExpiresLater),
        (sign_in(Some(1), None, Some(2)), sign_in(Some(1), None, Some(1)), FreshnessReason::StoredExpiresLater),
        (sign_in(None, None, None), sign_in(Some(1), Some(1), Some(1)), FreshnessReason::NothingNewer),
        (sign_in(Some(1), None, None), sign_in(Some(1), None, None), FreshnessReason::SameSignIn),
    ];
    for (stored, incoming, expected) in cases {
        let (Decision::Write { reason } | Decision::KeepFresher { reason }) = against(&stored, &incoming);
        assert_eq!(reason, expected);
        let kept = reason.name().starts_with("stored")
            || matches!(reason, FreshnessReason::SameSignIn | FreshnessReason::NothingNewer);
        assert_eq!(wrote(against(&stored, &incoming)), !kept);
    }
}

#[test]
fn an_unusable_file_or_another_account_is_overwritten() {
    let incoming = sign_in(Some(1), Some(1), Some(1));
    let of = |account: Option<&str>, email: Option<&str>| SignIn {
        identity: Identity::of_account(account, email),
        ..sign_in(Some(9), None, None)
    };
    let by_email = |email: &str| of(None, Some(email));
    for (existing, incoming, expected) in [
        (Existing::Missing, &incoming, FreshnessReason::Missing),
        (Existing::Empty, &incoming, FreshnessReason::Empty),
        (Existing::Unreadable, &incoming, FreshnessReason::Unreadable),
        (Existing::Parsed(of(Some("other"), None)), &incoming, FreshnessReason::OtherAccount),
        (Existing::Parsed(by_email("a@b")), &incoming, FreshnessReason::OtherAccount),
        (Existing::Parsed(by_email("x@b")), &by_email("a@b"), FreshnessReason::OtherAccount),
        (Existing::Parsed(of(None, None)), &of(None, None), FreshnessReason::OtherAccount),
    ] {
        assert_eq!(decide(&existing, incoming, false), Decision::Write { reason: expected });
    }
    let kept = decide(&Existing::Parsed(by_email("A@b")), &by_email("a@B"), false);
    assert_eq!(kept, Decision::KeepFresher { reason: FreshnessReason::SameSignIn });
}

#[test]
fn force_is_the_reason_only_if_it_made_the_difference() {
    let (older, newer) = (sign_in(Some(1), None, None), sign_in(Some(2), None, None));
    let forced = |stored: &SignIn, incoming| decide(&Existing::Parsed(stored.clone()), incoming, true);
    assert_eq!(forced(&newer, &older), Decision::Write { reason: FreshnessReason::Forced });
    assert_eq!(forced(&older, &newer), Decision::Write { reason: FreshnessReason::RefreshedLater });
    assert_eq!(decide(&Existing::Missing, &older, true), Decision::Write { reason: FreshnessReason::Missing });
}

#[test]
fn a_tenants_last_refresh_in_the_year_9999_keeps_only_their_own_sign_in_until_force() {
    let token = jwt(&json!({"iat": 1}));
    let planted = json!({
        "tokens": {"access_token": token, "refresh_token": "r", "account_id": "acc"},
        "last_refresh": "9999-12-30T00:00:00Z",
    });
    let existing = Existing::from_file_bytes(planted.to_string().as_bytes());
    let incoming = sign_in(Some(1_777_000_000), Some(1_777_000_000), None);
    assert_eq!(
        decide(&existing, &incoming, false),
        Decision::KeepFresher { reason: FreshnessReason::StoredRefreshedLater }
    );
    assert_eq!(decide(&existing, &incoming, true), Decision::Write { reason: FreshnessReason::Forced });
}

#[test]
fn only_a_file_that_no_release_could_use_is_unreadable() {
    let tokens = json!({"access_token": "opaque", "refresh_token": "r"});
    let usable = json!({"tokens": tokens, "unknown": {"from": "codex"}, "auth_mode": "somethingNew"});
    assert!(matches!(Existing::from_file_bytes(usable.to_string().as_bytes()), Existing::Parsed(_)));
    assert_eq!(Existing::from_file_bytes(b""), Existing::Empty);
    assert_eq!(Existing::from_file_bytes(b" \n"), Existing::Empty);
    for text in [
        "{",
        "[]",
        "{}",
        "null",
        "\u{feff}{}",
        "\0\0\0",
        r#"{"tokens": null}"#,
        r#"{"tokens": {"access_token": "a", "refresh_token": ""}}"#,
        r#"{"tokens": {"access_token": 1, "refresh_token": "r"}}"#,
        &"[".repeat(100_000),
    ] {
        assert_eq!(
            Existing::from_file_bytes(text.as_bytes()),
            Existing::Unreadable,
            "{}",
            text.get(..9).unwrap_or(text)
        );
    }
}

/// Its refresh token may be the live one all the same.
#[test]
fn a_last_refresh_in_another_form_is_read_and_without_one_the_token_decides() {
    let file = |time: Value| {
        let tokens = json!({"access_token": jwt(&json!({"iat": 7})), "refresh_token": "r", "account_id": "acc"});
        let file = json!({"tokens": tokens, "last_refresh": time}).to_string();
        let Existing::Parsed(sign_in) = Existing::from_file_bytes(file.as_bytes()) else { panic!("{file}") };
        (sign_in.last_refresh.map(Timestamp::as_second), sign_in.issued_at.map(Timestamp::as_second))
    };
    for time in ["2026-09-21T14:13:20Z", "2026-09-21 14:13:20.551234+00:00", "2026-09-21T14:13:20 UTC"] {
        assert_eq!(file(json!(time)), (Some(1_790_000_000), Some(7)), "{time}");
    }
    for time in [json!("soon"), json!(1), json!(null)] {
        assert_eq!(file(time), (None, Some(7)));
    }
}

/// The limit of the rule in the facts file: it compares other fields if some are missing.
#[test]
fn three_sign_ins_that_contradict_themselves_can_form_a_circle() {
    let (a, b, c) = (sign_in(Some(10), Some(1), None), sign_in(None, Some(5), None), sign_in(Some(5), Some(9), None));
    assert_eq!([against(&c, &a), against(&b, &c), against(&a, &b)].map(wrote), [true; 3]);
}

fn time() -> impl Strategy<Value = i64> {
    0..4_i64
}

/// Anything, with any field missing.
fn any_sign_in() -> impl Strategy<Value = SignIn> {
    let maybe = || proptest::option::of(time());
    (maybe(), maybe(), maybe()).prop_map(|(refreshed, issued, expires)| sign_in(refreshed, issued, expires))
}

/// All times are there, in any combination.
fn complete() -> impl Strategy<Value = SignIn> {
    (time(), time(), time())
        .prop_map(|(refreshed, issued, expires)| sign_in(Some(refreshed), Some(issued), Some(expires)))
}

/// As real sign-ins are: refreshed when issued, expiring ten days later; `last_refresh` may be missing.
fn real() -> impl Strategy<Value = SignIn> {
    (time(), any::<bool>()).prop_map(|(issued, has)| sign_in(has.then_some(issued), Some(issued), Some(issued + 10)))
}

fn ordering(a: &SignIn, b: &SignIn) -> Ordering {
    compare(a, b).0
}

fn assert_transitive(a: &SignIn, b: &SignIn, c: &SignIn) {
    if ordering(a, b).is_le() && ordering(b, c).is_le() {
        assert!(ordering(a, c).is_le(), "{a:?} {b:?} {c:?}");
    }
}

proptest! {
    #[test]
    fn of_two_sign_ins_at_most_one_replaces_the_other(a in any_sign_in(), b in any_sign_in()) {
        prop_assert_eq!(ordering(&a, &b), ordering(&b, &a).reverse());
        prop_assert!(!(wrote(against(&a, &b)) && wrote(against(&b, &a))));
    }

    #[test]
    fn staging_the_stored_sign_in_again_keeps_it(a in any_sign_in()) {
        prop_assert_eq!(against(&a, &a), Decision::KeepFresher { reason: FreshnessReason::SameSignIn });
    }

    #[test]
    fn complete_sign_ins_are_totally_ordered(a in complete(), b in complete(), c in complete()) {
        assert_transitive(&a, &b, &c);
    }

    #[test]
    fn real_sign_ins_are_totally_ordered_even_without_last_refresh(a in real(), b in real(), c in real()) {
        assert_transitive(&a, &b, &c);
    }

    /// Incident 28: re-provisioning wrote an older refresh token over one that the container had rotated.
    #[test]
    fn no_sequence_of_earlier_sign_ins_ever_undoes_a_rotation(
        sent in proptest::collection::vec((0..100_i64, any::<bool>()), 1..8),
        clock_skew in -5..5_i64,
    ) {
        // The container rotates at 100 by the server's clock and stamps the file by its own.
        let rotated = sign_in(Some(100 + clock_skew), Some(100), Some(110));
        for (issued, has) in sent {
            let refreshed = has.then_some(issued.min(94));
            let incoming = sign_in(refreshed, Some(issued), Some(issued + 10));
            prop_assert!(!wrote(against(&rotated, &incoming)));
        }
    }
}
