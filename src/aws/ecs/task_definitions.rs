//! DescribeTaskDefinition, RegisterTaskDefinition, DeregisterTaskDefinition, DeleteTaskDefinitions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ecs::config::retry::RetryConfig;
use aws_sdk_ecs::types::{ContainerDefinition, SortOrder, TaskDefinitionField, TaskDefinitionStatus};
use serde_json::{Map, Value};

use super::{Ecs, Revisions};
use crate::aws::limiter::QueuePosition;
use crate::aws::raw::{CaptureAnswer, replace_body};
use crate::aws::{AwsError, Bucket, ErrorKind};
use crate::domain::LABEL_USER;
use crate::domain::service::revision;

/// Attempts of one registration. The waits between them add up to 5 to 10 s: longer than any burst of registrations
/// by other replicas, shorter than callers wait.
const REGISTER_ATTEMPTS: u32 = 7;
/// Attempts when AWS says that the account's rate is used up: all replicas share it, and it is refilled at one a second. A
/// burst of all replicas is over in half a minute.
const THROTTLED_ATTEMPTS: u32 = 16;

const DEREGISTER: &str = "ecs:DeregisterTaskDefinition";

/// How many revisions before the newest are searched for one whose registration was not answered: as many as a burst of
/// registrations by all replicas.
const LOOKED_BACK: u64 = 20;

/// The newest revision of the users' family that this process knows.
#[derive(Debug, Default)]
pub(super) struct Newest(Mutex<(String, u64)>);

impl Newest {
    /// Its number; 0 if none is known.
    fn of(&self, family: &str) -> u64 {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.0 == family { newest.1 } else { 0 }
    }

    fn saw(&self, arn: &str) {
        let short = arn.rsplit('/').next().unwrap_or(arn);
        let Some((family, number)) = revision(short) else { return };
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.0 == family {
            newest.1 = newest.1.max(number);
        } else {
            *newest = (family.to_owned(), number);
        }
    }
}

/// The answer of DescribeTaskDefinition and RegisterTaskDefinition: the definition, and the tags beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredDefinition {
    /// ARN with revision.
    pub arn: String,
    /// The definition with every member that AWS sent.
    pub document: Value,
    /// The tags.
    pub tags: Vec<Value>,
}

impl RegisteredDefinition {
    /// Whether the revision is ACTIVE. For a family AWS returns only the latest ACTIVE revision; some emulators return an
    /// INACTIVE one.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.document["status"].as_str().is_none_or(|status| status == "ACTIVE")
    }
}

impl Ecs {
    /// Describes a revision by ARN, or the latest ACTIVE one of a bare family. `None` when there is none.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn describe_task_definition(&self, name: &str) -> Result<Option<RegisteredDefinition>, AwsError> {
        self.turn(Bucket::TaskDefinitionRead, "ecs:DescribeTaskDefinition").await?;
        self.described(name).await
    }

    /// ARN of the newest ACTIVE revision of a family, from the list of revisions. `None` when there is none.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn newest_revision(&self, family: &str) -> Result<Option<String>, AwsError> {
        const OPERATION: &str = "ecs:ListTaskDefinitions";
        self.turn(Bucket::TaskDefinitionRead, OPERATION).await?;
        let call = self.client.list_task_definitions().family_prefix(family).status(TaskDefinitionStatus::Active);
        let answer = call.sort(SortOrder::Desc).max_results(1).send().await;
        let answer = answer.map_err(|error| AwsError::from_sdk(OPERATION, error))?;
        Ok(answer.task_definition_arns().first().cloned())
    }

    /// ARNs of the newest ACTIVE revisions of a family, newest first: one page.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn newest_revisions(&self, family: &str) -> Result<Vec<String>, AwsError> {
        self.turn(Bucket::TaskDefinitionRead, "ecs:ListTaskDefinitions").await?;
        Ok(self.listed_revisions(family, Revisions::Active, None).await?.arns)
    }

    /// Describes a definition. The caller has taken the token.
    pub(super) async fn described(&self, name: &str) -> Result<Option<RegisteredDefinition>, AwsError> {
        const OPERATION: &str = "ecs:DescribeTaskDefinition";
        let answer = CaptureAnswer::default();
        let call = self.client.describe_task_definition().task_definition(name).include(TaskDefinitionField::Tags);
        match call.customize().interceptor(answer.clone()).send().await {
            Ok(_) => definition_in(OPERATION, &answer).map(Some),
            Err(error) => match AwsError::from_sdk(OPERATION, error) {
                missing if missing.is_definition_unknown() => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Registers a definition, with few registrations at a time in this process. It tries again after another replica's
    /// concurrent registrations and after throttling, but not after a used-up quota (`LimitExceededException`, which the SDK
    /// would retry).
    ///
    /// # Errors
    /// AWS's error, when the attempts are used up or it is final.
    pub async fn register_task_definition(&self, request: &Value) -> Result<RegisteredDefinition, AwsError> {
        let mut attempt = 1;
        let newest_before = self.newest.of(request["family"].as_str().unwrap_or_default());
        // The place is kept for all attempts, so that a refused registration does not lose it.
        let place = self.limiter.place_of_registration();
        loop {
            let error = match self.register_once(request, place).await {
                Ok(registered) => {
                    self.newest.saw(&registered.arn);
                    return Ok(registered);
                }
                Err(error) => error,
            };
            // AWS may have registered it before its own failure, as with a lost answer.
            if matches!(error.kind(), ErrorKind::Unanswered | ErrorKind::Unreachable | ErrorKind::Unavailable)
                && let Some(registered) = self.registered_unanswered(request, newest_before).await
            {
                return Ok(registered);
            }
            let is_rate = error.kind() == ErrorKind::Throttled && !error.is_too_many_registrations();
            let attempts = if is_rate { THROTTLED_ATTEMPTS } else { REGISTER_ATTEMPTS };
            if attempt >= attempts || !error.is_retryable() {
                return Err(error);
            }
            tracing::info!(attempt, code = error.code(), "registration is tried again");
            let backoff = Duration::from_millis(100 << attempt.min(5));
            tokio::time::sleep(backoff.mul_f32(0.5 + fastrand::f32() / 2.0)).await;
            attempt += 1;
        }
    }

    async fn register_once(&self, request: &Value, place: QueuePosition) -> Result<RegisteredDefinition, AwsError> {
        const OPERATION: &str = "ecs:RegisterTaskDefinition";
        // Held only for this attempt: an attempt without an answer must not make all other users wait.
        let turn = self.limiter.acquire_registration(place).await;
        let mut turn = turn.map_err(|late| AwsError::not_sent(OPERATION, late))?;
        let answer = CaptureAnswer::default();
        let body = request.clone();
        // The SDK's request is only the envelope (target, endpoint, retries off, signature); its whole body is
        // replaced, see `raw`.
        let once = aws_sdk_ecs::config::Config::builder().retry_config(RetryConfig::disabled());
        let call = self.client.register_task_definition().family("replaced");
        let call = call.container_definitions(ContainerDefinition::builder().build());
        let sent = call
            .customize()
            .config_override(once)
            .interceptor(answer.clone())
            .mutate_request(move |http| replace_body(http, &body))
            .send()
            .await;
        match sent.map_err(|error| AwsError::from_sdk(OPERATION, error)) {
            Ok(_) => turn.taken(),
            Err(error) => {
                if error.is_too_many_registrations() {
                    turn.refused();
                }
                return Err(error);
            }
        }
        definition_in(OPERATION, &answer)
    }

    /// After a lost or failed answer: finds the requested revision among those that are newer than `newest_before`, the newest
    /// that was known when the request was sent. Registering again would leave it as an orphan. If this search fails, the
    /// definition is only registered again.
    async fn registered_unanswered(&self, request: &Value, newest_before: u64) -> Option<RegisteredDefinition> {
        let family = request["family"].as_str()?;
        let asked_for = labels_of_containers(request)?;
        let mut newest = self.describe_task_definition(family).await.ok()?;
        let mut number =
            newest.as_ref().and_then(|newest| revision(&newest.arn)).map_or(newest_before, |(_, number)| number);
        // The answer for the family may be older than the registration; later revisions are found by their numbers.
        for _ in 0..LOOKED_BACK {
            match self.describe_task_definition(&format!("{family}:{}", number + 1)).await.ok()? {
                Some(later) => (number, newest) = (number + 1, Some(later)),
                None => break,
            }
        }
        let newest = newest?;
        self.newest.saw(&newest.arn);
        // Skip revisions that others registered at the same time.
        let oldest = newest_before.saturating_add(1).max(number.saturating_sub(LOOKED_BACK));
        let (mut number, mut found) = (number, Some(newest));
        loop {
            match found.filter(|found| labels_of_containers(&found.document).as_ref() == Some(&asked_for)) {
                Some(ours) => return ours.is_active().then_some(ours),
                None if number <= oldest => return None,
                None => number -= 1,
            }
            found = self.describe_task_definition(&format!("{family}:{number}")).await.ok()?;
        }
    }

    /// Deregisters a revision, in the background; an already deregistered or deleted one is success.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn deregister_task_definition(&self, arn: &str) -> Result<(), AwsError> {
        self.turn_in_background(Bucket::TaskDefinitionWrite, DEREGISTER).await?;
        self.deregister(arn).await
    }

    /// Deregisters a revision that is in no record, without the delay of a background call, because later nobody would find it.
    ///
    /// # Errors
    /// As for [`deregister_task_definition`](Self::deregister_task_definition).
    pub async fn deregister_now(&self, arn: &str) -> Result<(), AwsError> {
        self.turn(Bucket::TaskDefinitionWrite, DEREGISTER).await?;
        self.deregister(arn).await
    }

    /// Deregisters a revision if there is spare capacity; `false` if there is none.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn deregister_with_spare_capacity(&self, arn: &str) -> Result<bool, AwsError> {
        if !self.limiter.try_acquire_spare(Bucket::TaskDefinitionWrite) {
            return Ok(false);
        }
        self.deregister(arn).await.map(|()| true)
    }

    /// Deletes INACTIVE revisions for good, in the background; at most 10 at a time (aws-facts §1). Returns those that stay,
    /// and why; an already deleted one is success.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn delete_task_definitions(&self, arns: &[String]) -> Result<Vec<(String, String)>, AwsError> {
        const OPERATION: &str = "ecs:DeleteTaskDefinitions";
        self.turn_in_background(Bucket::TaskDefinitionDelete, OPERATION).await?;
        let call = self.client.delete_task_definitions().set_task_definitions(Some(arns.to_vec()));
        let answer = call.send().await.map_err(|error| AwsError::from_sdk(OPERATION, error))?;
        let failures = answer.failures().iter().filter_map(|failure| {
            let reason = failure.reason().unwrap_or_default();
            let words = reason.to_ascii_lowercase();
            let is_gone =
                ["not exist", "missing", "not found", "delete_in_progress"].iter().any(|gone| words.contains(gone));
            (!is_gone).then(|| (failure.arn().unwrap_or_default().to_owned(), reason.to_owned()))
        });
        Ok(failures.collect())
    }

    async fn deregister(&self, arn: &str) -> Result<(), AwsError> {
        match self.client.deregister_task_definition().task_definition(arn).send().await {
            Ok(_) => Ok(()),
            Err(error) => match AwsError::from_sdk(DEREGISTER, error) {
                gone if gone.is_definition_unknown() || gone.is_definition_inactive() => Ok(()),
                error => Err(error),
            },
        }
    }
}

/// The labels of each container that has any, by the container's name; `None` if none of them names a user, as in a
/// definition that this service did not write. Any container may be the labelled one, and a base may label others.
fn labels_of_containers(definition: &Value) -> Option<BTreeMap<&str, &Map<String, Value>>> {
    let containers = definition["containerDefinitions"].as_array()?;
    let labels: BTreeMap<_, _> = containers
        .iter()
        .filter_map(|container| Some((container["name"].as_str()?, container["dockerLabels"].as_object()?)))
        .filter(|(_, labels)| !labels.is_empty())
        .collect();
    labels.values().any(|labels| labels.contains_key(LABEL_USER)).then_some(labels)
}

fn definition_in(operation: &'static str, answer: &CaptureAnswer) -> Result<RegisteredDefinition, AwsError> {
    let mut answer = answer.take().unwrap_or_default();
    let document = answer["taskDefinition"].take();
    let Some(arn) = document["taskDefinitionArn"].as_str().map(str::to_owned) else {
        return Err(AwsError::malformed(operation, "has no taskDefinitionArn"));
    };
    let tags = match answer["tags"].take() {
        Value::Array(tags) => tags,
        _ => Vec::new(),
    };
    Ok(RegisteredDefinition { arn, document, tags })
}
