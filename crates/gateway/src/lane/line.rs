//! A socket while it is actix-web's: with its place among the unfinished handshakes, and with an end that others can put to it.
//!
//! actix-web leaves a socket alone as long as its client takes nothing, and sends its own end a second late; a lane whose socket stays
//! attached needs both at once. Knows nothing of frames. Invariant: once a line is cut, every use of it fails, and the task that owns it is
//! woken to find out.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use actix_rt::net::TcpStream;
use actix_tls::accept::rustls_0_23::TlsStream;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::admission::Handshake;

/// Something that runs over TCP.
pub(crate) trait OverTcp: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The connection below.
    fn tcp(&self) -> &TcpStream;
}

impl OverTcp for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl OverTcp for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

pub(crate) struct Line<T> {
    io: T,
    end: End,
    handshake: Cell<Option<Handshake>>,
}

/// The end that a lane has in mind for its line.
#[derive(Clone, Default)]
pub(crate) struct End(Rc<Shared>);

#[derive(Default)]
struct Shared {
    state: Cell<State>,
    /// The client has said its last, and most likely is gone.
    has_left: Cell<bool>,
    /// When it is cut, whatever is on the way.
    deadline: RefCell<Option<Pin<Box<Sleep>>>>,
    task: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// Nothing more will be written; the client does not know yet.
    Finished,
    /// The client has been told that nothing more will be written.
    HungUp,
    Cut,
}

impl End {
    /// Everything is written: tells the client so, while what it still sends is read.
    pub(crate) fn finish(&self) {
        if self.0.state.get() == State::Open {
            self.set(State::Finished);
        }
    }

    /// Whether the client will say nothing any more. One that waits for the rest of an answer does not hang up.
    pub(crate) fn has_left(&self) -> bool {
        self.0.has_left.get()
    }

    /// Gives the connection up, with all that is written and not taken.
    pub(crate) fn cut(&self) {
        self.set(State::Cut);
    }

    /// The same, but after `delay`, in which what is written may be taken.
    pub(crate) fn cut_after(&self, delay: Duration) {
        *self.0.deadline.borrow_mut() = Some(Box::pin(sleep(delay)));
        self.wake();
    }

    fn set(&self, state: State) {
        self.0.state.set(state);
        self.wake();
    }

    fn wake(&self) {
        if let Some(task) = self.0.task.take() {
            task.wake();
        }
    }
}

impl<T: OverTcp> Line<T> {
    pub(crate) fn new(io: T, handshake: Handshake) -> Self {
        Self {
            io,
            end: End::default(),
            handshake: Cell::new(Some(handshake)),
        }
    }

    /// The socket alone.
    pub(crate) fn into_inner(self) -> T {
        self.io
    }

    /// The place among the unfinished handshakes, for whoever finishes it.
    pub(crate) fn take_handshake(&self) -> Option<Handshake> {
        self.handshake.take()
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        self.io.tcp()
    }

    pub(crate) fn end(&self) -> End {
        self.end.clone()
    }

    /// Fails once the line is cut, and otherwise has the task woken when it will be.
    fn check(&self, cx: &mut Context<'_>) -> io::Result<()> {
        let deadline = &mut *self.end.0.deadline.borrow_mut();
        if deadline
            .as_mut()
            .is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
        {
            self.end.0.state.set(State::Cut);
        }
        if self.end.0.state.get() == State::Cut {
            // The kernel's memory for what was not taken comes back at once.
            let _ = SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let mut task = self.end.0.task.borrow_mut();
        if task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
        Ok(())
    }
}

impl<T: OverTcp> AsyncRead for Line<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        line.check(cx)?;
        if line.end.0.state.get() == State::Finished {
            ready!(Pin::new(&mut line.io).poll_shutdown(cx))?;
            line.end.0.state.set(State::HungUp);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut line.io).poll_read(cx, buffer))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            line.end.0.has_left.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: OverTcp> AsyncWrite for Line<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let line = self.get_mut();
        line.check(cx)?;
        Pin::new(&mut line.io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        line.check(cx)?;
        Pin::new(&mut line.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        line.check(cx)?;
        Pin::new(&mut line.io).poll_shutdown(cx)
    }
}
