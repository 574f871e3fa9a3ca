//! Reads what an iterator program reports: one plain value for each element of a map.
//! A kernel without such iterators reports nothing.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::Context as _;
use aya::{Ebpf, maps::MapData, programs::Iter};

use super::{ProgramState, program, sys};

/// Values that are read at once.
const AT_ONCE: usize = 512;

/// An attached iterator program.
pub(super) struct Walk(Option<OwnedFd>);

impl Walk {
    /// Attaches the program `name` to `map`; where that fails, says so in `states`.
    pub(super) fn attach(
        ebpf: &mut Ebpf,
        name: &'static str,
        map: &MapData,
        states: &mut [ProgramState],
    ) -> Self {
        let Some(state) = states.iter_mut().find(|state| state.name == name && state.attached) else {
            return Self(None);
        };
        let mut link = || -> anyhow::Result<OwnedFd> {
            let program: &mut Iter = program(ebpf, name)?;
            Ok(sys::link_map_iterator(program.fd()?.as_fd(), sys::map_descriptor(map))?)
        };
        match link() {
            Ok(link) => Self(Some(link)),
            Err(error) => {
                *state = ProgramState { attached: false, reason: format!("{error:#}"), ..state.clone() };
                Self(None)
            }
        }
    }

    /// Whether this kernel has such iterators.
    pub(super) fn is_attached(&self) -> bool {
        self.0.is_some()
    }

    /// Runs the program over the whole map and calls `visit` with each value that it reports: each once, as the program reports
    /// nothing twice in one walk.
    ///
    /// The kernel resumes behind a full buffer by position in a list that changes meanwhile (`bpf_sk_storage_map_seq_find_next`,
    /// `net/core/bpf_sk_storage.c`), so a pass that takes several reads may leave values out. The next pass reports those alone, and
    /// one that fits a single read is not cut.
    pub(super) fn each<T: aya::Pod>(&self, mut visit: impl FnMut(&T)) -> anyhow::Result<()> {
        let Some(link) = &self.0 else { return Ok(()) };
        for _ in 0..PASSES {
            let pass = sys::iterate(link).context("cannot start a walk over the open connections")?;
            let reads = each_in(pass, &mut visit).context("a walk over the open connections broke off")?;
            if reads <= 1 {
                break;
            }
        }
        Ok(())
    }
}

/// Passes of one walk at the most: where hundreds of connections come and go within each, one more finds no end either.
const PASSES: usize = 8;

/// Calls `visit` with each value in `pass`, whose reads may end within one; how many reads gave anything.
fn each_in<T: aya::Pod>(mut pass: impl io::Read, mut visit: impl FnMut(&T)) -> io::Result<usize> {
    let size = size_of::<T>();
    let mut buffer = vec![0; AT_ONCE * size];
    let (mut filled, mut reads) = (0, 0);
    loop {
        let read = match pass.read(&mut buffer[filled..]) {
            Ok(0) => return Ok(reads),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        filled += read;
        reads += 1;
        let whole = filled - filled % size;
        for value in buffer[..whole].chunks_exact(size) {
            visit(&sys::read_pod(value));
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most `1` bytes in a read.
    struct Trickle<'a>(&'a [u8], usize);

    impl io::Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(buffer.len());
            io::Read::read(&mut self.0, &mut buffer[..length])
        }
    }

    #[test]
    fn values_are_put_together_from_reads_of_any_length() {
        let values: Vec<u64> = (0..1000).map(|value| value * 0x0101_0101).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        for length in [1, 7, 8, 4096, bytes.len()] {
            let mut seen = Vec::new();
            each_in(Trickle(&bytes, length), |value: &u64| seen.push(*value)).unwrap();
            assert_eq!(seen, values, "reads of {length}");
        }
    }
}
