//! Two thousand watchers are two thousand connections, beside the files and the connections of everybody else.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_server_takes_as_many_open_files_as_it_may_have() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 256 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_openclaw-provisioner"), "dev"]);
    command.args(["--listen", "127.0.0.1:0", "--emulator-listen", "127.0.0.1:0", "--dir"]).arg(directory.path());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut process = Process(child);
    let mut log = BufReader::new(process.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("listening")), "it ended before it listened");
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.0.id())).unwrap();
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let [soft, hard, _unit] = open_files.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
    assert_ne!(hard, "256", "the test shows nothing where no more are allowed");
    assert_eq!(soft, hard);
}
