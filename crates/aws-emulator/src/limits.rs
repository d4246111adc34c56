//! The request rates of ECS: token buckets that several actions share (aws-facts §1).

use super::error::ApiError;
use std::collections::BTreeMap;
use std::time::Duration;

struct Bucket {
    actions: &'static [&'static str],
    burst: f64,
    refill_per_second: f64,
}

const fn bucket(actions: &'static [&'static str], burst: f64, refill_per_second: f64) -> Bucket {
    Bucket { actions, burst, refill_per_second }
}

const BUCKETS: [Bucket; 10] = [
    bucket(&["RegisterTaskDefinition", "DeregisterTaskDefinition"], 20.0, 1.0),
    bucket(&["DescribeTaskDefinition", "ListTaskDefinitions", "ListTaskDefinitionFamilies"], 50.0, 20.0),
    bucket(&["DeleteTaskDefinitions"], 5.0, 1.0),
    bucket(&["CreateService", "UpdateService", "DeleteService"], 50.0, 5.0),
    bucket(&["DescribeServices", "ListServices"], 100.0, 20.0),
    bucket(&["DescribeTasks", "ListTasks"], 100.0, 20.0),
    bucket(&["StopTask"], 100.0, 40.0),
    bucket(&["ListServiceDeployments", "DescribeServiceDeployments"], 50.0, 20.0),
    bucket(&["TagResource", "UntagResource"], 20.0, 10.0),
    bucket(&["ListTagsForResource"], 50.0, 20.0),
];

/// The tokens left in each bucket of each region, and since when.
#[derive(Default)]
pub(super) struct Limits(BTreeMap<(String, usize), (f64, Duration)>);

impl Limits {
    /// Takes a token for an ECS action, or refuses as AWS does.
    pub(super) fn take(&mut self, region: &str, action: &str, now: Duration) -> Result<(), ApiError> {
        let Some(index) = BUCKETS.iter().position(|bucket| bucket.actions.contains(&action)) else {
            return Ok(());
        };
        let bucket = &BUCKETS[index];
        let (tokens, since) = self.0.entry((region.to_owned(), index)).or_insert((bucket.burst, now));
        let refilled = now.saturating_sub(*since).as_secs_f64() * bucket.refill_per_second;
        *tokens = (*tokens + refilled).min(bucket.burst);
        *since = now;
        if *tokens < 1.0 {
            return Err(ApiError::bad("ThrottlingException", "Rate exceeded"));
        }
        *tokens -= 1.0;
        Ok(())
    }
}
