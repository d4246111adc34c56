//! Response bodies for rollouts and their progress.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::planned::PlanBody;
use crate::http::openapi::schemas;
use crate::rollout::words::{Change, Journal, Rollout, RolloutState, Stage};
use crate::rollout::{Figures, Kept, PlannedRollout, plan};

/// Most messages shown for one reason.
const MOST_MESSAGES: usize = 3;

/// A rollout.
#[derive(Serialize, ToSchema)]
#[schema(as = Rollout)]
pub(in crate::http) struct RolloutBody {
    id: String,
    #[schema(schema_with = schemas::rollout_state)]
    state: &'static str,
    /// `forward`, or `back` after a rollback was requested.
    #[schema(pattern = "^(forward|back)$")]
    direction: &'static str,
    /// Why it is paused.
    #[schema(required)]
    reason: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    created_by: String,
    #[schema(format = DateTime)]
    changed_at: String,
    changed_by: String,
    /// The change, in words.
    change: String,
    /// The base that new users get until the rollout is over; null if it changes no base.
    #[schema(required)]
    promoted_before: Option<String>,
    /// Whether the base is promoted at the end.
    promotes: bool,
    /// Expected duration, at AWS's rate limits and with a minute for each start.
    planned_seconds: u64,
    /// Its progress; null in a list.
    #[schema(required)]
    progress: Option<ProgressBody>,
    /// Number of users by progress; only in a list. Left out for a rollout that ended before these numbers were kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<FiguresBody>,
    /// What it would do; only with `dry_run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<PlanBody>,
}

/// The progress of a rollout.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutProgress)]
struct ProgressBody {
    percent: u8,
    /// Number of users by progress.
    users: FiguresBody,
    waves: Vec<WaveBody>,
    /// Users who failed, by reason.
    failed: Vec<FailedBody>,
    /// Users who were left out, by reason.
    skipped: BTreeMap<String, usize>,
    /// The current wave; null once no user is left.
    #[schema(required)]
    wave: Option<u32>,
    /// What it waits for: `user`, `limit` (AWS's rates), `soak`, `window`, `resume` or null.
    #[schema(required)]
    waits_for: Option<&'static str>,
    /// When the maintenance window opens, while it waits for the window.
    #[schema(required, format = DateTime)]
    goes_on_at: Option<String>,
    /// Users done per minute so far; null while no user is done, and if the rollout is not going forward.
    #[schema(required)]
    users_per_minute: Option<f64>,
    /// Time left at the pace so far; null while no user is done.
    #[schema(required)]
    ends_in_seconds: Option<u64>,
}

/// Number of users by progress.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutUsers)]
struct FiguresBody {
    all: usize,
    waiting: usize,
    on_the_way: usize,
    soaking: usize,
    done: usize,
    failed: usize,
    skipped: usize,
}

impl From<Figures> for FiguresBody {
    fn from(figures: Figures) -> Self {
        let Figures { all, waiting, on_the_way, soaking, done, failed, skipped } = figures;
        Self { all, waiting, on_the_way, soaking, done, failed, skipped }
    }
}

/// A wave.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutWave)]
struct WaveBody {
    /// Number of the wave; 0 is the canaries.
    wave: u32,
    users: usize,
    /// Users who are done, failed or were left out.
    through: usize,
    /// The users in it; only with `dry_run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_ids: Option<Vec<String>>,
}

/// Users who failed for one reason.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutFailure)]
struct FailedBody {
    code: String,
    users: usize,
    /// How many of these are back on what they had.
    back: usize,
    /// The first three messages.
    messages: Vec<String>,
}

/// Rollouts.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutList)]
pub(in crate::http) struct RolloutsBody {
    rollouts: Vec<RolloutBody>,
    /// Ids of rollouts that this version cannot read: a later version wrote them, or they are damaged. They stay unchanged.
    not_understood: Vec<String>,
}

impl RolloutsBody {
    /// The list, with counts in place of the progress.
    pub(super) fn new(kept: Kept) -> Self {
        let Kept { understood, not_understood } = kept;
        let not_understood = not_understood.into_iter().map(|rollout| rollout.id).collect();
        let body = |rollout: &Rollout| {
            let counts = rollout.figures.map(FiguresBody::from);
            RolloutBody { counts, ..RolloutBody::new(rollout) }
        };
        Self { rollouts: understood.iter().map(body).collect(), not_understood }
    }
}

impl RolloutBody {
    /// A rollout that has not begun. `names_users`: with the users of each wave.
    pub(super) fn planned(
        PlannedRollout { rollout, waves, preview, stopped: _ }: PlannedRollout,
        names_users: bool,
    ) -> Self {
        let mut by_wave: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (user, wave) in waves {
            by_wave.entry(wave).or_default().push(user.to_string());
        }
        let all = by_wave.values().map(Vec::len).sum();
        let wave = |(wave, ids): (u32, Vec<String>)| WaveBody {
            wave,
            users: ids.len(),
            through: 0,
            user_ids: names_users.then_some(ids),
        };
        let progress = ProgressBody {
            percent: 0,
            users: Figures { all, waiting: all, ..Figures::default() }.into(),
            waves: by_wave.into_iter().map(wave).collect(),
            failed: Vec::new(),
            skipped: BTreeMap::new(),
            wave: Some(0),
            waits_for: None,
            goes_on_at: None,
            users_per_minute: None,
            ends_in_seconds: None,
        };
        let plan = preview.filter(|_| names_users).map(PlanBody::new);
        let body = Self { progress: Some(progress), plan, ..Self::new(&rollout) };
        // A plan has an id, but no rollout with that id exists.
        if names_users { Self { state: "planned", ..body } } else { body }
    }

    /// A rollout with its progress.
    pub(super) fn with_progress(rollout: &Rollout, journal: &Journal, now: i64) -> Self {
        Self { progress: Some(ProgressBody::new(rollout, journal, now)), ..Self::new(rollout) }
    }

    /// The rollout without its pace, which changes every second.
    pub(super) fn without_pace(mut self) -> Self {
        if let Some(progress) = &mut self.progress {
            (progress.users_per_minute, progress.ends_in_seconds) = (None, None);
        }
        self
    }

    fn new(rollout: &Rollout) -> Self {
        let change = match &rollout.change {
            Change::Base(to) => format!("base {to}"),
            Change::Image(Some(image)) => format!("image {}", image.as_str()),
            Change::Image(None) => "no image pin".to_owned(),
            Change::Size(size) => format!("size {} CPU units, {} MiB", size.cpu(), size.memory_mib()),
            // The value is not shown: it may be a secret.
            Change::Variable { name, value: Some(_) } => format!("variable {name}"),
            Change::Variable { name, value: None } => format!("no variable {name}"),
            Change::Restart => "restart".to_owned(),
            Change::Redeploy { .. } => "redeploy".to_owned(),
        };
        Self {
            id: rollout.id.clone(),
            state: rollout.state.name(),
            direction: if rollout.is_back { "back" } else { "forward" },
            reason: rollout.reason.clone(),
            created_at: rollout.created_at.to_string(),
            created_by: rollout.created_by.clone(),
            changed_at: rollout.changed_at.to_string(),
            changed_by: rollout.changed_by.clone(),
            change,
            promoted_before: rollout.promoted_before.clone(),
            promotes: rollout.promotes,
            planned_seconds: rollout.planned_seconds,
            progress: None,
            counts: None,
            plan: None,
        }
    }
}

impl ProgressBody {
    fn new(rollout: &Rollout, journal: &Journal, now: i64) -> Self {
        let figures = Figures::of(journal);
        let (mut waves, mut failed, mut skipped) = (BTreeMap::<u32, WaveBody>::new(), BTreeMap::new(), BTreeMap::new());
        for (user, person) in &journal.people {
            let empty = WaveBody { wave: person.wave, users: 0, through: 0, user_ids: None };
            let wave = waves.entry(person.wave).or_insert(empty);
            wave.users += 1;
            match &person.stage {
                Stage::Waiting | Stage::Begun | Stage::Sent { .. } | Stage::Ready { .. } => continue,
                Stage::Done => {}
                Stage::Failed { code, detail, is_back } => {
                    let empty = FailedBody { code: code.clone(), users: 0, back: 0, messages: Vec::new() };
                    let reason = failed.entry(code.clone()).or_insert(empty);
                    reason.users += 1;
                    reason.back += usize::from(*is_back);
                    if reason.messages.len() < MOST_MESSAGES {
                        reason.messages.push(format!("{user}: {detail}"));
                    }
                }
                Stage::Skipped { why } => *skipped.entry(why.clone()).or_default() += 1,
            }
            wave.through += 1;
        }
        let through = figures.done + figures.failed + figures.skipped;
        let percent = (through * 100).checked_div(figures.all).unwrap_or(100);
        let waits_for = match plan::waits_for(rollout, journal, now) {
            plan::WaitsFor::Nothing => None,
            plan::WaitsFor::User => Some("user"),
            plan::WaitsFor::Soak => Some("soak"),
            plan::WaitsFor::Limit => Some("limit"),
            plan::WaitsFor::Window => Some("window"),
            plan::WaitsFor::Resume => Some("resume"),
        };
        let left = u64::try_from(figures.all.saturating_sub(through)).unwrap_or(u64::MAX);
        let elapsed = Timestamp::now().as_second().saturating_sub(rollout.created_at.as_second());
        let done = u64::try_from(figures.done).unwrap_or(u64::MAX);
        let is_running = rollout.state == RolloutState::Running && !rollout.is_back;
        let window = rollout.strategy.window.as_ref().filter(|_| waits_for == Some("window"));
        let opens = window.and_then(|window| Timestamp::from_millisecond(window.opens_after(now)).ok());
        let rate =
            (is_running && done > 0 && elapsed > 0).then(|| (done as f64 * 600.0 / elapsed as f64).round() / 10.0);
        let ends_in_seconds = (left * u64::try_from(elapsed).unwrap_or(0)).checked_div(done).filter(|_| is_running);
        Self {
            percent: u8::try_from(percent).unwrap_or(100),
            users: figures.into(),
            waves: waves.into_values().collect(),
            failed: failed.into_values().collect(),
            skipped,
            wave: plan::current_wave(journal),
            waits_for,
            goes_on_at: opens.map(|at| at.to_string()),
            users_per_minute: rate,
            ends_in_seconds,
        }
    }
}
