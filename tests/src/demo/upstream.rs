//! The service's call to the model server, one connection each.
//! The model server closes after a whole answer; an answer that is dropped half read is closed by the service.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{client::Connection, model::Completion, tally::Ledger};

/// An answer of the model that is being read.
#[derive(Debug)]
pub struct Answer(Connection);

impl Answer {
    /// Asks `model`, with the connection counted in `ledger`.
    pub async fn ask(model: SocketAddr, ledger: &Arc<Ledger>, request: &Completion) -> Result<Self> {
        let mut connection = Connection::open(model, ledger).await?;
        let body = serde_json::to_vec(request).context("cannot write the request")?;
        let headers = ["Content-Type: application/json", "Connection: close"];
        connection.send("POST", "/v1/chat/completions", &headers, &body).await?;
        let head = connection.head().await?;
        if head.status != 200 {
            bail!("the model server answered {}", head.status);
        }
        Ok(Self(connection))
    }

    /// The next token; `None` once the answer was read to its end, with the model server's close.
    pub async fn token(mut self) -> Result<Option<(String, Self)>> {
        let data = self.0.event().await?.context("the answer ended without [DONE]")?;
        if data != "[DONE]" {
            let chunk: Value = serde_json::from_str(&data).with_context(|| format!("not JSON: {data}"))?;
            let token =
                chunk.pointer("/choices/0/delta/content").and_then(Value::as_str).context("no token")?;
            return Ok(Some((token.to_owned(), self)));
        }
        if self.0.event().await?.is_some() {
            bail!("an event came after [DONE]");
        }
        self.0.closed_by_other_side().await?;
        Ok(None)
    }
}
