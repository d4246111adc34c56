//! The one reader of all watched containers. A cycle costs a tenth of a DescribeServices and about a hundredth of a
//! DescribeTasks for each user, however many watch them; ListTasks only where [`Known`] says that something can be new.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::definitions::Facts;
use super::known::{Known, Tasks};
use super::refining::{Refined, Refining};
use super::sights::{Shared, Sight};
use crate::aws::{AwsError, DESCRIBED_SERVICES, DESCRIBED_TASKS, ListedTasks};
use crate::domain::service::{Health, Service, ServiceStatus, Task};
use crate::domain::{Status, UserId, derive_status};

/// How long a new watcher waits for others that can share its calls.
const GATHERS_FOR: Duration = Duration::from_millis(50);
/// Users that are read and reported together: as many as one DescribeTasks can serve.
const READ_TOGETHER: usize = DESCRIBED_TASKS;

/// Reads until nobody watches any more.
pub(super) struct Poller {
    shared: Arc<Shared>,
    known: HashMap<UserId, Known>,
    /// The users still to be read in this cycle.
    cycle: VecDeque<UserId>,
    next_cycle: Instant,
    /// Asks, beside the readings, for what ECS does not know.
    refining: Refining,
}

/// One user while a reading is under way.
struct UserReading {
    user: UserId,
    service: Service,
    known: Known,
    tasks: Tasks,
    /// ARNs of the tasks to describe.
    arns: Vec<String>,
    described: Vec<Task>,
    status: Result<Option<Status>, Arc<AwsError>>,
}

impl Poller {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let next_cycle = Instant::now() + shared.options.watch_every;
        let (known, cycle, refining) = (HashMap::new(), VecDeque::new(), Refining::new(Arc::clone(&shared)));
        Self { shared, known, cycle, next_cycle, refining }
    }

    pub(super) async fn run(mut self) {
        let stopping = self.shared.stopping.clone();
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.poll() => {}
        }
    }

    async fn poll(&mut self) {
        loop {
            sleep(GATHERS_FOR).await;
            while let Some((reading, users)) = self.next_users() {
                self.read(reading, users).await;
                while let Some(refined) = self.refining.ended() {
                    self.remember(refined);
                }
            }
            {
                let mut registry = self.shared.registry();
                if registry.users.is_empty() {
                    registry.is_polling = false;
                    return;
                }
            }
            loop {
                tokio::select! {
                    () = sleep_until(self.next_cycle) => break,
                    () = self.shared.arrived.notified() => break,
                    Some(refined) = self.refining.next() => self.remember(refined),
                }
            }
        }
    }

    /// Keeps a refined status, so that the next cycles need not refine it again.
    fn remember(&mut self, refined: Refined) {
        let Refined { user, service, derived, status } = refined;
        if let Some(known) = self.known.get_mut(&user).filter(|known| known.service.as_ref() == Some(&service)) {
            known.refined = Some((derived, status));
        }
    }

    /// The users to read now, new ones first, and the number of the reading; `None` when all are read.
    fn next_users(&mut self) -> Option<(u64, Vec<UserId>)> {
        let mut registry = self.shared.registry();
        if self.cycle.is_empty() && Instant::now() >= self.next_cycle {
            self.next_cycle = Instant::now() + self.shared.options.watch_every;
            self.cycle.extend(registry.users.keys().cloned());
            self.known.retain(|user, _| registry.users.contains_key(user));
            self.refining.keep(|user| registry.users.contains_key(user));
        }
        let mut users = Vec::new();
        while users.len() < READ_TOGETHER
            && let Some(user) = registry.wanted.pop_first()
        {
            users.push(user);
        }
        while users.len() < READ_TOGETHER
            && let Some(user) = self.cycle.pop_front()
        {
            if registry.users.contains_key(&user) && !users.contains(&user) {
                users.push(user);
            }
        }
        if users.is_empty() {
            return None;
        }
        registry.reading += 1;
        Some((registry.reading, users))
    }

    async fn read(&mut self, reading: u64, users: Vec<UserId>) {
        let at = self.shared.coordinates.borrow().clone();
        let cluster = at.cluster.clone();
        let (mut readings, mut failed) = (Vec::new(), Vec::new());
        for users in users.chunks(DESCRIBED_SERVICES) {
            let names: Vec<String> = users.iter().map(UserId::service_name).collect();
            match self.shared.ecs.describe_services(&cluster, &names).await {
                Ok(mut found) => {
                    for (user, name) in users.iter().zip(&names) {
                        let service = found.iter().position(|service| service.name == *name);
                        let service = service.map(|at| found.swap_remove(at));
                        // It is older than a change of ours: the next cycle reads it again.
                        if self.shared.reconciler.is_behind(user, service.as_ref()) {
                            continue;
                        }
                        match service {
                            Some(service) => readings.push(self.begin(user.clone(), service)),
                            None => self.absent(reading, user).await,
                        }
                    }
                }
                Err(error) => {
                    let error = Arc::new(error);
                    failed.extend(users.iter().map(|user| (user.clone(), Arc::clone(&error))));
                }
            }
        }
        self.read_tasks(&cluster, &mut readings).await;
        for UserReading { user, service, known, status, .. } in readings {
            match status {
                Ok(Some(derived)) => match known.refined(&derived) {
                    Some(refined) => self.shared.tell(reading, &user, Sight::Seen(Arc::new(refined.clone()))),
                    // Files and gateways can be slow, and must delay neither each other nor the next cycle.
                    None => self.refining.begin(reading, &at, &user, service, derived, known.tasks()),
                },
                Ok(None) => self.shared.tell(reading, &user, self.without_service(&user).await),
                Err(error) => {
                    failed.push((user, error));
                    continue;
                }
            }
            self.known.insert(user, known);
        }
        if let Some((_, error)) = failed.first() {
            tracing::warn!(users = failed.len(), %error, "watched containers could not be read");
        }
        for (user, error) in failed {
            self.shared.tell(reading, &user, Sight::Unreadable(error));
        }
    }

    fn begin(&mut self, user: UserId, service: Service) -> UserReading {
        let mut known = self.known.remove(&user).unwrap_or_default();
        let tasks = known.tasks_to_read(&service);
        let arns = match tasks {
            Tasks::None | Tasks::List => Vec::new(),
            Tasks::Known => known.live.iter().map(|task| task.arn.clone()).collect(),
        };
        if known.service.as_ref() != Some(&service) {
            known.refined = None;
            known.service = Some(service.clone());
        }
        UserReading { user, service, known, tasks, arns, described: Vec::new(), status: Ok(None) }
    }

    /// Handles a service that AWS does not know. AWS may not know it yet (aws-facts §3), so unless it was being deleted it is
    /// looked for once more before its watchers get a report.
    async fn absent(&mut self, reading: u64, user: &UserId) {
        let accepted = self.without_service(user).await;
        if let Sight::Seen(_) = accepted {
            return self.shared.tell(reading, user, accepted);
        }
        match self.known.get(user).map(|known| &known.service) {
            None => {
                self.known.insert(user.clone(), Known::default());
            }
            Some(Some(service)) if service.status == ServiceStatus::Active => {
                self.known.insert(user.clone(), Known::default());
            }
            Some(_) => self.shared.tell(reading, user, Sight::Gone),
        }
    }

    /// The status of a user without a service: that of the accepted work, if there is any, otherwise gone.
    async fn without_service(&self, user: &UserId) -> Sight {
        let accepted = self.shared.reconciler.accepted_work(user).await;
        accepted.and_then(|work| work.status()).map_or(Sight::Gone, |status| Sight::Seen(Arc::new(status)))
    }

    /// Reads the tasks that decide the statuses, as a look at one user does: the running ones, and the stopped ones where
    /// none is ready.
    async fn read_tasks(&self, cluster: &str, readings: &mut [UserReading]) {
        for reading in readings.iter_mut().filter(|reading| reading.tasks == Tasks::List) {
            self.list(cluster, reading, ListedTasks::Running).await;
        }
        self.describe(cluster, readings).await;
        for reading in readings.iter_mut() {
            self.derive(reading).await;
            let is_ready = matches!(&reading.status, Ok(Some(status)) if status.ready);
            if reading.tasks == Tasks::List && !is_ready {
                self.list(cluster, reading, ListedTasks::Stopped).await;
            } else {
                reading.tasks = Tasks::None;
            }
        }
        self.describe(cluster, readings).await;
        for reading in readings.iter_mut().filter(|reading| reading.tasks == Tasks::List) {
            self.derive(reading).await;
        }
    }

    async fn list(&self, cluster: &str, reading: &mut UserReading, listed: ListedTasks) {
        if reading.status.is_err() {
            return;
        }
        match self.shared.ecs.list_tasks(cluster, &reading.service.name, listed).await {
            Ok(arns) => {
                let stopped = &mut reading.known.stopped;
                if listed == ListedTasks::Stopped {
                    // AWS forgets a stopped task after about an hour, and so does this process.
                    stopped.retain(|task| arns.contains(&task.arn));
                }
                let has_stopped = |arn: &String| stopped.iter().any(|task| task.arn == *arn);
                reading.arns = arns.into_iter().filter(|arn| !has_stopped(arn)).collect();
            }
            Err(error) => reading.status = Err(Arc::new(error)),
        }
    }

    /// Describes the tasks of all readings together, and gives each reading its own.
    async fn describe(&self, cluster: &str, readings: &mut [UserReading]) {
        let mut whose = HashMap::new();
        for (at, reading) in readings.iter_mut().enumerate() {
            whose.extend(reading.arns.drain(..).map(|arn| (arn, at)));
        }
        let arns: Vec<String> = whose.keys().cloned().collect();
        for arns in arns.chunks(DESCRIBED_TASKS) {
            match self.shared.ecs.describe_tasks(cluster, arns).await {
                Ok(tasks) => {
                    for task in tasks {
                        if let Some(at) = whose.get(&task.arn) {
                            readings[*at].described.push(task);
                        }
                    }
                }
                Err(error) => {
                    let error = Arc::new(error);
                    arns.iter().for_each(|arn| readings[whose[arn]].status = Err(Arc::clone(&error)));
                }
            }
        }
    }

    /// Derives the status from what is known so far.
    async fn derive(&self, reading: &mut UserReading) {
        if reading.status.is_err() {
            return;
        }
        let UserReading { user, service, known, described, .. } = reading;
        known.take_in(described.clone());
        let mut tasks = known.tasks();
        // A known health shows that there is a health check. The definition is needed only when the health is unknown, or to
        // know which of several containers counts.
        let in_doubt = tasks
            .iter()
            .any(|task| task.containers.len() > 1 || task.last_status == "RUNNING" && task.health == Health::Unknown);
        let facts = match in_doubt {
            true => self.shared.definitions.facts(&service.task_definition, user).await,
            false => Ok(Facts::default()),
        };
        reading.status = match facts {
            Ok(facts) => {
                facts.watched.follow(&mut tasks);
                Ok(derive_status(service, &tasks, facts.has_health_check))
            }
            Err(error) => Err(Arc::new(error)),
        };
    }
}
