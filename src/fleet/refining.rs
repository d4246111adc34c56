//! What ECS does not know of watched containers: whether a gateway answers, and what the user's files say. It is asked beside
//! the readings, for each user separately, so that a gateway that does not answer delays only its own user's report.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::definitions::Facts;
use super::sights::{Shared, Sight};
use crate::aws::AwsError;
use crate::domain::service::{Service, Task};
use crate::domain::{Coordinates, Status, UserId};
use crate::reconcile::Refined as Looked;

/// Users that are refined at the same time; each may hold a socket.
const AT_A_TIME: usize = 256;

/// The users that are being refined. Dropping it ends all of the work.
pub(super) struct Refining {
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
    running: JoinSet<Option<Refined>>,
    /// What each was refined from, and how to end it.
    of: HashMap<UserId, (Service, Status, AbortHandle)>,
}

/// A refined status, which holds as long as the service stays as it was.
pub(super) struct Refined {
    pub(super) user: UserId,
    pub(super) service: Service,
    pub(super) derived: Status,
    pub(super) status: Status,
}

impl Refining {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        Self { shared, turns, running: JoinSet::new(), of: HashMap::new() }
    }

    /// Refines the status of a user, and reports it to their watchers. The same work under way goes on; work from an older
    /// status is ended.
    pub(super) fn begin(
        &mut self,
        reading: u64,
        at: &Coordinates,
        user: &UserId,
        service: Service,
        derived: Status,
        tasks: Vec<Task>,
    ) {
        if let Some((of_service, of_status, handle)) = self.of.get(user) {
            if !handle.is_finished() && *of_service == service && *of_status == derived {
                return;
            }
            handle.abort();
        }
        let (shared, turns, at, of) = (Arc::clone(&self.shared), Arc::clone(&self.turns), at.clone(), user.clone());
        let (from, status) = (service.clone(), derived.clone());
        let handle = self.running.spawn(async move {
            // Closed only when `Refining` is dropped.
            let _turn = turns.acquire_owned().await.ok()?;
            match look(&shared, &at, &of, &from, status.clone(), tasks).await {
                Ok(looked) => {
                    shared.tell(reading, &of, Sight::Seen(Arc::new(looked.status.clone())));
                    // The report does not wait for the note.
                    let (noter, user, noted) = (Arc::clone(&shared.reconciler), of.clone(), looked.clone());
                    tokio::spawn(async move { noter.note_stop(&user, &noted.status, &noted.asked_for).await });
                    let refined = Refined { user: of, service: from, derived: status, status: looked.status };
                    looked.is_whole.then_some(refined)
                }
                Err(error) => {
                    tracing::warn!(user_id = %of, %error, "a watched container could not be read");
                    shared.tell(reading, &of, Sight::Unreadable(Arc::new(error)));
                    None
                }
            }
        });
        self.of.insert(user.clone(), (service, derived, handle));
    }

    /// Waits for the next refined status; for ever while none is under way. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Option<Refined> {
        loop {
            match self.running.join_next().await {
                Some(Ok(Some(refined))) => return Some(refined),
                // It was reported already, or was ended.
                Some(Ok(None) | Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// A refined status that is there already, if any.
    pub(super) fn ended(&mut self) -> Option<Refined> {
        loop {
            if let Ok(Some(refined)) = self.running.try_join_next()? {
                return Some(refined);
            }
        }
    }

    /// Ends the work for users that are no longer watched.
    pub(super) fn keep(&mut self, is_watched: impl Fn(&UserId) -> bool) {
        self.of.retain(|user, (_, _, handle)| {
            let keep = is_watched(user);
            if !keep {
                handle.abort();
            }
            keep && !handle.is_finished()
        });
    }
}

/// The status that a look at this one user would return.
async fn look(
    shared: &Shared,
    at: &Coordinates,
    user: &UserId,
    service: &Service,
    derived: Status,
    mut tasks: Vec<Task>,
) -> Result<Looked, AwsError> {
    let reconciler = &shared.reconciler;
    let has_several = tasks.iter().any(|task| task.containers.len() > 1);
    let facts = match has_several || derived.ready && reconciler.asks_gateways() {
        true => shared.definitions.facts(&service.task_definition, user).await?,
        false => Facts::default(),
    };
    facts.watched.follow(&mut tasks);
    reconciler.refine(at, user, service, &facts.watched, derived, tasks).await
}
