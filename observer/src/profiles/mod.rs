//! What is known of each app: one TOML file per app, compiled in, and the operator's own files over them.
//! [`Profile`] is the schema. A profile is chosen by `,app=`, else by image, else by what a process runs.

mod check;
pub mod events;
mod files;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod method;
pub mod pattern;
mod process_names;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};
use serde::Deserialize;

pub use self::files::ProfileError;
use self::{
    events::{Event, Outcomes},
    pattern::Pattern,
};
pub use self::{method::Method, process_names::ProcessNames};

/// Name of the profile of everything that has no other.
const GENERIC: &str = "generic";

/// Name of each profile's file and its text.
const COMPILED_IN: [(&str, &str); 9] = [
    ("lobechat", include_str!("lobechat.toml")),
    ("anythingllm", include_str!("anythingllm.toml")),
    ("openwebui", include_str!("openwebui.toml")),
    ("librechat", include_str!("librechat.toml")),
    ("litserve", include_str!("litserve.toml")),
    ("ollama", include_str!("ollama.toml")),
    ("vllm", include_str!("vllm.toml")),
    ("litellm", include_str!("litellm.toml")),
    (GENERIC, include_str!("generic.toml")),
];

/// One app: a TOML file.
///
/// ```toml
/// name = "mychat"
/// extends = "lobechat"                  # its routes are asked after these
/// images = ["acme/mychat{,-dev}"]
/// id_prefixes = ["note"]                # note_V7aK2mPx is an id
/// static_folders = ["/themes"]
///
/// [detect]                              # where no image tells: all that is given must hold
/// exe = "node"
/// cwd = "/app"
/// ports = [3210]
///
/// [processes]                           # roles of its Python processes
/// worker = "inference worker"
///
/// [outcomes]
/// 471 = "server_error"
///
/// [[routes]]
/// method = "POST"
/// path = "/api/notes/{note}/ask"
/// event = "chat_turn"
/// stream = true
/// self_calls = true                     # also where the container calls itself
///
/// [[trpc]]
/// path = "/trpc/{lambda|edge}"
/// procedures = ["note.getNotes"]
/// events.conversation_created = ["note.createNote"]
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Value of the `app` label: lower-case letters and digits.
    pub name: String,
    /// The name as the app's makers write it; the same as `name` where it is left out.
    #[serde(default)]
    pub title: String,
    /// A profile whose routes, static folders, id prefixes and outcomes hold too, behind those given here. With its own
    /// name, a file extends the profile that it replaces, and takes over its images and `detect` where it gives none.
    pub extends: Option<String>,
    /// Globs for the image's repository, without registry host, tag and digest. Each also matches below any
    /// folder, so that a mirror (`registry.example/mirror/ollama/ollama`) is recognised too.
    #[serde(default)]
    pub images: Vec<String>,
    /// How a process of the app is recognised where no image tells.
    pub detect: Option<Detect>,
    /// What its processes are called; those of the profile it extends where it is left out.
    pub processes: Option<ProcessNames>,
    /// What stands before the `_` of the app's ids.
    #[serde(default)]
    pub id_prefixes: Vec<String>,
    /// Folders of files, each one route.
    #[serde(default)]
    pub static_folders: Vec<Pattern>,
    /// What the app's own status codes mean, by code.
    #[serde(default)]
    pub outcomes: Outcomes,
    /// Routes. The most specific one counts (text before a placeholder before `**`), whatever their order.
    #[serde(default)]
    pub routes: Vec<RouteSpec>,
    /// tRPC endpoints.
    #[serde(default)]
    pub trpc: Vec<Trpc>,
    /// What `extends` names.
    #[serde(skip)]
    pub base: Option<Arc<Self>>,
}

/// How a process is recognised: all that is given must hold.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Detect {
    /// Glob for the last component of the executable's path. Process names are no help: Next.js and Node.js 24 set
    /// their own.
    pub exe: String,
    /// Working directory, as the process sees it.
    pub cwd: Option<PathBuf>,
    /// TCP ports, one of which it listens on.
    #[serde(default)]
    pub ports: Vec<u16>,
}

/// One route.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// A registered method; any method where it is left out.
    pub method: Option<Method>,
    /// The path, which is also the label's value.
    pub path: Pattern,
    /// What a request means; needs a method, so that a browser's preflight does not count.
    pub event: Option<Event>,
    /// Whether every successful answer is a stream, whatever its head says.
    #[serde(default)]
    pub stream: bool,
    /// Whether it counts also where the target called itself: one process in the container asking another for work
    /// that users wait for.
    #[serde(default)]
    pub self_calls: bool,
}

/// A tRPC endpoint, whose last segment is a list of procedures with `,` between them.
///
/// A procedure is written as `session.createSession`, or as `async/file.parseFileToChunks` where it means something in
/// one router (the last segment of `path`) only. Lists of more than one become `{batch}`, procedures that are not
/// listed here `{other}`: the names come from the wire.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Trpc {
    /// The path above the procedures.
    pub path: Pattern,
    /// Procedures that are shown by their name and mean nothing further.
    #[serde(default)]
    pub procedures: Vec<String>,
    /// Procedures by the event that a call of them is.
    #[serde(default)]
    pub events: BTreeMap<Event, Vec<String>>,
}

/// What is known of a process that no image tells of.
#[derive(Clone, Copy, Debug)]
pub struct Process<'a> {
    /// Path of its executable.
    pub exe: &'a Path,
    /// Its working directory.
    pub cwd: &'a Path,
    /// The TCP ports that it listens on.
    pub ports: &'a [u16],
}

/// All profiles, ready to be asked.
#[derive(Clone, Debug)]
pub struct Profiles {
    all: Vec<Arc<Profile>>,
    images: GlobSet,
    /// For each glob of `images`, the index of its profile.
    owners: Vec<usize>,
    /// `detect.exe` of those that have it, with the index of its profile.
    exes: Vec<(GlobMatcher, usize)>,
}

impl Profile {
    /// This profile, what it extends, what that extends.
    pub fn layers(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |profile| profile.base.as_deref())
    }

    /// What status codes mean, with what it extends.
    pub fn all_outcomes(&self) -> Outcomes {
        self.layers().fold(Outcomes::default(), |outcomes, layer| outcomes.over(&layer.outcomes))
    }
}

impl Profiles {
    /// The profiles that are compiled in, and over them those of these files and folders. An error of the first is a
    /// mistake in the agent, of the others one of the operator.
    pub fn load(paths: &[PathBuf]) -> Result<Self, ProfileError> {
        let mut all = Vec::new();
        for (name, text) in COMPILED_IN {
            files::add(&mut all, text, Path::new(&format!("{name}.toml")))?;
        }
        // Where two profiles match an image, the operator's wins.
        let compiled_in = all.len();
        files::add_all(&mut all, paths)?;
        all.rotate_left(compiled_in);
        Ok(Self::new(all)?)
    }

    /// The profiles that are compiled in.
    pub fn compiled_in() -> Result<Self, ProfileError> {
        Self::load(&[])
    }

    /// These profiles; where two match an image, the first wins.
    fn new(profiles: Vec<Arc<Profile>>) -> Result<Self, globset::Error> {
        let mut images = GlobSetBuilder::new();
        let mut owners = Vec::new();
        let mut exes = Vec::new();
        for (index, profile) in profiles.iter().enumerate() {
            for image in &profile.images {
                images.add(glob(image)?);
                images.add(glob(&format!("*/{image}"))?);
                owners.extend([index, index]);
            }
            if let Some(detect) = &profile.detect {
                exes.push((glob(&detect.exe)?.compile_matcher(), index));
            }
        }
        Ok(Self { images: images.build()?, all: profiles, owners, exes })
    }

    /// The profile of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Profile>> {
        self.all.iter().find(|profile| profile.name == name)
    }

    /// The profile that gives a target's requests their routes, by the target's `app` label: for one without a
    /// profile, the generic one.
    pub fn for_app(&self, app: &str) -> Option<&Arc<Profile>> {
        self.get(app).or_else(|| self.get(GENERIC))
    }

    /// The profile whose app this image holds; `image` is a reference as the container runtime gives it.
    pub fn for_image(&self, image: &str) -> Option<&Arc<Profile>> {
        let globs = self.images.matches(repository(image));
        let owner = globs.into_iter().filter_map(|glob| self.owners.get(glob)).min()?;
        self.all.get(*owner)
    }

    /// Whether any profile is recognised by this executable, so that it is worth looking at what it does.
    pub fn detects(&self, exe: &Path) -> bool {
        exe.file_name().is_some_and(|program| self.exes.iter().any(|(exe, _)| exe.is_match(program)))
    }

    /// The first profile whose app this process runs.
    pub fn for_process(&self, process: Process<'_>) -> Option<&Arc<Profile>> {
        let program = process.exe.file_name()?;
        let runs = |detect: &Detect| {
            detect.cwd.as_ref().is_none_or(|cwd| cwd == process.cwd)
                && (detect.ports.is_empty() || detect.ports.iter().any(|port| process.ports.contains(port)))
        };
        let candidates = self.exes.iter().filter(|(exe, _)| exe.is_match(program));
        let mut profiles = candidates.filter_map(|(_, owner)| self.all.get(*owner));
        profiles.find(|profile| profile.detect.as_ref().is_some_and(runs))
    }

    /// All of them, in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.all.iter()
    }

    /// The names of all, for messages.
    pub fn names(&self) -> String {
        files::names(&self.all)
    }
}

/// With `{,-suffix}` for a part that may be absent.
fn glob(image: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(image).empty_alternates(true).build()
}

/// `lobehub/lobe-chat` of `docker.io/lobehub/lobe-chat:1.2@sha256:…`. The first part is a registry's host where it
/// holds a `.` or a `:` or is `localhost`, which is the rule of the Docker reference grammar.
fn repository(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => name,
    }
}

#[cfg(test)]
mod tests;
