//! The command line: subcommands, and the flags that are laid over the configuration file.
//! What a flag refuses, clap reports with the argument and what is allowed, and exits with 2.

use std::path::PathBuf;

use clap::{
    Args, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser as _},
};

use crate::{
    commands::metrics::Format,
    config::{Config, ConfigError, Listen, LogFormat, value},
    reading::READER,
    targets::selector::{GRAMMAR, Selector},
};

/// Watches closed AI chat containers from the host through eBPF and /proc, for Prometheus.
#[derive(Debug, Parser)]
#[command(
    name = "observer",
    version,
    after_help = "Exit codes: 0 all is well, 1 trouble, 2 wrong use or configuration."
)]
pub struct Cli {
    /// Flags of every subcommand.
    #[command(flatten)]
    pub options: Options,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the agent is asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe, and serve the metrics
    Run(RunArgs),
    /// Say whether this host is able, what is missing and how to mend it
    Check,
    /// Show what would be observed, and why
    Targets,
    /// Print the reference of all metrics
    Metrics(MetricsArgs),
    /// Print the effective configuration, with comments
    Config,
    /// Read files for the agent that has started it
    #[command(name = READER, hide = true)]
    Reader,
}

/// Flags of `observer run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Also log what the kernel half says of itself; for work on observer
    #[arg(long)]
    pub kernel_log: bool,
}

/// Flags of `observer metrics`.
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// How the reference looks
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Flags that are laid over the configuration file.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Configuration (flags over file over defaults)")]
pub struct Options {
    /// Configuration file; without it the defaults hold
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the HTTP server listens: ADDRESS:PORT or unix:PATH
    #[arg(long, global = true, value_name = "ADDRESS:PORT", value_parser = listen)]
    pub listen: Option<Listen>,
    /// What to observe, in place of the file's `targets.select`
    #[arg(long = "target", global = true, value_name = "SELECTOR", help = target_help())]
    pub targets: Vec<Selector>,
    /// How a line of the log looks
    #[arg(long, global = true, value_enum)]
    pub log_format: Option<LogFormat>,
    /// off, error, warn, info, debug or trace, also by module: `info,observer::targets=debug`
    #[arg(long, global = true, value_name = "LEVEL", value_parser = level)]
    pub log_level: Option<String>,
    /// Socket of the Docker API; empty: do not ask Docker
    #[arg(long, global = true, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub docker_socket: Option<PathBuf>,
    /// Stands before the name of every metric of a target
    #[arg(long, global = true, value_name = "PREFIX", value_parser = prefix)]
    pub metrics_prefix: Option<String>,
}

impl Options {
    /// The effective configuration: these flags over the file over the defaults.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let Self { config: file, listen, targets, log_format, log_level, docker_socket, metrics_prefix } =
            self.clone();
        Config::load(file.as_deref(), |config| {
            lay(&mut config.listen, listen);
            lay(&mut config.targets.select, (!targets.is_empty()).then_some(targets));
            lay(&mut config.log.format, log_format);
            lay(&mut config.log.level, log_level);
            lay(&mut config.docker.socket, docker_socket);
            lay(&mut config.metrics.prefix, metrics_prefix);
        })
    }
}

fn lay<T>(value: &mut T, over: Option<T>) {
    if let Some(over) = over {
        *value = over;
    }
}

fn target_help() -> String {
    format!("What to observe, repeatable, in place of the file's list: {GRAMMAR}")
}

fn listen(text: &str) -> Result<Listen, String> {
    text.parse().map_err(|refused: String| {
        format!("{refused}; allowed: ADDRESS:PORT or unix:PATH, such as 127.0.0.1:9435 or unix:/run/observer/metrics.sock")
    })
}

fn level(text: &str) -> Result<String, String> {
    value::level(text).map_err(|refused| format!("{refused}; allowed: {}", value::LEVELS.join(", ")))
}

fn prefix(text: &str) -> Result<String, String> {
    value::prefix(text)
        .map_err(|refused| format!("{refused}; allowed: letters, digits and _, not starting with a digit"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn load(arguments: &[&str]) -> Config {
        let arguments = ["observer"].iter().chain(arguments);
        Cli::try_parse_from(arguments).unwrap().options.load().unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_go_over_the_file_and_the_file_over_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("observer.toml");
        std::fs::write(
            &file,
            "listen = \"127.0.0.1:1111\"\n[targets]\nselect = [\"pid:1\"]\n[metrics]\nprefix = \"file\"\n",
        )
        .unwrap();
        let file = file.to_str().unwrap();

        let config = load(&["config", "--config", file]);
        assert_eq!(config.listen.to_string(), "127.0.0.1:1111");
        assert_eq!(config.metrics.prefix, "file");
        assert_eq!(config.log.level, "info");

        let config = load(&[
            "--listen",
            "[::1]:2222",
            "config",
            "--config",
            file,
            "--target",
            "pid:2",
            "--target",
            "port:3,app=vllm",
            "--log-level",
            "debug",
            "--log-format",
            "json",
            "--docker-socket",
            "",
        ]);
        assert_eq!(config.listen.to_string(), "[::1]:2222");
        let targets: Vec<_> = config.targets.select.iter().map(Selector::text).collect();
        assert_eq!(targets, ["pid:2", "port:3,app=vllm"]);
        assert_eq!(config.metrics.prefix, "file");
        assert_eq!(config.log.level, "debug");
        assert_eq!(config.log.format, LogFormat::Json);
        assert_eq!(config.docker.socket(), None);
    }

    #[test]
    fn a_mistake_in_a_profile_is_one_of_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let profile = folder.path().join("own.toml");
        std::fs::write(&profile, "name = \"own\"\n[[routes]]\npath = \"chat\"\n").unwrap();
        let file = folder.path().join("observer.toml");
        std::fs::write(&file, format!("profiles.files = [{profile:?}]\n")).unwrap();
        let cli = Cli::try_parse_from(["observer", "config", "--config", file.to_str().unwrap()]).unwrap();
        let error = cli.options.load().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:3:8: routes.path: ", profile.display())), "{error}");
    }

    #[test]
    fn a_bad_argument_is_named_with_what_is_allowed_and_exits_with_2() {
        for (flag, bad, allowed) in [
            ("--target", "web", GRAMMAR),
            ("--target", "container:[", GRAMMAR),
            ("--listen", "localhost", "127.0.0.1:9435"),
            ("--listen", "127.0.0.1:65536", "127.0.0.1:9435"),
            ("--listen", "unix:observer.sock", "unix:/run/observer/metrics.sock"),
            ("--log-level", "inof", "off, error, warn"),
            ("--log-format", "xml", "json"),
            ("--metrics-prefix", "a-b", "letters, digits"),
        ] {
            let error = Cli::try_parse_from(["observer", "config", flag, bad]).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.exit_code(), 2, "{text}");
            assert!(text.contains(flag) && text.contains(bad) && text.contains(allowed), "{text}");
        }
    }
}
