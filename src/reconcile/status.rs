//! Looking at a user. Reading changes nothing (incident 17).

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::Reconciler;
use super::error::ConvergeError;
use super::plan::Refusal;
use crate::aws::{AwsError, ErrorKind, ListedTasks, RegisteredDefinition};
use crate::domain::service::{Service, ServiceDeploymentState, ServiceStatus, Task, is_newer_revision, revision};
use crate::domain::{
    Coordinates, CurrentDefinition, LastStop, State, Status, UserId, derive_status, rolled_back_from, running_task,
    with_causes,
};
use crate::probe::{GatewayAt, ProbeKind};

/// A user's container as ECS shows it at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerView {
    /// The service.
    pub service: Service,
    /// The revision that the service names; `None` while deleting.
    pub current: Option<CurrentDefinition>,
    /// The status that follows from both and from the tasks.
    pub status: Status,
    /// The private address of the task that the PRIMARY deployment runs.
    pub host: Option<String>,
    /// ARN of the requested revision: the service's, unless ECS went back from another one.
    pub asked_for: String,
    /// Whether that task is healthy. It can be without `status.ready` being set, when ECS went back from the requested
    /// revision.
    pub serves: bool,
}

/// A status and what it depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refined {
    /// The status.
    pub status: Status,
    /// As [`ContainerView::asked_for`].
    pub asked_for: String,
    /// As [`ContainerView::serves`].
    pub serves: bool,
    /// Whether the files answered. Without them, a rollback that is over may look like what was asked for.
    pub is_whole: bool,
}

/// The parts of a definition that a status depends on: the container that runs OpenClaw, and its gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Name of the container.
    pub container: Option<Arc<str>>,
    /// Its gateway.
    pub gateway: GatewayAt,
}

impl Watched {
    /// Taken from a user's revision.
    #[must_use]
    pub fn of(current: &CurrentDefinition) -> Self {
        let gateway = GatewayAt { port: current.named_port, release: current.release.version() };
        Self { container: Some(current.container.as_str().into()), gateway }
    }

    /// Makes tasks report on that container.
    pub fn follow(&self, tasks: &mut [Task]) {
        if let Some(container) = &self.container {
            tasks.iter_mut().for_each(|task| task.follow(container));
        }
    }
}

impl Reconciler {
    /// Looks at a user's container.
    ///
    /// # Errors
    /// `Refused(NotFound)` when there is none.
    pub async fn look(&self, user: &UserId) -> Result<ContainerView, ConvergeError> {
        let at = self.coordinates();
        let found = self.describe_current(&at, user).await?;
        let Some(service) = found.filter(|service| service.status != ServiceStatus::Inactive) else {
            return Err(Refusal::NotFound.into());
        };
        self.view(&at, user, service, None).await
    }

    /// The view of a service whose state was just read or written.
    pub(super) async fn view(
        &self,
        at: &Coordinates,
        user: &UserId,
        service: Service,
        known: Option<CurrentDefinition>,
    ) -> Result<ContainerView, ConvergeError> {
        let current = async {
            match (known, service.status) {
                (Some(known), _) => Ok(Some(known)),
                (None, ServiceStatus::Active) => {
                    let found = self.aws.ecs.describe_task_definition(&service.task_definition).await?;
                    let found = found.map(|RegisteredDefinition { document, .. }| document).unwrap_or_default();
                    Ok::<_, ConvergeError>(Some(CurrentDefinition::parse(&found, user)?))
                }
                (None, ServiceStatus::Draining | ServiceStatus::Inactive) => Ok(None),
            }
        };
        let running = async { Ok(self.aws.ecs.tasks_of(&at.cluster, &service.name, ListedTasks::Running).await?) };
        let (current, mut tasks) = tokio::try_join!(current, running)?;
        let watched = current.as_ref().map_or_else(Watched::default, Watched::of);
        watched.follow(&mut tasks);
        let has_health_check = current.as_ref().is_some_and(|current| current.has_health_check);
        let derive = |tasks: &[Task]| derive_status(&service, tasks, has_health_check).ok_or(Refusal::NotFound);
        let mut status = derive(&tasks)?;
        let host = running_task(&service, &tasks).and_then(|task| task.private_ip.clone());
        if !status.ready {
            // A stopped task says why; ListTasks hides it unless it is asked for.
            tasks.extend(self.aws.ecs.tasks_of(&at.cluster, &service.name, ListedTasks::Stopped).await?);
            watched.follow(&mut tasks);
            status = derive(&tasks)?;
        }
        let refined = self.refine(at, user, &service, &watched, status, tasks).await?;
        let Refined { status, asked_for, serves, is_whole: _ } = refined;
        Ok(ContainerView { service, current, status, host, asked_for, serves })
    }

    /// Adds to a status what it cannot show, being derived from the service and its tasks: whether the gateway answers,
    /// whether ECS went back from what was asked for, and why a container stopped that ECS has forgotten. The last two are
    /// on file; while the file system does not answer, they are left out.
    ///
    /// # Errors
    /// The AWS error, when a call failed.
    pub async fn refine(
        &self,
        at: &Coordinates,
        user: &UserId,
        service: &Service,
        watched: &Watched,
        mut status: Status,
        tasks: Vec<Task>,
    ) -> Result<Refined, AwsError> {
        if self.deletions.has(user) || self.is_being_deleted(user).await {
            // Its tasks stop first; ECS calls the service ACTIVE until they have stopped.
            let asked_for = service.task_definition.clone();
            let status = Status { state: State::Deleting, phase: None, ready: false, reason: None };
            return Ok(Refined { status, asked_for, serves: false, is_whole: false });
        }
        let host = running_task(service, &tasks).and_then(|task| task.private_ip.as_deref());
        if let Some(address) = host.filter(|_| status.ready).and_then(|host| host.parse().ok())
            && let Err(problem) = self.options.gateway_probe.ask(address, watched.gateway).await
        {
            status = status.unanswered(problem);
        }
        let serves = status.ready;
        let mut asked_for = service.task_definition.clone();
        let mut is_whole = true;
        if matches!(status.state, State::Running | State::Provisioning) {
            let noted = self.hints.take(self.ledger.read(user).await);
            is_whole = noted.is_some();
            let noted = noted.flatten().unwrap_or_default().revisions;
            if let Some((newer, rolled_back)) = self.rolled_back(at, service, &status, watched, tasks, &noted).await? {
                (asked_for, status) = (newer, rolled_back);
            }
        }
        if status.reason.as_ref().is_some_and(|reason| reason.stopped_at.is_none()) {
            let noted = self.hints.take(self.ledger.last_stop(user).await);
            is_whole &= noted.is_some();
            status = status.recalling(noted.flatten(), &asked_for, Timestamp::now());
        }
        Ok(Refined { status, asked_for, serves, is_whole })
    }

    /// Whether [`Self::refine`] probes gateways, and so needs to know release and port.
    #[must_use]
    pub fn asks_gateways(&self) -> bool {
        self.options.gateway_probe.kind != ProbeKind::Off
    }

    /// Writes down why the container does not run, while ECS still knows it: for about an hour after its task stopped.
    pub async fn note_stop(&self, user: &UserId, status: &Status, asked_for: &str) {
        let Some(stop) = LastStop::of(status, asked_for, Timestamp::now()) else { return };
        self.hints.take(self.ledger.note_stop(user, stop).await);
    }

    /// The status of a service that looks steady on an older revision than the user's newest because ECS went back, and that
    /// newest revision. `noted` are the user's revisions.
    /// A newer revision is only a hint, so that an ordinary look costs no further call. ECS's record of its deployments
    /// decides: an interrupted converge leaves a newer revision too.
    async fn rolled_back(
        &self,
        at: &Coordinates,
        service: &Service,
        status: &Status,
        watched: &Watched,
        mut tasks: Vec<Task>,
        noted: &BTreeSet<String>,
    ) -> Result<Option<(String, Status)>, AwsError> {
        let newer = noted.iter().filter(|arn| is_newer_revision(arn, &service.task_definition));
        let Some(asked_for) = newer.max_by_key(|arn| revision(arn)) else { return Ok(None) };
        let newest = match self.aws.ecs.newest_service_deployment(&at.cluster, &service.name).await {
            Ok(newest) => newest,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Throttled | ErrorKind::Unanswered | ErrorKind::Unreachable | ErrorKind::NotSent
                ) =>
            {
                return Err(error);
            }
            // Some roles may not ask, and some emulators do not answer.
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "could not ask whether ECS went back");
                return Ok(None);
            }
        };
        let Some(went_back) = newest.filter(|newest| newest.state == ServiceDeploymentState::RolledBack) else {
            return Ok(None);
        };
        if status.ready {
            tasks.extend(self.aws.ecs.tasks_of(&at.cluster, &service.name, ListedTasks::Stopped).await?);
            watched.follow(&mut tasks);
        }
        Ok(Some((asked_for.clone(), rolled_back_from(asked_for, &went_back, &tasks))))
    }
}

impl ContainerView {
    /// The view right after the service was created: ECS has had no time to start a task, so no task is read.
    pub(super) fn of_new(service: Service, current: Option<CurrentDefinition>) -> Self {
        let has_health_check = current.as_ref().is_some_and(|current| current.has_health_check);
        let status = derive_status(&service, &[], has_health_check).unwrap_or(Status {
            state: State::Provisioning,
            phase: None,
            ready: false,
            reason: None,
        });
        let asked_for = service.task_definition.clone();
        Self { service, current, status, host: None, asked_for, serves: false }
    }

    /// The view of a service that is being deleted. ECS may still call it ACTIVE while its tasks stop.
    pub(super) fn of_deleting(service: Service) -> Self {
        let status = Status { state: State::Deleting, phase: None, ready: false, reason: None };
        let asked_for = service.task_definition.clone();
        Self { service, current: None, status, host: None, asked_for, serves: false }
    }
}
