//! Which selector a cgroup belongs to, and under which labels. Pure: what sources have said comes in, a match goes out.
//! The first selector in the operator's order wins.

use std::path::Path;

use super::{
    Identity, Info, Labels,
    knowledge::Knowledge,
    selector::{Matcher, Selector, UnknownProfile},
    source::{Kind, Place, Workload},
    sources::names,
};
use crate::profiles::Profiles;

/// Index of a selector in the operator's order.
pub(super) type SelectorIndex = usize;

/// A cgroup that is to be observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// Because of which selector; the implicit one has index 0.
    pub(super) selector: SelectorIndex,
    /// What it is told apart by.
    pub(super) identity: Identity,
    /// What its series are labelled with.
    pub(super) labels: Labels,
    /// What else is known of it.
    pub(super) info: Info,
}

/// The operator's selectors.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    selectors: Vec<Selector>,
    profiles: Profiles,
    /// Those that compare what sources say, rather than leaving it to a source.
    by_glob: Vec<SelectorIndex>,
}

impl Rules {
    pub(super) fn new(selectors: Vec<Selector>, profiles: Profiles) -> Result<Self, UnknownProfile> {
        selectors.iter().try_for_each(|selector| selector.check(&profiles))?;
        let is_glob = |selector: &Selector| {
            matches!(selector.matcher, Matcher::Container(_) | Matcher::Image(_) | Matcher::Unit(_))
        };
        let by_glob = (0..selectors.len()).filter(|index| is_glob(&selectors[*index])).collect();
        Ok(Self { selectors, profiles, by_glob })
    }

    /// What is known of apps.
    pub(super) fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// The operator's selectors; empty means every container whose image matches a profile.
    pub(super) fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// How the selector of this index is written in messages.
    pub(super) fn name(&self, selector: SelectorIndex) -> &str {
        self.selectors.get(selector).map_or("image of a known app", Selector::text)
    }

    /// Whether a selector matches a workload.
    fn is_meant(&self, selector: SelectorIndex, workload: &Workload) -> bool {
        match self.selectors.get(selector).map(|it| &it.matcher) {
            Some(Matcher::Container(glob)) => {
                workload.kind == Kind::Container && glob.is_match(&workload.name)
            }
            Some(Matcher::Image(glob)) => {
                workload.kind == Kind::Container && glob.is_match(&workload.info.image)
            }
            Some(Matcher::Unit(glob)) => workload.kind == Kind::Unit && glob.is_match(&workload.name),
            Some(_) => workload.claims.contains(&selector),
            None => {
                workload.kind == Kind::Container && self.profiles.for_image(&workload.info.image).is_some()
            }
        }
    }

    /// All selectors that match this cgroup, in ascending order; the first is the one that counts.
    pub(super) fn matching(&self, cgroup: &Path, knowledge: &Knowledge) -> Vec<SelectorIndex> {
        if self.selectors.is_empty() {
            let known = knowledge.at(cgroup).any(|(_, workload)| self.is_meant(0, workload));
            return if known { vec![0] } else { Vec::new() };
        }
        let mut found: Vec<SelectorIndex> = Vec::new();
        for (_, workload) in knowledge.at(cgroup) {
            found.extend(self.by_glob.iter().filter(|index| self.is_meant(**index, workload)));
            found.extend(&workload.claims);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Labels and metadata of a cgroup that this selector matches.
    pub(super) fn describe(&self, selector: SelectorIndex, cgroup: &Path, knowledge: &Knowledge) -> Match {
        let chosen = self.selectors.get(selector);
        let container = knowledge.container(cgroup);
        let meant = knowledge.at(cgroup).find(|(_, workload)| self.is_meant(selector, workload));
        let unit = names::unit_of_cgroup(cgroup);
        // A `cgroup:` selector attaches before its container may be known, so it cannot be named after it.
        let by_path = matches!(chosen.map(|it| &it.matcher), Some(Matcher::Cgroup(_)));
        let by_unit = matches!(chosen.map(|it| &it.matcher), Some(Matcher::Unit(_)));
        // Processes are called what their container is.
        let naming = if by_path || by_unit { meant } else { container.or(meant) };
        let last =
            || cgroup.file_name().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned());
        let name = match naming {
            Some((_, workload)) if workload.kind != Kind::Plain => workload.name.clone(),
            _ => unit.filter(|_| !by_path).map_or_else(last, str::to_owned),
        };
        let identity = match naming {
            Some((source, Workload { id, place: Place::NamedById { .. } | Place::Cgroup(_), .. })) => {
                Identity { source: knowledge.name(source), id: id.clone() }
            }
            _ => Identity { source: "proc", id: cgroup.display().to_string() },
        };
        let forced = chosen.and_then(|it| it.app.clone());
        let by_image = || {
            let image = container.filter(|_| !by_path).map(|(_, it)| &it.info.image)?;
            Some(self.profiles.for_image(image)?.name.clone())
        };
        let by_process = || knowledge.apps.get(cgroup).cloned();
        let app = forced.or_else(by_image).or_else(by_process).unwrap_or_default();
        let mut info = container.or(naming).map(|(_, workload)| workload.info.clone()).unwrap_or_default();
        if let Some(unit) = unit {
            unit.clone_into(&mut info.unit);
            if info.runtime.is_empty() {
                "systemd".clone_into(&mut info.runtime);
            }
        }
        Match { selector, identity, labels: Labels { container: name, app }, info }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn rules(selectors: &[&str]) -> Rules {
        let selectors = selectors.iter().map(|text| text.parse().unwrap()).collect();
        Rules::new(selectors, Profiles::compiled_in().unwrap()).unwrap()
    }

    fn container(image: &str) -> Workload {
        let info = Info { image: image.to_owned(), runtime: "docker".to_owned(), ..Info::default() };
        let (id, name) = (ID.to_owned(), "web".to_owned());
        Workload { id, name, kind: Kind::Container, info, ..Workload::default() }
    }

    fn plain(path: &str, claims: &[SelectorIndex]) -> Workload {
        let place = Place::Cgroup(path.into());
        Workload { id: path.to_owned(), place, claims: claims.to_vec(), ..Workload::default() }
    }

    fn unit(path: &str, name: &str) -> Workload {
        Workload { kind: Kind::Unit, name: name.to_owned(), ..plain(path, &[]) }
    }

    /// What three sources tell: containers, units, and the rest.
    fn knowledge(told: &[(usize, Workload)]) -> Knowledge {
        let mut knowledge = Knowledge::new(["docker", "systemd", "proc"]);
        for (source, workload) in told {
            knowledge.insert(*source, workload.clone());
        }
        let cgroup = crate::cgroup::Cgroup { path: PathBuf::from(format!("/docker/{ID}")), id: 1 };
        knowledge.place_all(&[cgroup], Path::new("/nowhere"));
        knowledge
    }

    fn first(rules: &Rules, cgroup: &str, knowledge: &Knowledge) -> Option<(SelectorIndex, String, String)> {
        let selector = *rules.matching(Path::new(cgroup), knowledge).first()?;
        let found = rules.describe(selector, Path::new(cgroup), knowledge);
        Some((found.selector, found.labels.container, found.labels.app))
    }

    fn named(selector: usize, container: &str, app: &str) -> (SelectorIndex, String, String) {
        (selector, container.to_owned(), app.to_owned())
    }

    #[test]
    fn without_a_selector_known_images_are_observed() {
        let path = format!("/docker/{ID}");
        let known = knowledge(&[(0, container("lobehub/lobe-chat:1.2"))]);
        assert_eq!(first(&rules(&[]), &path, &known), Some(named(0, "web", "lobechat")));
        assert_eq!(first(&rules(&[]), &path, &knowledge(&[(0, container("postgres:17"))])), None);
        assert_eq!(first(&rules(&[]), "/system.slice/chat.service", &known), None);
    }

    #[test]
    fn the_first_selector_in_order_wins() {
        let path = format!("/docker/{ID}");
        let container = (0, container("lobehub/lobe-chat:1.2"));
        let both = rules(&["unit:x.service", "image:*lobe*,app=ollama", "cgroup:/x", "container:w*"]);
        let known = knowledge(&[container.clone(), (2, plain(&path, &[2]))]);
        assert_eq!(both.matching(Path::new(&path), &known), [1, 2, 3]);
        assert_eq!(first(&both, &path, &known), Some(named(1, "web", "ollama")));
        let by_path = rules(&["cgroup:/x", "container:w*"]);
        let known = knowledge(&[container, (2, plain(&path, &[0]))]);
        assert_eq!(first(&by_path, &path, &known), Some(named(0, ID, "")));
    }

    #[test]
    fn units_and_paths_are_named_by_their_last_component() {
        let path = "/system.slice/chat.service";
        let known =
            knowledge(&[(1, unit(path, "chat.service")), (2, plain("/", &[1])), (2, plain("/a/b", &[2]))]);
        let rules = rules(&["unit:chat*", "cgroup:/", "cgroup:/a/b,app=vllm"]);
        assert_eq!(first(&rules, path, &known), Some(named(0, "chat.service", "")));
        assert_eq!(first(&rules, "/system.slice/chat.service/workers", &known), None);
        assert_eq!(first(&rules, "/", &known), Some(named(1, "/", "")));
        assert_eq!(first(&rules, "/a/b", &known), Some(named(2, "b", "vllm")));
        let found = rules.describe(0, Path::new(path), &known);
        assert_eq!((found.info.runtime.as_str(), found.info.unit.as_str()), ("systemd", "chat.service"));
        assert_eq!((found.identity.source, found.identity.id.as_str()), ("systemd", path));
    }

    #[test]
    fn a_process_is_observed_through_its_container_then_its_unit_then_its_cgroup() {
        let around = |path: &str, selector| Workload {
            id: format!("process:{path}"),
            place: Place::Around(path.into()),
            ..plain(path, &[selector])
        };
        let path = format!("/docker/{ID}");
        let known = knowledge(&[
            (0, container("lobehub/lobe-chat:1.2")),
            (2, around(&format!("{path}/init.scope"), 0)),
            (2, around("/x/chat.service/workers", 1)),
            (2, around("/plain/group", 1)),
        ]);
        let rules = rules(&["port:3210", "exe:node"]);
        assert_eq!(first(&rules, &path, &known), Some(named(0, "web", "lobechat")));
        assert_eq!(first(&rules, "/x/chat.service", &known), Some(named(1, "chat.service", "")));
        assert_eq!(first(&rules, "/plain/group", &known), Some(named(1, "group", "")));
        let identity = |path: &str, selector| rules.describe(selector, Path::new(path), &known).identity;
        assert_eq!(identity(&path, 0), Identity { source: "docker", id: ID.to_owned() });
        assert_eq!(identity("/plain/group", 1), Identity { source: "proc", id: "/plain/group".to_owned() });
    }

    #[test]
    fn what_processes_tell_comes_after_selector_and_image() {
        let path = format!("/docker/{ID}");
        let mut known = knowledge(&[
            (0, container("lobehub/lobe-chat:1.2")),
            (2, plain("/a/b", &[1])),
            (2, plain("/a/c", &[2])),
        ]);
        for path in [path.as_str(), "/a/b", "/a/c"] {
            known.apps.insert(PathBuf::from(path), "ollama".to_owned());
        }
        let rules = rules(&["container:web", "cgroup:/a/b", "cgroup:/a/c,app=vllm"]);
        assert_eq!(first(&rules, &path, &known), Some(named(0, "web", "lobechat")));
        assert_eq!(first(&rules, "/a/b", &known), Some(named(1, "b", "ollama")));
        assert_eq!(first(&rules, "/a/c", &known), Some(named(2, "c", "vllm")));
    }

    #[test]
    fn an_unknown_profile_is_refused() {
        let selectors = vec!["pid:1,app=none".parse().unwrap()];
        assert!(Rules::new(selectors, Profiles::compiled_in().unwrap()).is_err());
    }
}
