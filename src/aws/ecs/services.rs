//! DescribeServices, CreateService, UpdateService, DeleteService.

use aws_sdk_ecs::types::{
    self as sdk, AssignPublicIp, AvailabilityZoneRebalancing, AwsVpcConfiguration, DeploymentCircuitBreaker,
    DeploymentConfiguration, DeploymentRolloutState, LaunchType, NetworkConfiguration, PropagateTags, ServiceRegistry,
    Tag, ThresholdConfiguration, ThresholdType,
};

use super::Ecs;
use crate::aws::{AwsError, Bucket, ErrorKind};
use crate::domain::service::{Deployment, Rollout, Service, ServiceStatus, Trouble};

/// A service to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateService {
    /// Cluster name or ARN.
    pub cluster: String,
    /// Service name.
    pub name: String,
    /// ARN of the revision to run.
    pub task_definition: String,
    /// Idempotency token, at most 36 characters; the SDK does not set one by itself.
    pub client_token: String,
    /// Subnet ids.
    pub subnets: Vec<String>,
    /// Security group ids.
    pub security_groups: Vec<String>,
    /// ARN of a Cloud Map service to register tasks in.
    pub cloud_map_service_arn: Option<String>,
    /// Whether ECS Exec may open a shell in the container.
    pub enable_execute_command: bool,
    /// Tasks that may fail before the circuit breaker gives a deployment up.
    pub failure_threshold: u32,
    /// Tags: key and value.
    pub tags: Vec<(String, String)>,
}

/// A change of a service; `None` and `false` change nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceChange {
    /// ARN of another revision.
    pub task_definition: Option<String>,
    /// Another desired count.
    pub desired_count: Option<u32>,
    /// Start a new deployment even when nothing else changes. It replaces a task that already runs.
    pub force_new_deployment: bool,
    /// Tasks that may fail before the circuit breaker gives the new deployment up. It is sent with every new deployment, so
    /// that services which were created with another number get this one; it starts no deployment by itself.
    pub failure_threshold: Option<u32>,
}

impl Ecs {
    /// The service of that name; `None` when there is none. An INACTIVE service is returned as long as AWS still lists it.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn describe_service(&self, cluster: &str, name: &str) -> Result<Option<Service>, AwsError> {
        self.turn(Bucket::ServiceRead, "ecs:DescribeServices").await?;
        let answer = self.client.describe_services().cluster(cluster).services(name).send().await;
        let answer = answer.map_err(|error| AwsError::from_sdk("ecs:DescribeServices", error))?;
        Ok(answer.services().first().map(service))
    }

    /// Creates a service with one desired task.
    ///
    /// # Errors
    /// When the call fails; with `is_service_conflict` if the name is in use or still draining.
    pub async fn create_service(&self, wanted: &CreateService) -> Result<Service, AwsError> {
        const OPERATION: &str = "ecs:CreateService";
        let network = AwsVpcConfiguration::builder()
            .set_subnets(Some(wanted.subnets.clone()))
            .set_security_groups(Some(wanted.security_groups.clone()))
            .assign_public_ip(AssignPublicIp::Disabled)
            .build();
        let registry = wanted.cloud_map_service_arn.as_ref();
        let tags = wanted.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        let call = self
            .client
            .create_service()
            .cluster(&wanted.cluster)
            .service_name(&wanted.name)
            .task_definition(&wanted.task_definition)
            .client_token(&wanted.client_token)
            .desired_count(1)
            .launch_type(LaunchType::Fargate)
            .network_configuration(NetworkConfiguration::builder().set_awsvpc_configuration(network.ok()).build())
            .set_service_registries(registry.map(|arn| vec![ServiceRegistry::builder().registry_arn(arn).build()]))
            // The default, ENABLED, starts a second task before it stops the first.
            .availability_zone_rebalancing(AvailabilityZoneRebalancing::Disabled)
            .enable_ecs_managed_tags(true)
            .propagate_tags(PropagateTags::Service)
            .enable_execute_command(wanted.enable_execute_command)
            .set_tags(Some(tags));
        let send = async |threshold| {
            self.turn(Bucket::ServiceWrite, OPERATION).await?;
            let answer = call.clone().deployment_configuration(one_writer(threshold)).send().await;
            answer.map_err(|error| AwsError::from_sdk(OPERATION, error))
        };
        let answer = match send(Some(wanted.failure_threshold)).await {
            Err(error) if refuses_threshold(&error) => send(None).await?,
            answer => answer?,
        };
        answer.service().map(service).ok_or_else(|| AwsError::malformed(OPERATION, "has no service"))
    }

    /// Changes a service.
    ///
    /// # Errors
    /// When the call fails; with `is_service_gone` if the service does not exist or is not ACTIVE.
    pub async fn update_service(&self, cluster: &str, name: &str, change: &ServiceChange) -> Result<Service, AwsError> {
        const OPERATION: &str = "ecs:UpdateService";
        let deploys = change.task_definition.is_some() || change.force_new_deployment;
        let call = self
            .client
            .update_service()
            .cluster(cluster)
            .service(name)
            .set_task_definition(change.task_definition.clone())
            .set_desired_count(change.desired_count.map(|count| i32::try_from(count).unwrap_or(1)))
            .set_force_new_deployment(change.force_new_deployment.then_some(true));
        let send = async |threshold: Option<u32>| {
            self.turn(Bucket::ServiceWrite, OPERATION).await?;
            let configuration = threshold.filter(|_| deploys).map(|threshold| one_writer(Some(threshold)));
            let answer = call.clone().set_deployment_configuration(configuration).send().await;
            answer.map_err(|error| AwsError::from_sdk(OPERATION, error))
        };
        let answer = match send(change.failure_threshold).await {
            Err(error) if refuses_threshold(&error) => send(None).await?,
            answer => answer?,
        };
        answer.service().map(service).ok_or_else(|| AwsError::malformed(OPERATION, "has no service"))
    }

    /// Deletes a service and stops its tasks. `None` when it no longer existed.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn delete_service(&self, cluster: &str, name: &str) -> Result<Option<Service>, AwsError> {
        self.turn(Bucket::ServiceWrite, "ecs:DeleteService").await?;
        match self.client.delete_service().cluster(cluster).service(name).force(true).send().await {
            Ok(answer) => Ok(answer.service().map(service)),
            Err(error) => match AwsError::from_sdk("ecs:DeleteService", error) {
                gone if gone.is_service_gone() => Ok(None),
                error => Err(error),
            },
        }
    }
}

/// The deployment configuration for one task at a time: the old one stops before the new one starts, because both would write
/// the same user directory. It gives up after few failures: ECS's default is three for one task, and each may take five minutes.
fn one_writer(failure_threshold: Option<u32>) -> DeploymentConfiguration {
    let threshold = failure_threshold.and_then(|failures| {
        let value = i32::try_from(failures).unwrap_or(i32::MAX);
        ThresholdConfiguration::builder().r#type(ThresholdType::Count).value(value).build().ok()
    });
    let breaker = DeploymentCircuitBreaker::builder().enable(true).rollback(true);
    DeploymentConfiguration::builder()
        .minimum_healthy_percent(0)
        .maximum_percent(100)
        .deployment_circuit_breaker(breaker.set_threshold_configuration(threshold).build())
        .build()
}

/// Whether the endpoint does not know `thresholdConfiguration`, which is newer than some endpoints. A service without it is
/// better than none.
fn refuses_threshold(error: &AwsError) -> bool {
    error.kind() == ErrorKind::Refused && error.says("thresholdConfiguration")
}

pub(super) fn service(answer: &sdk::Service) -> Service {
    Service {
        name: answer.service_name().unwrap_or_default().to_owned(),
        status: match answer.status() {
            Some("DRAINING") => ServiceStatus::Draining,
            Some("INACTIVE") => ServiceStatus::Inactive,
            _ => ServiceStatus::Active,
        },
        desired: count(answer.desired_count()),
        running: count(answer.running_count()),
        pending: count(answer.pending_count()),
        task_definition: answer.task_definition().unwrap_or_default().to_owned(),
        created_at_seconds: answer.created_at().map(aws_smithy_types::DateTime::secs),
        execute_command: answer.enable_execute_command(),
        deployments: answer.deployments().iter().map(deployment).collect(),
        troubles: Trouble::among(answer.events().iter().filter_map(event)),
    }
}

/// Message and time of an event. ECS lists the newest first (API reference, Service.events).
fn event(answer: &sdk::ServiceEvent) -> Option<(String, Option<i64>)> {
    let message = answer.message()?.to_owned();
    Some((message, answer.created_at().map(aws_smithy_types::DateTime::secs)))
}

fn deployment(answer: &sdk::Deployment) -> Deployment {
    Deployment {
        id: answer.id().unwrap_or_default().to_owned(),
        primary: answer.status() == Some("PRIMARY"),
        task_definition: answer.task_definition().unwrap_or_default().to_owned(),
        rollout: match answer.rollout_state() {
            Some(DeploymentRolloutState::Completed) => Rollout::Completed,
            Some(DeploymentRolloutState::Failed) => Rollout::Failed,
            _ => Rollout::InProgress,
        },
        reason: answer.rollout_state_reason().map(str::to_owned),
        created_at_seconds: answer.created_at().map(aws_smithy_types::DateTime::secs),
        updated_at_seconds: answer.updated_at().map(aws_smithy_types::DateTime::secs),
    }
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
