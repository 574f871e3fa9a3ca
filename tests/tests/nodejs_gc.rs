//! Collections of four versions of Node.js, beside what `PerformanceObserver` tells inside of each: their number by kind,
//! the sum of their pauses, and the heap after the last.

use std::path::Path;

use anyhow::Result;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    collections,
    nodejs::{Steps, VERSIONS, executable},
};

fn compare(version: u32) -> Result<()> {
    let cgroup = Cgroup::create(&format!("nodejs-{version}"))?;
    let mut agent = Agent::start(["--docker-socket", "", "--target", &cgroup.selector()])?;
    let program = executable(version)?;
    let mut steps = Steps::start(&cgroup, &[&program, Path::new("--expose-gc")], "collections.js", &[])?;
    collections::compare(&mut agent, &mut steps)?;
    agent.stop()?;
    Ok(())
}

#[test]
fn collections_and_the_heap_are_those_that_each_version_tells() -> Result<()> {
    VERSIONS.into_iter().try_for_each(compare)
}
