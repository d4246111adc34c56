//! DescribeClusters.

use aws_sdk_ecs::types::Cluster;

use super::Ecs;
use crate::aws::AwsError;

const OPERATION: &str = "ecs:DescribeClusters";

impl Ecs {
    /// The status of a cluster (by name or ARN): `ACTIVE`, or another status of ECS. `None` when there is no such cluster.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn cluster_status(&self, cluster: &str) -> Result<Option<String>, AwsError> {
        let found = self.described_cluster(cluster).await?;
        Ok(found.map(|cluster| cluster.status().unwrap_or_default().to_owned()))
    }

    /// The number of ACTIVE services of a cluster, no matter who created them.
    ///
    /// # Errors
    /// When the call fails, or there is no such cluster.
    pub async fn services_in(&self, cluster: &str) -> Result<u32, AwsError> {
        let found = self.described_cluster(cluster).await?;
        let found = found.ok_or_else(|| AwsError::unusable(OPERATION, "shows no such cluster"))?;
        u32::try_from(found.active_services_count())
            .map_err(|_| AwsError::malformed(OPERATION, "has a negative activeServicesCount"))
    }

    async fn described_cluster(&self, cluster: &str) -> Result<Option<Cluster>, AwsError> {
        let answer = self.client.describe_clusters().clusters(cluster).send().await;
        let answer = answer.map_err(|error| AwsError::from_sdk(OPERATION, error))?;
        // A missing cluster is listed in `failures`, while the answer itself is a success.
        Ok(answer.clusters.unwrap_or_default().into_iter().next())
    }
}
