//! What is kept of the whole fleet, as every ledger keeps it.

use super::*;
use crate::domain::DirectorySize;

fn sized(id: &str, bytes: u64) -> (UserId, DirectorySize) {
    let measured_at = Timestamp::from_second(1_764_000_000).unwrap();
    (UserId::parse(id).unwrap(), DirectorySize { bytes, entries: 3, complete: bytes < 10, measured_at })
}

#[tokio::test]
async fn sizes_are_those_that_were_kept_last_for_every_replica() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        assert_eq!(two.sizes().await.unwrap(), BTreeMap::new());
        one.keep_sizes(BTreeMap::from([sized("alice", 1), sized("bob", 2)])).await.unwrap();
        let last = BTreeMap::from([sized("bob", 20)]);
        two.keep_sizes(last.clone()).await.unwrap();
        assert_eq!((one.sizes().await.unwrap(), two.sizes().await.unwrap()), (last.clone(), last));
    }
}

/// A sign-in's bound of 256 KiB is none of these: ten thousand users take more.
#[tokio::test]
async fn sizes_of_a_large_fleet_are_kept_whole() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        let all: BTreeMap<_, _> = (0..10_000).map(|number| sized(&format!("user-{number}"), number)).collect();
        one.keep_sizes(all.clone()).await.unwrap();
        assert_eq!(two.sizes().await.unwrap(), all);
    }
}

#[tokio::test]
async fn sizes_that_another_version_wrote_are_none() {
    let World { one, kind, .. } = World::on_files().await;
    let Kind::Files { root, .. } = &kind else { unreachable!() };
    for text in ["{\"version\":2,\"sizes\":[]}", "{\"version\":1,\"sizes\":{\"alice\":{\"by", ""] {
        std::fs::write(root.path().join(".provisioner/sizes.json"), text).unwrap();
        assert_eq!(one.sizes().await.unwrap(), BTreeMap::new(), "{text}");
    }
}

/// As many as a fleet may leave behind at once: what is not kept whole would never be old enough to go.
#[tokio::test]
async fn since_when_things_belong_to_nobody_is_kept_whole_of_a_large_fleet() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        let since = Timestamp::from_second(1_764_000_000).unwrap();
        let all: BTreeMap<String, Timestamp> =
            (0..10_000).map(|number| (format!("access_point/user-{number}"), since)).collect();
        one.keep_left_over(all.clone()).await.unwrap();
        assert_eq!(two.left_over().await.unwrap(), all);
    }
}
