//! The cost of operations in file-system calls, counted as EFS would count them: answers from the kernel's cache are
//! free, and so is closing.

use std::collections::BTreeMap;

use aws_emulator::Options as EmulatorOptions;
use openclaw_provisioner::fleet;
use openclaw_provisioner::reconcile::Options;
use serde_json::json;
use tempfile::TempDir;

use crate::fuse::{Group, Kind, Mount};
use crate::harness::{TestApp, provision_body};
use crate::mount;

/// Calls of one operation.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    all: u64,
    changes: u64,
    syncs: u64,
}

impl Cost {
    fn of(counts: &BTreeMap<Kind, u64>) -> Self {
        let of = |group: Group| group.kinds().filter_map(|kind| counts.get(&kind)).sum::<u64>();
        let (changes, syncs) = (of(Group::Change), of(Group::Sync));
        Self { all: of(Group::Look) + of(Group::Lock) + changes + syncs, changes, syncs }
    }

    fn is_within(&self, budget: &Self) -> bool {
        self.all <= budget.all && self.changes <= budget.changes && self.syncs <= budget.syncs
    }
}

async fn app(efs: &Mount) -> TestApp {
    let root = TempDir::new_in(efs.path()).unwrap();
    TestApp::in_directory(root, EmulatorOptions::default(), Options::default(), fleet::Options::default()).await
}

/// Registers the base for a release.
fn release(app: &TestApp, release: &str) {
    app.register_base(|base| {
        base["containerDefinitions"][0]["image"] = json!(format!("ghcr.io/openclaw/openclaw:{release}"));
    });
}

#[tokio::test]
async fn a_new_user_costs_few_calls() {
    // One release of each plan: a sign-in only in codex/auth.json, in profiles, and in a store that the entry script fills.
    // When files were written one by one, each with a sync of its directory, this took 77, 112 and 134 calls. One call reads
    // the promoted base. The write that names the lock's holder also says that a registration has begun.
    let budgets = [
        ("2026.4.15", Cost { all: 33, changes: 16, syncs: 8 }),
        ("2026.4.25", Cost { all: 50, changes: 26, syncs: 12 }),
        ("2026.9.6", Cost { all: 54, changes: 30, syncs: 12 }),
    ];
    let mut over = Vec::new();
    for (version, budget) in budgets {
        let backing = tempfile::tempdir().unwrap();
        let Some(efs) = mount(backing.path()) else { return };
        let app = app(&efs).await;
        release(&app, version);
        efs.take_counts();
        let answer = app.post("/provision", provision_body("alice")).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let counts = efs.take_counts();
        let cost = Cost::of(&counts);
        if !cost.is_within(&budget) {
            over.push(format!("{version}: {cost:?}, {counts:?}"));
        }
    }
    assert!(over.is_empty(), "{}", over.join("\n"));
}
