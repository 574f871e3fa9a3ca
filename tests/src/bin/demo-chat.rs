//! The demo chat service (`serve`) and the mock model server that it calls (`model`).
//! Either prints `listening ADDRESS` once it is there; `model` prints at its end what it was called for, as JSON.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use axum::Router;
use clap::Parser;
use tests::demo::{
    counted::CountedListener,
    model, service,
    tally::{Ledger, Side},
};
use tokio::{
    net::TcpListener,
    select,
    signal::unix::{SignalKind, signal},
};

/// A chat service to observe.
#[derive(Parser)]
enum Arguments {
    /// The chat service.
    Serve {
        /// Where it listens; port 0 leaves the choice to the kernel.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Address of the model server.
        #[arg(long)]
        model: SocketAddr,
    },
    /// The mock model server.
    Model {
        /// Where it listens; port 0 leaves the choice to the kernel.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Serve { listen, model } => {
            let calls = Arc::new(Ledger::new(Side::Target));
            serve(listen, service::router(model, calls), Arc::new(Ledger::new(Side::Target))).await
        }
        Arguments::Model { listen } => {
            let called = Arc::new(Ledger::new(Side::Peer));
            serve(listen, model::router(), Arc::clone(&called)).await?;
            let tally = serde_json::to_string(&called.tally()).context("cannot write the tally")?;
            println!("{tally}");
            Ok(())
        }
    }
}

/// Serves until SIGTERM or SIGINT; what is open then is cut.
async fn serve(listen: SocketAddr, router: Router, ledger: Arc<Ledger>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    println!("listening {}", listener.local_addr().context("no local address")?);
    select! {
        served = axum::serve(CountedListener::new(listener, ledger), router) => served.context("cannot serve"),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
