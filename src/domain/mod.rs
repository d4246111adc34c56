//! The types and decisions of the service. Nothing here uses a file system, a clock or a network.

mod accepted;
mod access_point;
mod compatibility;
mod coordinates;
mod cost;
mod directory_size;
mod image;
mod promotion;
mod quota;
mod rollout_order;
pub mod service;
mod size;
mod status;
mod task_definition;
pub mod user_id;
mod user_role;
mod user_spec;
mod version_file;

pub use accepted::{Accepted, Recency};
pub use access_point::hide_access_points;
pub use compatibility::{Compatibility, ReleaseProof};
pub use coordinates::{BaseFamily, Coordinates, ReleaseDefaults};
pub use cost::{Architecture, Estimate, Priced, Prices, PricesError, RegionPrices};
pub use directory_size::{DirectorySize, DirectorySizes};
pub use image::{EcrImage, EcrReference, ImageRef};
pub use promotion::{BaseChoice, BaseSource, PromotedBaseError, Promotion, UnderWay, base_revision};
pub use quota::{CountedIn, LimitSource, PlannedUsers, Quota, QuotaFinding, QuotaUse};
pub use rollout_order::RolloutOrder;
pub use size::{CPU_UNITS, CPU_UNITS_A_VCPU, RawSize, Size};
pub use status::{
    LastStop, Phase, Reason, ReasonCode, State, Status, derive as derive_status, rolled_back_from, running_task,
};
pub use task_definition::{
    BaseDefinition, BaseError, BaseFinding, BaseJudgement, CurrentDefinition, CurrentError, Expected, Isolation,
    LABEL_ACCESS_POINT, LABEL_BASE, LABEL_DIGEST, LABEL_ISOLATION, LABEL_PREVIOUS, LABEL_ROLE, LABEL_SETPRIV,
    LABEL_SPEC, LABEL_USER, NamedPort, OUTPUT_MEMBERS, OpenClawContainer, ROLE_OPENCLAW, RenderError, Rendered,
    Severity, TAG_BASE_FAMILY, TAG_USER, ToldBy, WITH_ROLE, WITHOUT_ROLE, difference, release_of, render, user_family,
};
pub use user_id::UserId;
pub use user_role::{RoleGrants, TAG_FILE_SYSTEM, UserRoles, has_tags, is_own_role, region_of};
pub use user_spec::{CODEX_HOME, Labels, Secrets, Spec, SpecPatch, Variables, is_secret_arn};
pub use version_file::VersionFile;

/// An error and its causes in one line, for logs.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    hide_access_points(&causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
}
