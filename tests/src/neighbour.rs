//! Another tool's programs on the cgroup of a target, attached in each way that the kernel knows: they count what they see.
//! The object is `neighbour` of the package observer-ebpf; what bpf(2) calls attaching without a link is left to `bpftool`.

use std::{
    env,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf,
    maps::PerCpuArray,
    programs::{
        CgroupAttachMode, CgroupSkb, Program, SockOps,
        cgroup_skb::{CgroupSkbAttachType, CgroupSkbLink},
        sock_ops::SockOpsLink,
    },
};

use crate::cgroup::Cgroup;

/// The object's programs, with the attach type as bpftool calls it.
const PROGRAMS: [(&str, &str); 3] = [
    ("neighbour_in", "cgroup_inet_ingress"),
    ("neighbour_out", "cgroup_inet_egress"),
    ("neighbour_sock", "cgroup_sock_ops"),
];

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By links, which admit others.
    Link,
    /// By `BPF_PROG_ATTACH` with `BPF_F_ALLOW_MULTI`.
    Multi,
    /// The same with `BPF_F_ALLOW_OVERRIDE`: whatever is attached below takes its place.
    Override,
    /// The same without a flag: nothing else may be attached.
    Alone,
}

/// What the programs saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Packets to the cgroup.
    pub packets_in: u64,
    /// Packets from it.
    pub packets_out: u64,
    /// Connections that came to be.
    pub connections: u64,
    /// Times that the kernel told of a round trip, as the programs asked it to.
    pub round_trips: u64,
}

/// What keeps the programs attached.
enum Attached {
    Links { _skb: Vec<CgroupSkbLink>, _sock: SockOpsLink },
    Without(PathBuf, Vec<(&'static str, u32)>),
}

/// The programs, attached; dropping it detaches them.
pub struct Neighbour {
    // Before the programs, which are what is attached.
    attached: Attached,
    programs: Ebpf,
}

impl Neighbour {
    /// Loads the programs and attaches them to `cgroup`.
    pub fn attach(cgroup: &Cgroup, way: Way) -> Result<Self> {
        let object = object()?;
        let mut programs =
            Ebpf::load_file(&object).with_context(|| format!("cannot load {}", object.display()))?;
        for (name, program) in programs.programs_mut() {
            let loaded = match program {
                Program::CgroupSkb(program) => program.load(),
                Program::SockOps(program) => program.load(),
                _ => Ok(()),
            };
            loaded.with_context(|| format!("cannot load {name}"))?;
        }
        let attached = match way {
            Way::Link => by_links(&mut programs, cgroup.path())?,
            Way::Multi => without_links(&programs, cgroup.path(), &["multi"])?,
            Way::Override => without_links(&programs, cgroup.path(), &["override"])?,
            Way::Alone => without_links(&programs, cgroup.path(), &[])?,
        };
        Ok(Self { attached, programs })
    }

    /// What its programs have seen so far.
    pub fn seen(&self) -> Result<Seen> {
        let map = self.programs.map("SEEN").context("the object has no map SEEN")?;
        let seen: PerCpuArray<_, u64> = map.try_into()?;
        let count = |index| -> Result<u64> { Ok(seen.get(&index, 0)?.iter().sum()) };
        Ok(Seen {
            packets_in: count(0)?,
            packets_out: count(1)?,
            connections: count(2)?,
            round_trips: count(3)?,
        })
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let Attached::Without(cgroup, programs) = &self.attached else { return };
        for (attach_type, id) in programs {
            if let Err(error) = bpftool(cgroup, "detach", attach_type, *id, &[]) {
                eprintln!("error: {error:#}");
            }
        }
    }
}

/// The object: `OBSERVER_NEIGHBOUR_OBJECT`, else where `cargo xtask test` builds it.
fn object() -> Result<PathBuf> {
    let object = match env::var_os("OBSERVER_NEIGHBOUR_OBJECT") {
        Some(named) => PathBuf::from(named),
        None => {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/bpfel-unknown-none/release/neighbour")
        }
    };
    object
        .canonicalize()
        .with_context(|| format!("no object at {}; `cargo xtask test` builds it", object.display()))
}

fn by_links(programs: &mut Ebpf, cgroup: &Path) -> Result<Attached> {
    let directory = File::open(cgroup).with_context(|| format!("cannot open {}", cgroup.display()))?;
    let mut skb = Vec::new();
    for (name, attach_type) in
        [("neighbour_in", CgroupSkbAttachType::Ingress), ("neighbour_out", CgroupSkbAttachType::Egress)]
    {
        let program: &mut CgroupSkb =
            programs.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
        let id = program.attach(&directory, attach_type, CgroupAttachMode::Single)?;
        skb.push(program.take_link(id)?);
    }
    let program: &mut SockOps =
        programs.program_mut("neighbour_sock").context("no program neighbour_sock")?.try_into()?;
    let id = program.attach(&directory, CgroupAttachMode::Single)?;
    Ok(Attached::Links { _skb: skb, _sock: program.take_link(id)? })
}

fn without_links(programs: &Ebpf, cgroup: &Path, flags: &[&str]) -> Result<Attached> {
    let mut attached = Vec::new();
    for (name, attach_type) in PROGRAMS {
        let program = programs.program(name).with_context(|| format!("no program {name}"))?;
        let id = program.info().with_context(|| format!("cannot ask about {name}"))?.id();
        bpftool(cgroup, "attach", attach_type, id, flags)?;
        attached.push((attach_type, id));
    }
    Ok(Attached::Without(cgroup.to_owned(), attached))
}

fn bpftool(cgroup: &Path, deed: &str, attach_type: &str, id: u32, flags: &[&str]) -> Result<()> {
    let output = Command::new("bpftool")
        .args(["cgroup", deed])
        .arg(cgroup)
        .args([attach_type, "id", &id.to_string()])
        .args(flags)
        .output()
        .context("cannot start bpftool: run `cargo xtask setup`")?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "bpftool cgroup {deed} {attach_type}: {}",
        String::from_utf8_lossy(&said)
    );
    Ok(())
}
