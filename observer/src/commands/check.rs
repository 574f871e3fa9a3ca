//! `observer check`: is this host able, what is missing, and how to mend it.
//! Exit code 1 where the agent could not run.

use std::{io::Write, os::unix::net::UnixStream, path::Path, thread};

use anyhow::anyhow;

use crate::{
    config::Config,
    confine::{self, Domain},
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
    findings.extend([confinement(), server()]);
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

/// Gives up in a thread what the threads that serve give up.
fn server() -> Finding {
    let subject = "server";
    let panicked = |_| Err(anyhow!("it panicked, which is a bug"));
    let tried = thread::spawn(|| {
        let confine::Confined { capabilities, domain, system_calls } = confine::confine_server();
        capabilities.and(system_calls).and(domain)
    });
    let found = match tried.join().unwrap_or_else(panicked) {
        Ok(domain) => {
            let landlock = match domain {
                Domain::Whole => "all of Landlock".to_owned(),
                Domain::Partial(version) => format!("Landlock, version {}", version as i32),
                Domain::None => "no Landlock in this kernel".to_owned(),
            };
            let refused = confine::REFUSED_WHERE_SERVING.len();
            format!("no capabilities, {refused} more system calls refused, {landlock}")
        }
        Err(error) => {
            let mend = "requests are read and answered with the rights of the agent; allow seccomp() and landlock_*()";
            return Finding::warn(subject, format!("{error:#}"), mend);
        }
    };
    Finding::pass(subject, format!("requests are read and answered with {found}"))
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
