//! Leaving: nobody is surprised, nobody loses anything, and nobody is waited for longer than promised.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gateway::Drained;
use gateway::config::{Config, Transport};
use protocol::frame::{Item, client};

use crate::cluster::Gateway;
use crate::support::{
    MASK, PATIENCE, Redis, Server, Socket, config, config_on, get, narrow_client, on_both_transports, upgrade, wait_for,
};

const CLIENTS: usize = 500;
const DELAY: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(4);
/// How far the close of a client may be from where an even pace has it.
const TOLERANCE: Duration = Duration::from_millis(400);
/// What was published so long before a client was closed must have reached it.
const UNDER_WAY: Duration = Duration::from_millis(500);

on_both_transports! {
    five_hundred_are_closed_evenly_and_lose_nothing
    what_waits_is_written_before_the_close
    a_handshake_under_way_is_not_forgotten
    a_client_that_says_nothing_holds_nobody_up
    a_second_signal_is_heard
    it_is_alive_until_the_end
    what_clients_say_meanwhile_is_published
}

fn with_drain(mut config: Config, delay: Duration, window: Duration, timeout: Duration) -> Config {
    config.drain.delay = delay;
    config.drain.window = window;
    config.drain.timeout = timeout;
    config
}

/// One of many, and all that it has heard.
struct Member {
    socket: Socket,
    heard: Vec<usize>,
    closed: Option<Closed>,
    is_over: bool,
}

struct Closed {
    at: Instant,
    code: Option<u16>,
    reason: String,
}

impl Member {
    fn join(server: &Server) -> Self {
        Self {
            socket: server.client(),
            heard: Vec::new(),
            closed: None,
            is_over: false,
        }
    }

    /// Takes in what is there, and answers a Close.
    fn read(&mut self) {
        while !self.is_over {
            match self.socket.next_now() {
                Ok(Some(Item::Message(message))) => {
                    assert!(self.closed.is_none(), "a message after the Close");
                    let text = std::str::from_utf8(&message.data).expect("a text");
                    self.heard.push(text.parse().expect("a number"));
                }
                Ok(Some(Item::Close { code, reason })) => {
                    let at = Instant::now();
                    self.closed = Some(Closed { at, code, reason });
                    let _ = self.socket.try_write(client::close(code.map(|code| (code, "")), MASK));
                }
                Ok(Some(other)) => panic!("{other:?}"),
                Ok(None) => self.is_over = true,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error} instead of a Close"),
            }
        }
    }
}

fn five_hundred_are_closed_evenly_and_lose_nothing(transport: Transport) {
    let redis = Redis::start();
    let leaving = with_drain(config_on(&redis, transport), DELAY, WINDOW, Duration::from_secs(2));
    let leaving = Server::start(leaving);
    let other = Server::start(config_on(&redis, transport));
    let mut members: Vec<_> = (0..CLIENTS).map(|_| Member::join(&leaving)).collect();

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let publishing = scope.spawn(|| publish(other.client(), &is_over));
        let began = Instant::now();
        let drain = leaving.drain();
        wait_for("/readyz to turn", || {
            get(leaving.admin(), "/readyz").filter(|(status, _)| *status == 503)
        });
        assert!(began.elapsed() < DELAY, "{:?}", began.elapsed());
        assert_eq!(leaving.metric("fanfare_draining"), 1.0);
        members.push(Member::join(&leaving));
        assert!(began.elapsed() < DELAY, "accepted after {:?}", began.elapsed());

        while members.iter().any(|member| !member.is_over) {
            members.iter_mut().for_each(Member::read);
            if began.elapsed() > DELAY + WINDOW / 4 {
                assert_is_closed(&leaving);
            }
            assert!(
                began.elapsed() < DELAY + WINDOW + Duration::from_secs(5),
                "some are still there"
            );
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(drain.wait(), Drained::Completely);
        let took = began.elapsed();
        assert!(
            (WINDOW..DELAY + WINDOW + Duration::from_secs(2)).contains(&took),
            "{took:?}"
        );
        is_over.store(true, Ordering::SeqCst);
        let published = publishing.join().expect("it published");
        check_evenness(&members, began + DELAY);
        check_completeness(&members, &published);
    });
}

/// Nobody is let in any more.
#[track_caller]
fn assert_is_closed(server: &Server) {
    if let Ok(mut stream) = TcpStream::connect(server.address()) {
        let answer = crate::support::ask_on(&mut stream, upgrade("/", &[]));
        assert!(
            answer.as_ref().map_or(true, |answer| answer.status == 503),
            "{answer:?}"
        );
    }
}

/// Publishes one number after the other. Returns when each was sent.
fn publish(mut socket: Socket, is_over: &AtomicBool) -> Vec<Instant> {
    let (mut published, began) = (Vec::new(), Instant::now());
    while !is_over.load(Ordering::SeqCst) && began.elapsed() < PATIENCE {
        socket.send(published.len().to_string());
        socket.expect(&published.len().to_string());
        published.push(Instant::now());
        thread::sleep(Duration::from_millis(50));
    }
    published
}

fn check_evenness(members: &[Member], begin: Instant) {
    let mut times: Vec<Duration> = Vec::new();
    for member in members {
        let closed = member.closed.as_ref().expect("everybody was closed");
        assert_eq!((closed.code, closed.reason.as_str()), (Some(1001), "shutdown"));
        assert!(closed.at >= begin, "closed before the window");
        times.push(closed.at - begin);
    }
    times.sort();
    for tenth in [1, 5, 9] {
        let found = times[times.len() * tenth / 10];
        let even = WINDOW.mul_f64(tenth as f64 / 10.0);
        assert!(
            found.abs_diff(even) <= TOLERANCE,
            "{tenth}0 % were closed after {found:?}, not {even:?}"
        );
    }
}

fn check_completeness(members: &[Member], published: &[Instant]) {
    for member in members {
        let closed = member.closed.as_ref().expect("checked");
        let first = member.heard.first().expect("it heard something");
        assert!(
            member.heard.iter().copied().eq(*first..first + member.heard.len()),
            "a hole: {:?}",
            member.heard
        );
        let last = first + member.heard.len();
        let due = published.iter().take_while(|at| **at + UNDER_WAY < closed.at).count();
        assert!(last >= due, "{last} heard of {due}");
    }
}

fn what_waits_is_written_before_the_close(transport: Transport) {
    const MESSAGES: usize = 100;
    let second = Duration::from_secs(1);
    let server = Server::start(with_drain(config(transport), Duration::ZERO, second, 5 * second));
    let mut slow = narrow_client(server.address());
    let mut sender = server.client();
    for number in 0..MESSAGES {
        let text = format!("[{number},\"{}\"]", "x".repeat(8 << 10));
        sender.send(&text);
        sender.expect(&text);
    }
    wait_for("a queue", || {
        (server.metric("fanfare_send_queue_bytes") > 100e3).then_some(())
    });
    let drain = server.drain();
    // Everybody is told, and only then does the slow one read on.
    assert_eq!(sender.close().0, Some(1001));
    sender.write(client::close(Some((1001, "")), MASK));
    thread::sleep(second);
    for number in 0..MESSAGES {
        assert!(slow.text().starts_with(&format!("[{number},")), "{number} is missing");
    }
    assert_eq!(slow.close(), (Some(1001), "shutdown".into()));
    slow.write(client::close(Some((1001, "")), MASK));
    assert_eq!(drain.wait(), Drained::Completely);
}

/// Redis takes its time to confirm, and meanwhile the lanes have begun to close.
fn a_handshake_under_way_is_not_forgotten(transport: Transport) {
    let redis = Redis::start();
    let mut config = with_drain(
        config_on(&redis, transport),
        Duration::ZERO,
        Duration::ZERO,
        Duration::from_secs(10),
    );
    config.dev = true;
    let server = Server::start(config);
    redis.freeze();
    let began = Instant::now();
    let mut late = TcpStream::connect(server.address()).expect("a listener");
    late.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
    late.write_all(upgrade("/raw/room", &[]).as_bytes()).expect("taken");
    wait_for("the handshake to begin", || {
        (server.metric("fanfare_handshakes") >= 1.0).then_some(())
    });
    let drain = server.drain();
    thread::sleep(Duration::from_millis(300));
    redis.thaw();
    let (socket, answer) = Socket::ask_on(late, "");
    match socket {
        Some(mut socket) => {
            assert_eq!(socket.close(), (Some(1001), "shutdown".into()));
            socket.write(client::close(Some((1001, "")), MASK));
        }
        None => assert_eq!(answer.status, 503),
    }
    assert_eq!(drain.wait(), Drained::Completely);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// Lanes without a client have nothing to do any more, which must not look like death.
fn it_is_alive_until_the_end(transport: Transport) {
    let window = Duration::from_secs(14);
    let server = Server::start(with_drain(config(transport), Duration::ZERO, window, Duration::ZERO));
    let mut last = server.client();
    let drain = server.drain();
    let began = Instant::now();
    // Silence counts as death after 5 s. The one client is closed in the middle of the window.
    while began.elapsed() < Duration::from_millis(6500) {
        assert_eq!(
            get(server.admin(), "/livez").map(|(status, _)| status),
            Some(200),
            "after {:?}",
            began.elapsed()
        );
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(last.close().0, Some(1001));
    last.write(client::close(Some((1001, "")), MASK));
    assert_eq!(drain.wait(), Drained::Completely);
}

/// Between our Close and the client's there is time in which the client does not know yet.
fn what_clients_say_meanwhile_is_published(transport: Transport) {
    let redis = Redis::start();
    let leaving = with_drain(config_on(&redis, transport), Duration::ZERO, Duration::ZERO, PATIENCE);
    let (leaving, staying) = (Server::start(leaving), Server::start(config_on(&redis, transport)));
    let (mut one, mut other) = (leaving.client(), staying.client());
    let drain = leaving.drain();
    assert_eq!(one.close().0, Some(1001));
    for number in 0..100 {
        one.send(number.to_string());
    }
    one.write(client::close(Some((1001, "")), MASK));
    assert_eq!(drain.wait(), Drained::Completely);
    for number in 0..100 {
        other.expect(&number.to_string());
    }
}

fn a_client_that_says_nothing_holds_nobody_up(transport: Transport) {
    let second = Duration::from_secs(1);
    let server = Server::start(with_drain(config(transport), Duration::ZERO, second, second));
    let mut silent = server.client();
    let began = Instant::now();
    assert_eq!(server.drain().wait(), Drained::Cut { connections: 1 });
    assert!((second..4 * second).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(silent.close(), (Some(1001), "shutdown".into()));
    silent.expect_end(second);
}

fn a_second_signal_is_heard(transport: Transport) {
    let server = Server::start(with_drain(config(transport), Duration::ZERO, WINDOW, WINDOW));
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    let began = Instant::now();
    let mut drain = server.drain();
    wait_for("/readyz to turn", || {
        get(server.admin(), "/readyz").filter(|(status, _)| *status == 503)
    });
    drain.hurry();
    assert!(matches!(drain.wait(), Drained::Cut { connections: 1.. }));
    assert!(began.elapsed() < WINDOW, "{:?}", began.elapsed());
    clients.iter_mut().for_each(|client| client.expect_end(WINDOW));
}

#[test]
fn the_program_leaves_when_told() {
    let redis = Redis::start();
    let settings = [
        ("drain.delay", "200ms"),
        ("drain.window", "1s"),
        ("drain.timeout", "5s"),
    ];
    let gateway = Gateway::start(&redis.url(), &settings);
    let mut clients: Vec<_> = (0..20).map(|_| Socket::connect(gateway.address(), "/")).collect();
    let began = Instant::now();
    gateway.terminate();
    for client in &mut clients {
        assert_eq!(client.close(), (Some(1001), "shutdown".into()));
        client.write(client::close(Some((1001, "")), MASK));
    }
    assert!(gateway.wait().success());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn the_program_leaves_at_once_when_told_twice() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis.url(), &[("drain.delay", "0s"), ("drain.window", "60s")]);
    let mut clients: Vec<_> = (0..20).map(|_| Socket::connect(gateway.address(), "/")).collect();
    gateway.terminate();
    wait_for("/readyz to turn", || {
        gateway.probe("/readyz").filter(|(status, _)| *status == 503)
    });
    let began = Instant::now();
    // Told again within a moment, it is the same signal: shells tell a process and its group.
    let ended = wait_for("the end of the program", || {
        gateway.terminate();
        gateway.ended()
    });
    assert!(ended.success());
    let took = began.elapsed();
    assert!(
        (Duration::from_millis(50)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
    clients
        .iter_mut()
        .for_each(|client| client.expect_end(Duration::from_secs(1)));
}
