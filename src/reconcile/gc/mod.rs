//! Clean-up: reports and removes what belongs to nobody. It never removes a user's directory.
//!
//! - [`revisions`]: revisions that nothing references say themselves whose they are. They are deregistered and deleted, in the
//!   background a few at a time from left-over capacity, and all of them by [`Reconciler::gc`].
//! - [`left_over`]: services, access points, roles, locks and ended work of users who have nothing else. Only told, unless it is asked for and
//!   they have been so for a while: whoever is just being made has little yet.
//!
//! What does not carry this service's marks is never touched, whatever its name is.

mod left_over;
mod revisions;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use super::Reconciler;
use super::error::ConvergeError;
use crate::domain::{UserId, with_causes};
use crate::ledger::Hold;
pub use revisions::Sweep;
pub(super) use revisions::owner;

/// How often a page of the family is checked in the background.
const EVERY: Duration = Duration::from_secs(300);
/// The pause before the first check after a start, which often follows a kill. Also the shortest pause before the next one,
/// for what has become old enough.
const SOON: Duration = Duration::from_secs(10);

/// The options of a clean-up.
#[derive(Debug, Clone, Copy)]
pub struct Gc {
    /// Whether it removes what it finds; otherwise it only reports.
    pub applies: bool,
    /// For how long something must have belonged to nobody.
    pub grace: Duration,
    /// The time from which ages are counted.
    pub now: Timestamp,
}

impl Gc {
    /// Whether something that has belonged to nobody since `since` may be removed.
    fn is_due(&self, since: Timestamp) -> bool {
        since.as_second().saturating_add(i64::try_from(self.grace.as_secs()).unwrap_or(i64::MAX))
            <= self.now.as_second()
    }
}

/// Something that belongs to nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOver {
    /// `task_definition`, `access_point`, `role`, `service`, `lock` or `pending`.
    pub kind: &'static str,
    /// Its name or ARN. The path for an access point: a reader of its id may be able to mount it.
    pub id: String,
    /// The user it belonged to, if it names one.
    pub user: Option<UserId>,
    /// Why it belongs to nobody.
    pub why: &'static str,
    /// What happens to it.
    pub fate: Fate,
}

/// What happens to something that belongs to nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It would be removed.
    Due,
    /// It was removed.
    Removed,
    /// It has belonged to nobody only for a short time.
    Waits,
    /// Somebody works on its user.
    Busy,
    /// It does not carry this service's marks, and is left alone.
    NotOurs,
    /// It could not be removed; the text says why.
    Failed(String),
}

impl Fate {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Removed => "removed",
            Self::Waits => "waits",
            Self::Busy => "busy",
            Self::NotOurs => "not_ours",
            Self::Failed(_) => "failed",
        }
    }
}

impl Reconciler {
    /// Sweeps revisions until the process shuts down.
    pub fn sweep_in_background(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.running.spawn(async move {
            let (mut sweep, mut pause) = (Sweep::default(), SOON);
            loop {
                // Replicas that started together must not check at the same time.
                let pause_now = pause.mul_f64(0.5 + fastrand::f64());
                tokio::select! {
                    () = this.stopping.cancelled() => return,
                    () = sleep(pause_now) => {}
                }
                if let Err(error) = this.sweep(&mut sweep, Timestamp::now()).await {
                    tracing::warn!(error = %with_causes(&error), "left-over revisions could not be looked for");
                }
                pause = sweep.due_in(Timestamp::now()).map_or(EVERY, |due| due.clamp(SOON, EVERY));
            }
        });
    }

    /// Finds everything that belongs to nobody, with the priority of background work, and removes what is due if `gc` says
    /// so. It can be repeated at any time, and beside others.
    ///
    /// # Errors
    /// The reason why it could not look. What could not be removed is reported in the list.
    pub async fn gc(self: &Arc<Self>, gc: Gc) -> Result<Vec<LeftOver>, ConvergeError> {
        let there = self.there().await?;
        let mut found = there.not_ours.clone();
        found.extend(self.left_over_revisions(gc, &there.revisions).await?);
        found.extend(self.left_over_of_users(gc, &there).await?);
        found.sort_by(|one, other| (one.kind, &one.id).cmp(&(other.kind, &other.id)));
        Ok(found)
    }
}

/// Adds it to what was found. A removal is audited at once, whatever follows.
fn told(found: &mut Vec<LeftOver>, left: LeftOver) {
    if left.fate == Fate::Removed {
        let LeftOver { kind, id, user, .. } = &left;
        let user_id = user.as_ref().map(UserId::as_str);
        tracing::info!(target: "audit", caller = "gc", operation = "remove_left_over", kind, id, user_id, "audit");
    }
    found.push(left);
}

/// Removes the lock file that taking the lock created: a lock file means that the user may have something.
async fn forget_if_new(held: Box<dyn Hold>) {
    if held.is_new()
        && let Err(error) = held.remove().await
    {
        tracing::warn!(error = %with_causes(&error), "a lock file stays behind");
    }
}

/// The services that exist.
#[derive(Debug, Default)]
struct There {
    /// By user.
    users: BTreeMap<UserId, UserService>,
    /// ARNs of revisions that one of them names.
    revisions: HashSet<String>,
    /// Services whose name looks like a user's and that lack the marks.
    not_ours: Vec<LeftOver>,
}

/// A service that carries the marks of a user.
#[derive(Debug)]
struct UserService {
    /// When it was created, in seconds of the Unix epoch.
    created_at_seconds: Option<i64>,
    /// Whether it is of this service's base family.
    is_of_family: bool,
}
