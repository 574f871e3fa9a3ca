//! A folder of certificates and secrets, and agents that are configured with them.
//! Agents observe an empty cgroup: it is the way to their metrics that is tested.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tests::{
    agent,
    cgroup::Cgroup,
    process::{Background, PATIENCE},
};

/// The name and password of [`USERS`].
pub(crate) const USER: (&str, &str) = ("ali", "open: sesame");

/// As `htpasswd -B` writes it; the hash is made by crypt(3) of Debian.
pub(crate) const USERS: &str =
    "# scrapers\nali:$2y$05$abcdefghijklmnopqrstuup2F9n1GfYnSjm0cOADofBHTZptM0KeS\n";

/// The token of the file `token`.
pub(crate) const TOKEN: &str = "4f2d0d8fa3c5b0d7c0ffee";

/// Shown by every scrape that was let in.
pub(crate) const METRIC: &str = "observer_build_info{";

/// The folder, and the cgroup of its agents.
pub(crate) struct Bed {
    folder: TempDir,
    cgroup: Cgroup,
}

/// A running agent and where it serves; it is killed when this is dropped.
pub(crate) struct Guarded {
    /// Its process, for its log.
    pub(crate) process: Background,
    /// What it announced: a URL, or `unix:` and a path.
    pub(crate) url: String,
}

impl Guarded {
    /// The URL of another path than /metrics.
    pub(crate) fn at(&self, path: &str) -> String {
        self.url.replace("/metrics", path)
    }

    /// Host and port.
    pub(crate) fn address(&self) -> Result<&str> {
        let (_, after) = self.url.split_once("://").context("it serves on no port")?;
        Ok(after.trim_end_matches("/metrics"))
    }
}

impl Bed {
    /// With `ca.crt` and `server.*` that it signed for 127.0.0.1, `clients.crt` and `client.*` that it signed, `strangers.crt`
    /// and `stranger.*` that it signed, `users`, `token` and `wrong`.
    pub(crate) fn new() -> Result<Self> {
        let bed = Self { folder: TempDir::new()?, cgroup: Cgroup::create("access")? };
        bed.sign("ca", "server")?;
        bed.sign("clients", "client")?;
        bed.sign("strangers", "stranger")?;
        bed.write("users", USERS)?;
        bed.write("password", USER.1)?;
        bed.write("token", TOKEN)?;
        bed.write("wrong", "wrong")?;
        Ok(bed)
    }

    /// The path of a file in the folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes a file as administrators do it: beside it first, so that nobody reads half of it.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let next = PathBuf::from(self.path("next"));
        fs::write(&next, text)?;
        fs::rename(&next, self.path(name)).with_context(|| format!("cannot write {name}"))
    }

    /// Makes a new authority, and a certificate with its key that it signs for 127.0.0.1.
    pub(crate) fn sign(&self, authority: &str, subject: &str) -> Result<()> {
        let named = |name: &str| -> Result<_> {
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
            params.distinguished_name.push(DnType::CommonName, format!("{name} of a test of observer"));
            Ok(params)
        };
        let mut root = named(authority)?;
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let signing_key = KeyPair::generate()?;
        self.write(&format!("{authority}.crt"), &root.self_signed(&signing_key)?.pem())?;
        let key = KeyPair::generate()?;
        let signed = named(subject)?.signed_by(&key, &Issuer::new(root, signing_key))?;
        self.write(&format!("{subject}.crt"), &signed.pem())?;
        self.write(&format!("{subject}.key"), &key.serialize_pem())
    }

    /// Starts an agent with the text as its configuration, in which `{}` stands for the folder, on a free port of loopback.
    pub(crate) fn agent(&self, config: &str) -> Result<Guarded> {
        self.listening("127.0.0.1:0", config)
    }

    /// The same with a place to listen.
    pub(crate) fn listening(&self, listen: &str, config: &str) -> Result<Guarded> {
        let mut process = Background::start(&mut self.command(listen, config)?)?;
        let url = process.wait_for("an address", PATIENCE, |line| {
            Some(line.split_once("listening url=")?.1.trim().to_owned())
        })?;
        Ok(Guarded { process, url })
    }

    /// The command of [`listening`](Self::listening).
    pub(crate) fn command(&self, listen: &str, config: &str) -> Result<Command> {
        let file = tempfile::Builder::new().suffix(".toml").tempfile_in(self.folder.path())?;
        fs::write(&file, config.replace("{}", &self.folder.path().display().to_string()))?;
        let (_, file) = file.keep().context("cannot keep the configuration")?;
        let mut command = Command::new(agent::binary()?);
        command.args(["run", "--docker-socket", "", "--target", &self.cgroup.selector(), "--listen", listen]);
        command.arg("--config").arg(file).env("NO_COLOR", "1");
        Ok(command)
    }
}

/// TLS with the bed's certificate.
pub(crate) const TLS: &str = "[tls]\ncertificate = \"{}/server.crt\"\nkey = \"{}/server.key\"\n";

/// The line in `[tls]` that asks clients for certificates.
pub(crate) const CLIENTS: &str = "client_ca = \"{}/clients.crt\"\n";
