//! Prometheus' own scrape settings for each way, right and wrong, in one Prometheus.
//! It has none for a Unix socket.

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tests::prometheus::Prometheus;

use crate::bed::{Bed, CLIENTS, Guarded, TLS};

/// The jobs of one Prometheus, and what `up` must be for each.
#[derive(Default)]
struct Jobs {
    yaml: Vec<String>,
    expected: Vec<(String, f64)>,
}

impl Jobs {
    /// A job with `settings` as Prometheus documents its `scrape_config`, in which `{}` stands for the bed's folder.
    fn add(&mut self, bed: &Bed, agent: &Guarded, name: &str, settings: &str, up: bool) -> Result<()> {
        let settings = settings.replace("{}", bed.path("").trim_end_matches('/'));
        let address = agent.address()?;
        self.yaml.push(format!(
            "{{ job_name: {name}, static_configs: [{{ targets: ['{address}'] }}]{settings} }}"
        ));
        self.expected.push((name.to_owned(), if up { 1.0 } else { 0.0 }));
        Ok(())
    }
}

#[test]
fn a_real_prometheus_gets_in_each_way_and_only_with_the_right_settings() -> Result<()> {
    let bed = Bed::new()?;
    let tls = bed.agent(TLS)?;
    let clients = bed.agent(&format!("{TLS}{CLIENTS}"))?;
    let bearer = bed.agent("access.bearer_token_file = \"{}/token\"")?;
    let basic = bed.agent("access.users_file = \"{}/users\"")?;
    let networks = bed.agent("access.networks = [\"127.0.0.1\"]")?;
    let elsewhere = bed.agent("access.networks = [\"127.0.0.2\"]")?;

    let trusting = "scheme: https, tls_config: { ca_file: '{}/ca.crt'";
    let mut jobs = Jobs::default();
    jobs.add(&bed, &tls, "tls", &format!(", {trusting} }}"), true)?;
    jobs.add(&bed, &tls, "tls_untrusted", ", scheme: https", false)?;
    jobs.add(&bed, &tls, "tls_plain", "", false)?;
    let with =
        |name: &str| format!(", {trusting}, cert_file: '{{}}/{name}.crt', key_file: '{{}}/{name}.key' }}");
    jobs.add(&bed, &clients, "client", &with("client"), true)?;
    jobs.add(&bed, &clients, "client_stranger", &with("stranger"), false)?;
    jobs.add(&bed, &clients, "client_none", &format!(", {trusting} }}"), false)?;
    let token = |file: &str| format!(", authorization: {{ credentials_file: '{{}}/{file}' }}");
    jobs.add(&bed, &bearer, "bearer", &token("token"), true)?;
    jobs.add(&bed, &bearer, "bearer_wrong", &token("wrong"), false)?;
    jobs.add(&bed, &bearer, "bearer_none", "", false)?;
    let password = |file: &str| format!(", basic_auth: {{ username: ali, password_file: '{{}}/{file}' }}");
    jobs.add(&bed, &basic, "basic", &password("password"), true)?;
    jobs.add(&bed, &basic, "basic_wrong", &password("wrong"), false)?;
    jobs.add(&bed, &basic, "basic_none", "", false)?;
    jobs.add(&bed, &networks, "networks", "", true)?;
    jobs.add(&bed, &elsewhere, "networks_elsewhere", "", false)?;

    let folder = TempDir::new()?;
    let prometheus = Prometheus::start(&jobs.yaml, folder.path())?;
    for (name, up) in jobs.expected {
        let values = prometheus.query(&format!("up{{job=\"{name}\"}}"))?;
        ensure!(values == [up], "up of {name} is {values:?} and not {up}");
        if up > 0.0 {
            let values = prometheus.query(&format!("count(observer_build_info{{job=\"{name}\"}})"))?;
            ensure!(values == [1.0], "{name} has {values:?} observer_build_info");
        }
    }
    prometheus.stop()
}
