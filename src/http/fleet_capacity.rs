//! Quotas of the account: how much is used, and how much is left.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{App, openapi};
use crate::domain::{CountedIn, LimitSource, Quota, QuotaUse};

/// The quotas that limit how many users there can be.
#[derive(Serialize, ToSchema)]
#[schema(as = FleetCapacity)]
pub(super) struct CapacityResponse {
    quotas: Vec<QuotaBody>,
    #[schema(format = DateTime)]
    taken_at: String,
    age_seconds: u64,
}

/// A quota, and how much of it is used.
#[derive(Serialize, ToSchema)]
#[schema(as = QuotaUse)]
struct QuotaBody {
    name: Quota,
    /// Null if it could not be counted; `problems` say why.
    #[schema(required)]
    used: Option<f64>,
    limit: f64,
    limit_from: LimitSource,
    /// `limit` minus `used`. Others in the account may use more of `fargate_vcpu`. Null if `used` is null, or is more than a
    /// documented default.
    #[schema(required)]
    left: Option<f64>,
    counted_in: CountedIn,
    /// Whether AWS raises it when asked to.
    adjustable: bool,
    /// What could not be read, and why.
    problems: Vec<String>,
}

/// Show how much of each quota is used and left
///
/// Quotas that limit how many users there can be, at most 60 s old. A number that cannot be counted is null, with the reason.
#[utoipa::path(get, path = "/fleet/capacity", operation_id = "get_fleet_capacity", tag = "fleet",
    responses((status = 200, description = "How much of each quota is used, and how much is left", body = CapacityResponse), openapi::Guarded))]
pub(super) async fn show(State(app): State<App>) -> Response {
    let look = app.capacity.look().await;
    let quotas = look.quotas.iter().map(QuotaBody::new).collect();
    let (taken_at, age_seconds) = (look.taken_at.to_string(), look.age().as_secs());
    axum::Json(CapacityResponse { quotas, taken_at, age_seconds }).into_response()
}

impl QuotaBody {
    fn new(of: &QuotaUse) -> Self {
        let QuotaUse { quota, used, limit, limit_from, problems } = of;
        Self {
            name: *quota,
            used: *used,
            limit: *limit,
            limit_from: *limit_from,
            left: of.left(),
            counted_in: quota.counted_in(),
            adjustable: quota.codes().is_some(),
            problems: problems.clone(),
        }
    }
}
