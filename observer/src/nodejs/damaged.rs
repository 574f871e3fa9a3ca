//! Executables that are damaged, overlap themselves, or change while they are read: nothing panics, and bounds hold.
//! `cargo xtask fuzz executable` does the same for longer and with more cunning.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Probe, Reading, read};

/// Executables that were kept for fuzzing.
fn kept() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/executable");
    let files = fs::read_dir(folder).unwrap();
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

fn holds(reading: &Reading, length: u64) {
    assert!(reading.bytes <= 64 << 20, "{} bytes were read", reading.bytes);
    let Some(executable) = &reading.executable else { return };
    assert!(executable.points.len() <= 32, "{executable:?}");
    assert!(executable.points.iter().all(|point| point.offset < length), "{executable:?} in {length} bytes");
    let count = |probe| executable.points.iter().filter(|point| point.probe == probe).count();
    let halves = [Probe::Wait, Probe::Turn];
    let lacks = executable.missing.iter().any(|missing| halves.contains(&missing.probe));
    assert!(lacks || count(Probe::Wait) == count(Probe::Turn), "{executable:?}");
}

#[test]
fn damaged_ones_are_read_within_bounds() {
    let mut random = fastrand::Rng::with_seed(13);
    let mut found = 0;
    let kept = kept();
    for _ in 0..2000 {
        let mut bytes = random.choice(&kept).unwrap().clone();
        for _ in 0..random.usize(0..4) {
            if !bytes.is_empty() {
                let (at, byte) = (random.usize(0..bytes.len()), random.u8(..));
                bytes[at] = byte;
            }
        }
        // Headers have most of what leads anywhere.
        if bytes.len() > 64 && random.u8(0..4) == 0 {
            let at = random.usize(16..64);
            bytes[at] = random.u8(..);
        }
        bytes.truncate(if random.u8(0..8) == 0 { random.usize(0..=bytes.len()) } else { bytes.len() });
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        if let Ok(reading) = read(&file) {
            found += usize::from(reading.executable.is_some());
            holds(&reading, bytes.len() as u64);
        }
    }
    assert!(found > 20, "only {found} of them were Node.js to the reader");
}

#[test]
fn one_that_changes_while_it_is_read_is_read_within_bounds() {
    let kept = kept();
    let largest = kept.iter().max_by_key(|bytes| bytes.len()).unwrap();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(largest, 0).unwrap();
    let (length, stop) = (largest.len() as u64, AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| change(&file, largest, &stop));
        let end = Instant::now() + Duration::from_secs(1);
        let mut read_to_the_end = 0;
        while Instant::now() < end {
            if let Ok(reading) = read(&file) {
                read_to_the_end += 1;
                holds(&reading, length);
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(read_to_the_end > 0, "it never came to an end");
    });
}

/// Writes any bytes anywhere, cuts the file, and mends it.
fn change(file: &File, bytes: &[u8], stop: &AtomicBool) {
    let mut random = fastrand::Rng::with_seed(31);
    while !stop.load(Ordering::Relaxed) {
        let at = random.u64(0..bytes.len() as u64);
        match random.u8(0..10) {
            0 => file.set_len(at).unwrap(),
            1..4 => file.write_all_at(bytes, 0).unwrap(),
            _ => file.write_all_at(&[random.u8(..)], at).unwrap(),
        }
    }
    file.write_all_at(bytes, 0).unwrap();
}
