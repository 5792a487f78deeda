//! The command line: what can be asked for, with meaning, unit and default.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use protocol::Channel;
use protocol::dialect::Format;

use crate::payload;

/// Opens many WebSockets against one or several servers, publishes, and says what arrived, how late, and what it cost.
///
/// Works with every server that relays each JSON text to all connections of the same path, or that speaks the Centrifuge protocol. Exits
/// with 1 when anything was lost, duplicated or out of order, or when a connection could not be opened.
#[derive(Debug, Clone, Parser)]
#[command(name = "fanfare-loadtest", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub mode: Mode,
}

/// The four tests.
#[derive(Debug, Clone, Subcommand)]
pub enum Mode {
    /// One channel: some publish at a steady rate, everybody receives everything.
    Fanout(Fanout),
    /// Many small channels: what anybody publishes reaches everybody in the same room, the sender too.
    Chat(Chat),
    /// Opens connections and holds them: what one costs in memory (needs --pid).
    Idle(Idle),
    /// Drops all connections and reopens them at once: how long until all are back.
    Storm(Storm),
}

/// The language of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// JSON texts; the path is the channel.
    Raw,
    /// The Centrifuge protocol in JSON, at /connection/websocket unless the URL says otherwise.
    CentrifugeJson,
    /// The same in Protobuf.
    CentrifugeProtobuf,
}

impl Dialect {
    /// How messages of the Centrifuge protocol are written, if it is that.
    pub(crate) fn format(self) -> Option<Format> {
        match self {
            Self::Raw => None,
            Self::CentrifugeJson => Some(Format::Json),
            Self::CentrifugeProtobuf => Some(Format::Protobuf),
        }
    }

    /// Where clients connect if nobody says otherwise.
    pub(crate) fn usual_path(self) -> &'static str {
        match self {
            Self::Raw => "/",
            Self::CentrifugeJson | Self::CentrifugeProtobuf => "/connection/websocket",
        }
    }

    /// How a client that reads too slowly is closed.
    pub(crate) fn slow_code(self) -> u16 {
        match self {
            Self::Raw => 1013,
            Self::CentrifugeJson | Self::CentrifugeProtobuf => 3008,
        }
    }
}

/// Who is in which channel while nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Channels {
    /// All in the same.
    One,
    /// Each in its own.
    Own,
}

/// Where to connect, and what to watch.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// A server, ws://HOST:PORT[/PATH] or wss://...; several take turns.
    #[arg(long, required = true)]
    pub url: Vec<String>,
    /// What is spoken there.
    #[arg(long, value_enum, default_value_t = Dialect::Raw)]
    pub dialect: Dialect,
    /// The channel of a Centrifuge client; where there are several, a dash and their numbers follow.
    #[arg(long, default_value = "loadtest", value_parser = Channel::parse)]
    pub channel: Channel,
    /// A token (JWT) that every Centrifuge client shows.
    #[arg(long)]
    pub token: Option<String>,
    /// Makes a token for each Centrifuge client, of a user of its own and for one day, signed with this secret (HS256).
    #[arg(long, conflicts_with = "token")]
    pub token_secret: Option<String>,
    /// A server process, whose CPU time and memory are reported; several are added up.
    #[arg(long)]
    pub pid: Vec<u32>,
    /// A process beside the servers, such as Redis, reported apart.
    #[arg(long)]
    pub beside: Vec<u32>,
    /// Prints the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// At most so many unfinished handshakes.
    #[arg(long, default_value_t = 128)]
    pub in_flight: usize,
    /// At most so many attempts to open one connection.
    #[arg(long, default_value_t = 5)]
    pub attempts: u32,
    /// When to give up opening.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub open_timeout: Duration,
    /// So many addresses, from 127.0.0.1 up, are connected from in turn when the target is on loopback (Linux only).
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=250))]
    pub sources: u8,
    /// Certificates to trust for wss:// URLs, in PEM.
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// When to stop waiting for what has not arrived.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub patience: Duration,
}

/// How much is published.
#[derive(Debug, Clone, Copy, Args)]
pub struct Load {
    /// How long is published.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// The size of a message in bytes; 72 is the smallest.
    #[arg(long, default_value_t = 128, value_parser = size)]
    pub size: usize,
    /// Publishes so long before anything is measured.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub warmup: Duration,
}

/// One channel.
#[derive(Debug, Clone, Args)]
pub struct Fanout {
    /// Where and what to watch.
    #[command(flatten)]
    pub common: Common,
    /// How much is published.
    #[command(flatten)]
    pub load: Load,
    /// How many connections; all of them receive.
    #[arg(long, default_value_t = 1000)]
    pub subscribers: usize,
    /// So many of them stop reading after the handshake, with a small receive buffer. Nothing is expected to arrive there. When all is
    /// published they read on, and the report says how many the server has closed as too slow (1013, or 3008 of Centrifuge clients).
    #[arg(long, default_value_t = 0)]
    pub stalled: usize,
    /// How many of the others publish.
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    /// Messages per second, of all publishers together.
    #[arg(long, default_value_t = 50.0, value_parser = positive)]
    pub rate: f64,
    /// The path of the channel, instead of the URL's.
    #[arg(long)]
    pub path: Option<String>,
}

/// Many channels.
#[derive(Debug, Clone, Args)]
pub struct Chat {
    /// Where and what to watch.
    #[command(flatten)]
    pub common: Common,
    /// How much is published.
    #[command(flatten)]
    pub load: Load,
    /// How many connections; all of them publish and receive.
    #[arg(long, default_value_t = 1000)]
    pub clients: usize,
    /// How many rooms they are spread over.
    #[arg(long, default_value_t = 100)]
    pub rooms: usize,
    /// Messages per second of each client.
    #[arg(long, default_value_t = 2.0, value_parser = positive)]
    pub rate: f64,
    /// The path of a room, without its number. Centrifuge clients have --channel instead.
    #[arg(long, default_value = "/raw/room-")]
    pub path: String,
}

/// Memory.
#[derive(Debug, Clone, Args)]
pub struct Idle {
    /// Where and what to watch.
    #[command(flatten)]
    pub common: Common,
    /// How many connections.
    #[arg(long, default_value_t = 10_000)]
    pub connections: usize,
    /// The path of the channel, instead of the URL's; where each raw client has its own channel, its number follows.
    #[arg(long)]
    pub path: Option<String>,
    /// Whether they share a channel.
    #[arg(long, value_enum, default_value_t = Channels::One)]
    pub channels: Channels,
    /// How long memory may settle before it is read.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub hold: Duration,
    /// So many messages go to everybody before memory is read again.
    #[arg(long, default_value_t = 0)]
    pub messages: u32,
    /// Opens and closes everything so many times; memory is read after each.
    #[arg(long, default_value_t = 0)]
    pub rounds: u32,
}

/// Reconnecting.
#[derive(Debug, Clone, Args)]
pub struct Storm {
    /// Where and what to watch.
    #[command(flatten)]
    pub common: Common,
    /// How many connections.
    #[arg(long, default_value_t = 10_000)]
    pub connections: usize,
    /// The path of the channel, instead of the URL's.
    #[arg(long)]
    pub path: Option<String>,
    /// How many times.
    #[arg(long, default_value_t = 1)]
    pub rounds: u32,
    /// So many messages go to everybody afterwards, to see that all are subscribed again.
    #[arg(long, default_value_t = 3)]
    pub messages: u32,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("expected a number above 0".to_owned()),
    }
}

fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if size >= payload::MINIMUM => Ok(size),
        _ => Err(format!("expected a number of bytes, at least {}", payload::MINIMUM)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
