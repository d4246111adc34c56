//! The search, breadth first, so that a counter-example is a shortest one.

use std::collections::HashMap;

use super::real::{Op, Planner};
use super::world::{Bounds, Event, World};
use crate::domain::RolloutOrder;

/// A state, and how it was reached.
struct Found {
    from: usize,
    event: Option<Event>,
    depth: u32,
}

struct Search {
    states: HashMap<World, usize>,
    found: Vec<Found>,
    edges: Vec<(u32, u32)>,
    quiet: Vec<bool>,
}

impl Search {
    /// The events that led to a state.
    fn way_to(&self, mut at: usize) -> Vec<Event> {
        let mut way = Vec::new();
        while let Some(event) = self.found[at].event {
            way.push(event);
            at = self.found[at].from;
        }
        way.reverse();
        way
    }

    fn note(&mut self, world: World, from: usize, event: Option<Event>, depth: u32) -> (usize, bool) {
        let next = self.found.len();
        let at = *self.states.entry(world).or_insert(next);
        if at == next {
            self.found.push(Found { from, event, depth });
            self.quiet.push(false);
        }
        (at, at == next)
    }
}

/// Searches everything that can happen. Returns the number of states and the greatest depth.
fn search(bounds: Bounds) -> (usize, u32) {
    let mut planner = Planner::new(bounds.order);
    let mut search = Search { states: HashMap::new(), found: vec![], edges: vec![], quiet: vec![] };
    let first = World::new(bounds);
    search.note(first.clone(), 0, None, 0);
    let mut open = std::collections::VecDeque::from([(0_usize, first)]);
    let mut deepest = 0;
    while let Some((at, world)) = open.pop_front() {
        let depth = search.found[at].depth;
        deepest = deepest.max(depth);
        if world.is_quiet() {
            search.quiet[at] = true;
            if let Err(broken) = world.judge_quiet() {
                panic!("{broken}, after {:#?}\n{world:#?}", search.way_to(at));
            }
        }
        for event in world.events(bounds) {
            let mut next = world.clone();
            if let Err(broken) = next.happen(event, &mut planner) {
                panic!("{broken}, after {:#?}\nand {event:?} in {world:#?}", search.way_to(at));
            }
            let (to, is_new) = search.note(next.clone(), at, Some(event), depth + 1);
            search.edges.push((u32::try_from(at).unwrap(), u32::try_from(to).unwrap()));
            if is_new {
                open.push_back((to, next));
            }
        }
    }
    every_state_comes_to_rest(&search);
    (search.found.len(), deepest)
}

/// Checks that from every state there is a way to one where nothing goes on.
fn every_state_comes_to_rest(search: &Search) {
    let mut into: Vec<Vec<u32>> = vec![Vec::new(); search.found.len()];
    for (from, to) in &search.edges {
        into[*to as usize].push(*from);
    }
    let mut reaches = search.quiet.clone();
    let mut open: Vec<usize> = (0..reaches.len()).filter(|at| reaches[*at]).collect();
    while let Some(at) = open.pop() {
        for from in &into[at] {
            if !std::mem::replace(&mut reaches[*from as usize], true) {
                open.push(*from as usize);
            }
        }
    }
    if let Some(stuck) = reaches.iter().position(|reaches| !reaches) {
        let state = search.states.iter().find(|(_, at)| **at == stuck).map(|(world, _)| world);
        panic!("it never comes to rest after {:#?}\n{state:#?}", search.way_to(stuck));
    }
}

const KIND: Bounds =
    Bounds { requests: 2, faults: 0, failures: 0, ops: &Op::WORK, ages: u8::MAX, order: RolloutOrder::StopFirst };

fn searched(bounds: Bounds, at_least: usize) {
    let (states, depth) = search(bounds);
    println!("{bounds:?}: {states} states, {depth} deep");
    assert!(states > at_least, "{states}");
}

#[test]
fn two_requests_and_one_fault_keep_every_rule() {
    searched(Bounds { faults: 1, ..KIND }, 50_000);
}

#[test]
fn two_requests_and_a_failing_deployment_keep_every_rule() {
    searched(Bounds { failures: 1, ..KIND }, 5_000);
}

#[test]
fn a_request_and_up_to_two_cancels_keep_every_rule() {
    searched(Bounds { ops: &Op::ALL, ..KIND }, 1_000);
}

#[test]
fn two_requests_in_strict_order_and_one_fault_keep_every_rule() {
    searched(Bounds { faults: 1, order: RolloutOrder::Strict, ..KIND }, 50_000);
}

/// By hand: `MODEL_REQUESTS=3 MODEL_FAULTS=1 MODEL_FAILURES=1 MODEL_STRICT=1 cargo test --release --lib model -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes and gigabytes; a search of three requests has never finished"]
fn the_bounds_of_the_environment_keep_every_rule() {
    let of = |name: &str, otherwise| std::env::var(name).map_or(otherwise, |value| value.parse().unwrap());
    let order = if of("MODEL_STRICT", 0) > 0 { RolloutOrder::Strict } else { RolloutOrder::StopFirst };
    let ops: &[Op] = if of("MODEL_CANCEL", 0) > 0 { &Op::ALL } else { &Op::WORK };
    let ages = of("MODEL_AGES", u8::MAX);
    let (requests, faults, failures) = (of("MODEL_REQUESTS", 2), of("MODEL_FAULTS", 2), of("MODEL_FAILURES", 0));
    searched(Bounds { requests, faults, failures, ops, ages, order }, 0);
}
