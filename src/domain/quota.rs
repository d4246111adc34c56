//! Quotas of an AWS account that limit the number of users: how much is used and how much is left.

use serde::Serialize;
use utoipa::ToSchema;

/// An AWS quota that limits the number of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// vCPU of Fargate tasks that run at the same time, in an account and Region.
    FargateVcpu,
    /// Network interfaces in an account and Region. Every task has one, and so have many other things in a VPC.
    NetworkInterfaces,
    /// Services in a cluster.
    Services,
    /// Access points of a file system.
    AccessPoints,
    /// Revisions of the family of users' task definitions, deregistered and deleted ones included.
    TaskDefinitionRevisions,
    /// Roles in an account, in all Regions together. There where users have roles of their own.
    Roles,
}

/// Where the use of a quota is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CountedIn {
    /// In the configured cluster. The rest of the account may use more Fargate vCPU and network interfaces.
    Cluster,
    /// In the configured file system.
    FileSystem,
    /// In the family of users' task definitions.
    Family,
    /// In the account, with all that others have in it.
    Account,
}

impl Quota {
    /// All of them, the one that is used up first in a new account first.
    pub const ALL: [Self; 6] = [
        Self::FargateVcpu,
        Self::Roles,
        Self::NetworkInterfaces,
        Self::Services,
        Self::AccessPoints,
        Self::TaskDefinitionRevisions,
    ];

    /// Its name in API answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FargateVcpu => "fargate_vcpu",
            Self::NetworkInterfaces => "network_interfaces",
            Self::Services => "services",
            Self::AccessPoints => "access_points",
            Self::TaskDefinitionRevisions => "task_definition_revisions",
            Self::Roles => "roles",
        }
    }

    /// What it limits, in words.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::FargateVcpu => "Fargate vCPU",
            Self::NetworkInterfaces => "network interfaces",
            Self::Services => "services in the cluster",
            Self::AccessPoints => "access points of the file system",
            Self::TaskDefinitionRevisions => "revisions of users' task definitions",
            Self::Roles => "roles of the account",
        }
    }

    /// Service code and quota code in Service Quotas, if the quota can be raised; `None` if it is fixed.
    #[must_use]
    pub const fn codes(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::FargateVcpu => Some(("fargate", "L-3032A538")),
            Self::NetworkInterfaces => Some(("vpc", "L-DF5E4CA3")),
            Self::Services => Some(("ecs", "L-9EF96962")),
            Self::Roles => Some(("iam", "L-FE177D64")),
            Self::AccessPoints | Self::TaskDefinitionRevisions => None,
        }
    }

    /// What AWS documents: of a new account, where it can be raised (AWS general reference, "Fargate service quotas" and
    /// "Amazon ECS service quotas"; VPC user guide, "Amazon VPC quotas"; IAM user guide, "IAM and AWS STS quotas"; EFS user guide, "Resource quotas that cannot be changed").
    #[must_use]
    pub const fn documented_default(self) -> f64 {
        match self {
            Self::FargateVcpu => 6.0,
            Self::Roles => 1_000.0,
            Self::NetworkInterfaces | Self::Services => 5_000.0,
            Self::AccessPoints => 10_000.0,
            Self::TaskDefinitionRevisions => 1_000_000.0,
        }
    }

    /// Where its use is counted.
    #[must_use]
    pub const fn counted_in(self) -> CountedIn {
        match self {
            Self::FargateVcpu | Self::NetworkInterfaces | Self::Services => CountedIn::Cluster,
            Self::AccessPoints => CountedIn::FileSystem,
            Self::TaskDefinitionRevisions => CountedIn::Family,
            Self::Roles => CountedIn::Account,
        }
    }

    /// What to do when the quota is used up, or nearly.
    #[must_use]
    pub fn way_out(self) -> String {
        match self.codes() {
            // IAM's quotas are kept in one Region of the partition, and end at 5,000 (IAM user guide, "IAM and AWS STS quotas").
            Some((service @ "iam", code)) => format!(
                "ask for more, 5,000 at most: aws service-quotas request-service-quota-increase --region us-east-1 \
                 --service-code {service} --quota-code {code} --desired-value <what is planned>"
            ),
            Some((service, code)) => format!(
                "ask for more: aws service-quotas request-service-quota-increase --service-code {service} --quota-code \
                 {code} --desired-value <what is planned>"
            ),
            None => "it cannot be raised: further users go into another environment".into(),
        }
    }
}

/// The source of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    /// Service Quotas reports it for this account and Region.
    InForce,
    /// AWS's documentation; for a quota that can be raised, the value of a new account.
    DocumentedDefault,
}

/// A quota and how much of it is used.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaUse {
    /// The quota.
    pub quota: Quota,
    /// The amount used; `None` if it could not be counted.
    pub used: Option<f64>,
    /// The limit.
    pub limit: f64,
    /// The source of the limit.
    pub limit_from: LimitSource,
    /// What could not be read, and why.
    pub problems: Vec<String>,
}

/// The part of a quota that must be left; with less, a finding is reported.
const SPARE: f64 = 0.1;

/// A problem with a quota.
#[derive(Debug, Clone, PartialEq)]
pub enum QuotaFinding {
    /// The planned users need more than the limit in force.
    BelowPlan {
        /// How much the planned users take.
        needed: f64,
    },
    /// The planned users need more than the documented default, and the limit in force is unknown.
    BelowPlanByDefault {
        /// How much the planned users take.
        needed: f64,
    },
    /// Nothing is left.
    UsedUp,
    /// Less than a tenth is left.
    NearlyUsedUp,
    /// The amount used could not be counted.
    Unknown,
}

/// The planned number of users, and what each of them takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedUsers {
    /// Users, existing ones included.
    pub users: u32,
    /// vCPU of one; `None` where the base does not say.
    pub vcpu: Option<f64>,
}

impl QuotaUse {
    /// The amount left. `None` if the amount used is unknown, or is above the documented default: then the limit in force is
    /// higher, and unknown.
    #[must_use]
    pub fn left(&self) -> Option<f64> {
        let used = self.used?;
        (self.is_certain() || used <= self.limit).then(|| (self.limit - used).max(0.0))
    }

    /// Whether the limit is the real one: reported as in force, or fixed.
    const fn is_certain(&self) -> bool {
        matches!(self.limit_from, LimitSource::InForce) || self.quota.codes().is_none()
    }

    /// The problem with this quota, if there is one.
    #[must_use]
    pub fn finding(&self, planned: Option<PlannedUsers>) -> Option<QuotaFinding> {
        let needed = planned.and_then(|planned| self.needed(planned));
        if let Some(needed) = needed.filter(|needed| *needed > self.limit) {
            return Some(match self.is_certain() {
                true => QuotaFinding::BelowPlan { needed },
                false => QuotaFinding::BelowPlanByDefault { needed },
            });
        }
        match self.left() {
            None if self.used.is_none() => Some(QuotaFinding::Unknown),
            None => None,
            Some(left) if left <= 0.0 => Some(QuotaFinding::UsedUp),
            Some(left) if left < self.limit * SPARE => Some(QuotaFinding::NearlyUsedUp),
            Some(_) => None,
        }
    }

    /// How much of it the planned users take; `None` if that does not follow from their number.
    fn needed(&self, planned: PlannedUsers) -> Option<f64> {
        let users = f64::from(planned.users);
        match self.quota {
            Quota::FargateVcpu => planned.vcpu.map(|vcpu| users * vcpu),
            // Those of others are in the quota, too; these are planned alone.
            Quota::NetworkInterfaces | Quota::Services | Quota::AccessPoints | Quota::Roles => Some(users),
            Quota::TaskDefinitionRevisions => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(quota: Quota, used: impl Into<Option<f64>>, (limit, limit_from): (f64, LimitSource)) -> QuotaUse {
        QuotaUse { quota, used: used.into(), limit, limit_from, problems: vec![] }
    }

    const fn in_force(limit: f64) -> (f64, LimitSource) {
        (limit, LimitSource::InForce)
    }

    const fn by_default(limit: f64) -> (f64, LimitSource) {
        (limit, LimitSource::DocumentedDefault)
    }

    #[test]
    fn the_amount_left_is_known_only_if_the_amount_used_is_known() {
        let limit = in_force(8.0);
        assert_eq!(of(Quota::FargateVcpu, 2.5, limit).left(), Some(5.5));
        assert_eq!(of(Quota::FargateVcpu, None, limit).left(), None);
        assert_eq!(of(Quota::FargateVcpu, 9.0, limit).left(), Some(0.0), "never negative");
    }

    #[test]
    fn names_match_the_api_answers() {
        for quota in Quota::ALL {
            assert_eq!(serde_json::to_value(quota).unwrap(), quota.name());
        }
    }

    #[test]
    fn a_quota_that_is_used_up_or_nearly_so_is_reported() {
        let found = |used: f64| of(Quota::FargateVcpu, used, in_force(100.0)).finding(None);
        assert_eq!(found(0.0), None);
        assert_eq!(found(90.0), None);
        assert_eq!(found(90.5), Some(QuotaFinding::NearlyUsedUp));
        assert_eq!(found(100.0), Some(QuotaFinding::UsedUp));
        assert_eq!(found(101.0), Some(QuotaFinding::UsedUp));
        assert_eq!(of(Quota::FargateVcpu, 0.0, in_force(0.0)).finding(None), Some(QuotaFinding::UsedUp));
        let unknown = of(Quota::Services, None, in_force(5.0));
        assert_eq!(unknown.finding(None), Some(QuotaFinding::Unknown));
    }

    #[test]
    fn a_raised_quota_may_be_used_beyond_the_documented_default() {
        let default = by_default(6.0);
        assert_eq!(of(Quota::FargateVcpu, 6.0, default).finding(None), Some(QuotaFinding::UsedUp));
        let raised = of(Quota::FargateVcpu, 7.0, default);
        assert_eq!((raised.left(), raised.finding(None)), (None, None), "a higher limit is in force");
        let fixed = by_default(10_000.0);
        assert_eq!(of(Quota::AccessPoints, 10_001.0, fixed).finding(None), Some(QuotaFinding::UsedUp));
    }

    #[test]
    fn a_plan_is_compared_with_the_whole_quota() {
        let plan = |users, vcpu| Some(PlannedUsers { users, vcpu });
        let vcpu = |limit| of(Quota::FargateVcpu, 1.0, limit);
        let raised = vcpu(in_force(50.0));
        assert_eq!(raised.finding(plan(100, Some(0.5))), None);
        assert_eq!(raised.finding(plan(101, Some(0.5))), Some(QuotaFinding::BelowPlan { needed: 50.5 }));
        assert_eq!(raised.finding(plan(101, None)), None, "vCPU of a user is unknown");
        let new = vcpu(by_default(6.0));
        let found = new.finding(plan(100, Some(0.5)));
        assert_eq!(found, Some(QuotaFinding::BelowPlanByDefault { needed: 50.0 }));
        let fixed = of(Quota::AccessPoints, 1.0, by_default(10_000.0));
        assert_eq!(fixed.finding(plan(10_001, None)), Some(QuotaFinding::BelowPlan { needed: 10_001.0 }));
        let revisions = of(Quota::TaskDefinitionRevisions, 1.0, by_default(1e6));
        assert_eq!(revisions.finding(plan(u32::MAX, Some(16.0))), None);
    }
}
