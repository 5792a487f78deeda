//! The admin listener: probes, metrics and the server API, on a port and threads of their own.
//!
//! Reads what others report and changes nothing; what the API does stands there. Never reachable through the public port.

use std::fmt::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use actix_web::dev::Server;
use actix_web::http::header;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use super::bodies::{keep_handle, limit_body};
use crate::api::{self, Api};
use crate::config::RedisHealth;
use crate::node::Node;

/// A loop that has not turned for so long is dead.
const DEAD: Duration = Duration::from_secs(5);

/// Starts the admin listener.
pub(crate) fn start(node: &Arc<Node>, listener: TcpListener) -> io::Result<Server> {
    let calls = web::Data::new(Api::new(node));
    let node = web::Data::from(Arc::clone(node));
    let app = move || {
        App::new()
            .app_data(node.clone())
            .wrap(from_fn(limit_body))
            .route("/livez", web::get().to(livez))
            .route("/healthz", web::get().to(livez))
            .route("/readyz", web::get().to(readyz))
            .route("/metrics", web::get().to(metrics))
            .route("/openapi.json", web::get().to(api::description))
            .service(api::routes(calls.clone()))
    };
    Ok(HttpServer::new(app)
        .on_connect(keep_handle)
        .workers(1)
        .disable_signals()
        .shutdown_timeout(1)
        .listen(listener)?
        .run())
}

async fn livez(node: web::Data<Node>) -> HttpResponse {
    liveness(&node).answer(true)
}

/// Whether every loop of the process turns. Never depends on Redis or load.
pub(crate) fn liveness(node: &Node) -> Report {
    let mut report = Report::default();
    for (number, lane) in node.lanes.iter().enumerate() {
        report.check(format_args!("lane {number}"), lane.stats.silence() < DEAD);
    }
    report.check(format_args!("node"), node.node_pulse.silence() < DEAD);
    // A worker that is busy with handshakes does not accept, by design; the knock may have come to one.
    let is_full = node.admission.handshakes() >= node.config.limits.handshakes;
    report.check(
        format_args!("accept loop"),
        node.is_closed() || is_full || node.accept_pulse.silence() < DEAD,
    );
    report
}

/// Whether new clients should be sent here.
async fn readyz(request: HttpRequest, node: web::Data<Node>) -> HttpResponse {
    let health = node.bus.health();
    let mut report = Report::default();
    report.check(format_args!("started"), health.was_up && !node.is_closed());
    report.check(format_args!("not draining"), !node.is_draining.load(Ordering::Acquire));
    if node.config.health.redis == RedisHealth::Strict {
        report.check(format_args!("bus"), health.link_up && health.publisher_up);
    }
    report.tell(format_args!("bus: {}", health.kind));
    let since = SystemTime::now().duration_since(health.since).unwrap_or_default();
    report.tell(format_args!("link: {} for {} s", up(health.link_up), since.as_secs()));
    report.tell(format_args!("publisher: {}", up(health.publisher_up)));
    if let Some(loop_back) = health.loop_back {
        report.tell(format_args!("loop-back: {:.1} ms", loop_back.as_secs_f64() * 1000.0));
    }
    if let Some(problem) = &health.problem {
        report.tell(format_args!("problem: {problem}"));
    }
    report.tell(format_args!(
        "connections: {} of {}",
        node.admission.connections(),
        node.admission.most()
    ));
    report.answer(
        request
            .query_string()
            .split('&')
            .any(|part| part == "verbose" || part.starts_with("verbose=")),
    )
}

async fn metrics(node: web::Data<Node>) -> HttpResponse {
    let metrics = Arc::clone(&node.metrics);
    match web::block(move || metrics.render()).await {
        Ok(Ok(text)) => HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, prometheus::TEXT_FORMAT))
            .body(text),
        Ok(Err(error)) => {
            tracing::error!(%error, "metrics could not be rendered");
            HttpResponse::InternalServerError().finish()
        }
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

fn up(is_up: bool) -> &'static str {
    if is_up { "up" } else { "down" }
}

/// The answer to a probe: a line for each check.
#[derive(Default)]
pub(crate) struct Report {
    lines: String,
    is_bad: bool,
}

impl Report {
    fn check(&mut self, what: fmt::Arguments<'_>, is_good: bool) {
        self.is_bad |= !is_good;
        let mark = if is_good { '+' } else { '-' };
        writeln!(self.lines, "[{mark}] {what}").expect("a String takes everything");
    }

    fn tell(&mut self, what: fmt::Arguments<'_>) {
        writeln!(self.lines, "    {what}").expect("a String takes everything");
    }

    /// Whether every check was passed.
    pub(crate) fn is_good(&self) -> bool {
        !self.is_bad
    }

    fn answer(self, is_verbose: bool) -> HttpResponse {
        let mut response = if self.is_bad {
            HttpResponse::ServiceUnavailable()
        } else {
            HttpResponse::Ok()
        };
        response
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .content_type("text/plain; charset=utf-8");
        match (is_verbose, self.is_bad) {
            (true, _) => response.body(self.lines),
            (false, true) => response.body("not ok\n"),
            (false, false) => response.body("ok\n"),
        }
    }
}
