//! `observer check`: is this host able, what is missing, and how to mend it.
//! Exit code 1 where the agent could not run.

use std::{io::Write, os::unix::net::UnixStream, path::Path};

use crate::{
    config::Config,
    confine,
    kernel::probe::{self, Finding, Verdict},
};

/// Prints a line per finding and the bounds of this configuration; returns whether the agent could run.
pub fn check(out: &mut impl Write, config: &Config) -> anyhow::Result<bool> {
    let mut findings = probe::host(Path::new("/proc"));
    if able(&findings) {
        findings.extend(probe::programs());
    }
    findings.extend(config.docker.socket().map(docker));
    // Last: this process has it too from then on.
    findings.push(confinement());
    for Finding { subject, verdict, found, mend } in &findings {
        let word = match verdict {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        writeln!(out, "{word}  {subject}: {found}")?;
        if !mend.is_empty() {
            writeln!(out, "      {mend}")?;
        }
    }
    let limits = &config.limits;
    writeln!(
        out,
        "\nbounds: rings {} and {} bytes, {} peers, {} process roles and {} routes per target, {} connections to the \
         server",
        limits.ring_bytes,
        limits.exchange_ring_bytes,
        limits.peers,
        limits.process_roles,
        limits.routes,
        config.server.max_connections
    )?;
    Ok(able(&findings))
}

fn able(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Fail)
}

/// Gives up what `observer run` gives up, to see whether that is possible here.
fn confinement() -> Finding {
    let done =
        confine::give_up_privileges(confine::Plans::default()).and_then(|()| confine::refuse_system_calls());
    match done {
        Ok(()) => Finding::pass(
            "confinement",
            format!(
                "all capabilities but {} given up, no new privileges, {} system calls refused",
                confine::NEEDED.len(),
                confine::REFUSED.len()
            ),
        ),
        Err(error) => Finding::warn(
            "confinement",
            format!("{error:#}"),
            "the agent runs without; confine it from outside, as deploy/systemd/observer.service does",
        ),
    }
}

fn docker(socket: &Path) -> Finding {
    match UnixStream::connect(socket) {
        Ok(_) => Finding::pass("docker", format!("{} answers", socket.display())),
        Err(error) => Finding::warn(
            "docker",
            format!("{}: {error}", socket.display()),
            "container: and image: selectors find nothing without it; name another socket with --docker-socket, or \
             switch it off with --docker-socket ''",
        ),
    }
}
