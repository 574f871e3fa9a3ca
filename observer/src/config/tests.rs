//! What the configuration accepts, what it refuses and where it says the mistake is.
//! Errors are compared as an operator sees them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Config, LogFormat,
    reference::{self, KEYS},
};
use crate::targets::selector::{GRAMMAR, Selector};

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("observer.toml")).unwrap()
}

/// The error's text must start with `place` and hold every one of `parts`.
fn refused(text: &str, place: &str, parts: &[&str]) {
    let error = Config::parse(text, Path::new("observer.toml")).unwrap_err().to_string();
    assert!(error.starts_with(place), "{error}\n    should start with {place}");
    for part in parts {
        assert!(error.contains(part), "{error}\n    should contain {part}");
    }
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = parse("");
    assert_eq!(config.listen.to_string(), "127.0.0.1:9435");
    assert!(config.targets.select.is_empty());
    assert_eq!(config.targets.linger, Duration::from_mins(5));
    assert_eq!(config.docker.socket(), Some(Path::new("/var/run/docker.sock")));
    assert_eq!(config.metrics.prefix, "chat");
    assert_eq!(config.limits.ring_bytes, 1_048_576);
    assert_eq!(config.limits.exchange_ring_bytes, 4_194_304);
    assert_eq!(config.streams.after, Duration::from_secs(2));
    assert_eq!(config.streams.stall, Duration::from_secs(10));
}

#[test]
fn every_key_can_be_set() {
    let config = parse(
        r#"
        listen = "[::1]:9000"
        [tls]
        certificate = "/etc/observer/tls.crt"
        key = "/etc/observer/tls.key"
        client_ca = "/etc/observer/clients.crt"
        [access]
        networks = ["10.0.0.0/8", "fd00::/8", "192.0.2.7"]
        bearer_token_file = "/etc/observer/token"
        users_file = "/etc/observer/users"
        open_health = true
        [targets]
        select = ["container:web-*", "port:3210,app=lobechat"]
        linger = "1m 30s"
        rescan = "250ms"
        [profiles]
        files = ["own.toml", "/etc/observer/profiles"]
        [docker]
        socket = ""
        [metrics]
        prefix = "lobechat"
        [processes]
        pss = true
        [streams]
        after = "3s"
        stall = "500ms"
        [log]
        format = "json"
        level = "warn,observer::targets=debug"
        [limits]
        ring_bytes = 4096
        exchange_ring_bytes = 8192
        peers = 10
        process_roles = 3
        routes = 50
        [server]
        header_bytes = 8192
        idle_timeout = "2s"
        max_connections = 7
        "#,
    );
    assert_eq!(config.listen.to_string(), "[::1]:9000");
    let identity = ["/etc/observer/tls.crt", "/etc/observer/tls.key"].map(Path::new);
    assert_eq!(config.tls.identity(), Some((identity[0], identity[1])));
    assert_eq!(config.tls.client_ca(), Some(Path::new("/etc/observer/clients.crt")));
    let access = &config.access;
    let networks: Vec<_> = access.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"]);
    assert_eq!(access.bearer_token_file(), Some(Path::new("/etc/observer/token")));
    assert_eq!(access.users_file(), Some(Path::new("/etc/observer/users")));
    assert!(access.open_health);
    let selectors: Vec<_> = config.targets.select.iter().map(Selector::text).collect();
    assert_eq!(selectors, ["container:web-*", "port:3210,app=lobechat"]);
    assert_eq!(config.targets.linger, Duration::from_secs(90));
    assert_eq!(config.targets.rescan, Duration::from_millis(250));
    assert_eq!(config.profiles.files, ["own.toml", "/etc/observer/profiles"].map(PathBuf::from));
    assert_eq!(config.docker.socket(), None);
    assert_eq!(config.metrics.prefix, "lobechat");
    assert!(config.processes.pss);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, "warn,observer::targets=debug");
    let limits = &config.limits;
    assert_eq!((limits.ring_bytes, limits.peers, limits.process_roles, limits.routes), (4096, 10, 3, 50));
    assert_eq!(limits.exchange_ring_bytes, 8192);
    assert_eq!(config.streams.after, Duration::from_secs(3));
    assert_eq!(config.streams.stall, Duration::from_millis(500));
    let server = &config.server;
    assert_eq!((server.header_bytes, server.max_connections), (8192, 7));
    assert_eq!(server.idle_timeout, Duration::from_secs(2));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_known_ones() {
    refused(
        "[targets]\nlinger = \"5m\"\n  lingr = \"5m\"\n",
        "observer.toml:3:3: targets.lingr: ",
        &["unknown field `lingr`", "`select`", "`linger`", "`rescan`"],
    );
    refused("listn = \"127.0.0.1:1\"\n", "observer.toml:1:1: listn: ", &["`listen`"]);
    refused("[dokcer]\n", "observer.toml:1:2: dokcer: ", &["`docker`"]);
}

#[test]
fn a_wrong_type_is_named_with_its_place_and_what_is_allowed() {
    refused(
        "\n[targets]\nlinger = 5\n",
        "observer.toml:3:10: targets.linger: ",
        &["invalid type: integer `5`", "allowed: a duration", "\"5m\""],
    );
    refused(
        "[limits]\npeers = \"many\"\n",
        "observer.toml:2:9: limits.peers: ",
        &["allowed: a whole number from 1 to 1048576"],
    );
    refused("docker = 5\n", "observer.toml:1:10: docker: ", &["invalid type: integer `5`"]);
    refused("limits.peers = -1\n", "observer.toml:1:16: limits.peers: ", &["invalid value: integer `-1`"]);
}

#[test]
fn a_value_out_of_range_is_refused_where_it_stands() {
    refused("listen = \"localhost\"", "observer.toml:1:10: listen: ", &["allowed: ADDRESS:PORT"]);
    refused(
        "[targets]\nrescan = \"5 minuets\"",
        "observer.toml:2:10: targets.rescan: ",
        &["`5 minuets` is no duration"],
    );
    refused(
        "[targets]\nlinger = \"1000y\"",
        "observer.toml:2:10: targets.linger: ",
        &["`1000y` is more than 365days"],
    );
    refused(
        "[server]\nidle_timeout = \"0s\"",
        "observer.toml:2:16: server.idle_timeout: ",
        &["`0s` is not between 1ms and 1day"],
    );
    refused(
        "[limits]\nring_bytes = 5000",
        "observer.toml:2:14: limits.ring_bytes: ",
        &["5000 is no power of two"],
    );
    refused(
        "[limits]\nring_bytes = 2048",
        "observer.toml:2:14: limits.ring_bytes: ",
        &["2048 is not between 4096 and"],
    );
    refused(
        "[metrics]\nprefix = \"2chat\"",
        "observer.toml:2:10: metrics.prefix: ",
        &["`2chat`", "not starting with a digit"],
    );
    refused("[log]\nlevel = \"inof\"", "observer.toml:2:9: log.level: ", &["`inof` is no level"]);
    refused(
        "[log]\nformat = \"xml\"",
        "observer.toml:2:10: log.format: ",
        &["`xml`", "\"text\" or \"json\""],
    );
}

#[test]
fn a_bad_place_to_listen_and_a_bad_network_are_refused_where_they_stand() {
    refused(
        "listen = \"unix:observer.sock\"",
        "observer.toml:1:10: listen: ",
        &["`unix:observer.sock` names no absolute path", "allowed: ADDRESS:PORT or unix:PATH"],
    );
    refused(
        "[access]\nnetworks = [\"10.0.0.0/33\"]",
        "observer.toml:2:12: access.networks: ",
        &["`10.0.0.0/33` is no network", "allowed: a list of networks"],
    );
}

#[test]
fn keys_that_contradict_each_other_are_refused_by_name() {
    for (text, named) in [
        ("tls.certificate = \"/c\"", "tls.key"),
        ("tls.key = \"/k\"", "tls.certificate"),
        ("tls.client_ca = \"/ca\"", "tls.certificate"),
        ("listen = \"unix:/s\"\naccess.networks = [\"10.0.0.0/8\"]", "access.networks"),
        ("access.open_health = true", "access.bearer_token_file"),
    ] {
        let found: Vec<_> = parse(text).contradictions().collect();
        assert!(found.len() == 1 && found[0].contains(named), "{found:?}");
    }
    for text in [
        "",
        "[tls]\ncertificate = \"/c\"\nkey = \"/k\"\nclient_ca = \"/ca\"",
        "access.networks = [\"::1\"]\naccess.users_file = \"/u\"\naccess.open_health = true",
        "listen = \"unix:/s\"\naccess.bearer_token_file = \"/t\"",
    ] {
        assert_eq!(parse(text).contradictions().next(), None);
    }
}

#[test]
fn a_bad_selector_is_named_with_its_own_line_and_the_grammar() {
    refused(
        "[targets]\nselect = [\n  \"container:web\",\n  \"web\",\n]\n",
        "observer.toml:4:3: targets.select: ",
        &["target `web`: it has no `:`", GRAMMAR],
    );
}

#[test]
fn a_syntax_error_is_named_with_its_place() {
    refused("listen = \n", "observer.toml:1:10: ", &[]);
    refused("[targets\n", "observer.toml:1:9: ", &[]);
}

fn load(file: &Path) -> Result<Config, crate::config::ConfigError> {
    Config::load(Some(file), |_| {})
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("observer.toml");
    let text = "listn = 1\n[targets]\nselect = [\"web\", \"pid:1,app=nobody\", \"port:80,app=ollama\", \"port:80,app=vllm\"]\n\
                linger = 5\n[limits]\npeers = 0\npeers = 7\n[tls]\ncertificate = \"/nowhere/tls.crt\"\n";
    std::fs::write(&file, text).unwrap();
    let error = load(&file).unwrap_err().to_string();
    let name = file.display();
    for line in [
        "9 mistakes:".to_owned(),
        format!("  {name}:7:1: duplicate key `peers`: it stands here twice; keep one"),
        format!("  {name}:3:11: targets.select: target `web`: it has no `:`"),
        format!("  {name}:1:1: listn: unknown field `listn`"),
        format!("  {name}:4:10: targets.linger: invalid type: integer `5`"),
        format!("  {name}:6:9: limits.peers: 0 is not between 1 and"),
        "  tls.certificate and tls.key belong together".to_owned(),
        format!("  {name}:9:15: tls.certificate: cannot read /nowhere/tls.crt: No such file"),
        format!("  {name}:3:18: targets.select: target `pid:1,app=nobody`: there is no profile `nobody`"),
        format!(
            "  {name}:3:60: targets.select: target `port:80,app=vllm`: `port:80,app=ollama` gives it another app"
        ),
    ] {
        assert!(error.lines().any(|found| found.starts_with(&line)), "{line} is not in\n{error}");
    }
}

#[test]
fn an_unreadable_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let error = load(&missing).unwrap_err().to_string();
    assert!(error.contains(missing.to_str().unwrap()), "{error}");
    assert!(error.contains("No such file") && error.contains("--config"), "{error}");
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    let error = load(&binary).unwrap_err().to_string();
    assert!(error.contains(binary.to_str().unwrap()) && error.contains("UTF-8"), "{error}");
}

#[test]
fn what_is_printed_reads_back_to_itself() {
    let mut config = parse(
        "[targets]\nselect = [\"exe:*/no\\\"de\", \"pid:1\"]\nlinger = \"0s\"\n[docker]\nsocket = \"\"\n",
    );
    config.server.idle_timeout = Duration::from_millis(1500);
    let printed = config.to_commented_toml().unwrap();
    let again = parse(&printed);
    assert_eq!(again.to_commented_toml().unwrap(), printed);
    assert_eq!(toml::Table::try_from(&again).unwrap(), toml::Table::try_from(&config).unwrap());
    assert_eq!(again.targets.select[0].text(), "exe:*/no\"de");
    assert_eq!(again.server.idle_timeout, Duration::from_millis(1500));
}

#[test]
fn every_key_has_a_comment_and_every_comment_a_key() {
    let mut keys = BTreeSet::new();
    for (name, value) in toml::Table::try_from(Config::default()).unwrap() {
        match value {
            toml::Value::Table(section) => {
                keys.extend(section.keys().map(|key| format!("{name}.{key}")));
            }
            _ => drop(keys.insert(name)),
        }
    }
    let documented: BTreeSet<_> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(documented, keys);
    assert_eq!(documented.len(), KEYS.len());
    assert!(reference::find("targets.select").is_some_and(|key| key.about.contains(GRAMMAR)));

    let printed = Config::default().to_commented_toml().unwrap();
    let lines: Vec<_> = printed.lines().collect();
    let assignments =
        lines.iter().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#'));
    let mut seen = 0;
    for (number, line) in assignments {
        assert!(lines[number - 1].starts_with("# "), "no comment above {line}");
        seen += 1;
    }
    assert_eq!(seen, KEYS.len());
}
