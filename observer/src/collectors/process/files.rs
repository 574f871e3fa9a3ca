//! Reads the files of one process in `/proc`: each at most once per scrape, and none that walks its memory.
//! A process may vanish between two files and some files need permission: what cannot be read is `None`.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use procfs::{
    ProcError,
    process::{FDTarget, Process, Stat},
};

use crate::cgroup::files::read_whole;

/// What reading the memory of a process that is gone returns (ESRCH, `man 2 open`).
const NO_SUCH_PROCESS: i32 = 3;

/// Bytes of a file that are read; lists of sockets grow with what a target opens.
const LONGEST: u64 = 1 << 20;

/// What `/proc` says of one process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFiles {
    /// Short name of the program; no UTF-8 is replaced.
    pub comm: String,
    /// Process id of the one that started it, or that it was left to.
    pub parent: i32,
    /// Clock ticks after boot at which it started; with the pid it tells processes apart.
    pub start_ticks: u64,
    /// Clock ticks of CPU time in user mode, all threads.
    pub user_ticks: u64,
    /// Clock ticks of CPU time in the kernel, all threads.
    pub system_ticks: u64,
    /// Threads.
    pub threads: u64,
    /// From `status`, which counts exactly where `stat` is up to 64 pages per CPU off (Linux 6.2 and later).
    pub resident_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Of the main thread: the kernel keeps no sum, and reading every thread costs a file each.
    pub voluntary_switches: u64,
    /// Of the main thread.
    pub involuntary_switches: u64,
    /// Open file descriptors; needs the permission to trace the process.
    pub open_fds: Option<u64>,
    /// Bytes read from and written to storage; needs the permission to trace the process.
    pub io: Option<(u64, u64)>,
}

/// A process's directory, kept open while it is read: a new process with its pid cannot be mistaken for it.
#[derive(Debug)]
pub struct ProcessDirectory(Process);

impl ProcessDirectory {
    /// Opens the directory of `name` (a pid or `self`); `None` where there is no such process.
    pub fn open(proc_root: &Path, name: &str) -> Option<Self> {
        Process::new_with_root(proc_root.join(name)).ok().map(Self)
    }

    /// Reads what changes all the time; `None` where the process has gone.
    pub fn read(&self) -> Option<ProcessFiles> {
        let Self(process) = self;
        let stat = process.stat().ok()?;
        let status = self.bytes("status")?;
        let status = String::from_utf8_lossy(&status);
        Some(ProcessFiles {
            resident_bytes: number_after(&status, "VmRSS:").unwrap_or_default() * 1024,
            virtual_bytes: number_after(&status, "VmSize:").unwrap_or_default() * 1024,
            voluntary_switches: number_after(&status, "voluntary_ctxt_switches:").unwrap_or_default(),
            involuntary_switches: number_after(&status, "nonvoluntary_ctxt_switches:").unwrap_or_default(),
            open_fds: process.fd_count().ok().and_then(|count| u64::try_from(count).ok()),
            io: self.bytes("io").and_then(|io| {
                let io = String::from_utf8_lossy(&io);
                Some((number_after(&io, "read_bytes:")?, number_after(&io, "write_bytes:")?))
            }),
            ..Self::of_stat(stat)
        })
    }

    /// Reads what one file tells of it, where there are too many processes to read all of each: then nothing is known of
    /// context switches, descriptors and I/O, and memory is less exact. `None` where the process has gone.
    pub fn read_briefly(&self) -> Option<ProcessFiles> {
        let stat = self.0.stat().ok()?;
        Some(ProcessFiles {
            resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
            virtual_bytes: stat.vsize,
            ..Self::of_stat(stat)
        })
    }

    fn of_stat(stat: Stat) -> ProcessFiles {
        ProcessFiles {
            comm: stat.comm,
            parent: stat.ppid,
            start_ticks: stat.starttime,
            user_ticks: stat.utime,
            system_ticks: stat.stime,
            threads: u64::try_from(stat.num_threads).unwrap_or_default(),
            resident_bytes: 0,
            virtual_bytes: 0,
            voluntary_switches: 0,
            involuntary_switches: 0,
            open_fds: None,
            io: None,
        }
    }

    /// Soft limit of open files; `None` also where there is none. It rarely changes, and is dear to read.
    pub fn max_fds(&self) -> Option<u64> {
        let limits = self.bytes("limits").unwrap_or_default();
        number_after(&String::from_utf8_lossy(&limits), "Max open files")
    }

    /// The short name of its program, and who started it; `None` where the process has gone.
    pub fn origin(&self) -> Option<(String, i32)> {
        let stat = self.0.stat().ok()?;
        Some((stat.comm, stat.ppid))
    }

    /// The short name of its program; `None` where the process has gone.
    pub fn comm(&self) -> Option<String> {
        let comm = self.bytes("comm")?;
        Some(String::from_utf8_lossy(&comm).trim_end_matches('\n').to_owned())
    }

    /// The path of its program, empty where it may not be read.
    pub fn executable(&self) -> PathBuf {
        self.0.exe().unwrap_or_default()
    }

    /// Its resident memory in bytes, each page divided by the processes that map it: the kernel walks all of its page
    /// tables for this. Zero where it has no memory any more; an error where this may not be read.
    pub fn proportional_bytes(&self) -> io::Result<u64> {
        // A process that exits gives back its memory before its directory goes.
        let gone = |error: &io::Error| error.raw_os_error() == Some(NO_SUCH_PROCESS);
        let mut bytes = Vec::with_capacity(2048);
        let read = match self.0.open_relative("smaps_rollup") {
            Ok(file) => read_whole(file, &mut bytes),
            Err(ProcError::Io(error, _)) => Err(error),
            // The file is there and has nothing behind it, or the process is gone: not so where the kernel has no such file.
            Err(ProcError::NotFound(path))
                if path.as_ref().is_some_and(|path| path.exists()) || self.bytes("stat").is_none() =>
            {
                return Ok(0);
            }
            Err(error) => Err(io::Error::other(error)),
        };
        match read {
            Err(error) if gone(&error) => Ok(0),
            Err(error) => Err(error),
            Ok(_) => {
                let kilobytes = number_after(&String::from_utf8_lossy(&bytes), "Pss:");
                Ok(kilobytes.unwrap_or_default() * 1024)
            }
        }
    }

    /// Its first descriptors with what they are; none where they may not be read.
    pub(super) fn descriptors(&self, most: usize) -> Vec<(i32, FDTarget)> {
        let all = self.0.fd().into_iter().flatten().take(most).flatten();
        all.map(|descriptor| (descriptor.fd, descriptor.target)).collect()
    }

    /// A file's first bytes: the crate's own parsers of text refuse names that are no UTF-8.
    pub(super) fn bytes(&self, file: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(2048);
        read_whole(self.0.open_relative(file).ok()?.take(LONGEST), &mut bytes).ok()?;
        Some(bytes)
    }
}

/// The first number of the line that starts with `key`.
fn number_after(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

/// Seconds since the epoch at which the machine booted, as `<proc>/stat` says it: it moves when the clock is set.
pub fn boot_time(proc_root: &Path) -> Option<u64> {
    let stat = std::fs::read_to_string(proc_root.join("stat")).ok()?;
    number_after(&stat, "btime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_reads_as_its_files_say() {
        let directory = ProcessDirectory::open(Path::new("/proc"), "self").unwrap();
        let files = directory.read().unwrap();
        assert_eq!(directory.origin().unwrap().0, files.comm);
        assert_eq!(directory.executable(), std::env::current_exe().unwrap());
        assert!(files.resident_bytes > 0 && files.virtual_bytes > files.resident_bytes);
        assert!(files.threads >= 1 && files.open_fds.unwrap() >= 3 && directory.max_fds().unwrap() > 3);
        assert!(boot_time(Path::new("/proc")).unwrap() > 1_000_000_000);
    }

    #[test]
    fn memory_that_is_gone_is_none_and_memory_that_is_hidden_an_error() {
        let own = ProcessDirectory::open(Path::new("/proc"), "self").unwrap();
        assert!(own.proportional_bytes().unwrap() > 0);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = ProcessDirectory::open(Path::new("/proc"), &child.id().to_string()).unwrap();
        for _ in 0..500 {
            if ended.0.stat().unwrap().state == 'Z' {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(ended.proportional_bytes().unwrap(), 0, "not waited for yet");
        child.wait().unwrap();
        assert_eq!(ended.proportional_bytes().unwrap(), 0, "nothing is left of it");
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("7")).unwrap();
        std::fs::write(root.path().join("7/stat"), "").unwrap();
        assert!(ProcessDirectory::open(root.path(), "7").unwrap().proportional_bytes().is_err());
    }

    #[test]
    fn broken_bytes_are_read_and_missing_files_are_no_error() {
        let root = tempfile::tempdir().unwrap();
        let process = root.path().join("7");
        std::fs::create_dir(&process).unwrap();
        assert_eq!(ProcessDirectory::open(root.path(), "7").unwrap().read(), None);
        let stat = b"7 (ba) \xff d) S 1 7 7 0 -1 0 0 0 0 0 11 22 0 0 20 0 3 0 99 4096 5 6 0 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        std::fs::write(process.join("stat"), stat).unwrap();
        let status = b"Name:\tba) \xff d\nVmSize:\t   12 kB\nVmRSS:\t       8 kB\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n";
        std::fs::write(process.join("status"), status).unwrap();
        let directory = ProcessDirectory::open(root.path(), "7").unwrap();
        let files = directory.read().unwrap();
        assert_eq!(files.comm, "ba) \u{fffd} d");
        assert_eq!((files.user_ticks, files.system_ticks, files.threads), (11, 22, 3));
        assert_eq!((files.resident_bytes, files.virtual_bytes), (8192, 12288));
        assert_eq!((files.voluntary_switches, files.involuntary_switches), (5, 6));
        assert_eq!((files.open_fds, directory.max_fds(), files.io), (None, None, None));
    }
}
