//! A real Prometheus with scrape settings of the test's own, asked by its API.
//! It is Debian's; `cargo xtask setup --tests` installs it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    http,
    process::{Background, PATIENCE, wait_until},
};

/// A running server; it is killed when this is dropped.
pub struct Prometheus {
    server: Background,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts one that scrapes `jobs` each second, from a folder of its own. Jobs are YAML in braces, without lines.
    pub fn start(jobs: &[String], folder: &Path) -> Result<Self> {
        let config = folder.join("prometheus.yml");
        let jobs = jobs.join(", ");
        fs::write(&config, format!("global: {{ scrape_interval: 1s }}\nscrape_configs: [{jobs}]\n"))?;
        // Free now; Prometheus cannot be asked which port it took of its own choice.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let server = Background::start(
            Command::new("prometheus")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
                .arg(format!("--web.listen-address={address}"))
                .arg("--log.level=warn"),
        )
        .context("cannot start prometheus: run `cargo xtask setup --tests`")?;
        Ok(Self { server, address })
    }

    /// The values of an instant query, waited for until there are any.
    pub fn query(&self, expression: &str) -> Result<Vec<f64>> {
        let mut values = Vec::new();
        let waited = wait_until(expression, PATIENCE, || {
            values = query(self.address, expression);
            Ok(!values.is_empty())
        });
        waited.with_context(|| self.server.output())?;
        Ok(values)
    }

    /// Ends it; an error if it had ended before or does not end cleanly.
    pub fn stop(mut self) -> Result<()> {
        ensure!(self.server.exited()?.is_none(), "Prometheus has ended: {}", self.server.output());
        ensure!(self.server.stop()?.success(), "Prometheus did not stop cleanly");
        Ok(())
    }
}

/// The values of an instant query; none while there is no answer yet.
fn query(server: SocketAddr, expression: &str) -> Vec<f64> {
    let encoded = expression.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
    let answer = http::get(server, &format!("/api/v1/query?query={encoded}"));
    let Ok(answer) = answer.and_then(|answer| Ok(serde_json::from_slice::<Value>(&answer.body)?)) else {
        return Vec::new();
    };
    let results = answer.pointer("/data/result").and_then(Value::as_array).cloned().unwrap_or_default();
    let value = |result: &Value| result.pointer("/value/1")?.as_str()?.parse().ok();
    results.iter().filter_map(value).collect()
}
