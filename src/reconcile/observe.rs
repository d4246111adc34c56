//! Observing: what AWS shows of a user now. Every call reads again; nothing is cached that AWS can answer.

use std::collections::BTreeSet;
use std::time::Duration;

use super::base::BaseBeside;
use super::error::ConvergeError;
use super::plan::{Done, Observed};
use super::target::{IfMissing, Target};
use super::{Reconciler, names};
use crate::aws::{AccessPoint, AwsError, RegisteredDefinition};
use crate::domain::service::{Service, ServiceStatus, is_newer_revision};
use crate::domain::{Accepted, Coordinates, CurrentDefinition, CurrentError, UserId};
use crate::staging::USER_DIRECTORY_PERMISSIONS;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The pause before a service is read again that does not show yet what ECS accepted; longer each time.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Whether the next step is the same whatever ECS accepted last: a forced delete waits for nothing.
fn takes_it_as_it_is(target: &Target, read: Option<&Service>) -> bool {
    let is_forced = matches!(target, Target::Absent { force: true, .. });
    is_forced && read.is_some_and(|service| service.status == ServiceStatus::Active)
}

/// Whether the next step depends on whether a task of the service is still alive.
fn needs_tasks_gone(target: &Target, service: &Service) -> bool {
    match (target, service.status) {
        (Target::Absent { force: false, .. }, ServiceStatus::Active) => service.desired == 0,
        (Target::Present { .. }, ServiceStatus::Active) => target.is_strict() && service.desired == 0,
        (Target::Absent { force: false, .. }, ServiceStatus::Inactive) => true,
        (Target::Present { if_missing, .. }, ServiceStatus::Inactive) => matches!(if_missing, IfMissing::Create),
        (Target::Absent { .. } | Target::Present { .. }, _) => false,
    }
}

impl Reconciler {
    /// What is known of a user, by as few and as concurrent calls as the target allows. `is_new`: no call for this user was
    /// ever made here. Then the access point is created at once, beside the other calls, unless a new user would be refused.
    /// For a user who may have one, the service is read first: it names the access point, and an unchanged user costs no
    /// mutating call. `is_recent`: when this began, the last change had been accepted a moment ago, and may not show.
    pub(super) async fn observe(
        &self,
        at: &Coordinates,
        user: &UserId,
        target: &Target,
        is_new: bool,
        accepted: Option<&Accepted>,
        is_recent: bool,
    ) -> Result<Observed, ConvergeError> {
        let service = async {
            let service = self.aws.ecs.describe_service(&at.cluster, &user.service_name()).await?;
            let current = match &service {
                Some(service) => self.current(service, user, target, is_new).await?,
                None => None,
            };
            Ok::<_, ConvergeError>((service, current))
        };
        let base = self.base_beside(at, target);
        let access_point = async {
            match is_new && target.makes_new_user() {
                true => match self.ensure_access_point(at, user).await {
                    Ok(id) => Ok::<_, ConvergeError>(Some(id)),
                    // The step that needs it waits for it.
                    Err(error) if error.is_being_deleted() => Ok(None),
                    Err(error) => Err(error.into()),
                },
                false => Ok(None),
            }
        };
        let ((service, current), base, access_point_id) = tokio::try_join!(service, base, access_point)?;
        let base = match base {
            BaseBeside::None => None,
            BaseBeside::Read(base) => Some(*base),
            BaseBeside::Newest(read) => match current.as_ref().and_then(|current| current.base.as_deref()) {
                // This user was already rendered from a newer one.
                Some(known) if is_newer_revision(known, read.arn()) => Some(self.newest_base(at, Some(known)).await?),
                Some(_) | None => Some(*read),
            },
            BaseBeside::HangsOnOwn(promotion) => {
                let own = current.as_ref().and_then(|current| current.base.as_deref());
                let choice = target.base().cloned().unwrap_or_default();
                Some(self.base_of(at, choice.source(Some(&promotion), own, at.base_family.as_str())).await?)
            }
        };
        // An access point on another file system would mount other files than those that are staged now.
        let named = current.as_ref().filter(|current| current.file_system_id.as_deref() == Some(&at.file_system_id));
        let access_point_id = named.and_then(|current| current.access_point_id.clone()).or(access_point_id);
        let gone = service.as_ref().is_none_or(|service| service.status == ServiceStatus::Inactive);
        // A delete that kept the files leaves nothing else; a later purge still has to remove them.
        let has_kept_files = match target {
            Target::Absent { purge: true, .. } if is_new && gone => self.staging.user_directory_exists(user).await?,
            Target::Absent { .. } | Target::Present { .. } => false,
        };
        let never_seen = is_new && gone && !has_kept_files;
        let has_live_tasks = match &service {
            Some(service) if needs_tasks_gone(target, service) => {
                Some(self.aws.ecs.has_live_tasks(&at.cluster, &service.name).await?)
            }
            Some(_) | None => None,
        };
        let is_unremembered = is_new && accepted.is_none() && !gone;
        let is_settled = accepted.map_or(!is_unremembered, |_| !is_recent);
        Ok(Observed {
            service,
            current,
            base,
            access_point_id,
            revisions: BTreeSet::new(),
            deregistered: BTreeSet::new(),
            never_seen,
            has_live_tasks,
            accepted: accepted.cloned(),
            is_settled,
            is_unremembered,
            may_appear: false,
            resume: None,
            remembered_access_point: None,
            has_roles: at.release.user_roles.is_some(),
            role_changed_at: None,
            is_role_young: false,
            done: Done::default(),
        })
    }

    /// As [`Self::observe`], repeated with growing pauses while the reading may be older than what ECS accepted last: a
    /// decision on such a reading would undo that.
    pub(super) async fn observe_current(
        &self,
        at: &Coordinates,
        user: &UserId,
        target: &Target,
        is_new: bool,
        accepted: Option<&Accepted>,
        cancelled: &CancellationToken,
    ) -> Result<Observed, ConvergeError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let recent = self.recent(user, accepted);
            let observed = self.observe(at, user, target, is_new, accepted, recent.is_some()).await?;
            let service = observed.service.as_ref();
            if takes_it_as_it_is(target, service) || !self.is_stale(at, user, recent, service).await {
                return Ok(observed);
            }
            tracing::info!(user_id = %user, "ECS does not show yet what it accepted last; reading again");
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stopping.cancelled() => return Err(ConvergeError::ShuttingDown),
                () = cancelled.cancelled() => return Err(ConvergeError::Cancelled),
            }
            pause = (pause * 2).min(self.options.poll_interval);
        }
    }

    /// Observes again after a wait or a conflict; what this converge has done stays known.
    pub(super) async fn observe_again(
        &self,
        at: &Coordinates,
        user: &UserId,
        target: &Target,
        before: Observed,
        cancelled: &CancellationToken,
    ) -> Result<Observed, ConvergeError> {
        let now = self.observe_current(at, user, target, false, before.accepted.as_ref(), cancelled).await?;
        // A service that vanished while it drained no longer names its revision.
        let current = now.current.or(before.current);
        let access_point_id = now.access_point_id.or(before.access_point_id);
        let Observed { revisions, deregistered, never_seen, done, resume, remembered_access_point, .. } = before;
        let (role_changed_at, is_role_young) = (before.role_changed_at, before.is_role_young);
        Ok(Observed {
            current,
            access_point_id,
            revisions,
            deregistered,
            never_seen,
            done,
            resume,
            remembered_access_point,
            role_changed_at,
            is_role_young,
            ..now
        })
    }

    /// The revision that a service names, if the target needs it.
    async fn current(
        &self,
        service: &Service,
        user: &UserId,
        target: &Target,
        is_new: bool,
    ) -> Result<Option<CurrentDefinition>, ConvergeError> {
        let deleting = matches!(target, Target::Absent { .. });
        let wanted = match service.status {
            ServiceStatus::Active => true,
            ServiceStatus::Draining => deleting,
            // ECS remembers an INACTIVE service for a while after all its parts are gone.
            ServiceStatus::Inactive => deleting && !is_new,
        };
        if !wanted {
            return Ok(None);
        }
        let Some(RegisteredDefinition { document, .. }) =
            self.aws.ecs.describe_task_definition(&service.task_definition).await?
        else {
            return match deleting {
                true => Ok(None),
                false => Err(CurrentError::NoSpec { arn: service.task_definition.clone() }.into()),
            };
        };
        match CurrentDefinition::parse(&document, user) {
            Ok(current) => Ok(Some(current)),
            // A delete needs no spec, only that the revision is not somebody else's.
            Err(CurrentError::NoSpec { .. } | CurrentError::BadSpec { .. }) if deleting => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates the user's access point or finds it.
    pub(super) async fn ensure_access_point(&self, at: &Coordinates, user: &UserId) -> Result<String, AwsError> {
        let wanted = AccessPoint {
            file_system_id: at.file_system_id.clone(),
            client_token: names::access_point_token(&at.file_system_id, user, self.options.owner),
            path: user.access_point_path(),
            owner: self.options.owner,
            permissions: USER_DIRECTORY_PERMISSIONS.to_owned(),
            tags: names::tags(at, user),
        };
        self.aws.efs.ensure_access_point(&wanted).await
    }
}
