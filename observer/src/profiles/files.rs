//! Reading profiles: those that are compiled in, and the operator's own files, which replace or extend them.
//! Errors name file, line, column and key, as the configuration's do.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::de::{DeTable, DeValue};

use super::{
    Profile,
    check::{Mistake, check},
};
use crate::place::{Place, key_at};

/// Why there are no profiles.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// A file or folder was not read.
    #[error("cannot read the profile {}: {source}; `profiles.files` names files and folders", path.display())]
    Unreadable {
        /// As the configuration names it, or a file below that.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and is no profile.
    #[error("{place}{message}")]
    Invalid {
        /// Where in the file.
        place: Place,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// The globs of all profiles together are too much.
    #[error("the images of all profiles together cannot be compared: {0}")]
    Images(#[from] globset::Error),
}

/// The names of these profiles, for messages.
pub(super) fn names(profiles: &[Arc<Profile>]) -> String {
    profiles.iter().map(|profile| profile.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Adds the profiles of these files, and of the `.toml` files of these folders in the order of their names.
pub(super) fn add_all(profiles: &mut Vec<Arc<Profile>>, paths: &[PathBuf]) -> Result<(), ProfileError> {
    for path in paths {
        let unreadable = |source| ProfileError::Unreadable { path: path.clone(), source };
        if path.is_dir() {
            let entries = fs::read_dir(path).map_err(unreadable)?;
            let entries: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
            let mut files = entries.map_err(unreadable)?;
            files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
            files.sort();
            files.iter().try_for_each(|file| add_file(profiles, file))?;
        } else {
            add_file(profiles, path)?;
        }
    }
    Ok(())
}

fn add_file(profiles: &mut Vec<Arc<Profile>>, file: &Path) -> Result<(), ProfileError> {
    let unreadable = |source| ProfileError::Unreadable { path: file.to_owned(), source };
    let text = fs::read_to_string(file).map_err(unreadable)?;
    add(profiles, &text, file)
}

/// Adds the profile of a file's text in the place of the one with its name, else at the end; `file` is only named in
/// errors.
pub(super) fn add(profiles: &mut Vec<Arc<Profile>>, text: &str, file: &Path) -> Result<(), ProfileError> {
    let mut profile: Profile = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        // A file with a syntax error has no keys.
        let key = DeTable::parse(text).ok().and_then(|document| key_at(document.get_ref(), &span));
        let message = error.message().trim_end().to_owned();
        ProfileError::Invalid { place: Place::new(file, text, &span, key), message }
    })?;
    let refuse = |mistake: Mistake| {
        let span = place_of(text, &mistake).unwrap_or(0..0);
        let place = Place::new(file, text, &span, Some(mistake.key.to_owned()));
        ProfileError::Invalid { place, message: mistake.message }
    };
    check(&profile).map_err(refuse)?;
    let known = profiles.iter().position(|known| known.name == profile.name);
    if let Some(name) = &profile.extends {
        let base = profiles.iter().find(|known| known.name == *name);
        let unknown = || {
            let message =
                format!("there is no profile `{name}` to extend; the profiles are {}", names(profiles));
            refuse(Mistake { key: "extends", index: None, message })
        };
        let base = base.ok_or_else(unknown)?;
        if profile.name == base.name {
            take_over(&mut profile, base);
        }
        profile.base = Some(Arc::clone(base));
    }
    if profile.title.is_empty() {
        profile.title.clone_from(&profile.name);
    }
    match known.and_then(|known| profiles.get_mut(known)) {
        Some(place) => *place = Arc::new(profile),
        None => profiles.push(Arc::new(profile)),
    }
    Ok(())
}

/// How an app is recognised and called stays as it was where the file that extends it does not say.
fn take_over(profile: &mut Profile, base: &Profile) {
    if profile.title.is_empty() {
        profile.title.clone_from(&base.title);
    }
    if profile.images.is_empty() {
        profile.images.clone_from(&base.images);
    }
    if profile.detect.is_none() {
        profile.detect.clone_from(&base.detect);
    }
}

/// Where the value of a key stands, or the entry of this index in it.
fn place_of(text: &str, mistake: &Mistake) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let mut keys = mistake.key.split('.');
    let mut value = document.get_ref().get(keys.next()?)?;
    if let (Some(index), DeValue::Array(entries)) = (mistake.index, value.get_ref()) {
        value = entries.get(index)?;
    }
    for key in keys {
        value = value.get_ref().as_table()?.get(key)?;
    }
    Some(value.span())
}
