//! ListServiceDeployments, StopServiceDeployment: the results of rollouts that DescribeServices no longer lists.

use aws_sdk_ecs::types::{ServiceDeploymentBrief, ServiceDeploymentStatus, StopServiceDeploymentStopType};

use super::Ecs;
use crate::aws::{AwsError, Bucket};
use crate::domain::service::{ServiceDeployment, ServiceDeploymentState};

impl Ecs {
    /// The newest service deployment; `None` when there is none. AWS keeps them for 90 days.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn newest_service_deployment(
        &self,
        cluster: &str,
        service: &str,
    ) -> Result<Option<ServiceDeployment>, AwsError> {
        self.turn(Bucket::ServiceDeploymentRead, "ecs:ListServiceDeployments").await?;
        let answer = self.client.list_service_deployments().cluster(cluster).service(service).send().await;
        let answer = answer.map_err(|error| AwsError::from_sdk("ecs:ListServiceDeployments", error))?;
        // AWS documents no order.
        let newest = answer.service_deployments().iter().max_by_key(|brief| brief.created_at().map(|at| at.secs()));
        Ok(newest.map(service_deployment))
    }

    /// Stops a rollout and rolls back to the previous one. `false`: it has ended, or there is nothing to roll back to.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn roll_back_service_deployment(&self, arn: &str) -> Result<bool, AwsError> {
        self.turn(Bucket::ServiceWrite, "ecs:StopServiceDeployment").await?;
        let call = self.client.stop_service_deployment().service_deployment_arn(arn);
        match call.stop_type(StopServiceDeploymentStopType::Rollback).send().await {
            Ok(_) => Ok(true),
            Err(error) => {
                let is_over = error.as_service_error().is_some_and(|error| {
                    error.is_conflict_exception() || error.is_service_deployment_not_found_exception()
                });
                if is_over { Ok(false) } else { Err(AwsError::from_sdk("ecs:StopServiceDeployment", error)) }
            }
        }
    }
}

fn service_deployment(brief: &ServiceDeploymentBrief) -> ServiceDeployment {
    use ServiceDeploymentState as State;
    use ServiceDeploymentStatus as Status;
    ServiceDeployment {
        arn: brief.service_deployment_arn().unwrap_or_default().to_owned(),
        state: match brief.status() {
            Some(Status::Pending | Status::InProgress) => State::InProgress,
            Some(
                Status::RollbackRequested
                | Status::RollbackInProgress
                | Status::RollbackSuccessful
                | Status::RollbackFailed,
            ) => State::RolledBack,
            _ => State::Ended,
        },
        created_at_seconds: brief.created_at().map(aws_smithy_types::DateTime::secs),
        reason: brief.status_reason().map(str::to_owned),
    }
}
