//! The agent killed by SIGKILL at random moments while its target is under full load: the application notices nothing, and
//! the kernel keeps nothing.
//!
//! Two servers are in the target. One is saturated at the usual priority: its calls must all be answered. The other, and
//! its client, run before all programs without a real-time priority, so that neither the load nor the CPU time of an agent
//! that starts holds them up. What does hold them up is either the agent's doing in the kernel, or the machine's. Rounds
//! with a process that uses as much CPU time as the agent, and loads nothing, tell the two apart.

use std::{fmt, path::Path, time::Duration};

use anyhow::{Result, ensure};

use super::{
    application::{Application, Priority},
    calls::{Caller, Calls, Manner, Slow},
    rounds::{self, Kind, Round, Start, slow_in},
};
use crate::{
    agent::Agent,
    bpf::InKernel,
    cgroup::Cgroup,
    process::{PATIENCE, wait_until},
};

/// What the application must not notice.
pub const STALL_MS: f64 = 10.0;

/// Of how many rounds one is without the agent.
const EVERY: u32 = 4;

/// The longest life of an agent, in times that a start takes: some are killed while they load, some while they observe.
const LONGEST_LIFE: f64 = 2.0;

/// How long the servers are under load before anything is done, for their compilers to be done.
const WARM_UP: Duration = Duration::from_secs(3);

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    rounds: Vec<Round>,
    start: Start,
    before_others: Calls,
    saturated: Calls,
}

/// Kills `kills` agents; `program` is the one with the client.
pub fn run(program: &Path, kills: u32, seed: u64) -> Result<Outcome> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let cgroup = Cgroup::create("faults")?;
    let before_others = Application::start(&cgroup, Priority::RealTime)?;
    let saturated = Application::start(&cgroup, Priority::Usual)?;
    let before = InKernel::list()?;
    let paced = Manner { server: before_others.address(), connections: 2, renewed_after: 0, every: 1000 };
    let full = Manner { server: saturated.address(), connections: 16, renewed_after: 50, every: 0 };
    let paced = Caller::start(program, paced, Priority::RealTime)?;
    let full = Caller::start(program, full, Priority::Usual)?;
    super::sleep(WARM_UP)?;
    let start = Start::measure(&cgroup.selector())?;

    let mut played = Vec::new();
    let mut killed = 0;
    for number in 0.. {
        if killed == kills {
            break;
        }
        let kind = if number % EVERY == EVERY - 1 { Kind::Busy } else { Kind::Agent };
        killed += u32::from(kind == Kind::Agent);
        let life = start.took.mul_f64(rng.f64() * LONGEST_LIFE);
        played.push(rounds::play(kind, life, &cgroup.selector(), start, program)?);
    }
    let (before_others, saturated) = (paced.end()?, full.end()?);
    let outcome = Outcome { rounds: played, start, before_others, saturated };
    println!("{outcome}");
    wait_until("the kernel has freed everything", PATIENCE, || {
        Ok(InKernel::list()?.beside(&before).is_empty())
    })?;
    start_again(&cgroup)?;
    outcome.judge()?;
    Ok(outcome)
}

/// The next start is as if nothing had been.
fn start_again(cgroup: &Cgroup) -> Result<()> {
    let mut agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    let metrics = agent.scrape()?;
    let observed = metrics.get("observer_targets", &[("state", "observed")]);
    ensure!(observed == Some(1.0), "{observed:?} targets are observed");
    ensure!(metrics.sum("observer_records_lost_total", &[]) < 0.5, "something is lost");
    let log = agent.process().output();
    ensure!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    ensure!(agent.stop()?.success(), "it does not stop cleanly");
    Ok(())
}

impl Outcome {
    /// Stalls of the server that runs before others, in rounds of this kind, and the seconds that these took.
    fn stalls(&self, kind: Kind) -> (Vec<Slow>, f64) {
        let mut slow = slow_in(&self.rounds, kind, &self.before_others.slow);
        slow.retain(|call| call.milliseconds > STALL_MS);
        // What holds up the server holds up both connections: that is one stall.
        slow.sort_by(|one, other| one.began.total_cmp(&other.began));
        slow.dedup_by(|next, first| next.began < first.began + first.milliseconds / 1e3);
        let rounds = self.rounds.iter().filter(|round| round.kind == kind);
        (slow, rounds.map(|round| round.ended - round.began).sum())
    }

    /// No call failed, and no agent complained.
    fn judge(&self) -> Result<()> {
        self.before_others.require_no_failure()?;
        self.saturated.require_no_failure()?;
        for round in self.rounds.iter().filter(|round| round.kind == Kind::Agent) {
            ensure!(
                !round.output.contains("ERROR") && !round.output.contains("panicked"),
                "{}",
                round.output
            );
        }
        Ok(())
    }

    /// No more stalls over 10 ms of the server that runs before others than the machine has by itself, but for chance. Judged
    /// in the long run alone, which has a machine for itself.
    pub fn judge_stalls(&self) -> Result<()> {
        let ((stalls, seconds), (of_machine, seconds_without)) =
            (self.stalls(Kind::Agent), self.stalls(Kind::Busy));
        let most = most_by_chance(of_machine.len() as f64 * seconds / seconds_without);
        ensure!(
            stalls.len() as f64 <= most,
            "the application stalled with the agent: {stalls:?}; without it: {of_machine:?}"
        );
        Ok(())
    }

    /// Agents that were killed before they attached, and those that were killed later.
    fn moments(&self) -> (usize, usize) {
        let agents = self.rounds.iter().filter(|round| round.kind == Kind::Agent);
        let (late, early): (Vec<_>, Vec<_>) =
            agents.partition(|round| round.output.contains("observing a target"));
        (early.len(), late.len())
    }
}

/// How many stalls there may be where the machine, which stalls by itself now and then, is to have so many: one, and three
/// standard deviations more than are expected. What an agent does at each start shows in more rounds than that.
fn most_by_chance(expected: f64) -> f64 {
    1.0 + expected + 3.0 * expected.sqrt()
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (early, late) = self.moments();
        let Start { took, cpu } = self.start;
        writeln!(
            formatter,
            "{early} killed before they had attached, {late} later; a start under load took {took:?}, {cpu:?} of CPU"
        )?;
        for (name, calls) in [("before others", &self.before_others), ("saturated", &self.saturated)] {
            let Calls { answered, failures, opened, .. } = calls;
            writeln!(
                formatter,
                "{name}: {answered} answered, {} failed, {opened} connections",
                failures.len()
            )?;
            for kind in [Kind::Agent, Kind::Busy] {
                let rounds: Vec<_> = self.rounds.iter().filter(|round| round.kind == kind).collect();
                let seconds: f64 = rounds.iter().map(|round| round.ended - round.began).sum();
                let slow = slow_in(&self.rounds, kind, &calls.slow);
                let over = |limit: f64| slow.iter().filter(|call| call.milliseconds > limit).count();
                let longest = slow.first().map_or(0.0, |call| call.milliseconds);
                writeln!(
                    formatter,
                    "  {kind:?}: {} rounds, {seconds:.0} s; over 5 ms {}, over 10 ms {}, over 20 ms {}, longest {longest:.1} ms",
                    rounds.len(),
                    over(5.0),
                    over(10.0),
                    over(20.0)
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten rounds of a second, one kind after the other, with stalls of the kind's in each of its rounds.
    fn outcome(with_agent: usize, without: usize) -> Outcome {
        let kinds = [(Kind::Agent, with_agent), (Kind::Busy, without)];
        let mut slow = Vec::new();
        let rounds = (0..10).map(|number| {
            let (kind, stalls) = kinds[number % 2];
            let began = number as f64;
            for stall in 0..stalls {
                let began = began + 0.1 * stall as f64;
                slow.extend([0.0, 0.001].map(|later| Slow { began: began + later, milliseconds: 12.0 }));
            }
            Round { kind, began, ended: began + 0.9, output: String::new() }
        });
        let rounds = rounds.collect();
        let start = Start { took: Duration::from_secs(1), cpu: Duration::from_secs(1) };
        let before_others = Calls { slow, ..Calls::default() };
        Outcome { rounds, start, before_others, saturated: Calls::default() }
    }

    #[test]
    fn stalls_in_each_start_of_an_agent_fail_and_those_of_the_machine_do_not() {
        outcome(0, 0).judge_stalls().unwrap();
        outcome(1, 1).judge_stalls().unwrap();
        assert_eq!(outcome(2, 1).stalls(Kind::Agent).0.len(), 10);
        let error = outcome(1, 0).judge_stalls().unwrap_err().to_string();
        assert!(error.contains("12.0"), "{error}");
        outcome(4, 1).judge_stalls().unwrap_err();
    }

    #[test]
    fn a_call_that_fails_or_an_agent_that_complains_fails() {
        let mut failed = outcome(0, 0);
        failed.saturated.failures.push("connection reset".to_owned());
        failed.judge().unwrap_err();
        let mut complains = outcome(0, 0);
        "ERROR".clone_into(&mut complains.rounds[0].output);
        complains.judge().unwrap_err();
    }
}
