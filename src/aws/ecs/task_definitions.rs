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

/// Attempts of one registration. Between them the waits add up to 5 to 10 s: longer than any burst of registrations
/// by other replicas, shorter than a caller's patience.
const REGISTER_ATTEMPTS: u32 = 7;
/// The same where AWS says that the account's rate is used up: replicas share it, and it is refilled at one a second. A burst of
/// everybody's is over in half a minute.
const THROTTLED_ATTEMPTS: u32 = 16;

const DEREGISTER: &str = "ecs:DeregisterTaskDefinition";

/// How far behind the newest revision of the family one is looked for whose registration was not answered: as far as a
/// burst of registrations by everybody goes.
const LOOKED_BACK: u64 = 20;

/// The newest revision of the family of users that this process knows of.
#[derive(Debug, Default)]
pub(super) struct Newest(Mutex<(String, u64)>);

impl Newest {
    /// Its number; 0 where none is known.
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

/// What DescribeTaskDefinition and RegisterTaskDefinition answer: the definition, and the tags that stand beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredDefinition {
    /// ARN with revision.
    pub arn: String,
    /// The definition, every member that AWS sent.
    pub document: Value,
    /// The tags.
    pub tags: Vec<Value>,
}

impl RegisteredDefinition {
    /// AWS answers a family with its latest ACTIVE revision or not at all; some emulators with an INACTIVE one.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.document["status"].as_str().is_none_or(|status| status == "ACTIVE")
    }
}

impl Ecs {
    /// Describes a revision by ARN, or the latest ACTIVE one of a bare family. `None` when there is none.
    ///
    /// # Errors
    /// AWS's answer, when it is not one.
    pub async fn describe_task_definition(&self, name: &str) -> Result<Option<RegisteredDefinition>, AwsError> {
        self.turn(Bucket::TaskDefinitionRead, "ecs:DescribeTaskDefinition").await?;
        self.described(name).await
    }

    /// ARN of the newest ACTIVE revision of a family, as it is listed. `None` when there is none.
    ///
    /// # Errors
    /// AWS's answer, when it is not one.
    pub async fn newest_revision(&self, family: &str) -> Result<Option<String>, AwsError> {
        const OPERATION: &str = "ecs:ListTaskDefinitions";
        self.turn(Bucket::TaskDefinitionRead, OPERATION).await?;
        let call = self.client.list_task_definitions().family_prefix(family).status(TaskDefinitionStatus::Active);
        let answer = call.sort(SortOrder::Desc).max_results(1).send().await;
        let answer = answer.map_err(|error| AwsError::from_sdk(OPERATION, error))?;
        Ok(answer.task_definition_arns().first().cloned())
    }

    /// ARNs of the newest ACTIVE revisions of a family, the newest first: as many as are on one page.
    ///
    /// # Errors
    /// AWS's answer, when it is not one.
    pub async fn newest_revisions(&self, family: &str) -> Result<Vec<String>, AwsError> {
        self.turn(Bucket::TaskDefinitionRead, "ecs:ListTaskDefinitions").await?;
        Ok(self.listed_revisions(family, Revisions::Active, None).await?.arns)
    }

    /// Describes a definition, once the caller has its token.
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

    /// Registers a definition. Few at a time in this process; another replica's concurrent registrations and AWS's
    /// throttling are waited out, a used-up quota (`LimitExceededException`, which the SDK would retry) is not.
    ///
    /// # Errors
    /// AWS's answer, when the attempts are used up or it is final.
    pub async fn register_task_definition(&self, request: &Value) -> Result<RegisteredDefinition, AwsError> {
        let mut attempt = 1;
        let newest_before = self.newest.of(request["family"].as_str().unwrap_or_default());
        // Kept for all attempts: whoever is refused was first all the same.
        let place = self.limiter.place_of_registration();
        loop {
            let error = match self.register_once(request, place).await {
                Ok(registered) => {
                    self.newest.saw(&registered.arn);
                    return Ok(registered);
                }
                Err(error) => error,
            };
            // AWS's own failure may have come after the effect, as a lost answer does.
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
        // Held for this attempt alone: one that gets no answer must not keep all other users waiting.
        let turn = self.limiter.acquire_registration(place).await;
        let mut turn = turn.map_err(|late| AwsError::not_sent(OPERATION, late))?;
        let answer = CaptureAnswer::default();
        let body = request.clone();
        // The SDK's own request is only the envelope (target, endpoint, retries off, signature); its body is
        // replaced whole, see `raw`.
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

    /// After a lost or failed answer: the revision that is what we asked for, among those that have come since
    /// `newest_before`, the newest that was known when it was sent. Registering again would leave it behind as an orphan. A
    /// failure here only means that it is registered again.
    async fn registered_unanswered(&self, request: &Value, newest_before: u64) -> Option<RegisteredDefinition> {
        let family = request["family"].as_str()?;
        let asked_for = labels_of_containers(request)?;
        let mut newest = self.describe_task_definition(family).await.ok()?;
        let mut number =
            newest.as_ref().and_then(|newest| revision(&newest.arn)).map_or(newest_before, |(_, number)| number);
        // What is answered for the family may be older than the registration; those after it are there by their numbers.
        for _ in 0..LOOKED_BACK {
            match self.describe_task_definition(&format!("{family}:{}", number + 1)).await.ok()? {
                Some(later) => (number, newest) = (number + 1, Some(later)),
                None => break,
            }
        }
        let newest = newest?;
        self.newest.saw(&newest.arn);
        // Those of others that were registered side by side with it.
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

    /// Deregisters a revision, in the background; one that is deregistered or deleted already is as good.
    ///
    /// # Errors
    /// AWS's answer, when it is not one.
    pub async fn deregister_task_definition(&self, arn: &str) -> Result<(), AwsError> {
        self.turn_in_background(Bucket::TaskDefinitionWrite, DEREGISTER).await?;
        self.deregister(arn).await
    }

    /// Deregisters a revision that nobody remembers, in the turn of a caller who waits: later nobody finds it.
    ///
    /// # Errors
    /// As for [`deregister_task_definition`](Self::deregister_task_definition).
    pub async fn deregister_now(&self, arn: &str) -> Result<(), AwsError> {
        self.turn(Bucket::TaskDefinitionWrite, DEREGISTER).await?;
        self.deregister(arn).await
    }

    /// Deregisters a revision when capacity is left over; `false` when it is not.
    ///
    /// # Errors
    /// AWS's answer, when it is not one.
    pub async fn deregister_with_spare_capacity(&self, arn: &str) -> Result<bool, AwsError> {
        if !self.limiter.try_acquire_spare(Bucket::TaskDefinitionWrite) {
            return Ok(false);
        }
        self.deregister(arn).await.map(|()| true)
    }

    /// Has INACTIVE revisions removed for good, in the background; at most 10 at a time (aws-facts §1). Answers with those
    /// that stay, and why; one that is gone already is as good.
    ///
    /// # Errors
    /// AWS's answer, when it is not one.
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

/// The labels of each container that has some, by its name; `None` where none of them names a user, as in a definition
/// that is not of this service. Any container may be the labelled one, and a base may label others.
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
