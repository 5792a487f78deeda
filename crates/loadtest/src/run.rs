//! From the command line to a report: the place where the parts meet.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::args::{Arguments, Chat, Common, Fanout, Load, Mode};
use crate::client::{self, Client};
use crate::engine::{Engine, latencies};
use crate::layout::Layout;
use crate::opening::{Opening, open_all};
use crate::report::{Meter, Opened, Quantiles, Report, Stalled, Subscribed, TrafficReport};
use crate::socket::closed_with;
use crate::traffic::{self, Traffic};
use crate::{idle, storm};

/// How long closing politely may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Does what `arguments` ask for. An error is a run that could not take place; what a run found wrong is in the report.
pub fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    match &arguments.mode {
        Mode::Fanout(fanout) => run_fanout(fanout),
        Mode::Chat(chat) => run_chat(chat),
        Mode::Idle(idle) => idle::run(idle),
        Mode::Storm(storm) => storm::run(storm),
    }
}

fn run_fanout(fanout: &Fanout) -> anyhow::Result<Report> {
    anyhow::ensure!(fanout.publishers >= 1, "--publishers must be at least 1");
    anyhow::ensure!(
        fanout.publishers <= fanout.subscribers,
        "--publishers are some of the --subscribers"
    );
    anyhow::ensure!(
        fanout.stalled <= fanout.subscribers - fanout.publishers,
        "--stalled are some of the --subscribers that do not publish"
    );
    let layout = Layout::one_channel(fanout.subscribers, fanout.publishers).with_stalled(fanout.stalled);
    let bench = Bench::new(&fanout.common, &layout, fanout.path.as_deref(), None)?;
    run_traffic("fanout", bench, &layout, &fanout.load, fanout.rate)
}

fn run_chat(chat: &Chat) -> anyhow::Result<Report> {
    anyhow::ensure!(
        chat.rooms >= 1 && chat.rooms <= chat.clients,
        "--rooms must be between 1 and --clients"
    );
    let layout = Layout::rooms(chat.clients, chat.rooms);
    let bench = Bench::new(&chat.common, &layout, None, Some(&chat.path))?;
    #[expect(clippy::cast_precision_loss, reason = "sockets of one process")]
    let rate = chat.rate * chat.clients as f64;
    run_traffic("chat", bench, &layout, &chat.load, rate)
}

fn run_traffic(
    mode: &'static str,
    mut bench: Bench<'_>,
    layout: &Layout,
    load: &Load,
    rate: f64,
) -> anyhow::Result<Report> {
    let opened = bench.open(bench.common.in_flight, bench.common.attempts)?;
    let mut report = bench.report(mode, opened);
    if report.problems.is_empty() {
        let patience = bench.common.patience;
        if !load.warmup.is_zero() {
            let warmup = bench.publish(layout, Traffic::steady(rate, load.warmup, load.size, patience))?;
            report.problems.extend(
                warmup
                    .problems()
                    .into_iter()
                    .map(|problem| format!("{problem} while warming up")),
            );
        }
        let traffic = bench.publish(layout, Traffic::steady(rate, load.duration, load.size, patience))?;
        report.problems.extend(traffic.problems());
        report.traffic = Some(traffic);
        if !layout.stalled().is_empty() {
            report.stalled = Some(bench.read_on(layout.stalled().len())?);
        }
    }
    bench.finish(report)
}

/// A run in progress: its connections, and what it watches.
pub(crate) struct Bench<'a> {
    pub(crate) common: &'a Common,
    pub(crate) engine: Engine,
    pub(crate) meter: Meter,
    clients: Vec<Client>,
    bar: ProgressBar,
}

impl<'a> Bench<'a> {
    /// Prepares a run; [`client::all`] says what `path` and `room` are.
    pub(crate) fn new(
        common: &'a Common,
        layout: &Layout,
        path: Option<&str>,
        room: Option<&str>,
    ) -> anyhow::Result<Self> {
        let clients = client::all(common, layout, path, room)?;
        let tls = match clients.iter().any(|client| client.target.tls.is_some()) {
            true => Some(trust(common)?),
            false => None,
        };
        let meter = Meter {
            servers: common.pid.clone(),
            beside: common.beside.clone(),
        };
        meter.read().context("--pid and --beside name running processes")?;
        let engine = Engine::new(layout.connections(), layout.stalled(), common.sources, tls)?;
        Ok(Self {
            common,
            engine,
            meter,
            clients,
            bar: progress_bar(),
        })
    }

    /// Opens all connections.
    pub(crate) fn open(&mut self, in_flight: usize, attempts: u32) -> anyhow::Result<Opened> {
        self.engine.handshakes = latencies();
        self.engine.subscriptions = latencies();
        self.engine.subscribing = None;
        self.engine.refused.clear();
        let started = Instant::now();
        let deadline = started + self.common.open_timeout;
        let opening = Opening {
            in_flight: in_flight.max(1),
            attempts: attempts.max(1),
            deadline,
        };
        self.bar.set_message("opening");
        open_all(&mut self.engine, &self.clients, opening, &self.bar, &mut |_, _, _| {})?;
        Ok(Opened {
            open: self.engine.open(),
            seconds: started.elapsed().as_secs_f64(),
            handshake: Quantiles::of(&self.engine.handshakes),
            subscribed: self.engine.subscribing.map(|(first, last)| Subscribed {
                seconds: (last - first).as_secs_f64(),
                latency: Quantiles::of(&self.engine.subscriptions),
            }),
            refused: self.engine.refused.clone(),
        })
    }

    /// Publishes and receives.
    pub(crate) fn publish(&mut self, layout: &Layout, traffic: Traffic) -> anyhow::Result<TrafficReport> {
        self.bar.set_message("publishing");
        let outcome = traffic::run(
            &mut self.engine,
            layout,
            traffic,
            self.common.dialect,
            &self.meter,
            &self.bar,
        )?;
        Ok(TrafficReport::of(&outcome))
    }

    /// Lets the `connections` that stalled read what was kept for them.
    fn read_on(&mut self, connections: usize) -> anyhow::Result<Stalled> {
        self.bar.set_message("reading on");
        self.engine.read_on(Instant::now() + self.common.patience)?;
        let ended = std::mem::take(&mut self.engine.stalled_ended);
        let slow_code = self.common.dialect.slow_code();
        Ok(Stalled {
            connections,
            slow_code,
            closed_as_slow: ended.get(&closed_with(slow_code)).copied().unwrap_or(0),
            ended,
        })
    }

    /// Keeps the connections open and answers pings, for so long.
    pub(crate) fn hold(&mut self, duration: Duration) -> anyhow::Result<()> {
        self.bar.set_message("holding");
        Ok(self
            .engine
            .turn_until(Instant::now() + duration, &mut |_, _, _| {}, |_| false)?)
    }

    /// Closes all connections.
    pub(crate) fn close(&mut self) -> anyhow::Result<()> {
        self.bar.set_message("closing");
        Ok(self.engine.close_all(CLOSE_PATIENCE)?)
    }

    /// A report that knows how opening went, and nothing else yet.
    pub(crate) fn report(&self, mode: &'static str, opened: Opened) -> Report {
        let mut report = Report {
            mode,
            connections: self.clients.len(),
            opened,
            traffic: None,
            memory: None,
            storms: Vec::new(),
            stalled: None,
            ended: Default::default(),
            problems: Vec::new(),
        };
        report.problems.extend(self.not_open());
        report
    }

    /// The problem that not all connections are open, if so, with what came of the attempts of this round.
    pub(crate) fn not_open(&self) -> Option<String> {
        let missing = self.clients.len() - self.engine.open();
        let refused = &self.engine.refused;
        let reasons: Vec<_> = refused
            .iter()
            .map(|(reason, count)| format!("{count} x {reason}"))
            .collect();
        let why = if reasons.is_empty() {
            "no answer in time".to_owned()
        } else {
            reasons.join(", ")
        };
        (missing > 0).then(|| format!("{missing} connections could not be opened ({why})"))
    }

    /// Closes everything and completes the report with what ended by itself.
    pub(crate) fn finish(mut self, mut report: Report) -> anyhow::Result<Report> {
        self.close()?;
        self.bar.finish_and_clear();
        report.ended = std::mem::take(&mut self.engine.ended);
        let ended: u64 = report.ended.values().sum();
        if ended > 0 {
            report.problems.push(format!("{ended} connections ended by themselves"));
        }
        Ok(report)
    }
}

/// Hidden unless standard error is a terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if std::io::stderr().is_terminal() {
        let style = ProgressStyle::with_template("{msg:>12} {bar:40} {human_pos} of {human_len}, {elapsed}");
        bar.set_style(style.expect("a valid template"));
    } else {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}

fn trust(common: &Common) -> anyhow::Result<Arc<ClientConfig>> {
    let path = common
        .ca
        .as_ref()
        .context("a wss:// URL needs --ca, the certificates to trust")?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(|| path.display().to_string())? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
