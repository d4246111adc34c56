//! DescribeClusters.

use super::Ecs;
use crate::aws::AwsError;

impl Ecs {
    /// The status of a cluster, named or by ARN: `ACTIVE`, or what else ECS says. `None` when there is none.
    ///
    /// # Errors
    /// AWS's answer, when it is not one.
    pub async fn cluster_status(&self, cluster: &str) -> Result<Option<String>, AwsError> {
        let answer = self.client.describe_clusters().clusters(cluster).send().await;
        let answer = answer.map_err(|error| AwsError::from_sdk("ecs:DescribeClusters", error))?;
        // One that is not there is among `failures`, beside an answer that is a success.
        Ok(answer.clusters().first().map(|cluster| cluster.status().unwrap_or_default().to_owned()))
    }
}
