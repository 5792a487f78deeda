//! The public listener under TLS: the same clients, nothing but HTTP/1.1, and always the newest certificate.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::Drained;
use gateway::config::{Config, Transport};
use protocol::frame::{Item, client};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::support::{MASK, PATIENCE, Server, Socket, ask_on, config, frame_header, upgrade, wait_for};

type Secured = StreamOwned<ClientConnection, TcpStream>;

/// A directory with a certificate and its key.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> (Self, CertificateDer<'static>) {
        let dir = TempDir::new().expect("a directory");
        let files = Self { dir };
        let certificate = files.renew();
        (files, certificate)
    }

    /// Puts a new certificate in place of the old one.
    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).expect("a certificate");
        self.replace("key.pem", &made.signing_key.serialize_pem());
        self.replace("cert.pem", &made.cert.pem());
        made.cert.der().clone()
    }

    fn replace(&self, name: &str, text: &str) {
        let new = self.dir.path().join("new");
        fs::write(&new, text).expect("written");
        fs::rename(new, self.dir.path().join(name)).expect("renamed");
    }

    fn config(&self) -> Config {
        let file = |name: &str| Some(Path::join(self.dir.path(), name));
        let mut config = config(Transport::Reactor);
        config.listener.tls_cert = file("cert.pem");
        config.listener.tls_key = file("key.pem");
        config
    }
}

fn dial(server: &Server, trusted: &CertificateDer<'static>, protocols: &[&str]) -> io::Result<Secured> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("gateway.test").expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let mut stream = TcpStream::connect(server.address())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

#[track_caller]
fn connect(server: &Server, trusted: &CertificateDer<'static>) -> Socket<Secured> {
    let mut stream = dial(server, trusted, &["http/1.1"]).expect("TLS");
    let answer = ask_on(&mut stream, upgrade("/", &[])).expect("an answer");
    Socket::accepted(stream, &answer).unwrap_or_else(|| panic!("{answer:?}"))
}

#[test]
fn clients_are_served_as_without_it() {
    let (files, certificate) = Files::new();
    let server = Server::start(files.config());
    let (mut one, mut other) = (connect(&server, &certificate), connect(&server, &certificate));
    one.send("{\"x\": 1}");
    one.expect("{\"x\":1}");
    other.expect("{\"x\":1}");
    let large = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..20 {
        one.send(&large);
        other.expect(&large);
    }
    other.write(client::ping(b"?", MASK));
    assert_eq!(other.next(), Some(Item::Pong("?".into())));
    other.write(frame_header(0x81, 1 << 31));
    assert_eq!(other.close().0, Some(1009));
    one.write(client::close(Some((4000, "")), MASK));
    // What the other one sent is still on its way to this one.
    let close = std::iter::from_fn(|| one.next()).find(|item| matches!(item, Item::Close { .. }));
    assert!(matches!(close, Some(Item::Close { code: Some(4000), .. })), "{close:?}");
}

#[test]
fn only_http_1_is_spoken() {
    let (files, certificate) = Files::new();
    let server = Server::start(files.config());
    for offered in [&["http/1.1"][..], &["h2", "http/1.1"]] {
        let stream = dial(&server, &certificate, offered).expect("TLS");
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]), "{offered:?}");
    }
    let without = dial(&server, &certificate, &[]).expect("TLS");
    assert_eq!(without.conn.alpn_protocol(), None);
    let refused = dial(&server, &certificate, &["h2"]);
    assert!(refused.is_err(), "h2 was accepted");
}

#[test]
fn a_new_certificate_is_shown_without_a_restart() {
    let (files, old) = Files::new();
    let server = Server::start(files.config());
    let mut before = connect(&server, &old);
    // One that cannot be used changes nothing.
    files.replace("cert.pem", "nonsense");
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2500) {
        drop(dial(&server, &old, &[]).expect("the old one is still good"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let new = files.renew();
    let mut after = wait_for("the new certificate", || {
        let mut stream = dial(&server, &new, &[]).ok()?;
        let answer = ask_on(&mut stream, upgrade("/", &[])).ok()?;
        Socket::accepted(stream, &answer)
    });
    before.send("1");
    after.expect("1");
}

#[test]
fn what_is_not_tls_is_ended() {
    let (files, certificate) = Files::new();
    let server = Server::start(files.config());
    let request = upgrade("/", &[]);
    let begin = |said: &[u8]| {
        let mut stream = TcpStream::connect(server.address()).expect("a listener");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(said).expect("taken");
        stream
    };
    let began = Instant::now();
    for mut stream in [request.as_bytes(), b"", b"\x16\x03\x01"].map(begin) {
        let mut heard = Vec::new();
        match stream.read_to_end(&mut heard) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("still open"),
            _ => assert!(!heard.starts_with(b"HTTP/"), "{heard:?}"),
        }
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    connect(&server, &certificate);
}

#[test]
fn an_address_has_only_so_many_unfinished_handshakes() {
    let (files, certificate) = Files::new();
    let mut config = files.config();
    config.limits.handshakes_per_address = 4;
    config.limits.handshake_timeout = Duration::from_secs(3);
    let server = Server::start(config);
    let silent = || {
        let mut stream = TcpStream::connect(server.address()).expect("a listener");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        // Its end, or a reset.
        move || matches!(stream.read(&mut [0]), Ok(0) | Err(_))
    };
    // The gateway knocks at its own door now and then, from this address, and may have taken a place.
    let mut held = Vec::new();
    wait_for("four handshakes", || {
        held.push(silent());
        (server.metric("fanfare_handshakes") == 4.0).then_some(())
    });
    let began = Instant::now();
    assert!(silent()(), "a fifth was let in");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(server.metric("fanfare_connections_rejected_total{reason=\"address\"}") >= 1.0);

    // Silence is not waited for longer than the limit says, and then there is room again.
    assert!(held.into_iter().all(|mut ended| ended()), "a handshake that never ends");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    connect(&server, &certificate);
}

#[test]
fn leaving_works_the_same() {
    let (files, certificate) = Files::new();
    let mut config = files.config();
    config.drain.delay = Duration::ZERO;
    config.drain.window = Duration::from_millis(500);
    let server = Server::start(config);
    let mut clients: Vec<_> = (0..10).map(|_| connect(&server, &certificate)).collect();
    clients[0].send("\"last words\"");
    clients.iter_mut().for_each(|client| client.expect("\"last words\""));
    let drain = server.drain();
    for client in &mut clients {
        assert_eq!(client.close(), (Some(1001), "shutdown".into()));
        client.write(client::close(Some((1001, "")), MASK));
    }
    assert_eq!(drain.wait(), Drained::Completely);
}
