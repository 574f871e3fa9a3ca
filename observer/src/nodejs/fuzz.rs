//! What must hold for any executable that a container runs.
//! The bytes are read as the agent reads them, from a file, by both of those who read executables.

#![expect(clippy::missing_panics_doc, reason = "a panic tells of a finding")]

use std::{
    env,
    fs::{self, File},
    process,
};

use super::{Probe, Reading, not_covered::Runtime, read};

/// The file's bytes: what is probed lies in it, and a wait has both of its ends.
pub fn executable(bytes: &[u8]) {
    let path = env::temp_dir().join(format!("observer-fuzz-{}", process::id()));
    if fs::write(&path, bytes).is_err() {
        return;
    }
    let found = File::open(&path).and_then(|file| read(&file));
    // The runtime of an executable is told, or none is.
    if let Ok(file) = File::open(&path) {
        Runtime::of(file);
    }
    fs::remove_file(&path).ok();
    let Ok(Reading { executable: Some(found), bytes: read }) = found else { return };
    assert!(read <= 64 << 20, "{read} bytes of {}", bytes.len());
    let length = bytes.len() as u64;
    assert!(found.points.iter().all(|point| point.offset < length), "{found:?} in {length} bytes");
    let count = |probe| found.points.iter().filter(|point| point.probe == probe).count();
    let outside =
        found.missing.iter().any(|missing| missing.probe == Probe::Wait || missing.probe == Probe::Turn);
    assert!(outside || count(Probe::Wait) == count(Probe::Turn), "{found:?}");
}
