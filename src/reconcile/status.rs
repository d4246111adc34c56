//! Looking at a user. Reading changes nothing (incident 17).

use super::Reconciler;
use super::error::ConvergeError;
use super::plan::Refusal;
use crate::aws::{ListedTasks, RegisteredDefinition};
use crate::domain::service::{Service, ServiceStatus, Task};
use crate::domain::{Coordinates, CurrentDefinition, State, Status, UserId, derive_status, running_task};

/// A user's container as ECS shows it at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerView {
    /// The service.
    pub service: Service,
    /// The revision that the service names; `None` while deleting.
    pub current: Option<CurrentDefinition>,
    /// What follows from both and the tasks.
    pub status: Status,
    /// The private address of the task that runs what was asked for.
    pub host: Option<String>,
}

impl Reconciler {
    /// Looks at a user's container.
    ///
    /// # Errors
    /// `Refused(NotFound)` when there is none.
    pub async fn look(&self, user: &UserId) -> Result<ContainerView, ConvergeError> {
        let at = self.coordinates();
        let found = self.aws.ecs.describe_service(&at.cluster, &user.service_name()).await?;
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
        let has_health_check = current.as_ref().is_some_and(|current| current.has_health_check);
        let derive = |tasks: &[Task]| derive_status(&service, tasks, has_health_check).ok_or(Refusal::NotFound);
        let mut status = derive(&tasks)?;
        let host = running_task(&service, &tasks).and_then(|task| task.private_ip.clone());
        if !status.ready {
            // A task that stopped tells why; ListTasks hides it unless it is asked for.
            tasks.extend(self.aws.ecs.tasks_of(&at.cluster, &service.name, ListedTasks::Stopped).await?);
            status = derive(&tasks)?;
        }
        Ok(ContainerView { service, current, status, host })
    }
}

impl ContainerView {
    /// The view right after the service was made: ECS has had no time to start a task, so there is none to ask for.
    pub(super) fn of_new(service: Service, current: Option<CurrentDefinition>) -> Self {
        let has_health_check = current.as_ref().is_some_and(|current| current.has_health_check);
        let status = derive_status(&service, &[], has_health_check).unwrap_or(Status {
            state: State::Provisioning,
            phase: None,
            ready: false,
            reason: None,
        });
        Self { service, current, status, host: None }
    }
}
