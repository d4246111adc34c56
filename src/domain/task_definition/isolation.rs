//! The drop to the agent's user: a tenant's process never sees where the task role's credentials are.
//!
//! ECS writes their address into the environment of every container, and only the same user can read `/proc/<pid>/environ`. So
//! the container starts as root, and its first two programs, both from the image, remove the variable and then the rights.
//! The order matters: with `setpriv` first, a process of the tenant's user would still have the variable for a moment at
//! every health check.

use openclaw::Invalid;
use serde_json::{Map, Value, json};

use super::base_error::BaseError;
use super::container::{STATE_DIRECTORY, is_for_openclaw, name};
use super::{items, text};
use crate::domain::user_spec::Spec;

/// The docker label with which a base asks for the drop; see [`WITHOUT_ROLE`] and [`WITH_ROLE`].
pub const LABEL_ISOLATION: &str = "openclaw.provisioner.isolation";
/// Value of [`LABEL_ISOLATION`]: the agent gets no credentials of the task role.
pub const WITHOUT_ROLE: &str = "without-role";
/// Value of [`LABEL_ISOLATION`]: the agent keeps the credentials, because it needs the role itself, for example for Bedrock.
pub const WITH_ROLE: &str = "with-role";
/// The docker label with the path of the image's `setpriv`, if it is not `/usr/bin/setpriv`.
pub const LABEL_SETPRIV: &str = "openclaw.provisioner.setpriv";

/// Path of util-linux's `setpriv` in Debian, and so in upstream's image.
pub(super) const SETPRIV: &str = "/usr/bin/setpriv";
const ENV: &str = "/usr/bin/env";
/// The variable with the address of the role's credentials, in every container (ECS developer guide, "Task IAM role").
const CREDENTIALS: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";

/// Capabilities to drop: Docker's defaults, which Fargate gives too, without SETUID, SETGID, SETPCAP and KILL. The first three are
/// needed for the drop, and the init process needs the last to pass SIGTERM on. They are listed by name, because Fargate can drop
/// any but add only SYS_PTRACE (ECS API reference, KernelCapabilities): after dropping ALL, these four could not be added again.
const DROPPED: [&str; 10] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SYS_CHROOT",
];

/// User and group of the agent if the base names none, or root: upstream's `node`.
const AGENT: (u32, u32) = (1000, 1000);
/// Its home in upstream's image.
const HOME: &str = "/home/node";

/// Variables that make the dynamic linker or the C library load code into a program, also as root (ld.so(8), setlocale(3)).
/// All variables that begin with `LD_` do so, too.
const LOADER_VARIABLES: [&str; 4] = ["GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH"];

/// Paths that are loaded from the image before the drop: a mount below or over one could replace it with the tenant's files.
const TRUSTED: [&str; 14] = [
    "/bin",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
];

/// Programs that drop rights themselves, which fails after our drop.
const DROPS_ITSELF: [&str; 6] = ["gosu", "runuser", "setpriv", "su", "su-exec", "sudo"];

/// The drop that a base asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    keeps_role: bool,
    setpriv: String,
    uid: u32,
    gid: u32,
    home: String,
}

impl Isolation {
    /// The drop that the container at `index` asks for; `mount` is its mount of the users' files.
    ///
    /// # Errors
    /// When the isolation would not protect tenants from each other.
    pub(super) fn asked_by(document: &Value, index: usize, mount: &str, arn: &str) -> Result<Option<Self>, BaseError> {
        let containers = items(document, "containerDefinitions");
        let is_asked = |container: &Value| label(container, LABEL_ISOLATION).is_some();
        let container = containers.get(index).unwrap_or(&Value::Null);
        let refused = |why: String, fix: &str| BaseError::CannotIsolate {
            arn: arn.to_owned(),
            container: name(container).to_owned(),
            why,
            fix: fix.to_owned(),
        };
        let Some(asked) = label(container, LABEL_ISOLATION) else {
            return match containers.iter().find(|other| is_asked(other)) {
                Some(other) => Err(refused(
                    format!("{LABEL_ISOLATION} is on container {}, which does not run OpenClaw", name(other)),
                    "put the label on the container that runs OpenClaw",
                )),
                None => Ok(None),
            };
        };
        let keeps_role = match asked {
            WITHOUT_ROLE => false,
            WITH_ROLE => true,
            other => {
                let why = format!("{LABEL_ISOLATION} is {}", openclaw::shown(other));
                return Err(refused(why, "set it to without-role or with-role"));
            }
        };
        let (uid, gid) = agent(text(container, "user").unwrap_or_default()).ok_or_else(|| {
            refused(
                "user is a name, or has root's group, but the drop needs both as numbers".into(),
                "set user to numbers, such as 1000:1000",
            )
        })?;
        let setpriv = label(container, LABEL_SETPRIV).unwrap_or(SETPRIV).to_owned();
        let is_plain =
            setpriv.starts_with('/') && !setpriv.contains('=') && normal(&setpriv).as_ref() == Some(&setpriv);
        if !is_plain {
            let why = format!("{LABEL_SETPRIV} is not an absolute path without . and ..");
            return Err(refused(why, "name the image's own setpriv of util-linux, such as /usr/bin/setpriv"));
        }
        if let Some((why, fix)) = obstacle(document, container, &setpriv, keeps_role) {
            return Err(refused(why, fix));
        }
        let own_home = mount.strip_suffix(STATE_DIRECTORY).map(|home| home.trim_end_matches('/'));
        let home = own_home.filter(|home| !home.is_empty()).unwrap_or(HOME).to_owned();
        Ok(Some(Self { keeps_role, setpriv, uid, gid, home }))
    }

    /// The user and group that the agent runs as.
    #[must_use]
    pub const fn agent(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    /// Whether the agent can still fetch the task role's credentials.
    #[must_use]
    pub const fn keeps_role(&self) -> bool {
        self.keeps_role
    }

    /// Path that `setpriv` must have in the image.
    #[must_use]
    pub fn setpriv(&self) -> &str {
        &self.setpriv
    }

    /// The command words of the drop, which come before a command.
    fn prefix(&self) -> Vec<Value> {
        let without = [ENV, "-u", CREDENTIALS].into_iter().filter(|_| !self.keeps_role).map(str::to_owned);
        let (uid, gid) = (self.uid, self.gid);
        let drop = [self.setpriv.clone(), format!("--reuid={uid}"), format!("--regid={gid}")];
        let rest = ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"];
        without.chain(drop).chain(rest.map(str::to_owned)).map(Value::String).collect()
    }

    /// Puts the drop before everything that the container and its health check run. `upstream` is the command that is assumed
    /// if the base names none: an `entryPoint` replaces both the image's own and its `CMD`.
    pub(super) fn apply(&self, container: &mut Map<String, Value>, upstream: &str) {
        let words = |member: &str| container.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
        let (entry_point, command) = (words("entryPoint"), words("command"));
        let upstream = |count: usize| upstream.split(' ').take(count).map(|word| json!(word)).collect::<Vec<_>>();
        let runs = match (entry_point.as_slice(), command.as_slice()) {
            ([], []) => upstream(usize::MAX),
            // The command is meant for an image whose entry point is OpenClaw itself.
            ([], [first, ..]) if is_for_openclaw(first) => [upstream(2), command].concat(),
            _ => [entry_point, command].concat(),
        };
        container.insert("entryPoint".into(), Value::Array(self.prefix()));
        container.insert("command".into(), Value::Array(runs));
        container.insert("user".into(), json!("0:0"));
        let parameters = container.entry("linuxParameters").or_insert_with(|| json!({}));
        if !parameters.is_object() {
            *parameters = json!({});
        }
        parameters["capabilities"] = json!({"drop": DROPPED});
        if let Some(check) = container.get_mut("healthCheck").filter(|check| check.is_object()) {
            let asked = items(check, "command").to_vec();
            if let Some(command) = self.check(asked) {
                check["command"] = Value::Array(command);
            }
        }
        // Docker sets HOME to root's home in a container that starts as root.
        let has_home = ["environment", "secrets"].iter().any(|member| {
            container
                .get(*member)
                .and_then(Value::as_array)
                .is_some_and(|list| list.iter().any(|entry| entry["name"] == "HOME"))
        });
        if !has_home {
            let environment = container.entry("environment").or_insert_with(|| json!([]));
            if let Some(list) = environment.as_array_mut() {
                list.push(json!({"name": "HOME", "value": self.home}));
            }
        }
    }

    /// A health check with the drop before it; `None` if there is no check.
    fn check(&self, asked: Vec<Value>) -> Option<Vec<Value>> {
        let kind = asked.first().and_then(Value::as_str)?;
        let runs = match kind {
            "NONE" => return None,
            "CMD" => asked[1..].to_vec(),
            "CMD-SHELL" => [vec![json!("/bin/sh"), json!("-c")], asked[1..].to_vec()].concat(),
            // Docker refuses this form; if anything runs it nevertheless, then as the agent.
            _ => asked,
        };
        Some([vec![json!("CMD")], self.prefix(), runs].concat())
    }

    /// Refuses a caller's variables and secrets that are dangerous in a container that starts as root.
    ///
    /// # Errors
    /// Names the variable or secret.
    pub(super) fn refuse(&self, spec: &Spec) -> Result<(), Invalid> {
        let variables = spec.variables.iter().map(|(name, _)| ("variables", name));
        let secrets = spec.secrets.iter().map(|(name, _)| ("secrets", name));
        match variables.chain(secrets).find(|(_, name)| is_for_the_loader(name)) {
            Some((member, name)) => Err(Invalid::new(
                format!("{member}.{name}"),
                "would be loaded into what runs as root before the rights are dropped",
                "leave it out, or let the command set it: env NAME=VALUE COMMAND",
            )),
            None => Ok(()),
        }
    }
}

/// Whether the agent of a registered revision can read the task role's credentials. The commands of the revision decide, not
/// its label.
pub(super) fn shares_task_role(document: &Value, container: &Value) -> bool {
    if text(document, "taskRoleArn").is_none_or(str::is_empty) {
        return false;
    }
    let starts_isolated = |words: &[Value]| {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        let [ENV, "-u", CREDENTIALS, setpriv, uid, gid, rest @ ..] = words.as_slice() else { return false };
        let is_user = |word: &str, option: &str| {
            word.strip_prefix(option).and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number > 0)
        };
        let dropped = ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"];
        setpriv.starts_with('/') && is_user(uid, "--reuid=") && is_user(gid, "--regid=") && rest.starts_with(&dropped)
    };
    let check = container.get("healthCheck").map_or(&[][..], |check| items(check, "command"));
    let is_checked_isolated = match check {
        [] => true,
        [kind, rest @ ..] => kind == "NONE" || kind == "CMD" && starts_isolated(rest),
    };
    !(text(container, "user") == Some("0:0") && starts_isolated(items(container, "entryPoint")) && is_checked_isolated)
}

/// Whether the base of a registered revision kept the role for OpenClaw.
pub(super) fn keeps_role(container: &Value) -> bool {
    label(container, LABEL_ISOLATION) == Some(WITH_ROLE)
}

/// The words of a registered revision that drop root's rights, for whatever else is run in its container: ECS Exec runs
/// as root.
pub(super) fn drop_of(container: &Value) -> Vec<String> {
    let is_ours = text(container, "user") == Some("0:0") && label(container, LABEL_ISOLATION).is_some();
    let words = items(container, "entryPoint").iter().filter(|_| is_ours);
    words.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Why the drop would not be effective, and what to change.
fn obstacle(document: &Value, container: &Value, setpriv: &str, keeps_role: bool) -> Option<(String, &'static str)> {
    let named = ["environment", "secrets"].into_iter().flat_map(|member| items(container, member));
    if let Some(variable) = named.filter_map(|entry| text(entry, "name")).find(|name| is_for_the_loader(name)) {
        let why = format!("{variable} would be loaded into what runs as root before the rights are dropped");
        return Some((why, "let the command set it: env NAME=VALUE COMMAND"));
    }
    if !items(container, "environmentFiles").is_empty() {
        let why =
            "environmentFiles may set variables, such as LD_PRELOAD, that are loaded into what runs as root".into();
        return Some((why, "set the variables in the base itself"));
    }
    if !items(container, "volumesFrom").is_empty() {
        return Some(("volumesFrom brings mounts that cannot be seen here".into(), "name them in mountPoints"));
    }
    let tmpfs = container.get("linuxParameters").map_or(&[][..], |parameters| items(parameters, "tmpfs"));
    let mounts = items(container, "mountPoints").iter().chain(tmpfs).filter_map(|mount| text(mount, "containerPath"));
    let own = setpriv.rsplit_once('/').map(|(directory, _)| directory).filter(|directory| !directory.is_empty());
    for path in mounts {
        let hides = TRUSTED.into_iter().chain([setpriv]).chain(own).find(|trusted| match normal(path) {
            Some(path) => is_below(&path, trusted) || is_below(trusted, &path),
            None => true,
        });
        if let Some(trusted) = hides {
            let path = openclaw::shown(path);
            let why = format!("the mount at {path} would cover {trusted}, which must come from the image");
            return Some((why, "mount it elsewhere, such as at /home/node/.openclaw or /data"));
        }
    }
    if !keeps_role && text(document, "pidMode") == Some("task") {
        let why =
            "pidMode task shows OpenClaw the processes of the other containers, which have the credentials".into();
        return Some((why, "leave pidMode out"));
    }
    let first = items(container, "entryPoint").iter().chain(items(container, "command")).next().and_then(Value::as_str);
    let program = first.and_then(|word| word.rsplit('/').next());
    let itself = program.filter(|program| DROPS_ITSELF.contains(program))?;
    let why = format!("its command drops rights itself, with {itself}, which fails after the drop");
    Some((why, "leave that to this service: name only the program that is run after it"))
}

/// User and group numbers from the base's `user`; those of [`AGENT`] if it is root or empty.
fn agent(user: &str) -> Option<(u32, u32)> {
    let (uid, gid) = user.split_once(':').map_or((user, None), |(uid, gid)| (uid, Some(gid)));
    if matches!(uid, "" | "root") || uid.parse() == Ok(0_u32) {
        return Some(AGENT);
    }
    let uid: u32 = uid.parse().ok()?;
    let gid: u32 = gid.map_or(Some(uid), |gid| gid.parse().ok())?;
    (gid > 0).then_some((uid, gid))
}

fn is_for_the_loader(name: &str) -> bool {
    name.starts_with("LD_") || LOADER_VARIABLES.contains(&name)
}

pub(super) fn label<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    container.get("dockerLabels").and_then(|labels| text(labels, name))
}

/// An absolute path without double slashes, trailing slashes and `.`; `None` if it is relative or contains `..`.
fn normal(path: &str) -> Option<String> {
    let parts = path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<&str> = parts.collect();
    (!parts.contains(&"..")).then(|| format!("/{}", parts.join("/")))
}

/// Whether a path is equal to another one or below it.
fn is_below(path: &str, other: &str) -> bool {
    other == "/" || path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
