//! The file system and two replicas, reduced to what the planner sees of them, for one user.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::cloud::{Cloud, Noted, Reading, Revision};
use super::real::{Next, Op, Planner, asks_for_tasks, is_older, targets};
use crate::domain::RolloutOrder;
use crate::domain::service::{Rollout, ServiceStatus};
use crate::reconcile::target::Target;

/// What a replica knows: the planner's `Observed` in small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Observation {
    pub(super) service: Option<Reading>,
    pub(super) current: Option<Revision>,
    pub(super) access_point: bool,
    pub(super) remembered_access_point: bool,
    pub(super) revisions: BTreeSet<u8>,
    pub(super) deregistered: BTreeSet<u8>,
    pub(super) never_seen: bool,
    pub(super) has_live_tasks: Option<bool>,
    pub(super) is_settled: bool,
    pub(super) is_unremembered: bool,
    pub(super) may_appear: bool,
    pub(super) resume: Option<u8>,
    pub(super) registered: Option<Revision>,
    pub(super) restarted: bool,
    pub(super) counted: bool,
    pub(super) access_point_deleted: bool,
    pub(super) purged: bool,
    pub(super) deleted: BTreeSet<u8>,
}

/// The user's lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Note {
    revisions: BTreeSet<u8>,
    deregistered: BTreeSet<u8>,
    access_point: bool,
    accepted: Option<Noted>,
    /// The desired count after a replacement that was interrupted.
    resume: Option<u8>,
    /// What was accepted and is not done yet.
    pending: Vec<Op>,
}

/// The point that a converge has reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    /// It has to observe.
    Look,
    /// It has observed.
    Plan,
    /// The files are in place, and the step is about to be sent.
    Send(Next),
    /// AWS has answered.
    Answered(Next, Option<Noted>, Outcome),
    /// The work is written down, and the caller is about to be answered that it goes on.
    Written,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    Done,
    Conflict,
    /// The revision that it named is no longer ACTIVE.
    NotActive,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Run {
    ops: Vec<Op>,
    order: RolloutOrder,
    /// How many of the targets are done.
    done: u8,
    /// The caller who waits for an answer.
    asked: Option<Op>,
    is_accepted: bool,
    is_new: bool,
    /// Whether it is so young that a revision that nobody accounts for may be on its way.
    is_young: bool,
    was_young: bool,
    has_begun: bool,
    has_run: bool,
    registered: BTreeSet<u8>,
    looked: bool,
    accepted: Option<Noted>,
    seen: Observation,
    at: At,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Replica {
    /// The last change in its memory.
    known: Option<Noted>,
    run: Option<Run>,
    /// A request that waits for the user's lock.
    waiting: Option<Op>,
}

/// What a user may have in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Want {
    exists: bool,
    runs: bool,
    size: u8,
}

impl Want {
    fn after(self, op: Op) -> Self {
        match (op, self.exists) {
            (Op::Provision, true) => Self { runs: true, ..self },
            (Op::Provision, false) => Self { exists: true, runs: true, size: 0 },
            (Op::Delete, _) => Self::default(),
            (_, false) => self,
            (Op::Resize, true) => Self { size: 1, ..self },
            (Op::Stop, true) => Self { runs: false, ..self },
            (Op::Start, true) => Self { runs: true, ..self },
            (Op::Cancel, true) => self,
        }
    }
}

/// The state of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct World {
    cloud: Cloud,
    has_files: bool,
    note: Option<Note>,
    /// The holder of the lock. A replica whose lease ran out has lost the lock and has not noticed.
    holder: Option<u8>,
    replicas: [Replica; 2],
    sent: u8,
    waits: bool,
    /// What the answers so far allow, each with the unanswered requests that it includes.
    allowed: BTreeSet<(Want, u8)>,
    unknown: Vec<Op>,
    /// Everything that was ever allowed, because a cancel may take something back.
    ever: BTreeSet<(Want, u8)>,
    can_cancel: bool,
    faults: u8,
    /// Deployments that may still fail.
    failures: u8,
    order: RolloutOrder,
    /// A process was killed, or a lock lost, so that a revision may be registered that nobody remembers. The sweep has to
    /// remove it.
    was_cut_short: bool,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// The user sends a request to a replica.
    Request(u8, Op),
    /// A replica takes the lock for the request that waits.
    Take(u8),
    /// A replica takes up what is pending.
    Pursue(u8),
    /// A replica makes way for a request that waits elsewhere.
    MakeWay(u8),
    /// A replica reads the service and the tasks as they were so many changes ago.
    Look(u8, u8, u8),
    /// A replica plans.
    Plan(u8),
    /// The step takes effect.
    Send(u8),
    /// The step takes effect, and the answer is lost.
    SendLost(u8),
    /// A replica takes the answer in and writes down what it says.
    Fold(u8),
    /// The caller is answered that the work goes on.
    Tell(u8),
    /// A replica cancels, on a reading of so many changes ago.
    Cancel(u8, u8),
    /// Work stops between two steps, because somebody cancels.
    Heed(u8),
    Crash(u8),
    LeaseLost,
    TaskStarts,
    TaskEnds,
    /// The PRIMARY deployment fails, and ECS goes back if it can.
    Fails,
    /// ECS does what StopServiceDeployment asked for.
    GoesBack,
    /// From now on, readings show everything.
    Shows,
    /// So much time has passed that nobody waits for readings any more.
    Settles,
}

/// How far the search goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) requests: u8,
    pub(super) faults: u8,
    /// How many deployments may fail.
    pub(super) failures: u8,
    pub(super) ops: &'static [Op],
    /// How many changes old a reading may be at most.
    pub(super) ages: u8,
    pub(super) order: RolloutOrder,
}

type Broken = Result<(), String>;

impl World {
    pub(super) fn new(bounds: Bounds) -> Self {
        let Bounds { faults, failures, order, ops, .. } = bounds;
        let can_cancel = ops.contains(&Op::Cancel);
        Self { allowed: [(Want::default(), 0)].into(), faults, failures, order, can_cancel, ..Self::default() }
    }

    /// Every event that may happen now.
    pub(super) fn events(&self, bounds: Bounds) -> Vec<Event> {
        let mut events = Vec::new();
        let most = self.cloud.oldest().min(bounds.ages);
        // The replicas are alike, so the first request always goes to the same one.
        for r in 0..if self.sent == 0 { 1 } else { 2_u8 } {
            let replica = &self.replicas[usize::from(r)];
            if !self.waits && self.sent < bounds.requests && replica.waiting.is_none() && replica.run.is_none() {
                events.extend(bounds.ops.iter().map(|op| Event::Request(r, *op)));
            }
            let Some(run) = &replica.run else {
                if self.holder.is_none() && replica.waiting == Some(Op::Cancel) {
                    events.extend((0..=most).map(|ago| Event::Cancel(r, ago)));
                } else if self.holder.is_none() && replica.waiting.is_some() {
                    events.push(Event::Take(r));
                } else if self.holder.is_none() && self.note.as_ref().is_some_and(|note| !note.pending.is_empty()) {
                    events.push(Event::Pursue(r));
                }
                continue;
            };
            match &run.at {
                At::Look => {
                    for ago in 0..=most {
                        let asks = self.cloud.read(ago).is_some_and(|reading| asks_for_tasks(&run.target(), &reading));
                        events.extend((0..=if asks { most } else { 0 }).map(|tasks| Event::Look(r, ago, tasks)));
                    }
                    let other = &self.replicas[usize::from(1 - r)];
                    let asks = other.waiting.is_some_and(|op| op != Op::Cancel);
                    if run.is_accepted && run.asked.is_none() && run.looked && asks {
                        events.push(Event::MakeWay(r));
                    }
                }
                At::Plan => {
                    events.push(Event::Plan(r));
                    if self.replicas[usize::from(1 - r)].waiting == Some(Op::Cancel) {
                        events.push(Event::Heed(r));
                    }
                }
                At::Send(next) => {
                    events.push(Event::Send(r));
                    // The adapter itself looks for a registration that was not answered, and an access point is found by its
                    // token.
                    if self.faults > 0 && next.changes_container() {
                        events.push(Event::SendLost(r));
                    }
                }
                At::Answered(..) => events.push(Event::Fold(r)),
                At::Written => events.push(Event::Tell(r)),
            }
            if self.faults > 0 {
                events.push(Event::Crash(r));
            }
        }
        if self.faults > 0 && self.holder.is_some() {
            events.push(Event::LeaseLost);
        }
        let cloud = &self.cloud;
        if cloud.may_start() {
            events.push(Event::TaskStarts);
        }
        if cloud.has_stopping_task() {
            events.push(Event::TaskEnds);
        }
        if self.failures > 0 && cloud.may_fail() {
            events.push(Event::Fails);
        }
        if cloud.stop_requested {
            events.push(Event::GoesBack);
        }
        if cloud.oldest() > 0 {
            events.push(Event::Shows);
        } else if cloud.is_recent || self.replicas.iter().flat_map(|it| &it.run).any(|run| run.is_young) {
            events.push(Event::Settles);
        }
        events
    }

    /// Whether nothing goes on and nothing is left to do.
    pub(super) fn is_quiet(&self) -> bool {
        let is_idle = |replica: &Replica| replica.run.is_none() && replica.waiting.is_none();
        self.replicas.iter().all(is_idle) && self.note.as_ref().is_none_or(|note| note.pending.is_empty())
    }

    /// Checks what has to hold when nothing goes on.
    pub(super) fn judge_quiet(&self) -> Broken {
        let now = match self.cloud.active() {
            Some(service) => Want {
                exists: true,
                runs: service.desired > 0,
                size: self.cloud.revision(service.revision()).map_or(9, |revision| revision.size),
            },
            None => Want::default(),
        };
        if !self.closure().iter().any(|(want, _)| *want == now) {
            return Err(format!("{now:?} is not what was acknowledged: {:?}", self.allowed));
        }
        let named = self.cloud.active().map(Reading::revision);
        let previous = named.and_then(|named| self.cloud.revision(named)?.previous);
        let noted = |number: &u8| self.note.as_ref().is_some_and(|note| note.revisions.contains(number));
        let mut active = self.cloud.revisions.iter().filter(|revision| revision.active).map(|revision| revision.number);
        let orphan = active.find(|number| Some(*number) != named && Some(*number) != previous && !noted(number));
        if let Some(orphan) = orphan.filter(|_| !self.was_cut_short) {
            return Err(format!("revision {orphan} is left, and nothing remembers it"));
        }
        if named.is_none() && self.note.is_none() && self.cloud.access_point {
            return Err("an access point is left, and nothing remembers it".into());
        }
        Ok(())
    }

    /// What is allowed, with any of the unanswered requests after it.
    fn closure(&self) -> BTreeSet<(Want, u8)> {
        let mut all = self.allowed.clone();
        let mut new: Vec<_> = all.iter().copied().collect();
        while let Some((want, used)) = new.pop() {
            for (n, op) in self.unknown.iter().enumerate().filter(|(n, _)| used >> n & 1 == 0) {
                let next = (want.after(*op), used | 1 << n);
                if all.insert(next) {
                    new.push(next);
                }
            }
        }
        all
    }

    fn acknowledge(&mut self, op: Op) {
        self.waits = false;
        if self.can_cancel {
            self.ever.extend(self.allowed.iter().copied());
        }
        self.allowed = self.closure().into_iter().map(|(want, used)| (want.after(op), used)).collect();
        if self.cloud.gone_back_from.is_some() {
            // It may have gone back from this very change.
            self.went_back();
        }
    }

    fn refuse(&mut self) -> Broken {
        self.waits = false;
        // A user who must have a container is never refused.
        let all: BTreeSet<_> = self.closure().into_iter().filter(|(want, _)| !want.exists).collect();
        if all.is_empty() {
            return Err("a user who has a container was answered that there is none".into());
        }
        self.allowed = all;
        Ok(())
    }

    fn fail(&mut self, op: Op) {
        self.waits = false;
        self.unknown.push(op);
    }

    fn run(&mut self, r: u8) -> &mut Run {
        self.replicas[usize::from(r)].run.as_mut().unwrap()
    }

    /// Ends a converge without writing anything to the ledger.
    fn stop(&mut self, r: u8) {
        let run = self.replicas[usize::from(r)].run.take();
        if self.holder == Some(r) {
            self.holder = None;
        }
        if let Some(op) = run.and_then(|run| run.asked) {
            self.fail(op);
        }
    }

    /// Applies an event.
    pub(super) fn happen(&mut self, event: Event, planner: &mut Planner) -> Broken {
        match event {
            Event::Request(r, op) => {
                self.replicas[usize::from(r)].waiting = Some(op);
                (self.sent, self.waits) = (self.sent + 1, true);
            }
            Event::Take(r) => {
                let op = self.replicas[usize::from(r)].waiting.take().unwrap();
                let mut ops = self.note.as_ref().map_or_else(Vec::new, |note| note.pending.clone());
                ops.push(op);
                if targets(&ops, self.order).is_empty() {
                    // What was accepted before goes on without this request.
                    return self.refuse();
                }
                self.begin(r, ops, Some(op), false);
            }
            Event::Pursue(r) => {
                let ops = self.note.as_ref().unwrap().pending.clone();
                self.begin(r, ops, None, true);
            }
            Event::MakeWay(r) => self.stop(r),
            Event::Look(r, ago, tasks) => self.look(r, ago, tasks),
            Event::Plan(r) => return self.plan(r, planner),
            Event::Send(r) => return self.send(r),
            Event::SendLost(r) => {
                self.faults -= 1;
                self.send(r)?;
                self.give_up(r);
            }
            Event::Fold(r) => self.fold(r),
            Event::Tell(r) => {
                let op = self.run(r).asked.take();
                self.run(r).at = At::Look;
                op.into_iter().for_each(|op| self.acknowledge(op));
            }
            Event::Crash(r) => {
                (self.faults, self.was_cut_short) = (self.faults - 1, true);
                self.stop(r);
                self.replicas[usize::from(r)].known = None;
            }
            Event::Cancel(r, ago) => return self.cancel(r, ago),
            Event::Heed(r) => return self.heed(r),
            Event::LeaseLost => {
                (self.faults, self.was_cut_short) = (self.faults - 1, true);
                self.holder = None;
            }
            Event::TaskStarts => {
                self.may_start_task()?;
                self.cloud.start();
            }
            Event::TaskEnds => self.cloud.end_task(),
            Event::Fails => {
                self.failures -= 1;
                self.may_start_task()?;
                self.cloud.fail();
                self.went_back();
            }
            Event::GoesBack => {
                self.cloud.go_back();
                self.went_back();
            }
            Event::Shows => self.cloud.show(),
            Event::Settles => {
                self.cloud.is_recent = false;
                for run in self.replicas.iter_mut().flat_map(|replica| &mut replica.run) {
                    run.is_young = false;
                }
            }
        }
        Ok(())
    }

    fn may_start_task(&self) -> Broken {
        if !self.has_files {
            return Err("a task starts before its files".into());
        }
        // When ECS itself replaces a failed task, it starts the new one beside it.
        let is_ours = self.cloud.gone_back_from.is_none();
        if self.order == RolloutOrder::Strict && is_ours && !self.cloud.tasks.is_empty() {
            return Err("there are two tasks, in strict order".into());
        }
        Ok(())
    }

    /// ECS is back at what was complete before. The former size comes back with it, whatever was acknowledged.
    fn went_back(&mut self) {
        let Some(service) = self.cloud.active() else { return };
        let Some(Revision { size, .. }) = self.cloud.revision(service.revision()) else { return };
        let back =
            self.allowed.iter().filter(|(want, _)| want.exists).map(|(want, used)| (Want { size, ..*want }, *used));
        self.allowed.extend(back.collect::<Vec<_>>());
    }

    /// Takes back what was accepted, and makes ECS go back if something is being deployed. This needs no lock of the user.
    fn cancel(&mut self, r: u8, ago: u8) -> Broken {
        let reading = self.cloud.read(ago);
        let on_file = self.note.as_ref().and_then(|note| note.accepted.clone());
        let known = self.replicas[usize::from(r)].known.clone();
        let at = |noted: &Option<Noted>| noted.as_ref().map_or(0, |noted| noted.at);
        let accepted = if at(&on_file) > at(&known) { on_file } else { known };
        let taken_back = self.note.as_mut().map(|note| std::mem::take(&mut note.pending)).unwrap_or_default();
        for op in taken_back {
            // Some of it may have been done, in any order with requests that got no answer.
            let without: Vec<_> = self.ever.iter().copied().collect();
            self.allowed.extend(without);
            self.unknown.push(op);
        }
        let is_recent = self.cloud.is_recent;
        if accepted.is_some_and(|it| is_recent && is_older(reading.as_ref(), &it.shown, self.cloud.gone_back_from)) {
            // It reads again.
            return Ok(());
        }
        let replica = &mut self.replicas[usize::from(r)];
        let Some(read) = reading.filter(|read| read.status != ServiceStatus::Inactive) else {
            replica.waiting = None;
            return self.refuse();
        };
        replica.waiting = None;
        let is_deploying =
            read.status == ServiceStatus::Active && read.desired > 0 && read.primary.rollout != Rollout::Completed;
        let has_former = read.others.iter().any(|other| other.rollout == Rollout::Completed);
        if is_deploying && self.cloud.gone_back_from.is_none() {
            if !has_former {
                replica.waiting = Some(Op::Stop);
                return Ok(());
            }
            if self.cloud.may_fail() && self.cloud.former.is_some() {
                self.cloud.stop_requested = true;
                self.cloud.gone_back_from = self.cloud.active().map(|service| service.primary.id);
            }
        }
        self.waits = false;
        Ok(())
    }

    /// Stops between two steps: a revision that was registered and does not run is deregistered; accepted work stays until
    /// the cancel takes it.
    fn heed(&mut self, r: u8) -> Broken {
        let run = self.run(r);
        if let Some(unused) = run.seen.registered.take_if(|it| !run.has_run && run.registered.contains(&it.number)) {
            run.seen.revisions.remove(&unused.number);
            self.deregister(unused.number)?;
        }
        self.remember(r);
        self.stop(r);
        Ok(())
    }

    fn begin(&mut self, r: u8, ops: Vec<Op>, asked: Option<Op>, is_accepted: bool) {
        let is_new = self.note.is_none();
        let note = self.note.get_or_insert_default();
        let replica = &mut self.replicas[usize::from(r)];
        // The newer of what is on file and what this process knows.
        let on_file = note.accepted.clone();
        let at = |noted: &Option<Noted>| noted.as_ref().map_or(0, |noted| noted.at);
        if at(&on_file) > at(&replica.known) {
            replica.known = on_file;
        }
        let accepted = replica.known.clone();
        let seen = Observation::default();
        replica.run = Some(Run {
            ops,
            order: self.order,
            done: 0,
            asked,
            is_accepted,
            is_new,
            is_young: true,
            was_young: true,
            has_begun: false,
            has_run: false,
            registered: BTreeSet::new(),
            looked: false,
            accepted,
            seen,
            at: At::Look,
        });
        self.holder = Some(r);
    }

    fn look(&mut self, r: u8, ago: u8, tasks: u8) {
        let (reading, has_tasks) = (self.cloud.read(ago), self.cloud.reads_tasks(tasks));
        let (is_recent, note) = (self.cloud.is_recent, self.note.clone().unwrap_or_default());
        let has_files = self.has_files;
        let mut run = self.replicas[usize::from(r)].run.take().unwrap();
        let target = run.target();
        if run
            .accepted
            .as_ref()
            .is_some_and(|accepted| is_recent && is_older(reading.as_ref(), &accepted.shown, self.cloud.gone_back_from))
        {
            // It reads again.
            self.replicas[usize::from(r)].run = Some(run);
            return;
        }
        let (is_first, is_delete) = (!run.looked, matches!(target, Target::Absent { .. }));
        let is_new = run.is_new && is_first && run.done == 0;
        let wanted = reading.as_ref().filter(|reading| match reading.status {
            ServiceStatus::Active => true,
            ServiceStatus::Draining => is_delete,
            ServiceStatus::Inactive => is_delete && !is_new,
        });
        let current = wanted.and_then(|reading| self.cloud.revision(reading.revision()));
        let makes = is_new && target.makes_new_user();
        self.cloud.access_point |= makes;
        let is_gone = reading.as_ref().is_none_or(|reading| reading.status == ServiceStatus::Inactive);
        let before = std::mem::take(&mut run.seen);
        let mut seen = if is_first {
            Observation {
                revisions: note.revisions.clone(),
                deregistered: note.deregistered.clone(),
                remembered_access_point: note.access_point,
                resume: note.resume,
                never_seen: is_new && is_gone && !(is_delete && has_files),
                ..Observation::default()
            }
        } else {
            before.clone()
        };
        seen.has_live_tasks = reading.as_ref().filter(|reading| asks_for_tasks(&target, reading)).map(|_| has_tasks);
        seen.is_unremembered = is_new && run.accepted.is_none() && !is_gone;
        seen.is_settled = match run.accepted {
            Some(_) => !is_recent,
            None => !seen.is_unremembered,
        };
        seen.current = current.or(before.current);
        seen.access_point = current.is_some() || makes || before.access_point;
        seen.service = reading;
        if is_first && target.needs_base() {
            let in_use = |number: u8| {
                seen.current.is_some_and(|current| current.number == number || current.previous == Some(number))
            };
            let newest = seen.revisions.iter().copied().filter(|number| !in_use(*number)).max();
            seen.registered = newest.and_then(|number| self.cloud.revision(number)).filter(|found| found.active);
        }
        // A change whose result nobody saw took effect, and shows now.
        if let Some(shown) = seen.service.clone().filter(|service| service.status == ServiceStatus::Active)
            && run.accepted.as_ref().is_none_or(|accepted| shown.revision() > accepted.shown.revision())
            && seen.revisions.contains(&shown.revision())
        {
            run.accepted = Some(Noted { at: self.cloud.clock, shown });
            self.cloud.is_recent = true;
            (seen.is_settled, seen.is_unremembered) = (false, false);
        }
        (run.was_young, run.seen, run.looked, run.at) = (run.is_young, seen, true, At::Plan);
        self.replicas[usize::from(r)].run = Some(run);
    }

    fn plan(&mut self, r: u8, planner: &mut Planner) -> Broken {
        let newest = self.cloud.newest();
        let run = self.run(r);
        let known = run.accepted.as_ref().map(|accepted| accepted.shown.revision());
        let known = known.or(run.seen.service.as_ref().map(|service| service.revision()));
        let may_deploy = match known {
            Some(known) => run.seen.revisions.iter().any(|number| *number > known),
            None => !run.seen.revisions.is_empty(),
        } && run.was_young;
        run.seen.is_settled &= !may_deploy;
        run.seen.may_appear = may_deploy && run.accepted.is_none();
        let target = run.target();
        let next = planner.plan(&run.ops, run.done, &run.seen, newest);
        match next {
            Next::Converged => {
                let stops = target.needs_no_files() || matches!(target, Target::Absent { .. });
                if !stops && self.holder == Some(r) {
                    self.has_files = true;
                }
                self.remember(r);
                self.finish(r);
            }
            Next::NotFound => return self.not_found(r),
            Next::Wait => {
                let run = self.run(r);
                run.at = At::Look;
                if run.asked.is_some() && run.seen.service.is_some() {
                    self.accept(r);
                }
            }
            step => {
                // The lock is checked before each step, and before each change of a file.
                if self.holder != Some(r) {
                    self.stop(r);
                    return Ok(());
                }
                if step.starts_task() {
                    self.has_files = true;
                }
                if let Next::StopTasks(resume) = step {
                    // Written before the step: the next holder starts again what stops here.
                    self.run(r).seen.resume = Some(resume);
                    self.remember(r);
                }
                let run = self.run(r);
                let is_half = matches!(step, Next::StopTasks(_));
                let is_delete = step.changes_container() && matches!(target, Target::Absent { .. });
                let (ops, promises) = (run.ops.clone(), is_half || is_delete);
                (run.is_accepted, run.at) = (run.is_accepted || promises, At::Send(step));
                if promises {
                    self.note.get_or_insert_default().pending = ops;
                }
            }
        }
        Ok(())
    }

    /// Writes down the remaining work, so that another replica can continue.
    fn accept(&mut self, r: u8) {
        if self.holder != Some(r) {
            return self.stop(r);
        }
        let run = self.run(r);
        let ops = run.ops.clone();
        (run.is_accepted, run.at) = (true, At::Written);
        self.note.get_or_insert_default().pending = ops;
    }

    fn give_up(&mut self, r: u8) {
        if self.replicas[usize::from(r)].run.is_none() {
            return;
        }
        self.remember(r);
        let run = self.run(r);
        let (ops, has_begun, is_accepted) = (run.ops.clone(), run.has_begun, run.is_accepted);
        if self.holder == Some(r) && (has_begun || is_accepted) {
            self.note.get_or_insert_default().pending = ops;
        }
        self.stop(r);
    }

    fn not_found(&mut self, r: u8) -> Broken {
        // A revision that was registered and does not run is deregistered.
        let run = self.run(r);
        if let Some(unused) = run.seen.registered.take_if(|it| !run.has_run && run.registered.contains(&it.number)) {
            run.seen.revisions.remove(&unused.number);
            self.deregister(unused.number)?;
        }
        self.remember(r);
        let run = self.run(r);
        let (is_new, was_accepted, asked) = (run.is_new, run.is_accepted, run.asked.take());
        let goes_on = usize::from(run.done) + 1 < run.targets().len();
        if goes_on {
            run.asked = asked;
            self.finish(r);
            return Ok(());
        }
        if self.holder == Some(r) {
            if was_accepted {
                self.note.get_or_insert_default().pending.clear();
            }
            if is_new && self.note.as_ref().is_some_and(|note| note.revisions.is_empty()) {
                self.note = None;
            }
        }
        self.stop(r);
        if asked.is_some() { self.refuse() } else { Ok(()) }
    }

    /// Ends the converge to one target.
    fn finish(&mut self, r: u8) {
        let (is_held, run) = (self.holder == Some(r), self.run(r));
        run.done += 1;
        if usize::from(run.done) < run.targets().len() {
            if matches!(run.targets()[usize::from(run.done) - 1], Target::Absent { .. }) {
                // Only the work after the delete is left.
                let at = run.ops.iter().rposition(|op| *op == Op::Delete).unwrap_or(0);
                run.ops.drain(..=at);
                run.done = 0;
            }
            run.looked = false;
            run.at = At::Look;
            let (ops, is_accepted) = (run.ops.clone(), run.is_accepted);
            if is_held && is_accepted {
                self.note.get_or_insert_default().pending = ops;
            }
            return;
        }
        let (asked, is_delete) = (run.asked.take(), run.ops.last() == Some(&Op::Delete));
        if !is_held {
            // It cannot be removed from the ledger, so nobody is answered that it is done.
            run.asked = asked;
            return self.stop(r);
        }
        let note = self.note.get_or_insert_default();
        note.pending.clear();
        if is_delete {
            self.note = None;
        }
        self.stop(r);
        asked.into_iter().for_each(|op| self.acknowledge(op));
    }

    /// The step takes effect.
    fn send(&mut self, r: u8) -> Broken {
        let At::Send(step) = self.run(r).at.clone() else { return Ok(()) };
        // A replica that has not checked its lock for a while sends no change; the pause is longer than a call.
        if self.holder != Some(r) {
            self.stop(r);
            return Ok(());
        }
        let run = self.run(r);
        run.has_begun |= step.changes_container();
        let cloud = &mut self.cloud;
        let mut outcome = Outcome::Done;
        let mut noted = None;
        match &step {
            Next::EnsureAccessPoint => cloud.access_point = true,
            Next::Register(revision) => cloud.revisions.push(*revision),
            Next::Create(number) => match &cloud.service {
                Some(service) if service.status != ServiceStatus::Inactive => outcome = Outcome::Conflict,
                _ if !cloud.is_active(*number) => outcome = Outcome::NotActive,
                _ => {
                    if !cloud.tasks.is_empty() {
                        return Err("a service is created beside a task of the one before".into());
                    }
                    noted = Some(cloud.create(*number));
                }
            },
            Next::Update { revision, desired, restart, .. } => match cloud.active().cloned() {
                None => outcome = Outcome::Conflict,
                Some(_) if revision.is_some_and(|number| !cloud.is_active(number)) => outcome = Outcome::NotActive,
                Some(service) => {
                    let is_new = revision.is_some_and(|number| number != service.revision()) || *restart;
                    let deploys = is_new.then(|| revision.unwrap_or(service.revision()));
                    noted = Some(cloud.update(service, *desired, deploys));
                }
            },
            Next::StopTasks(_) => match cloud.active().cloned() {
                None => outcome = Outcome::Conflict,
                Some(service) => noted = Some(cloud.update(service, Some(0), None)),
            },
            Next::DeleteService => {
                if let Some(service) = cloud.active().cloned() {
                    if !cloud.tasks.is_empty() {
                        return Err("a service is deleted before its task has ended".into());
                    }
                    noted = Some(cloud.change(Reading { status: ServiceStatus::Draining, desired: 0, ..service }));
                }
            }
            Next::Deregister(number) => self.deregister(*number)?,
            Next::DeleteAccessPoint => {
                if cloud.active().is_some() {
                    return Err("the access point of a service is deleted".into());
                }
                cloud.access_point = false;
            }
            Next::Purge => {
                if cloud.active().is_some() || !cloud.tasks.is_empty() {
                    return Err("files are purged under a task".into());
                }
                self.has_files = false;
            }
            Next::DeleteRevisions(numbers) => {
                if let Some(number) = numbers.iter().find(|number| cloud.is_active(**number)) {
                    return Err(format!("revision {number} is deleted while it is ACTIVE"));
                }
            }
            Next::Converged | Next::Wait | Next::NotFound => {}
        }
        if let (Next::Update { superseded, .. }, Outcome::Done) = (&step, outcome) {
            for number in superseded {
                self.deregister(*number)?;
            }
        }
        self.run(r).at = At::Answered(step, noted, outcome);
        Ok(())
    }

    fn deregister(&mut self, number: u8) -> Broken {
        if self.cloud.active().is_some_and(|service| service.revision() == number) {
            return Err(format!("revision {number} is deregistered, and runs or is being deployed"));
        }
        if self.cloud.active().is_some() && self.cloud.former.is_some_and(|former| former.revision == number) {
            return Err(format!("revision {number} is deregistered, and ECS may go back to it"));
        }
        for revision in self.cloud.revisions.iter_mut().filter(|revision| revision.number == number) {
            revision.active = false;
        }
        Ok(())
    }

    /// Takes the answer in as the executor does, and writes down what is known.
    fn fold(&mut self, r: u8) {
        let At::Answered(step, noted, outcome) = self.run(r).at.clone() else { return };
        let run = self.run(r);
        let seen = &mut run.seen;
        match outcome {
            Outcome::Done => {}
            Outcome::NotActive => seen.registered = None,
            Outcome::Conflict => {}
        }
        run.at = if outcome == Outcome::Done { At::Plan } else { At::Look };
        let runs = matches!(step, Next::Create(_) | Next::Update { revision: Some(_), .. });
        run.has_run |= runs && outcome == Outcome::Done;
        if outcome == Outcome::Done {
            if let Some(noted) = &noted {
                (run.accepted, seen.is_settled, seen.has_live_tasks) = (Some(noted.clone()), false, None);
                seen.is_unremembered = false;
                seen.service = Some(noted.shown.clone());
            }
            match &step {
                Next::EnsureAccessPoint => seen.access_point = true,
                Next::Register(revision) => {
                    seen.revisions.insert(revision.number);
                    seen.registered = Some(*revision);
                    run.registered.insert(revision.number);
                }
                Next::Create(_) => seen.current = seen.registered.take().or(seen.current),
                Next::Update { revision, desired, restart, superseded } => {
                    seen.restarted |= restart;
                    seen.counted |= desired.is_some();
                    seen.resume.take_if(|_| desired.is_some());
                    if revision.is_some() {
                        seen.current = seen.registered.take().or(seen.current);
                    }
                    for number in superseded {
                        seen.revisions.remove(number);
                        seen.deregistered.insert(*number);
                    }
                }
                Next::StopTasks(_) => {}
                Next::DeleteService => {
                    if noted.is_none() {
                        seen.service = None;
                    }
                }
                Next::Deregister(number) => {
                    seen.deregistered.insert(*number);
                    seen.revisions.remove(number);
                    if let Some(current) = seen.current.as_mut().filter(|current| current.number == *number) {
                        current.active = false;
                    }
                    seen.registered.take_if(|registered| registered.number == *number);
                }
                Next::DeleteAccessPoint => {
                    (seen.access_point, seen.remembered_access_point) = (false, false);
                    seen.access_point_deleted = true;
                }
                Next::Purge => seen.purged = true,
                Next::DeleteRevisions(numbers) => seen.deleted.extend(numbers),
                Next::Converged | Next::Wait | Next::NotFound => {}
            }
        }
        if self.holder != Some(r) {
            self.replicas[usize::from(r)].known = self.run(r).accepted.clone();
            // It cannot be written down, and the next check of the lock shows that it was lost.
            return self.stop(r);
        }
        self.remember(r);
    }

    fn remember(&mut self, r: u8) {
        let run = self.run(r);
        let (seen, accepted) = (run.seen.clone(), run.accepted.clone());
        self.replicas[usize::from(r)].known = accepted.clone();
        if self.holder != Some(r) {
            return;
        }
        let note = self.note.get_or_insert_default();
        (note.revisions, note.deregistered) = (seen.revisions, seen.deregistered);
        note.accepted = accepted.or(note.accepted.take());
        note.resume = seen.resume;
        note.access_point |= seen.access_point;
    }
}

impl Run {
    fn targets(&self) -> Rc<[Target]> {
        targets(&self.ops, self.order)
    }

    fn target(&self) -> Target {
        self.targets()[usize::from(self.done)].clone()
    }
}
