//! The command line: what was asked for, and the answers that need no running gateway.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use protocol::Channel;

use crate::api::openapi;
use crate::config::{self, Config, GivenFlag, Loaded, Sources};

mod explain;
mod healthcheck;
mod token;

/// The file that is read if there is one and no other is named.
const USUAL_FILE: &str = "/etc/fanfare/fanfare.toml";

/// The exit code for settings or arguments that cannot be used; clap has the same for its own.
const WRONG_SETTINGS: u8 = 2;

/// Lets WebSocket applications scale over many processes: a message published anywhere reaches every subscriber everywhere.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version = VERSION, after_help = SHORT_EXAMPLES, after_long_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (revision ", env!("FANFARE_REVISION"), ")");

const SHORT_EXAMPLES: &str =
    "Try `fanfare --dev` and open http://localhost:3000/ in two tabs. `fanfare --help` says more.";

const EXAMPLES: &str = "\
Examples:
  fanfare --dev
      Try it out: one process in memory, everything open, a chat at http://localhost:3000/
  fanfare --redis-url redis://localhost:6379
  PORT=3001 REDIS_URL=redis://localhost:6379 fanfare
      Two processes that share what is published; clients of either hear every message.
  fanfare config default > fanfare.toml
      A file with every setting, explained.
  fanfare config check --config fanfare.toml
      Look for mistakes without starting anything.
  fanfare config explain room-1 --user anna
      Which rule is for a channel, and what that user may do there.
  fanfare config show
      What is in force, and where each value came from.
  fanfare token create --user anna --ttl 1h
      A token for trying out, signed with tokens.hmac_secret.

Where settings come from, each over the one before:
  defaults, the TOML file (--config, or /etc/fanfare/fanfare.toml if there is one),
  PORT and REDIS_URL, variables such as FANFARE__REDIS__URL (section and key after
  double underscores), flags.

Clients connect to ws://HOST:3000/ (the bare channel) or ws://HOST:3000/raw/CHANNEL.
Probes, metrics and the server API are on 127.0.0.1, 6000 above the port: /livez,
/readyz, /metrics, and /api with /openapi.json to describe it.
SIGTERM drains: clients are told to come back elsewhere, spread over drain.window.

Exit codes: 0 all is well, 1 it cannot run, is not ready, or a token is refused, 2 wrong settings or arguments.";

/// Flags that set something.
#[derive(Debug, Default, Args)]
struct Flags {
    /// TOML file with settings [default: /etc/fanfare/fanfare.toml, if there is one]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Port for clients; 0 takes any free one (listener.port) [default: 3000]
    #[arg(long, global = true)]
    port: Option<String>,
    /// Redis to join other processes by (redis.url). Others on this machine can see it; prefer REDIS_URL if it has a password
    #[arg(long, value_name = "URL", global = true)]
    redis_url: Option<String>,
    /// Development mode: everything is open to anyone, and the demo page is on (dev)
    #[arg(long, global = true)]
    dev: bool,
    /// What to log, by level and target, such as info,gateway=debug (log.filter) [default: info]
    #[arg(long, value_name = "FILTER", global = true)]
    log: Option<String>,
    /// Form of a line of the log: auto, text or json (log.format) [default: auto]
    #[arg(long, value_name = "FORMAT", global = true)]
    log_format: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients; the same as no command at all
    Serve,
    /// Show, explain or check settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask the gateway on this machine whether it is ready; exit 0 if it is
    Healthcheck {
        /// What to ask instead of /readyz on the admin address of the settings
        #[arg(long, value_name = "http://IP:PORT/PATH")]
        url: Option<String>,
    },
    /// Make tokens, or look at them
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Print the description of the server API (OpenAPI 3.1)
    Openapi,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Clone, Subcommand)]
enum ConfigCommand {
    /// Print a TOML file with every setting at its default, explained
    Default,
    /// Print the settings in force, each with where it came from; secrets are masked
    Show,
    /// Look for mistakes; prints ok, or all of them and exits with 2
    Check,
    /// Say which rule is for a channel, and what clients may do there
    Explain {
        /// The channel
        channel: String,
        /// The user of the client; without it, one of whom nobody has said who it is
        #[arg(long, default_value = "")]
        user: String,
    },
    /// Print every environment variable with its default, explained
    Env,
    /// Print the reference page of all settings, in Markdown
    #[command(hide = true)]
    Reference,
}

/// What remains to be done.
#[derive(Debug)]
pub enum Action {
    /// Serve clients with these settings.
    Serve(Box<Config>),
    /// Nothing: end with this code.
    Done(ExitCode),
}

impl Cli {
    /// Reads the command line and settings, and does what can be done without a gateway. Mistakes are printed to stderr.
    pub fn run() -> Action {
        let cli = Self::parse();
        let sources = cli.flags.sources();
        match cli.command {
            None | Some(Command::Serve) => match load(&sources) {
                Ok(loaded) => Action::Serve(Box::new(loaded.config)),
                Err(code) => Action::Done(code),
            },
            Some(Command::Config(command)) => Action::Done(command.run(&sources)),
            Some(Command::Token(command)) => Action::Done(command.run(&sources)),
            Some(Command::Healthcheck { url }) => Action::Done(check_health(url, &sources)),
            Some(Command::Openapi) => Action::Done(print(openapi::text().as_bytes())),
            Some(Command::Completions { shell }) => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "fanfare", &mut script);
                Action::Done(print(&script))
            }
        }
    }
}

impl Flags {
    fn sources(&self) -> Sources {
        let flag =
            |setting, flag, value: &Option<String>| value.clone().map(|value| GivenFlag { setting, flag, value });
        let flags = [
            flag("listener.port", "--port", &self.port),
            flag("redis.url", "--redis-url", &self.redis_url),
            flag("dev", "--dev", &self.dev.then(|| "true".to_owned())),
            flag("log.filter", "--log", &self.log),
            flag("log.format", "--log-format", &self.log_format),
        ];
        let usual = || Some(PathBuf::from(USUAL_FILE)).filter(|path| Path::exists(path));
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let env: BTreeMap<_, _> = std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        Sources {
            file: self.config.clone().or_else(usual),
            env,
            flags: flags.into_iter().flatten().collect(),
        }
    }
}

impl ConfigCommand {
    fn run(self, sources: &Sources) -> ExitCode {
        let page = match self {
            Self::Default => config::default_toml(),
            Self::Env => config::env_file(),
            Self::Reference => config::reference_page(),
            Self::Show | Self::Check | Self::Explain { .. } => match (load(sources), self) {
                (Ok(loaded), Self::Show) => config::show(&loaded),
                (Ok(loaded), Self::Explain { channel, user }) => match Channel::parse(&channel) {
                    Ok(channel) => explain::explain(&loaded.config, &channel, &user),
                    Err(error) => {
                        eprintln!("fanfare: no channel can be called that: {error}");
                        return ExitCode::from(WRONG_SETTINGS);
                    }
                },
                (Ok(_), _) => "ok\n".into(),
                (Err(code), _) => return code,
            },
        };
        print(page.as_bytes())
    }
}

fn load(sources: &Sources) -> Result<Loaded, ExitCode> {
    config::load(sources).map_err(|mistakes| {
        eprintln!("fanfare: {mistakes}");
        ExitCode::from(WRONG_SETTINGS)
    })
}

/// Prints to stdout. A reader that has seen enough and left is no failure.
fn print(page: &[u8]) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(page).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("fanfare: cannot print: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn check_health(url: Option<String>, sources: &Sources) -> ExitCode {
    let answer = match url {
        Some(url) => healthcheck::ask_url(&url),
        None => match load(sources) {
            Ok(loaded) => healthcheck::ask(reachable(loaded.config.admin_address()), "/readyz"),
            Err(code) => return code,
        },
    };
    match answer {
        Ok(()) => print(b"ready\n"),
        Err(error) => {
            eprintln!("fanfare: not ready: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where to reach a listener on this machine that listens on `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) if address.ip().is_unspecified() => address.set_ip(std::net::Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(_) if address.ip().is_unspecified() => address.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
