//! Scrapers that do not read what they asked for.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use tests::hostile::Duel;

#[test]
fn six_hundred_that_read_slowly_share_what_they_read() -> Result<()> {
    let mut duel = Duel::begin(&[])?;
    let resident = |duel: &Duel| -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", duel.agent.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line.unwrap_or_default().trim().trim_end_matches(" kB").parse()?)
    };
    let before = resident(&duel)?;
    let mut slow = Vec::new();
    for _ in 0..600 {
        if let Ok(mut stream) = TcpStream::connect(duel.agent.address()) {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ok();
            stream.set_read_timeout(Some(Duration::from_millis(10)))?;
            slow.push(stream);
        }
    }
    for _ in 0..5 {
        for stream in &mut slow {
            // One that was closed for another is what is wanted.
            stream.read_exact(&mut [0; 16]).ok();
        }
        thread::sleep(Duration::from_millis(200));
    }
    let after = resident(&duel)?;
    drop(slow);
    duel.judge()?;
    ensure!(after < before + (24 << 10), "{before} kB before, {after} kB with 600 slow scrapers");
    duel.agent.stop()?;
    Ok(())
}
