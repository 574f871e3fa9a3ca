//! The built binary as a user meets it: exit codes, messages on standard error, a closed pipe.
//! Nothing here needs rights or a kernel.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::{
    io::Read as _,
    process::{Command, Output, Stdio},
};

fn observer(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    observer(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_printed_configuration_is_a_configuration_that_prints_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("observer.toml");
    let first = run(&["config", "--target", "container:web-*", "--listen", "127.0.0.1:1"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    std::fs::write(&file, &first.stdout).unwrap();
    let second = run(&["config", "--config", file.to_str().unwrap()]);
    assert_eq!(text(&second.stdout), text(&first.stdout));
    assert!(text(&second.stdout).contains("select = [\"container:web-*\"]"));
}

#[test]
fn a_bad_configuration_exits_with_2_and_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("observer.toml");
    std::fs::write(&file, "[targets]\nlinger = 5\n").unwrap();
    let file = file.to_str().unwrap();
    let output = run(&["config", "--config", file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let message = text(&output.stderr);
    assert!(message.starts_with(&format!("observer: {file}:2:10: targets.linger: ")), "{message}");

    let output = run(&["config", "--config", "/nowhere/observer.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/nowhere/observer.toml"));
}

#[test]
fn wrong_use_exits_with_2_and_help_with_0() {
    for arguments in [&[][..], &["config", "--target", "web"], &["config", "--listn"], &["observe"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_closed_pipe_is_no_error() {
    // A pipe whose reading end is closed before anything is written.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = observer(&["config"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(message, "");
}
