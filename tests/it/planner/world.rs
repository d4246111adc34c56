//! A model of AWS and the file system, as small as the planner's view of them: one user's service, revisions, access
//! point and files. It executes steps, and refuses only what AWS itself would refuse.

use std::collections::BTreeSet;

use std::fmt;

use openclaw_provisioner::domain::service::{Deployment, Rollout, Service, ServiceStatus};
use openclaw_provisioner::domain::{
    BaseDefinition, CurrentDefinition, ReleaseDefaults, Spec, UserId, UserRoles, render,
};
use openclaw_provisioner::reconcile::{Done, Observed, Step, Target};
use serde_json::{Value, json};

pub const FILE_SYSTEM: &str = "fs-0123456789abcdef0";
const ACCESS_POINT: &str = "fsap-0123456789abcdef0";
const REVISION: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev-user";

pub fn user() -> UserId {
    UserId::parse("alice").unwrap()
}

/// The base revision of that number; each number renders differently, and so it does with roles of users' own.
pub fn base(number: u32, gives_roles: bool) -> BaseDefinition {
    let text = include_str!("../../fixtures/base.json").replace("FILE_SYSTEM_ID", FILE_SYSTEM);
    let mut document: Value = serde_json::from_str(&text).unwrap();
    document["taskDefinitionArn"] =
        json!(format!("arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev:{number}"));
    document["containerDefinitions"][0]["stopTimeout"] = json!(30 + number);
    let boundary = "arn:aws:iam::123456789012:policy/boundary";
    let user_roles = UserRoles::parse(gives_roles, "/openclaw/dev/users/", boundary).ok();
    let defaults = ReleaseDefaults { user_roles, ..ReleaseDefaults::default() };
    BaseDefinition::parse_with(document, vec![], "openclaw-dev", FILE_SYSTEM, defaults).unwrap()
}

#[derive(Clone, PartialEq)]
pub struct World {
    pub base: u32,
    pub service: Option<Service>,
    /// Registered revisions; number n is at n - 1.
    pub revisions: Vec<Value>,
    /// The revisions in the lock file.
    pub noted: BTreeSet<String>,
    pub access_point: Option<String>,
    pub files: bool,
    pub lock_file: bool,
    /// The interrupted replacement in the lock file.
    pub resume: Option<u32>,
    /// Whether users get roles of their own.
    pub gives_roles: bool,
    /// The user's role, and the access point that it mounts through.
    pub role: Option<Option<String>>,
}

/// Short output for failing cases: whole definitions would hide what matters.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { base, service, revisions, noted: _, access_point, files, lock_file, resume, gives_roles, role } =
            self;
        let arns = (1..=revisions.len()).map(|number| self.definition(&Self::arn(number)));
        let revisions = arns.map(|it| {
            let previous = it.previous.as_deref().map(Self::index);
            format!("active {} digest {:.8} previous {previous:?} {:?} {:?}", it.active, it.digest, it.base, it.spec)
        });
        f.debug_struct("World")
            .field("base", base)
            .field("service", service)
            .field("revisions", &revisions.collect::<Vec<_>>())
            .field("access_point", access_point)
            .field("files, lock_file, resume", &(files, lock_file, resume))
            .field("gives_roles, role", &(gives_roles, role))
            .finish()
    }
}

/// AWS's response to a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    Folded,
    Conflict,
}

impl World {
    pub fn empty(base: u32) -> Self {
        Self {
            base,
            service: None,
            revisions: vec![],
            noted: BTreeSet::new(),
            access_point: None,
            files: false,
            lock_file: false,
            resume: None,
            gives_roles: false,
            role: None,
        }
    }

    pub fn status(&self) -> Option<ServiceStatus> {
        self.service.as_ref().map(|service| service.status)
    }

    pub fn is_gone(&self) -> bool {
        matches!(self.status(), None | Some(ServiceStatus::Inactive))
    }

    pub fn arn(number: usize) -> String {
        format!("{REVISION}:{number}")
    }

    fn index(arn: &str) -> usize {
        arn.rsplit_once(':').unwrap().1.parse::<usize>().unwrap() - 1
    }

    pub fn make_access_point(&mut self) -> String {
        self.access_point.get_or_insert_with(|| ACCESS_POINT.to_owned()).clone()
    }

    /// Registers the definition rendered from this base and spec, after the newest revision. `legacy`: without an access point.
    pub fn add_revision(&mut self, base_number: u32, spec: &Spec, active: bool, legacy: bool) {
        let previous = (!self.revisions.is_empty()).then(|| Self::arn(self.revisions.len()));
        let rendered =
            render(&base(base_number, self.gives_roles), &user(), spec, ACCESS_POINT, previous.as_deref()).unwrap();
        let mut document = rendered.request;
        if legacy {
            document["volumes"][0]["efsVolumeConfiguration"]["authorizationConfig"] = json!({"iam": "ENABLED"});
            let labels = document["containerDefinitions"][0]["dockerLabels"].as_object_mut().unwrap();
            labels.remove("openclaw.provisioner.access-point");
            labels.insert("openclaw.provisioner.digest".into(), json!("another"));
        }
        self.register(document);
        self.set_active(self.revisions.len(), active);
    }

    pub fn set_active(&mut self, number: usize, active: bool) {
        self.revisions[number - 1]["status"] = json!(if active { "ACTIVE" } else { "INACTIVE" });
    }

    fn register(&mut self, mut document: Value) -> String {
        let arn = Self::arn(self.revisions.len() + 1);
        document["taskDefinitionArn"] = json!(arn);
        document["status"] = json!("ACTIVE");
        self.revisions.push(document);
        arn
    }

    pub fn definition(&self, arn: &str) -> CurrentDefinition {
        CurrentDefinition::parse(&self.revisions[Self::index(arn)], &user()).unwrap()
    }

    pub fn current(&self) -> Option<CurrentDefinition> {
        self.service.as_ref().map(|service| self.definition(&service.task_definition))
    }

    /// What the reconciler finds out about the user.
    pub fn observe(&mut self, target: &Target, is_new: bool) -> Observed {
        let deleting = matches!(target, Target::Absent { .. });
        let wanted = match self.status() {
            Some(ServiceStatus::Active) => true,
            Some(ServiceStatus::Draining) => deleting,
            Some(ServiceStatus::Inactive) => deleting && !is_new,
            None => false,
        };
        let current = self.current().filter(|_| wanted);
        let made = (is_new && target.makes_new_user()).then(|| self.make_access_point());
        let access_point_id = current.as_ref().and_then(|current| current.access_point_id.clone()).or(made);
        let purges = *target == Target::delete(true, false);
        Observed {
            service: self.service.clone(),
            current,
            base: target.needs_base().then(|| base(self.base, self.gives_roles)),
            access_point_id,
            revisions: self.noted.clone(),
            deregistered: BTreeSet::new(),
            never_seen: is_new && self.is_gone() && !(purges && self.files),
            has_live_tasks: self.has_live_tasks(target),
            accepted: None,
            is_settled: true,
            is_unremembered: false,
            may_appear: false,
            resume: self.resume,
            remembered_access_point: None,
            has_roles: true,
            role_changed_at: None,
            is_role_young: false,
            done: Done::default(),
        }
    }

    /// Whether there are live tasks, if the next step depends on that.
    fn has_live_tasks(&self, target: &Target) -> Option<bool> {
        let service = self.service.as_ref()?;
        let asks = match (target, service.status) {
            (Target::Absent { force: false, .. }, ServiceStatus::Active) => service.desired == 0,
            (Target::Present { .. }, ServiceStatus::Active) => target.is_strict() && service.desired == 0,
            (Target::Absent { force, .. }, ServiceStatus::Inactive) => !force,
            (Target::Present { .. }, ServiceStatus::Inactive) => target.makes_new_user(),
            _ => false,
        };
        asks.then(|| self.has_tasks())
    }

    pub fn has_tasks(&self) -> bool {
        self.service.as_ref().is_some_and(|service| service.running + service.pending > 0)
    }

    /// The observation after a conflict or a wait; it keeps what was done before.
    pub fn observe_again(&mut self, target: &Target, before: Observed) -> Observed {
        let now = self.observe(target, false);
        Observed {
            current: now.current.or(before.current),
            access_point_id: now.access_point_id.or(before.access_point_id),
            revisions: before.revisions,
            deregistered: before.deregistered,
            never_seen: before.never_seen,
            resume: before.resume,
            done: before.done,
            ..now
        }
    }

    /// Executes the step as AWS would, and adds the answer to the observation as the executor does.
    pub fn take(&mut self, step: Step, observed: &mut Observed) -> Taken {
        match step {
            Step::EnsureAccessPoint => observed.access_point_id = Some(self.make_access_point()),
            Step::CheckImage(image) => observed.done.image = Some(image),
            Step::EnsureRole => {
                self.role.get_or_insert_default();
                observed.done.role = true;
            }
            Step::PutRolePolicy(grants) => {
                let Some(role) = &mut self.role else { return Taken::Conflict };
                *role = grants.access_points.first().cloned();
                observed.done.role_mounts = role.clone();
            }
            Step::DeleteRole => {
                assert!(self.is_gone() && !self.has_tasks(), "a role goes under a running container");
                self.role = None;
                observed.done.role_deleted = true;
            }
            Step::RegisterTaskDefinition(rendered) => {
                let arn = self.register(rendered.request);
                self.noted.insert(arn.clone());
                observed.revisions = self.noted.clone();
                observed.done.registered = Some(self.definition(&arn));
            }
            Step::CreateService { task_definition, digest, after: _ } => {
                if !self.is_gone() {
                    return Taken::Conflict;
                }
                if !self.definition(&task_definition).active {
                    observed.done.registered = None;
                    return Taken::Conflict;
                }
                assert_eq!(self.definition(&task_definition).digest, digest);
                assert!(self.files, "a service starts before its files are written");
                self.judge_role(&task_definition);
                assert!(!self.has_tasks(), "a service starts beside the last one's task");
                self.service = Some(deployed(service(1), task_definition));
                observed.service = self.service.clone();
                observed.current = observed.done.registered.take().or(observed.current.take());
            }
            Step::UpdateService { task_definition, desired, restart, superseded } => {
                let Some(service) = self.service.clone().filter(|it| it.status == ServiceStatus::Active) else {
                    return Taken::Conflict;
                };
                let changes_definition = task_definition.is_some();
                if task_definition.as_ref().is_some_and(|arn| !self.definition(arn).active) {
                    observed.done.registered = None;
                    return Taken::Conflict;
                }
                task_definition.iter().for_each(|arn| self.judge_role(arn));
                let service = Service { desired: desired.unwrap_or(service.desired), ..service };
                self.service = Some(match (task_definition, restart) {
                    (Some(arn), _) => deployed(service, arn),
                    (None, true) => {
                        let arn = service.task_definition.clone();
                        deployed(service, arn)
                    }
                    (None, false) => service,
                });
                observed.service = self.service.clone();
                observed.done.restarted |= restart;
                observed.done.counted |= desired.is_some();
                self.resume.take_if(|_| desired.is_some());
                observed.resume = self.resume;
                (observed.is_settled, observed.has_live_tasks) = (false, None);
                for arn in superseded {
                    assert_ne!(self.service.as_ref().map(|it| &it.task_definition), Some(&arn), "it is in use");
                    self.set_active(Self::index(&arn) + 1, false);
                    self.noted.remove(&arn);
                    observed.revisions = self.noted.clone();
                }
                if changes_definition {
                    observed.current = observed.done.registered.take().or(observed.current.take());
                }
            }
            Step::StopTasks { resume } => {
                let Some(service) = self.service.as_mut().filter(|it| it.status == ServiceStatus::Active) else {
                    return Taken::Conflict;
                };
                (service.desired, self.resume) = (0, Some(resume));
                observed.service = self.service.clone();
                (observed.resume, observed.is_settled, observed.has_live_tasks) = (Some(resume), false, None);
            }
            Step::DeleteService => {
                assert!(!self.has_tasks(), "the service goes before its task has ended");
                if let Some(service) = self.service.as_mut().filter(|it| it.status == ServiceStatus::Active) {
                    service.status = ServiceStatus::Draining;
                    service.desired = 0;
                }
                observed.service = self.service.clone().filter(|it| it.status == ServiceStatus::Draining);
            }
            Step::DeregisterRevision(arn) => {
                self.set_active(Self::index(&arn) + 1, false);
                self.noted.remove(&arn);
                observed.revisions = self.noted.clone();
                observed.deregistered.insert(arn.clone());
                observed.current.iter_mut().filter(|it| it.arn == arn).for_each(|it| it.active = false);
                observed.done.registered.take_if(|it| it.arn == arn);
            }
            Step::DeleteRevisions(arns) => {
                assert!(arns.iter().all(|arn| !self.definition(arn).active), "an ACTIVE revision is deleted");
                observed.done.deleted.extend(arns);
            }
            Step::DeleteAccessPoint(id) => {
                assert_eq!(id, ACCESS_POINT);
                self.access_point = None;
                observed.access_point_id = None;
                observed.done.access_point_deleted = true;
            }
            Step::PurgeFiles => {
                assert!(self.is_gone() && !self.has_tasks(), "files are purged under a running container");
                self.files = false;
                observed.done.purged = true;
            }
        }
        Taken::Folded
    }

    /// No task starts that could not mount.
    fn judge_role(&self, arn: &str) {
        let definition = self.definition(arn);
        if definition.has_own_role {
            assert_eq!(self.role, Some(definition.access_point_id), "a task starts before its role mounts its files");
        }
    }

    /// Enough time for ECS to finish whatever it is doing.
    pub fn pass_time(&mut self) {
        let Some(service) = &mut self.service else { return };
        match service.status {
            // Already INACTIVE while its last task is stopping.
            ServiceStatus::Draining => service.status = ServiceStatus::Inactive,
            ServiceStatus::Inactive => (service.running, service.pending) = (0, 0),
            ServiceStatus::Active => {
                service.pending = 0;
                let failed = service.deployments[0].rollout == Rollout::Failed;
                service.running = if failed { 0 } else { service.desired };
            }
        }
    }
}

pub fn service(desired: u32) -> Service {
    Service {
        name: user().service_name(),
        status: ServiceStatus::Active,
        desired,
        running: 0,
        pending: 0,
        task_definition: String::new(),
        execute_command: false,
        deployments: vec![],
        troubles: vec![],
        created_at_seconds: None,
    }
}

/// The service with only a new deployment of this revision.
pub fn deployed(service: Service, task_definition: String) -> Service {
    let deployment = Deployment {
        id: "ecs-svc/1".into(),
        primary: true,
        task_definition: task_definition.clone(),
        rollout: Rollout::InProgress,
        reason: None,
        created_at_seconds: None,
        updated_at_seconds: None,
    };
    Service { pending: service.desired, deployments: vec![deployment], task_definition, ..service }
}
