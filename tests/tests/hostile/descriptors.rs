//! An agent with few descriptors, and scrapers that want them all.

use std::{net::TcpStream, process::Command, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use tests::{
    agent::{self, Agent, run_to_end},
    cgroup::Cgroup,
    hostile::{Duel, Good},
};

/// The agent by a shell that leaves it so many descriptors.
fn limited(limit: u32) -> Result<Command> {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]).arg(agent::binary()?);
    Ok(command)
}

#[test]
fn with_too_few_it_says_so_and_with_few_it_refuses_scrapers_first() -> Result<()> {
    let mut worked = 0;
    for limit in [64, 90, 128, 160, 256] {
        let (good, bad) = (Good::start()?, Cgroup::create("bad")?);
        let targets = [good.cgroup.selector(), bad.selector()];
        let arguments = ["--docker-socket", "", "--target", &targets[0], "--target", &targets[1]];
        let started = Agent::start_by(limited(limit)?, arguments);
        let agent = match started {
            Ok(agent) => agent,
            Err(error) => {
                let error = format!("{error:#}");
                ensure!(limit < 160, "with {limit} it does not work: {error}");
                ensure!(error.contains("open files") && error.contains("ulimit"), "with {limit}: {error}");
                continue;
            }
        };
        worked += 1;
        let mut duel = Duel::with(agent, good, bad)?;
        let idle: Vec<TcpStream> =
            (0..200).filter_map(|_| TcpStream::connect(duel.agent.address()).ok()).collect();
        thread::sleep(Duration::from_secs(7));
        drop(idle);
        let judged = duel.judge().with_context(|| format!("with {limit} descriptors"))?;
        ensure!(judged.metrics.get("observer_targets", &[("state", "observed")]) == Some(2.0));
        duel.agent.stop()?;
    }
    ensure!(worked >= 2, "it worked with {worked} limits");
    Ok(())
}

#[test]
fn it_takes_as_many_as_it_may() -> Result<()> {
    let cgroup = Cgroup::create("limit")?;
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 100 && exec \"$0\" \"$@\""]).arg(agent::binary()?);
    let agent = Agent::start_by(command, ["--docker-socket", "", "--target", &cgroup.selector()])?;
    let most = agent.scrape()?.get("process_max_fds", &[]).context("no limit")?;
    ensure!(most > 1000.0, "{most}");
    agent.stop()?;
    let ended = run_to_end(limited(30)?.args(["run", "--listen", "127.0.0.1:0"]))?;
    ensure!(!ended.status.success() && ended.output.contains("open files"), "{}", ended.output);
    Ok(())
}
