//! Starting a rollout: which users are moved in which wave, and what prevents the start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use openclaw::{Invalid, OpenClawVersion};

use super::forecast::{self, Load};
use super::preview::{Preview, is_stopped};
use super::words::{Canaries, Change, Event, Rollout, RolloutState, Select, Strategy, lines};
use super::{Inner, RolloutError, Rollouts, named, plan, read};
use crate::domain::{RolloutOrder, State, UserId, with_causes};
use crate::fleet::{Facts, ListRefused, Listed};
use crate::reconcile::{Caller, ConvergeError};

/// How old the list may be from which a rollout starts. Users who come after it are moved at the end.
const FRESH: Duration = Duration::from_secs(30);
/// From this release on OpenClaw keeps sign-ins in a store that no earlier one reads (docs/guarantees.md).
const STORE_SINCE: OpenClawVersion = OpenClawVersion::new(2026, 6, 5);
/// How long, and how many, rollouts are kept after their end.
const KEPT_SECONDS: i64 = 90 * 24 * 3600;
const MOST_KEPT: usize = 50;

/// The rollout that a caller wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The users that it includes.
    pub select: Select,
    /// What it changes.
    pub change: Change,
    /// How it does so.
    pub strategy: Strategy,
    /// Whether the base is promoted at the end; `None`: if it includes everybody.
    pub promotes: Option<bool>,
    /// Whether it may cross a release boundary that has no way back.
    pub accepts_no_way_back: bool,
    /// The digest of the plan that it has to match.
    pub plan: Option<String>,
}

/// A rollout that could be started.
#[derive(Debug, Clone)]
pub struct PlannedRollout {
    /// The rollout.
    pub rollout: Rollout,
    /// The users that would be moved, each with their wave.
    pub waves: BTreeMap<UserId, u32>,
    /// The users whose container is stopped.
    pub stopped: BTreeSet<UserId>,
    /// What would be done to each user, if that was asked for.
    pub preview: Option<Preview>,
}

impl Rollouts {
    /// Which users would be moved, and what would be done to them. Nothing is written.
    ///
    /// # Errors
    /// The reason why it cannot be started.
    pub async fn plan(&self, by: &Caller, wanted: Wanted) -> Result<PlannedRollout, RolloutError> {
        self.0.plan(by, wanted, true).await
    }

    /// Starts a rollout. It is durable when this returns; a replica's runner takes it up.
    ///
    /// # Errors
    /// The reason why it cannot be started. Nothing is begun then.
    pub async fn start(&self, by: &Caller, wanted: Wanted) -> Result<PlannedRollout, RolloutError> {
        let inner = &self.0;
        inner.refuse_beside_others().await?;
        let held_to = wanted.plan.clone();
        let planned = inner.plan(by, wanted, held_to.is_some()).await?;
        let PlannedRollout { rollout, waves, stopped, preview } = &planned;
        if let Some(held_to) = held_to
            && preview.as_ref().is_none_or(|preview| preview.digest != held_to)
        {
            return Err(RolloutError::PlanChanged);
        }
        let id = &rollout.id;
        let selected = waves.iter().map(|(user, wave)| {
            let is_stopped = stopped.contains(user);
            (user.clone(), Event::Selected { wave: *wave, is_stopped })
        });
        // Its users first: without the rollout they mean nothing.
        inner.ledger.append(id, lines(selected), None).await?;
        let written = serde_json::to_value(rollout).unwrap_or_default();
        if !inner.ledger.put_rollout(id, None, Some(written.clone())).await? {
            return Err(ConvergeError::Contended.into());
        }
        // If two were started at once, the first one counts.
        let earlier = inner.unfinished().await?.into_iter().find(|other| other.id < *id);
        if let Some(earlier) = earlier {
            inner.ledger.put_rollout(id, Some(written), None).await?;
            return Err(RolloutError::UnderWay { id: earlier.id });
        }
        let users = waves.len();
        tracing::info!(target: "audit", caller = by.name(), operation = "start_rollout", rollout_id = id, users, "audit");
        if let Err(error) = inner.mark(rollout).await {
            // It is started: the runner writes the mark before anything else.
            tracing::warn!(error = %with_causes(&error), "the start of a rollout could not be written into the promotion");
        }
        inner.forget_old().await;
        Ok(planned)
    }
}

impl Inner {
    async fn plan(&self, by: &Caller, wanted: Wanted, previews: bool) -> Result<PlannedRollout, RolloutError> {
        let Wanted { select, change, strategy, promotes, accepts_no_way_back, plan: held_to } = wanted;
        let release = match &change {
            Change::Base(revision) => {
                let image = self.reconciler.base_image(revision).await.map_err(|error| match error {
                    ConvergeError::Promoted(why) => RolloutError::Invalid(why.of_field("change.base_revision")),
                    other => other.into(),
                })?;
                OpenClawVersion::from_image(&image).ok()
            }
            Change::Image(Some(image)) => OpenClawVersion::from_image(image.as_str()).ok(),
            Change::Redeploy { image: Some(Some(image)), .. } => OpenClawVersion::from_image(image.as_str()).ok(),
            Change::Image(None)
            | Change::Size(_)
            | Change::Variable { .. }
            | Change::Restart
            | Change::Redeploy { .. } => None,
        };
        // A start with a plan is compared with the present.
        let within = if held_to.is_some() { Duration::ZERO } else { FRESH };
        let with_facts = previews || needs_facts(&select) || release.is_some();
        let mut listed = self.listed(within, with_facts).await?;
        let has = |listed: &[Listed], user: &UserId| listed.iter().any(|listed| listed.user == *user);
        let is_behind = select.users.as_ref().is_some_and(|users| users.iter().any(|user| !has(&listed, user)));
        if is_behind || listed.is_empty() {
            // The list does not have users who came since.
            listed = self.listed(Duration::ZERO, with_facts).await?;
        }
        let chosen = chosen(&listed, &select)?;
        if !accepts_no_way_back && let Some(release) = release.filter(|release| *release >= STORE_SINCE) {
            let crosses = |listed: &&&Listed| {
                let version = listed.definition.as_ref().and_then(|facts| facts.version);
                version.is_some_and(|version| version < STORE_SINCE)
            };
            let crossing: Vec<&UserId> = chosen.iter().filter(crosses).map(|listed| &listed.user).collect();
            if !crossing.is_empty() {
                let problem = format!("there is no way back from {release} for {}", named(&crossing));
                let fix = "try it on canaries by name first; then send true";
                return Err(Invalid::new("accept_no_way_back", problem, fix).into());
            }
        }
        let users: BTreeSet<UserId> = chosen.iter().map(|listed| listed.user.clone()).collect();
        let stopped = chosen.iter().filter(|listed| is_stopped(listed)).map(|listed| listed.user.clone()).collect();
        if users.is_empty() {
            let fix = "see `list` for the users that exist";
            return Err(Invalid::new("select", "it leaves everybody out", fix).into());
        }
        if let Canaries::Named(canaries) = &strategy.canaries {
            let elsewhere: Vec<&UserId> = canaries.iter().filter(|canary| !users.contains(canary)).collect();
            if !elsewhere.is_empty() {
                let problem = format!("{} is not among the users of the rollout", named(&elsewhere));
                return Err(
                    Invalid::new("strategy.canary_users", problem, "name users of the rollout, or a number").into()
                );
            }
        }
        let promoted_before = match &change {
            Change::Base(_) => Some(self.promoted_before(&listed).await?),
            Change::Image(_)
            | Change::Size(_)
            | Change::Variable { .. }
            | Change::Restart
            | Change::Redeploy { .. } => None,
        };
        let waves = plan::waves(&users, &strategy.canaries, &strategy.waves);
        let now = Timestamp::now();
        let mut rollout = Rollout {
            id: format!("{}-{:04x}", now.strftime("%Y%m%d-%H%M%S"), fastrand::u16(..)),
            created_at: now,
            created_by: by.name().to_owned(),
            promotes: matches!(change, Change::Base(_)) && promotes.unwrap_or(select.is_everybody()),
            select,
            change,
            strategy,
            promoted_before,
            state: RolloutState::Running,
            is_back: false,
            reason: None,
            accepted_failures: 0,
            changed_by: by.name().to_owned(),
            changed_at: now,
            planned_seconds: 0,
            is_at_end: false,
            figures: None,
        };
        let preview = if previews { Some(self.preview(&rollout, &waves, &listed).await?) } else { None };
        let (preview, seconds) = preview.unzip();
        rollout.planned_seconds = seconds.unwrap_or_else(|| self.expected(&rollout, &waves));
        Ok(PlannedRollout { rollout, waves, stopped, preview })
    }

    /// Refuses a second rollout at the same time; one that cannot be read may be going on.
    async fn refuse_beside_others(&self) -> Result<(), RolloutError> {
        let kept = self.kept().await?;
        if let Some(other) = kept.understood.into_iter().find(|other| !other.state.is_over()) {
            return Err(RolloutError::UnderWay { id: other.id });
        }
        match kept.not_understood.into_iter().find(|other| !other.is_over) {
            Some(other) => Err(RolloutError::NotUnderstood { id: other.id }),
            None => Ok(()),
        }
    }

    /// How many changes of its service one user's running container needs.
    pub(super) fn updates_of_running(&self, rollout: &Rollout) -> u32 {
        match rollout.strategy.order.unwrap_or(self.reconciler.rollout_order()) {
            // One call stops the task, and one starts the next.
            RolloutOrder::Strict => 2,
            RolloutOrder::StopFirst => 1,
        }
    }

    /// How long it takes if a revision is registered for everybody.
    fn expected(&self, rollout: &Rollout, waves: &BTreeMap<UserId, u32>) -> u64 {
        let mut loads: BTreeMap<u32, Load> = BTreeMap::new();
        let registers = u32::from(rollout.change != Change::Restart);
        let updates = self.updates_of_running(rollout);
        for wave in waves.values() {
            loads.entry(*wave).or_default().add(registers, updates, true);
        }
        forecast::seconds(&loads.into_values().collect::<Vec<_>>(), &rollout.strategy, self.reconciler.limits())
    }

    /// Every user, from a list that is at most that old.
    async fn listed(&self, within: Duration, with_facts: bool) -> Result<Vec<Listed>, ListRefused> {
        let mut listed = match with_facts {
            true => self.roster.everybody_with_definitions(within).await?,
            false => self.roster.everybody(within).await?,
        };
        listed.retain(|listed| listed.state != State::Deleting);
        Ok(listed)
    }

    /// Users that the rollout does not have yet, and whether their container is stopped.
    pub(super) async fn late_comers(
        &self,
        within: Duration,
        known: impl Fn(&UserId) -> bool,
    ) -> Result<Vec<(UserId, bool)>, ListRefused> {
        let listed = self.listed(within, false).await?;
        let new = listed.into_iter().filter(|listed| !known(&listed.user));
        Ok(new.map(|listed| (listed.user.clone(), is_stopped(&listed))).collect())
    }

    /// Removes rollouts that ended long ago. A failure is harmless.
    async fn forget_old(&self) {
        let Ok(mut all) = self.ledger.rollouts().await else { return };
        all.sort_by(|(one, _), (other, _)| other.cmp(one));
        let oldest = Timestamp::now().as_second() - KEPT_SECONDS;
        for (at, (id, written)) in all.into_iter().enumerate() {
            let Some(rollout) = written.clone().and_then(read) else { continue };
            let is_old = rollout.state.is_over() && (at >= MOST_KEPT || rollout.changed_at.as_second() < oldest);
            if is_old && let Err(error) = self.ledger.put_rollout(&id, written, None).await {
                tracing::warn!(error = %with_causes(&error), "an old rollout could not be forgotten");
            }
        }
    }
}

/// Whether it needs facts that only users' definitions have.
fn needs_facts(select: &Select) -> bool {
    select.base.is_some() || select.release.is_some() || !select.labels.is_empty()
}

fn has_labels(facts: &Facts, select: &Select) -> bool {
    let Some(origin) = &facts.origin else { return false };
    select.labels.iter().all(|(name, value)| origin.spec.labels.get(name) == Some(value))
}

fn chosen<'a>(listed: &'a [Listed], select: &Select) -> Result<Vec<&'a Listed>, RolloutError> {
    if let Some(users) = &select.users {
        let there: BTreeSet<&UserId> = listed.iter().map(|listed| &listed.user).collect();
        let missing: Vec<&UserId> = users.iter().filter(|user| !there.contains(user)).collect();
        if !missing.is_empty() {
            let problem = format!("there is no container of {}", named(&missing));
            return Err(Invalid::new("select.users", problem, "leave out users who have no container").into());
        }
    }
    let is_chosen = |listed: &&Listed| {
        let facts = listed.definition.as_ref();
        select.users.as_ref().is_none_or(|users| users.contains(&listed.user))
            && select.base.as_ref().is_none_or(|base| facts.and_then(|facts| facts.base.as_deref()) == Some(base))
            && select.release.is_none_or(|release| facts.and_then(|facts| facts.version) == Some(release))
            && select.percent.is_none_or(|percent| plan::is_in_percent(&listed.user, percent))
            && !(select.only_running && listed.state == State::Stopped)
            && (select.states.is_empty() || select.states.contains(&listed.state))
            && (select.labels.is_empty() || facts.is_some_and(|facts| has_labels(facts, select)))
    };
    Ok(listed.iter().filter(is_chosen).collect())
}
