//! Reads the files of one cgroup: its processes, and its counters in the formats of v2 and v1.
//! A file or field that is not there is no error: controllers, kernels and container runtimes differ.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// A limit that a v1 memory cgroup shows where none is set is the largest multiple of the page size that fits in an
/// `i64` (`PAGE_COUNTER_MAX` of the kernel); no machine has a real limit near it.
const V1_UNLIMITED: u64 = 1 << 62;

/// The bytes of a file of `/proc` or a cgroup, appended to `buffer`. `read_to_end` of a file itself asks for size and
/// position first, which these files do not have: two system calls of six for each of a scrape's many files.
pub fn read_whole(file: impl Read, buffer: &mut Vec<u8>) -> io::Result<usize> {
    file.take(u64::MAX).read_to_end(buffer)
}

/// Reads small files of `/proc` and cgroups into one buffer, again and again.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    /// The text of a file; `None` where it is missing, refused, or no UTF-8.
    pub fn read(&mut self, path: &Path) -> Option<&str> {
        self.try_read(path).ok()
    }

    fn try_read(&mut self, path: &Path) -> io::Result<&str> {
        self.buffer.clear();
        read_whole(File::open(path)?, &mut self.buffer)?;
        std::str::from_utf8(&self.buffer).map_err(io::Error::other)
    }
}

/// The processes in a cgroup directory and below it, sorted, each once; none when it is gone. An error says that it cannot be
/// told.
pub fn members(directory: &Path) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    add_members(directory, &mut Reader::default(), &mut found)?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn add_members(directory: &Path, reader: &mut Reader, found: &mut Vec<i32>) -> io::Result<()> {
    // A threaded cgroup answers EOPNOTSUPP; its processes stand in the file of its domain's root.
    let listed = told(reader.try_read(&directory.join("cgroup.procs")))?.unwrap_or_default();
    // 0 stands for a process outside of the reader's PID namespace.
    found.extend(listed.lines().filter_map(|pid| pid.parse().ok()).filter(|pid: &i32| *pid != 0));
    // A directory has a link for itself, one from its parent, and one from each subdirectory: exactly 2 mean a leaf,
    // which saves listing some forty files for each container.
    if fs::metadata(directory).is_ok_and(|metadata| metadata.nlink() == 2) {
        return Ok(());
    }
    let entries = told(fs::read_dir(directory))?.into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        add_members(&entry.path(), reader, found)?;
    }
    Ok(())
}

/// Whether a v2 cgroup or one below it has a process; `None` when it is gone. An error says that it cannot be told.
pub fn populated(directory: &Path) -> io::Result<Option<bool>> {
    let mut events = [0; 64];
    // One read: the file is shorter than the buffer, and this is done for every target at every look.
    let read = File::open(directory.join("cgroup.events")).and_then(|mut file| file.read(&mut events));
    match told(read)? {
        Some(length) => {
            let mut lines = events.split_at(length).0.split(|byte| *byte == b'\n');
            Ok(Some(lines.any(|line| line == b"populated 1")))
        }
        // The root has no such file.
        None if directory.is_dir() => Ok(Some(!members(directory)?.is_empty())),
        None => Ok(None),
    }
}

/// What was read; `None` where it is gone, and an error where that cannot be told.
fn told<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_lack(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Whether the agent lacks something itself (descriptors, memory, rights), which says nothing of what it looks at.
pub fn is_lack(error: &io::Error) -> bool {
    let own = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EACCES, libc::EPERM, libc::EIO];
    error.raw_os_error().is_some_and(|code| own.contains(&code))
}

/// Whether the agent, or the whole machine, lacks descriptors or memory: what was asked would be answered at another time.
pub fn is_shortage(error: &io::Error) -> bool {
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// What was read; `None` where it is not there, or not for the agent. An error where the agent lacks something to look with.
pub fn unless_short<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_shortage(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// The number in a file that holds one.
pub fn single(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number after a key in a file of `key value` lines: `cpu.stat`, `memory.stat`, `memory.events`.
pub fn keyed(text: &str, key: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value)
}

/// A memory limit in bytes; `None` where there is no limit.
pub fn limit(text: &str) -> Option<u64> {
    single(text).filter(|limit| *limit < V1_UNLIMITED)
}

/// Bytes read and written over all devices: `io.stat` of v2 (`8:0 rbytes=1 wbytes=2 …`).
pub fn io_stat(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let values =
            text.split_ascii_whitespace().filter_map(|field| field.strip_prefix(key)?.strip_prefix('='));
        values.filter_map(|value| value.parse::<u64>().ok()).sum()
    };
    (sum("rbytes"), sum("wbytes"))
}

/// Bytes read and written over all devices: `blkio.throttle.io_service_bytes` of v1 (`8:0 Read 1`).
pub fn io_service_bytes(text: &str) -> (u64, u64) {
    let sum = |operation: &str| {
        let value = |line: &str| {
            let (_, value) = line.split_once(' ')?.1.split_once(operation)?;
            value.trim().parse::<u64>().ok()
        };
        text.lines().filter_map(value).sum()
    };
    (sum("Read "), sum("Write "))
}

/// Microseconds for which some and all tasks waited: `cpu.pressure` and its like (`some avg10=… total=1`).
pub fn pressure(text: &str) -> (Option<u64>, Option<u64>) {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        line.rsplit_once("total=")?.1.trim().parse().ok()
    };
    (total("some"), total("full"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_for_want_of_descriptors_is_not_taken_for_missing() {
        let failed = |code| unless_short(Err::<(), _>(io::Error::from_raw_os_error(code)));
        for code in [libc::ENOENT, libc::ESRCH, libc::ENODEV, libc::EACCES] {
            assert!(failed(code).is_ok_and(|read| read.is_none()), "{code}");
        }
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
            assert!(failed(code).is_err(), "{code}");
        }
    }

    #[test]
    fn formats_of_both_versions_are_read() {
        assert_eq!(single("1048576\n"), Some(1_048_576));
        assert_eq!(single("max\n"), None);
        assert_eq!(keyed("usage_usec 12\nuser_usec 8\n", "user_usec"), Some(8));
        assert_eq!(keyed("inactive_file 5\n", "inactive"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("536870912\n"), Some(536_870_912));
        let io = "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n8:0 rbytes=800 wbytes=4\n";
        assert_eq!(io_stat(io), (1_460_000, 314_773_508));
        let blkio = "254:0 Read 4096\n254:0 Write 8192\n254:0 Sync 1\n254:16 Read 4\n254:0 Total 12288\nTotal 12292\n";
        assert_eq!(io_service_bytes(blkio), (4100, 8192));
        let psi =
            "some avg10=0.00 avg60=0.06 avg300=0.73 total=29343491\nfull avg10=0.00 avg60=0.00 total=7\n";
        assert_eq!(pressure(psi), (Some(29_343_491), Some(7)));
        assert_eq!(pressure("some avg10=0.00 total=3\n"), (Some(3), None));
    }

    #[test]
    fn processes_of_descendants_belong_to_the_cgroup_once_each() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("cgroup.procs"), "30\n0\n").unwrap();
        fs::write(root.path().join("a/b/cgroup.procs"), "7\n30\n8\n").unwrap();
        assert_eq!(members(root.path()).unwrap(), [7, 8, 30]);
        assert_eq!(populated(root.path()).unwrap(), Some(true));
        fs::write(root.path().join("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
        assert_eq!(populated(root.path()).unwrap(), Some(false));
        assert!(members(&root.path().join("gone")).unwrap().is_empty());
        assert_eq!(populated(&root.path().join("gone")).unwrap(), None);
    }
}
