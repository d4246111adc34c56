//! A hanging mount: work without files goes on, nothing accumulates, and the process ends on SIGTERM.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use aws_emulator::Options as EmulatorOptions;
use serde_json::{Value, json};

use crate::fuse::{Kind, Mount};
use crate::harness::{TOKEN, provision_body};
use crate::mount;
use crate::world::{Answer, LONG, Replica, World};

/// Most threads; more would mean that the service does not limit them.
const THREADS: usize = 256;

/// How long an answer without files may take. One second if the tests have the machine for themselves:
/// `PROVISIONER_TESTS_STRICT=1`.
fn soon() -> Duration {
    let is_strict = std::env::var("PROVISIONER_TESTS_STRICT").is_ok_and(|value| value == "1");
    Duration::from_secs(if is_strict { 1 } else { 10 })
}

/// The users of all requests.
const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

fn with_users(efs: &Mount) -> (World, Replica) {
    let world = World::new(EmulatorOptions::default());
    let replica = world.replica(efs.path());
    for user in USERS {
        let answer = replica.call("POST", "/provision", &provision_body(user));
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    for user in USERS {
        assert_eq!(replica.get(&format!("/containers/{user}/wait")).body["state"], "running");
    }
    (world, replica)
}

/// Sends requests of every kind without waiting for their answers.
fn every_kind(replica: &Replica, times: usize) -> Vec<(String, TcpStream)> {
    let size = json!({"cpu": 1024, "memory_mib": 2048});
    let of_user = |n: usize| {
        let user = USERS[n % USERS.len()];
        let containers = format!("/containers/{user}");
        let credentials = json!({"auth": provision_body(user)["auth"]});
        [
            ("POST", "/provision".to_owned(), provision_body(user)),
            ("POST", "/provision".to_owned(), provision_body(&format!("new-{n}"))),
            ("GET", containers.clone(), Value::Null),
            ("GET", format!("{containers}/credentials"), Value::Null),
            ("PUT", format!("{containers}/credentials"), credentials),
            ("POST", format!("{containers}/credentials/repair"), Value::Null),
            ("GET", format!("{containers}/gateway"), Value::Null),
            ("POST", format!("{containers}/gateway/rotate"), Value::Null),
            ("POST", format!("{containers}/resize"), size.clone()),
            ("POST", format!("{containers}/redeploy"), json!({})),
            ("POST", format!("{containers}/start"), json!({})),
            ("POST", format!("{containers}/cancel"), json!({})),
            ("GET", "/readyz".to_owned(), Value::Null),
        ]
    };
    let send = |(method, path, body): (&str, String, Value)| {
        let mut stream = TcpStream::connect(replica.address()).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {TOKEN}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        (format!("{method} {path}"), stream)
    };
    (0..).flat_map(of_user).take(times).map(send).collect()
}

/// Checks that requests without files are answered soon, whatever hangs.
fn assert_goes_on(replica: &Replica) {
    let paths = ["/healthz", "/containers/alice", "/containers/bob/wait?timeout_seconds=0", "/containers", "/metrics"];
    for path in paths {
        let answer = replica.ask("GET", path, &Value::Null, soon());
        // A wait that times out is 408.
        let is_answered = matches!(&answer, Some(Answer { status: 200, .. }))
            || path.contains("wait") && matches!(&answer, Some(Answer { status: 408, .. }));
        assert!(is_answered, "{path}: {answer:?}\n{}", replica.log());
    }
    let threads = replica.threads();
    assert!(threads < THREADS, "{threads} threads");
}

/// Waits until the AWS calls of the requests are answered: a thousand of them keep two cores busy, and this test is not about
/// speed.
fn settle(world: &World) {
    let (start, mut before) = (Instant::now(), 0);
    loop {
        thread::sleep(Duration::from_millis(500));
        let calls = world.emulator.calls().len();
        if calls == before || start.elapsed() > LONG {
            return;
        }
        before = calls;
    }
}

/// Checks that every waiting request gets some answer in the end.
fn assert_all_answered(waiting: Vec<(String, TcpStream)>) {
    for (request, mut stream) in waiting {
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 "), "{request}: {read:?}, {answer:?}");
    }
}

#[test]
fn with_a_hung_mount_and_1000_requests_other_work_continues_and_the_process_ends() {
    let backing = tempfile::tempdir().unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    let (world, replica) = with_users(&efs);
    efs.hang_all();
    let waiting = every_kind(&replica, 1000);
    settle(&world);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        assert_goes_on(&replica);
        thread::sleep(Duration::from_millis(100));
    }
    efs.come_back();
    assert_all_answered(waiting);
    let start = Instant::now();
    loop {
        let answer = replica.call("POST", "/provision", &provision_body("erin"));
        if answer.status == 201 {
            break;
        }
        assert_eq!((answer.status, start.elapsed() < LONG), (503, true), "{}", answer.body);
        thread::sleep(Duration::from_millis(200));
    }

    efs.hang_all();
    let waiting = every_kind(&replica, 1000);
    settle(&world);
    assert_goes_on(&replica);
    replica.stop(Duration::from_secs(30));
    drop(waiting);
}

/// Releasing a lock blocked the threads that serve all requests.
#[test]
fn one_hanging_kind_of_call_does_not_stop_work_that_does_not_need_it() {
    let backing = tempfile::tempdir().unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    let (world, replica) = with_users(&efs);
    for kind in [Kind::Lock, Kind::Fsync, Kind::Rename, Kind::Create, Kind::Read, Kind::Opendir] {
        efs.hang([kind]);
        let waiting = every_kind(&replica, 52);
        settle(&world);
        for _ in 0..5 {
            assert_goes_on(&replica);
            thread::sleep(Duration::from_millis(100));
        }
        efs.come_back();
        assert_all_answered(waiting);
    }
    replica.stop(Duration::from_secs(30));
}
