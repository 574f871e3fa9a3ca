//! Programs on a cgroup that the observer's are compared with: such as do nothing, and such as do what none can do without.
//! They are objects of the package observer-ebpf beside the kernel half, each with a program for packets in and one for out.

use std::{fs::File, path::PathBuf};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    programs::{CgroupAttachMode, CgroupSkb, cgroup_skb::CgroupSkbAttachType},
};

use super::run_time::Runs;
use crate::cgroup::Cgroup;

/// A file with two programs.
#[derive(Debug)]
pub struct Object {
    file: PathBuf,
    ingress: &'static str,
    egress: &'static str,
}

impl Object {
    /// The file `empty`: what the kernel's call and its statistics alone cost.
    pub fn empty(file: PathBuf) -> Self {
        Self { file, ingress: "empty_ingress", egress: "empty_egress" }
    }

    /// The file `floor`: a look-up of the socket's state, and loading 32 bytes of the packet.
    pub fn floor(file: PathBuf) -> Self {
        Self { file, ingress: "floor_ingress", egress: "floor_egress" }
    }

    /// Loads the programs and attaches them to `cgroup`.
    pub fn attach(&self, cgroup: &Cgroup) -> Result<Attached> {
        let mut programs =
            Ebpf::load_file(&self.file).with_context(|| format!("cannot load {}", self.file.display()))?;
        let directory =
            File::open(cgroup.path()).with_context(|| format!("cannot open {}", cgroup.path().display()))?;
        for (name, attach_type) in
            [(self.ingress, CgroupSkbAttachType::Ingress), (self.egress, CgroupSkbAttachType::Egress)]
        {
            let program = programs.program_mut(name).with_context(|| format!("no program {name}"))?;
            let program: &mut CgroupSkb = program.try_into()?;
            program.load().with_context(|| format!("cannot load {name}"))?;
            program
                .attach(&directory, attach_type, CgroupAttachMode::Single)
                .with_context(|| format!("cannot attach {name}"))?;
        }
        Ok(Attached { programs, names: [self.ingress, self.egress] })
    }
}

/// The programs, attached; dropping it detaches them.
pub struct Attached {
    programs: Ebpf,
    names: [&'static str; 2],
}

impl Attached {
    /// What both programs have cost so far.
    pub fn runs(&self) -> Result<Runs> {
        let mut sum = Runs::default();
        for name in self.names {
            let program = self.programs.program(name).with_context(|| format!("no program {name}"))?;
            let information = program.info().with_context(|| format!("cannot ask about {name}"))?;
            sum +=
                Runs { seconds: information.run_time().as_secs_f64(), count: information.run_count() as f64 };
        }
        Ok(sum)
    }
}
