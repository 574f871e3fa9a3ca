//! One step of a command: says what it does, shows that it lives, keeps its output for when it fails.
//! On a terminal one line ticks each second; elsewhere a plain line comes every ten. All on standard error, which
//! leaves the standard output to what a command is asked for.

use std::{
    cell::Cell,
    io::{IsTerminal, Read, Write, stderr},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How often a step that runs shows its time, on a terminal and elsewhere.
const TICK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// How much of a failed step's output is worth reading: the end of it.
const LINES_SHOWN: usize = 40;

thread_local! {
    /// Whether this thread's steps run beside others.
    static BESIDE: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` in this thread, beside which others have steps of their own: these tell how long they took when they are
/// done, and leave the line with the time to the others.
pub(crate) fn beside<T>(work: impl FnOnce() -> T) -> T {
    BESIDE.set(true);
    work()
}

/// Says what happens next.
pub(crate) fn say(text: &str) {
    eprintln!("==> {text}");
}

/// Runs `command` with its output on this terminal; for tools with a progress display of their own.
pub(crate) fn run(title: &str, command: &mut Command) -> Result<()> {
    say(title);
    let status = command.status().with_context(|| format!("cannot start {}", describe(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", describe(command));
    }
    Ok(())
}

/// Runs `command` silently, with the elapsed time as its progress; a failure shows the end of its output.
pub(crate) fn run_quietly(title: &str, command: &mut Command) -> Result<()> {
    say(title);
    let start = Instant::now();
    let (mut reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let stderr = writer.try_clone().context("cannot share a pipe")?;
    let what = describe(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(stderr)
        .spawn()
        .with_context(|| format!("cannot start {what}"))?;
    // `command` still holds the pipe's write ends, and the reader would wait for them.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (done, ended) = channel::<()>();
    let ticker = (!BESIDE.get()).then(|| thread::spawn(move || tick(start, &ended)));
    let mut output = Vec::new();
    let read = reader.read_to_end(&mut output);
    let status = child.wait().with_context(|| format!("cannot wait for {what}"))?;
    drop(done);
    let shown = ticker.is_some_and(|ticker| ticker.join().unwrap_or(false));
    read.with_context(|| format!("cannot read the output of {what}"))?;
    if status.success() {
        let seconds = start.elapsed().as_secs();
        if BESIDE.get() {
            eprintln!("    {title}: done in {seconds} s");
        } else if shown {
            eprintln!("    done in {seconds} s");
        }
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output);
    let lines: Vec<&str> = output.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(LINES_SHOWN)) {
        eprintln!("    {line}");
    }
    bail!("{what} failed: {status}");
}

/// Shows the elapsed time until `ended` is hung up; true if it showed any.
fn tick(start: Instant, ended: &Receiver<()>) -> bool {
    let terminal = stderr().is_terminal();
    let interval = if terminal { TICK.0 } else { TICK.1 };
    let mut ticked = false;
    while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        ticked = true;
        let seconds = start.elapsed().as_secs();
        if terminal {
            eprint!("\r    {seconds} s ");
            // A terminal that is gone must not end the step.
            let _ = stderr().flush();
        } else {
            eprintln!("    {seconds} s");
        }
    }
    if ticked && terminal {
        eprint!("\r");
    }
    ticked
}

/// The command as a user would type it, without its environment.
fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_names_its_command_and_status() {
        let error = run_quietly("try", Command::new("sh").args(["-c", "echo no; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh -c echo no; exit 3 failed: exit status: 3");
    }

    #[test]
    fn output_larger_than_a_pipe_does_not_block() {
        run_quietly(
            "try",
            Command::new("sh").args(["-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"]),
        )
        .unwrap();
    }
}
