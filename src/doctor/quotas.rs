//! Checks of the account's quotas: how much is used and left, and whether the planned users fit.

use tokio::time::timeout;

use super::{Check, DEADLINE};
use crate::aws::{Aws, RegisteredDefinition};
use crate::capacity::{CapacityScope, read};
use crate::config::KnownCoordinates;
use crate::domain::{CPU_UNITS_A_VCPU, LimitSource, PlannedUsers, Quota, QuotaFinding, QuotaUse, user_family};

const NAME: &str = "quotas";

/// One check for each quota with a problem; without problems, one check with the use of all quotas.
pub(super) async fn checks(aws: &Aws, at: &KnownCoordinates, planned_users: Option<u32>) -> Vec<Check> {
    let KnownCoordinates {
        cluster: Some(cluster),
        base_family: Some(family),
        file_system_id: Some(file_system_id),
        ..
    } = at
    else {
        return vec![Check::skip(NAME, "cluster, base family and file system are not all known", None)];
    };
    let (cluster, file_system_id) = (cluster.clone(), file_system_id.clone());
    let has_user_roles = at.release.user_roles.is_some();
    let place = CapacityScope { cluster, file_system_id, user_family: user_family(family.as_str()), has_user_roles };
    let (quotas, vcpu) = tokio::join!(read(aws, &place, DEADLINE), async {
        match planned_users {
            Some(_) => vcpu_of_base(aws, family.as_str()).await,
            None => None,
        }
    });
    judge(&quotas, planned_users.map(|users| PlannedUsers { users, vcpu }))
}

/// vCPU of the newest base's task; the base has its own check.
async fn vcpu_of_base(aws: &Aws, family: &str) -> Option<f64> {
    let found = timeout(DEADLINE, aws.ecs.describe_task_definition(family)).await.ok()?.ok()??;
    let RegisteredDefinition { document, .. } = found;
    document["cpu"].as_str()?.parse::<f64>().ok().map(|units| units / CPU_UNITS_A_VCPU)
}

fn judge(quotas: &[QuotaUse], planned: Option<PlannedUsers>) -> Vec<Check> {
    let mut found: Vec<Check> =
        quotas.iter().filter_map(|of| Some(check(of, &of.finding(planned)?, planned))).collect();
    if found.is_empty() {
        let fit = planned.map(|PlannedUsers { users, .. }| format!("{users} users fit"));
        found.push(Check::pass(NAME, quotas.iter().map(said).chain(fit).collect::<Vec<_>>().join("; ")));
    }
    if let Some(PlannedUsers { users, vcpu: None }) = planned {
        let message =
            format!("whether {users} users fit into the quota of Fargate vCPU is not known: the base says no cpu");
        found.push(Check::skip(NAME, message, Some("set cpu in the base")));
    }
    found
}

fn check(of: &QuotaUse, finding: &QuotaFinding, planned: Option<PlannedUsers>) -> Check {
    let users = planned.map_or(0, |planned| planned.users);
    let way_out = Some(of.quota.way_out());
    let plan = |needed: &f64| format!("{users} users take {needed} {}", of.quota.what());
    match finding {
        QuotaFinding::BelowPlan { needed } => {
            let message = format!("{}, and {}", plan(needed), of_limit(of));
            Check::fail(NAME, "quota_below_plan", message, way_out)
        }
        QuotaFinding::BelowPlanByDefault { needed } => {
            let message = format!("{}, and {}{}", plan(needed), of_limit(of), because(of));
            Check::warn(NAME, "quota_below_plan", message, way_out)
        }
        QuotaFinding::UsedUp => Check::fail(NAME, "quota_used_up", said(of), way_out),
        QuotaFinding::NearlyUsedUp => Check::warn(NAME, "quota_nearly_used_up", said(of), way_out),
        QuotaFinding::Unknown => {
            let message = format!("the use of {} could not be counted{}", of.quota.what(), because(of));
            let fix = "allow what docs/own-infrastructure.md lists, or find out what delays AWS, and try again";
            Check::warn(NAME, "quota_unknown", message, Some(fix.into()))
        }
    }
}

/// The use of a quota, such as "3.5 of 6 Fargate vCPU in this cluster".
fn said(of: &QuotaUse) -> String {
    let used = of.used.map_or_else(|| "?".to_owned(), |used| used.to_string());
    let limit = match of.limit_from {
        LimitSource::DocumentedDefault if of.quota.codes().is_some() => {
            format!("{} by default{}", of.limit, because(of))
        }
        LimitSource::DocumentedDefault | LimitSource::InForce => of.limit.to_string(),
    };
    // The rest of the account is not counted.
    let seen = match of.quota {
        Quota::FargateVcpu | Quota::NetworkInterfaces => " in this cluster alone",
        Quota::Services | Quota::AccessPoints | Quota::TaskDefinitionRevisions | Quota::Roles => "",
    };
    format!("{used} of {limit} {}{seen}", of.quota.what())
}

fn of_limit(of: &QuotaUse) -> String {
    match of.limit_from {
        LimitSource::InForce => format!("{} are in force", of.limit),
        LimitSource::DocumentedDefault if of.quota.codes().is_some() => {
            format!("{} are the default, which counts unless it was raised", of.limit)
        }
        LimitSource::DocumentedDefault => format!("there are {}", of.limit),
    }
}

fn because(of: &QuotaUse) -> String {
    if of.problems.is_empty() { String::new() } else { format!(" ({})", of.problems.join("; ")) }
}
