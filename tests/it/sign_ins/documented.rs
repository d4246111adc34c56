//! The list of warnings is documented in full.

use openclaw::Warning;

#[test]
fn every_warning_has_a_row_and_every_row_a_warning() {
    let text = include_str!("../../../docs/sign-in.md");
    let (_, table) = text.split_once("## Warnings").unwrap();
    let mut documented: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" | "))
        .flat_map(|(codes, _)| codes.split(", ").map(|code| code.trim_matches('`')))
        .collect();
    documented.sort_unstable();
    let mut known = Warning::CODES.to_vec();
    known.sort_unstable();
    assert_eq!(documented, known);
}
