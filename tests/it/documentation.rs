//! Checks of the documents that a program can make: links work, and the runbook has all alerts, reasons and errors.

mod citations;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use openclaw_provisioner::domain::ReasonCode;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// All Markdown files that are ours, from the repository's root.
fn documents() -> Vec<PathBuf> {
    let (mut found, mut ahead) = (Vec::new(), vec![root().to_owned()]);
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            // Directories with built or installed files.
            let foreign = name.starts_with('.') || ["target", "node_modules", "cdk.out"].contains(&name);
            if path.is_dir() && !foreign {
                ahead.push(path);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found
}

/// The lines that are neither in a fenced block nor a fence.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Level and text of each heading.
fn headings(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).filter_map(|line| {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        title.strip_prefix(' ').filter(|_| level > 0).map(|title| (level, title.trim()))
    })
}

/// The anchor of a heading in a link, as code forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The targets of `[text](target)`, without those in code spans.
fn links(text: &str) -> Vec<String> {
    // Code spans and links can both continue on the next line.
    let text = prose(text).collect::<Vec<_>>().join("\n");
    let without_code: String = text.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let targets = without_code.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.collect()
}

#[test]
fn every_link_between_documents_leads_to_a_file_and_a_heading_that_exist() {
    let documents = documents();
    let (mut broken, mut followed) = (Vec::new(), 0);
    for document in &documents {
        for link in links(&fs::read_to_string(document).unwrap()) {
            if link.contains("://") {
                continue;
            }
            followed += 1;
            let (path, heading) = link.split_once('#').map_or((link.as_str(), None), |(path, name)| (path, Some(name)));
            let target = if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            let leads = match heading {
                None => target.exists(),
                Some(name) => fs::read_to_string(&target)
                    .is_ok_and(|text| headings(&text).any(|(_, heading)| anchor(heading) == name)),
            };
            if !leads {
                broken.push(format!("{}: {link}", document.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
    assert!(followed > 20 && documents.contains(&root().join("README.md")), "{followed} links in {documents:?}");
}

/// The names of the runbook's entries, by section.
fn runbook() -> BTreeMap<String, BTreeSet<String>> {
    let (mut entries, mut section) = (BTreeMap::<_, BTreeSet<_>>::new(), String::new());
    for (level, title) in headings(&read("docs/runbook.md")) {
        match level {
            2 => title.clone_into(&mut section),
            3 => {
                assert!(entries.entry(section.clone()).or_default().insert(title.to_owned()), "{title} is there twice")
            }
            _ => {}
        }
    }
    entries
}

/// Name and `runbook` annotation of each alert rule.
fn alerts() -> BTreeMap<String, Option<String>> {
    let (mut found, mut current) = (BTreeMap::new(), None);
    for line in read("infra/observability/alerts.yaml").lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            current = Some(name.to_owned());
            assert_eq!(found.insert(name.to_owned(), None), None, "{name} is there twice");
        } else if let (Some(link), Some(name)) = (line.strip_prefix("runbook: "), &current) {
            found.insert(name.clone(), Some(link.to_owned()));
        }
    }
    found
}

/// The alarms that the infrastructure makes: the first argument of `this.alarm`, and the keys of `STOPS` for the ones that
/// it makes in a loop.
fn alarms() -> BTreeSet<String> {
    let stack = read("infra/lib/observability.ts");
    let calls = stack.split("this.alarm(").skip(1).filter_map(|call| call.trim_start().strip_prefix('"'));
    let named = calls.map(|name| name.split('"').next().unwrap());
    let (_, stops) = stack.split_once("const STOPS = {\n").unwrap();
    let (stops, _) = stops.split_once("\n}").unwrap();
    let keys = stops.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(": [")).map(|(key, _)| key);
    named.chain(keys).map(str::to_owned).collect()
}

/// All codes, from serde's list of the enum: a new code cannot be forgotten here.
fn reason_codes() -> BTreeSet<String> {
    let refusal = serde_json::from_str::<ReasonCode>("\"no such code\"").unwrap_err().to_string();
    let (_, expected) = refusal.split_once("expected one of").unwrap();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_runbook_has_an_entry_for_each_alert_and_each_alert_points_to_its_own() {
    let alerts = alerts();
    for (name, link) in &alerts {
        let wanted = format!("docs/runbook.md#{}", name.to_lowercase());
        assert_eq!(link.as_ref(), Some(&wanted), "the annotation `runbook` of {name}");
    }
    assert_eq!(runbook()["Alerts"], alerts.into_keys().collect());
}

#[test]
fn the_runbook_has_an_entry_for_each_alarm() {
    let alarms = alarms();
    assert!(alarms.contains("NoHealthyReplica") && alarms.contains("OutOfMemory"), "{alarms:?}");
    assert_eq!(runbook()["Alarms"], alarms);
}

#[test]
fn the_runbook_has_an_entry_for_each_reason_of_a_container() {
    let codes = reason_codes();
    assert!(codes.contains("image_pull") && codes.contains("other"), "{codes:?}");
    assert_eq!(runbook()["Reasons of a container"], codes);
}

#[test]
fn the_runbook_has_an_entry_for_each_error_that_pages_an_operator() {
    let rules = read("infra/observability/alerts.yaml");
    let (_, rule) = rules.split_once("- alert: OpenClawProvisionerNeedsOperator").unwrap();
    let (_, pattern) = rule.split_once("reason=~\"").unwrap();
    let paging: BTreeSet<String> = pattern.split_once('"').unwrap().0.split('|').map(str::to_owned).collect();
    assert_eq!(runbook()["Errors that need an operator"], paging);
}

#[test]
fn each_entry_of_the_runbook_says_what_it_means_how_to_confirm_it_and_what_to_do() {
    let text = read("docs/runbook.md");
    for entry in text.split("\n### ").skip(1) {
        let entry = entry.split("\n## ").next().unwrap();
        for part in ["**Means**", "**Confirm**", "**Do**"] {
            assert_eq!(entry.matches(part).count(), 1, "{part} in {}", entry.lines().next().unwrap());
        }
    }
}

#[test]
fn the_table_of_settings_has_every_variable_of_serve_and_no_other() {
    let command = <openclaw_provisioner::cli::Cli as clap::CommandFactory>::command();
    let serve = command.find_subcommand("serve").unwrap();
    let variables = serve.get_arguments().filter_map(|argument| argument.get_env());
    let mut wanted: BTreeSet<String> = variables.map(|name| name.to_str().unwrap().to_owned()).collect();
    assert!(wanted.len() > 20, "{wanted:?}");
    // These are not arguments: other users can read a command line, and the second is OpenTelemetry's own name.
    wanted.extend(["PROVISIONER_TOKENS", "OTEL_EXPORTER_OTLP_ENDPOINT"].map(str::to_owned));
    let text = read("docs/settings.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let listed: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(listed, wanted);
}

#[test]
fn the_readme_fits_on_a_few_pages_and_begins_with_its_title() {
    let text = read("README.md");
    assert!(text.starts_with("# openclaw-provisioner\n"));
    assert!(text.lines().count() <= 180, "{} lines; longer matters go into docs/", text.lines().count());
}

/// The document uses the same prices for `infra/` as `cost`.
#[test]
fn the_document_on_costs_uses_the_built_in_prices() {
    let prices: serde_json::Value = serde_json::from_str(&read("src/domain/prices.json")).unwrap();
    let region = &prices["regions"]["us-east-1"];
    let text = read("infra/README.md");
    let section = text.split("## What it costs").nth(1).unwrap().split("\n## ").next().unwrap();
    let others = region["others"].as_array().unwrap().iter().map(|other| &other["usd"]);
    for usd in others.chain([&region["efs"]["gb_month"]]) {
        let usd = usd.as_f64().unwrap();
        assert!([format!("{usd} "), format!("{usd:.2} ")].iter().any(|price| section.contains(price)), "{usd}");
    }
    assert!(
        section.contains(prices["date"].as_str().unwrap()) && section.contains("21.26") && section.contains("17.02")
    );
}
