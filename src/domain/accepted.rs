//! The change that ECS last accepted for a user, and whether a reading is older than that change. ECS is eventually
//! consistent (aws-facts §3): a read may show the state before a change that ECS has already confirmed.

use serde::{Deserialize, Serialize};

use super::service::{Deployment, Service, ServiceStatus};

/// The change that ECS last accepted for a user. Its times are ECS's own, so they compare with a reading without our clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// When the service was created, in seconds of the Unix epoch. It tells a service from a later one of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_created_at: Option<i64>,
    /// ARN of the revision that the service should run.
    pub task_definition: String,
    /// Desired count.
    pub desired: u32,
    /// Id of its PRIMARY deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// When that deployment was created, in seconds of the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_created_at: Option<i64>,
    /// Whether the change was the deletion of the service.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// When ECS accepted the change, in milliseconds of the Unix epoch, by the provisioner's clock.
    pub at_millis: i64,
}

/// Whether a reading shows the change that was accepted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recency {
    /// The reading shows the change, or a later one.
    Current,
    /// The reading does not show the change: it is older, or somebody else has changed the service since.
    Older,
    /// The reading shows an earlier deployment as PRIMARY: it is older, or ECS has gone back to that deployment.
    OlderOrGoneBack,
}

impl Accepted {
    /// The change that ECS accepted with this answer at `at_millis`, in milliseconds of the Unix epoch.
    #[must_use]
    pub fn of(answer: &Service, at_millis: i64) -> Self {
        let primary = answer.primary();
        Self {
            service_created_at: answer.created_at_seconds,
            task_definition: answer.task_definition.clone(),
            desired: answer.desired,
            deployment: primary.map(|primary| primary.id.clone()).filter(|id| !id.is_empty()),
            deployment_created_at: primary.and_then(|primary| primary.created_at_seconds),
            deleted: answer.status != ServiceStatus::Active,
            at_millis,
        }
    }

    /// Compares a reading with this change; `None`: no service was read.
    #[must_use]
    pub fn compare(&self, read: Option<&Service>) -> Recency {
        let Some(read) = read else {
            return if self.deleted { Recency::Current } else { Recency::Older };
        };
        match self.service_created_at.zip(read.created_at_seconds) {
            Some((ours, theirs)) if theirs < ours => return Recency::Older,
            // Somebody else has created the service again.
            Some((ours, theirs)) if theirs > ours => return Recency::Current,
            Some(_) | None => {}
        }
        match (read.status, self.deleted) {
            (ServiceStatus::Active, true) => Recency::Older,
            // A service in these states never becomes ACTIVE again.
            (ServiceStatus::Draining | ServiceStatus::Inactive, _) => Recency::Current,
            (ServiceStatus::Active, false) => self.compare_active(read),
        }
    }

    fn compare_active(&self, read: &Service) -> Recency {
        let count = if read.desired == self.desired { Recency::Current } else { Recency::Older };
        let (Some(ours), Some(primary)) = (&self.deployment, read.primary()) else {
            let is_ours = read.task_definition == self.task_definition;
            return if is_ours { count } else { Recency::OlderOrGoneBack };
        };
        if primary.id == *ours {
            return count;
        }
        let created = |deployment: &Deployment| deployment.created_at_seconds;
        let is_later = created(primary).zip(self.deployment_created_at).is_some_and(|(theirs, ours)| theirs > ours);
        let shows_ours = read.deployments.iter().any(|deployment| deployment.id == *ours);
        match is_later || shows_ours {
            true => Recency::Current,
            false => Recency::OlderOrGoneBack,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::service::Rollout;

    fn deployment(id: &str, created: i64, primary: bool) -> Deployment {
        Deployment {
            id: id.into(),
            primary,
            task_definition: format!("td:{id}"),
            rollout: Rollout::InProgress,
            reason: None,
            created_at_seconds: Some(created),
            updated_at_seconds: None,
        }
    }

    fn service(created: i64, desired: u32, deployments: Vec<Deployment>) -> Service {
        Service {
            name: "s".into(),
            status: ServiceStatus::Active,
            desired,
            running: 0,
            pending: 0,
            task_definition: deployments.first().map(|it| it.task_definition.clone()).unwrap_or_default(),
            created_at_seconds: Some(created),
            execute_command: false,
            deployments,
            troubles: vec![],
        }
    }

    #[test]
    fn a_stale_reading_is_recognised_by_ecs_own_timestamps() {
        let now = service(100, 1, vec![deployment("b", 200, true), deployment("a", 100, false)]);
        let accepted = Accepted::of(&now, 0);
        let with = |change: fn(&mut Service)| {
            let mut read = now.clone();
            change(&mut read);
            accepted.compare(Some(&read))
        };
        assert_eq!(with(|_| {}), Recency::Current);
        assert_eq!(accepted.compare(None), Recency::Older, "a create that is not seen yet");
        assert_eq!(with(|read| read.desired = 0), Recency::Older);
        assert_eq!(with(|read| read.deployments = vec![deployment("a", 100, true)]), Recency::OlderOrGoneBack);
        assert_eq!(
            with(|read| read.deployments = vec![deployment("a", 100, true), deployment("b", 200, false)]),
            Recency::Current,
            "ECS has gone back, and the reading shows it"
        );
        assert_eq!(
            with(|read| read.deployments = vec![deployment("c", 300, true)]),
            Recency::Current,
            "somebody else's deployment"
        );
        assert_eq!(
            with(|read| read.created_at_seconds = Some(50)),
            Recency::Older,
            "an earlier service of the same name"
        );
        assert_eq!(
            with(|read| read.created_at_seconds = Some(500)),
            Recency::Current,
            "created again by somebody else"
        );
        assert_eq!(with(|read| read.status = ServiceStatus::Draining), Recency::Current, "deleted by somebody else");
        let deleted = Accepted { deleted: true, ..accepted.clone() };
        assert_eq!(deleted.compare(Some(&now)), Recency::Older);
        assert_eq!(deleted.compare(None), Recency::Current);
    }
}
