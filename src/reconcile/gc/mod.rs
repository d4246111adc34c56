//! Clean-up: what belongs to nobody, told and taken away. A user's directory never is.
//!
//! - [`revisions`]: revisions that nothing references say themselves whose they are. They are deregistered and deleted, in the
//!   background a few at a time from left-over capacity, and all of them by [`Reconciler::gc`].
//! - [`left_over`]: services, access points, roles, locks and ended work of users who have nothing else. Only told, unless it is asked for and
//!   they have been so for a while: whoever is just being made has little yet.
//!
//! What does not carry this service's marks is never touched, whatever its name.

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

/// How often a page of the family is looked at in the background.
const EVERY: Duration = Duration::from_secs(300);
/// When the first one is, after a start, which often comes after a kill; and how soon after a look there is another one, for what has
/// become old enough.
const SOON: Duration = Duration::from_secs(10);

/// How clean-up is to go.
#[derive(Debug, Clone, Copy)]
pub struct Gc {
    /// Takes away what it finds; else it only tells.
    pub applies: bool,
    /// For how long something has to belong to nobody.
    pub grace: Duration,
    /// What ages are counted from.
    pub now: Timestamp,
}

impl Gc {
    /// Whether something that has been so since `since` may go.
    fn is_due(&self, since: Timestamp) -> bool {
        since.as_second().saturating_add(i64::try_from(self.grace.as_secs()).unwrap_or(i64::MAX))
            <= self.now.as_second()
    }
}

/// What belongs to nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOver {
    /// `task_definition`, `access_point`, `role`, `service`, `lock` or `pending`.
    pub kind: &'static str,
    /// Its name or ARN. Of an access point the path: whoever knows its id may be able to mount it.
    pub id: String,
    /// Whose it was, if it says so.
    pub user: Option<UserId>,
    /// Why it belongs to nobody.
    pub why: &'static str,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of something that belongs to nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It would be removed.
    Due,
    /// It was removed.
    Removed,
    /// It has not belonged to nobody for long enough.
    Waits,
    /// Somebody works on its user.
    Busy,
    /// It does not carry this service's marks, and is left alone.
    NotOurs,
    /// It could not be removed, in words.
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
    /// Sweeps revisions until the process goes down.
    pub fn sweep_in_background(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.running.spawn(async move {
            let (mut sweep, mut pause) = (Sweep::default(), SOON);
            loop {
                // Replicas that started together do not look together.
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

    /// Finds everything that belongs to nobody, in the turn of the background, and removes what is due if `gc` says so. It can be
    /// run again at any time, and beside others.
    ///
    /// # Errors
    /// What kept it from looking. What could not be removed is told in its place.
    pub async fn gc(self: &Arc<Self>, gc: Gc) -> Result<Vec<LeftOver>, ConvergeError> {
        let there = self.there().await?;
        let mut found = there.not_ours.clone();
        found.extend(self.left_over_revisions(gc, &there.revisions).await?);
        found.extend(self.left_over_of_users(gc, &there).await?);
        found.sort_by(|one, other| (one.kind, &one.id).cmp(&(other.kind, &other.id)));
        Ok(found)
    }
}

/// Puts it with what was found; what is gone is audited at once, whatever comes after it.
fn told(found: &mut Vec<LeftOver>, left: LeftOver) {
    if left.fate == Fate::Removed {
        let LeftOver { kind, id, user, .. } = &left;
        let user_id = user.as_ref().map(UserId::as_str);
        tracing::info!(target: "audit", caller = "gc", operation = "remove_left_over", kind, id, user_id, "audit");
    }
    found.push(left);
}

/// Whoever is gone stays so: a lock file says that there may be something.
async fn forget_if_new(held: Box<dyn Hold>) {
    if held.is_new()
        && let Err(error) = held.remove().await
    {
        tracing::warn!(error = %with_causes(&error), "a lock file stays behind");
    }
}

/// The services that there are.
#[derive(Debug, Default)]
struct There {
    /// By their users.
    users: BTreeMap<UserId, UserService>,
    /// ARNs of revisions that one of them names.
    revisions: HashSet<String>,
    /// Those with a name like theirs and without their marks.
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
