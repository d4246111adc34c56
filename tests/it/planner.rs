//! Runs the planner over a model of AWS, from any state to any target, with any interruption.

mod arbitrary;
mod world;

use openclaw_provisioner::domain::service::{Rollout, ServiceStatus, is_newer_revision};
use openclaw_provisioner::domain::{RolloutOrder, Spec, SpecPatch, render};
use openclaw_provisioner::reconcile::{Definition, Desired, IfMissing, Plan, Redeploy, Refusal, Step, Target, plan};
use proptest::prelude::*;
use proptest::sample::select;

use arbitrary::{disturbance, scenario, target, world};
use world::{Taken, World, base, user};

/// More steps than the longest run takes: 4 revisions to deregister and follow, the rest, and every disturbance.
const MOST_STEPS: usize = 60;

/// A disturbance in place of the next step, or before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    None,
    /// The process dies before the step; another call starts again.
    DiesBefore,
    /// The process dies after the step took effect; another call starts again.
    DiesAfter,
    /// The step meets a conflict that is gone at the next look.
    Conflict,
    /// Another party deletes the service.
    SomebodyDeletes,
    /// Another party deregisters the newest revision.
    SomebodyDeregisters,
    /// Infrastructure deploys another base.
    AnotherBase,
    /// The circuit breaker gives the deployment up.
    Stalls,
    /// Time passes.
    Time,
}

use Disturbance::*;

#[derive(Debug, Clone)]
struct Scenario {
    world: World,
    target: Target,
    script: Vec<Disturbance>,
}

/// How a converge ended.
#[derive(Debug, PartialEq)]
enum End {
    Converged,
    Refused(Refusal),
}

/// One call, or several if the process dies.
struct Run<'a> {
    world: &'a mut World,
    target: &'a Target,
    steps: Vec<&'static str>,
}

impl Run<'_> {
    fn begin(&mut self) -> openclaw_provisioner::reconcile::Observed {
        let is_new = !std::mem::replace(&mut self.world.lock_file, true);
        let observed = self.world.observe(self.target, is_new);
        // Only a provision stages files, and before any step.
        self.world.files |= self.target.may_create();
        observed
    }

    fn finish(&mut self, script: &[Disturbance]) -> End {
        let mut script = script.iter().copied();
        let mut observed = self.begin();
        let mut restarted = false;
        for _ in 0..MOST_STEPS {
            let disturbance = script.next().unwrap_or(None);
            self.happens(disturbance);
            if disturbance == DiesBefore {
                (observed, restarted) = (self.begin(), false);
            }
            let planned = match plan(&user(), self.target, &observed) {
                Ok(planned) => planned,
                Err(refusal) => return self.end(End::Refused(refusal)),
            };
            let step = match planned {
                Plan::Converged => return self.end(End::Converged),
                Plan::WaitForRole => panic!("no role is young here"),
                Plan::WaitForDrain => {
                    assert!(self.may_wait(&observed), "nothing to wait for in {observed:?}");
                    self.world.pass_time();
                    observed = self.world.observe_again(self.target, observed);
                    continue;
                }
                Plan::Step(step) => *step,
            };
            self.judge(&step, &observed, restarted);
            self.steps.push(step.name());
            let restarts = matches!(step, Step::UpdateService { restart: true, .. });
            let can_conflict = matches!(step, Step::CreateService { .. } | Step::UpdateService { .. });
            let taken = match disturbance {
                Conflict if can_conflict => Taken::Conflict,
                _ => self.world.take(step, &mut observed),
            };
            restarted |= restarts && taken == Taken::Folded;
            if taken == Taken::Conflict {
                observed = self.world.observe_again(self.target, observed);
            }
            if disturbance == DiesAfter {
                (observed, restarted) = (self.begin(), false);
            }
        }
        panic!("no end after {:?}", self.steps);
    }

    /// Whether waiting is right: only for a draining service, or for a task that has not ended. Right after the desired count
    /// was sent, tasks were not read yet.
    fn may_wait(&self, observed: &openclaw_provisioner::reconcile::Observed) -> bool {
        let Some(service) = &observed.service else { return false };
        match service.status {
            ServiceStatus::Draining => true,
            ServiceStatus::Inactive => observed.has_live_tasks == Some(true),
            ServiceStatus::Active => {
                let deletes = matches!(self.target, Target::Absent { .. });
                (deletes || self.target.is_strict()) && service.desired == 0 && observed.has_live_tasks != Some(false)
            }
        }
    }

    /// Removes the lock file if nothing is left.
    fn end(&mut self, end: End) -> End {
        if end == End::Refused(Refusal::NotFound) && self.world.is_gone() && self.world.revisions.is_empty()
            || end == End::Converged && matches!(self.target, Target::Absent { .. })
        {
            self.world.lock_file = false;
        }
        end
    }

    fn happens(&mut self, disturbance: Disturbance) {
        let newest = self.world.revisions.len();
        match disturbance {
            SomebodyDeletes => {
                if let Some(service) = self.world.service.as_mut().filter(|it| it.status == ServiceStatus::Active) {
                    service.status = ServiceStatus::Draining;
                }
            }
            SomebodyDeregisters if newest > 0 => self.world.set_active(newest, false),
            AnotherBase => self.world.base += 1,
            Stalls => stall(self.world),
            Time => self.world.pass_time(),
            None | DiesBefore | DiesAfter | Conflict | SomebodyDeregisters => {}
        }
    }

    /// Fails on a step that no plan may ever contain.
    fn judge(&self, step: &Step, observed: &openclaw_provisioner::reconcile::Observed, restarted: bool) {
        let status = observed.service.as_ref().map(|it| it.status);
        let (present, keeps_definition, keeps_count) = match self.target {
            Target::Present { definition, desired, .. } => {
                (true, *definition == Definition::Keep, *desired == Desired::Unchanged)
            }
            Target::Absent { .. } => (false, true, true),
        };
        match step {
            Step::EnsureAccessPoint => assert_eq!(observed.access_point_id, Option::None),
            Step::CheckImage(_) | Step::EnsureRole | Step::PutRolePolicy(_) | Step::RegisterTaskDefinition(_) => {
                assert!(present && !keeps_definition, "{step:?}")
            }
            Step::CreateService { .. } => {
                assert!(present && matches!(status, Option::None | Some(ServiceStatus::Inactive)), "over {status:?}");
            }
            Step::UpdateService { task_definition, desired, restart, superseded: _ } => {
                assert_eq!(status, Some(ServiceStatus::Active));
                assert!(!(keeps_definition && task_definition.is_some()), "stop and start change the definition");
                let resumes = observed.resume.is_some();
                assert!(
                    !(present && keeps_count && desired.is_some()) || resumes,
                    "a resize changes the desired count"
                );
                let starts =
                    self.target.is_strict() && step.effects().starts_task && (task_definition.is_some() || *restart);
                assert!(!(starts && self.world.has_tasks()), "a task is started beside another one");
                assert!(
                    present || (*desired, *restart) == (Some(0), false),
                    "a delete does more than to stop the task"
                );
                assert!(task_definition.is_some() || desired.is_some() || *restart, "an update of nothing");
                assert!(!(*restart && restarted), "restarted again in one call");
            }
            // Only a revision newer than the current one may be deregistered, and only if the definition changes.
            Step::DeregisterRevision(arn) if present => {
                let current = observed.current.as_ref().unwrap();
                assert!(!keeps_definition && is_newer_revision(arn, &current.arn), "{step:?} beside {}", current.arn);
            }
            Step::DeleteService | Step::DeregisterRevision(_) | Step::DeleteRole | Step::DeleteAccessPoint(_) => {
                assert!(!present, "{step:?}")
            }
            Step::StopTasks { resume } => {
                let desired = observed.service.as_ref().map(|it| it.desired);
                assert!(present && self.target.is_strict() && *resume > 0 && desired > Some(0), "{step:?}");
            }
            Step::PurgeFiles | Step::DeleteRevisions(_) => assert_eq!(self.target, &Target::delete(true, false)),
        }
    }
}

fn stall(world: &mut World) {
    if let Some(service) = world.service.as_mut().filter(|it| it.desired > 0) {
        (service.running, service.pending) = (0, 0);
        service.deployments[0].rollout = Rollout::Failed;
    }
}

fn undisturbed(world: &mut World, target: &Target) -> (End, Vec<&'static str>) {
    let mut run = Run { world, target, steps: vec![] };
    let end = run.finish(&[]);
    (end, run.steps)
}

fn patch_of(target: &Target) -> SpecPatch {
    match target {
        Target::Present { definition: Definition::Render(patch), .. } => patch.clone(),
        Target::Present { definition: Definition::Keep, .. } | Target::Absent { .. } => SpecPatch::default(),
    }
}

/// Checks that the world matches the target. `before`: the world at the start, if nobody else has changed it since.
fn assert_reached(world: &World, target: &Target, before: Option<&World>) {
    let Target::Present { definition, desired, .. } = target else {
        assert!(world.is_gone(), "{:?}", world.service);
        assert_eq!((&world.access_point, &world.role), (&Option::None, &Option::None));
        assert!(world.current().is_none_or(|revision| !revision.active), "the last revision is left ACTIVE");
        // One that nothing remembers is left to the sweep of those that no service names.
        assert!(world.noted.is_empty(), "a revision is left that is remembered");
        assert!(*target != Target::delete(true, false) || !world.files);
        return;
    };
    let (service, current) = (world.service.as_ref().unwrap(), world.current().unwrap());
    assert_eq!(service.status, ServiceStatus::Active);
    assert!(!service.is_stalled());
    let before = before.filter(|before| before.status() == Some(ServiceStatus::Active));
    if *definition == Definition::Keep {
        before.inspect(|before| assert_eq!(current.arn, before.current().unwrap().arn));
    } else {
        let access_point = world.access_point.as_deref().unwrap();
        assert_eq!(current.access_point_id.as_deref(), Some(access_point));
        let wanted =
            render(&base(world.base, world.gives_roles), &user(), &current.spec, access_point, Option::None).unwrap();
        assert_eq!((current.digest.clone(), current.active), (wanted.digest, true));
        assert_eq!(current.has_own_role, world.gives_roles);
        // Nothing that the user had is lost on the way (incidents 4 and 5).
        let had = before.map_or_else(Spec::default, |before| before.current().unwrap().spec);
        if before.is_some() || *definition == Definition::Render(SpecPatch::default()) {
            assert_eq!(current.spec.clone().patched(&patch_of(target)).unwrap(), current.spec);
        }
        before.inspect(|_| assert_eq!(current.spec, had.clone().patched(&patch_of(target)).unwrap()));
    }
    match desired {
        Desired::Running => assert_eq!(service.desired, 1),
        Desired::Stopped => assert_eq!(service.desired, 0),
        Desired::Unchanged => {
            before.inspect(|before| assert_eq!(service.desired, before.service.as_ref().unwrap().desired));
        }
    }
}

/// Checks that a refusal is right in this world.
fn assert_right(refusal: &Refusal, world: &World, target: &Target, was_new: bool) {
    match refusal {
        Refusal::NotFound => match target {
            Target::Present { if_missing, .. } => {
                assert_eq!(*if_missing, IfMissing::Refuse);
                assert_ne!(world.status(), Some(ServiceStatus::Active));
            }
            Target::Absent { purge, force: _ } => assert!(was_new && world.is_gone() && !(*purge && world.files)),
        },
        Refusal::Invalid(_) => {
            let patch = patch_of(target);
            let spec = match world.status() {
                Some(ServiceStatus::Active) => world.current().unwrap().spec.patched(&patch),
                Some(ServiceStatus::Draining | ServiceStatus::Inactive) | Option::None => Spec::of_new_user(&patch),
            };
            assert!(spec.is_err());
        }
        Refusal::NoBase | Refusal::Render(_) => panic!("{refusal}"),
    }
}

/// It was given up for its role, or for itself: whatever is asked for now is no part of that.
#[test]
fn a_new_request_is_done_although_ecs_gave_up_the_former_revision_of_a_young_role() {
    let mut world = World::empty(1);
    world.gives_roles = true;
    world.make_access_point();
    world.add_revision(1, &Spec::default(), true, false);
    let mut service = world::deployed(world::service(1), World::arn(1));
    service.deployments[0].rollout = Rollout::Failed;
    service.pending = 0;
    (world.service, world.base) = (Some(service), 2);
    for target in [Target::redeploy(Redeploy::default()), Target::start(), Target::restart()] {
        for is_role_young in [true, false] {
            let mut observed = world.observe(&target, false);
            observed.done.deployed = observed.current.clone();
            observed.is_role_young = is_role_young;
            let planned = plan(&user(), &target, &observed).unwrap();
            assert!(matches!(planned, Plan::Step(_)), "{target:?}, {is_role_young}: {planned:?}");
        }
    }
}

/// ECS went back, the old task was stopped to try again in strict order, and meanwhile the role is young no more: what was stopped is
/// started first.
#[test]
fn a_strict_replacement_that_has_stopped_the_task_never_ends_with_it_stopped() {
    let mut world = World::empty(2);
    world.gives_roles = true;
    world.make_access_point();
    world.add_revision(1, &Spec::default(), true, false);
    world.add_revision(2, &Spec::default(), true, false);
    world.service = Some(world::deployed(world::service(0), World::arn(1)));
    let target = Target::redeploy(Redeploy::default()).in_order(Some(RolloutOrder::Strict));
    for has_live_tasks in [true, false] {
        let mut observed = world.observe(&target, false);
        (observed.resume, observed.has_live_tasks, observed.is_settled) = (Some(1), Some(has_live_tasks), true);
        (observed.done.deployed, observed.done.deploys) = (Some(world.definition(&World::arn(2))), 1);
        let planned = plan(&user(), &target, &observed).unwrap();
        assert_ne!(planned, Plan::Converged);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: Option::None, ..ProptestConfig::default() })]

    /// Whatever happened before, the next undisturbed call reaches the target, and after it there is nothing left to do.
    #[test]
    fn every_target_is_reached_through_any_interruption(Scenario { world: before, target, script } in scenario()) {
        let mut world = before.clone();
        Run { world: &mut world, target: &target, steps: vec![] }.finish(&script);

        let start = world.clone();
        let was_new = !world.lock_file;
        let (end, _) = undisturbed(&mut world, &target);
        let others = [SomebodyDeletes, SomebodyDeregisters, AnotherBase, Stalls];
        let alone = !script.iter().any(|disturbance| others.contains(disturbance));
        match end {
            End::Refused(refusal) => assert_right(&refusal, &start, &target, was_new),
            End::Converged => {
                assert_reached(&world, &target, Some(&before).filter(|_| alone));
                let converged = world.clone();
                let (again, steps) = undisturbed(&mut world, &target);
                match target {
                    Target::Absent { .. } => prop_assert_eq!(again, End::Refused(Refusal::NotFound)),
                    // Each request for a restart restarts; without a running task none does.
                    Target::Present { restart: true, ref definition, .. } => {
                        let restarts = usize::from(world.service.as_ref().unwrap().desired > 0);
                        let mut expected = vec!["update_service"; restarts];
                        if target.is_strict() && restarts > 0 {
                            expected.insert(0, "stop_tasks");
                        }
                        // Somebody's hand may have undone it.
                        if world.gives_roles && restarts > 0 && *definition != Definition::Keep {
                            expected.splice(0..0, ["ensure_role", "put_role_policy"]);
                        }
                        prop_assert_eq!((again, steps), (End::Converged, expected));
                    }
                    Target::Present { restart: false, definition, desired, .. } => {
                        // A requested count is sent for each request.
                        let sends = definition == Definition::Keep && desired != Desired::Unchanged;
                        prop_assert_eq!((again, steps), (End::Converged, vec!["update_service"; usize::from(sends)]));
                        let unlocked = World { lock_file: true, ..converged };
                        prop_assert_eq!(world, unlocked);
                    }
                }
            }
        }
    }

    /// One call without other callers, which dies or meets conflicts, needs no later call: it reaches its target.
    #[test]
    fn a_call_without_competitors_ends_at_its_target(
        before in world(),
        target in target(),
        script in proptest::collection::vec(select(vec![None, DiesBefore, DiesAfter, Conflict, Time]), 0..12),
    ) {
        let mut world = before.clone();
        let was_new = !world.lock_file;
        let end = Run { world: &mut world, target: &target, steps: vec![] }.finish(&script);
        match end {
            // A delete that died after its last step finds nothing the second time.
            End::Refused(Refusal::NotFound) if target == Target::delete(true, false) || target == Target::delete(false, false) => {
                assert!(was_new && before.is_gone());
            }
            End::Refused(refusal) => assert_right(&refusal, &world, &target, was_new),
            End::Converged => assert_reached(&world, &target, Some(&before)),
        }
    }

    /// Users keep their files through every request except a purge.
    #[test]
    fn only_a_purge_removes_files(
        before in world(),
        target in target().prop_filter("a purge", |target| *target != Target::delete(true, false)),
        script in proptest::collection::vec(disturbance(), 0..12),
    ) {
        let mut world = before.clone();
        Run { world: &mut world, target: &target, steps: vec![] }.finish(&script);
        prop_assert!(world.files || !before.files);
    }

    /// A refusal has changed nothing except the access point, which the next call finds again.
    #[test]
    fn a_request_that_is_refused_at_once_changes_nothing(before in world(), target in target()) {
        // A provision first waits for a draining service, and both wait for the last task.
        prop_assume!(before.status() != Some(ServiceStatus::Draining) || !target.may_create());
        prop_assume!(before.status() != Some(ServiceStatus::Inactive) || !before.has_tasks());
        let mut world = before.clone();
        let (end, steps) = undisturbed(&mut world, &target);
        if let End::Refused(_) = end {
            prop_assert_eq!(steps.iter().filter(|step| **step != "ensure_access_point").count(), 0);
            let World { access_point, files, lock_file, .. } = before.clone();
            prop_assert_eq!(World { access_point, files, lock_file, ..world }, before);
        }
    }
}
