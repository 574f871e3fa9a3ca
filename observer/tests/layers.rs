//! Who may know whom: each module of the agent and of the kernel half imports only from those below it, so that none needs another
//! to be understood or tested. What is written here is the rule; a module that is not in the list fails the test too.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Modules, lowest first: each may import from those above its own line here.
type Layers = &'static [&'static [&'static str]];

/// The agent's.
const AGENT: Layers = &[
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

/// Those of the kernel half's library, the plain code.
const KERNEL_LIBRARY: Layers = &[
    // Values as the verifier and other CPUs see them; what both halves share.
    &["volatile"],
    &["records"],
    // What order asks of a framer.
    &["framer"],
    // Sequence numbers.
    &["order"],
    // Bytes and positions, and the life cycle of messages.
    &["http1"],
    // The first bytes of each side.
    &["detector"],
    // Who the connection is, and what is followed of it.
    &["flow"],
    // The framer outside of the kernel.
    &["host"],
];

/// Those of the kernel half's programs.
const KERNEL_PROGRAMS: Layers = &[
    &["claim", "count", "offsets", "storage"],
    // Rings and counts of losses.
    &["output"],
    // Which target may have more of a map.
    &["shares"],
    // A packet as the framer's context.
    &["packet", "peers"],
    // Framer and order as the verifier sees them.
    &["functions"],
    &["flow"],
    // Contexts.
    &["hooks"],
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

fn layer(layers: Layers, module: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.contains(&module))
}

/// What is wrong with the imports of one file.
fn complaints(layers: Layers, module: &str, code: &str) -> Vec<String> {
    let Some(own) = layer(layers, module) else { return vec![format!("{module} is in no layer")] };
    let wrong = |name: &String| name != module && layer(layers, name).is_none_or(|other| other >= own);
    imports(code).into_iter().filter(wrong).map(|name| format!("{module} imports {name}")).collect()
}

/// Fails where a file below the folder `root`, seen from the agent's package, imports from above; `without` are those that may.
fn check(root: &str, layers: Layers, without: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut modules = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in &files {
        let module = module(&root, file);
        if without.contains(&module.as_str()) {
            continue;
        }
        let found = complaints(layers, &module, &code(&fs::read_to_string(file).unwrap()));
        wrong.extend(found.into_iter().map(|complaint| format!("{}: {complaint}", file.display())));
        modules.insert(module);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<String> =
        layers.iter().flat_map(|layer| layer.iter()).map(|name| (*name).to_owned()).collect();
    assert_eq!(modules, listed, "a layer names a module that there is none of");
}

#[test]
fn modules_of_the_agent_import_only_from_below() {
    check("src", AGENT, &["lib", "main"]);
}

#[test]
fn modules_of_the_kernel_half_import_only_from_below() {
    check("../observer-ebpf/src", KERNEL_LIBRARY, &["lib", "programs"]);
    check("../observer-ebpf/src/programs", KERNEL_PROGRAMS, &["main"]);
}

#[test]
fn the_test_sees_what_a_file_imports() {
    let text = "use crate::{\n    config::Config,\n    server::{self, Endpoint},\n};\n// crate::agent\nfn f() { crate::kernel::now_ns() }\n\
                #[cfg(test)]\nmod tests { use crate::cli::Cli; }";
    let names: Vec<String> = imports(&code(text)).into_iter().collect();
    assert_eq!(names, ["config", "kernel", "server"]);
    assert_eq!(complaints(AGENT, "kernel", &code(text)), ["kernel imports config", "kernel imports server"]);
    assert_eq!(complaints(AGENT, "unknown", ""), ["unknown is in no layer"]);
    assert!(complaints(AGENT, "agent", &code(text)).is_empty());
}
