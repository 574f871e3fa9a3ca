//! What makes the agent say the same thing again and again.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use tests::hostile::Duel;

#[test]
fn cgroups_that_come_and_go_fill_no_log() -> Result<()> {
    let mut duel = Duel::begin(&["--target", "cgroup:/churn-of-*"])?;
    let root = tests::cgroup::root()?;
    for number in 0..1500 {
        let path = root.join(format!("churn-of-{number}-{}", std::process::id()));
        fs::create_dir(&path)?;
        if number % 3 == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
        fs::remove_dir(&path)?;
    }
    std::thread::sleep(Duration::from_secs(2));
    duel.judge()?;
    let lines = duel.agent.process().output().lines().count();
    ensure!(lines < 400, "{lines} lines:\n{}", duel.agent.process().output());
    duel.agent.stop()?;
    Ok(())
}
