//! Arbitrary users, targets and disturbances.

use std::collections::BTreeMap;

use openclaw::Provider;
use openclaw_provisioner::domain::service::ServiceStatus;
use openclaw_provisioner::domain::{ImageRef, RawSize, RolloutOrder, Secrets, Size, Spec, SpecPatch, Variables};
use openclaw_provisioner::reconcile::{Redeploy, Target};
use proptest::prelude::*;
use proptest::sample::select;

use super::world::{World, deployed, service};
use super::{Disturbance, Disturbance::*, Scenario, stall};

fn size() -> impl Strategy<Value = Size> {
    select(vec![(512, 1024), (1024, 4096), (2048, 8192)])
        .prop_map(|(cpu, memory_mib)| Size::parse(RawSize { cpu, memory_mib }, "").unwrap())
}

fn image() -> impl Strategy<Value = ImageRef> {
    let ecr = "123456789012.dkr.ecr.us-east-1.amazonaws.com/openclaw:2026.4.25";
    select(vec!["ghcr.io/openclaw/openclaw:2026.5.7", ecr]).prop_map(|text| ImageRef::parse(text, "image").unwrap())
}

/// One of few names, so that a variable and a secret sometimes have the same.
fn name() -> impl Strategy<Value = BTreeMap<String, String>> {
    select(vec!["A", "B"]).prop_map(|name| {
        BTreeMap::from([(name.to_owned(), "arn:aws:ssm:us-east-1:123456789012:parameter/x".to_owned())])
    })
}

fn secrets() -> impl Strategy<Value = Secrets> {
    let key = name().prop_map(|raw| raw.into_values().map(|arn| ("OPENAI_API_KEY".to_owned(), arn)).collect());
    prop_oneof![name(), key].prop_map(|raw| Secrets::parse(raw).unwrap())
}

/// A provider, and whether the request has a sign-in; mostly as a web app provisions.
fn sign_in() -> impl Strategy<Value = (Option<Provider>, bool)> {
    let usual =
        select(vec![(Option::None, true), (Some(Provider::Bedrock), false), (Some(Provider::OpenaiKey), false)]);
    prop_oneof![4 => usual, 1 => (proptest::option::of(select(Provider::ALL.to_vec())), any::<bool>())]
}

fn patch() -> impl Strategy<Value = SpecPatch> {
    let variables = proptest::option::of(name().prop_map(|raw| Variables::parse(raw).unwrap()));
    let secrets = proptest::option::of(secrets());
    let image = proptest::option::of(proptest::option::of(image()));
    (proptest::option::of(size()), image, variables, secrets, sign_in()).prop_map(
        |(size, image, variables, secrets, (sign_in, has_auth))| SpecPatch {
            size,
            image,
            variables,
            secrets,
            provider: sign_in,
            has_auth,
            ..SpecPatch::default()
        },
    )
}

pub fn target() -> impl Strategy<Value = Target> {
    (any_target(), proptest::option::of(Just(RolloutOrder::Strict))).prop_map(|(target, order)| target.in_order(order))
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        patch().prop_map(Target::provision),
        size().prop_map(Target::resize),
        (proptest::option::of(proptest::option::of(image())), any::<bool>())
            .prop_map(|(image, force)| Target::redeploy(Redeploy { image, restart: force, ..Redeploy::default() })),
        Just(Target::start()),
        Just(Target::stop()),
        any::<bool>().prop_map(|purge| Target::delete(purge, false)),
    ]
}

pub fn disturbance() -> impl Strategy<Value = Disturbance> {
    let any = [None, DiesBefore, DiesAfter, Conflict, SomebodyDeletes, SomebodyDeregisters, AnotherBase, Stalls, Time];
    select(any.to_vec())
}

prop_compose! {
    /// Any state of a user, also states that only a crash, another writer or an older release leaves behind.
    pub fn world()(
        status in select(vec![Option::None, Some(ServiceStatus::Active), Some(ServiceStatus::Active), Some(ServiceStatus::Draining), Some(ServiceStatus::Inactive)]),
        base_number in 1..3u32,
        chain in proptest::collection::vec((1..3u32, patch(), any::<bool>(), any::<bool>()), 1..5),
        orphans in 0..2usize,
        (desired, running, stalled, lock_file, files, has_access_point) in any::<(bool, bool, bool, bool, bool, bool)>(),
        (gives_roles, had_roles, has_role) in any::<(bool, bool, bool)>(),
    ) -> World {
        let mut world = World::empty(base_number);
        (world.files, world.lock_file, world.gives_roles) = (files, lock_file, had_roles);
        // One that a crash has left may have no policy.
        world.role = (had_roles || has_role).then_some(Option::None);
        if has_access_point || status.is_some() {
            world.make_access_point();
        }
        let Some(status) = status else {
            world.gives_roles = gives_roles;
            return world;
        };
        for (base_number, patch, active, legacy) in &chain {
            let spec = Spec::default().patched(patch).unwrap_or_default();
            world.add_revision(*base_number, &spec, *active, *legacy);
        }
        let newest = World::arn(world.revisions.len());
        for _ in 0..orphans {
            world.add_revision(base_number, &Spec::default(), true, false);
        }
        let mut made = deployed(service(u32::from(desired)), newest);
        made.status = status;
        made.running = u32::from(running && desired);
        world.service = Some(made);
        if stalled {
            stall(&mut world);
        }
        if lock_file {
            let active = (1..=world.revisions.len()).map(World::arn).filter(|arn| world.definition(arn).active);
            world.noted = active.collect();
        }
        if status == ServiceStatus::Inactive && !lock_file {
            // A delete removes the lock file last: without one, everything else was deleted before.
            (1..=world.revisions.len()).for_each(|number| world.set_active(number, false));
            (world.access_point, world.role) = (Option::None, Option::None);
        }
        world.gives_roles = gives_roles;
        world
    }
}

prop_compose! {
    pub fn scenario()(
        world in world(),
        target in target(),
        script in proptest::collection::vec(disturbance(), 0..12),
    ) -> Scenario {
        Scenario { world, target, script }
    }
}
