use jiff::Timestamp;

use super::*;
use crate::rollout::words::{Canaries, Change, Former, Line, Select, Strategy};

const MINUTE: i64 = 60_000;

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn rollout(strategy: Strategy) -> Rollout {
    Rollout {
        id: "r".into(),
        created_at: Timestamp::UNIX_EPOCH,
        created_by: "ops".into(),
        select: Select::default(),
        change: Change::Base("base:2".into()),
        strategy,
        promotes: true,
        promoted_before: Some("base:1".into()),
        state: RolloutState::Running,
        is_back: false,
        reason: None,
        accepted_failures: 0,
        changed_by: "ops".into(),
        changed_at: Timestamp::UNIX_EPOCH,
        planned_seconds: 0,
        is_at_end: false,
        figures: None,
    }
}

/// A journal of these users, each with their wave and events.
fn journal(people: &[(&str, u32, &[Event])]) -> Journal {
    let mut journal = Journal::default();
    for (name, wave, events) in people {
        let selected = [Event::Selected { wave: *wave, is_stopped: false }];
        for event in selected.iter().chain(*events) {
            journal.take(Line { u: Some(user(name)), event: event.clone() });
        }
    }
    journal
}

fn begun() -> Event {
    Event::From(Box::new(Former { revision: "user:1".into(), ..Former::default() }))
}

fn failed() -> Event {
    Event::Failed { code: "image_pull".into(), detail: "no such image".into() }
}

fn steps(rollout: &Rollout, journal: &Journal, seen: &[(&str, Seen)], now: i64) -> Vec<Step> {
    let seen = seen.iter().map(|(name, seen)| (user(name), seen.clone())).collect();
    next(rollout, journal, &seen, &BTreeSet::new(), &BTreeSet::new(), now)
}

fn moved(names: &[&str]) -> Vec<Step> {
    names.iter().map(|name| Step::Move(user(name))).collect()
}

const READY: Seen = Seen::Ready { reauth_required: false };

#[test]
fn the_next_wave_waits_until_everybody_of_the_one_before_is_through() {
    let rollout = rollout(Strategy::default());
    let ready = [begun(), Event::Sent { at: 0 }, Event::Ready { at: 0 }];
    let done = [begun(), Event::Sent { at: 0 }, Event::Ready { at: 0 }, Event::Done];
    let waves = |canary: &[Event]| journal(&[("a", 0, canary), ("b", 1, &[]), ("c", 1, &[])]);
    assert_eq!(steps(&rollout, &waves(&[]), &[], 0), moved(&["a"]));
    assert_eq!(steps(&rollout, &waves(&ready), &[], 0), []);
    assert_eq!(steps(&rollout, &waves(&done), &[], 0), moved(&["b", "c"]));
}

/// A canary that already has the change, is skipped or is stopped was never ready with it: the next users go alone.
#[test]
fn until_a_canary_was_ready_others_take_its_place_one_by_one() {
    let rollout = rollout(Strategy::default());
    let sent = [begun(), Event::Sent { at: 0 }];
    let ready = [begun(), Event::Sent { at: 0 }, Event::Ready { at: 0 }];
    let done = [begun(), Event::Sent { at: 0 }, Event::Ready { at: 0 }, Event::Done];
    let stopped = [begun(), Event::Sent { at: 0 }, Event::Done];
    for canary in [&[Event::Skipped { why: "unchanged".into() }][..], &stopped[..]] {
        let waves = |b: &[Event]| journal(&[("a", 0, canary), ("b", 1, b), ("c", 1, &[]), ("d", 1, &[])]);
        assert_eq!(steps(&rollout, &waves(&[]), &[], 0), moved(&["b"]));
        assert_eq!(steps(&rollout, &waves(&sent), &[], 0), []);
        assert_eq!(steps(&rollout, &waves(&ready), &[], 0), [], "its soak is what is waited for");
        assert_eq!(steps(&rollout, &waves(&stopped), &[], 0), moved(&["c"]));
        assert_eq!(steps(&rollout, &waves(&done), &[], 0), moved(&["c", "d"]));
    }
    let named = Strategy { canaries: Canaries::Named(Vec::new()), ..Strategy::default() };
    let people = journal(&[("a", 0, &done), ("b", 0, &stopped), ("c", 1, &[]), ("d", 1, &[])]);
    assert_eq!(steps(&self::rollout(named), &people, &[], 0), moved(&["c"]), "as many as were named");
    let none = Strategy { canaries: Canaries::Number(0), ..Strategy::default() };
    assert_eq!(steps(&self::rollout(none), &people, &[], 0), moved(&["c", "d"]));
}

/// If no user can prove the change, there is nothing to wait for.
#[test]
fn running_containers_go_first_and_everybody_goes_at_once_if_none_runs() {
    let stopped = |people: &[(&str, u32, bool, &[Event])]| {
        let mut journal = Journal::default();
        for (name, wave, is_stopped, events) in people {
            let selected = [Event::Selected { wave: *wave, is_stopped: *is_stopped }];
            for event in selected.iter().chain(*events) {
                journal.take(Line { u: Some(user(name)), event: event.clone() });
            }
        }
        journal
    };
    let rollout = rollout(Strategy { max_parallel: 2, ..Strategy::default() });
    let done = [begun(), Event::Sent { at: 0 }, Event::Done];
    let ready = [begun(), Event::Sent { at: 0 }, Event::Ready { at: 0 }, Event::Done];
    let all = stopped(&[("a", 0, true, &done), ("b", 1, true, &[]), ("c", 1, true, &[]), ("d", 1, true, &[])]);
    assert_eq!(steps(&rollout, &all, &[], 0), moved(&["b", "c"]));
    let named = Strategy { canaries: Canaries::Named(Vec::new()), ..rollout.strategy.clone() };
    assert_eq!(steps(&self::rollout(named), &all, &[], 0), moved(&["b", "c"]));
    // One container runs: it goes first, and alone.
    let one =
        |c: &[Event]| stopped(&[("a", 0, true, &done), ("b", 1, true, &[]), ("c", 1, false, c), ("d", 1, true, &[])]);
    assert_eq!(steps(&rollout, &one(&[]), &[], 0), moved(&["c"]));
    assert_eq!(steps(&rollout, &one(&[begun(), Event::Sent { at: 0 }]), &[], 0), []);
    assert_eq!(steps(&rollout, &one(&ready), &[], 0), moved(&["b", "d"]));
    // The only one that ran is skipped: nobody can prove the change any more.
    let left_out = [Event::Skipped { why: "excluded".into() }];
    assert_eq!(steps(&rollout, &one(&left_out), &[], 0), moved(&["b", "d"]));
}

#[test]
fn the_reason_of_a_pause_says_how_many_users_have_failed_by_now() {
    let mut rollout = rollout(Strategy::default());
    let gone_wrong = [begun(), failed(), Event::Returned];
    let one = journal(&[("a", 0, &gone_wrong), ("b", 0, &[])]);
    let two = journal(&[("a", 0, &gone_wrong), ("b", 0, &gone_wrong)]);
    let reason = |failed: u32| format!("{failed} failed, where 0 may (image_pull: {failed})");
    assert_eq!(steps(&rollout, &one, &[], 0), [Step::Pause(reason(1))]);
    (rollout.state, rollout.reason) = (RolloutState::Paused, Some(reason(1)));
    assert_eq!(steps(&rollout, &one, &[], 0), [], "said already");
    assert_eq!(steps(&rollout, &two, &[], 0), [Step::Pause(reason(2))]);
    // The reason that somebody gave stays.
    rollout.reason = Some("paused by ops".into());
    let both = format!("paused by ops; {}", reason(1));
    assert_eq!(steps(&rollout, &one, &[], 0), [Step::Pause(both.clone())]);
    rollout.reason = Some(both);
    assert_eq!(steps(&rollout, &one, &[], 0), []);
    assert_eq!(steps(&rollout, &two, &[], 0), [Step::Pause(format!("paused by ops; {}", reason(2)))]);
}

/// Nobody looks at them any more: they neither soak nor wait.
#[test]
fn nobody_is_on_the_way_in_a_rollout_that_was_given_up() {
    let sent = [begun(), Event::Sent { at: 0 }];
    let ready = [begun(), Event::Sent { at: 0 }, Event::Ready { at: 0 }];
    let done = [begun(), Event::Sent { at: 0 }, Event::Done];
    let failed = [begun(), failed()];
    let people = [("a", 0, &done[..]), ("b", 0, &ready), ("c", 0, &sent), ("d", 0, &failed), ("e", 1, &[])];
    let stages: Vec<String> = journal(&people)
        .given_up()
        .people
        .into_values()
        .map(|person| match person.stage {
            Stage::Skipped { why } => why,
            other => other.name().to_owned(),
        })
        .collect();
    assert_eq!(stages, ["done", "aborted_on_the_way", "aborted_on_the_way", "failed", "aborted"]);
}

/// A user for whom every try fails, such as a canary whose lock file is damaged.
#[test]
fn a_user_who_is_stuck_makes_nobody_wait_for_proof() {
    let (rollout, nobody) = (rollout(Strategy::default()), BTreeSet::new());
    let stuck = BTreeSet::from([user("a")]);
    let steps = |people: &Journal, stuck| next(&rollout, people, &BTreeMap::new(), &nobody, stuck, 0);
    let people = journal(&[("a", 0, &[]), ("b", 0, &[]), ("c", 0, &[])]);
    assert_eq!((steps(&people, &nobody), steps(&people, &stuck)), (moved(&["a"]), moved(&["b"])));
    let people = journal(&[("a", 0, &[begun()]), ("b", 0, &[]), ("c", 0, &[])]);
    let both = [moved(&["b"]), moved(&["a"])].concat();
    assert_eq!((steps(&people, &nobody), steps(&people, &stuck)), (moved(&["a"]), both));
}

#[test]
fn a_user_who_runs_again_proves_the_change_before_the_rest_get_it() {
    let rollout = rollout(Strategy::default());
    let stopped = |wave| Event::Selected { wave, is_stopped: true };
    let line = |name: &str, event| super::super::words::Line { u: Some(user(name)), event };
    let mut people = Journal::default();
    for name in ["a", "b", "c"] {
        people.take(line(name, stopped(0)));
    }
    assert_eq!(steps(&rollout, &people, &[], 0), moved(&["a", "b", "c"]), "nobody can show anything");
    people.take(line("b", Event::Selected { wave: 0, is_stopped: false }));
    assert_eq!(steps(&rollout, &people, &[], 0), moved(&["b"]));
}

#[test]
fn users_on_the_way_stay_within_the_limit_and_soaking_users_do_not_count() {
    let rollout = rollout(Strategy { max_parallel: 2, canaries: Canaries::Number(0), ..Strategy::default() });
    let sent = [begun(), Event::Sent { at: 0 }];
    let ready = [begun(), Event::Sent { at: 0 }, Event::Ready { at: 0 }];
    let people = journal(&[("a", 0, &ready), ("b", 0, &sent), ("c", 0, &[]), ("d", 0, &[])]);
    assert_eq!(steps(&rollout, &people, &[], 0), moved(&["c"]));
    // A user who was begun by a runner that was killed already has a place.
    let people = journal(&[("a", 0, &[begun()]), ("b", 0, &sent), ("c", 0, &[])]);
    assert_eq!(steps(&rollout, &people, &[], 0), moved(&["a"]));
}

#[test]
fn a_user_is_done_only_after_the_whole_soak_on_what_was_asked_for() {
    let rollout = rollout(Strategy { soak_seconds: 60, ..Strategy::default() });
    let sent = journal(&[("a", 0, &[begun(), Event::Sent { at: 0 }])]);
    let note = |event: Event| vec![Step::Note(user("a"), event)];
    assert_eq!(steps(&rollout, &sent, &[("a", READY)], 5), note(Event::Ready { at: 5 }));
    assert_eq!(steps(&rollout, &sent, &[("a", Seen::Other)], 5), [], "it does not show yet");
    let ready = journal(&[("a", 0, &[begun(), Event::Sent { at: 0 }, Event::Ready { at: 0 }])]);
    assert_eq!(steps(&rollout, &ready, &[("a", READY)], MINUTE - 1), []);
    let not_yet = Seen::NotYet { message: "unhealthy".into() };
    assert_eq!(steps(&rollout, &ready, &[("a", not_yet)], MINUTE), note(Event::Unready));
    let mut done = note(Event::Done);
    done.push(Step::Finish);
    assert_eq!(steps(&rollout, &ready, &[("a", READY)], MINUTE), done);
}

#[test]
fn one_failure_too_many_pauses_the_rollout_and_failed_users_are_taken_back() {
    let strategy = Strategy { max_failures: Share::Users(1), canaries: Canaries::Number(0), ..Strategy::default() };
    let mut rollout = rollout(strategy);
    let gone_wrong = [begun(), Event::Sent { at: 0 }, failed()];
    let one = journal(&[("a", 0, &gone_wrong), ("b", 0, &[]), ("c", 0, &[])]);
    assert_eq!(steps(&rollout, &one, &[], 0), [vec![Step::Return(user("a"))], moved(&["b", "c"])].concat());
    let two = journal(&[("a", 0, &gone_wrong), ("b", 0, &gone_wrong), ("c", 0, &[])]);
    let reason = "2 failed, where 1 may (image_pull: 2)".to_owned();
    let back = |names: &[&str]| names.iter().map(|name| Step::Return(user(name))).collect::<Vec<_>>();
    assert_eq!(steps(&rollout, &two, &[], 0), [back(&["a", "b"]), vec![Step::Pause(reason)]].concat());
    (rollout.state, rollout.reason) = (RolloutState::Paused, Some("2 failed, where 1 may (image_pull: 2)".into()));
    assert_eq!(steps(&rollout, &two, &[], 0), back(&["a", "b"]), "also while it is paused");
    (rollout.state, rollout.accepted_failures) = (RolloutState::Running, 2);
    assert_eq!(steps(&rollout, &two, &[], 0), [back(&["a", "b"]), moved(&["c"])].concat(), "resumed");
}

#[test]
fn no_user_is_begun_once_a_failure_is_seen() {
    let rollout = rollout(Strategy::default());
    let people = journal(&[("a", 0, &[begun(), Event::Sent { at: 0 }]), ("b", 0, &[])]);
    let seen = Seen::Failed { code: "image_pull".into(), detail: "no such image".into() };
    let told = steps(&rollout, &people, &[("a", seen)], 0);
    assert_eq!(told[..2], [Step::Note(user("a"), failed()), Step::Return(user("a"))]);
    assert!(matches!(told[2..], [Step::Pause(_)]), "{told:?}");
}

#[test]
fn a_user_who_is_late_or_has_to_sign_in_again_has_failed() {
    let rollout = rollout(Strategy { deadline_seconds: 60, ..Strategy::default() });
    let people = journal(&[("a", 0, &[begun(), Event::Sent { at: 0 }])]);
    let code = |seen: Seen, now: i64| match steps(&rollout, &people, &[("a", seen)], now).into_iter().next() {
        Some(Step::Note(_, Event::Failed { code, .. })) => code,
        other => format!("{other:?}"),
    };
    let not_yet = || Seen::NotYet { message: "pulling".into() };
    assert_eq!(code(not_yet(), MINUTE), "None");
    assert_eq!(code(not_yet(), MINUTE + 1), "deadline_exceeded");
    assert_eq!(code(Seen::Other, MINUTE + 1), "deadline_exceeded");
    assert_eq!(code(Seen::Ready { reauth_required: true }, 1), "reauth_required");
}

#[test]
fn a_rollback_takes_back_every_begun_user_and_nobody_else() {
    let mut rollout = rollout(Strategy::default());
    let done = [begun(), Event::Sent { at: 0 }, Event::Done];
    let returned = [begun(), Event::Sent { at: 0 }, failed(), Event::Returned];
    let mut people = journal(&[("a", 0, &done), ("b", 0, &[begun()]), ("c", 0, &returned), ("d", 1, &[])]);
    people.take(Line { u: None, event: Event::Back });
    rollout.is_back = true;
    assert_eq!(steps(&rollout, &people, &[], 0), moved(&["a", "b"]));
}

#[test]
fn a_journal_is_read_as_it_was_written_and_an_incomplete_line_is_ignored() {
    let done =
        [begun(), Event::Sent { at: 1 }, Event::Ready { at: 2 }, Event::Unready, Event::Ready { at: 3 }, Event::Done];
    let people: [(&str, u32, &[Event]); 2] = [("a", 0, &done), ("b", 1, &[begun(), failed(), Event::Returned])];
    let written = people.iter().flat_map(|(name, wave, events)| {
        [Event::Selected { wave: *wave, is_stopped: false }]
            .into_iter()
            .chain(events.iter().cloned())
            .map(|event| (user(name), event))
    });
    let mut bytes = super::super::words::lines(written);
    assert_eq!(Journal::read(&bytes), journal(&people));
    bytes.extend_from_slice(br#"{"u":"a","e":"fai"#);
    assert_eq!(Journal::read(&bytes), journal(&people));
    bytes.extend_from_slice(b"\n{\"u\":\"b\",\"e\":\"from a later version\"}\n");
    assert_eq!(Journal::read(&bytes), journal(&people));
}

#[test]
fn waves_are_the_canaries_then_each_share_then_the_rest() {
    let users: BTreeSet<UserId> = ["a", "b", "c", "d", "e"].into_iter().map(user).collect();
    let of = |canaries: &Canaries, shares: &[Share]| waves(&users, canaries, shares).into_values().collect::<Vec<_>>();
    assert_eq!(of(&Canaries::Number(1), &[Share::Percent(50)]), [0, 1, 1, 2, 2]);
    assert_eq!(of(&Canaries::Named(vec![user("c")]), &[Share::Users(1), Share::Users(1)]), [1, 2, 0, 3, 3]);
    assert_eq!(of(&Canaries::Number(0), &[]), [0, 0, 0, 0, 0]);
    assert_eq!(of(&Canaries::Number(9), &[Share::Percent(100)]), [0, 0, 0, 0, 0]);
}

#[test]
fn a_larger_percentage_has_everybody_of_a_smaller_one() {
    let users: Vec<UserId> = (0..500).map(|number| user(&format!("user-{number}"))).collect();
    let of = |percent| users.iter().filter(|user| is_in_percent(user, percent)).collect::<BTreeSet<_>>();
    assert!(of(10).is_subset(&of(30)) && of(30).len() > of(10).len());
    assert_eq!((of(0).len(), of(100).len()), (0, 500));
}
