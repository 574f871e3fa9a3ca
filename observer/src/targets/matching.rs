//! Which selector a cgroup belongs to, and under which labels. Pure: what is known of containers and processes
//! comes in, a match goes out. The first selector in the operator's order wins.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{
    Identity, Info, Labels, containers,
    containers::Container,
    selector::{Matcher, Selector, UnknownProfile},
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

/// What the sources know at this moment.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    /// Containers by their full id.
    pub(super) containers: HashMap<String, Container>,
    /// Cgroups of containers that are not named by the container's id, with that id.
    pub(super) unnamed: HashMap<PathBuf, String>,
    /// Cgroups that a `port:`, `exe:` or `pid:` selector matches, with those selectors in ascending order.
    pub(super) by_process: HashMap<PathBuf, Vec<SelectorIndex>>,
    /// Apps of cgroups that were recognised by their processes.
    pub(super) apps: HashMap<PathBuf, String>,
}

impl Knowledge {
    /// The container whose own cgroup this is.
    pub(super) fn container(&self, cgroup: &Path) -> Option<&Container> {
        let id = containers::id_of_cgroup(cgroup).or_else(|| self.unnamed.get(cgroup).map(String::as_str))?;
        self.containers.get(id)
    }

    /// The cgroup to observe for a process in `cgroup`: that of its container, else of its unit, else its own.
    pub(super) fn home<'path>(&self, cgroup: &'path Path) -> &'path Path {
        let container = cgroup.ancestors().find(|path| self.container(path).is_some());
        let unit = || cgroup.ancestors().find(|path| containers::unit_of_cgroup(path).is_some());
        container.or_else(unit).unwrap_or(cgroup)
    }
}

/// The operator's selectors, indexed so that a cgroup is matched without asking each `cgroup:` selector.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    selectors: Vec<Selector>,
    profiles: Profiles,
    by_path: HashMap<PathBuf, Vec<SelectorIndex>>,
    /// `container:`, `image:` and `unit:` selectors, which have to be tried one by one.
    by_glob: Vec<SelectorIndex>,
}

impl Rules {
    pub(super) fn new(selectors: Vec<Selector>, profiles: Profiles) -> Result<Self, UnknownProfile> {
        selectors.iter().try_for_each(|selector| selector.check(&profiles))?;
        let mut by_path: HashMap<PathBuf, Vec<SelectorIndex>> = HashMap::new();
        let mut by_glob = Vec::new();
        for (index, selector) in selectors.iter().enumerate() {
            match &selector.matcher {
                Matcher::Cgroup(path) => by_path.entry(path.clone()).or_default().push(index),
                Matcher::Container(_) | Matcher::Image(_) | Matcher::Unit(_) => by_glob.push(index),
                Matcher::Port(_) | Matcher::Exe(_) | Matcher::Pid(_) => {}
            }
        }
        Ok(Self { selectors, profiles, by_path, by_glob })
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

    /// All selectors that match this cgroup, in ascending order; the first is the one that counts.
    pub(super) fn matching(&self, cgroup: &Path, knowledge: &Knowledge) -> Vec<SelectorIndex> {
        let container = knowledge.container(cgroup);
        if self.selectors.is_empty() {
            let known = container.is_some_and(|it| self.profiles.for_image(&it.image).is_some());
            return if known { vec![0] } else { Vec::new() };
        }
        let glob_matches = |index: &SelectorIndex| match self.selectors.get(*index).map(|it| &it.matcher) {
            Some(Matcher::Container(glob)) => container.is_some_and(|it| glob.is_match(&it.name)),
            Some(Matcher::Image(glob)) => container.is_some_and(|it| glob.is_match(&it.image)),
            Some(Matcher::Unit(glob)) => {
                containers::unit_of_cgroup(cgroup).is_some_and(|unit| glob.is_match(unit))
            }
            _ => false,
        };
        let mut found: Vec<SelectorIndex> =
            self.by_glob.iter().copied().filter(|index| glob_matches(index)).collect();
        found.extend(self.by_path.get(cgroup).into_iter().flatten());
        found.extend(knowledge.by_process.get(cgroup).into_iter().flatten());
        found.sort_unstable();
        found
    }

    /// Labels and metadata of a cgroup that this selector matches.
    pub(super) fn describe(&self, selector: SelectorIndex, cgroup: &Path, knowledge: &Knowledge) -> Match {
        let chosen = self.selectors.get(selector);
        let container = knowledge.container(cgroup);
        let unit = containers::unit_of_cgroup(cgroup);
        let last =
            cgroup.file_name().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned());
        // A `cgroup:` selector attaches before its container may be known, so it cannot be named after it.
        let named_by_path = matches!(chosen.map(|it| &it.matcher), Some(Matcher::Cgroup(_)));
        let named_by_unit = matches!(chosen.map(|it| &it.matcher), Some(Matcher::Unit(_)));
        let name = match (container, unit) {
            _ if named_by_path => last,
            (Some(container), _) if !named_by_unit => container.name.clone(),
            (_, Some(unit)) => unit.to_owned(),
            _ => last,
        };
        let forced = chosen.and_then(|it| it.app.clone());
        let by_image = || {
            let image = container.filter(|_| !named_by_path).map(|it| &it.image)?;
            Some(self.profiles.for_image(image)?.name.clone())
        };
        let by_process = || knowledge.apps.get(cgroup).cloned();
        let app = forced.or_else(by_image).or_else(by_process).unwrap_or_default();
        let mut info = container.map(Container::info).unwrap_or_default();
        if let Some(unit) = unit {
            unit.clone_into(&mut info.unit);
            if info.runtime.is_empty() {
                "systemd".clone_into(&mut info.runtime);
            }
        }
        let by_path = || cgroup.display().to_string();
        let identity = match (container, unit) {
            _ if named_by_path => Identity { source: "proc", id: by_path() },
            (Some(container), _) if !named_by_unit => Identity { source: "docker", id: container.id.clone() },
            (_, Some(_)) => Identity { source: "systemd", id: by_path() },
            _ => Identity { source: "proc", id: by_path() },
        };
        Match { selector, identity, labels: Labels { container: name, app }, info }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn rules(selectors: &[&str]) -> Rules {
        let selectors = selectors.iter().map(|text| text.parse().unwrap()).collect();
        Rules::new(selectors, Profiles::compiled_in().unwrap()).unwrap()
    }

    fn knowledge() -> Knowledge {
        let container = Container {
            id: ID.to_owned(),
            name: "web".to_owned(),
            image: "lobehub/lobe-chat:1.2".to_owned(),
            runtime: "docker".to_owned(),
            ..Container::default()
        };
        Knowledge { containers: HashMap::from([(ID.to_owned(), container)]), ..Knowledge::default() }
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
        assert_eq!(first(&rules(&[]), &path, &knowledge()), Some(named(0, "web", "lobechat")));
        let mut other = knowledge();
        other.containers.get_mut(ID).unwrap().image = "postgres:17".to_owned();
        assert_eq!(first(&rules(&[]), &path, &other), None);
        assert_eq!(first(&rules(&[]), "/system.slice/chat.service", &knowledge()), None);
    }

    #[test]
    fn the_first_selector_in_order_wins() {
        let path = format!("/docker/{ID}");
        let by_path = format!("cgroup:{path}");
        let known = knowledge();
        let both = rules(&["unit:x.service", "image:*lobe*,app=ollama", &by_path, "container:w*"]);
        assert_eq!(both.matching(Path::new(&path), &known), [1, 2, 3]);
        assert_eq!(first(&both, &path, &known), Some(named(1, "web", "ollama")));
        assert_eq!(first(&rules(&[&by_path, "container:w*"]), &path, &known), Some(named(0, ID, "")));
    }

    #[test]
    fn units_and_paths_are_named_by_their_last_component() {
        let none = Knowledge::default();
        let rules = rules(&["unit:chat*", "cgroup:/", "cgroup:/a/b,app=vllm"]);
        assert_eq!(first(&rules, "/system.slice/chat.service", &none), Some(named(0, "chat.service", "")));
        assert_eq!(first(&rules, "/system.slice/chat.service/workers", &none), None);
        assert_eq!(first(&rules, "/", &none), Some(named(1, "/", "")));
        assert_eq!(first(&rules, "/a/b", &none), Some(named(2, "b", "vllm")));
        let info = rules.describe(0, Path::new("/system.slice/chat.service"), &none).info;
        assert_eq!((info.runtime.as_str(), info.unit.as_str()), ("systemd", "chat.service"));
    }

    #[test]
    fn a_process_is_observed_through_its_container_then_its_unit_then_its_cgroup() {
        let known = knowledge();
        let home = |path: &str| known.home(Path::new(path)).to_str().unwrap().to_owned();
        let container = format!("/docker/{ID}");
        assert_eq!(home(&format!("{container}/init.scope")), container);
        assert_eq!(home("/system.slice/chat.service/workers"), "/system.slice/chat.service");
        assert_eq!(home("/plain/group"), "/plain/group");
        assert_eq!(home("/"), "/");
    }

    #[test]
    fn a_process_s_target_is_named_after_its_container() {
        let mut known = knowledge();
        let path = format!("/docker/{ID}");
        known.by_process = HashMap::from([
            (PathBuf::from(&path), vec![0]),
            (PathBuf::from("/a/b"), vec![1]),
            (PathBuf::from("/x/chat.service"), vec![1]),
        ]);
        let rules = rules(&["port:3210", "exe:node"]);
        assert_eq!(first(&rules, &path, &known), Some(named(0, "web", "lobechat")));
        assert_eq!(first(&rules, "/a/b", &known), Some(named(1, "b", "")));
        assert_eq!(first(&rules, "/x/chat.service", &known), Some(named(1, "chat.service", "")));
        known.unnamed = HashMap::from([(PathBuf::from("/a/b"), ID.to_owned())]);
        assert_eq!(first(&rules, "/a/b", &known), Some(named(1, "web", "lobechat")));
    }

    #[test]
    fn what_processes_tell_comes_after_selector_and_image() {
        let mut known = knowledge();
        let path = format!("/docker/{ID}");
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
