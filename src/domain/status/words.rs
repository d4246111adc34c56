//! Classes of ECS's messages. No list of them is complete, so a message is classified by the error name at its start, or,
//! without one, by the words in it (ECS developer guide, "Stopped tasks error messages" and "Service event messages";
//! names of the errors: amazon-ecs-agent, `dockerapi/errors.go`).

use super::ReasonCode;

/// Names of errors, or their beginnings, in lower case.
const CLASSES: [(&str, ReasonCode); 19] = [
    ("cannotpull", ReasonCode::ImagePull),
    ("resourceinitialization", ReasonCode::ResourceInitialization),
    ("cannotcreatevolume", ReasonCode::ResourceInitialization),
    ("cannotinspectvolume", ReasonCode::ResourceInitialization),
    ("cannotmountvolume", ReasonCode::ResourceInitialization),
    ("containernetworkingerror", ReasonCode::ResourceInitialization),
    ("outofmemory", ReasonCode::OutOfMemory),
    ("cannotstart", ReasonCode::CannotStart),
    ("cannotcreatecontainer", ReasonCode::CannotStart),
    ("hostconfigerror", ReasonCode::CannotStart),
    ("containerruntimeerror", ReasonCode::CannotStart),
    ("containerruntimetimeouterror", ReasonCode::CannotStart),
    ("dockertimeouterror", ReasonCode::CannotStart),
    ("cannotgetdockerclient", ReasonCode::CannotStart),
    ("dockerstateerror", ReasonCode::CannotStart),
    ("cannotinspectcontainer", ReasonCode::CannotStart),
    ("cannotdescribecontainer", ReasonCode::CannotStart),
    ("cannotstopcontainer", ReasonCode::ContainerExited),
    ("cannotremovecontainer", ReasonCode::ContainerExited),
];

/// The class of the first error name in a message: an error that wraps another one keeps its own class. A container that
/// has run was started, so it never counts as "cannot start".
pub(super) fn class_of(sentence: &str, has_run: bool) -> Option<ReasonCode> {
    let sentence = sentence.to_ascii_lowercase();
    let found = CLASSES.iter().filter_map(|(name, code)| Some((sentence.find(name)?, *code)));
    let (_, code) = found.min_by_key(|(at, _)| *at)?;
    match code {
        ReasonCode::CannotStart if has_run || sentence.contains("transition to stopped") => None,
        ReasonCode::ContainerExited => None,
        code => Some(code),
    }
}

/// The class of a message without an error name, for a container that has never run.
pub(super) fn phrase_of(sentence: &str) -> Option<ReasonCode> {
    const IMAGE: [&str; 8] = [
        "pull access denied",
        "manifest unknown",
        "manifest for ",
        "image manifest",
        "pull image",
        "pulling image",
        "failed to resolve ref",
        "no basic auth",
    ];
    const START: [&str; 6] = [
        "exec format error",
        "executable file not found",
        "oci runtime",
        "runc ",
        "transition to running",
        "transition to created",
    ];
    const RESOURCE: [&str; 4] = ["efs", "volume", "environment file", "env file"];
    if says_any(sentence, &IMAGE) {
        return Some(ReasonCode::ImagePull);
    }
    if says_any(sentence, &START) {
        return Some(ReasonCode::CannotStart);
    }
    let is_resource = is_network_interface(sentence)
        || is_log(sentence)
        || is_secret(sentence)
        || RESOURCE.iter().any(|phrase| has_word(sentence, phrase));
    is_resource.then_some(ReasonCode::ResourceInitialization)
}

/// The class of a service event.
pub(super) fn of_event(message: &str) -> ReasonCode {
    let is_quota = says_any(message, &["limit", "quota"])
        && (says_any(message, &["run concurrently"]) || has_word(message, "vcpu") || has_word(message, "vcpus"));
    if is_quota {
        return ReasonCode::VcpuQuota;
    }
    if says_any(message, &["capacity"]) && says_any(message, &["unavailable", "not available", "insufficient", "no "]) {
        return ReasonCode::NoCapacity;
    }
    if let Some(code) = class_of(message, false) {
        return code;
    }
    if is_role(message) {
        return ReasonCode::Other;
    }
    if says_any(message, &["unable to place"]) {
        return ReasonCode::Placement;
    }
    if says_any(message, &["health check", "unhealthy"]) {
        return ReasonCode::Unhealthy;
    }
    if is_network_interface(message) {
        return ReasonCode::Placement;
    }
    ReasonCode::Other
}

/// Whether an event only says that tasks fail; a stopped task or the deployment gives a better reason.
pub(super) fn is_general(message: &str) -> bool {
    says_any(message, &["unable to consistently start", "(task "])
}

/// What an operator should do, as precisely as ECS's message allows.
pub(super) fn hint(code: ReasonCode, message: &str, exit_code: Option<i32>) -> &'static str {
    match code {
        ReasonCode::ResourceInitialization | ReasonCode::Placement if is_network_interface(message) => {
            "check that the subnets have free addresses, that the account may create more network interfaces, and that subnets and security groups exist, then redeploy"
        }
        ReasonCode::ResourceInitialization if is_log(message) => {
            "create the log group that the base's logConfiguration names, and let the execution role write to it (logs:CreateLogStream, logs:PutLogEvents), then redeploy"
        }
        ReasonCode::ResourceInitialization if is_secret(message) && is_unreachable(message) => {
            "check the way from the users' subnets to ECR, Secrets Manager and SSM: NAT or interface endpoints, DNS and security groups, then redeploy"
        }
        ReasonCode::ResourceInitialization if is_secret(message) => {
            "check the ARNs in `secrets`, and let the execution role read and decrypt them and get an ECR token, then redeploy"
        }
        ReasonCode::ImagePull if is_unreachable(message) => {
            "check the way from the users' subnets to the registry: NAT, or the interface endpoints of ECR and the gateway endpoint of S3, then redeploy"
        }
        ReasonCode::ContainerExited if exit_code == Some(137) => {
            "the container was killed, most often because it ran out of memory or did not end in time: read its log, and resize to more memory_mib if it was memory"
        }
        ReasonCode::Other if says_any(message, &["service linked role", "service-linked role"]) => {
            "create the role AWSServiceRoleForECS (aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com), then redeploy"
        }
        ReasonCode::Other if is_role(message) => {
            "check that the execution role of the base exists, and its task role unless users have their own, and trust ecs-tasks.amazonaws.com, then redeploy with force"
        }
        ReasonCode::Other if is_general(message) => {
            "read the stopped tasks in ECS and the container's log; ECS starts it again, with longer and longer pauses"
        }
        ReasonCode::Other if says_any(message, &["throttled", "rate exceeded"]) => {
            "nothing: AWS asks ECS to slow down, and ECS goes on by itself"
        }
        other => other.hint(),
    }
}

fn is_network_interface(message: &str) -> bool {
    const PHRASES: [&str; 4] =
        ["network interface", "networkinterface", "insufficientfreeaddresses", "free ip address"];
    says_any(message, &PHRASES)
        || has_word(message, "eni")
        || has_word(message, "subnet") && says_any(message, &["address", "does not exist", "not found"])
        || has_word(message, "subnets")
}

fn is_log(message: &str) -> bool {
    says_any(message, &["logging driver", "log driver", "log group", "log stream", "awslogs"])
}

fn is_secret(message: &str) -> bool {
    says_any(
        message,
        &["secret", "registry auth", "registry authentication", "ssm:getparameters", "invalid parameters"],
    )
}

fn is_role(message: &str) -> bool {
    says_any(
        message,
        &["assume the role", "assuming role", "assume role", "service linked role", "service-linked role"],
    )
}

fn is_unreachable(message: &str) -> bool {
    const PHRASES: [&str; 9] = [
        "timeout",
        "timed out",
        "time out",
        "deadline exceeded",
        "connection issue",
        "connection refused",
        "no such host",
        "network configuration",
        "unreachable",
    ];
    says_any(message, &PHRASES)
}

/// Whether a message contains one of these lower-case phrases.
pub(super) fn says_any(message: &str, phrases: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    phrases.iter().any(|phrase| message.contains(phrase))
}

/// Whether a message contains this as a separate word.
fn has_word(message: &str, word: &str) -> bool {
    let mut words = message.split(|character: char| !character.is_ascii_alphanumeric());
    if word.contains(' ') { says_any(message, &[word]) } else { words.any(|other| other.eq_ignore_ascii_case(word)) }
}
