//! What must hold for any bytes from outside: a function for each of their sources, which panics where it does not.
//! `cargo xtask fuzz` calls them with bytes of its own; the tests, with those that were kept.

pub use crate::{
    collectors::fuzz::proc_files,
    config::fuzz::configuration,
    exchanges::fuzz::paths,
    kernel::fuzz::{records, type_information},
    nodejs::fuzz::executable,
    profiles::fuzz::profiles,
    server::fuzz::{credentials, requests},
    targets::fuzz::docker,
};

/// A function and its name, which is that of its target in `observer/fuzz` and of its kept inputs there.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 10] = [
    ("executable", executable),
    ("type_information", type_information),
    ("records", records),
    ("docker", docker),
    ("proc_files", proc_files),
    ("configuration", configuration),
    ("profiles", profiles),
    ("paths", paths),
    ("credentials", credentials),
    ("requests", requests),
];

/// The input in two parts, before and behind the first line feed.
pub(crate) fn two_parts(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_target_holds_for_the_inputs_that_were_kept() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let files: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().collect();
            assert!(!files.is_empty(), "{name} has no inputs");
            for file in files {
                target(&fs::read(file.unwrap().path()).unwrap());
            }
        }
    }
}
