//! What the agent gives up: capabilities that it has no call for, new privileges, and system calls that it never makes.
//! What stays is what later targets need. The threads that talk to the network need none of it and give up the rest, too.

mod capabilities;
pub mod descriptors;
mod landlock;
mod system_calls;

use anyhow::Context as _;
use rustix::{
    process::{Resource, Rlimit, setrlimit},
    thread::set_no_new_privs,
};

pub use self::{
    capabilities::{IN_THEIR_PLACE, NEEDED, Plans},
    landlock::Domain,
    system_calls::{REFUSED, REFUSED_WHERE_SERVING},
};

/// Gives up capabilities and new privileges, of this thread and of those that it will start: to be called before any
/// other thread is there. What the agent has `plans` for stays.
///
/// # Errors
/// Where the kernel refuses to take a privilege away.
pub fn give_up_privileges(plans: Plans) -> anyhow::Result<()> {
    raise_memory_limit();
    capabilities::drop_others(plans).context("cannot give up capabilities")?;
    set_no_new_privs(true).context("cannot give up new privileges")
}

/// Refuses system calls that the agent never makes, in all threads: to be called when its port is open.
///
/// # Errors
/// Where this kernel has no filters of system calls (`CONFIG_SECCOMP_FILTER`).
pub fn refuse_system_calls() -> anyhow::Result<()> {
    system_calls::refuse().context("cannot filter system calls; the kernel needs CONFIG_SECCOMP_FILTER")
}

/// Gives up everything but reading files of other processes, of this process: to be called before it reads any.
///
/// # Errors
/// Where something stays that the kernel could take.
pub fn confine_reader() -> anyhow::Result<()> {
    capabilities::keep_reading().context("cannot give up capabilities")?;
    set_no_new_privs(true).context("cannot give up new privileges")?;
    // A kernel without filters of system calls has none for the agent either, which says so.
    if let Err(error) = system_calls::refuse_where_reading() {
        tracing::debug!(error = format!("{error:#}"), "a reader's system calls are not filtered");
    }
    Ok(())
}

/// What became of the parts of [`confine_server`]; each stands by itself.
#[derive(Debug)]
pub struct Confined {
    /// Whether all capabilities are gone.
    pub capabilities: anyhow::Result<()>,
    /// How much the kernel's Landlock refuses.
    pub domain: anyhow::Result<Domain>,
    /// Whether system calls are refused that are of no use there.
    pub system_calls: anyhow::Result<()>,
}

/// Gives up everything but talking on connections that are accepted, of this thread and of those that it will start. All
/// threads share their memory: it keeps a request from being answered with a file, or with a connection to elsewhere, and
/// makes code from outside no prisoner.
pub fn confine_server() -> Confined {
    // In this order: none of the later calls is refused by an earlier one.
    let capabilities = capabilities::drop_all().context("cannot give up capabilities");
    let domain = landlock::enter();
    Confined { capabilities, domain, system_calls: system_calls::refuse_where_serving() }
}

/// Before Linux 5.11 maps count as locked memory, and the limit can be raised only before the capability to do so is
/// gone. Where that is not allowed the maps may still fit; whether they do is seen when they are made.
fn raise_memory_limit() {
    let unlimited = Rlimit { current: None, maximum: None };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        tracing::debug!(%error, "the limit of locked memory stays");
    }
}
