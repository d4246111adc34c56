//! Changes the size of a task that several containers share.
//!
//! OpenClaw's limits grow by as much as the task; the other containers keep theirs. When a task shrinks, unassigned CPU and
//! memory go first. ECS refuses a definition whose containers together have more than the task (RegisterTaskDefinition,
//! `cpu` and `memory`).

use openclaw::Invalid;
use serde_json::{Map, Value, json};

use super::{items, text};
use crate::domain::{RawSize, Size};

/// The least that a size must leave for OpenClaw: half of Fargate's smallest CPU, and all of its smallest memory.
const LEAST_CPU: u64 = 128;
const LEAST_MEMORY_MIB: u64 = 512;

/// How the base's task shares its CPU, or its memory, among the containers.
struct Shares {
    /// Total of the base's task.
    task: u64,
    /// Sum of the other containers.
    others: u64,
    /// The least that OpenClaw needs.
    least: u64,
}

impl Shares {
    /// The rest for OpenClaw in a task of this size; `None` if it is too little.
    fn left(&self, task: u64) -> Option<u64> {
        let left = task.checked_sub(self.others)?;
        // If OpenClaw is alone, any Fargate size is enough.
        (self.others == 0 || left >= self.least).then_some(left)
    }

    /// The new value of one of OpenClaw's limits in a task of this size.
    fn limit(&self, old: u64, task: u64, left: u64) -> u64 {
        match task.checked_sub(self.task) {
            Some(more) => (old + more).min(left),
            None => old.min(left),
        }
    }
}

/// Gives the task this size and OpenClaw, the container at `index`, its part of it.
///
/// # Errors
/// Names `size.cpu` or `size.memory_mib`, and the smallest size that fits, when the other containers leave too little.
pub(super) fn scale(request: &mut Map<String, Value>, index: usize, size: Size) -> Result<(), Invalid> {
    let document = Value::Object(request.clone());
    let [cpu, memory] = shares(&document, index);
    let (new_cpu, new_memory) = (u64::from(size.cpu()), u64::from(size.memory_mib()));
    let too_little = |field: &str, wanted: String, others: u64, least: u64| {
        let fits = |size: &Size| {
            cpu.left(u64::from(size.cpu())).is_some() && memory.left(u64::from(size.memory_mib())).is_some()
        };
        let fix = match Size::all().find(fits).map(RawSize::from) {
            Some(RawSize { cpu, memory_mib }) => {
                format!("the smallest size that fits is cpu {cpu} with memory_mib {memory_mib}")
            }
            None => "no Fargate size fits: lower the limits of the other containers in the base".to_owned(),
        };
        let problem = format!(
            "{wanted} do not fit: the other containers of the base have {others} of them, and OpenClaw needs {least}"
        );
        Invalid::new(field, problem, fix)
    };
    let Some(cpu_left) = cpu.left(new_cpu) else {
        return Err(too_little("size.cpu", format!("{new_cpu} CPU units"), cpu.others, cpu.least));
    };
    let Some(memory_left) = memory.left(new_memory) else {
        return Err(too_little("size.memory_mib", format!("{new_memory} MiB"), memory.others, memory.least));
    };
    request.insert("cpu".into(), json!(size.cpu().to_string()));
    request.insert("memory".into(), json!(size.memory_mib().to_string()));
    let containers = request.get_mut("containerDefinitions");
    let container = containers.and_then(|containers| containers.get_mut(index)).and_then(Value::as_object_mut);
    let Some(container) = container else { return Ok(()) };
    let has_reservation = limit_of(container.get("memoryReservation")).is_some();
    let mut set = |member: &str, shares: &Shares, task: u64, left: u64| {
        if let Some(old) = limit_of(container.get(member)) {
            container.insert(member.to_owned(), json!(shares.limit(old, task, left)));
        }
    };
    set("cpu", &cpu, new_cpu, cpu_left);
    set("memoryReservation", &memory, new_memory, memory_left);
    // A hard limit beside a reservation may be as high as the task's memory, as in the base.
    set("memory", &memory, new_memory, if has_reservation { new_memory } else { memory_left });
    Ok(())
}

/// The shares of the base: CPU, then memory.
fn shares(document: &Value, index: usize) -> [Shares; 2] {
    let containers = items(document, "containerDefinitions");
    let others = || containers.iter().enumerate().filter(move |(other, _)| *other != index).map(|(_, other)| other);
    let of_task = |member: &str| text(document, member).and_then(|digits| digits.parse().ok());
    let hard = |container: &Value| {
        limit_of(container.get("memory")).or_else(|| limit_of(container.get("memoryReservation"))).unwrap_or(0)
    };
    // The reservation counts against the task, if there is one.
    let reserved = |container: &Value| {
        limit_of(container.get("memoryReservation")).or_else(|| limit_of(container.get("memory"))).unwrap_or(0)
    };
    let task_memory: Option<u64> = of_task("memory");
    let are_hard_limits_shared_out = task_memory.is_some_and(|task| containers.iter().map(hard).sum::<u64>() <= task);
    let memory = if are_hard_limits_shared_out { others().map(hard).sum() } else { others().map(reserved).sum() };
    let cpu = others().filter_map(|container| limit_of(container.get("cpu"))).sum();
    let cpu_of_task: Option<u64> = of_task("cpu");
    [
        Shares { task: cpu_of_task.unwrap_or(u64::MAX), others: cpu, least: LEAST_CPU },
        Shares { task: task_memory.unwrap_or(u64::MAX), others: memory, least: LEAST_MEMORY_MIB },
    ]
}

/// A limit; 0 means none, as in ECS.
fn limit_of(value: Option<&Value>) -> Option<u64> {
    value.and_then(Value::as_u64).filter(|limit| *limit > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn size(cpu: u32, memory_mib: u32) -> Size {
        Size::parse(RawSize { cpu, memory_mib }, "size").unwrap()
    }

    /// A task with containers of the given CPU, memory and reservation; OpenClaw is the first.
    fn task(cpu: u32, memory: u32, containers: &[(u32, u32, u32)]) -> Map<String, Value> {
        let containers: Vec<Value> = containers
            .iter()
            .map(|(cpu, memory, reservation)| json!({"cpu": cpu, "memory": memory, "memoryReservation": reservation}))
            .collect();
        let document = json!({
            "cpu": cpu.to_string(), "memory": memory.to_string(), "containerDefinitions": containers,
        });
        document.as_object().unwrap().clone()
    }

    fn limits(request: &Map<String, Value>) -> Vec<(u64, u64, u64)> {
        let containers = request["containerDefinitions"].as_array().unwrap().iter();
        let number = |container: &Value, member: &str| container[member].as_u64().unwrap();
        let of = |c: &Value| (number(c, "cpu"), number(c, "memory"), number(c, "memoryReservation"));
        containers.map(of).collect()
    }

    fn scaled(mut request: Map<String, Value>, size: Size) -> Result<Vec<(u64, u64, u64)>, Invalid> {
        scale(&mut request, 0, size).map(|()| limits(&request))
    }

    #[test]
    fn growth_goes_to_openclaw_and_the_other_containers_keep_their_limits() {
        let shared = || task(1024, 2048, &[(896, 1792, 0), (128, 256, 0)]);
        assert_eq!(scaled(shared(), size(2048, 8192)).unwrap(), [(1920, 7936, 0), (128, 256, 0)]);
        assert_eq!(scaled(shared(), size(512, 1024)).unwrap(), [(384, 768, 0), (128, 256, 0)]);
        assert_eq!(scaled(shared(), size(1024, 2048)).unwrap(), limits(&shared()));
        let alone = || task(512, 2048, &[(512, 2048, 1024)]);
        assert_eq!(scaled(alone(), size(1024, 4096)).unwrap(), [(1024, 4096, 3072)]);
        assert_eq!(scaled(alone(), size(256, 512)).unwrap(), [(256, 512, 512)]);
    }

    #[test]
    fn unassigned_resources_go_first_and_missing_limits_stay_missing() {
        let slack = || task(1024, 4096, &[(256, 1024, 0), (128, 256, 0)]);
        assert_eq!(scaled(slack(), size(512, 2048)).unwrap(), [(256, 1024, 0), (128, 256, 0)]);
        assert_eq!(scaled(slack(), size(512, 1024)).unwrap(), [(256, 768, 0), (128, 256, 0)]);
        let unlimited = || task(1024, 2048, &[(0, 0, 0), (128, 256, 0)]);
        assert_eq!(scaled(unlimited(), size(2048, 4096)).unwrap(), limits(&unlimited()));
    }

    #[test]
    fn reservations_count_if_the_hard_limits_exceed_the_task() {
        let soft = || task(512, 2048, &[(256, 2048, 1024), (256, 2048, 256)]);
        assert_eq!(scaled(soft(), size(512, 4096)).unwrap(), [(256, 4096, 3072), (256, 2048, 256)]);
        assert_eq!(scaled(soft(), size(512, 1024)).unwrap(), [(256, 1024, 768), (256, 2048, 256)]);
    }

    #[test]
    fn a_size_that_leaves_too_little_is_answered_with_the_smallest_that_fits() {
        let shared = || task(1024, 4096, &[(512, 2048, 0), (512, 2048, 0)]);
        let error = scaled(shared(), size(512, 4096)).unwrap_err();
        assert_eq!(error.field(), "size.cpu");
        assert_eq!(error.fix(), "the smallest size that fits is cpu 1024 with memory_mib 3072");
        let error = scaled(shared(), size(1024, 2048)).unwrap_err();
        assert_eq!((error.field(), error.fix().ends_with("memory_mib 3072")), ("size.memory_mib", true));
        let unlimited = task(1024, 2048, &[(0, 0, 0), (128, 1792, 0)]);
        assert_eq!(scaled(unlimited, size(512, 2048)).unwrap_err().field(), "size.memory_mib");
        let huge = task(1024, 2048, &[(0, 0, 0), (40_000, 0, 0)]);
        assert!(scaled(huge, size(512, 2048)).unwrap_err().fix().contains("in the base"));
    }

    proptest! {
        #[test]
        fn containers_never_exceed_the_task_and_the_others_never_change(
            from in 0usize..78, to in 0usize..78,
            shares in prop::collection::vec((1u32..=100, 1u32..=100), 1..4),
        ) {
            let all: Vec<Size> = Size::all().collect();
            let (from, to) = (all[from % all.len()], all[to % all.len()]);
            let sum = |of: fn(&(u32, u32)) -> u32| shares.iter().map(of).sum::<u32>();
            let (cpus, memories) = (sum(|share| share.0), sum(|share| share.1));
            let containers: Vec<(u32, u32, u32)> = shares.iter().map(|(cpu, memory)| {
                ((from.cpu() * cpu / cpus).max(1), (from.memory_mib() / memories * memory).max(1), 0)
            }).collect();
            let before = task(from.cpu(), from.memory_mib(), &containers);
            match scaled(before.clone(), to) {
                Ok(after) => {
                    prop_assert_eq!(&after[1..], &limits(&before)[1..]);
                    prop_assert!(after.iter().map(|limits| limits.0).sum::<u64>() <= u64::from(to.cpu()));
                    prop_assert!(after.iter().map(|limits| limits.1).sum::<u64>() <= u64::from(to.memory_mib()));
                    prop_assert!(after[0].0 > 0 && after[0].1 > 0);
                    if to.memory_mib() > from.memory_mib() {
                        prop_assert!(after[0].1 > limits(&before)[0].1, "added memory must go to OpenClaw");
                    }
                }
                Err(_) => prop_assert!(containers.len() > 1),
            }
        }
    }
}
