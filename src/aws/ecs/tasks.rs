//! ListTasks, DescribeTasks.

use aws_sdk_ecs::types::{self as sdk, DesiredStatus, HealthStatus};

use super::Ecs;
use crate::aws::{AwsError, Bucket};
use crate::domain::service::{Health, Task};

/// Which tasks of a service to list: ListTasks hides stopped ones unless it is asked for them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListedTasks {
    /// Tasks that should run.
    Running,
    /// Tasks that stopped, for about an hour.
    Stopped,
}

impl Ecs {
    /// The tasks of one service, at most 100: a service of ours has one, and a crash loop some tens in an hour.
    ///
    /// # Errors
    /// AWS's answer, when it is not one. A service that is gone has no tasks, which is not an error.
    pub async fn tasks_of(&self, cluster: &str, service: &str, listed: ListedTasks) -> Result<Vec<Task>, AwsError> {
        self.limiter.acquire(Bucket::TaskRead).await;
        let desired = match listed {
            ListedTasks::Running => DesiredStatus::Running,
            ListedTasks::Stopped => DesiredStatus::Stopped,
        };
        // Never together with startedBy: AWS rejects the pair (incident 18).
        let call = self.client.list_tasks().cluster(cluster).service_name(service).desired_status(desired);
        let arns = match call.send().await {
            Ok(answer) => answer.task_arns.unwrap_or_default(),
            Err(error) => match AwsError::from_sdk("ecs:ListTasks", error) {
                gone if gone.is_service_gone() => Vec::new(),
                error => return Err(error),
            },
        };
        if arns.is_empty() {
            return Ok(Vec::new());
        }
        self.limiter.acquire(Bucket::TaskRead).await;
        let answer = self.client.describe_tasks().cluster(cluster).set_tasks(Some(arns)).send().await;
        let answer = answer.map_err(|error| AwsError::from_sdk("ecs:DescribeTasks", error))?;
        Ok(answer.tasks().iter().map(task).collect())
    }
}

fn task(answer: &sdk::Task) -> Task {
    let containers = answer.containers();
    Task {
        arn: answer.task_arn().unwrap_or_default().to_owned(),
        task_definition: answer.task_definition_arn().unwrap_or_default().to_owned(),
        started_by: answer.started_by().map(str::to_owned),
        last_status: answer.last_status().unwrap_or_default().to_owned(),
        desired_status: answer.desired_status().unwrap_or_default().to_owned(),
        health: match answer.health_status() {
            Some(HealthStatus::Healthy) => Health::Healthy,
            Some(HealthStatus::Unhealthy) => Health::Unhealthy,
            _ => Health::Unknown,
        },
        stop_code: answer.stop_code().map(|code| code.as_str().to_owned()),
        stopped_reason: answer.stopped_reason().map(str::to_owned),
        container_reason: containers.iter().find_map(|container| container.reason()).map(str::to_owned),
        exit_code: containers.iter().find_map(sdk::Container::exit_code),
        stopped_at: answer.stopped_at().map(|at| at.to_string()),
        created_at_seconds: answer.created_at().map_or(0, |at| at.secs()),
    }
}
