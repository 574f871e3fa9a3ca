//! An agent, a target that plays what it is told, and a test at the other end of its connections.
//! All corners of a list are played at once; then the metrics must tell exactly what was expected of all of them.

use std::{
    fs,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    path::Path,
    thread,
};

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

use super::{
    actor::{self, Actor, Manner, Order, Ordered},
    case::Case,
    expected::Expected,
    link::{self, Link},
    room::Room,
};
use crate::{
    agent::Agent,
    cgroup::Cgroup,
    http::dialog::{Act, Deed, Dialog, Side},
    metrics::Metrics,
};

/// A free port of loopback.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Where a stage is.
pub enum Place {
    /// This machine's loopback.
    Loopback,
    /// Loopback of a network namespace.
    Room(Room),
    /// Both ends of a wire.
    Link(Box<Link>),
}

impl Place {
    /// The target's namespace.
    pub const fn target(&self) -> Option<&Room> {
        match self {
            Self::Loopback => None,
            Self::Room(room) => Some(room),
            Self::Link(link) => Some(&link.target),
        }
    }

    /// The test's.
    pub const fn test(&self) -> Option<&Room> {
        match self {
            Self::Loopback => None,
            Self::Room(room) => Some(room),
            Self::Link(link) => Some(&link.test),
        }
    }

    /// Where either end listens.
    const fn address(&self, side: Side) -> SocketAddr {
        match (self, side) {
            (Self::Loopback | Self::Room(_), _) => LOOPBACK,
            (Self::Link(_), Side::Server) => link::TARGET,
            (Self::Link(_), Side::Client) => link::TEST,
        }
    }
}

/// What a test plays with; what ends first stands first.
pub struct Stage {
    agent: Agent,
    actor: Actor,
    cgroup: Cgroup,
    place: Place,
}

impl Stage {
    /// On this machine's loopback.
    pub fn create() -> Result<Self> {
        Self::at(Place::Loopback)
    }

    /// Somewhere.
    pub fn at(place: Place) -> Result<Self> {
        Self::with(place, |target| {
            let target = format!("{target},app=generic");
            Agent::start(["--docker-socket", "", "--target", &target])
        })
    }

    /// On loopback, with an agent that has room for all corners at once: each has routes of its own, more than one target may have
    /// series for by default.
    pub fn with_room_for_all() -> Result<Self> {
        const CONFIGURATION: &str = "[limits]\nroutes = 2000\nseries = 100000\n[docker]\nsocket = \"\"\n";
        let folder = TempDir::new().context("cannot make a folder")?;
        let file = folder.path().join("observer.toml");
        fs::write(&file, CONFIGURATION).context("cannot write a configuration")?;
        Self::with(Place::Loopback, |target| {
            let file = file.display().to_string();
            Agent::start(["--config", &file, "--target", &format!("{target},app=generic")])
        })
    }

    /// Somewhere, with the agent that `start` makes of the target's selector.
    pub fn with(place: Place, start: impl FnOnce(&str) -> Result<Agent>) -> Result<Self> {
        let cgroup = Cgroup::create("observer-corner")?;
        let command = |program: &Path| match place.target() {
            None => cgroup.command(program),
            Some(room) => room.command(&cgroup, program),
        };
        let actor = Actor::start(command)?;
        let agent = start(&cgroup.selector())?;
        Ok(Self { agent, actor, cgroup, place })
    }

    /// The agent.
    pub const fn agent(&self) -> &Agent {
        &self.agent
    }

    /// What plays the target's end.
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The target.
    pub const fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Where it is.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Lets `work` open its sockets where the test's end is.
    pub fn near<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match self.place.test() {
            None => work(),
            Some(room) => room.inside(work),
        }
    }

    /// Plays them all at once to their ends; what is expected of all of them.
    pub fn play(&self, cases: Vec<Case>, manner: Manner) -> Result<Expected> {
        self.play_at(cases, manner, |side| self.place.address(side))
    }

    /// The same with listeners at addresses that are not the usual ones of this place.
    pub fn play_at(
        &self,
        cases: Vec<Case>,
        manner: Manner,
        address: impl Fn(Side) -> SocketAddr + Sync,
    ) -> Result<Expected> {
        let address = &address;
        thread::scope(|scope| {
            let playing: Vec<_> = cases
                .iter()
                .map(|case| {
                    scope.spawn(move || {
                        self.play_one(case, manner, address(case.target)).with_context(|| case.name.clone())
                    })
                })
                .collect();
            playing
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
        })?;
        Ok(cases.into_iter().fold(Expected::nothing(), |all, case| all.and(case.expected)))
    }

    fn play_one(&self, case: &Case, manner: Manner, address: SocketAddr) -> Result<()> {
        match case.target {
            Side::Server => self.served(&case.dialogs, address, manner),
            Side::Client => self.called(&case.dialogs, address, manner),
        }
    }

    /// The target is the server, at `address`.
    pub fn served(&self, dialogs: &[Dialog], address: SocketAddr, manner: Manner) -> Result<()> {
        // Several dialogs that differ need listeners of their own to know whose connection is whose.
        thread::scope(|scope| {
            let playing: Vec<_> = dialogs
                .iter()
                .map(|dialog| {
                    scope.spawn(move || -> Result<()> {
                        let serve = Order::Serve(address, manner, vec![dialog.clone()]);
                        let mut serving = self.actor.order(&serve)?;
                        let address = serving.address()?;
                        let called = self.near(|| actor::call(address, manner, dialog));
                        // What the target says of it tells more than what the test does.
                        serving.wait().and(called)
                    })
                })
                .collect();
            playing
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
        })
    }

    /// The target is the server of one connection, which stays open when all has been said but the closes.
    pub fn hold(&self, dialog: &Dialog) -> Result<Held> {
        let address = self.place.address(Side::Server);
        let mut order = self.actor.order(&Order::Serve(address, Manner::Usual, vec![dialog.clone()]))?;
        let address = order.address()?;
        let stream = self.near(|| TcpStream::connect(address).context("cannot connect"))?;
        let said = dialog.acts().iter().take_while(|Act(_, deed)| *deed != Deed::Close);
        let said = said.fold(Dialog::default(), |said, Act(side, deed)| said.act(*side, deed.clone()));
        said.play(stream.try_clone().context("cannot duplicate a socket")?, Side::Client)?;
        Ok(Held { stream, order })
    }

    /// The target is the client of a server at `address`.
    pub fn called(&self, dialogs: &[Dialog], address: SocketAddr, manner: Manner) -> Result<()> {
        thread::scope(|scope| {
            let playing: Vec<_> = dialogs
                .iter()
                .map(|dialog| {
                    scope.spawn(move || -> Result<()> {
                        let listener = self.near(|| actor::listening(address, manner))?;
                        let address = listener.local_addr().context("cannot read the port")?;
                        let calling = self.actor.order(&Order::Call(address, manner, dialog.clone()))?;
                        let served = actor::serve(&listener, std::slice::from_ref(dialog));
                        calling.wait().and(served)
                    })
                })
                .collect();
            playing
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
        })
    }

    /// Plays and compares.
    pub fn check(&self, cases: Vec<Case>) -> Result<Metrics> {
        self.play(cases, Manner::Usual)?.wait(&self.agent)
    }

    /// Waits until the metrics tell this, and nothing else beside it.
    pub fn expect(&self, expected: Expected) -> Result<Metrics> {
        expected.wait(&self.agent)
    }

    /// Ends the agent; that it panicked is an error.
    pub fn end(self) -> Result<()> {
        self.agent.stop().map(drop)
    }
}

/// A connection that stays open.
#[derive(Debug)]
pub struct Held {
    stream: TcpStream,
    order: Ordered,
}

impl Held {
    /// Closes it from the test's end.
    pub fn close(self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write).context("cannot close")?;
        self.order.wait()
    }
}

/// Plays `cases` on a stage of their own and compares.
pub fn check(cases: Vec<Case>) -> Result<()> {
    let stage = Stage::create()?;
    stage.check(cases)?;
    stage.end()
}
