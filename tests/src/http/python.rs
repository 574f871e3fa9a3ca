//! Python with the packages that the fixtures import, as `cargo xtask setup --tests` installs them.
//! `OBSERVER_PYTHON_PACKAGES` names their folder; without it, the one in the workspace's target folder.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Where the packages of `tests/fixtures/http/requirements.txt` are, for `PYTHONPATH`.
pub fn packages() -> Result<OsString> {
    let folder = match env::var_os("OBSERVER_PYTHON_PACKAGES") {
        Some(named) => PathBuf::from(named),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python"),
    };
    let found = folder.canonicalize().with_context(|| {
        format!("no Python packages at {}; install them with `cargo xtask setup --tests`", folder.display())
    })?;
    Ok(found.into_os_string())
}
