//! What an app's processes are called where general words would not say it: `inference worker` for `python worker`.
//! Which process is which part is told by collectors/process/parts.rs; a profile only names the parts.

use serde::Deserialize;

use super::{Profiles, check::Mistake};

/// Longest name, in bytes, as of any role.
const LONGEST: usize = 40;

/// Names of the parts of a Python program of several processes; a part without one keeps its general role.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ProcessNames {
    /// The process that starts the others.
    pub main: Option<String>,
    /// Those that accept connections on a socket that the main process has opened.
    pub http_server: Option<String>,
    /// Those that `multiprocessing` has spawned and that do not serve.
    pub worker: Option<String>,
    /// The process of a `multiprocessing.Manager`.
    pub manager: Option<String>,
}

impl ProcessNames {
    /// The first name that is none.
    pub(super) fn check(&self) -> Result<(), Mistake> {
        let names = [
            ("processes.main", &self.main),
            ("processes.http_server", &self.http_server),
            ("processes.worker", &self.worker),
            ("processes.manager", &self.manager),
        ];
        let known = names.into_iter().filter_map(|(key, name)| Some((key, name.as_ref()?)));
        for (key, name) in known {
            let letters =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b" -_.".contains(&byte);
            if name.is_empty() || name.len() > LONGEST || name == "other" || !name.bytes().all(letters) {
                let message = format!(
                    "`{name}` is no name of a process: up to {LONGEST} lower-case letters, digits and ` -_.`, as in \
                     \"inference worker\", but not \"other\""
                );
                return Err(Mistake { key, index: None, message });
            }
        }
        Ok(())
    }
}

impl Profiles {
    /// What the processes of a target with this `app` label are called: its profile's names, or those of the nearest
    /// profile it extends.
    pub fn process_names(&self, app: &str) -> Option<&ProcessNames> {
        self.for_app(app)?.layers().find_map(|layer| layer.processes.as_ref())
    }
}
