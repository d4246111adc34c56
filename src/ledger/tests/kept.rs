//! Data of the whole fleet, in every ledger.

use super::*;
use crate::domain::DirectorySize;

fn sized(id: &str, bytes: u64) -> (UserId, DirectorySize) {
    let measured_at = Timestamp::from_second(1_764_000_000).unwrap();
    (UserId::parse(id).unwrap(), DirectorySize { bytes, entries: 3, complete: bytes < 10, measured_at })
}

#[tokio::test]
async fn every_replica_reads_the_sizes_that_were_written_last() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        assert_eq!(two.sizes().await.unwrap(), BTreeMap::new());
        one.keep_sizes(BTreeMap::from([sized("alice", 1), sized("bob", 2)])).await.unwrap();
        let last = BTreeMap::from([sized("bob", 20)]);
        two.keep_sizes(last.clone()).await.unwrap();
        assert_eq!((one.sizes().await.unwrap(), two.sizes().await.unwrap()), (last.clone(), last));
    }
}

/// A sign-in's limit of 256 KiB does not apply here: ten thousand users need more.
#[tokio::test]
async fn sizes_of_a_large_fleet_are_stored_completely() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        let all: BTreeMap<_, _> = (0..10_000).map(|number| sized(&format!("user-{number}"), number)).collect();
        one.keep_sizes(all.clone()).await.unwrap();
        assert_eq!(two.sizes().await.unwrap(), all);
    }
}

#[tokio::test]
async fn sizes_of_another_version_are_ignored() {
    let World { one, kind, .. } = World::on_files().await;
    let Kind::Files { root, .. } = &kind else { unreachable!() };
    for text in ["{\"version\":2,\"sizes\":[]}", "{\"version\":1,\"sizes\":{\"alice\":{\"by", ""] {
        std::fs::write(root.path().join(".provisioner/sizes.json"), text).unwrap();
        assert_eq!(one.sizes().await.unwrap(), BTreeMap::new(), "{text}");
    }
}

/// As many as a fleet may leave at once: if some were not stored, those resources would never be old enough to be removed.
#[tokio::test]
async fn the_ages_of_left_over_resources_of_a_large_fleet_are_stored_completely() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        let since = Timestamp::from_second(1_764_000_000).unwrap();
        let all: BTreeMap<String, Timestamp> =
            (0..10_000).map(|number| (format!("access_point/user-{number}"), since)).collect();
        one.keep_left_over(all.clone()).await.unwrap();
        assert_eq!(two.left_over().await.unwrap(), all);
    }
}
