//! Who may know whom: each module of the agent imports only from those below it, so that none needs another to be
//! understood or tested. What is written here is the rule; a module that is not in the list fails the test too.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The modules, lowest first: each may import from those above its own line here.
const LAYERS: [&[&str]; 14] = [
    // Without knowledge of the agent: places in TOML files, what the process may do, cgroups as files.
    &["place", "confine", "cgroup"],
    // What apps' routes and processes mean.
    &["profiles"],
    // What is observed: sources, selectors, identity.
    &["targets"],
    // Executables of Node.js: where to probe them.
    &["nodejs"],
    // Reads what a target can make wait for ever, in processes of the agent's own.
    &["reading"],
    // Which processes run Node.js, and that each executable is probed.
    &["probing"],
    // bpf(2): does what targets and probing ask for, hands out records and counts.
    &["kernel"],
    // The frame of a scrape, and the metrics that are read at it.
    &["collectors"],
    // What records mean, counted as they come.
    &["exchanges"],
    // The operator's file.
    &["config"],
    &["logging", "server"],
    // The one that puts all together.
    &["agent"],
    &["commands"],
    &["cli"],
];

/// Parts of the tests, which may look from anywhere to anywhere.
const TESTS: [&str; 3] = ["fixture", "fuzz", "tests"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if TESTS.contains(&name.as_str()) || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A file's text without comments and without the unit tests at its end.
fn code(text: &str) -> String {
    let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let uncommented = own.lines().map(|line| line.split("//").next().unwrap());
    uncommented.collect::<Vec<_>>().join("\n")
}

/// The first components of what follows `crate::`, in a path or in the braces of a `use`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (start, _) in code.match_indices("crate::") {
        // `observer_crate::` is none.
        if code[..start].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        let rest = &code[start + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(first_word(rest));
            continue;
        };
        let (mut depth, mut entry) = (0, String::new());
        for character in list.chars() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.insert(first_word(&std::mem::take(&mut entry)));
                }
                _ => {}
            }
            if depth == 0 && character != ',' {
                entry.push(character);
            }
        }
        found.insert(first_word(&entry));
    }
    found.remove("");
    found
}

fn first_word(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|character| character.is_alphanumeric() || *character == '_')
        .collect()
}

/// The top-level module that a file belongs to.
fn module(root: &Path, file: &Path) -> String {
    let first = file.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What is wrong with the imports of one file.
fn complaints(module: &str, code: &str) -> Vec<String> {
    let Some(own) = layer(module) else { return vec![format!("{module} is in no layer")] };
    let wrong = |name: &String| name != module && layer(name).is_none_or(|other| other >= own);
    imports(code).into_iter().filter(wrong).map(|name| format!("{module} imports {name}")).collect()
}

#[test]
fn modules_import_only_from_below() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut modules = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !file.ends_with("src/lib.rs") && !file.ends_with("src/main.rs")) {
        let module = module(&root, file);
        let found = complaints(&module, &code(&fs::read_to_string(file).unwrap()));
        wrong.extend(found.into_iter().map(|complaint| format!("{}: {complaint}", file.display())));
        modules.insert(module);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<String> =
        LAYERS.iter().flat_map(|layer| layer.iter()).map(|name| (*name).to_owned()).collect();
    assert_eq!(modules, listed, "a layer names a module that there is none of");
}

#[test]
fn the_test_sees_what_a_file_imports() {
    let text = "use crate::{\n    config::Config,\n    server::{self, Endpoint},\n};\n// crate::agent\nfn f() { crate::kernel::now_ns() }\n\
                #[cfg(test)]\nmod tests { use crate::cli::Cli; }";
    let names: Vec<String> = imports(&code(text)).into_iter().collect();
    assert_eq!(names, ["config", "kernel", "server"]);
    assert_eq!(complaints("kernel", &code(text)), ["kernel imports config", "kernel imports server"]);
    assert_eq!(complaints("unknown", ""), ["unknown is in no layer"]);
    assert!(complaints("agent", &code(text)).is_empty());
}
