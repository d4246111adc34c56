//! Response bodies for containers.

use openclaw::{Provider, Warning};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::schemas;
use crate::domain::{DirectorySize, Phase, RawSize, Reason, State, Status, UserId};
use crate::reconcile::{AcceptedWork, Cancelled, CancelledDeployment, ContainerView, Converged, NotRemoved};
use crate::staging::Staged;
use crate::storage::Sizes;

/// A user's container.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Container)]
pub(super) struct ContainerResponse {
    #[schema(schema_with = schemas::user_id)]
    user_id: String,
    state: State,
    #[schema(required)]
    phase: Option<Phase>,
    /// Whether a task of the wanted revision runs and is healthy.
    ready: bool,
    /// Name of the ECS service.
    service: String,
    /// ARN of the wanted revision.
    #[schema(required)]
    task_definition: Option<String>,
    /// Always null, and removed in the next version: a caller who knows it may be able to mount the user's files.
    #[schema(required, deprecated)]
    access_point_id: Option<String>,
    /// The image of that revision.
    #[schema(required)]
    image: Option<String>,
    /// The release of that image, if it is known.
    #[schema(required)]
    openclaw_version: Option<String>,
    #[schema(required, value_type = Option<Provider>)]
    provider: Option<&'static str>,
    #[schema(required)]
    size: Option<RawSize>,
    /// The base that the revision was rendered from, `<family>:<revision>`.
    #[schema(required)]
    base_task_definition: Option<String>,
    /// The result of the sign-in that was sent, or the state of the sign-in that is there.
    #[schema(schema_with = schemas::credentials, required)]
    credentials: Option<&'static str>,
    /// Why it was written or kept.
    #[schema(required)]
    credentials_reason: Option<&'static str>,
    /// Whether the user has to sign in again; null if this was not checked.
    #[schema(required)]
    reauth_required: Option<bool>,
    /// Reasons why the user may not be signed in although the call succeeded.
    warnings: Vec<WarningBody>,
    #[schema(required)]
    reason: Option<Reason>,
    /// Accepted work that is not done, or why it ended; null if there is none, and while the files do not answer.
    #[schema(required)]
    accepted: Option<AcceptedBody>,
    /// The size of the user's directory, once it was measured; only in the answer to a `GET` of this container.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    directory: Option<DirectoryBody>,
    /// Resources that a forced delete could not remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    not_removed: Vec<NotRemovedBody>,
}

/// Accepted work: it is done even if the replica that accepted it stops.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Accepted)]
pub(super) struct AcceptedBody {
    /// The last operation that was asked for.
    operation: String,
    /// When its first request was accepted, or when it ended.
    #[schema(format = DateTime)]
    since: String,
    /// Its place among all users with accepted work; the oldest is 1; null once it is being done.
    #[schema(required)]
    position: Option<u64>,
    /// Why it ended without success: only another request can repair that. Null while it goes on.
    #[schema(required)]
    code: Option<String>,
    /// The same in words.
    #[schema(required)]
    detail: Option<String>,
}

impl From<AcceptedWork> for AcceptedBody {
    fn from(work: AcceptedWork) -> Self {
        let AcceptedWork { operation, since, position, ended, .. } = work;
        let (code, detail) = ended.map(|ended| (ended.code, ended.detail)).unzip();
        Self { operation, since: since.to_string(), position, code, detail }
    }
}

/// The size of a user's directory when it was last walked.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Directory)]
pub(super) struct DirectoryBody {
    /// Bytes on the file system.
    bytes: u64,
    /// Number of files and directories in it, at all levels.
    entries: u64,
    /// Whether all of it was walked; otherwise it holds at least this much.
    complete: bool,
    #[schema(format = DateTime)]
    measured_at: String,
}

impl From<DirectorySize> for DirectoryBody {
    fn from(size: DirectorySize) -> Self {
        let DirectorySize { bytes, entries, complete, measured_at } = size;
        Self { bytes, entries, complete, measured_at: measured_at.to_string() }
    }
}

/// A resource that a forced delete could not remove.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotRemoved)]
struct NotRemovedBody {
    /// Its kind.
    what: &'static str,
    /// Its ARN or id, if it has one.
    #[schema(required)]
    id: Option<String>,
    /// Why it could not be removed.
    error: String,
}

/// Something that the caller should know although the call succeeded.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Warning)]
pub(super) struct WarningBody {
    /// The stable name.
    code: &'static str,
    /// In words, with what to do about it.
    message: String,
}

pub(super) fn warned(warnings: &[Warning]) -> Vec<WarningBody> {
    warnings.iter().map(|warning| WarningBody { code: warning.code(), message: warning.to_string() }).collect()
}

impl ContainerResponse {
    /// The response after a converge.
    pub(super) fn of_converged(user: &UserId, on_the_way: State, converged: Converged) -> Self {
        let warnings = warned(&converged.warnings());
        let Converged { view, sign_in, not_removed, .. } = converged;
        let left = |left: NotRemoved| NotRemovedBody { what: left.what, id: left.shown_id(), error: left.error };
        let not_removed = not_removed.into_iter().map(left).collect();
        let result = sign_in.map(|sign_in| sign_in.result);
        let (credentials, credentials_reason) = result.as_ref().and_then(|result| result.staged).map(said).unzip();
        let reauth_required = result.map(|result| result.reauth_required);
        let response = match view {
            Some(view) => Self::of_view(user, view, credentials),
            None => Self::unseen(user, on_the_way),
        };
        Self { credentials_reason, reauth_required, warnings, not_removed, ..response }
    }

    /// The response after a look.
    pub(super) fn of_view(user: &UserId, view: ContainerView, credentials: Option<&'static str>) -> Self {
        let ContainerView { service, current, status, .. } = view;
        let Status { state, phase, ready, reason } = status;
        let mut response = Self {
            phase,
            ready,
            service: service.name,
            task_definition: Some(service.task_definition),
            credentials,
            reason,
            ..Self::unseen(user, state)
        };
        if let Some(current) = current {
            response.warnings = warned(&current.warnings());
            response.task_definition = Some(current.arn);
            response.openclaw_version = current.release.version().map(|version| version.to_string());
            response.provider = Some(current.spec.provider.name());
            response.image = Some(current.image);
            response.size = current.cpu.zip(current.memory_mib).map(|(cpu, memory_mib)| RawSize { cpu, memory_mib });
            response.base_task_definition = current.base;
        }
        response
    }

    /// The response for a user without a service whose work was accepted.
    pub(super) fn of_accepted(user: &UserId, status: Status, work: AcceptedWork) -> Self {
        let Status { state, phase, ready, reason } = status;
        Self { phase, ready, reason, ..Self::unseen(user, state) }.with_accepted(Some(work))
    }

    /// Adds accepted work.
    pub(super) fn with_accepted(mut self, work: Option<AcceptedWork>) -> Self {
        if work.as_ref().is_some_and(AcceptedWork::is_deleting) {
            // ECS shows this only once the service itself is deleted, after its tasks have stopped.
            (self.state, self.phase, self.ready) = (State::Deleting, None, false);
        }
        Self { accepted: work.map(AcceptedBody::from), ..self }
    }

    /// Adds the size of the user's directory, and a warning if it is above the soft limit.
    pub(super) fn with_directory(mut self, user: &UserId, sizes: &Sizes) -> Self {
        let size = sizes.of(user);
        if let Some((size, limit)) = size.and_then(|size| Some((size, sizes.limit_below(&size)?))) {
            self.warnings.extend(warned(&[Warning::DirectoryAboveSoftLimit { bytes: size.bytes, limit }]));
        }
        Self { directory: size.map(DirectoryBody::from), ..self }
    }

    /// The response without data from ECS.
    fn unseen(user: &UserId, state: State) -> Self {
        Self {
            user_id: user.to_string(),
            state,
            phase: None,
            ready: false,
            service: user.service_name(),
            task_definition: None,
            access_point_id: None,
            image: None,
            openclaw_version: None,
            provider: None,
            size: None,
            base_task_definition: None,
            credentials: None,
            credentials_reason: None,
            reauth_required: None,
            warnings: Vec::new(),
            reason: None,
            accepted: None,
            directory: None,
            not_removed: Vec::new(),
        }
    }
}

pub(super) fn said(staged: Staged) -> (&'static str, &'static str) {
    (staged.outcome.name(), staged.reason.name())
}

/// The answer to a cancel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CancelledContainer)]
pub(super) struct CancelResponse {
    cancelled: CancelledBody,
    #[serde(flatten)]
    container: ContainerResponse,
}

/// What a cancel has cancelled.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cancelled)]
struct CancelledBody {
    /// Number of operations.
    operations: usize,
    /// Whether one of them was another replica's.
    at_work_elsewhere: bool,
    /// What was done with the deployment that ECS had in progress.
    #[schema(schema_with = schemas::cancelled_deployment, required)]
    deployment: Option<&'static str>,
}

impl CancelResponse {
    pub(super) fn new(user: &UserId, cancelled: Cancelled) -> Self {
        let deployment = cancelled.deployment.map(|deployment| match deployment {
            CancelledDeployment::RolledBack => "rolled_back",
            CancelledDeployment::ScaledToZero => "scaled_to_zero",
        });
        let Cancelled { operations, at_work_elsewhere, deployment: _, view } = cancelled;
        let container = ContainerResponse::of_view(user, view, None);
        Self { cancelled: CancelledBody { operations, at_work_elsewhere, deployment }, container }
    }
}
