//! Sockets that stay with actix-web: the same hub, outbox and rules as a reactor's, over actix-ws.
//!
//! For TLS, and for platforms where sockets cannot be handed over. One lane per worker thread, everything on it single-threaded. actix-ws
//! reads frames (behind our own guard, since it would buffer a frame before it looks at its size); frames go out as the response's body, so
//! that a publication's bytes are shared. Invariant: all of actix-ws is in this file.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::{Error, FromRequest, HttpRequest, HttpResponse, dev, web};
use actix_ws::{AggregatedMessage, ProtocolError};
use bus::vital;
use bytes::Bytes;
use futures_util::Stream;
use protocol::Close;
use protocol::frame::{FrameError, Guard, Item as Frame, Kind, Limits, Message, Role};
use tokio::sync::Notify;

use crate::lane::Lane;
use crate::lane::connections::{Connections, LaneSettings, Wire};
use crate::lane::directory::Directory;
use crate::lane::id::ConnectionId;
use crate::lane::inbox::{Inbox, Item};
use crate::lane::line::End;
use crate::lane::outbound::Outbound;
use crate::lane::pass::Pass;
use crate::stats::{Ended, LaneStats, UntilOver};

#[cfg(test)]
mod tests;

/// So much is written to a socket at once.
const WRITE: usize = 32 * 1024;
/// The loop turns at least this often, so that a dead one can be told from a quiet one.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A lane that no thread serves yet.
pub(crate) fn lane(number: usize, settings: &LaneSettings) -> Lane {
    let woken = Arc::new(Notify::new());
    let notify = Arc::clone(&woken);
    let inbox = Inbox::new(settings.inbox, move || notify.notify_one());
    Lane {
        inbox: Arc::new(inbox),
        stats: Arc::new(LaneStats::new(number)),
        woken: Some(woken),
    }
}

/// Serves `lane` on this thread, until it is stopped.
pub(crate) fn start(
    number: usize,
    lane: Lane,
    settings: LaneSettings,
    outbound: Arc<Outbound>,
    directory: Arc<Directory>,
) -> Worker {
    let wake = lane.woken.clone().expect("made by `lane`");
    let shared = Rc::new(Shared {
        number,
        frames: settings.frames,
        connections: RefCell::new(Connections::new(settings, Arc::clone(&lane.stats), directory)),
        lane,
        outbound,
        wake,
    });
    // Sockets without a loop would look alive for ever: better no process than that.
    actix_web::rt::spawn(vital("turn", turn(Rc::clone(&shared))));
    Worker(shared)
}

/// A worker's lane, on its own thread.
#[derive(Clone)]
pub(crate) struct Worker(Rc<Shared>);

struct Shared {
    number: usize,
    frames: Limits,
    connections: RefCell<Connections<Socket>>,
    lane: Lane,
    outbound: Arc<Outbound>,
    wake: Arc<Notify>,
}

/// Turns the lane's loop until it is stopped.
async fn turn(shared: Rc<Shared>) {
    // A worker without sockets ends early in a drain, and this with it.
    let _until_over = UntilOver(Arc::clone(&shared.lane.stats));
    let mut items = VecDeque::new();
    loop {
        let sleep = shared.sleep();
        // Sooner is a wake from the node, or from a connection that has brought a deadline.
        let _ = tokio::time::timeout(sleep, shared.wake.notified()).await;
        if shared.work(&mut items).is_break() {
            return;
        }
        // The bodies fetch what waits for them, before more is added.
        tokio::task::yield_now().await;
    }
}

impl Shared {
    /// How long nothing needs to be done, unless something comes in.
    fn sleep(&self) -> Duration {
        let due = self.connections.borrow_mut().next_due();
        due.map_or(LONGEST_SLEEP, |due| {
            due.saturating_duration_since(Instant::now()).min(LONGEST_SLEEP)
        })
    }

    /// Takes what the node has for the lane, and does what is due.
    fn work(&self, items: &mut VecDeque<Item>) -> ControlFlow<()> {
        let began = Instant::now();
        let has_more = self.lane.inbox.take(items);
        let mut connections = self.connections.borrow_mut();
        connections.set_now(began);
        for item in items.drain(..) {
            match item {
                Item::Publication(publication, at) => connections.hub.collect(&publication, at),
                Item::Subscribed(subscribed) => connections.subscribed(subscribed.0, subscribed.1),
                Item::Answer(answer) => connections.answer(answer.0, answer.1),
                Item::Commands(commands) => {
                    let (id, message) = *commands;
                    if let Some(key) = connections.find(id) {
                        receive(self, &mut connections, key, Frame::Message(message));
                    }
                }
                Item::Consulted(word) => connections.consulted(word.0, word.1),
                Item::Order(order) => connections.obey(order.0, order.1),
                Item::Recheck(whom) => {
                    if let Some(rest) = connections.recheck(whom) {
                        self.lane.inbox.push(Item::Recheck(rest));
                    }
                }
                Item::Count(count) => {
                    // Whoever asked may have given up.
                    let _ = count.1.send(connections.hub.count(count.0.as_deref()));
                }
                Item::Drain(pace) => connections.drain(pace),
                Item::Pause(pause) => std::thread::sleep(pause),
                Item::Stop => {
                    connections.abandon();
                    return ControlFlow::Break(());
                }
                Item::Open(_) => unreachable!("attached sockets are not handed over"),
            }
        }
        connections.flush();
        connections.look_at_due();
        connections.report(began);
        // What is due may have ended subscriptions; it waits at most for as many as there are.
        if !connections.asks.is_empty() {
            self.outbound.push(&mut connections.asks);
        }
        if has_more {
            self.wake.notify_one();
        }
        ControlFlow::Continue(())
    }
}

impl Worker {
    /// The number of its lane.
    pub(crate) fn number(&self) -> usize {
        self.0.number
    }

    /// Answers a handshake that has a pass, and serves the connection from then on.
    pub(crate) async fn connect(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        pass: Pass,
    ) -> Result<HttpResponse, Error> {
        let refused = Rc::new(Cell::new(None));
        let guarded = Guarded {
            payload: payload.into_inner(),
            guard: Guard::new(Role::Server),
            limits: self.0.frames,
            refused: Rc::clone(&refused),
        };
        let guarded: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(guarded);
        let mut payload = dev::Payload::Stream { payload: guarded };
        let payload = web::Payload::from_request(request, &mut payload).await?;
        let (mut response, session, messages) = actix_ws::handle(request, payload)?;
        if let Some(protocol) = pass.protocol.clone() {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let messages = messages
            .max_frame_size(self.0.frames.message_size)
            .aggregate_continuations()
            .max_continuation_size(self.0.frames.message_size);

        let (id, end) = self.open(request, pass, &Bytes::new());
        let reading = Reading {
            shared: Rc::clone(&self.0),
            id,
            messages,
            refused,
            _session: session,
        };
        actix_web::rt::spawn(reading.run());
        let shared = Rc::clone(&self.0);
        // The old body stays inside the new one: dropping it would end the stream of messages.
        Ok(response.map_body(move |_, old| {
            BoxBody::new(Body {
                shared,
                id,
                end,
                is_read: true,
                _old: Some(old),
            })
        }))
    }

    /// Opens a connection that is nothing but the body of the answer to `request`; it begins with `head`.
    pub(crate) async fn stream(&self, request: &HttpRequest, pass: Pass, head: &'static [u8]) -> BoxBody {
        let (id, end) = self.open(request, pass, &Bytes::from_static(head));
        hand_over(&self.0).await;
        BoxBody::new(Body {
            shared: Rc::clone(&self.0),
            id,
            end,
            is_read: false,
            _old: None,
        })
    }

    fn open(&self, request: &HttpRequest, pass: Pass, head: &Bytes) -> (ConnectionId, End) {
        let Pass {
            client,
            admitted,
            interest,
            first,
            ..
        } = pass;
        let end = request
            .conn_data::<End>()
            .cloned()
            .expect("every line of the listener has one");
        let socket = Socket {
            end: end.clone(),
            body: None,
            reader: None,
            is_over: false,
        };
        let mut connections = self.0.connections.borrow_mut();
        connections.set_now(Instant::now());
        let key = connections.open(socket, client, admitted, interest, head);
        let id = connections.id(key).expect("just opened");
        if let Some(message) = first {
            receive(&self.0, &mut connections, key, Frame::Message(message));
        }
        self.0.wake.notify_one();
        (id, end)
    }
}

/// Gives the node what was read, and does not read on until it has room.
async fn hand_over(shared: &Shared) {
    let mut asks = std::mem::take(&mut shared.connections.borrow_mut().asks);
    if !asks.is_empty() && !shared.outbound.push(&mut asks) {
        shared.outbound.opened().await;
    }
}

/// The way out of a connection: nothing is written here, the body fetches it.
struct Socket {
    end: End,
    body: Option<Waker>,
    reader: Option<Waker>,
    /// What waits is the last.
    is_over: bool,
}

impl Write for Socket {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        if let Some(body) = self.body.take() {
            body.wake();
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for Socket {
    fn hang_up(&mut self) {
        self.is_over = true;
        self.body
            .take()
            .into_iter()
            .chain(self.reader.take())
            .for_each(Waker::wake);
    }

    fn reset(&mut self) {
        self.end.cut();
    }
}

/// The bytes that go out, as the body of the answer.
struct Body {
    shared: Rc<Shared>,
    id: ConnectionId,
    end: End,
    /// Somebody reads what the client sends.
    is_read: bool,
    /// What the answer had for a body.
    _old: Option<BoxBody>,
}

impl MessageBody for Body {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let mut connections = self.shared.connections.borrow_mut();
        if let Some(key) = connections.find(self.id) {
            if !self.is_read && self.end.has_left() {
                connections.end(key, Ended::Lost);
                return Poll::Ready(None);
            }
            if let Some(bytes) = connections.take(key, WRITE) {
                return Poll::Ready(Some(Ok(bytes)));
            }
            connections.finish_if_done(key);
        }
        match connections.find(self.id).and_then(|key| connections.wire(key)) {
            Some(socket) if !socket.is_over => {
                socket.body = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => {
                // A body is asked for more only when what it gave is with the kernel.
                self.end.finish();
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for Body {
    /// The connection broke, or has ended. While somebody reads, that is where it ends: what has come in still counts.
    fn drop(&mut self) {
        if let Ok(mut connections) = self.shared.connections.try_borrow_mut()
            && let Some(key) = connections.find(self.id)
            && !(self.is_read && connections.hears(key))
        {
            connections.end(key, Ended::Lost);
        }
    }
}

/// What comes in.
struct Reading {
    shared: Rc<Shared>,
    id: ConnectionId,
    messages: actix_ws::AggregatedMessageStream,
    refused: Rc<Cell<Option<FrameError>>>,
    _session: actix_ws::Session,
}

impl Reading {
    async fn run(mut self) {
        while let Some(message) = self.next().await {
            if !self.handle(message) {
                return;
            }
            self.shared.wake.notify_one();
            hand_over(&self.shared).await;
        }
        let mut connections = self.shared.connections.borrow_mut();
        if let Some(key) = connections.find(self.id) {
            match self.refused.get() {
                Some(error) => connections.fail(key, error),
                None => connections.end(key, Ended::Lost),
            }
        }
    }

    /// Acts on a message. Returns whether there can be another.
    fn handle(&self, message: Result<AggregatedMessage, ProtocolError>) -> bool {
        let mut connections = self.shared.connections.borrow_mut();
        let Some(key) = connections.find(self.id) else {
            return false;
        };
        connections.set_now(Instant::now());
        match message {
            // Also when the guard has refused what follows: this came before it.
            Ok(message) => receive(&self.shared, &mut connections, key, frame(message)),
            Err(error) => connections.fail(key, frame_error(&error)),
        }
        connections.hears(key)
    }

    /// The next message; `None` also when the gateway has closed.
    async fn next(&mut self) -> Option<Result<AggregatedMessage, ProtocolError>> {
        let (shared, id) = (&self.shared, self.id);
        let mut message = std::pin::pin!(self.messages.recv());
        futures_util::future::poll_fn(|cx| {
            if let Poll::Ready(message) = message.as_mut().poll(cx) {
                return Poll::Ready(message);
            }
            let mut connections = shared.connections.borrow_mut();
            match connections.find(id).and_then(|key| connections.wire(key)) {
                Some(socket) => {
                    socket.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(None),
            }
        })
        .await
    }
}

/// Acts on a frame. A panic costs this connection only.
fn receive(shared: &Shared, connections: &mut Connections<Socket>, key: usize, frame: Frame) {
    let length = match &frame {
        Frame::Message(message) => message.data.len(),
        Frame::Ping(data) | Frame::Pong(data) => data.len(),
        Frame::Close { reason, .. } => reason.len(),
    };
    shared.lane.stats.received_bytes.add(length as u64);
    let received = catch_unwind(AssertUnwindSafe(|| {
        connections.receive(key, frame);
        connections.answered(key);
    }));
    if received.is_err() {
        shared.lane.stats.panics.add(1);
        connections.close(key, Close::Internal);
    }
}

fn frame(message: AggregatedMessage) -> Frame {
    match message {
        AggregatedMessage::Text(text) => Frame::Message(Message {
            kind: Kind::Text,
            data: text.into_bytes(),
        }),
        AggregatedMessage::Binary(data) => Frame::Message(Message {
            kind: Kind::Binary,
            data,
        }),
        AggregatedMessage::Ping(data) => Frame::Ping(data),
        AggregatedMessage::Pong(data) => Frame::Pong(data),
        AggregatedMessage::Close(reason) => Frame::Close {
            code: reason.as_ref().map(|reason| reason.code.into()),
            reason: reason.and_then(|reason| reason.description).unwrap_or_default(),
        },
    }
}

fn frame_error(error: &ProtocolError) -> FrameError {
    match error {
        ProtocolError::Overflow => FrameError::TooLarge,
        // The guard has judged the frame; what is left is text that is not UTF-8, which actix-ws reports as a failure to read.
        ProtocolError::Io(error) if error.kind() == io::ErrorKind::InvalidData => FrameError::InvalidUtf8,
        _ => FrameError::Protocol("not a frame"),
    }
}

/// The bytes that come in, as long as their frames may pass.
struct Guarded {
    payload: dev::Payload,
    guard: Guard,
    limits: Limits,
    refused: Rc<Cell<Option<FrameError>>>,
}

impl Stream for Guarded {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.refused.get().is_some() {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.payload).poll_next(cx);
        let chunk = match &polled {
            Poll::Ready(Some(Ok(chunk))) => chunk,
            // The client is gone. Told of an error, actix-ws would forget what it sent before.
            Poll::Ready(Some(Err(_))) => return Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => return polled,
        };
        let limits = self.limits;
        match self.guard.check(chunk, &limits) {
            Ok(()) => polled,
            Err((passed, error)) => {
                self.refused.set(Some(error));
                match passed {
                    0 => Poll::Ready(None),
                    passed => Poll::Ready(Some(Ok(chunk.slice(..passed)))),
                }
            }
        }
    }
}
