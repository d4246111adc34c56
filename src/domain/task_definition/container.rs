//! Which container of a definition is OpenClaw. This is decided only here: pin, variables, secrets, entry script, labels,
//! health and status all use the container that is chosen here.

use serde_json::Value;

use super::base_error::BaseError;
use super::{LABEL_ROLE, LABEL_USER, ROLE_OPENCLAW, items, text};

/// The directory of its home where OpenClaw keeps its state by default.
pub(super) const STATE_DIRECTORY: &str = ".openclaw";
/// The variable that names another state directory.
pub(super) const STATE_DIR: &str = "OPENCLAW_STATE_DIR";

/// The container of a base that runs OpenClaw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenClawContainer {
    /// Its index among the containers.
    pub(super) index: usize,
    /// Its name.
    pub name: String,
    /// How it was identified.
    pub told_by: ToldBy,
}

/// How the container that runs OpenClaw was identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldBy {
    /// There is no other container.
    Only,
    /// The docker label [`LABEL_ROLE`].
    Label,
    /// The setting `PROVISIONER_CONTAINER`.
    Setting,
    /// No other essential container mounts the users' files.
    Mount,
    /// Several mount the users' files, but only this one mounts them where OpenClaw keeps its state.
    StateDirectory,
}

impl ToldBy {
    /// The explanation, to be written after "because".
    #[must_use]
    pub const fn because(self) -> &'static str {
        match self {
            Self::Only => "there is no other container",
            Self::Label => "its docker label openclaw.provisioner.role says so",
            Self::Setting => "PROVISIONER_CONTAINER says so",
            Self::Mount => "no other essential container mounts the users' files",
            Self::StateDirectory => "it alone mounts the users' files where OpenClaw keeps its state",
        }
    }
}

/// One mount of one container.
#[derive(Clone, Copy)]
pub(super) struct Mount<'a> {
    /// The `mountPoint`.
    pub(super) point: &'a Value,
    /// The `efsVolumeConfiguration` of its volume.
    pub(super) efs: &'a Value,
}

impl Mount<'_> {
    /// Whether the volume has its own access point: such a volume is shared on purpose.
    pub(super) fn has_access_point(&self) -> bool {
        self.efs.pointer("/authorizationConfig/accessPointId").is_some_and(Value::is_string)
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.point.get("readOnly").and_then(Value::as_bool) == Some(true)
    }

    pub(super) fn is_of(&self, file_system_id: &str) -> bool {
        text(self.efs, "fileSystemId") == Some(file_system_id)
    }
}

/// The EFS mounts of a container.
pub(super) fn efs_mounts<'a>(document: &'a Value, container: &'a Value) -> Vec<Mount<'a>> {
    let efs_of = |volume: &str| {
        let mut named = items(document, "volumes").iter().filter(|other| text(other, "name") == Some(volume));
        named.find_map(|volume| volume.get("efsVolumeConfiguration").filter(|efs| efs.is_object()))
    };
    let points = items(container, "mountPoints").iter();
    points.filter_map(|point| Some(Mount { point, efs: efs_of(text(point, "sourceVolume")?)? })).collect()
}

/// Chooses the container of a base: the one that a label or the setting names; otherwise the essential one that mounts the
/// users' files; of several, the one that mounts them where OpenClaw keeps its state.
///
/// # Errors
/// When no container or several could be OpenClaw, and when label or setting contradict the base.
pub(super) fn choose(
    document: &Value,
    arn: &str,
    file_system_id: &str,
    setting: Option<&str>,
) -> Result<OpenClawContainer, BaseError> {
    let containers = items(document, "containerDefinitions");
    let arn = || arn.to_owned();
    let chosen = |index: usize, told_by: ToldBy| {
        let name = name(&containers[index]).to_owned();
        match is_essential(&containers[index]) {
            true => Ok(OpenClawContainer { index, name, told_by }),
            false => Err(BaseError::NotEssential { arn: arn(), container: name }),
        }
    };
    let names = |indices: &[usize]| indices.iter().map(|index| name(&containers[*index]).to_owned()).collect();
    let labelled = all(containers, |container| {
        container.get("dockerLabels").and_then(|labels| text(labels, LABEL_ROLE)) == Some(ROLE_OPENCLAW)
    });
    match (labelled.as_slice(), setting) {
        ([], None) => {}
        ([index], None) => return chosen(*index, ToldBy::Label),
        ([index], Some(named)) if name(&containers[*index]) == named => return chosen(*index, ToldBy::Label),
        ([], Some(named)) => {
            return match all(containers, |container| name(container) == named).first() {
                Some(index) => chosen(*index, ToldBy::Setting),
                None => {
                    let found = names(&all(containers, |_| true));
                    Err(BaseError::NoSuchContainer { arn: arn(), named: named.to_owned(), found })
                }
            };
        }
        (several, setting) => {
            let setting = setting.map(str::to_owned);
            return Err(BaseError::ContradictingNames { arn: arn(), labelled: names(several), setting });
        }
    }
    let mounts_users_files = |container: &Value, only_writable: bool| {
        let ours = efs_mounts(document, container).into_iter().filter(|mount| mount.is_of(file_system_id));
        ours.filter(|mount| !(only_writable && mount.is_read_only())).any(|mount| !mount.has_access_point())
    };
    // A read-only container cannot renew a sign-in. A volume with its own access point counts as the users' only if there
    // is no other.
    let any_mount = |container: &Value| efs_mounts(document, container).iter().any(|mount| mount.is_of(file_system_id));
    let essential = |index: &usize| is_essential(&containers[*index]);
    let by_rank = [
        all(containers, |container| mounts_users_files(container, true)),
        all(containers, |container| mounts_users_files(container, false)),
        all(containers, any_mount),
    ];
    let candidates = by_rank.iter().map(|found| found.iter().copied().filter(essential).collect::<Vec<_>>());
    let candidates = candidates.into_iter().find(|found| !found.is_empty()).unwrap_or_default();
    match candidates.as_slice() {
        [index] if containers.len() == 1 => chosen(*index, ToldBy::Only),
        [index] => chosen(*index, ToldBy::Mount),
        [] => Err(without_mount(document, containers, arn(), file_system_id, &by_rank[2])),
        several => {
            let has_state = |index: &&usize| is_at_state_directory(document, &containers[**index], file_system_id);
            match several.iter().filter(has_state).collect::<Vec<_>>().as_slice() {
                [index] => chosen(**index, ToldBy::StateDirectory),
                _ => Err(BaseError::AmbiguousContainer { arn: arn(), candidates: names(several) }),
            }
        }
    }
}

/// Why no container could be OpenClaw.
fn without_mount(
    document: &Value,
    containers: &[Value],
    arn: String,
    file_system_id: &str,
    not_essential: &[usize],
) -> BaseError {
    if containers.is_empty() {
        return BaseError::NoContainer { arn };
    }
    if let Some(index) = not_essential.first() {
        return BaseError::NotEssential { arn, container: name(&containers[*index]).to_owned() };
    }
    let file_system_id = file_system_id.to_owned();
    let mounted = containers.iter().filter(|container| is_essential(container)).find_map(|container| {
        efs_mounts(document, container).first().and_then(|mount| text(mount.efs, "fileSystemId")).map(str::to_owned)
    });
    let names = containers.iter().map(|container| name(container).to_owned()).collect();
    match mounted {
        Some(mounted) => BaseError::OtherFileSystem { arn, mounted, file_system_id },
        None => BaseError::NoEfsMount { arn, containers: names, file_system_id },
    }
}

/// Whether a container mounts the users' files where OpenClaw would look for its state.
fn is_at_state_directory(document: &Value, container: &Value, file_system_id: &str) -> bool {
    let environment = items(container, "environment");
    let stated = environment.iter().rfind(|entry| text(entry, "name") == Some(STATE_DIR));
    let stated = stated.and_then(|entry| text(entry, "value")).map(|path| path.trim_end_matches('/'));
    let ours = efs_mounts(document, container).into_iter().filter(|mount| mount.is_of(file_system_id));
    let mut paths = ours.filter_map(|mount| text(mount.point, "containerPath")).map(|path| path.trim_end_matches('/'));
    match stated {
        Some(stated) => paths.any(|path| path == stated),
        None => paths.any(|path| path.rsplit('/').next() == Some(STATE_DIRECTORY)),
    }
}

/// The container that runs OpenClaw in a revision that this service registered: the one that carries our labels, else the
/// first. `None` when there is no container.
pub(in crate::domain) fn of_registered(document: &Value) -> Option<&Value> {
    let containers = items(document, "containerDefinitions");
    containers.iter().find(|container| carries_our_labels(container)).or_else(|| containers.first())
}

/// Whether this service wrote the container.
pub(super) fn carries_our_labels(container: &Value) -> bool {
    container.get("dockerLabels").is_some_and(|labels| labels.get(LABEL_USER).is_some())
}

/// Whether a container is essential, which is ECS's default.
fn is_essential(container: &Value) -> bool {
    container.get("essential").and_then(Value::as_bool) != Some(false)
}

pub(super) fn name(container: &Value) -> &str {
    text(container, "name").unwrap_or_default()
}

fn all(containers: &[Value], is_meant: impl Fn(&Value) -> bool) -> Vec<usize> {
    containers.iter().enumerate().filter(|(_, container)| is_meant(container)).map(|(index, _)| index).collect()
}

/// OpenClaw's own commands that start a gateway; a base names them if the image's entry point is OpenClaw.
const OPENCLAW_COMMANDS: [&str; 2] = ["gateway", "daemon"];

/// Whether a command's first word makes sense only if the entry point is OpenClaw itself.
pub(super) fn is_for_openclaw(first: &Value) -> bool {
    first.as_str().is_some_and(|word| word.starts_with('-') || OPENCLAW_COMMANDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ARN: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev:42";

    fn mounting(name: &str, volume: &str, path: &str) -> Value {
        json!({"name": name, "mountPoints": [{"sourceVolume": volume, "containerPath": path}]})
    }

    fn with(container: Value, member: &str, value: Value) -> Value {
        let mut container = container;
        container[member] = value;
        container
    }

    fn labelled(container: Value) -> Value {
        with(container, "dockerLabels", json!({LABEL_ROLE: ROLE_OPENCLAW}))
    }

    fn chosen(containers: Vec<Value>, setting: Option<&str>) -> Result<(String, ToldBy), &'static str> {
        let document = json!({"containerDefinitions": containers, "volumes": [
            {"name": "home", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}},
            {"name": "shared", "efsVolumeConfiguration": {
                "fileSystemId": "fs-1", "authorizationConfig": {"accessPointId": "fsap-shared"}}},
            {"name": "other", "efsVolumeConfiguration": {"fileSystemId": "fs-2"}},
            {"name": "scratch"},
        ]});
        let chosen = choose(&document, ARN, "fs-1", setting).map_err(|error| error.code());
        chosen.map(|chosen| (chosen.name, chosen.told_by))
    }

    fn ok(name: &str, told_by: ToldBy) -> Result<(String, ToldBy), &'static str> {
        Ok((name.to_owned(), told_by))
    }

    #[test]
    fn the_essential_container_that_mounts_the_users_files_is_openclaw_at_any_position() {
        let openclaw = || mounting("openclaw", "home", "/home/node/.openclaw");
        let router = || json!({"name": "router", "essential": true});
        let init = || with(mounting("init", "home", "/data"), "essential", json!(false));
        let proxy = || mounting("proxy", "scratch", "/tmp");
        assert_eq!(chosen(vec![openclaw()], None), ok("openclaw", ToldBy::Only));
        for order in [
            vec![openclaw(), router(), init(), proxy()],
            vec![init(), openclaw(), router(), proxy()],
            vec![router(), proxy(), init(), openclaw()],
            vec![mounting("docs", "shared", "/shared"), mounting("cache", "other", "/c"), openclaw()],
        ] {
            assert_eq!(chosen(order, None), ok("openclaw", ToldBy::Mount));
        }
    }

    #[test]
    fn of_several_the_one_that_mounts_the_files_at_its_state_directory_is_chosen() {
        let backup = || mounting("backup", "home", "/data");
        let openclaw = || mounting("openclaw", "home", "/home/node/.openclaw/");
        assert_eq!(chosen(vec![backup(), openclaw()], None), ok("openclaw", ToldBy::StateDirectory));
        let named = with(backup(), "environment", json!([{"name": STATE_DIR, "value": "/data/"}]));
        assert_eq!(chosen(vec![mounting("x", "home", "/x"), named], None), ok("backup", ToldBy::StateDirectory));
        // A read-only container is not chosen.
        let mut reader = mounting("reader", "home", "/home/node/.openclaw");
        reader["mountPoints"][0]["readOnly"] = json!(true);
        assert_eq!(chosen(vec![reader, backup()], None), ok("backup", ToldBy::Mount));
        assert_eq!(chosen(vec![openclaw(), mounting("two", "home", "/y/.openclaw")], None), Err("ambiguous_container"));
        assert_eq!(chosen(vec![backup(), mounting("two", "home", "/y")], None), Err("ambiguous_container"));
    }

    #[test]
    fn a_label_or_the_setting_names_the_container_and_both_must_agree() {
        let two = || [mounting("one", "home", "/x"), mounting("two", "home", "/y")];
        let [one, labelled_two] = [two()[0].clone(), labelled(two()[1].clone())];
        assert_eq!(chosen(two().to_vec(), Some("two")), ok("two", ToldBy::Setting));
        assert_eq!(chosen(vec![one.clone(), labelled_two.clone()], None), ok("two", ToldBy::Label));
        assert_eq!(chosen(vec![one.clone(), labelled_two.clone()], Some("two")), ok("two", ToldBy::Label));
        assert_eq!(chosen(vec![one.clone(), labelled_two.clone()], Some("one")), Err("contradicting_containers"));
        assert_eq!(chosen(vec![labelled(one.clone()), labelled_two], None), Err("contradicting_containers"));
        assert_eq!(chosen(two().to_vec(), Some("three")), Err("no_such_container"));
        assert_eq!(chosen(vec![labelled(with(one, "essential", json!(false)))], None), Err("container_not_essential"));
    }

    #[test]
    fn if_no_container_can_be_openclaw_the_error_says_why() {
        let init = with(mounting("init", "home", "/data"), "essential", json!(false));
        assert_eq!(chosen(vec![init, json!({"name": "openclaw"})], None), Err("container_not_essential"));
        assert_eq!(chosen(vec![json!({"name": "a"}), mounting("b", "other", "/b")], None), Err("other_file_system"));
        assert_eq!(chosen(vec![json!({"name": "a"}), json!({"name": "b"})], None), Err("no_efs_mount"));
        assert_eq!(chosen(vec![], None), Err("no_container"));
    }

    #[test]
    fn a_registered_revision_marks_the_container_by_our_labels_else_it_is_the_first() {
        let of = |containers: Value| {
            let document = json!({"containerDefinitions": containers});
            of_registered(&document).map(|container| name(container).to_owned())
        };
        let ours = json!({"name": "b", "dockerLabels": {LABEL_USER: "alice"}});
        assert_eq!(of(json!([{"name": "a"}, ours])).as_deref(), Some("b"));
        assert_eq!(of(json!([{"name": "a"}, {"name": "b"}])).as_deref(), Some("a"));
        assert_eq!(of(json!([])), None);
    }
}
