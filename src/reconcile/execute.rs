//! The executor: takes the step that the planner chose, and folds AWS's answer into what is known, so that nothing has to be
//! read back. It makes no choice.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::ConvergeError;
use super::observe::FIRST_PAUSE;
use super::plan::{Observed, Step};
use super::{Reconciler, names};
use crate::aws::{AwsError, CreateService, ImageLookup, ServiceChange};
use crate::domain::service::{Service, ServiceStatus};
use crate::domain::{Coordinates, CurrentDefinition, UserId};
use crate::staging::StagingError;

/// How long an access point may take to disappear; seconds are usual.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// How a step ended.
#[derive(Debug)]
pub(super) enum Taken {
    /// Done, and folded in.
    Folded,
    /// Somebody else was faster: what is known is out of date. Says what showed that.
    Conflict(String),
    /// ECS does not see the user's role yet. Says how that showed.
    NotYet(String),
}

impl Reconciler {
    pub(super) async fn execute(
        &self,
        at: &Coordinates,
        user: &UserId,
        step: Step,
        observed: &mut Observed,
    ) -> Result<Taken, ConvergeError> {
        let name = user.service_name();
        match step {
            Step::EnsureAccessPoint => match self.ensure_access_point(at, user).await {
                Ok(id) => observed.access_point_id = Some(id),
                Err(error) if error.is_being_deleted() => return Ok(Taken::Conflict(error.to_string())),
                Err(error) => return Err(error.into()),
            },
            Step::CheckImage(image) => match self.aws.ecr.look_up(&image).await? {
                ImageLookup::Found => observed.done.image = Some(image),
                ImageLookup::NotAllowed => {
                    tracing::warn!(
                        repository = image.repository,
                        "not allowed to look the image up; going on unchecked"
                    );
                    observed.done.image = Some(image);
                }
                ImageLookup::NoImage => return Err(ConvergeError::ImageMissing { image, repository_exists: true }),
                ImageLookup::NoRepository => {
                    return Err(ConvergeError::ImageMissing { image, repository_exists: false });
                }
            },
            Step::EnsureRole => return self.ensure_role(at, user, observed).await,
            Step::PutRolePolicy(grants) => return self.put_role_policy(at, user, &grants, observed).await,
            Step::DeleteRole => return self.delete_role(at, user, observed).await,
            Step::RegisterTaskDefinition(rendered) => {
                let registered = match self.aws.ecs.register_task_definition(&rendered.request).await {
                    Err(error) if is_late_role(&error, observed) => return Ok(Taken::NotYet(error.to_string())),
                    registered => registered?,
                };
                observed.revisions.insert(registered.arn);
                observed.done.registered = Some(CurrentDefinition::parse(&registered.document, user)?);
            }
            Step::CreateService { task_definition, digest, after } => {
                let wanted = CreateService {
                    cluster: at.cluster.clone(),
                    name,
                    task_definition,
                    client_token: names::service_token(user, &digest, after.as_deref()),
                    subnets: at.subnets.clone(),
                    security_groups: at.security_groups.clone(),
                    cloud_map_service_arn: at.cloud_map_service_arn.clone(),
                    enable_execute_command: self.options.enable_execute_command,
                    failure_threshold: self.options.failure_threshold,
                    tags: names::tags(at, user),
                };
                match self.aws.ecs.create_service(&wanted).await {
                    Ok(service) if service.status == ServiceStatus::Active => {
                        self.accept(user, &service, observed);
                        observed.service = Some(service);
                        adopt(observed, &wanted.task_definition);
                        expect_role_to_be_seen(observed);
                    }
                    Err(error) if is_late_role(&error, observed) => return Ok(Taken::NotYet(error.to_string())),
                    Ok(_) => return Ok(Taken::Conflict("CreateService answered with a deleted service".into())),
                    // Also for the first service of an account, while its role is being created.
                    Err(error) if error.is_service_conflict() || error.is_linked_role_missing() => {
                        return Ok(Taken::Conflict(error.to_string()));
                    }
                    Err(error) if error.is_definition_inactive() => return Ok(deregistered_meanwhile(observed, error)),
                    Err(error) => return Err(error.into()),
                }
            }
            Step::UpdateService { task_definition, desired, restart, superseded } => {
                let failure_threshold = Some(self.options.failure_threshold);
                let force_new_deployment = restart;
                let change =
                    ServiceChange { task_definition, desired_count: desired, force_new_deployment, failure_threshold };
                match self.aws.ecs.update_service(&at.cluster, &name, &change).await {
                    Ok(service) => {
                        self.accept(user, &service, observed);
                        observed.service = Some(service);
                        observed.done.restarted |= restart;
                        observed.done.counted |= change.desired_count.is_some();
                        observed.resume.take_if(|_| change.desired_count.is_some());
                        if let Some(arn) = &change.task_definition {
                            adopt(observed, arn);
                        }
                        if change.task_definition.is_some() || restart {
                            expect_role_to_be_seen(observed);
                        }
                        for arn in superseded {
                            self.deregister_unused(user, &arn, observed).await;
                        }
                    }
                    Err(error) if is_late_role(&error, observed) => return Ok(Taken::NotYet(error.to_string())),
                    Err(error) if error.is_service_gone() => return Ok(Taken::Conflict(error.to_string())),
                    Err(error) if error.is_definition_inactive() => return Ok(deregistered_meanwhile(observed, error)),
                    Err(error) => return Err(error.into()),
                }
            }
            Step::StopTasks { resume: _ } => {
                let change = ServiceChange { desired_count: Some(0), ..ServiceChange::default() };
                match self.aws.ecs.update_service(&at.cluster, &name, &change).await {
                    Ok(service) => {
                        self.accept(user, &service, observed);
                        observed.service = Some(service);
                    }
                    Err(error) if error.is_service_gone() => return Ok(Taken::Conflict(error.to_string())),
                    Err(error) => return Err(error.into()),
                }
            }
            Step::DeleteService => {
                let deleted = self.aws.ecs.delete_service(&at.cluster, &name).await?;
                if let Some(service) = deleted.as_ref().or(observed.service.clone().as_ref()) {
                    let gone = Service { status: ServiceStatus::Inactive, ..service.clone() };
                    self.accept(user, &gone, observed);
                }
                observed.service = deleted;
            }
            Step::DeregisterRevision(arn) => {
                if self.is_of(&arn, user, observed).await? {
                    self.aws.ecs.deregister_task_definition(&arn).await?;
                    observed.deregistered.insert(arn.clone());
                }
                if let Some(current) = observed.current.as_mut().filter(|current| current.arn == arn) {
                    current.active = false;
                }
                observed.revisions.remove(&arn);
                observed.done.registered.take_if(|registered| registered.arn == arn);
            }
            Step::DeleteRevisions(arns) => {
                match self.aws.ecs.delete_task_definitions(&arns).await {
                    Ok(kept) => {
                        for (task_definition, reason) in kept {
                            tracing::warn!(task_definition, reason, user_id = %user, "AWS keeps a deregistered revision");
                        }
                    }
                    // This AWS has no such call, so nothing can be deleted.
                    Err(error) if error.is_not_implemented() => tracing::warn!(%error, "deregistered revisions stay"),
                    Err(error) => return Err(error.into()),
                }
                observed.done.deleted.extend(arns);
            }
            Step::DeleteAccessPoint(id) => {
                self.aws.efs.delete_access_point(&id).await?;
                self.wait_until_gone(&id).await;
                observed.access_point_id = None;
                observed.remembered_access_point = None;
                observed.done.access_point_deleted = true;
            }
            Step::PurgeFiles => {
                observed.done.purged = match self.staging.purge(user).await {
                    Ok(()) => true,
                    // A large directory takes several calls; the planner asks for the next.
                    Err(StagingError::PurgeUnfinished { .. }) => false,
                    Err(error) => return Err(error.into()),
                };
            }
        }
        Ok(Taken::Folded)
    }

    /// Waits until an access point is gone. A user who comes back earlier would find it by its token, and a reading older
    /// than its deletion would call it available. If that takes longer than usual, the wait ends.
    async fn wait_until_gone(&self, id: &str) {
        let (deadline, mut pause) = (Instant::now() + GONE_WITHIN, FIRST_PAUSE);
        loop {
            match self.aws.efs.is_access_point_gone(id).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not ask whether an access point is gone");
                    return;
                }
            }
            if Instant::now() + pause > deadline {
                tracing::warn!("an access point is still being deleted");
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(self.options.poll_interval);
        }
    }

    /// A revision of this user, if it still exists.
    pub(super) async fn revision_of(
        &self,
        arn: &str,
        user: &UserId,
    ) -> Result<Option<CurrentDefinition>, ConvergeError> {
        let found = self.aws.ecs.describe_task_definition(arn).await?;
        Ok(found.and_then(|found| CurrentDefinition::parse(&found.document, user).ok()))
    }

    /// Whether a revision itself says that it is this user's. Only such a revision is deregistered: an ARN that was
    /// remembered wrongly may be anybody's.
    async fn is_of(&self, arn: &str, user: &UserId, observed: &Observed) -> Result<bool, ConvergeError> {
        let known = [&observed.current, &observed.done.registered];
        if known.into_iter().flatten().any(|known| known.arn == arn) {
            return Ok(true);
        }
        let is_of = self.revision_of(arn, user).await?.is_some();
        if !is_of {
            tracing::warn!(task_definition = arn, user_id = %user, "the revision is gone or not this user's; it is left alone and forgotten");
        }
        Ok(is_of)
    }

    /// Deregisters a revision, only from spare capacity. A failure is no error: a revision that stays registered is
    /// remembered.
    pub(super) async fn deregister_unused(&self, user: &UserId, arn: &str, observed: &mut Observed) {
        match self.is_of(arn, user, observed).await {
            Ok(true) => {}
            Ok(false) => {
                observed.revisions.remove(arn);
                return;
            }
            Err(error) => {
                tracing::warn!(task_definition = arn, %error, "a revision that nothing runs stays registered");
                return;
            }
        }
        match self.aws.ecs.deregister_with_spare_capacity(arn).await {
            Ok(true) => {
                observed.revisions.remove(arn);
                observed.deregistered.insert(arn.to_owned());
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(task_definition = arn, %error, "a revision that nothing runs stays registered")
            }
        }
    }
}

/// The service now runs that revision: what was registered, or what it went back from and was told again.
fn adopt(observed: &mut Observed, arn: &str) {
    let registered = observed.done.registered.take_if(|registered| registered.arn == arn);
    let known = registered.or_else(|| observed.done.deployed.clone().filter(|deployed| deployed.arn == arn));
    if known.is_some() {
        observed.current = known;
    }
}

fn deregistered_meanwhile(observed: &mut Observed, error: AwsError) -> Taken {
    observed.done.registered = None;
    Taken::Conflict(error.to_string())
}

/// Whether ECS refuses a call because it does not see the user's role yet.
fn is_late_role(error: &AwsError, observed: &Observed) -> bool {
    error.is_role_not_seen() && observed.role_changed_at.is_some()
}

/// From here on the role may turn out not to be seen, and ECS may give up what it was told.
fn expect_role_to_be_seen(observed: &mut Observed) {
    if observed.role_changed_at.is_none() {
        return;
    }
    let deployed = observed.current.clone().filter(|current| current.has_own_role);
    observed.done.deploys += 1;
    observed.done.deployed = deployed;
}
