//! The results as tables of docs/kernels.md, between two markers; the text around them is written by hand.
//! A test of `observer` compares the programs in them with its own table.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{Kernel, document, results::Results};
use crate::{step, workspace};

/// The document, seen from the workspace's folder, and the markers in it.
pub(super) const DOCUMENT: &str = "docs/kernels.md";
const BEGIN: &str = "<!-- begin: cargo xtask kernels --write -->\n";
const END: &str = "<!-- end: cargo xtask kernels --write -->\n";

/// What each kernel took and how each test went.
pub(super) fn render(results: &[(Kernel, Results)]) -> String {
    let mut tables = String::new();
    let versions: Vec<&str> = results.iter().map(|(kernel, _)| kernel.version).collect();
    let head = |first: &str| {
        let columns = versions.join(" | ");
        format!("| {first} | {columns} |\n|---|{}\n", "---|".repeat(versions.len()))
    };
    let mut notes: Vec<String> = Vec::new();
    let of_programs = |results: &Results| !results.programs.is_empty();
    if results.iter().any(|(_, results)| of_programs(results)) {
        tables += &head("program");
    }
    for name in
        names(results, |results| results.programs.iter().map(|program| program.name.as_str()).collect())
    {
        let _ = write!(tables, "| `{name}` |");
        for (_, results) in results {
            let program = results.programs.iter().find(|program| program.name == name);
            let cell = match program {
                None => "not tried".to_owned(),
                Some(program) => match &program.refused {
                    None => "attached".to_owned(),
                    Some(why) => {
                        let note = format!("`{name}`: {why}. Without it: {}.", program.without);
                        format!("refused ({})", number_of(&mut notes, note))
                    }
                },
            };
            let _ = write!(tables, " {cell} |");
        }
        tables.push('\n');
    }
    tables.push('\n');
    tables += &head("test");
    for name in names(results, |results| results.tests.iter().map(|test| test.name.as_str()).collect()) {
        let _ = write!(tables, "| {name} |");
        for (_, results) in results {
            let test = results.tests.iter().find(|test| test.name == name);
            let cell = match test {
                None => "not run".to_owned(),
                Some(test) if test.passed => "passed".to_owned(),
                Some(test) => {
                    let note = format!("{name}: {}", test.said);
                    format!("**failed** ({})", number_of(&mut notes, note))
                }
            };
            let _ = write!(tables, " {cell} |");
        }
        tables.push('\n');
    }
    for (note, number) in notes.iter().zip(1..) {
        let _ = write!(tables, "\n({number}) {note}\n");
    }
    for (said, versions) in restarts(results) {
        let _ = write!(tables, "\n`restarts` on {versions}: {said}.\n");
    }
    tables.push_str("\nThe kernels: ");
    let releases: Vec<String> = results.iter().map(|(_, results)| format!("`{}`", results.release)).collect();
    let _ = writeln!(tables, "{}.", releases.join(", "));
    tables
}

/// How much the test of that name did, and on which kernels.
fn restarts(results: &[(Kernel, Results)]) -> BTreeMap<&str, String> {
    let mut said: BTreeMap<&str, String> = BTreeMap::new();
    for (kernel, results) in results {
        for test in results.tests.iter().filter(|test| test.name == "restarts" && test.passed) {
            let versions = said.entry(test.said.as_str()).or_default();
            if !versions.is_empty() {
                versions.push_str(", ");
            }
            versions.push_str(kernel.version);
        }
    }
    said
}

/// The number of a note, which is added if it is new.
fn number_of(notes: &mut Vec<String>, note: String) -> usize {
    if let Some(known) = notes.iter().position(|known| *known == note) {
        return known + 1;
    }
    notes.push(note);
    notes.len()
}

/// The names that any kernel has, in the order of the first that has them.
fn names<'r>(results: &'r [(Kernel, Results)], of: impl Fn(&'r Results) -> Vec<&'r str>) -> Vec<&'r str> {
    let mut seen = BTreeSet::new();
    results.iter().flat_map(|(_, results)| of(results)).filter(|name| seen.insert(*name)).collect()
}

/// Puts the tables into the document, with the day.
pub(super) fn write(results: &[(Kernel, Results)]) -> Result<()> {
    let path = workspace::root().join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let made_from = document::kernel_half()?;
    let day = Command::new("date").args(["--utc", "+%Y-%m-%d"]).output().context("cannot start date")?;
    ensure!(day.status.success(), "date failed");
    let day = String::from_utf8_lossy(&day.stdout);
    let tables = format!(
        "Last run: {}, with `cargo xtask kernels --write`. {}`{made_from}`.\n\n{}",
        day.trim(),
        document::MADE_FROM,
        render(results)
    );
    let written = replace(&text, &tables).with_context(|| format!("{DOCUMENT} lacks its markers"))?;
    fs::write(&path, written).with_context(|| format!("cannot write {DOCUMENT}"))?;
    step::say(&format!("wrote {DOCUMENT}"));
    Ok(())
}

/// What is between the markers.
pub(super) fn read() -> Result<String> {
    let text = fs::read_to_string(workspace::root().join(DOCUMENT))
        .with_context(|| format!("cannot read {DOCUMENT}"))?;
    let between = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    between.map(|(tables, _)| tables.to_owned()).with_context(|| format!("{DOCUMENT} lacks its markers"))
}

/// `document` with `text` between its markers.
fn replace(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::KERNELS;

    #[test]
    fn refusals_and_failures_have_their_reason_below() {
        let of = |text: &str| Results::parse(&format!("{text}end\n")).unwrap();
        let old = "release\t5.10.0\nprogram\ta\trefused\tno call\tless is seen\ntest\tdemo\tfailed\t1\tone differs\n";
        let new = "release\t6.1.0\nprogram\ta\tattached\t\t\ntest\tdemo\tpassed\t1\tall equal\n";
        let text = render(&[(KERNELS[0], of(old)), (KERNELS[1], of(new))]);
        let expected = "| program | 5.10 | 6.1 |\n|---|---|---|\n| `a` | refused (1) | attached |\n\n\
            | test | 5.10 | 6.1 |\n|---|---|---|\n| demo | **failed** (2) | passed |\n\n\
            (1) `a`: no call. Without it: less is seen.\n\n(2) demo: one differs\n\nThe kernels: `5.10.0`, `6.1.0`.\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn only_what_is_between_the_markers_is_written() {
        let document = format!("above\n{BEGIN}old\n{END}below\n");
        assert_eq!(replace(&document, "new"), Some(format!("above\n{BEGIN}\nnew\n{END}below\n")));
        assert_eq!(replace("above\n", "new"), None);
    }
}
