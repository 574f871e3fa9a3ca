//! `cargo xtask kernels`: boots Debian's kernels in an emulator and runs the tests of `tests::guest` on each.
//! Needs no root and changes nothing outside the target folder; what was fetched is kept there.

mod boot;
mod document;
mod emulator;
mod image;
mod package;
mod results;
mod table;

use std::{
    env::consts::ARCH,
    num::NonZero,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};

use self::{emulator::Emulator, image::Work, results::Results};
use crate::{apt, build, setup, step, workspace};

/// A kernel that observer is tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kernel {
    /// The version, up to its second number.
    version: &'static str,
    /// Where Debian has it.
    suite: apt::Suite,
}

/// The oldest that is supported, those of Debian's releases, and the newest.
const KERNELS: &[Kernel] = &[
    Kernel { version: "5.10", suite: apt::Suite::Security("bullseye-security") },
    Kernel { version: "6.1", suite: apt::Suite::Main("bookworm") },
    Kernel { version: "6.12", suite: apt::Suite::Main("trixie") },
    Kernel { version: "6.17", suite: apt::Suite::Main("trixie-backports") },
    Kernel { version: "7.2", suite: apt::Suite::Main("trixie-backports") },
];

/// Those that `cargo xtask test` runs.
const USUAL: &[&str] = &["6.1", "6.12"];

/// The one that containers are tried on.
const FULL: &str = "6.12";

/// Starts of the agent that docs/kernels.md tells of, at the least.
const DOCUMENTED_STARTS: u32 = 50;

/// Starts of the agent in `cargo xtask test`.
const FEW_STARTS: u32 = 3;

/// How long a guest may take before its first start and for each, on a busy machine. Kernels before 6 take some times as
/// long as later ones to verify a program.
const TESTED_WITHIN: Duration = Duration::from_mins(10);
const STARTED_WITHIN: Duration = Duration::from_secs(40);

/// Tries the kernels of these `versions`, or all, with so many starts of the agent; with `write` docs/kernels.md gets the
/// results.
pub(crate) fn kernels(versions: &[String], starts: u32, write: bool) -> Result<()> {
    ensure!(
        !write || starts >= DOCUMENTED_STARTS,
        "the document tells of {DOCUMENTED_STARTS} starts and more"
    );
    let chosen = choose(versions)?;
    let (emulator, images) = fetch(&chosen)?;
    build::build(&setup::setup(false)?, &["observer", "tests"])?;
    let results = run(&emulator, &chosen, &images, Work::Tests { starts })?;
    println!("{}", table::render(&results));
    if write {
        table::write(&results)?;
    }
    judge(&results)
}

/// The emulator and the images of the usual two kernels, where they can be had.
pub(crate) struct Usual(Result<(Emulator, Vec<PathBuf>)>);

impl Usual {
    /// Fetches what is missing.
    pub(crate) fn fetch() -> Self {
        Self(usual().and_then(|chosen| fetch(&chosen)))
    }

    /// Tries the two kernels, on what `build` made, and compares with docs/kernels.md; where they cannot be had, says so and
    /// lets that pass.
    pub(crate) fn test(self) -> Result<()> {
        let (emulator, images) = match self.0 {
            Ok(fetched) => fetched,
            Err(error) => {
                step::say(&format!("tests on kernels {} left out: {error:#}", USUAL.join(" and ")));
                return Ok(());
            }
        };
        let results = run(&emulator, &usual()?, &images, Work::Tests { starts: FEW_STARTS })?;
        println!("{}", table::render(&results));
        judge(&results)?;
        document::compare(&results)
    }
}

fn usual() -> Result<Vec<Kernel>> {
    choose(&USUAL.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Says so where docs/kernels.md was made from another kernel half. That is no failure: most changes of it change nothing
/// that a table shows, and what they do on the usual kernels is compared each time.
pub(crate) fn say_if_out_of_date() -> Result<()> {
    if !document::is_of_this_kernel_half()? {
        step::say(
            "the kernel half has changed since docs/kernels.md was made: `cargo xtask kernels --write` before a release",
        );
    }
    Ok(())
}

/// Tries containers whose limits are real, on the kernels of these `versions`, or on [`FULL`].
pub(crate) fn full(versions: &[String]) -> Result<()> {
    let usual = [FULL.to_owned()];
    let chosen = choose(if versions.is_empty() { &usual } else { versions })?;
    let (emulator, images) = fetch(&chosen)?;
    build::build(&setup::setup(false)?, &["observer", "tests"])?;
    let results = run(&emulator, &chosen, &images, Work::Containers)?;
    println!("{}", table::render(&results));
    judge(&results)
}

fn choose(versions: &[String]) -> Result<Vec<Kernel>> {
    if versions.is_empty() {
        return Ok(KERNELS.to_vec());
    }
    let known = || KERNELS.iter().map(|kernel| kernel.version).collect::<Vec<_>>().join(", ");
    let one = |version: &String| {
        let found = KERNELS.iter().find(|kernel| kernel.version == version);
        found.copied().with_context(|| format!("no kernel {version} is tried here; there are {}", known()))
    };
    versions.iter().map(one).collect()
}

/// The emulator and the image of each kernel.
fn fetch(kernels: &[Kernel]) -> Result<(Emulator, Vec<PathBuf>)> {
    if ARCH != "x86_64" {
        bail!("Debian's kernels are emulated on x86_64 only, and this machine is {ARCH}");
    }
    let emulator = Emulator::find()?;
    let images = kernels.iter().map(|kernel| package::image(*kernel)).collect::<Result<_>>()?;
    Ok((emulator, images))
}

/// Runs the tests on each kernel, on as many at once as this machine has CPUs: booting and loading use one each.
fn run(
    emulator: &Emulator,
    kernels: &[Kernel],
    images: &[PathBuf],
    work: Work,
) -> Result<Vec<(Kernel, Results)>> {
    let guest = image::build(work)?;
    let starts = if let Work::Tests { starts } = work { starts } else { 0 };
    let within = TESTED_WITHIN + STARTED_WITHIN * starts;
    let next = AtomicUsize::new(0);
    let boot_next = || -> Result<Vec<(usize, Results)>> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((kernel, image)) = kernels.get(index).zip(images.get(index)) else { return Ok(done) };
            let results = boot::boot(emulator, kernel.version, image, &guest, within)
                .with_context(|| format!("the kernel {}", kernel.version))?;
            for line in results.trouble() {
                eprintln!("    {}: {line}", kernel.version);
            }
            done.push((index, results));
        }
    };
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    let mut all = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(boot_next)).collect();
        let ended =
            workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow!("a thread panicked"))?);
        ended.collect::<Result<Vec<_>>>()
    })?
    .concat();
    all.sort_unstable_by_key(|(index, _)| *index);
    Ok(kernels.iter().copied().zip(all.into_iter().map(|(_, results)| results)).collect())
}

fn judge(results: &[(Kernel, Results)]) -> Result<()> {
    let failed = results.iter().filter(|(_, results)| !results.passed()).map(|(kernel, _)| kernel.version);
    let failed: Vec<&str> = failed.collect();
    ensure!(failed.is_empty(), "tests failed on {}", failed.join(", "));
    Ok(())
}

/// Where everything is kept: packages, the emulator, what guests wrote.
fn folder() -> PathBuf {
    workspace::target_dir().join("kernels")
}
