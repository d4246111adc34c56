//! Reads many services and tasks at a time. Every call is a background call, so that bulk reads never delay a call for one
//! user.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{DesiredStatus, LaunchType, ServiceField, SortOrder, TaskDefinitionStatus};

use super::services::service;
use super::{Ecs, ListedTasks, RegisteredDefinition};
use crate::aws::{AwsError, Bucket};
use crate::domain::CPU_UNITS_A_VCPU;
use crate::domain::service::{Service, Task};

/// The most services in one DescribeServices (aws-facts §1).
pub const DESCRIBED_SERVICES: usize = 10;
/// The most tasks in one DescribeTasks.
pub const DESCRIBED_TASKS: usize = 100;
/// The most services on one page of ListServices; the default is 10.
const LISTED_SERVICES: i32 = 100;

/// The most revisions on one page of ListTaskDefinitions, which is also the default.
const LISTED_DEFINITIONS: i32 = 100;

/// One page of the revisions of a family, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionPage {
    /// ARNs.
    pub arns: Vec<String>,
    /// Token of the next page, if there is one.
    pub next: Option<String>,
}

/// Which revisions of a family to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revisions {
    /// Revisions that a service can use.
    Active,
    /// Revisions that were deregistered and not deleted.
    Inactive,
}

/// One page of the services of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePage {
    /// Service names.
    pub names: Vec<String>,
    /// Token of the next page, if there is one.
    pub next: Option<String>,
}

impl Ecs {
    /// The services with these names, at most [`DESCRIBED_SERVICES`]. A missing one is left out, and maybe one that was just
    /// created: AWS is eventually consistent.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn describe_services(&self, cluster: &str, names: &[String]) -> Result<Vec<Service>, AwsError> {
        self.turn_in_background(Bucket::ServiceRead, "ecs:DescribeServices").await?;
        let call = self.client.describe_services().cluster(cluster).set_services(Some(names.to_vec()));
        let answer = call.send().await.map_err(|error| AwsError::from_sdk("ecs:DescribeServices", error))?;
        Ok(answer.services().iter().map(service).collect())
    }

    /// As [`Self::describe_services`], each with its tags.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn describe_tagged_services(
        &self,
        cluster: &str,
        names: &[String],
    ) -> Result<Vec<(Service, BTreeMap<String, String>)>, AwsError> {
        self.turn_in_background(Bucket::ServiceRead, "ecs:DescribeServices").await?;
        let call = self.client.describe_services().cluster(cluster).set_services(Some(names.to_vec()));
        let answer = call.include(ServiceField::Tags).send().await;
        let answer = answer.map_err(|error| AwsError::from_sdk("ecs:DescribeServices", error))?;
        let tagged = answer.services().iter().map(|found| {
            let tags = found.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
            (service(found), tags.collect())
        });
        Ok(tagged.collect())
    }

    /// The services of a cluster that are not INACTIVE, one page at a time; `page` is the token from the previous page.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn list_services(&self, cluster: &str, page: Option<String>) -> Result<ServicePage, AwsError> {
        self.turn_in_background(Bucket::ServiceRead, "ecs:ListServices").await?;
        let call = self.client.list_services().cluster(cluster).max_results(LISTED_SERVICES).set_next_token(page);
        let answer = call.send().await.map_err(|error| AwsError::from_sdk("ecs:ListServices", error))?;
        let name = |arn: &String| arn.rsplit_once('/').map_or(arn.as_str(), |(_, name)| name).to_owned();
        Ok(ServicePage { names: answer.service_arns().iter().map(name).collect(), next: answer.next_token })
    }

    /// The revisions of a family, one page at a time; `page` is the token from the previous page.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn list_revisions(
        &self,
        family: &str,
        which: Revisions,
        page: Option<String>,
    ) -> Result<DefinitionPage, AwsError> {
        self.turn_in_background(Bucket::TaskDefinitionRead, "ecs:ListTaskDefinitions").await?;
        self.listed_revisions(family, which, page).await
    }

    /// The revisions of a family, one page at a time; `page` is the token from the previous page. `None` when there is no
    /// spare capacity.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn list_revisions_with_spare_capacity(
        &self,
        family: &str,
        which: Revisions,
        page: Option<String>,
    ) -> Result<Option<DefinitionPage>, AwsError> {
        if !self.limiter.try_acquire_spare(Bucket::TaskDefinitionRead) {
            return Ok(None);
        }
        self.listed_revisions(family, which, page).await.map(Some)
    }

    pub(super) async fn listed_revisions(
        &self,
        family: &str,
        which: Revisions,
        page: Option<String>,
    ) -> Result<DefinitionPage, AwsError> {
        let status = match which {
            Revisions::Active => TaskDefinitionStatus::Active,
            Revisions::Inactive => TaskDefinitionStatus::Inactive,
        };
        let call = self.client.list_task_definitions().family_prefix(family).status(status);
        let call = call.sort(SortOrder::Desc).max_results(LISTED_DEFINITIONS).set_next_token(page);
        let answer = call.send().await.map_err(|error| AwsError::from_sdk("ecs:ListTaskDefinitions", error))?;
        Ok(DefinitionPage { arns: answer.task_definition_arns().to_vec(), next: answer.next_token })
    }

    /// ARNs of the tasks of one service, at most 100.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable. A deleted service has no tasks, which is not an error.
    pub async fn list_tasks(&self, cluster: &str, service: &str, listed: ListedTasks) -> Result<Vec<String>, AwsError> {
        self.turn_in_background(Bucket::TaskRead, "ecs:ListTasks").await?;
        self.listed(cluster, service, listed).await
    }

    /// The tasks with these ARNs, at most [`DESCRIBED_TASKS`]; tasks that AWS no longer lists are left out.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn describe_tasks(&self, cluster: &str, arns: &[String]) -> Result<Vec<Task>, AwsError> {
        self.turn_in_background(Bucket::TaskRead, "ecs:DescribeTasks").await?;
        self.described_tasks(cluster, arns.to_vec()).await
    }

    /// vCPU of all tasks in a cluster that should run on Fargate on demand, no matter who started them.
    ///
    /// # Errors
    /// When the call fails, or a task does not show its CPU.
    pub async fn vcpu_in_use(&self, cluster: &str) -> Result<f64, AwsError> {
        const OPERATION: &str = "ecs:DescribeTasks";
        let (mut units, mut page) = (0_u64, None);
        loop {
            self.turn_in_background(Bucket::TaskRead, "ecs:ListTasks").await?;
            let call = self.client.list_tasks().cluster(cluster).desired_status(DesiredStatus::Running);
            let call = call.launch_type(LaunchType::Fargate).set_next_token(page);
            let listed = call.send().await.map_err(|error| AwsError::from_sdk("ecs:ListTasks", error))?;
            for arns in listed.task_arns().chunks(DESCRIBED_TASKS) {
                self.turn_in_background(Bucket::TaskRead, OPERATION).await?;
                let call = self.client.describe_tasks().cluster(cluster).set_tasks(Some(arns.to_vec()));
                let answer = call.send().await.map_err(|error| AwsError::from_sdk(OPERATION, error))?;
                // Spot has its own quota.
                let on_demand =
                    answer.tasks().iter().filter(|task| task.capacity_provider_name() != Some("FARGATE_SPOT"));
                for task in on_demand {
                    let cpu = task.cpu().and_then(|units| units.parse::<u64>().ok());
                    units += cpu.ok_or_else(|| AwsError::malformed(OPERATION, "has a task without its CPU units"))?;
                }
            }
            page = listed.next_token;
            if page.is_none() {
                break;
            }
        }
        Ok(units as f64 / CPU_UNITS_A_VCPU)
    }

    /// The number of tasks of a cluster that should run, no matter who started them or on which launch type: each task with its
    /// own network has an interface.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn tasks_in(&self, cluster: &str) -> Result<u32, AwsError> {
        let (mut tasks, mut page) = (0_usize, None);
        loop {
            self.turn_in_background(Bucket::TaskRead, "ecs:ListTasks").await?;
            let call = self.client.list_tasks().cluster(cluster).desired_status(DesiredStatus::Running);
            let listed = call.set_next_token(page).send().await;
            let listed = listed.map_err(|error| AwsError::from_sdk("ecs:ListTasks", error))?;
            tasks += listed.task_arns().len();
            page = listed.next_token;
            if page.is_none() {
                return Ok(u32::try_from(tasks).unwrap_or(u32::MAX));
            }
        }
    }

    /// The number of the newest ACTIVE revision of a family: it has had at least that many revisions. 0 if it has none.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn newest_number(&self, family: &str) -> Result<u32, AwsError> {
        let Some(arn) = self.newest_revision(family).await? else { return Ok(0) };
        let number = arn.rsplit_once(':').and_then(|(_, number)| number.parse().ok());
        number.ok_or_else(|| AwsError::malformed("ecs:ListTaskDefinitions", "has a revision without a number"))
    }

    /// Describes a revision by ARN; `None` when there is none.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn describe_definition_in_bulk(&self, arn: &str) -> Result<Option<RegisteredDefinition>, AwsError> {
        self.turn_in_background(Bucket::TaskDefinitionRead, "ecs:DescribeTaskDefinition").await?;
        self.described(arn).await
    }
}
