//! Sends every message back, over the gateway's own way of reading and writing frames: for conformance suites such as Autobahn's.
//!
//! `cargo run --release --example echo -- PORT [attached]`

use gateway::Gateway;
use gateway::config::{Config, Transport};

const MIB: usize = 1 << 20;

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut config = Config::default();
    config.listener.port = arguments.next().map_or(Ok(9001), |port| port.parse())?;
    if arguments.next().as_deref() == Some("attached") {
        config.listener.transport = Transport::Attached;
    }
    config.listener.allowed_origins = vec!["*".into()];
    config.limits.message_size = 16 * MIB;
    config.limits.fragments = 1 << 20;
    config.limits.outbox = 64 * MIB;
    let gateway = Gateway::start_echo(config).await?;
    println!("listening on {}", gateway.public_address());
    tokio::signal::ctrl_c().await?;
    gateway.stop().await;
    Ok(())
}
