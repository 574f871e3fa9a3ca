//! `observer check`: is this host able, what is missing, and how to mend it.
//! Exit code 1 where the agent could not run.

use std::{io::Write, os::unix::net::UnixStream, path::Path};

use crate::{
    config::Config,
    kernel::probe::{self, Finding, Verdict},
};

/// Prints a line per finding and the bounds of this configuration; returns whether the agent could run.
pub fn check(out: &mut impl Write, config: &Config) -> anyhow::Result<bool> {
    let mut findings = probe::host(Path::new("/proc"));
    if able(&findings) {
        findings.extend(probe::programs());
    }
    findings.extend(config.docker.socket().map(docker));
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
