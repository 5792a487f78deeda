//! What comes from clients that mean harm, on the wire: each is answered as it should be, and nobody else notices.
//!
//! The gateway is a process of its own, so that its memory can be measured. After every case a good client must be served at once, a
//! witness that is connected all the time must have heard everything and nothing else, and memory must not have peaked.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket as Plain, Type};

use crate::cluster::Gateway;
use crate::support::{PATIENCE, Redis, Socket, ask_on, upgrade};

mod bodies;
mod commands;
mod crowds;
mod frames;
mod messages;
mod requests;

/// How long the end of a connection may take once the gateway has refused it; generous, because the machine may be busy.
const SOON: Duration = Duration::from_secs(4);
/// How much memory a case may take for a moment.
const MOST_MEMORY: u64 = 32 << 20;
/// Where attackers come from: good clients have another address.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// One attack, with what must come of it.
struct Case {
    name: String,
    attack: Box<dyn Fn(&Target)>,
}

impl Case {
    fn new(name: impl Into<String>, attack: impl Fn(&Target) + 'static) -> Self {
        Self {
            name: name.into(),
            attack: Box::new(attack),
        }
    }
}

/// The gateway under attack.
struct Target {
    address: SocketAddr,
}

impl Target {
    /// A connection of an attacker, before its handshake.
    fn dial(&self) -> TcpStream {
        self.dial_from(ATTACKER)
    }

    fn dial_from(&self, from: Ipv4Addr) -> TcpStream {
        let socket = Plain::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::from((from, 0)).into())
            .expect("a loopback address");
        socket.connect(&self.address.into()).expect("a listener");
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    /// An attacker whose handshake was answered, in a channel of its own.
    fn attacker(&self) -> Socket {
        let (socket, answer) = Socket::ask_on(self.dial(), upgrade("/raw/attack", &[]));
        socket.unwrap_or_else(|| panic!("{answer:?}"))
    }

    /// The status that answers a request; 0 if the connection ends without an answer.
    fn status(&self, request: impl AsRef<[u8]>) -> u16 {
        let mut stream = self.dial();
        match ask_on(&mut stream, request) {
            Ok(answer) => answer.status,
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("neither an answer nor an end"),
            Err(_) => 0,
        }
    }
}

/// Writes again and again, until the gateway takes no more of it.
#[track_caller]
pub(crate) fn flood(stream: &mut TcpStream, piece: &[u8], patience: Duration) {
    stream.set_write_timeout(Some(patience)).expect("a socket");
    let began = Instant::now();
    let mut taken = 0;
    while let Ok(count) = stream.write(piece) {
        taken += count;
        assert!(began.elapsed() < patience, "{} MiB were taken, and no end", taken >> 20);
    }
}

/// Waits for the end of a connection, however it comes.
#[track_caller]
fn expect_end(stream: &mut TcpStream, patience: Duration) {
    stream.set_read_timeout(Some(patience)).expect("a socket");
    let began = Instant::now();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("still open after {patience:?}"),
            Err(_) => return,
            Ok(_) => assert!(began.elapsed() < patience, "still open after {patience:?}"),
        }
    }
}

/// A good client connects, is served, and leaves.
#[track_caller]
fn expect_service(address: SocketAddr, witness: &mut Socket, number: usize) {
    let began = Instant::now();
    let mut client = Socket::connect(address, "/");
    let text = format!("\"message {number}\"");
    client.send(&text);
    client.expect(&text);
    assert!(began.elapsed() < SOON, "served after {:?}", began.elapsed());
    witness.expect(&text);
    client.leave();
}

fn run(transport: &str) {
    let redis = Redis::start();
    let settings = [
        ("listener.transport", transport),
        ("limits.handshake_timeout", "2s"),
        // The witness only listens.
        ("ping.interval", "10m"),
        ("tokens.hmac_secret", "a secret of at least thirty-two bytes"),
        (
            "centrifuge.transports",
            "websocket,http_stream,sse,uni_websocket,uni_sse,uni_http_stream",
        ),
    ];
    let gateway = Gateway::start(&redis.url(), &settings);
    let target = Target {
        address: gateway.address(),
    };
    let mut witness = Socket::connect(target.address, "/");
    expect_service(target.address, &mut witness, 0);
    let cases = [
        frames::cases(),
        messages::cases(),
        requests::cases(),
        crowds::cases(),
        commands::cases(),
        bodies::cases(),
    ];
    let cases: Vec<Case> = cases.into_iter().flatten().collect();
    let mut worst = (0, "");
    for (number, case) in cases.iter().enumerate() {
        let memory = Memory::before(gateway.pid());
        let attack = std::panic::AssertUnwindSafe(|| {
            (case.attack)(&target);
            expect_service(target.address, &mut witness, number + 1);
        });
        if let Err(panic) = std::panic::catch_unwind(attack) {
            eprintln!("on {transport}: {}", case.name);
            std::panic::resume_unwind(panic);
        }
        let growth = memory.growth();
        assert!(
            growth <= MOST_MEMORY,
            "on {transport}: {}: {} KiB more",
            case.name,
            growth >> 10
        );
        worst = worst.max((growth, &case.name));
    }
    assert_eq!(gateway.metric("fanfare_panics_total"), 0.0);
    // Whoever is refused does not fill the log.
    let log = gateway.log();
    assert!(log.lines().count() < 30, "{log}");
    println!(
        "{} hostile cases on {transport}: all answered, most memory {} KiB ({})",
        cases.len(),
        worst.0 >> 10,
        worst.1
    );
    assert!(cases.len() >= 40);
}

#[test]
fn reactor() {
    run("reactor");
}

#[test]
fn attached() {
    run("attached");
}

/// The memory of a process, from now on.
struct Memory {
    pid: u32,
    before: u64,
}

impl Memory {
    fn before(pid: u32) -> Self {
        // Lets the kernel forget the peak so far.
        fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("a process of ours");
        let before = status(pid, "VmRSS:");
        Self { pid, before }
    }

    /// The peak since, in bytes beyond what there was.
    fn growth(&self) -> u64 {
        status(self.pid, "VmHWM:").saturating_sub(self.before)
    }
}

fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib: u64 = line
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .expect("a number");
    kib << 10
}

/// Ends a connection by a reset.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
