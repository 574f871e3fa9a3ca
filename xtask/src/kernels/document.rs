//! Whether docs/kernels.md still holds: against results that were just had, and against what its tables were made from.
//! A kernel that takes a program which it refused, or the other way round, makes it out of date; other words do not.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{Kernel, results::Results, table};
use crate::workspace;

/// Where the kernel half is, seen from the workspace's folder.
const KERNEL_HALF: &str = "observer-ebpf/src";

/// Begins the line of the document that names what it was made from.
pub(super) const MADE_FROM: &str = "Made from the kernel half ";

/// Fails where results differ from the document.
pub(super) fn compare(results: &[(Kernel, Results)]) -> Result<()> {
    let document = table::read()?;
    let differences = differences(&document, results);
    ensure!(
        differences.is_empty(),
        "{} is out of date, run `cargo xtask kernels --write`: {}",
        table::DOCUMENT,
        differences.join("; ")
    );
    Ok(())
}

/// What the document says otherwise, or does not say.
fn differences(document: &str, results: &[(Kernel, Results)]) -> Vec<String> {
    let mut differences = Vec::new();
    for (kernel, results) in results {
        let version = kernel.version;
        let programs = results.programs.iter().map(|program| {
            let word = if program.refused.is_none() { "attached" } else { "refused" };
            (format!("`{}`", program.name), word)
        });
        let tests = results.tests.iter().filter(|test| test.passed).map(|test| (test.name.clone(), "passed"));
        for (name, word) in programs.chain(tests) {
            match cell(document, &name, version) {
                Some(cell) if cell.starts_with(word) => {}
                Some(cell) => {
                    differences.push(format!("{name} is {word} on {version}, and the table says {cell}"));
                }
                None => differences.push(format!("{name} is not in the table of {version}")),
            }
        }
    }
    differences
}

/// What the results' tables say of a program or a test on a kernel.
fn cell<'d>(document: &'d str, name: &str, version: &str) -> Option<&'d str> {
    let mut column = None;
    for line in document.lines() {
        let Some(row) = line.strip_prefix('|') else { continue };
        let mut cells = row.split('|').map(str::trim);
        match cells.next() {
            Some("program" | "test") => column = cells.position(|head| head == version),
            Some(first) if first == name => return cells.nth(column?),
            _ => {}
        }
    }
    None
}

/// A checksum of the kernel half's code, without comments, empty lines and tests.
pub(super) fn kernel_half() -> Result<String> {
    let mut files = Vec::new();
    find(&workspace::root().join(KERNEL_HALF), &mut files)?;
    files.sort_unstable();
    let mut code = String::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with("//")).for_each(|line| {
            code.push_str(line);
            code.push('\n');
        });
    }
    let mut sum = Command::new("sha256sum");
    let mut run =
        sum.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start sha256sum")?;
    run.stdin.take().context("sha256sum has no input")?.write_all(code.as_bytes())?;
    let printed = run.wait_with_output().context("cannot read from sha256sum")?.stdout;
    Ok(String::from_utf8_lossy(&printed).chars().take(12).collect())
}

/// The files of code in a folder, without those of tests.
fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "tests") {
                find(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether the tables were made from the kernel half as it is.
pub(super) fn is_of_this_kernel_half() -> Result<bool> {
    Ok(table::read()?.contains(&format!("{MADE_FROM}`{}`", kernel_half()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::KERNELS;

    #[test]
    fn a_table_that_says_otherwise_or_nothing_is_out_of_date() {
        let document = "| program | 5.10 | 6.1 |\n|---|---|---|\n| `a` | refused (1) | attached |\n\n\
            | test | 5.10 | 6.1 |\n|---|---|---|\n| demo | **failed** (2) | passed |\n";
        let of = |text: &str| Results::parse(&format!("release\tx\n{text}end\n")).unwrap();
        let [old, new] = [KERNELS[0], KERNELS[1]];
        let as_it_says = "program\ta\tattached\t\t\ntest\tdemo\tpassed\t1\tall\n";
        assert!(differences(document, &[(new, of(as_it_says))]).is_empty());
        assert_eq!(
            differences(document, &[(old, of(as_it_says))]),
            [
                "`a` is attached on 5.10, and the table says refused (1)",
                "demo is passed on 5.10, and the table says **failed** (2)"
            ]
        );
        let more = "program\tb\tattached\t\t\ntest\tstreams\tpassed\t1\tall\ntest\tdemo\tfailed\t1\tone\n";
        assert_eq!(
            differences(document, &[(new, of(more))]),
            ["`b` is not in the table of 6.1", "streams is not in the table of 6.1"]
        );
    }

    #[test]
    fn comments_and_tests_do_not_make_another_kernel_half() {
        let sum = kernel_half().unwrap();
        assert!(sum.len() == 12 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()), "{sum}");
        let mut files = Vec::new();
        find(&workspace::root().join(KERNEL_HALF), &mut files).unwrap();
        assert!(files.iter().any(|file| file.ends_with("main.rs")));
        assert!(!files.iter().any(|file| file.components().any(|part| part.as_os_str() == "tests")));
    }
}
