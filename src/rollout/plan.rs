//! The planner of a rollout: pure. It chooses the next steps from what is written down and what was seen; the runner takes
//! them. So a crash, another replica or a resume needs no recovery of its own.

use std::collections::{BTreeMap, BTreeSet};

use openclaw::sha256_hex12;

use super::words::{Event, Journal, PAUSED_BY, Person, Rollout, RolloutState, Share, Stage};
use crate::domain::UserId;

/// A user on the way, as ECS shows them now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The container is gone.
    Gone,
    /// Stopped, and registered with the change.
    Stopped,
    /// Ready with the change.
    Ready {
        /// Whether they have to sign in again.
        reauth_required: bool,
    },
    /// On the way to it.
    NotYet {
        /// The reason in words.
        message: String,
    },
    /// The service runs something else.
    Other,
    /// Given up by ECS.
    Failed {
        /// Why, as a code.
        code: String,
        /// The reason in words.
        detail: String,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write down what was seen.
    Note(UserId, Event),
    /// Move the user, or take them back.
    Move(UserId),
    /// Take a user who failed back to what they had.
    Return(UserId),
    /// Begin with no more users, for this reason. If the rollout is already paused, this becomes its reason.
    Pause(String),
    /// Everybody is finished.
    Finish,
}

/// What the rollout waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// Nothing.
    Nothing,
    /// A user to become ready.
    User,
    /// The soak.
    Soak,
    /// AWS's rate limits.
    Limit,
    /// The maintenance window.
    Window,
    /// Somebody to resume it.
    Resume,
}

/// The next steps: first notes of what was seen, then what follows from that. `busy` are users for whom a step is being
/// taken; `stuck` are users for whom tries have failed for a while.
#[must_use]
pub fn next(
    rollout: &Rollout,
    journal: &Journal,
    seen: &BTreeMap<UserId, Seen>,
    busy: &BTreeSet<UserId>,
    stuck: &BTreeSet<UserId>,
    now: i64,
) -> Vec<Step> {
    if rollout.state.is_over() {
        return Vec::new();
    }
    let mut after = journal.clone();
    let mut steps = Vec::new();
    for (user, seen) in seen.iter().filter(|(user, _)| !busy.contains(*user)) {
        let Some(person) = journal.people.get(user) else { continue };
        for event in judge(rollout, person, seen, now) {
            after.take(super::words::Line { u: Some(user.clone()), event: event.clone() });
            steps.push(Step::Note(user.clone(), event));
        }
    }
    let failed = |person: &&Person| matches!(person.stage, Stage::Failed { .. });
    let failures = after.people.values().filter(failed).count();
    let allowed = allowed_failures(rollout, after.people.len());
    let is_paused = rollout.state == RolloutState::Paused;
    let is_too_many = failures > allowed;
    for (user, person) in &after.people {
        let is_left = matches!(person.stage, Stage::Failed { is_back: false, .. });
        if is_left && !journal.is_back && person.was_sent && !busy.contains(user) {
            steps.push(Step::Return(user.clone()));
        }
    }
    if is_too_many {
        let reason = too_many(rollout, &after, failures, allowed);
        if rollout.reason.as_ref() != Some(&reason) {
            steps.push(Step::Pause(reason));
        }
    }
    if is_paused || is_too_many {
        return steps;
    }
    let Some(wave) = current_wave(&after) else {
        let is_returning = after.people.iter().any(|(user, person)| {
            let is_left = matches!(person.stage, Stage::Failed { is_back: false, .. });
            busy.contains(user) || is_left && !journal.is_back && person.was_sent
        });
        if !is_returning {
            steps.push(Step::Finish);
        }
        return steps;
    };
    let may_begin = may_begin(rollout, now);
    let on_the_way = after
        .people
        .iter()
        .filter(|(user, person)| busy.contains(*user) || matches!(person.stage, Stage::Begun | Stage::Sent { .. }));
    let room = usize::try_from(rollout.strategy.max_parallel).unwrap_or(usize::MAX);
    let room = room.saturating_sub(on_the_way.count());
    let mut room = room.min(room_for_proof(rollout, &after, busy, stuck));
    let of_wave = after.people.iter().filter(|(user, person)| person.wave == wave && !busy.contains(*user));
    let mut of_wave: Vec<(&UserId, &Person)> = of_wave.collect();
    // While proof is missing, users who can give it go first.
    of_wave.sort_by_key(|(user, person)| (stuck.contains(*user), person.is_stopped));
    for (user, person) in of_wave {
        match person.stage {
            // It already has a place.
            Stage::Begun => steps.push(Step::Move(user.clone())),
            Stage::Waiting if room > 0 && may_begin => {
                room -= 1;
                steps.push(Step::Move(user.clone()));
            }
            Stage::Waiting
            | Stage::Sent { .. }
            | Stage::Ready { .. }
            | Stage::Done
            | Stage::Failed { .. }
            | Stage::Skipped { .. } => {}
        }
    }
    steps
}

/// How many users may be begun while fewer containers have been ready than there are canaries. A canary that already has the
/// change, is skipped or is stopped proves nothing and must not open the way for everybody: others take its place. If no
/// user is left whose container runs, there is nothing to wait for.
fn room_for_proof(rollout: &Rollout, journal: &Journal, busy: &BTreeSet<UserId>, stuck: &BTreeSet<UserId>) -> usize {
    use super::words::Canaries;
    let people = &journal.people;
    let canaries = match &rollout.strategy.canaries {
        Canaries::Number(number) => usize::try_from(*number).unwrap_or(usize::MAX).min(people.len()),
        Canaries::Named(_) => people.values().filter(|person| person.wave == 0).count(),
    };
    let proofs = people.values().filter(|person| person.is_proof).count();
    let can_prove = |person: &&Person| !person.is_stopped && is_open(person);
    let canaries = canaries.min(proofs + people.values().filter(can_prove).count());
    if rollout.is_back || proofs >= canaries {
        return usize::MAX;
    }
    let is_tried = |(user, person): &(&UserId, &Person)| match person.stage {
        Stage::Begun => !stuck.contains(*user),
        Stage::Sent { .. } | Stage::Ready { .. } => true,
        Stage::Waiting | Stage::Done | Stage::Failed { .. } | Stage::Skipped { .. } => {
            busy.contains(*user) && !stuck.contains(*user)
        }
    };
    (canaries - proofs).saturating_sub(people.iter().filter(is_tried).count())
}

/// Whether users may be begun now. Taking users back waits for no window.
fn may_begin(rollout: &Rollout, now: i64) -> bool {
    rollout.is_back || rollout.strategy.window.as_ref().is_none_or(|window| window.is_open(now))
}

/// How many may fail.
#[must_use]
pub fn allowed_failures(rollout: &Rollout, users: usize) -> usize {
    let accepted = usize::try_from(rollout.accepted_failures).unwrap_or(usize::MAX);
    rollout.strategy.max_failures.of(users).max(accepted)
}

/// The reason of the pause. If somebody paused the rollout, their reason comes first.
fn too_many(rollout: &Rollout, journal: &Journal, failures: usize, allowed: usize) -> String {
    let mut by_code: BTreeMap<&str, usize> = BTreeMap::new();
    for person in journal.people.values() {
        if let Stage::Failed { code, .. } = &person.stage {
            *by_code.entry(code).or_default() += 1;
        }
    }
    let codes: Vec<String> = by_code.iter().map(|(code, users)| format!("{code}: {users}")).collect();
    let of_somebody = rollout.reason.as_deref().filter(|reason| reason.starts_with(PAUSED_BY));
    let before = of_somebody.and_then(|reason| reason.split("; ").next());
    let before = before.map_or_else(String::new, |before| format!("{before}; "));
    format!("{before}{failures} failed, where {allowed} may ({})", codes.join(", "))
}

/// The current wave: the first one with a user who is not finished.
#[must_use]
pub fn current_wave(journal: &Journal) -> Option<u32> {
    journal.people.values().filter(|person| is_open(person)).map(|person| person.wave).min()
}

/// Whether something is left to do for the user before the next wave.
const fn is_open(person: &Person) -> bool {
    match person.stage {
        Stage::Waiting | Stage::Begun | Stage::Sent { .. } | Stage::Ready { .. } => true,
        Stage::Done | Stage::Failed { .. } | Stage::Skipped { .. } => false,
    }
}

/// The events that follow for a user on the way from what was seen.
fn judge(rollout: &Rollout, person: &Person, seen: &Seen, now: i64) -> Vec<Event> {
    let (sent_at, ready_since) = match person.stage {
        Stage::Sent { at } => (at, None),
        Stage::Ready { sent_at, since } => (sent_at, Some(since)),
        Stage::Waiting | Stage::Begun | Stage::Done | Stage::Failed { .. } | Stage::Skipped { .. } => {
            return Vec::new();
        }
    };
    let had_to_sign_in = person.former.as_ref().is_some_and(|former| former.reauth_required);
    let is_late = now.saturating_sub(sent_at) > i64::from(rollout.strategy.deadline_seconds) * 1_000;
    let failed = |code: &str, detail: &str| vec![Event::Failed { code: code.to_owned(), detail: detail.to_owned() }];
    match (seen, ready_since) {
        (Seen::Gone, _) => vec![Event::Skipped { why: "gone".to_owned() }],
        (Seen::Stopped, _) => vec![Event::Done],
        (Seen::Failed { code, detail }, _) => failed(code, detail),
        (Seen::Ready { reauth_required: true }, _) if !had_to_sign_in => {
            failed("reauth_required", "the user has to sign in again, and did not have to before")
        }
        (Seen::Ready { .. }, None) if rollout.strategy.soak_seconds == 0 => vec![Event::Ready { at: now }, Event::Done],
        (Seen::Ready { .. }, None) => vec![Event::Ready { at: now }],
        (Seen::Ready { .. }, Some(since)) => {
            let is_over = now.saturating_sub(since) >= i64::from(rollout.strategy.soak_seconds) * 1_000;
            if is_over { vec![Event::Done] } else { Vec::new() }
        }
        // Somebody has asked for something else since.
        (Seen::Other, Some(_)) => vec![Event::Skipped { why: "changed".to_owned() }],
        (Seen::NotYet { message }, _) if is_late => failed("deadline_exceeded", message),
        (Seen::Other, None) if is_late => failed("deadline_exceeded", "the change was not deployed in time"),
        (Seen::NotYet { .. }, Some(_)) => vec![Event::Unready],
        (Seen::NotYet { .. } | Seen::Other, None) => Vec::new(),
    }
}

/// What the rollout waits for, as reported to people.
#[must_use]
pub fn waits_for(rollout: &Rollout, journal: &Journal, now: i64) -> WaitsFor {
    let has = |is_it: fn(&Stage) -> bool| journal.people.values().any(|person| is_it(&person.stage));
    match rollout.state {
        RolloutState::Paused => WaitsFor::Resume,
        RolloutState::Running if has(|stage| matches!(stage, Stage::Sent { .. })) => WaitsFor::User,
        RolloutState::Running if has(|stage| matches!(stage, Stage::Begun)) => WaitsFor::Limit,
        RolloutState::Running if has(|stage| matches!(stage, Stage::Ready { .. })) => WaitsFor::Soak,
        RolloutState::Running if has(|stage| matches!(stage, Stage::Waiting)) && !may_begin(rollout, now) => {
            WaitsFor::Window
        }
        RolloutState::Running | RolloutState::Done | RolloutState::Aborted | RolloutState::RolledBack => {
            WaitsFor::Nothing
        }
    }
}

/// The wave of each user: the canaries, then each share of the others, then the rest. Sorted by user id, so that the same
/// input gives the same plan.
#[must_use]
pub fn waves(users: &BTreeSet<UserId>, canaries: &super::words::Canaries, shares: &[Share]) -> BTreeMap<UserId, u32> {
    use super::words::Canaries;
    let first: BTreeSet<&UserId> = match canaries {
        Canaries::Number(number) => users.iter().take(usize::try_from(*number).unwrap_or(usize::MAX)).collect(),
        Canaries::Named(named) => users.iter().filter(|user| named.contains(user)).collect(),
    };
    let others: Vec<&UserId> = users.iter().filter(|user| !first.contains(user)).collect();
    let mut assigned: BTreeMap<UserId, u32> = first.into_iter().map(|user| (user.clone(), 0)).collect();
    let (mut at, mut wave) = (0, u32::from(!assigned.is_empty()));
    for share in shares {
        let size = share.of(others.len()).min(others.len() - at);
        for user in &others[at..at + size] {
            assigned.insert((*user).clone(), wave);
        }
        at += size;
        wave += u32::from(size > 0);
    }
    assigned.extend(others[at..].iter().map(|user| ((*user).clone(), wave)));
    assigned
}

/// Whether a user is in that percentage.
#[must_use]
pub fn is_in_percent(user: &UserId, percent: u8) -> bool {
    let hash = u64::from_str_radix(&sha256_hex12(user.as_str().as_bytes()), 16).unwrap_or_default();
    hash % 100 < u64::from(percent)
}

#[cfg(test)]
mod tests;
