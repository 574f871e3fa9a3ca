//! The containers that come and go, and whom they call.
//! A life: a cgroup is made, its process starts, calls once, and ends, and the cgroup is removed.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use super::{IMAGE, Plan};
use crate::{cgroup::Cgroup, docker::Daemon};

/// From the making of its cgroup to the first instruction of a container's program: a runtime sets up namespaces and
/// mounts meanwhile, which takes containerd 130 ms and Docker 440 ms from end to end.
const SET_UP: Duration = Duration::from_millis(100);

/// How long a call is kept waiting for its answer.
const HELD: Duration = Duration::from_millis(300);

/// Lives in cgroups before those that count, and how soon after one another they begin.
const REHEARSED: usize = 30;
const REHEARSED_EVERY: Duration = Duration::from_millis(100);

/// How often the listener looks whether it is still wanted.
const POLL: Duration = Duration::from_millis(5);

/// What a container of Docker does: it calls itself, so that no network is needed.
const CALL_ITSELF: &str = "nc -l -p 7000 >/dev/null & sleep 1; nc 127.0.0.1 7000 </dev/null; sleep 0.5";

/// All that is needed for the lives of a plan.
pub(super) struct Lives<'a> {
    plan: Plan,
    daemon: Option<&'a Daemon>,
    callee: Callee,
}

/// One life.
#[derive(Clone, Copy)]
enum Life {
    Cgroup(usize),
    Container(usize),
}

impl<'a> Lives<'a> {
    pub(super) fn prepare(plan: Plan, daemon: Option<&'a Daemon>) -> Result<Self> {
        Ok(Self { plan, daemon, callee: Callee::start()? })
    }

    /// What selects them all: the path of each cgroup, and one pattern for the containers.
    pub(super) fn selectors(&self) -> Vec<String> {
        let all = self.plan.cgroups + REHEARSED;
        let cgroups = (0..all).map(|number| format!("cgroup:/{}", cgroup_name(number)));
        cgroups.chain(self.daemon.map(|_| format!("container:{}*", container_name("")))).collect()
    }

    /// The names of all that count.
    pub(super) fn names(&self) -> Vec<String> {
        let cgroups = (0..self.plan.cgroups).map(cgroup_name);
        cgroups.chain((0..self.plan.containers).map(container_name)).collect()
    }

    /// Lives of each kind that do not count, as many at a time as there will be of those that do.
    pub(super) fn rehearse(&self) -> Result<()> {
        thread::scope(|scope| {
            let cgroups = (0..REHEARSED).map(|number| Life::Cgroup(self.plan.cgroups + number));
            let container = self.daemon.map(|_| Life::Container(self.plan.containers));
            let lives = cgroups.chain(container).map(|life| {
                thread::sleep(REHEARSED_EVERY);
                scope.spawn(move || self.one(life))
            });
            let lives: Vec<_> = lives.collect();
            lives.into_iter().try_for_each(|life| life.join().map_err(|_| anyhow!("a thread panicked"))?)
        })
    }

    /// All lives, evenly over the time of the plan; calls `look` meanwhile.
    pub(super) fn live(&self, every: Duration, mut look: impl FnMut() -> Result<()>) -> Result<()> {
        let all = self.plan.cgroups + self.plan.containers;
        let between = self.plan.within / u32::try_from(all.max(1)).context("too many")?;
        let calls = self.callee.calls();
        let begun = Instant::now();
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            let mut lives = Vec::with_capacity(all);
            let mut looked = Instant::now();
            // The containers are spread among the cgroups.
            let mut containers = 0;
            for number in 0..all {
                let due = (number + 1) * self.plan.containers / all.max(1);
                let life = if due > containers {
                    containers += 1;
                    Life::Container(containers - 1)
                } else {
                    Life::Cgroup(number - containers)
                };
                let done = &done;
                lives.push(scope.spawn(move || {
                    let result = self.one(life);
                    done.fetch_add(1, Ordering::Relaxed);
                    result
                }));
                let next = begun + between * u32::try_from(number + 1).unwrap_or(u32::MAX);
                while Instant::now() < next {
                    if looked.elapsed() >= every {
                        looked = Instant::now();
                        look()?;
                    }
                    thread::sleep(next.saturating_duration_since(Instant::now()).min(POLL));
                }
            }
            while done.load(Ordering::Relaxed) < all {
                look()?;
                thread::sleep(every);
            }
            lives.into_iter().try_for_each(|life| life.join().map_err(|_| anyhow!("a thread panicked"))?)
        })?;
        let calls = self.callee.calls() - calls;
        ensure!(calls == self.plan.cgroups, "{calls} calls came, from {} cgroups", self.plan.cgroups);
        Ok(())
    }

    fn one(&self, life: Life) -> Result<()> {
        match life {
            Life::Cgroup(number) => self.cgroup(number),
            Life::Container(number) => {
                let daemon = self.daemon.context("no Docker was started")?;
                let name = container_name(number);
                daemon.docker(&["run", "--rm", "--name", &name, IMAGE, "sh", "-c", CALL_ITSELF])?;
                Ok(())
            }
        }
    }

    fn cgroup(&self, number: usize) -> Result<()> {
        let cgroup = Cgroup::named(cgroup_name(number))?;
        thread::sleep(SET_UP);
        let url = format!("http://{}/", self.callee.address);
        let called = cgroup
            .command("busybox")
            .args(["wget", "-q", "-O", "/dev/null", &url])
            .stdin(Stdio::null())
            .output()
            .context("cannot start busybox: run `cargo xtask setup --tests`")?;
        ensure!(called.status.success(), "wget: {}", String::from_utf8_lossy(&called.stderr));
        Ok(())
    }
}

fn cgroup_name(number: usize) -> String {
    format!("observer-churn-{}-{number}", std::process::id())
}

fn container_name(number: impl std::fmt::Display) -> String {
    format!("churn-{number}")
}

/// Whom the processes in cgroups call: it holds each call for a while, answers and counts.
struct Callee {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Callee {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
        listener.set_nonblocking(true).context("cannot set a socket to not wait")?;
        let address = listener.local_addr().context("no local address")?;
        let (calls, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let listening = thread::spawn({
            let (calls, stop) = (Arc::clone(&calls), Arc::clone(&stop));
            move || listen(&listener, &calls, &stop)
        });
        Ok(Self { address, calls, stop, listening: Some(listening) })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It fails only where the thread has panicked, which has shown already.
        let _ = self.listening.take().map(JoinHandle::join);
    }
}

fn listen(listener: &TcpListener, calls: &Arc<AtomicUsize>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((caller, _)) => {
                let calls = Arc::clone(calls);
                thread::spawn(move || {
                    if answer(caller).is_ok() {
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(POLL),
            Err(error) => {
                eprintln!("error: cannot accept a call: {error}");
                return;
            }
        }
    }
}

fn answer(mut caller: TcpStream) -> std::io::Result<()> {
    caller.set_nonblocking(false)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        caller.read_exact(&mut byte)?;
        head.extend(byte);
    }
    thread::sleep(HELD);
    caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
}
