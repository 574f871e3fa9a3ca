//! `observer targets`: what would be observed and why, as text. It asks the same sources as the inventory does and
//! attaches to nothing.

use std::{
    fmt::{self, Write as _},
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use tokio::time::timeout_at;

use super::{
    Attacher, Cgroup, Settings, TargetId,
    feeds::Feeds,
    matching::{Match, SelectorIndex},
    selector::Matcher,
    source::Change,
    sources::{names::id_of_cgroup, near},
    table::Table,
    world::{Survey, World},
};

/// How long the sources have for their first answer, and again for what follows from it.
const ANSWER: Duration = Duration::from_secs(6);

/// Attaches to nothing, so that the rules of the table apply as they would.
struct Nothing;

impl Attacher for Nothing {
    type Attachment = ();

    fn attach(&self, _: TargetId, _: &Cgroup) -> anyhow::Result<()> {
        Ok(())
    }

    fn forget(&self, _: TargetId) {}
}

/// Looks at everything once. An error is one that would keep the agent from starting: no cgroup v2, or a selector with
/// a profile that there is none of.
///
/// `remarks` says what else there is to say of a target with these processes, a line each.
pub async fn explain(settings: Settings, remarks: impl Fn(&[u32]) -> Vec<String>) -> anyhow::Result<String> {
    let (mut world, sources) = World::new(&settings)?;
    let all = vec![true; sources.len()];
    let mut feeds = Feeds::start(sources);
    listen(&mut world, &mut feeds, |feeds, _| feeds.answered(&all)).await;
    let mut survey = world.survey(Instant::now());
    if !survey.questions.is_empty() {
        let asked = survey.questions.len();
        for (source, question) in std::mem::take(&mut survey.questions) {
            feeds.ask(source, question);
        }
        listen(&mut world, &mut feeds, |_, heard| heard >= asked).await;
        survey = world.survey(Instant::now());
    }
    let docker = docker(&settings, &world, &feeds);
    let mut text = format!("cgroup v2 at {}\n{docker}\n", world.hierarchy().mount_point().display());
    render(&mut text, &world, survey, &settings.proc_root, remarks)?;
    Ok(text)
}

/// Learns what the sources say until `enough`, which gets the number of changes so far, or until they take too long.
async fn listen(world: &mut World, feeds: &mut Feeds, enough: impl Fn(&Feeds, usize) -> bool) {
    let deadline = tokio::time::Instant::now() + ANSWER;
    let mut heard = 0;
    while !enough(feeds, heard) {
        if timeout_at(deadline, feeds.wait()).await.is_err() {
            return;
        }
        feeds.turn(|source, change| {
            heard += usize::from(!matches!(change, Change::Snapshot(_)));
            world.learn(source, change);
        });
    }
}

/// The line that tells of Docker.
fn docker(settings: &Settings, world: &World, feeds: &Feeds) -> String {
    let Some(socket) = &settings.docker_socket else {
        return "Docker is not asked: no socket is configured".to_owned();
    };
    let state = feeds.reasons().enumerate().find(|(_, (name, _))| *name == "docker");
    match state {
        Some((source, (_, None))) => {
            format!("Docker at {}: {} containers", socket.display(), world.workloads(source))
        }
        Some((_, (_, Some(reason)))) => format!("{reason}: containers have no names and images"),
        None => format!("Docker at {} does not answer", socket.display()),
    }
}

fn render(
    text: &mut String,
    world: &World,
    survey: Survey,
    proc_root: &Path,
    remarks: impl Fn(&[u32]) -> Vec<String>,
) -> fmt::Result {
    let mut table = Table::new(Nothing, world.hierarchy().clone(), Duration::ZERO);
    for refusal in &survey.refused {
        table.refuse(refusal.selector, &refusal.path, refusal.reason.clone());
    }
    let matched = survey.matched.clone();
    table.reconcile(survey.matched, Instant::now());
    let selectors = world.rules().selectors().len().max(1);
    for selector in 0..selectors {
        writeln!(text, "\n{}", world.rules().name(selector))?;
        let before = text.len();
        for (cgroup, found) in matched.iter().filter(|(_, found)| found.selector == selector) {
            if table.instances().contains_key(&cgroup.path) {
                observed(text, cgroup, found)?;
                for line in remarks(&world.hierarchy().processes(&cgroup.path)) {
                    writeln!(text, "    {line}")?;
                }
            }
        }
        for (_, cgroup) in survey.passed_over.iter().filter(|(index, _)| *index == selector) {
            passed_over(text, world, cgroup, &matched)?;
        }
        for ((_, path), failure) in table.failures().iter().filter(|((index, _), _)| *index == selector) {
            writeln!(text, "  failed: {}: {}", path.display(), failure.reason)?;
        }
        if text.len() == before {
            let compared = world.rules().selectors().get(selector).map(|it| &it.matcher);
            let hint = compared.and_then(|compared| hint(compared, world, proc_root)).unwrap_or_default();
            writeln!(text, "  waiting: nothing matches now{hint}")?;
        }
    }
    Ok(())
}

/// Why it may be that a selector matches nothing.
fn hint(matcher: &Matcher, world: &World, proc_root: &Path) -> Option<String> {
    let refused = |result: io::Result<()>| {
        let refused = result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        let hint =
            "; this user may not look into the processes of others, so that there may be one: ask as root";
        refused.then(|| hint.to_owned())
    };
    let init = proc_root.join("1");
    match matcher {
        Matcher::Port(_) => refused(fs::read_dir(init.join("fd")).map(drop)),
        Matcher::Exe(_) => refused(fs::read_link(init.join("exe")).map(drop)),
        Matcher::Cgroup(path) => Some(format!("; {}", near(world.hierarchy(), path))),
        _ => None,
    }
}

fn observed(text: &mut String, cgroup: &Cgroup, found: &Match) -> fmt::Result {
    write!(text, "  {}", found.labels.container)?;
    if !found.labels.app.is_empty() {
        write!(text, " (app {})", found.labels.app)?;
    }
    write!(text, " in {}", shortened(&cgroup.path))?;
    if !found.info.image.is_empty() {
        write!(text, ", image {}", found.info.image)?;
    }
    writeln!(text)
}

fn passed_over(
    text: &mut String,
    world: &World,
    cgroup: &Cgroup,
    matched: &[(Cgroup, Match)],
) -> fmt::Result {
    let winner: Option<SelectorIndex> =
        matched.iter().find(|(other, _)| other == cgroup).map(|(_, found)| found.selector);
    let winner = winner.map_or("another selector", |index| world.rules().name(index));
    writeln!(text, "  {} belongs to {winner}, which stands before", shortened(&cgroup.path))
}

/// A container's id is cut to the 12 digits that people know it by.
fn shortened(path: &Path) -> String {
    let text = path.display().to_string();
    match id_of_cgroup(path) {
        Some(id) => text.replace(id, &id.chars().take(12).collect::<String>()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::fixture::Host;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn settings(host: &Host, selectors: &[&str]) -> Settings {
        Settings {
            selectors: selectors.iter().map(|text| text.parse().unwrap()).collect(),
            docker_socket: None,
            proc_root: host.proc_root(),
            ..Settings::default()
        }
    }

    #[tokio::test]
    async fn every_outcome_is_told_with_its_reason() {
        let host = Host::new();
        host.cgroup("/system.slice/chat.service");
        host.cgroup("/system.slice/chat.service/workers");
        host.cgroup(&format!("/docker/{ID}"));
        host.process(5, b"0::/\n");
        let by_path = format!("cgroup:/docker/{ID}");
        let selectors = [
            "unit:chat*,app=lobechat",
            "cgroup:/system.slice/chat.service",
            "cgroup:/system.slice/chat.service/workers",
            &by_path,
            "pid:5",
            "port:3210",
        ];
        let text = explain(settings(&host, &selectors), |_| Vec::new()).await.unwrap();
        let expected = format!(
            "cgroup v2 at {}\n\
             Docker is not asked: no socket is configured\n\
             \n\
             unit:chat*,app=lobechat\n  chat.service (app lobechat) in /system.slice/chat.service\n\
             \n\
             cgroup:/system.slice/chat.service\n  /system.slice/chat.service belongs to unit:chat*,app=lobechat, which stands before\n\
             \n\
             cgroup:/system.slice/chat.service/workers\n  workers in /system.slice/chat.service/workers\n\
             \n\
             {by_path}\n  {ID} in /docker/0123456789ab\n\
             \n\
             pid:5\n  failed: /: process 5 is in the root cgroup, and attaching there would observe the whole host; start it in a cgroup of its own (`systemd-run --scope COMMAND`), or give `cgroup:/` to observe the host\n\
             \n\
             port:3210\n  waiting: nothing matches now\n",
            host.cgroup_root().display()
        );
        assert_eq!(text, expected);
    }

    #[tokio::test]
    async fn an_unreachable_docker_is_a_line_and_not_an_error() {
        let host = Host::new();
        let docker_socket = Some(host.proc_root().join("docker.sock"));
        let text = explain(Settings { docker_socket, ..settings(&host, &[]) }, |_| Vec::new()).await.unwrap();
        assert!(text.contains("docker.sock cannot be reached ("), "{text}");
        assert!(text.ends_with("\nimage of a known app\n  waiting: nothing matches now\n"), "{text}");
    }

    #[tokio::test]
    async fn what_would_keep_the_agent_from_starting_is_an_error() {
        let host = Host::new();
        let error = explain(settings(&host, &["pid:1,app=nobody"]), |_| Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("there is no profile `nobody`"), "{error}");
        fs::write(host.proc_root().join("self/mountinfo"), "").unwrap();
        let error = explain(settings(&host, &[]), |_| Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("no cgroup v2"), "{error}");
    }
}
