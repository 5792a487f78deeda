//! Every setting of the process: its meaning, unit and default.
//!
//! A setting is declared here and nowhere else. [`load()`] puts together what files, variables and flags say, and tells every mistake at
//! once; whoever holds a [`Config`] holds settings that fit together, and nobody reads the environment later.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use protocol::Channel;

use kind::{ChannelOrOff, FilePath, Flag, Hidden, List, Maybe, Network, Number, Parsed, Size, Span, Text, Word};
use section::{section, words};
use url::Url;

mod api;
mod backend;
mod bus;
mod call;
mod channels;
mod check;
pub(crate) mod kind;
mod layers;
mod load;
mod mistakes;
mod reference;
mod secret;
pub(crate) mod section;
mod settings;
mod url;

pub use api::{Api, ApiKey};
pub use backend::{Backend, StaticHeader, StatusAnswer};
pub(crate) use backend::{ERROR_CODES, Refusal};
pub use call::Call;
pub use channels::{ChannelRule, Publish, Subscribe};
pub use load::{Flag as GivenFlag, Loaded, Sources, load};
pub use mistakes::{Mistake, Mistakes, Subject};
pub use reference::{default_toml, env_file, reference_page, show};
pub use secret::Secret;
pub use url::{HttpUrl, UrlError};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// All settings of a process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Where clients connect.
    pub listener: Listener,
    /// Where probes, scrapers and operators connect.
    pub admin: Admin,
    /// The API for the application's servers.
    pub api: Api,
    /// Redis, which joins the processes.
    pub redis: Redis,
    /// The bare channel.
    pub raw: Raw,
    /// Who may do what in which channel: the first rule that matches counts, without one a channel is closed.
    pub channels: Vec<ChannelRule>,
    /// The Centrifuge protocol.
    pub centrifuge: Centrifuge,
    /// Whose tokens are believed.
    pub tokens: Tokens,
    /// How often one client may ask for something.
    pub rates: Rates,
    /// The application's backend.
    pub backend: Backend,
    /// What one client, or all of them, may ask for.
    pub limits: Limits,
    /// Merging of messages in busy channels.
    pub delivery: Delivery,
    /// How dead peers are found.
    pub ping: Ping,
    /// Leaving without losing anybody.
    pub drain: Drain,
    /// What probes answer.
    pub health: Health,
    /// What is logged, and how.
    pub log: Log,
    /// The demo page.
    pub demo: Demo,
    /// This process among the others.
    pub node: Node,
    /// Development mode: every channel is open to anyone, the demo page is on, every origin may connect. Never on Kubernetes.
    pub dev: bool,
    /// Where the settings came from, for the first line of the log.
    pub sources: Vec<String>,
}

impl Config {
    /// How far the admin port is above the public one, unless `admin.address` says something else.
    pub const ADMIN_PORT_OFFSET: u16 = 6000;

    /// Where the admin listener listens. Port 0 stands for any free one.
    pub fn admin_address(&self) -> SocketAddr {
        let port = match self.listener.port {
            0 => 0,
            port => port.saturating_add(Self::ADMIN_PORT_OFFSET),
        };
        self.admin
            .address
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }
}

section! {
    /// Where clients connect.
    pub struct Listener {
        /// Address that clients connect to.
        address: IpAddr as Parsed = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        /// Port that clients connect to; 0 takes any free one and prints it. `PORT` sets it too.
        port: u16 as Number = 3000;
        /// How sockets are served: by loops of our own, one per core, or attached to actix-web's workers. TLS is always attached.
        transport: Transport as Word = Transport::Reactor;
        /// Loops (or workers) that serve sockets; 0 means one per core.
        reactors: usize as Number = 0;
        /// Connections that the kernel keeps waiting to be accepted.
        backlog: u32 as Number = 4096;
        /// Origins that browsers may connect from besides the page's own host, such as `https://chat.example`; `*` allows all.
        allowed_origins: Vec<String> as List<Text> = Vec::new();
        /// Load balancers whose X-Forwarded-For is believed.
        trusted_proxies: Vec<IpNet> as List<Network> = Vec::new();
        /// Certificate chain in PEM, reloaded when it changes. Together with `tls_key` it turns TLS on.
        tls_cert: Option<PathBuf> as Maybe<FilePath> = None;
        /// Private key in PEM.
        tls_key: Option<PathBuf> as Maybe<FilePath> = None;
    }
}

words! {
    /// How sockets are served.
    pub enum Transport {
        /// By loops of our own.
        Reactor = "reactor",
        /// By actix-web's workers.
        Attached = "attached",
    }
}

section! {
    /// Where probes, scrapers and operators connect. Never reachable through the public port.
    pub struct Admin {
        /// Address and port of the admin listener. Without it: 127.0.0.1, 6000 above `listener.port`.
        address: Option<SocketAddr> as Maybe<Parsed> = None;
        /// Key of at least 16 bytes that every call of the API under `/api` takes, in a header X-API-Key. Without it or others in `api.keys` the API is closed.
        api_key: Option<Secret> as Maybe<Hidden> = None;
        /// File to read the key from, instead of `api_key`.
        api_key_file: Option<PathBuf> as Maybe<FilePath> = None;
    }
}

section! {
    /// Redis, which joins the processes. Without a URL one process works alone, in memory.
    pub struct Redis {
        /// Where Redis is: redis://HOST:PORT/DB, or rediss:// for TLS. `REDIS_URL` sets it too.
        url: Option<Secret> as Maybe<Hidden> = None;
        /// File to read the URL from, instead of `url`.
        url_file: Option<PathBuf> as Maybe<FilePath> = None;
        /// ACL user, if the URL has none.
        username: Option<String> as Maybe<Text> = None;
        /// Password, if the URL has none.
        password: Option<Secret> as Maybe<Hidden> = None;
        /// File to read the password from, instead of `password`.
        password_file: Option<PathBuf> as Maybe<FilePath> = None;
        /// Certificates in PEM that are trusted for rediss://, instead of those of the system.
        ca_file: Option<PathBuf> as Maybe<FilePath> = None;
        /// What the names of all keys and channels on Redis start with, except that of the bare channel.
        prefix: String as Text = "fanfare:".into();
        /// Most connections for what needs one of its own, such as checks at start.
        pool_size: usize as Number = 4;
        /// How long connecting may take.
        connect_timeout: Duration as Span = 2 * SECOND;
        /// How long an answer may take before the connection counts as lost.
        response_timeout: Duration as Span = 2 * SECOND;
        /// How often a message is sent to ourselves through Redis, to find a link that has gone deaf.
        canary_interval: Duration as Span = 2 * SECOND;
        /// Longest pause between two attempts to connect again.
        reconnect_max: Duration as Span = SECOND;
        /// Most messages that wait between Redis and the sockets.
        queue: usize as Number = 16_384;
        /// Most bytes that wait between Redis and the sockets.
        queue_bytes: usize as Size = 8 * MIB;
    }
}

section! {
    /// The bare channel: joined by every client of the path /, and bare JSON on Redis.
    pub struct Raw {
        /// Its name; "" turns it off.
        channel: Option<Channel> as ChannelOrOff = Channel::parse("chat-channel").ok();
        /// Who may publish in it.
        publish: RawPublish as Word = RawPublish::Anyone;
    }
}

words! {
    /// Who may publish in the bare channel.
    pub enum RawPublish {
        /// Every client that joined it.
        Anyone = "anyone",
        /// No client; servers only.
        Nobody = "nobody",
    }
}

section! {
    /// The Centrifuge protocol, at /connection/websocket.
    pub struct Centrifuge {
        /// How clients may connect by it. All but "websocket" are for clients that cannot have a WebSocket, or only hear.
        transports: Vec<Carriage> as List<Word> = vec![Carriage::WebSocket];
        /// Whether a client may connect without a token; it is nobody's then.
        anonymous: bool as Flag = false;
        /// Most channels that one client may subscribe to.
        channels: usize as Number = 128;
        /// How long a client may take to say who it is.
        connect_timeout: Duration as Span = 10 * SECOND;
        /// How often a client is pinged, whatever else is sent.
        ping_interval: Duration as Span = 25 * SECOND;
        /// How long it may take to answer.
        pong_timeout: Duration as Span = 8 * SECOND;
        /// How long a connection or subscription lives on after its token has expired, for a new one to come.
        refresh_grace: Duration as Span = 25 * SECOND;
        /// Most commands of one client that wait for an answer; more are answered as too many requests.
        pending_commands: usize as Number = 1024;
    }
}

impl Carriage {
    /// Every way.
    pub const ALL: [Self; 6] = [
        Self::WebSocket,
        Self::HttpStream,
        Self::Sse,
        Self::UniWebSocket,
        Self::UniHttpStream,
        Self::UniSse,
    ];

    /// Its word in the settings, by which backends know it too.
    pub(crate) fn word(self) -> &'static str {
        let words = <Self as kind::Words>::WORDS.iter();
        words.clone().find(|(_, way)| *way == self).map_or("", |(word, _)| word)
    }

    /// Whether it is the body of an HTTP response.
    pub(crate) fn is_stream(self) -> bool {
        !matches!(self, Self::WebSocket | Self::UniWebSocket)
    }
}

words! {
    /// How clients of the Centrifuge protocol connect.
    pub enum Carriage {
        /// A WebSocket, at /connection/websocket.
        WebSocket = "websocket",
        /// The body of an HTTP response, at /connection/http_stream, with commands at /emulation.
        HttpStream = "http_stream",
        /// Server-sent events, at /connection/sse, with commands at /emulation.
        Sse = "sse",
        /// A WebSocket for clients that only hear, at /connection/uni_websocket.
        UniWebSocket = "uni_websocket",
        /// The body of an HTTP response for clients that only hear, at /connection/uni_http_stream.
        UniHttpStream = "uni_http_stream",
        /// Server-sent events for clients that only hear, at /connection/uni_sse.
        UniSse = "uni_sse",
    }
}

section! {
    /// How often one client may ask for something, on average a second; 0 turns a limit off. More is answered as too many requests.
    pub struct Rates {
        /// Subscriptions.
        subscribe: u32 as Number = 0;
        /// Publications.
        publish: u32 as Number = 0;
        /// Questions who is in a channel, and what was published there.
        read: u32 as Number = 0;
        /// Calls to the application's backend.
        rpc: u32 as Number = 0;
        /// New tokens.
        refresh: u32 as Number = 0;
        /// So much time's worth may come at once.
        burst: Duration as Span = 10 * SECOND;
    }
}

section! {
    /// Whose tokens (JWT) are believed. Without a secret, a public key or a key set none is.
    pub struct Tokens {
        /// Secret that the issuer of tokens signs with too, of at least 32 bytes; `openssl rand -hex 32` makes one.
        hmac_secret: Option<Secret> as Maybe<Hidden> = None;
        /// File to read the secret from, instead of `hmac_secret`.
        hmac_secret_file: Option<PathBuf> as Maybe<FilePath> = None;
        /// Algorithms that a token may be signed with by the secret. `fanfare token create` takes the first.
        hmac_algorithms: Vec<HmacAlgorithm> as List<Word> = vec![HmacAlgorithm::Hs256, HmacAlgorithm::Hs384, HmacAlgorithm::Hs512];
        /// Public key of the issuer in PEM: RSA (RS256, RS384, RS512), P-256 (ES256), P-384 (ES384) or Ed25519 (EdDSA). Reloaded when it changes.
        public_key_file: Option<PathBuf> as Maybe<FilePath> = None;
        /// Key set of the issuer (JWKS), whose keys tokens name by `kid`. Reloaded when it changes.
        jwks_file: Option<PathBuf> as Maybe<FilePath> = None;
        /// Where the issuer publishes its key set, instead of or besides `jwks_file`.
        jwks_url: Option<HttpUrl> as Maybe<Url> = None;
        /// How often that set is fetched; when a token names a key that is not known, sooner, but at most every 10 seconds.
        jwks_refresh: Duration as Span = 60 * 60 * SECOND;
        /// Certificates in PEM that are trusted for an https:// `jwks_url`, instead of those of the system.
        jwks_ca_file: Option<PathBuf> as Maybe<FilePath> = None;
        /// Audiences of which a token must have one (`aud`); any will do without.
        audience: Vec<String> as List<Text> = Vec::new();
        /// Issuer that a token must have (`iss`); any will do without.
        issuer: Option<String> as Maybe<Text> = None;
        /// How far the issuer's clock may be from ours; at most 1m.
        leeway: Duration as Span = Duration::ZERO;
        /// Whether a token must say when it expires (`exp`).
        require_exp: bool as Flag = true;
    }
}

words! {
    /// How tokens are signed with a shared secret.
    pub enum HmacAlgorithm {
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
    }
}

section! {
    /// What one client, or all of them, may ask for.
    pub struct Limits {
        /// Most connections in all; more are answered 503.
        connections: usize as Number = 100_000;
        /// Most connections of one address; 0 turns it off.
        connections_per_address: usize as Number = 0;
        /// Most connections of one user at one node; 0 turns it off. One of whom nobody has said who it is does not count.
        connections_per_user: usize as Number = 0;
        /// Most unfinished handshakes per worker; more wait in the kernel, or with attached sockets are refused.
        handshakes: usize as Number = 256;
        /// Most unfinished handshakes of one address; 0 turns it off. Trusted proxies are exempt.
        handshakes_per_address: usize as Number = 64;
        /// How long a handshake may take.
        handshake_timeout: Duration as Span = 5 * SECOND;
        /// Most bytes of a request's head.
        header_size: usize as Size = 16 * KIB;
        /// Most bytes of one message of a client.
        message_size: usize as Size = 64 * KIB;
        /// Most frames that one message may be split into.
        fragments: usize as Number = 1024;
        /// Deepest nesting of a client's JSON.
        json_depth: usize as Number = 512;
        /// Messages per second that one connection may send, on average; 0 turns it off.
        message_rate: u32 as Number = 0;
        /// Messages that one connection may send at once; 0 means as many as `message_rate`.
        message_burst: u32 as Number = 0;
        /// What happens to a message over the rate: it is dropped, or the connection is closed.
        message_excess: Excess as Word = Excess::Drop;
        /// Most bytes that wait for one client; a slower one is closed.
        outbox: usize as Size = MIB;
        /// Most bytes that wait for all clients together; past it the slow ones are closed first.
        outboxes: usize as Size = 256 * MIB;
        /// Most items that wait for one reactor.
        reactor_queue: usize as Number = 16_384;
        /// Most bytes that wait for one reactor.
        reactor_queue_bytes: usize as Size = 8 * MIB;
        /// Most publications that wait for Redis.
        publish_queue: usize as Number = 8192;
        /// Most bytes of publications that wait for Redis.
        publish_queue_bytes: usize as Size = 8 * MIB;
        /// Bytes that the kernel keeps for one slow client (SO_SNDBUF).
        write_buffer: usize as Size = 64 * KIB;
    }
}

words! {
    /// What happens to a message over the rate.
    pub enum Excess {
        /// It is dropped and counted.
        Drop = "drop",
        /// The connection is closed.
        Close = "close",
    }
}

section! {
    /// Merging of messages in busy channels, so that one write carries several.
    pub struct Delivery {
        /// How long a busy channel collects messages; "0" turns merging off.
        window: Duration as Span = 5 * MILLISECOND;
        /// Longest time that a channel collects.
        window_max: Duration as Span = 10 * MILLISECOND;
        /// Fewest subscribers on one reactor for which merging is worth while.
        window_fanout: usize as Number = 50;
    }
}

section! {
    /// How dead peers are found.
    pub struct Ping {
        /// How often a silent client is pinged.
        interval: Duration as Span = 30 * SECOND;
        /// How long it may take to answer; without traffic for `interval` and `timeout` a client is dropped.
        timeout: Duration as Span = 30 * SECOND;
    }
}

section! {
    /// Leaving without losing anybody.
    pub struct Drain {
        /// How long clients are still accepted after /readyz has turned to 503, until load balancers have noticed.
        delay: Duration as Span = 5 * SECOND;
        /// How long the closing of connections is spread over.
        window: Duration as Span = 30 * SECOND;
        /// How long what is queued may still be written after that; then the process ends.
        timeout: Duration as Span = 10 * SECOND;
    }
}

section! {
    /// What probes answer.
    pub struct Health {
        /// Whether /readyz stays true while Redis is away (lenient: sockets are kept) or not (strict).
        redis: RedisHealth as Word = RedisHealth::Lenient;
    }
}

words! {
    /// What an outage of Redis means for readiness.
    pub enum RedisHealth {
        /// Nothing, once Redis has been there.
        Lenient = "lenient",
        /// Not ready while it lasts.
        Strict = "strict",
    }
}

section! {
    /// What is logged, and how. Logs go to stdout, one event a line.
    pub struct Log {
        /// Form of a line; auto means text on a terminal, otherwise JSON.
        format: LogFormat as Word = LogFormat::Auto;
        /// Which events, by level and target, such as "info,gateway=debug".
        filter: String as Text = "info".into();
    }
}

words! {
    /// Form of a line of the log.
    pub enum LogFormat {
        /// Text on a terminal, otherwise JSON.
        Auto = "auto",
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
    }
}

section! {
    /// The demo page.
    pub struct Demo {
        /// Whether a plain GET of / shows a small chat.
        enabled: bool as Flag = false;
    }
}

section! {
    /// This process among the others.
    pub struct Node {
        /// Its name in logs and on the demo page; random if not given.
        name: Option<String> as Maybe<Text> = None;
    }
}
