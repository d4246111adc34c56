//! ListTasks, DescribeTasks.

use std::net::Ipv4Addr;

use aws_sdk_ecs::types::{self as sdk, DesiredStatus, HealthStatus};

use super::Ecs;
use crate::aws::{AwsError, Bucket};
use crate::domain::service::{Health, Task, TaskContainer};

/// Which tasks of a service to list: ListTasks hides stopped ones unless it is asked only for those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListedTasks {
    /// Tasks that should run.
    Running,
    /// Tasks that stopped, for about an hour.
    Stopped,
}

impl Ecs {
    /// The tasks of one service, at most 100: a user's service has one, and a crash loop makes some tens in an hour.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable. A service that is gone has no tasks, which is not an error.
    pub async fn tasks_of(&self, cluster: &str, service: &str, listed: ListedTasks) -> Result<Vec<Task>, AwsError> {
        self.turn(Bucket::TaskRead, "ecs:ListTasks").await?;
        let arns = self.listed(cluster, service, listed).await?;
        if arns.is_empty() {
            return Ok(Vec::new());
        }
        self.turn(Bucket::TaskRead, "ecs:DescribeTasks").await?;
        self.described_tasks(cluster, arns).await
    }

    /// Whether a service has a task that has not stopped. ListTasks hides stopping tasks unless it is asked for stopped ones;
    /// then it shows both.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable. A service that is gone has no tasks, which is not an error.
    pub async fn has_live_tasks(&self, cluster: &str, service: &str) -> Result<bool, AwsError> {
        self.turn(Bucket::TaskRead, "ecs:ListTasks").await?;
        let running = self.listed(cluster, service, ListedTasks::Running).await?;
        if !running.is_empty() {
            // It is listed as running for as long as it should run, also after it has ended. One that DescribeTasks does not know
            // yet has just started.
            self.turn(Bucket::TaskRead, "ecs:DescribeTasks").await?;
            let listed = running.len();
            let tasks = self.described_tasks(cluster, running).await?;
            if tasks.iter().filter(|task| task.last_status == "STOPPED").count() < listed {
                return Ok(true);
            }
        }
        let mut page = None;
        loop {
            self.turn(Bucket::TaskRead, "ecs:ListTasks").await?;
            let (arns, next) = self.listed_page(cluster, service, ListedTasks::Stopped, page).await?;
            if !arns.is_empty() {
                self.turn(Bucket::TaskRead, "ecs:DescribeTasks").await?;
                let tasks = self.described_tasks(cluster, arns).await?;
                if tasks.iter().any(|task| task.last_status != "STOPPED") {
                    return Ok(true);
                }
            }
            if next.is_none() {
                return Ok(false);
            }
            page = next;
        }
    }

    /// Lists tasks. The caller has taken the token.
    pub(super) async fn listed(
        &self,
        cluster: &str,
        service: &str,
        listed: ListedTasks,
    ) -> Result<Vec<String>, AwsError> {
        self.listed_page(cluster, service, listed, None).await.map(|(arns, _)| arns)
    }

    /// One page, and the token of the next.
    async fn listed_page(
        &self,
        cluster: &str,
        service: &str,
        listed: ListedTasks,
        page: Option<String>,
    ) -> Result<(Vec<String>, Option<String>), AwsError> {
        let desired = match listed {
            ListedTasks::Running => DesiredStatus::Running,
            ListedTasks::Stopped => DesiredStatus::Stopped,
        };
        // Never together with startedBy: AWS refuses the combination (incident 18).
        let call = self.client.list_tasks().cluster(cluster).service_name(service).desired_status(desired);
        match call.set_next_token(page).send().await {
            Ok(answer) => Ok((answer.task_arns.unwrap_or_default(), answer.next_token)),
            Err(error) => match AwsError::from_sdk("ecs:ListTasks", error) {
                gone if gone.is_service_gone() => Ok((Vec::new(), None)),
                error => Err(error),
            },
        }
    }

    /// Describes tasks. The caller has taken the token.
    pub(super) async fn described_tasks(&self, cluster: &str, arns: Vec<String>) -> Result<Vec<Task>, AwsError> {
        let answer = self.client.describe_tasks().cluster(cluster).set_tasks(Some(arns)).send().await;
        let answer = answer.map_err(|error| AwsError::from_sdk("ecs:DescribeTasks", error))?;
        Ok(answer.tasks().iter().map(task).collect())
    }
}

fn task(answer: &sdk::Task) -> Task {
    let health = |health: Option<&HealthStatus>| match health {
        Some(HealthStatus::Healthy) => Health::Healthy,
        Some(HealthStatus::Unhealthy) => Health::Unhealthy,
        _ => Health::Unknown,
    };
    let containers = answer.containers().iter().map(|container| TaskContainer {
        name: container.name().unwrap_or_default().to_owned(),
        health: health(container.health_status()),
        exit_code: container.exit_code(),
        reason: container.reason().map(str::to_owned),
    });
    let mut task = Task {
        arn: answer.task_arn().unwrap_or_default().to_owned(),
        task_definition: answer.task_definition_arn().unwrap_or_default().to_owned(),
        started_by: answer.started_by().map(str::to_owned),
        last_status: answer.last_status().unwrap_or_default().to_owned(),
        desired_status: answer.desired_status().unwrap_or_default().to_owned(),
        private_ip: private_ip(answer),
        execute_command: answer.enable_execute_command(),
        health: health(answer.health_status()),
        stop_code: answer.stop_code().map(|code| code.as_str().to_owned()),
        stopped_reason: answer.stopped_reason().map(str::to_owned),
        container_reason: None,
        exit_code: None,
        failed_sidecar: None,
        containers: containers.collect(),
        stopped_at: answer.stopped_at().map(|at| at.to_string()),
        created_at_seconds: answer.created_at().map_or(0, |at| at.secs()),
    };
    // The definition says which container is OpenClaw, but is not known here: see `Task::follow`.
    task.tell(0);
    task
}

/// The address of the task's elastic network interface (API reference, Attachment.details). Not every emulator has
/// attachments; then a container may name the address.
fn private_ip(task: &sdk::Task) -> Option<String> {
    let interfaces =
        task.attachments().iter().filter(|attachment| attachment.r#type() == Some("ElasticNetworkInterface"));
    let attached = interfaces
        .flat_map(sdk::Attachment::details)
        .filter(|detail| detail.name() == Some("privateIPv4Address"))
        .filter_map(sdk::KeyValuePair::value);
    let named = task.containers().iter().flat_map(sdk::Container::network_interfaces);
    attached
        .chain(named.filter_map(sdk::NetworkInterface::private_ipv4_address))
        .find(|text| text.parse::<Ipv4Addr>().is_ok())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(exit_code: Option<i32>, reason: Option<&str>) -> sdk::Container {
        sdk::Container::builder().set_exit_code(exit_code).set_reason(reason.map(str::to_owned)).build()
    }

    #[test]
    fn the_failed_container_gives_the_tasks_reason() {
        let told = |containers: Vec<sdk::Container>| {
            let task = task(&sdk::Task::builder().set_containers(Some(containers)).build());
            (task.exit_code, task.container_reason)
        };
        let with = |exit_code, reason: &str| (exit_code, Some(reason.to_owned()));
        let sidecar = || container(Some(143), Some("told to end"));
        assert_eq!(
            told(vec![container(Some(137), Some("OutOfMemoryError")), sidecar()]),
            with(Some(137), "OutOfMemoryError")
        );
        assert_eq!(told(vec![container(Some(1), None), sidecar()]), (Some(1), None));
        let killed = || container(Some(137), None);
        assert_eq!(told(vec![container(Some(0), None), sidecar()]), (Some(0), None));
        assert_eq!(told(vec![sidecar(), container(Some(1), None)]), (Some(1), None));
        assert_eq!(
            told(vec![sidecar(), container(Some(137), Some("OutOfMemoryError: x"))]),
            with(Some(137), "OutOfMemoryError: x")
        );
        assert_eq!(told(vec![killed(), container(Some(0), None)]), (Some(137), None));
        assert_eq!(told(vec![container(Some(0), None), killed()]), (Some(0), None));
        assert_eq!(told(vec![container(Some(0), None), container(None, Some("x"))]), with(None, "x"));
        assert_eq!(told(vec![container(None, None), container(Some(0), None)]), (Some(0), None));
        assert_eq!(told(vec![]), (None, None));
    }

    #[test]
    fn a_task_names_the_deployment_that_started_it() {
        let of = |started_by: &str| task(&sdk::Task::builder().started_by(started_by).build()).started_by;
        assert_eq!(of("ecs-svc/1"), Some("ecs-svc/1".to_owned()));
        assert_eq!(task(&sdk::Task::builder().build()).started_by, None);
    }

    #[test]
    fn the_address_is_that_of_the_attached_interface() {
        let detail = |value: &str| sdk::KeyValuePair::builder().name("privateIPv4Address").value(value).build();
        let attached = |kind: &str, value: &str| sdk::Attachment::builder().r#type(kind).details(detail(value)).build();
        let named = |address: &str| {
            let interface = sdk::NetworkInterface::builder().private_ipv4_address(address).build();
            sdk::Container::builder().network_interfaces(interface).build()
        };
        let builder = sdk::Task::builder;
        let address = |task: sdk::builders::TaskBuilder| super::task(&task.build()).private_ip;
        let interface = attached("ElasticNetworkInterface", "10.0.0.7");
        let both = builder().attachments(attached("Service Connect", "10.0.0.9")).attachments(interface);
        assert_eq!(address(both.containers(named("10.0.0.8"))).as_deref(), Some("10.0.0.7"));
        assert_eq!(address(builder().containers(named("10.0.0.8"))).as_deref(), Some("10.0.0.8"));
        assert_eq!(address(builder().containers(named("not an address"))), None);
    }
}
