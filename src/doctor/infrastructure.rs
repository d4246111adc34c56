//! Checks of what the coordinates name: cluster, base family, image, network.

use std::sync::Arc;
use std::time::Duration;

use openclaw::openclaw_json::GATEWAY_PORT;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

use super::{Check, DEADLINE, Verdict, timed_out};
use crate::aws::{Aws, Ecr, Ecs, ErrorKind, ImageLookup, PosixOwner, RegisteredDefinition};
use crate::config::KnownCoordinates;
use crate::domain::{BaseJudgement, Coordinates, Expected, ImageRef, NamedPort, Severity};

/// How long results are reused: readiness probes come every few seconds, and from several places.
const BELIEVED_FOR: Duration = Duration::from_secs(30);

/// Limits of one service (ECS API reference, AwsVpcConfiguration).
const MAX_SUBNETS: usize = 16;
const MAX_SECURITY_GROUPS: usize = 5;

/// These checks for repeated calls: one run at a time, and none within 30 s after the last.
#[derive(Debug, Clone)]
pub struct Infrastructure {
    aws: Aws,
    coordinates: watch::Receiver<Coordinates>,
    owner: PosixOwner,
    last: Arc<Mutex<Option<Look>>>,
}

#[derive(Debug)]
struct Look {
    taken_at: Instant,
    of: Coordinates,
    found: Vec<Check>,
}

impl Infrastructure {
    /// Users' files belong to `owner`. If `coordinates` change, the checks run again.
    #[must_use]
    pub fn new(aws: Aws, coordinates: watch::Receiver<Coordinates>, owner: PosixOwner) -> Self {
        Self { aws, coordinates, owner, last: Arc::default() }
    }

    /// The checks, at most 30 s old.
    pub async fn checks(&self) -> Vec<Check> {
        let mut last = self.last.lock().await;
        let at = self.coordinates.borrow().clone();
        if let Some(look) = last.as_ref().filter(|look| look.of == at && look.taken_at.elapsed() < BELIEVED_FOR) {
            return look.found.clone();
        }
        let found = checks(&self.aws, &at.clone().into(), self.owner).await;
        *last = Some(Look { taken_at: Instant::now(), of: at, found: found.clone() });
        found
    }
}

/// Checks everything that these coordinates name.
pub(super) async fn checks(aws: &Aws, at: &KnownCoordinates, owner: PosixOwner) -> Vec<Check> {
    let base_and_image = async {
        let (mut checks, image) = base_family(&aws.ecs, at, owner).await;
        checks.push(look_up(&aws.ecr, image).await);
        checks
    };
    let (cluster, base_and_image) = tokio::join!(cluster(&aws.ecs, at), base_and_image);
    [cluster].into_iter().chain(base_and_image).chain([network(at)]).collect()
}

async fn cluster(ecs: &Ecs, at: &KnownCoordinates) -> Check {
    const NAME: &str = "cluster";
    let Some(cluster) = &at.cluster else { return Check::skip(NAME, "not known", Some("set PROVISIONER_CLUSTER")) };
    let fix = || Some("deploy the infrastructure, or correct PROVISIONER_CLUSTER and AWS_REGION".to_owned());
    match timeout(DEADLINE, ecs.cluster_status(cluster)).await {
        Ok(Ok(Some(status))) if status == "ACTIVE" => Check::pass(NAME, format!("{cluster} is ACTIVE")),
        Ok(Ok(Some(status))) => Check::fail(NAME, "cluster_not_active", format!("{cluster} is {status}"), fix()),
        Ok(Ok(None)) => Check::fail(NAME, "no_such_cluster", format!("there is no cluster {cluster}"), fix()),
        // Nothing but these checks needs the permission.
        Ok(Err(error)) if error.kind() == ErrorKind::Denied => {
            let fix = "allow ecs:DescribeClusters, so that the cluster can be checked".to_owned();
            Check::warn(NAME, "aws_denied", error.to_string(), Some(fix))
        }
        Ok(Err(error)) => Check::aws(NAME, &error),
        Err(_) => timed_out(NAME),
    }
}

/// The checks of the base, and the image that it names.
async fn base_family(ecs: &Ecs, at: &KnownCoordinates, owner: PosixOwner) -> (Vec<Check>, Option<String>) {
    const NAME: &str = "base_family";
    let (family, file_system_id) = match (&at.base_family, &at.file_system_id) {
        (Some(family), Some(file_system_id)) => (family.as_str(), file_system_id),
        (None, _) => return (vec![Check::skip(NAME, "not known", Some("set PROVISIONER_BASE_FAMILY"))], None),
        (_, None) => {
            let why = "the file system that it must mount is not known";
            return (vec![Check::skip(NAME, why, Some("set PROVISIONER_FILE_SYSTEM_ID"))], None);
        }
    };
    let found = match timeout(DEADLINE, ecs.describe_task_definition(family)).await {
        Ok(Ok(found)) => found.filter(RegisteredDefinition::is_active),
        Ok(Err(error)) => return (vec![Check::aws(NAME, &error)], None),
        Err(_) => return (vec![timed_out(NAME)], None),
    };
    let Some(RegisteredDefinition { arn, document, tags }) = found else {
        let fix = "deploy the infrastructure, or correct PROVISIONER_BASE_FAMILY".to_owned();
        let message = format!("{family} has no ACTIVE revision");
        return (vec![Check::fail(NAME, "no_active_revision", message, Some(fix))], None);
    };
    let expected = Expected { family, file_system_id, release: &at.release, owner: (owner.uid, owner.gid) };
    let BaseJudgement { base, image, release, findings } = BaseJudgement::of(&document, tags, expected);
    let revision = arn.rsplit_once('/').map_or(arn.as_str(), |(_, revision)| revision);
    let described = findings.iter().map(|finding| {
        let make = match finding.severity() {
            Severity::Fail => Check::fail,
            Severity::Warn => Check::warn,
        };
        make(NAME, finding.code(), format!("{revision}: {}", finding.problem()), finding.fix())
    });
    let mut checks: Vec<Check> = described.collect();
    if let Some(base) = base.filter(|_| checks.iter().all(|check| check.verdict != Verdict::Fail)) {
        let release = release.map_or_else(|| "an unknown release".into(), |release| format!("OpenClaw {release}"));
        let (container, (state, codex)) = (base.openclaw(), (base.state_dir(), base.codex_home()));
        let port = base.named_port().map_or_else(
            || GATEWAY_PORT.to_string(),
            |NamedPort { port, named_by }| format!("{port}, which {named_by} names"),
        );
        let message = format!(
            "{revision} can be cloned; it runs {release} in container {}, because {}, and its gateway listens on {port}; \
             OPENCLAW_STATE_DIR will be {state}, and CODEX_HOME will be {codex}",
            container.name,
            container.told_by.because(),
        );
        checks.insert(0, Check::pass(NAME, message));
    }
    (checks, image)
}

async fn look_up(ecr: &Ecr, image: Option<String>) -> Check {
    const NAME: &str = "image";
    let Some(image) = image else { return Check::skip(NAME, "the base names no image that can be checked", None) };
    let parsed = match ImageRef::parse(&image, "image") {
        Ok(parsed) => parsed,
        Err(error) => {
            let message = format!("{image}: {}", error.problem());
            return Check::warn(NAME, "image_not_pinned", message, Some(error.fix().to_owned()));
        }
    };
    let Some(in_ecr) = parsed.ecr() else {
        return Check::skip(NAME, format!("{image} is in no private ECR registry, and others are not asked"), None);
    };
    let missing = |repository_exists| {
        let (problem, fix) = in_ecr.missing(repository_exists);
        Check::fail(NAME, "image_not_found", problem, Some(fix))
    };
    match timeout(DEADLINE, ecr.look_up(&in_ecr)).await {
        Ok(Ok(ImageLookup::Found)) => Check::pass(NAME, format!("{image} is in ECR")),
        Ok(Ok(ImageLookup::NoImage)) => missing(true),
        Ok(Ok(ImageLookup::NoRepository)) => missing(false),
        Ok(Ok(ImageLookup::NotAllowed)) => {
            let message = format!("this service has no permission to check whether {image} exists");
            let fix = "allow ecr:DescribeImages on its repository".to_owned();
            Check::warn(NAME, "aws_denied", message, Some(fix))
        }
        Ok(Err(error)) => Check::aws(NAME, &error),
        Err(_) => timed_out(NAME),
    }
}

/// Checks only the form of the ids: ECS checks that they exist and belong together when a task starts.
fn network(at: &KnownCoordinates) -> Check {
    const NAME: &str = "network";
    let kinds = [
        ("PROVISIONER_SUBNETS", "subnet", &at.subnets, MAX_SUBNETS),
        ("PROVISIONER_SECURITY_GROUPS", "sg", &at.security_groups, MAX_SECURITY_GROUPS),
    ];
    for (variable, kind, ids, limit) in kinds {
        if ids.is_empty() {
            return Check::skip(NAME, format!("{variable} is not known"), Some(&format!("set {variable}")));
        }
        let is_id = |id: &&String| {
            let digits = id.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-'));
            digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        };
        if let Some(bad) = ids.iter().find(|id| !is_id(id)) {
            let fix = format!("set {variable} to ids such as {kind}-0123456789abcdef0, with commas");
            return Check::fail(NAME, "not_an_id", format!("{variable}: {bad} is not an id of that kind"), Some(fix));
        }
        if ids.len() > limit {
            let message = format!("{variable}: {} of them, but ECS accepts {limit}", ids.len());
            return Check::fail(NAME, "too_many", message, Some(format!("remove some from {variable}")));
        }
    }
    Check::pass(NAME, format!("subnets {}; security groups {}", at.subnets.join(", "), at.security_groups.join(", ")))
}
