//! Circles of imports among modules of the same level, direct or indirect.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::paths_in;

type Module = Vec<String>;

/// The modules of a crate by their files, which are named from its `src/`; without tests.
fn modules(files: &[(String, String)]) -> BTreeMap<Module, &str> {
    let of = |(path, text): &'_ (String, String)| -> Option<Module> {
        let bare = path.strip_suffix(".rs")?;
        let bare = bare.strip_suffix("/mod").unwrap_or(bare);
        let module: Module = bare.split('/').map(str::to_owned).collect();
        let is_test = module.iter().any(|part| ["tests", "unkind", "model"].contains(&part.as_str()));
        let is_root = ["lib", "main"].contains(&bare);
        (!is_test && !is_root && !text.is_empty()).then_some(module)
    };
    files.iter().filter_map(|file| Some((of(file)?, file.1.split("#[cfg(test)]\nmod tests {").next()?))).collect()
}

/// The module to which a path in `from` leads.
fn led_to(from: &Module, path: &str, all: &BTreeMap<Module, &str>) -> Option<Module> {
    let mut parts = path.split("::").peekable();
    let mut at = match parts.next()? {
        "crate" => Module::new(),
        "self" => from.clone(),
        "super" => {
            let mut up = from.clone();
            up.pop();
            while parts.next_if_eq(&"super").is_some() {
                up.pop();
            }
            up
        }
        _ => return None,
    };
    for part in parts {
        at.push(part.to_owned());
        if !all.contains_key(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

/// Each circle, as its list of modules.
pub fn circles(files: &[(String, String)]) -> Vec<String> {
    let all = modules(files);
    let mut imports: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, text) in &all {
        for to in paths_in(text).iter().filter_map(|path| led_to(from, path, &all)) {
            let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
            // Not between a module and its own parts.
            if shared < from.len() && shared < to.len() {
                imports.entry(from[..=shared].to_vec()).or_default().insert(to[..=shared].to_vec());
            }
        }
    }
    let nobody = BTreeSet::new();
    let mut found = BTreeSet::new();
    for start in imports.keys() {
        let (mut ahead, mut seen) = (vec![start], BTreeSet::new());
        while let Some(module) = ahead.pop() {
            for next in imports.get(module).unwrap_or(&nobody) {
                if next == start {
                    found.insert(format!(
                        "{} imports {}, and that is imported by it",
                        start.join("::"),
                        module.join("::")
                    ));
                } else if seen.insert(next) {
                    ahead.push(next);
                }
            }
        }
    }
    found.into_iter().collect()
}

#[test]
fn indirect_circles_are_found() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let files = [
        file("one/mod.rs", "mod a; mod b; mod c; use a::A;"),
        file("one/a.rs", "use super::b::{B, more}; // use super::d::D;"),
        file("one/b.rs", "use crate::one::c;"),
        file("one/c.rs", "fn f() { super::a::g() }\n#[cfg(test)]\nmod tests { use super::super::d::D; }"),
        file("one/d.rs", "use super::a::A; use crate::two::x;"),
        file("two.rs", "use std::fs;"),
    ];
    assert_eq!(circles(&files).len(), 3, "a, b and c: {:?}", circles(&files));
    assert_eq!(circles(&files[..3]), Vec::<String>::new());
}
