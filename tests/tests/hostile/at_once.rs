//! All attacks at once, with a memory limit for the agent.

use std::{path::Path, thread, time::Duration};

use anyhow::{Result, anyhow, ensure};
use tests::{
    agent::{self, Agent},
    cgroup::Cgroup,
    hostile::{Attack, Duel, Fuse, Good},
    memory_cgroup::MemoryCgroup,
    process::{PATIENCE, wait_until},
};

/// How long the longest may take, on a busy machine.
const WITHIN: Duration = Duration::from_mins(3);

/// What runs beside one another.
const ATTACKS: [&[&str]; 7] = [
    &["many_places"],
    &["many_symbols"],
    &["sparse"],
    &["dense"],
    &["arguments", "500", "3000000"],
    &["executions"],
    &["names"],
];

fn all_at_once(limit: u64) -> Result<()> {
    let Some(memory) = MemoryCgroup::create(limit)? else {
        println!("ignored: this host has no memory controller that can be used");
        return Ok(());
    };
    let (good, bad) = (Good::start()?, Cgroup::create("bad")?);
    let targets = [good.cgroup.selector(), bad.selector()];
    let arguments = ["--docker-socket", "", "--target", &targets[0], "--target", &targets[1]];
    let agent = Agent::start_by(memory.command(agent::binary()?), arguments)?;
    let mut duel = Duel::with(agent, good, bad)?;
    let (descriptors, usage) = (duel.descriptors()?, memory.usage()?);
    {
        let mut fuse = Fuse::mount(Path::new("/bin/sleep"), u64::MAX >> 1)?;
        fuse.be_silent()?;
        let file = fuse.file().display().to_string();
        let silent = Attack::start(&duel.bad, &["run", &file])?;
        let (bad, attacks) = (&duel.bad, ATTACKS);
        let ended = thread::scope(|scope| {
            let running = attacks.map(|arguments| {
                scope.spawn(move || {
                    let mut attack = Attack::start(bad, arguments)?;
                    attack.done(WITHIN)?;
                    anyhow::Ok(attack)
                })
            });
            running.map(|attack| attack.join().map_err(|_| anyhow!("an attack panicked"))?)
        });
        let ended: Vec<Attack> = ended.into_iter().collect::<Result<_>>()?;
        drop(fuse);
        drop((ended, silent));
    }
    duel.judge()?;
    ensure!(memory.oom_kills()? == 0, "the OOM killer came");
    let few = || Ok(duel.descriptors()? < descriptors + 12);
    wait_until("the descriptors are given back", PATIENCE, few)?;
    let after = memory.usage()?;
    ensure!(after < usage + (24 << 20), "{usage} bytes before, {after} after");
    duel.agent.stop()?;
    Ok(())
}

#[test]
fn with_256_mebibytes() -> Result<()> {
    all_at_once(256 << 20)
}

#[test]
fn with_64_mebibytes() -> Result<()> {
    all_at_once(64 << 20)
}
