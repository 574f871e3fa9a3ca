//! Debian packages of other releases, without touching the machine's own: apt with lists, caches and sources of its own.
//! Every package is checked by apt itself, against the signed lists of its suite.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{packages, step, workspace};

/// The key that Debian signs its lists with, for releases other than the machine's too.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A part of Debian's archive, by the name of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Of the archive itself.
    Main(&'static str),
    /// Of the security archive.
    Security(&'static str),
}

/// Which packages count as installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// None: a package is wanted by itself.
    Nothing,
    /// Those of this machine, so that only what is missing is fetched.
    Here,
}

/// An apt of its own.
pub(crate) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// One in `folder` whose lists are those of `sources`: archive and suite.
    pub(crate) fn new(folder: PathBuf, sources: &[(String, String)], installed: Installed) -> Result<Self> {
        ensure!(packages::available(), "this is no Debian to fetch packages with");
        ensure!(
            Path::new(KEYRING).is_file(),
            "{KEYRING} is missing; run `apt-get install debian-archive-keyring`"
        );
        for part in ["lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        let own_status = folder.join("status");
        let status = match installed {
            Installed::Nothing => own_status.as_path(),
            Installed::Here => Path::new("/var/lib/dpkg/status"),
        };
        let line = |(archive, suite): &(String, String)| {
            format!("deb [signed-by={KEYRING}] {archive} {suite} main\n")
        };
        let root = folder.display();
        let configuration = format!(
            "Dir::State \"{root}\";\nDir::State::lists \"{root}/lists\";\nDir::State::status \"{}\";\n\
             Dir::Cache \"{root}/cache\";\nDir::Etc \"{root}/etc\";\nDir::Etc::parts \"{root}/etc/apt.conf.d\";\n\
             Dir::Etc::sourcelist \"{root}/etc/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
             Acquire::Languages \"none\";\nAPT::Sandbox::User \"\";\n",
            status.display()
        );
        let sources: String = sources.iter().map(line).collect();
        let apt = Self { folder };
        for (name, text) in
            [("apt.conf", configuration), ("etc/sources.list", sources), ("status", String::new())]
        {
            let file = apt.folder.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(apt)
    }

    /// Fetches the lists.
    pub(crate) fn update(&self, of: &str) -> Result<()> {
        step::run_quietly(
            &format!("fetching the package lists of {of}"),
            self.command("apt-get").args(["--quiet", "--error-on=any", "update"]),
        )
    }

    /// A program of apt that uses this configuration only.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Where packages are put that are fetched as if to be installed.
    pub(crate) fn archives(&self) -> PathBuf {
        self.folder.join("cache/archives")
    }

    /// What a program of apt prints.
    pub(crate) fn ask(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let run = self
            .command(program)
            .args(arguments)
            .output()
            .with_context(|| format!("cannot start {program}"))?;
        let errors = String::from_utf8_lossy(&run.stderr);
        ensure!(run.status.success(), "{program} {}: {}", arguments.join(" "), errors.trim());
        String::from_utf8(run.stdout).with_context(|| format!("{program} printed no text"))
    }
}

/// The archives that this machine itself uses: Debian's own, and the one of its security updates.
pub(crate) fn archives() -> Result<(String, String)> {
    let run = Command::new("apt-get")
        .args(["indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"])
        .output()
        .context("cannot start apt-get")?;
    let targets = String::from_utf8_lossy(&run.stdout).into_owned();
    let of = |label: &str| {
        targets.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(' ')).map(str::to_owned)
    };
    let missing = "apt here has no lists of Debian packages; run `apt-get update`";
    Ok((of("Debian").context(missing)?, of("Debian-Security").context(missing)?))
}

/// Unpacks a package.
pub(crate) fn unpack(package: &Path, into: &Path) -> Result<()> {
    ensure!(workspace::find_program("dpkg-deb").is_some(), "dpkg-deb is missing");
    let run = Command::new("dpkg-deb").arg("--extract").arg(package).arg(into).output();
    let run = run.context("cannot start dpkg-deb")?;
    let errors = String::from_utf8_lossy(&run.stderr);
    ensure!(run.status.success(), "cannot unpack {}: {}", package.display(), errors.trim());
    Ok(())
}
