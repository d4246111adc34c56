//! Translates between the model's small numbers and the arguments and answers of the real planner.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use serde_json::json;

use super::cloud::{self, Reading, Revision};
use super::world::Observation;
use crate::domain::service::{Deployment, Rollout, Service, ServiceStatus, revision};
use crate::domain::{
    Accepted, BaseDefinition, CurrentDefinition, RawSize, Recency as Age, RolloutOrder, Size, SpecPatch, UserId, render,
};
use crate::reconcile::plan::{Done, Observed, Plan, Refusal, Step, plan};
use crate::reconcile::target::{IfMissing, Target};
use crate::reconcile::work::Work;
use crate::reconcile::{Caller, Intent, Verb};

const FILE_SYSTEM: &str = "fs-0123456789abcdef0";
const ACCESS_POINT: &str = "fsap-0123456789abcdef0";
const REVISION: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev-user";

/// What a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Op {
    Provision,
    Resize,
    Stop,
    Start,
    Delete,
    /// Takes back what was accepted and what is being deployed. The planner has no part in it.
    Cancel,
}

impl Op {
    /// The operations that are work for the planner.
    pub(super) const WORK: [Self; 5] = [Self::Provision, Self::Resize, Self::Stop, Self::Start, Self::Delete];
    pub(super) const ALL: [Self; 6] =
        [Self::Provision, Self::Resize, Self::Stop, Self::Start, Self::Delete, Self::Cancel];

    fn work(self, order: RolloutOrder) -> Work {
        let target = match self {
            Self::Cancel => Target::unchanged(),
            Self::Provision => Target::provision(SpecPatch { has_auth: true, ..SpecPatch::default() }),
            Self::Resize => Target::resize(size(1)),
            Self::Stop => Target::stop(),
            Self::Start => Target::start(),
            Self::Delete => Target::delete(true, false),
        };
        let target = target.by_default_in(order);
        Work::new(Intent::new(Verb::Redeploy, &Caller::new("model"), user(), target))
    }
}

/// All operations as one piece of work, merged by the real rules.
fn work(ops: &[Op], order: RolloutOrder) -> Result<Work, Refusal> {
    let mut all = ops.iter().map(|op| op.work(order));
    let first = all.next().ok_or(Refusal::NotFound)?;
    all.try_fold(first, Work::then)
}

type Asked = (Vec<Op>, RolloutOrder);

thread_local! {
    /// Answers so far: making a piece of work, or a service, is slow compared with the search.
    static TARGETS: RefCell<HashMap<Asked, Rc<[Target]>>> = RefCell::default();
    static AGES: RefCell<HashMap<(Reading, Option<Reading>), Age>> = RefCell::default();
}

/// The targets to converge to, one after the other; none where the work is refused.
pub(super) fn targets(ops: &[Op], order: RolloutOrder) -> Rc<[Target]> {
    TARGETS.with_borrow_mut(|known| {
        let targets = || work(ops, order).map(|work| work.targets()).unwrap_or_default().into();
        Rc::clone(known.entry((ops.to_vec(), order)).or_insert_with(targets))
    })
}

/// Whether a reading is older than what was accepted, by the real comparison; `gone_back_from`: the deployment from which
/// ECS reports that it went back.
pub(super) fn is_older(read: Option<&Reading>, accepted: &Reading, gone_back_from: Option<u8>) -> bool {
    let key = (accepted.clone(), read.cloned());
    let age = AGES.with_borrow_mut(|known| {
        *known.entry(key).or_insert_with(|| Accepted::of(&service(accepted), 0).compare(read.map(service).as_ref()))
    });
    match age {
        Age::Current => false,
        Age::Older => true,
        Age::OlderOrGoneBack => gone_back_from.is_none_or(|failed| failed < accepted.primary.id),
    }
}

/// A step, in small numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Next {
    Converged,
    Wait,
    NotFound,
    EnsureAccessPoint,
    Register(Revision),
    Create(u8),
    Update { revision: Option<u8>, desired: Option<u8>, restart: bool, superseded: Vec<u8> },
    StopTasks(u8),
    DeleteService,
    Deregister(u8),
    DeleteAccessPoint,
    Purge,
    DeleteRevisions(Vec<u8>),
}

impl Next {
    pub(super) const fn starts_task(&self) -> bool {
        match self {
            Self::Create(_) => true,
            Self::Update { revision, desired, restart, .. } => {
                revision.is_some() || *restart || matches!(desired, Some(1..))
            }
            _ => false,
        }
    }

    pub(super) const fn changes_container(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Update { .. } | Self::StopTasks(_) | Self::DeleteService)
    }
}

fn size(number: u8) -> Size {
    let raw =
        if number == 0 { RawSize { cpu: 512, memory_mib: 2048 } } else { RawSize { cpu: 1024, memory_mib: 4096 } };
    Size::parse(raw, "size").unwrap()
}

fn arn(number: u8) -> String {
    format!("{REVISION}:{number}")
}

fn number(arn: &str) -> u8 {
    revision(arn).unwrap().1.try_into().unwrap()
}

fn user() -> UserId {
    UserId::parse("alice").unwrap()
}

/// The service that a reading shows, as the adapter would read it.
fn service(reading: &Reading) -> Service {
    let at = |number: u8| Some(i64::from(number) * 10);
    let deployment = |it: &cloud::Deployment, primary| Deployment {
        id: format!("ecs-svc/{}", it.id),
        primary,
        task_definition: arn(it.revision),
        rollout: it.rollout,
        reason: None,
        created_at_seconds: at(it.id),
        updated_at_seconds: None,
    };
    let others = reading.others.iter().map(|other| deployment(other, false));
    // Nothing more is started for a deployment that was given up.
    let pending = if reading.primary.rollout == Rollout::Failed { 0 } else { reading.desired };
    Service {
        name: user().service_name(),
        status: reading.status,
        desired: u32::from(reading.desired),
        running: 0,
        pending: u32::from(pending),
        task_definition: arn(reading.revision()),
        created_at_seconds: at(reading.created),
        execute_command: false,
        deployments: [deployment(&reading.primary, true)].into_iter().chain(others).collect(),
        troubles: vec![],
    }
}

/// The real planner, with a memory of its answers, because rendering is slow.
pub(super) struct Planner {
    base: BaseDefinition,
    order: RolloutOrder,
    revisions: HashMap<Revision, CurrentDefinition>,
    answers: HashMap<(Vec<Op>, u8, Observation), Next>,
}

impl Planner {
    pub(super) fn new(order: RolloutOrder) -> Self {
        let text = include_str!("../../../tests/fixtures/base.json").replace("FILE_SYSTEM_ID", FILE_SYSTEM);
        let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
        document["taskDefinitionArn"] = json!("arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev:1");
        let base = BaseDefinition::parse(document, vec![], "openclaw-dev", FILE_SYSTEM).unwrap();
        Self { base, order, revisions: HashMap::new(), answers: HashMap::new() }
    }

    fn definition(&mut self, of: Revision) -> CurrentDefinition {
        let base = &self.base;
        let known = self.revisions.entry(Revision { active: true, ..of }).or_insert_with(|| {
            let patch = SpecPatch { size: Some(size(of.size)), has_auth: true, ..SpecPatch::default() };
            // As a new user's spec is made.
            let mut spec = crate::domain::Spec::of_new_user(&SpecPatch { size: None, ..patch.clone() }).unwrap();
            if of.size > 0 {
                spec = spec.patched(&SpecPatch { size: patch.size, ..SpecPatch::default() }).unwrap();
            }
            let rendered = render(base, &user(), &spec, ACCESS_POINT, of.previous.map(arn).as_deref()).unwrap();
            let mut document = rendered.request;
            document["taskDefinitionArn"] = json!(arn(of.number));
            document["status"] = json!("ACTIVE");
            CurrentDefinition::parse(&document, &user()).unwrap()
        });
        CurrentDefinition { active: of.active, ..known.clone() }
    }

    /// The real planner's answer.
    pub(super) fn plan(&mut self, ops: &[Op], done: u8, seen: &Observation, newest: u8) -> Next {
        let key = (ops.to_vec(), done, seen.clone());
        let next = match self.answers.get(&key) {
            Some(known) => known.clone(),
            None => {
                let next = self.ask(&targets(ops, self.order)[usize::from(done)], seen);
                self.answers.insert(key, next.clone());
                next
            }
        };
        match next {
            Next::Register(revision) => Next::Register(Revision { number: newest + 1, ..revision }),
            other => other,
        }
    }

    fn ask(&mut self, target: &Target, seen: &Observation) -> Next {
        let arns = |numbers: &BTreeSet<u8>| numbers.iter().map(|number| arn(*number)).collect::<BTreeSet<_>>();
        let observed = Observed {
            service: seen.service.as_ref().map(service),
            current: seen.current.map(|current| self.definition(current)),
            base: target.needs_base().then(|| self.base.clone()),
            access_point_id: seen.access_point.then(|| ACCESS_POINT.to_owned()),
            revisions: arns(&seen.revisions),
            deregistered: arns(&seen.deregistered),
            never_seen: seen.never_seen,
            has_live_tasks: seen.has_live_tasks,
            accepted: None,
            is_settled: seen.is_settled,
            is_unremembered: seen.is_unremembered,
            may_appear: seen.may_appear,
            resume: seen.resume.map(u32::from),
            remembered_access_point: seen.remembered_access_point.then(|| ACCESS_POINT.to_owned()),
            // Roles of users' own are not of this model.
            has_roles: false,
            role_changed_at: None,
            is_role_young: false,
            done: Done {
                registered: seen.registered.map(|registered| self.definition(registered)),
                restarted: seen.restarted,
                counted: seen.counted,
                access_point_deleted: seen.access_point_deleted,
                purged: seen.purged,
                deleted: arns(&seen.deleted),
                ..Done::default()
            },
        };
        let step = match plan(&user(), target, &observed) {
            Ok(Plan::Converged) => return Next::Converged,
            Ok(Plan::WaitForDrain | Plan::WaitForRole) => return Next::Wait,
            Err(Refusal::NotFound) => return Next::NotFound,
            Err(refusal) => panic!("{refusal} for {target:?} in {seen:?}"),
            Ok(Plan::Step(step)) => *step,
        };
        match step {
            Step::EnsureAccessPoint => Next::EnsureAccessPoint,
            Step::RegisterTaskDefinition(rendered) => {
                let size = u8::from(rendered.spec.size == Some(size(1)));
                let previous = CurrentDefinition::parse(&rendered.request, &user()).unwrap().previous;
                Next::Register(Revision { number: 0, size, previous: previous.as_deref().map(number), active: true })
            }
            Step::CreateService { task_definition, .. } => Next::Create(number(&task_definition)),
            Step::UpdateService { task_definition, desired, restart, superseded } => Next::Update {
                revision: task_definition.as_deref().map(number),
                desired: desired.map(|desired| desired.try_into().unwrap()),
                restart,
                superseded: superseded.iter().map(|arn| number(arn)).collect(),
            },
            Step::DeleteService => Next::DeleteService,
            Step::DeregisterRevision(arn) => Next::Deregister(number(&arn)),
            Step::DeleteAccessPoint(_) => Next::DeleteAccessPoint,
            Step::PurgeFiles => Next::Purge,
            Step::DeleteRevisions(arns) => Next::DeleteRevisions(arns.iter().map(|arn| number(arn)).collect()),
            Step::StopTasks { resume } => Next::StopTasks(resume.try_into().unwrap()),
            Step::CheckImage(_) | Step::EnsureRole | Step::PutRolePolicy(_) | Step::DeleteRole => {
                panic!("not of this model: {step:?}")
            }
        }
    }
}

/// As `observe` asks for tasks.
pub(super) fn asks_for_tasks(target: &Target, reading: &Reading) -> bool {
    match (target, reading.status) {
        (Target::Absent { force: false, .. }, ServiceStatus::Active) => reading.desired == 0,
        (Target::Present { .. }, ServiceStatus::Active) => target.is_strict() && reading.desired == 0,
        (Target::Absent { force: false, .. }, ServiceStatus::Inactive) => true,
        (Target::Present { if_missing, .. }, ServiceStatus::Inactive) => matches!(if_missing, IfMissing::Create),
        _ => false,
    }
}
