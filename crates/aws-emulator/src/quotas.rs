//! Service Quotas: the quotas of this account, which has asked for more Fargate and more network interfaces than a new
//! account has. Nothing enforces them.

use super::error::{ApiError, Outcome};
use super::here::{Action, Here};
use super::ids::{ACCOUNT, arn};
use super::input::Input;
use serde_json::json;

pub(crate) const ACTIONS: &[Action<Here>] = &[("GetServiceQuota", get_service_quota)];

/// Service code, its name, quota code, its name, value.
const QUOTAS: [(&str, &str, &str, &str, f64); 3] = [
    ("fargate", "AWS Fargate", "L-3032A538", "Fargate On-Demand vCPU resource count", 4_000.0),
    ("vpc", "Amazon Virtual Private Cloud (Amazon VPC)", "L-DF5E4CA3", "Network interfaces per Region", 20_000.0),
    ("ecs", "Amazon Elastic Container Service (Amazon ECS)", "L-9EF96962", "Services per cluster", 5_000.0),
];

fn get_service_quota(here: &mut Here, input: Input<'_>) -> Outcome {
    let (service, code) = (input.required("ServiceCode")?, input.required("QuotaCode")?);
    let found = QUOTAS.iter().find(|(of, _, known, ..)| *of == service && *known == code);
    let Some((_, service_name, _, name, value)) = found else {
        let message = "The request failed because the specified service or quota does not exist.";
        return Err(ApiError::bad("NoSuchResourceException", message));
    };
    Ok(json!({"Quota": {
        "ServiceCode": service, "ServiceName": service_name, "QuotaCode": code, "QuotaName": name, "Value": value,
        "QuotaArn": arn("servicequotas", &here.name, &format!("{service}/{code}")),
        "Unit": "None", "Adjustable": true, "GlobalQuota": false, "QuotaAppliedAtLevel": "ACCOUNT",
        "QuotaContext": {"ContextScope": "ACCOUNT", "ContextId": ACCOUNT},
    }}))
}
