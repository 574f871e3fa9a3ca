//! What the observer costs, measured: groups of figures that are made by one workload.
//! Timing needs a quiet machine, so nothing here is a test; `cargo xtask bench` runs it.

pub mod figure;
pub mod machine;
pub mod objects;
pub mod report;
pub mod server;
pub mod statistics;
pub mod usage;

mod chunk;
mod connections;
mod exchanges;
mod idle;
mod run_time;
mod start;
pub mod stream_load;
mod streams;
mod targets;
mod throughput;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, bail};

use self::{
    figure::{Figure, Measured},
    objects::Object,
};

/// What every measurement needs.
#[derive(Debug)]
pub struct Setup {
    /// Programs that do nothing.
    pub empty: Object,
    /// Programs that do what none can do without.
    pub floor: Object,
    /// Set by Ctrl-C.
    pub interrupted: Arc<AtomicBool>,
}

impl Setup {
    /// Fails once the benchmark was interrupted; asked between runs, so that what they started is taken back.
    pub fn go_on(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}

/// Figures that one workload gives together.
pub struct Group {
    /// Names all of them on the command line.
    pub name: &'static str,
    /// In the order of the output.
    pub figures: &'static [Figure],
    /// Runs the workload.
    pub measure: fn(&Setup) -> Result<Vec<Measured>>,
}

/// All groups, in the order in which they run.
pub const GROUPS: &[Group] = &[
    Group { name: "run_time", figures: &run_time::FIGURES, measure: run_time::measure },
    Group { name: "chunk", figures: &chunk::FIGURES, measure: chunk::measure },
    Group { name: "throughput", figures: &throughput::FIGURES, measure: throughput::measure },
    Group { name: "exchanges", figures: &exchanges::FIGURES, measure: exchanges::measure },
    Group { name: "connections", figures: &connections::FIGURES, measure: connections::measure },
    Group { name: "streams", figures: &streams::FIGURES, measure: streams::measure },
    Group { name: "targets", figures: &targets::FIGURES, measure: targets::measure },
    Group { name: "start", figures: &start::FIGURES, measure: start::measure },
    Group { name: "idle", figures: &idle::FIGURES, measure: idle::measure },
];

/// Whether `names` choose this figure: by its own name or its group's; no name chooses all.
pub fn is_chosen(names: &[String], group: &Group, figure: &Figure) -> bool {
    names.is_empty() || names.iter().any(|name| name == group.name || name == figure.name)
}

/// Fails for a name that is of no figure and no group, and tells which there are.
pub fn check_names(names: &[String]) -> Result<()> {
    let known = |name: &&str| {
        GROUPS
            .iter()
            .any(|group| group.name == *name || group.figures.iter().any(|figure| figure.name == *name))
    };
    if let Some(unknown) = names.iter().map(String::as_str).find(|name| !known(name)) {
        let groups = GROUPS.iter().map(|group| {
            let figures: Vec<&str> = group.figures.iter().map(|figure| figure.name).collect();
            format!("\n  {}: {}", group.name, figures.join(", "))
        });
        bail!("no figure or group is called {unknown}; they are{}", groups.collect::<String>());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_of_one_figure_or_group() {
        let names: Vec<&str> = GROUPS
            .iter()
            .flat_map(|group| group.figures.iter().map(|figure| figure.name).chain([group.name]))
            .collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }

    #[test]
    fn a_name_chooses_a_figure_or_a_group() {
        let [first, second, ..] = GROUPS else { panic!("there are several groups") };
        let figure = &first.figures[0];
        assert!(is_chosen(&[], first, figure));
        assert!(is_chosen(&[first.name.to_owned()], first, figure));
        assert!(is_chosen(&[figure.name.to_owned()], first, figure));
        assert!(!is_chosen(&[second.name.to_owned()], first, figure));
        let error = check_names(&["ratio_of_nothing".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("ratio_of_nothing") && error.contains(figure.name), "{error}");
        check_names(&[first.name.to_owned(), figure.name.to_owned()]).unwrap();
    }
}
