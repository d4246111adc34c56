//! The entry script: what a user's container runs before its gateway.

/// The script, and the program with which it fills OpenClaw's own store.
pub const FILES: [(&str, &str); 2] =
    [("entry.sh", include_str!("entry/entry.sh")), ("import.mjs", include_str!("entry/import.mjs"))];

/// What upstream's images run where a definition names no command, and so what the script runs there.
pub const UPSTREAM_COMMAND: &str = "node openclaw.mjs gateway --allow-unconfigured";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    /// `doctor` tells operators what the script runs if the base names no command.
    #[test]
    fn the_script_runs_the_documented_command() {
        let (program, arguments) = UPSTREAM_COMMAND.split_once(" gateway").unwrap();
        let script = FILES[0].1;
        assert!(script.contains(&format!("exec {program} \"$@\"")), "{program}");
        assert!(script.contains(&format!("run_openclaw gateway{arguments}")), "{arguments}");
    }

    #[test]
    fn the_import_reads_the_file_that_is_handed_over() {
        assert!(FILES[1].1.contains(&format!("\"{}\"", files::HAND_OVER)));
    }
}
