//! Which programs this kernel takes, by `observer check` and by an agent that attaches them.
//! Both must say the same; a line goes out for each program.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context, Result, ensure};

use super::observe;
use crate::{
    agent::{self, run_to_end},
    cgroup::Cgroup,
    metrics::Metrics,
};

/// What became of a program.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    /// Why it was refused; none where it was not.
    refused: Option<String>,
    /// What is lost then.
    without: String,
}

/// Prints `program`, its name, `attached` or `refused`, why, and what takes its place.
pub fn report() -> Result<()> {
    let check = run_to_end(Command::new(agent::binary()?).args(["check", "--docker-socket", ""]))?;
    let checked = parse(&check.output);
    for (name, Program { refused, without }) in &checked {
        let state = if refused.is_some() { "refused" } else { "attached" };
        println!("program\t{name}\t{state}\t{}\t{without}", refused.as_deref().unwrap_or_default());
    }
    let verdict = if check.status.success() { "passed" } else { "failed" };
    let trouble = check.output.lines().find(|line| line.starts_with("fail  ")).unwrap_or_default();
    println!("test\tcheck\t{verdict}\t0\t{}", trouble.replace('\t', " "));
    if !check.status.success() {
        check.output.lines().rev().take(LAST_WORDS).for_each(|line| println!("log\t{line}"));
        return Ok(());
    }
    let cgroup = Cgroup::create("programs")?;
    let agent = observe(&cgroup)?;
    let metrics = agent.scrape()?;
    agent.stop()?;
    for (name, Program { refused, .. }) in &checked {
        let attached = attached(&metrics, name).context("the agent has no metric of it")?;
        ensure!(attached == refused.is_none(), "check and run differ in {name}");
    }
    Ok(())
}

/// Lines of a refusal that tell why, from its end.
const LAST_WORDS: usize = 25;

/// Whether the agent says that the program `name` is attached.
pub(super) fn attached(metrics: &Metrics, name: &str) -> Option<bool> {
    metrics.get("observer_program_attached", &[("program", name)]).map(|value| value > 0.5)
}

/// The programs in what `observer check` prints.
fn parse(output: &str) -> BTreeMap<String, Program> {
    let mut programs = BTreeMap::new();
    let mut lines = output.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((name, found)) =
            line.get(6..).and_then(|rest| rest.strip_prefix("program ")?.split_once(": "))
        else {
            continue;
        };
        let refused = found.strip_prefix("refused: ").map(str::to_owned);
        let without = lines.next_if(|next| next.starts_with("      ")).map(str::trim).unwrap_or_default();
        programs.insert(name.to_owned(), Program { refused, without: without.to_owned() });
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_with_why_they_were_refused() {
        let output = "pass  kernel: Linux 5.10\npass  program a: this kernel takes it\n\
            warn  program b: refused: Invalid argument: unknown func\n      closes are not seen\n\
            warn  docker: no\n      nothing\n";
        let programs = parse(output);
        assert_eq!(programs.len(), 2);
        assert_eq!(programs["a"], Program { refused: None, without: String::new() });
        let refused = Some("Invalid argument: unknown func".to_owned());
        assert_eq!(programs["b"], Program { refused, without: "closes are not seen".to_owned() });
    }
}
