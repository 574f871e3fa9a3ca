//! What runs in a reader: it answers one question after the other, and may wait for ever in any of them.
//! It can do nothing but open files for reading, and holds nothing that anyone else waits for.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use anyhow::Context as _;
use rustix::{
    fs::fstatfs,
    net::{RecvFlags, SendFlags},
};

use super::{
    identity::FileId,
    linker::is_linker,
    maps,
    request::{Answer, Executed, MOST_AT_ONCE, Request},
    wire,
};
use crate::{confine, nodejs};

/// Bytes of arguments that are read: what a process is, stands at their begin.
const ARGUMENTS: u64 = 4096;

/// File systems whose pages come from a process or from a network, by their numbers in include/uapi/linux/magic.h and in the
/// headers of each. To put a probe into such a file the kernel reads a page of it while no process of the host may fork
/// (`register_for_each_vma` in kernel/events/uprobes.c).
const SERVED: [u64; 10] = [
    0x6573_5546, // fuse, virtiofs
    0x6969,      // nfs
    0xff53_4d42, // cifs
    0xfe53_4d42, // smb2
    0x0102_1997, // 9p
    0x00c3_6400, // ceph
    0x5346_414f, // afs
    0x7375_7245, // coda
    0x0bd0_0bd0, // lustre
    0x4750_4653, // gpfs
];

const SERVED_ELSEWHERE: &str =
    "a Node.js executable lies on a file system of a process or of a network, which may not answer";

/// What was answered, with a descriptor that goes beside it.
type Answered = (Answer, Option<OwnedFd>);

/// Answers what comes by standard input, until whoever asks has gone.
pub fn read_for_agent() -> anyhow::Result<()> {
    confine::confine_reader().context("a reader cannot be confined")?;
    let input = io::stdin();
    let proc_root = Path::new("/proc");
    while let Some((request, _)) = wire::receive::<Request>(input.as_fd(), RecvFlags::empty())? {
        let answered = catch_unwind(AssertUnwindSafe(|| answer(proc_root, &request)));
        let panicked = |_| (Answer::Refused("reading it is a bug; it panicked".to_owned()), None);
        let (answer, file) = answered.unwrap_or_else(panicked);
        wire::send(input.as_fd(), &answer, file.as_ref().map(|file| file.as_fd()), SendFlags::empty())?;
    }
    Ok(())
}

/// Answers a question below `proc_root`.
pub(super) fn answer(proc_root: &Path, request: &Request) -> Answered {
    let directory = |process: &u32| proc_root.join(process.to_string());
    let answered = match request {
        Request::CommandLine { process } => {
            command_line(&directory(process)).map(|bytes| (Answer::CommandLine(bytes), None))
        }
        Request::Executed { processes } => {
            let found = processes.iter().take(MOST_AT_ONCE).map(|process| executed(&directory(process)));
            Ok((Answer::Executed(found.collect()), None))
        }
        Request::Executable { process } => executable(&directory(process)),
        Request::InPlace { process, points } => program(&directory(process)).and_then(|program| {
            let file = program.ok_or(io::ErrorKind::NotFound)?;
            Ok((Answer::InPlace(maps::in_place(&directory(process), &file, points)?), None))
        }),
    };
    answered.unwrap_or_else(|error| (refused(&error), None))
}

fn refused(error: &io::Error) -> Answer {
    if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) {
        Answer::Gone
    } else {
        Answer::Refused(error.to_string())
    }
}

fn command_line(directory: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(directory.join("cmdline"))?.take(ARGUMENTS).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn executed(directory: &Path) -> Option<Executed> {
    let file = program(directory).ok()??;
    Some(Executed { id: FileId::of(&file).ok()? })
}

fn executable(directory: &Path) -> io::Result<Answered> {
    let Some(file) = program(directory)? else {
        return Err(io::Error::other("its dynamic linker has loaded no program yet"));
    };
    let id = FileId::of(&file)?;
    let mut read = nodejs::read(&file)?;
    if let Some(executable) = &mut read.executable
        && is_served_elsewhere(&file)?
    {
        executable.refuse(SERVED_ELSEWHERE);
    }
    // It may have been written to meanwhile.
    if FileId::of(&file)? != id {
        return Err(io::Error::other("it changes while it is read"));
    }
    let file = read.executable.is_some().then(|| file.into());
    Ok((Answer::Executable { id, executable: read.executable, bytes: read.bytes }, file))
}

/// The file of the program that a process runs; `None` while its dynamic linker has not loaded it.
fn program(directory: &Path) -> io::Result<Option<File>> {
    let link = directory.join("exe");
    let file = File::open(&link)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let name = link.read_link()?.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if is_linker(&name) { maps::loaded(directory, &file) } else { Ok(Some(file)) }
}

fn is_served_elsewhere(file: &File) -> io::Result<bool> {
    let kind = fstatfs(file)?.f_type;
    // Of a word's size, of which architectures use the lower half.
    Ok(SERVED.contains(&(kind.cast_unsigned() & u64::from(u32::MAX))))
}
