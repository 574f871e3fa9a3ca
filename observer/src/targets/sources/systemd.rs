//! systemd's units, by their cgroups: the source of `unit:` selectors.
//! A unit's cgroup has the unit's name, so that nobody has to be asked; its path tells it from one of another user.

use std::{io, path::Path, time::Duration};

use futures_util::future::BoxFuture;
use globset::GlobMatcher;
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{self, MissedTickBehavior},
};

use super::names::unit_of_cgroup;
use crate::{
    cgroup::{Cgroup, Hierarchy},
    targets::{
        Info, Settings,
        selector::Matcher,
        source::{Change, Changes, Kind, Place, Question, Source, Workload},
    },
};

/// Units that some selector names.
pub(super) struct Systemd {
    hierarchy: Hierarchy,
    rescan: Duration,
    globs: Vec<GlobMatcher>,
}

impl Systemd {
    /// `None` where no selector is about units.
    pub(super) fn new(settings: &Settings, hierarchy: &Hierarchy) -> Option<Self> {
        let glob = |matcher: &Matcher| match matcher {
            Matcher::Unit(glob) => Some(glob.clone()),
            _ => None,
        };
        let globs: Vec<_> =
            settings.selectors.iter().filter_map(|selector| glob(&selector.matcher)).collect();
        let (hierarchy, rescan) = (hierarchy.clone(), settings.rescan);
        (!globs.is_empty()).then_some(Self { hierarchy, rescan, globs })
    }

    /// The unit whose own cgroup this is, where a selector names it.
    fn unit(&self, cgroup: &Path) -> Option<Workload> {
        let name = unit_of_cgroup(cgroup).filter(|name| self.globs.iter().any(|glob| glob.is_match(name)))?;
        let info = Info { runtime: "systemd".to_owned(), unit: name.to_owned(), ..Info::default() };
        Some(Workload {
            id: cgroup.display().to_string(),
            place: Place::Cgroup(cgroup.to_owned()),
            kind: Kind::Unit,
            name: name.to_owned(),
            running: true,
            info,
            claims: Vec::new(),
        })
    }

    fn all(&self) -> io::Result<Vec<Workload>> {
        let cgroups = self.hierarchy.walk()?;
        Ok(cgroups.iter().filter_map(|cgroup: &Cgroup| self.unit(&cgroup.path)).collect())
    }
}

impl Source for Systemd {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn tells_containers(&self) -> bool {
        false
    }

    fn run(
        self: Box<Self>,
        changes: Changes,
        mut questions: mpsc::Receiver<Question>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut looks = time::interval(self.rescan);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut this = self;
            loop {
                let sent = tokio::select! {
                                   question = questions.recv() => match question {
                                       Some(Question::WhatIs(cgroup)) => match this.unit(&cgroup.path) {
                                           Some(unit) => changes.send(Change::Upsert(unit)).await,
                                           None => Ok(()),
                                       },
                                       Some(Question::WhereIs(_)) => Ok(()),
                                       Some(Question::LookAgain) => {
                                           looks.reset_immediately();
                                           Ok(())
                                       }
                                       None => return,
                                   },
                                   _ = looks.tick() => {
                                       let looking = spawn_blocking(move || (this.all(), this));
                                       let Ok((units, back)) = looking.await else { return };
                                       this = back;
                                       match units {
                                           Ok(units) => changes.send(Change::Snapshot(units)).await,
                                           Err(error) => {
                let reason = format!("the cgroups cannot be listed: {error}");
                changes.send(Change::Unreachable(reason)).await },
                                       }
                                   }
                               };
                if sent.is_err() {
                    return;
                }
            }
        })
    }
}
