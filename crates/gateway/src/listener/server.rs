//! The public listener: its routes, one table, and how sockets come to a lane.

use std::future::ready;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_codec::Framed;
use actix_http::ws::handshake_response;
use actix_http::{HttpServiceBuilder, KeepAlive, Protocol, Request, Response, h1};
use actix_rt::net::TcpStream;
use actix_server::{GracefulShutdownSignal, Server, ServerBuilder};
use actix_service::{Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_factory, fn_service, map_config};
use actix_tls::accept::max_concurrent_tls_connect;
use actix_tls::accept::rustls_0_23::Acceptor;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderValue;
use actix_web::http::{Method, StatusCode, header};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, Error, HttpMessage, HttpRequest, HttpResponse, web};
use protocol::Channel;
use rustls::ServerConfig;
use socket2::SockRef;

use super::bodies::{TAKING, limit_body};
use super::{demo, streams, tls};
use crate::admission::Handshake;
use crate::config::{Carriage, Listener, Transport};
use crate::lane::attached::{self, Worker};
use crate::lane::line::{Line, OverTcp};
use crate::lane::outbound::Outbound;
use crate::listener::door::{Purpose, Refusal, check_handshake, knock};
use crate::listener::streams::Streams;
use crate::listener::upgrade::{CanBeHandedOver, upgrade};
use crate::metrics::Rejected;
use crate::node::Node;

/// How the public listener serves sockets.
#[derive(Clone)]
pub(crate) enum Sockets {
    /// They are handed over to reactors.
    Reactor,
    /// They stay with actix-web's workers, with TLS or without.
    Attached(Option<Arc<ServerConfig>>),
}

impl Sockets {
    /// What the settings ask for.
    pub(crate) fn from_config(listener: &Listener) -> Result<Self, tls::TlsError> {
        Ok(match (&listener.tls_cert, &listener.tls_key, listener.transport) {
            (Some(cert), Some(key), _) => Self::Attached(Some(tls::server_config(cert, key)?)),
            (_, _, Transport::Attached) => Self::Attached(None),
            (_, _, Transport::Reactor) => Self::Reactor,
        })
    }
}

/// Starts the public listener on `listener`, with `workers` threads.
pub(crate) fn start(
    node: &Arc<Node>,
    outbound: Arc<Outbound>,
    sockets: Sockets,
    listener: TcpListener,
    workers: usize,
) -> io::Result<Server> {
    let limits = &node.config.limits;
    // A worker stops accepting at this many sockets; those of reactors are not its own any more, attached ones are.
    let most_sockets = match &sockets {
        Sockets::Reactor if !node.terms.settings.transports.iter().any(|way| way.is_stream()) => limits.handshakes,
        Sockets::Reactor | Sockets::Attached(_) => limits.handshakes.saturating_add(node.admission.most()),
    };
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(most_sockets)
        // Attached connections are closed over the drain's window; actix may not cut them before.
        .shutdown_timeout((node.config.drain.window + node.config.drain.timeout).as_secs() + 1)
        .disable_signals();
    let builder = match sockets {
        Sockets::Reactor => listen_for_reactors(builder, node, outbound, listener),
        Sockets::Attached(tls) => listen_attached(builder, node, outbound, listener, tls),
    }?;
    Ok(builder.run())
}

fn listen_for_reactors(
    builder: ServerBuilder,
    node: &Arc<Node>,
    outbound: Arc<Outbound>,
    socket: TcpListener,
) -> io::Result<ServerBuilder> {
    let signal = builder.graceful_shutdown_signal();
    let node = Arc::clone(node);
    let workers = Workers::new(&node, outbound);
    builder.listen("public", socket, move || {
        let streams = Streams(workers.start());
        let for_hook = Arc::clone(&node);
        let hook = fn_factory(move || {
            let node = Arc::clone(&for_hook);
            async move {
                let app = routes(&node, None, None).new_service(()).await.map(Rc::new)?;
                Ok::<_, ()>(fn_service(
                    move |(request, framed): (Request, Framed<Line<TcpStream>, h1::Codec>)| {
                        let (node, app) = (Arc::clone(&node), Rc::clone(&app));
                        async move {
                            upgrade(&node, &*app, request, framed).await;
                            Ok::<(), actix_http::Error>(())
                        }
                    },
                ))
            }
        });
        let service = http(&node, &signal)
            .upgrade(hook)
            .finish(answering(routes(&node, None, Some(streams))));
        accept(&node).and_then(plain()).and_then(service.map_err(drop))
    })
}

fn listen_attached(
    builder: ServerBuilder,
    node: &Arc<Node>,
    outbound: Arc<Outbound>,
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
) -> io::Result<ServerBuilder> {
    let signal = builder.graceful_shutdown_signal();
    let node = Arc::clone(node);
    let workers = Workers::new(&node, outbound);
    match tls {
        None => builder.listen("public", socket, move || {
            let worker = workers.start();
            let streams = Streams(worker.clone());
            let routes = answering(routes(&node, Some(worker), Some(streams)));
            let service = http(&node, &signal).finish(routes);
            accept(&node).and_then(plain()).and_then(service.map_err(drop))
        }),
        Some(tls) => {
            let limits = &node.config.limits;
            max_concurrent_tls_connect(limits.handshakes);
            let timeout = limits.handshake_timeout;
            builder.listen("public", socket, move || {
                let worker = workers.start();
                let streams = Streams(worker.clone());
                let routes = answering(routes(&node, Some(worker), Some(streams)));
                let service = http(&node, &signal).finish(routes);
                let mut acceptor = Acceptor::new(ServerConfig::clone(&tls));
                acceptor.set_handshake_timeout(timeout);
                let tls = apply_fn_factory(acceptor.map_err(drop), |(io, handshake), acceptor| {
                    let tls = Service::<TcpStream>::call(acceptor, io);
                    async { Ok::<_, ()>(for_http(tls.await?, handshake)) }
                });
                accept(&node).and_then(tls).and_then(service.map_err(drop))
            })
        }
    }
}

/// Takes new connections: each has a place among the unfinished handshakes until its pass, or its end. Without one it is dropped.
fn accept(
    node: &Arc<Node>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (TcpStream, Handshake), Error = (), InitError = ()> + use<>
{
    let node = Arc::clone(node);
    fn_service(move |io: TcpStream| {
        node.accept_pulse.beat();
        let peer = io
            .peer_addr()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let begun = node.admission.begin_handshake(peer.to_canonical());
        if let Err(full) = begun {
            node.metrics.reject(full.into());
        }
        // Both fail only if the connection is gone already. The kernel would take megabytes for a client that does not read.
        let _ = io.set_nodelay(true);
        let _ = SockRef::from(&io).set_send_buffer_size(node.config.limits.write_buffer);
        ready(begun.map(|handshake| (io, handshake)).map_err(drop))
    })
}

/// What a connection without TLS becomes.
fn plain()
-> impl ServiceFactory<(TcpStream, Handshake), Config = (), Response = ForHttp<TcpStream>, Error = (), InitError = ()> {
    fn_service(|(io, handshake)| ready(Ok(for_http(io, handshake))))
}

/// What the HTTP service wants of a connection.
type ForHttp<T> = (Line<T>, Protocol, Option<SocketAddr>);

fn for_http<T: OverTcp>(io: T, handshake: Handshake) -> ForHttp<T> {
    let peer = io.tcp().peer_addr().ok();
    (Line::new(io, handshake), Protocol::Http1, peer)
}

/// What the settings say about HTTP, for a listener of any kind.
fn http<T, S>(node: &Arc<Node>, stop: &GracefulShutdownSignal) -> HttpServiceBuilder<Line<T>, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: std::fmt::Debug,
    <S::Service as Service<Request>>::Future: 'static,
    T: OverTcp,
{
    let stop = stop.clone();
    HttpServiceBuilder::default()
        .keep_alive(KeepAlive::Timeout(Duration::from_secs(5)))
        .client_request_timeout(node.config.limits.handshake_timeout)
        .client_disconnect_timeout(TAKING)
        // A body is polled only when what it gave before is with the kernel: that makes its outbox exact.
        .h1_write_buffer_size(1)
        .graceful_shutdown_signal(move || {
            let stop = stop.clone();
            async move { stop.notified().await }
        })
        .on_connect_ext(|line: &Line<T>, extensions| {
            // Lets whoever serves a socket end its line.
            extensions.insert(line.end());
            line.take_handshake().map(|handshake| extensions.insert(handshake));
        })
}

/// Starts the lanes of the workers.
#[derive(Clone)]
struct Workers {
    node: Arc<Node>,
    outbound: Arc<Outbound>,
    next: Arc<AtomicUsize>,
}

impl Workers {
    fn new(node: &Arc<Node>, outbound: Arc<Outbound>) -> Self {
        Self {
            node: Arc::clone(node),
            outbound,
            next: Arc::default(),
        }
    }

    /// Every worker calls this once, on its own thread.
    fn start(&self) -> Worker {
        let node = &self.node;
        let workers = node.lanes.len() - node.reactors;
        let number = node.reactors + self.next.fetch_add(1, Ordering::Relaxed) % workers;
        attached::start(
            number,
            node.lanes[number].clone(),
            node.lane_settings,
            Arc::clone(&self.outbound),
            Arc::clone(node.cluster.directory()),
        )
    }
}

/// Every route of the public listener. `worker`: whose WebSockets stay where they are. `streams`: whose streams do.
fn routes(
    node: &Arc<Node>,
    worker: Option<Worker>,
    streams: Option<Streams>,
) -> impl ServiceFactory<Request, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()> + use<>
{
    let app = App::new()
        .app_data(web::Data::from(Arc::clone(node)))
        .wrap(from_fn(limit_head))
        .wrap(from_fn(limit_body))
        .service(web::resource("/").to(bare))
        .service(web::resource("/raw/{channel}").to(raw))
        .service(web::resource("/connection/websocket").to(centrifuge))
        .service(web::resource("/connection/uni_websocket").to(one_way))
        .service(web::resource("/connection/http_stream").to(streams::http_stream))
        .service(web::resource("/connection/sse").to(streams::sse))
        .service(web::resource("/connection/uni_http_stream").to(streams::uni_http_stream))
        .service(web::resource("/connection/uni_sse").to(streams::uni_sse))
        .service(web::resource("/emulation").to(streams::emulation));
    let app = match streams {
        Some(streams) => app.app_data(streams),
        None => app,
    };
    let app = match worker {
        Some(worker) => app.app_data(worker),
        None => app,
    };
    map_config(app, |()| AppConfig::default())
}

/// The same with every error made an answer.
fn answering<F>(
    routes: F,
) -> impl ServiceFactory<Request, Config = (), Response = F::Response, Error = HttpResponse, InitError = F::InitError>
where
    F: ServiceFactory<Request, Config = (), Error = Error>,
{
    routes.map_err(|error| error.error_response())
}

/// `/`: the bare channel, or the demo page.
async fn bare(request: HttpRequest, node: web::Data<Node>, payload: web::Payload) -> Result<HttpResponse, Error> {
    if !request.headers().contains_key(header::UPGRADE)
        && request.method() == Method::GET
        && node.config.demo.enabled
        && accepts_html(&request)
    {
        let settings = &node.terms.settings;
        return Ok(demo::page(demo::Facts {
            node: &node.name,
            channel: node.config.raw.channel.as_ref().map_or("", Channel::as_str),
            has_centrifuge: settings.anonymous && settings.transports.contains(&Carriage::WebSocket),
        }));
    }
    let Some(channel) = node.config.raw.channel.clone() else {
        return Err(Refusal::UnknownChannel.into());
    };
    let mut response = connect(&request, &node, Purpose::Raw(channel.as_str()), payload).await?;
    if node.config.demo.enabled
        && let Some(cookie) = demo::serving_node_cookie(request.query_string(), &node.name)
        && let Ok(cookie) = HeaderValue::from_str(&cookie)
    {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// `/raw/{channel}`: any channel that a rule opens.
async fn raw(
    request: HttpRequest,
    node: web::Data<Node>,
    channel: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Error> {
    connect(&request, &node, Purpose::Raw(&channel), payload).await
}

/// `/connection/websocket`: the Centrifuge protocol.
async fn centrifuge(request: HttpRequest, node: web::Data<Node>, payload: web::Payload) -> Result<HttpResponse, Error> {
    connect(&request, &node, Purpose::Centrifuge, payload).await
}

/// `/connection/uni_websocket`: the Centrifuge protocol, for clients that only hear.
async fn one_way(request: HttpRequest, node: web::Data<Node>, payload: web::Payload) -> Result<HttpResponse, Error> {
    connect(&request, &node, Purpose::OneWay, payload).await
}

async fn connect(
    request: &HttpRequest,
    node: &web::Data<Node>,
    purpose: Purpose<'_>,
    payload: web::Payload,
) -> Result<HttpResponse, Error> {
    let worker = request.app_data::<Worker>();
    let lane = worker.map_or_else(|| node.pick_reactor(), Worker::number);
    // A request that asks for a WebSocket among other things does not come by the hook; its socket cannot be had.
    if worker.is_none() && !request.extensions().contains::<CanBeHandedOver>() {
        node.metrics.reject(Rejected::BadRequest);
        let refusal = check_handshake(request).err();
        return Err(refusal.unwrap_or(Refusal::NotAWebSocket).into());
    }
    let pass = knock(node, request, purpose, lane).await?;
    if let Some(handshake) = request.conn_data::<Handshake>() {
        handshake.finish();
    }
    match worker {
        Some(worker) => worker.connect(request, payload, pass).await,
        None => {
            let mut response = HttpResponse::from(handshake_response(request.head()).finish().map_into_boxed_body());
            if let Some(protocol) = pass.protocol.clone() {
                response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
            }
            response.extensions_mut().insert(pass);
            Ok(response)
        }
    }
}

fn accepts_html(request: &HttpRequest) -> bool {
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Refuses a request whose head is larger than the limit.
async fn limit_head(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let limit = request
        .app_data::<web::Data<Node>>()
        .map_or(usize::MAX, |node| node.config.limits.header_size);
    let uri = request.uri().path().len() + request.uri().query().map_or(0, str::len);
    let head = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum::<usize>()
        + uri;
    if head > limit {
        if let Some(node) = request.app_data::<web::Data<Node>>() {
            node.metrics.reject(Rejected::BadRequest);
        }
        let answer = HttpResponse::build(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
            .force_close()
            .finish();
        return Ok(request.into_response(answer));
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}
