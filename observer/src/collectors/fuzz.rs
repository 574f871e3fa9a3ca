//! What must hold for files of `/proc` and of cgroups, in which processes say some things of themselves.
//! What a kernel would have written is made of the input as well, and read back.

#![expect(clippy::missing_panics_doc, reason = "a panic tells of a finding")]

use std::fmt::Write as _;

use super::process::fuzz::{role_holds, watched_inodes};
use crate::{
    cgroup::{
        Hierarchy,
        files::{io_service_bytes, io_stat, keyed, limit, pressure, single},
        mounts::CgroupMounts,
    },
    fuzz::two_parts,
};

/// A file of numbers gives none that is not in it, and gives back what a kernel would have written; roles are bounded.
pub fn proc_files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for number in [single(&text), keyed(&text, "oom_kill"), limit(&text)].into_iter().flatten() {
        assert!(number == 0 || text.contains(&number.to_string()), "{number} is not in {text:?}");
    }
    let (some, full) = pressure(&text);
    assert!(some.is_none() || text.contains("some"), "{text:?}");
    assert!(full.is_none() || text.contains("full"), "{text:?}");
    io_stat(&text);
    io_service_bytes(&text);
    watched_inodes(&text);
    for mount in CgroupMounts::parse(Hierarchy::at("/sys/fs/cgroup"), &text).v1 {
        assert!(!mount.controllers.is_empty(), "{mount:?}");
    }
    written(bytes);
    crate::targets::fuzz::sockets(bytes);
    let (executable, rest) = two_parts(bytes);
    let (comm, command_line) = two_parts(rest);
    role_holds(executable, &String::from_utf8_lossy(comm), command_line);
}

/// Numbers as the kernel writes them are read back.
fn written(bytes: &[u8]) {
    let numbers: Vec<u64> = bytes
        .chunks_exact(4)
        .take(16)
        .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]).into())
        .collect();
    let sum: u64 = numbers.iter().sum();
    let (mut stat, mut service, mut events) = (String::new(), String::new(), String::new());
    for (index, number) in numbers.iter().enumerate() {
        // Writing to a string does not fail.
        writeln!(stat, "8:{index} rbytes={number} wbytes=1 rios=3 wios=4 dbytes=0 dios=0").ok();
        writeln!(service, "8:{index} Read {number}\n8:{index} Write 1\n8:{index} Total {}", number + 1).ok();
        writeln!(events, "key{index} {number}").ok();
    }
    let count = numbers.len() as u64;
    assert_eq!(io_stat(&stat), (sum, count));
    assert_eq!(io_service_bytes(&service), (sum, count));
    for (index, number) in numbers.iter().enumerate() {
        assert_eq!(keyed(&events, &format!("key{index}")), Some(*number));
    }
}
