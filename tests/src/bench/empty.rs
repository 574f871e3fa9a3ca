//! Programs that do nothing, on a cgroup: what the kernel's call and its statistics alone cost.
//! The object is `empty` of the package observer-ebpf.

use std::{fs::File, path::Path};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    programs::{CgroupAttachMode, CgroupSkb, cgroup_skb::CgroupSkbAttachType},
};

use super::run_time::Runs;
use crate::cgroup::Cgroup;

/// The object's programs.
const PROGRAMS: [(&str, CgroupSkbAttachType); 2] =
    [("empty_ingress", CgroupSkbAttachType::Ingress), ("empty_egress", CgroupSkbAttachType::Egress)];

/// The programs, attached; dropping it detaches them.
pub struct Empty(Ebpf);

impl Empty {
    /// Loads `object` and attaches it to `cgroup`, packets in and out.
    pub fn attach(object: &Path, cgroup: &Cgroup) -> Result<Self> {
        let mut programs =
            Ebpf::load_file(object).with_context(|| format!("cannot load {}", object.display()))?;
        let directory =
            File::open(cgroup.path()).with_context(|| format!("cannot open {}", cgroup.path().display()))?;
        for (name, attach_type) in PROGRAMS {
            let program = programs.program_mut(name).with_context(|| format!("no program {name}"))?;
            let program: &mut CgroupSkb = program.try_into()?;
            program.load().with_context(|| format!("cannot load {name}"))?;
            program
                .attach(&directory, attach_type, CgroupAttachMode::Single)
                .with_context(|| format!("cannot attach {name}"))?;
        }
        Ok(Self(programs))
    }

    /// What both programs have cost so far.
    pub fn runs(&self) -> Result<Runs> {
        let mut sum = Runs::default();
        for (name, _) in PROGRAMS {
            let program = self.0.program(name).with_context(|| format!("no program {name}"))?;
            let information = program.info().with_context(|| format!("cannot ask about {name}"))?;
            sum +=
                Runs { seconds: information.run_time().as_secs_f64(), count: information.run_count() as f64 };
        }
        Ok(sum)
    }
}
