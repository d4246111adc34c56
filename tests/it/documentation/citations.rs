//! Checks that everything cited in comments exists in this repository: incidents, facts and decisions by number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use super::{headings, read, root};
use crate::architecture::{LAYERS, rust_files};

/// Files with comments or prose in them, from the repository's root, and their texts.
fn texts() -> Vec<(String, String)> {
    const KINDS: [&str; 9] = ["rs", "ts", "mjs", "js", "py", "sh", "md", "yml", "yaml"];
    let (mut found, mut ahead) = (Vec::new(), vec![root().to_owned()]);
    while let Some(directory) = ahead.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let foreign = ["target", "node_modules", "cdk.out", ".git", ".dev"].contains(&name);
            if path.is_dir() && !foreign {
                ahead.push(path);
            } else if KINDS.iter().any(|kind| name.ends_with(&format!(".{kind}"))) {
                let short = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((short, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// The text as one line, without comment marks: a citation may continue on the next line.
fn unwrapped(text: &str) -> String {
    let bare = text.lines().map(|line| line.trim().trim_start_matches(['/', '!', '*', '#']).trim());
    bare.collect::<Vec<_>>().join(" ")
}

/// The numbers of a list such as `3, 4 and 5`, each behind `mark`.
fn numbers<'a>(mut text: &'a str, mark: &str) -> (Vec<u32>, &'a str) {
    let mut found = Vec::new();
    while let Some(rest) = text.strip_prefix(mark) {
        let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        let Ok(number) = rest[..digits].parse() else { break };
        found.push(number);
        text = &rest[digits..];
        let next = [", and ", ", ", " and "].iter().find_map(|joint| text.strip_prefix(joint));
        match next.filter(|next| next.strip_prefix(mark).is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit())))
        {
            Some(next) => text = next,
            None => break,
        }
    }
    (found, text)
}

/// The incidents that a text cites.
fn incidents_in(text: &str) -> BTreeSet<u32> {
    let text = unwrapped(text);
    let after = text.match_indices("ncident").map(|(at, word)| &text[at + word.len()..]);
    let lists = after.filter_map(|rest| rest.strip_prefix("s ").or_else(|| rest.strip_prefix(' ')));
    lists.flat_map(|list| numbers(list, "").0).collect()
}

/// The sections of facts that a text cites, by page, and every `§` that is no citation.
fn sections_in(text: &str) -> (BTreeSet<(String, u32)>, Vec<String>) {
    let text = unwrapped(text);
    let (mut found, mut unclear) = (BTreeSet::new(), Vec::new());
    let mut rest = &text[..];
    while let Some(at) = rest.find('§') {
        let before = rest[..at].trim_end();
        let page = before.rsplit([' ', '(', '"', '`']).next().unwrap_or_default();
        let (sections, behind) = numbers(&rest[at..], "§");
        if let Some(page) = page.strip_suffix("-facts").filter(|_| !sections.is_empty()) {
            found.extend(sections.into_iter().map(|section| (page.to_owned(), section)));
        } else if !before.trim_end_matches(|letter: char| letter.is_ascii_digit()).ends_with("RFC ") {
            unclear.push(rest[at..].chars().take(30).collect());
        }
        rest = if behind.len() < rest[at..].len() { behind } else { &rest[at + '§'.len_utf8()..] };
    }
    (found, unclear)
}

/// All incidents, by number.
fn incidents() -> BTreeSet<u32> {
    let text = read("docs/incidents.md");
    let numbered = text.lines().filter_map(|line| line.split_once(". ")?.0.parse::<u32>().ok());
    let all: Vec<u32> = numbered.collect();
    let set: BTreeSet<u32> = all.iter().copied().collect();
    assert_eq!(set.len(), all.len(), "a number is there twice");
    set
}

/// The numbers of the headings of a page of facts.
fn sections(page: &str) -> BTreeSet<u32> {
    let text = read(&format!("docs/facts/{page}.md"));
    headings(&text).filter_map(|(_, title)| title.split_once('.')?.0.parse().ok()).collect()
}

#[test]
fn every_cited_incident_and_fact_is_in_the_documents() {
    let incidents = incidents();
    let pages: BTreeMap<_, _> = ["aws", "openclaw"].map(|page| (page.to_owned(), sections(page))).into();
    let (mut wrong, mut cited) = (Vec::new(), 0);
    for (path, text) in texts().iter().filter(|(path, _)| !path.ends_with("documentation/citations.rs")) {
        let (facts, unclear) = sections_in(text);
        let numbers = incidents_in(text);
        cited += facts.len() + numbers.len();
        wrong.extend(unclear.iter().map(|what| format!("{path}: {what:?}: name the page, as in aws-facts §1")));
        wrong.extend(numbers.difference(&incidents).map(|number| format!("{path}: incident {number} does not exist")));
        for (page, section) in facts {
            if !pages.get(&page).is_some_and(|sections| sections.contains(&section)) {
                wrong.push(format!("{path}: {page}-facts has no section {section}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(cited > 100, "only {cited} citations were found");
}

#[test]
fn every_named_decision_is_recorded_and_listed() {
    let directory = root().join("docs/decisions");
    let names: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    let names =
        names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).filter(|name| *name != "README.md");
    let list = read("docs/decisions/README.md");
    let mut numbers_of_records = BTreeSet::new();
    for name in names {
        assert!(list.contains(&format!("({name})")), "docs/decisions/README.md does not list {name}");
        let number: u32 = name.split_once('-').unwrap().0.parse().unwrap();
        assert!(numbers_of_records.insert(number), "number {number} is there twice");
        let title = read(&format!("docs/decisions/{name}"));
        assert!(title.starts_with(&format!("# {number:04}: ")), "the title of {name}");
    }
    for (path, text) in texts().iter().filter(|(path, _)| !path.ends_with("documentation/citations.rs")) {
        let text = unwrapped(text);
        for (at, word) in text.match_indices("decision ") {
            for number in numbers(&text[at + word.len()..], "").0 {
                assert!(numbers_of_records.contains(&number), "{path}: decision {number} does not exist");
            }
        }
    }
}

/// The incidents that tests in a text name: in the comment right before the test's attribute, or `test(` elsewhere.
fn tested_in(text: &str) -> BTreeSet<u32> {
    let (mut found, mut comment, mut is_test) = (BTreeSet::new(), String::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("//") || line.starts_with("/**") || line.starts_with('*') {
            comment.push_str(line);
            comment.push('\n');
        } else if line.starts_with("#[") {
            is_test |= line.contains("test");
        } else {
            if is_test || line.starts_with("test(") {
                found.extend(incidents_in(&comment));
            }
            comment.clear();
            is_test = false;
        }
    }
    found
}

#[test]
fn every_incident_has_a_test_that_names_it() {
    let texts = texts();
    let code = texts.iter().filter(|(path, _)| path.ends_with(".rs") || path.starts_with("infra/test/"));
    let tested: BTreeSet<u32> = code.flat_map(|(_, text)| tested_in(text)).collect();
    let untested: Vec<u32> = incidents().difference(&tested).copied().collect();
    assert_eq!(untested, Vec::<u32>::new(), "no test names these incidents in the comment before it");
}

#[test]
fn citations_are_found_as_they_are_written() {
    assert_eq!(incidents_in("/// (incidents 3, 4\n/// and 5), incident 7: 8"), BTreeSet::from([3, 4, 5, 7]));
    let (found, unclear) = sections_in("// aws-facts §1; (openclaw-facts\n// §2 and §5), RFC 7519 §2, design §9");
    let fact = |page: &str, section| (page.to_owned(), section);
    assert_eq!(found, BTreeSet::from([fact("aws", 1), fact("openclaw", 2), fact("openclaw", 5)]));
    assert_eq!(unclear, ["§9"]);
    assert_eq!(tested_in("/// Incident 1.\n#[test]\nfn a() {}\n/// Incident 2.\nfn b() {}\n"), BTreeSet::from([1]));
}

/// The rooms that `docs/architecture.md` lists, and what each may import.
#[test]
fn the_architecture_page_lists_the_rooms_and_imports_that_the_test_enforces() {
    let text = read("docs/architecture.md");
    let (_, table) = text.split_once("| room | what it holds | may import |\n").unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let names = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let listed: BTreeMap<String, Vec<String>> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            (names(cells[1]).remove(0), names(cells[3]))
        })
        .collect();
    let sources = rust_files();
    let is_there = |room: &str| sources.iter().any(|(path, _)| path.split(['/', '.']).next() == Some(room));
    let real = |rooms: &[&str]| rooms.iter().filter(|room| is_there(room)).map(|room| (*room).to_owned()).collect();
    let held: BTreeMap<String, Vec<String>> = LAYERS
        .iter()
        .filter(|(room, _)| *room != "main" && is_there(room))
        .map(|(room, imports)| ((*room).to_owned(), real(imports)))
        .collect();
    assert_eq!(listed, held);
}
