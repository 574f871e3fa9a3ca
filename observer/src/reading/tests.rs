//! Readers that read by themselves, on real processes.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::*;

const TARGET: TargetId = 1;

/// A child that is killed and reaped when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn run(program: &str, arguments: &[&str]) -> Running {
    let child = Running(Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().unwrap());
    thread::sleep(Duration::from_millis(100));
    child
}

fn readers() -> Readers {
    Readers::here("/proc".into())
}

#[test]
fn no_more_than_the_begin_of_arguments_is_read() {
    let long = "a".repeat(100_000);
    // It waits for its own input: a program that it has started would outlive it.
    let child = run("sh", &["-c", "read wait; :", &long]);
    let read = readers().command_line(TARGET, child.0.id()).unwrap();
    assert_eq!(read.len(), 4096);
    assert!(read.starts_with(b"sh\0-c\0read wait; :\0aaaa"));
    drop(child);
    assert_eq!(readers().command_line(TARGET, 4_194_303), Err(CannotLook::Gone));
}

#[test]
fn the_file_is_the_one_that_runs() {
    let child = run("sleep", &["600"]);
    let id = FileId::of(&File::open("/bin/sleep").unwrap()).unwrap();
    assert_eq!(
        readers().executed(TARGET, &[child.0.id(), 4_194_303]).unwrap(),
        [Some(Executed { id }), None]
    );
    let found = readers().executable(TARGET, child.0.id()).unwrap();
    assert_eq!((found.id, found.reading.executable), (id, None));
    assert!(found.file.is_none() && found.reading.bytes > 0);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_program_that_was_given_to_the_dynamic_linker_is_the_one_that_runs() {
    let linker = Path::new("/lib64/ld-linux-x86-64.so.2");
    let child = run(linker.to_str().unwrap(), &["/bin/sleep", "600"]);
    let id = FileId::of(&File::open("/bin/sleep").unwrap()).unwrap();
    assert_eq!(readers().executed(TARGET, &[child.0.id()]).unwrap(), [Some(Executed { id })]);
}

#[test]
fn a_process_without_probes_has_none() {
    let child = run("sleep", &["600"]);
    let point = |offset| Point { probe: crate::nodejs::Probe::Wait, offset };
    assert_eq!(readers().in_place(TARGET, child.0.id(), &[point(0x3000)]), Ok(false));
    assert_eq!(readers().in_place(TARGET, child.0.id(), &[point(1 << 40)]), Ok(false));
    assert_eq!(readers().in_place(TARGET, child.0.id(), &[]), Ok(false));
}

#[test]
fn messages_carry_a_descriptor_beside_them() {
    use std::io::Read as _;

    use rustix::net::{RecvFlags, SendFlags};

    let (ours, theirs) = wire::pair().unwrap();
    let file = File::open("/proc/self/comm").unwrap();
    let request = Request::CommandLine { process: 7 };
    wire::send(&ours, &request, Some(std::os::fd::AsFd::as_fd(&file)), SendFlags::empty()).unwrap();
    let (received, beside) = wire::receive::<Request>(&theirs, RecvFlags::empty()).unwrap().unwrap();
    assert!(matches!(received, Request::CommandLine { process: 7 }));
    let mut text = String::new();
    File::from(beside.unwrap()).read_to_string(&mut text).unwrap();
    assert!(!text.is_empty());
    let longest = Answer::CommandLine(vec![255; 4096]);
    wire::send(&theirs, &longest, None, SendFlags::empty()).unwrap();
    assert!(
        matches!(wire::receive::<Answer>(&ours, RecvFlags::empty()), Ok(Some((Answer::CommandLine(bytes), None))) if bytes.len() == 4096)
    );
    drop(theirs);
    assert!(wire::receive::<Answer>(&ours, RecvFlags::empty()).unwrap().is_none());
}
