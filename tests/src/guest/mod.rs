//! What `cargo xtask kernels` runs inside an emulated machine: the tests that say whether observer works on its kernel.
//! Each has the client's own log as its truth. What a machine of a few programs lacks (Node.js, Docker) is in Rust here.

pub mod clock;
pub mod connections;
pub mod containers;
pub mod corners;
pub mod limits;
pub mod programs;
pub mod requests;
pub mod restarts;
pub mod rights;
pub mod service;
pub mod streams;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    agent::Agent,
    cgroup::Cgroup,
    process::{Background, own_program},
};

/// How long the service may take to listen.
const LISTENING_WITHIN: Duration = Duration::from_mins(1);

/// How long the demo plays.
const DEMO_SECONDS: &str = "10";

/// How long it may take in all, most of which is loading the kernel half.
const DEMO_WITHIN: Duration = Duration::from_mins(3);

/// A test and its name in docs/kernels.md.
type Test = (&'static str, fn() -> Result<String>);

/// Runs all tests, with `starts` starts of the agent in the one that counts what stays; prints a line for each program
/// and each test, in fields between tabs, and what a test says that fails.
pub fn run_all(starts: u32) {
    if let Err(error) = programs::report() {
        println!("test\tprograms\tfailed\t0\t{}", one_line(&format!("{error:#}")));
    }
    let tests: [Test; 8] = [
        ("demo", demo),
        ("requests", requests::test),
        ("streams", streams::test),
        ("corners", corners::test),
        ("connections", connections::test),
        ("clock", clock::test),
        ("limits", limits::test),
        ("capabilities", rights::test),
    ];
    for (name, test) in tests {
        report(name, test);
    }
    report("restarts", || restarts::test(starts));
}

/// Runs the tests that need Docker in the guest; prints as [`run_all`] does.
pub fn run_full() {
    report("limits", limits::test);
    report("containers", containers::test);
}

fn report(name: &str, test: impl FnOnce() -> Result<String>) {
    let begun = Instant::now();
    let result = test();
    let seconds = begun.elapsed().as_secs();
    match result {
        Ok(said) => println!("test\t{name}\tpassed\t{seconds}\t{said}"),
        Err(error) => {
            let trouble = format!("{error:#}");
            for line in trouble.lines() {
                println!("log\t{line}");
            }
            println!("test\t{name}\tfailed\t{seconds}\t{}", one_line(&trouble));
        }
    }
}

/// The first line, with nothing in it that would end a field.
fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().replace('\t', " ")
}

/// The demo as users run it: its exit code says whether metrics and load generator agree.
fn demo() -> Result<String> {
    let mut command = Command::new(own_program("demo")?);
    let ended = Background::start(command.args(["--seconds", DEMO_SECONDS]))?.finish(DEMO_WITHIN)?;
    ensure!(ended.status.success(), "the demo ended with {}:\n{}", ended.status, ended.output);
    let verdict = ended.output.lines().find(|line| line.contains("the metrics say exactly"));
    Ok(verdict.context("the demo said nothing of its comparison")?.to_owned())
}

/// An agent that observes `cgroup`.
fn observe(cgroup: &Cgroup) -> Result<Agent> {
    Agent::start(["--docker-socket", "", "--target", &format!("{},app=generic", cgroup.selector())])
}
