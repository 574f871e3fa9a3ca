//! A kernel's image out of its Debian package: the newest of its version, of the flavour for virtual machines.
//! It is kept with its checksum and fetched again if it has become another.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{Kernel, folder};
use crate::{
    apt::{self, Apt, Installed, Suite},
    step,
};

/// Ends the names of the packages that are wanted.
const FLAVOUR: &str = "-cloud-amd64";

/// Begin them: before and since Debian split the package.
const BEGINNINGS: [&str; 2] = ["linux-binary-", "linux-image-"];

/// The image of `kernel`, fetched if it is not there.
pub(super) fn image(kernel: Kernel) -> Result<PathBuf> {
    let folder = folder().join(kernel.version);
    let (image, sum) = (folder.join("vmlinuz"), folder.join("vmlinuz.sha256"));
    if fs::read_to_string(&sum).is_ok_and(|sum| checksum(&image).is_ok_and(|own| own == sum.trim())) {
        return Ok(image);
    }
    fetch(kernel, &folder)?;
    fs::write(&sum, checksum(&image)?).with_context(|| format!("cannot write {}", sum.display()))?;
    Ok(image)
}

/// Fetches the package, compares it with its checksum in the signed list, and takes the image out of it.
fn fetch(kernel: Kernel, folder: &Path) -> Result<()> {
    let (main, security) = apt::archives()?;
    let source = match kernel.suite {
        Suite::Main(suite) => (main, suite.to_owned()),
        Suite::Security(suite) => (security, suite.to_owned()),
    };
    let suite = source.1.clone();
    let apt = Apt::new(folder.join("apt"), &[source], Installed::Nothing)?;
    apt.update(&suite)?;
    let prefix = |beginning: &str| format!("{beginning}{}.", kernel.version);
    let mut names = Vec::new();
    for beginning in BEGINNINGS {
        let found = apt.ask("apt-cache", &["pkgnames", &prefix(beginning)])?;
        names.extend(found.lines().filter(|name| name.ends_with(FLAVOUR)).map(str::to_owned));
        if !names.is_empty() {
            break;
        }
    }
    let name = names
        .iter()
        .max_by_key(|name| numbers(name))
        .with_context(|| format!("{suite} has no package {}*{FLAVOUR}", prefix(BEGINNINGS[1])))?;
    let listed = apt.ask("apt-cache", &["show", "--no-all-versions", name])?;
    let sum =
        listed.lines().find_map(|line| line.strip_prefix("SHA256: ")).context("no SHA256 in the list")?;

    let packages = fresh(&folder.join("package"))?;
    step::run_quietly(
        &format!("fetching {name} of {suite}"),
        apt.command("apt-get").args(["--quiet", "download", name]).current_dir(&packages),
    )?;
    let package = only_file(&packages)?;
    let own = checksum(&package)?;
    ensure!(own == sum, "{} has the checksum {own}, and the list says {sum}", package.display());
    let unpacked = fresh(&folder.join("unpacked"))?;
    apt::unpack(&package, &unpacked)?;
    let image = find_image(&unpacked)?.with_context(|| format!("{name} holds no vmlinuz"))?;
    let wanted = folder.join("vmlinuz");
    fs::rename(&image, &wanted).with_context(|| format!("cannot move {}", image.display()))?;
    for rest in [packages, unpacked] {
        fs::remove_dir_all(&rest).with_context(|| format!("cannot remove {}", rest.display()))?;
    }
    Ok(())
}

/// All numbers in a name, by which versions are ordered.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// SHA-256 of a file, by coreutils.
fn checksum(file: &Path) -> Result<String> {
    let run = Command::new("sha256sum").arg(file).output().context("cannot start sha256sum")?;
    ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr).trim());
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    Ok(text.split(' ').next().unwrap_or_default().trim_start_matches('\\').to_owned())
}

/// An empty folder.
fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.to_path_buf())
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.next().context("nothing was fetched")??.path())
}

/// The first file below `folder` that is called `vmlinuz`, whatever follows.
fn find_image(folder: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            if let Some(found) = find_image(&path)? {
                return Ok(Some(found));
            }
        } else if kind.is_file() && entry.file_name().to_string_lossy().starts_with("vmlinuz") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_names_are_greater() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
        ];
        assert_eq!(names.iter().max_by_key(|name| numbers(name)), Some(&names[1]));
    }
}
