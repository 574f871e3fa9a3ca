//! Probes in executables by links of their own kind (`BPF_TRACE_UPROBE_MULTI`, Linux 6.6), which aya does not make.
//! A probe by `perf_event_open(2)` holds up whoever runs into it while it is taken away; docs/decisions/0017.

#![expect(
    clippy::cast_possible_truncation,
    reason = "counts of instructions and descriptors fit the kernel's fields"
)]

use std::{
    collections::{BTreeMap, HashSet},
    ffi::{CStr, CString},
    io, mem,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr,
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::{Object, ProgramSection, generated::bpf_insn};

use super::sys::{BPF_LINK_CREATE, bpf, owned};

const BPF_PROG_LOAD: libc::c_int = 5;
/// `BPF_PROG_TYPE_KPROBE` of `enum bpf_prog_type`, which is that of probes in executables too.
const KPROBE: u32 = 2;
/// `BPF_TRACE_UPROBE_MULTI` of `enum bpf_attach_type`.
const UPROBE_MULTI: u32 = 48;
/// `BPF_F_UPROBE_MULTI_RETURN`: where the function returns.
const RETURN: u32 = 1;

/// What is loaded by `BPF_PROG_LOAD`, of `union bpf_attr` up to what is used.
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instructions: u32,
    first: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

const _: () = assert!(size_of::<ProgramLoad>() == 72);

/// `struct link_create` of `union bpf_attr` with its `uprobe_multi`.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    reference_counts: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    process: u32,
    padding: u32,
}

const _: () = assert!(size_of::<LinkCreate>() == 64);

/// Loaded programs for places in executables.
#[derive(Default)]
pub(super) struct UprobeMulti(BTreeMap<String, Loaded>);

struct Loaded {
    program: OwnedFd,
    returns: bool,
}

impl UprobeMulti {
    /// Loads the programs of `object` for places in executables, with the maps that `ebpf` has made of the same object; none
    /// where this kernel is older than such links.
    pub(super) fn load(object: &[u8], ebpf: &Ebpf) -> anyhow::Result<Self> {
        if !is_supported() {
            return Ok(Self::default());
        }
        let relocated = relocate(object, ebpf)?;
        let mut programs = BTreeMap::new();
        for (name, program) in &relocated.programs {
            let returns = match program.section {
                ProgramSection::UProbe { .. } => false,
                ProgramSection::URetProbe { .. } => true,
                _ => continue,
            };
            let function = relocated.functions.get(&program.function_key());
            let instructions = &function.with_context(|| format!("{name} has no code"))?.instructions;
            let program = load(name, instructions, &program.license)
                .with_context(|| format!("this kernel refuses {name}"))?;
            programs.insert(name.clone(), Loaded { program, returns });
        }
        Ok(Self(programs))
    }

    /// The program of that name, if it is loaded.
    pub(super) fn descriptor(&self, name: &str) -> Option<BorrowedFd<'_>> {
        Some(self.0.get(name)?.program.as_fd())
    }

    /// Puts the program at `offset` of the executable until what is returned is dropped; `None` where it is not loaded.
    pub(super) fn attach(&self, name: &str, file: &Path, offset: u64) -> Option<io::Result<OwnedFd>> {
        let Loaded { program, returns } = self.0.get(name)?;
        Some(link(program.as_fd(), file, offset, *returns))
    }
}

/// The object with the maps' descriptors in its code, and with its functions put together, as aya does it.
fn relocate(object: &[u8], ebpf: &Ebpf) -> anyhow::Result<Object> {
    let mut object = Object::parse(object).context("cannot read the kernel object")?;
    let code: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let maps = mem::take(&mut object.maps);
    let maps = maps.iter().filter_map(|(name, map)| {
        let made = data(ebpf.map(name)?)?;
        Some((name.as_str(), made.fd().as_fd().as_raw_fd(), map))
    });
    object.relocate_maps(maps, &code).context("cannot name the maps")?;
    object.relocate_calls(&code).context("cannot put the functions together")?;
    Ok(object)
}

/// The map itself, of the kinds that the kernel half has.
const fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::CgroupStorage(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::RingBuf(data)
        | Map::SkStorage(data) => Some(data),
        _ => None,
    }
}

fn load(name: &str, instructions: &[bpf_insn], license: &CStr) -> io::Result<OwnedFd> {
    let mut short = [0; 16];
    for (to, from) in short[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    let mut attributes = ProgramLoad {
        kind: KPROBE,
        instructions: instructions.len() as u32,
        first: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: short,
        interface: 0,
        expected_attach_type: UPROBE_MULTI,
    };
    bpf(BPF_PROG_LOAD, &mut attributes).map(owned)
}

/// Whether this kernel makes such links, tried with a program that does nothing: it complains of a folder that it is no file.
/// (Kernels before 6.6 load the program, and take no notice of how it is to be attached.)
pub fn is_supported() -> bool {
    // `r0 = 0; exit`, Documentation/bpf/standardization/instruction-set.rst.
    let nothing = [0xb7, 0x95].map(|code| bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off: 0,
        imm: 0,
    });
    let Ok(program) = load("nothing", &nothing, c"GPL") else { return false };
    let error = link(program.as_fd(), Path::new("/"), 0, false).err().and_then(|error| error.raw_os_error());
    error == Some(libc::EBADF)
}

fn link(program: BorrowedFd<'_>, file: &Path, offset: u64, returns: bool) -> io::Result<OwnedFd> {
    let path = CString::new(file.as_os_str().as_bytes())?;
    let mut attributes = LinkCreate {
        program: program.as_raw_fd().cast_unsigned(),
        target: 0,
        attach_type: UPROBE_MULTI,
        flags: 0,
        path: path.as_ptr() as u64,
        offsets: ptr::from_ref(&offset) as u64,
        reference_counts: 0,
        cookies: 0,
        count: 1,
        multi_flags: if returns { RETURN } else { 0 },
        process: 0,
        padding: 0,
    };
    bpf(BPF_LINK_CREATE, &mut attributes).map(owned)
}
