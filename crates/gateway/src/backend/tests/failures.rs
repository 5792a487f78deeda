//! What becomes of questions when the backend fails.

use std::io::{Read, Write};
use std::net::TcpListener;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::*;
use crate::config::{Refusal, StatusAnswer};
use crate::disconnect::Disconnect;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// A server that reads one question on each connection, and then says what it is told to and closes. `None`: it closes without a word.
fn blunt(answers: &'static [Option<&'static str>]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    (base, serve(listener, answers))
}

fn serve(listener: TcpListener, answers: &'static [Option<&'static str>]) -> Arc<AtomicUsize> {
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    std::thread::spawn(move || {
        for (answer, stream) in answers.iter().zip(listener.incoming()) {
            let mut stream = stream.expect("a connection");
            read_question(&mut stream).expect("a question");
            count.fetch_add(1, Ordering::AcqRel);
            let _ = stream.write_all(answer.unwrap_or_default().as_bytes());
        }
    });
    read
}

/// Reads up to what every body here ends with.
fn read_question(stream: &mut impl Read) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    while !bytes.ends_with(b"}") {
        match stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            more => bytes.extend_from_slice(&piece[..more]),
        }
    }
    Ok(())
}

#[track_caller]
fn check_failure(outcome: Result<Verdict<Reply>, Failure>, expected: &str) {
    assert_eq!(outcome.expect_err("a failure").label(), expected);
}

#[actix_web::test]
async fn what_may_have_been_heard_is_asked_again_only_if_that_changes_nothing() {
    for question in questions() {
        let (base, read) = blunt(&[None, Some(OK)]);
        let is_decision = question.event().is_decision();
        let outcome = Made::new(&settings(&base)).ask(question).await;
        match is_decision {
            true => assert_eq!(outcome.expect("the second answer"), Verdict::Nothing),
            false => check_failure(outcome, "broken"),
        }
        assert_eq!(read.load(Ordering::Acquire), 1 + usize::from(is_decision));
    }
}

#[actix_web::test]
async fn statuses_of_proxies_are_asked_again_only_if_that_changes_nothing() {
    let (stub, base) = stub();
    let made = Made::new(&settings(&base));
    for question in questions() {
        let is_decision = question.event().is_decision();
        stub.says(503, "");
        let outcome = made.ask(question).await;
        match is_decision {
            true => assert_eq!(outcome.expect("the second answer"), Verdict::Nothing),
            false => check_failure(outcome, "status"),
        }
        assert_eq!(stub.bodies().len(), 1 + usize::from(is_decision));
    }
    // No more often than the settings say, and not after what the application said itself.
    for status in [502, 504, 500, 404] {
        stub.says.lock().clear();
        stub.says(status, "");
        stub.says(status, "");
        check_failure(made.ask(Question::Refresh).await, "status");
        assert_eq!(stub.bodies().len(), 1 + usize::from(status > 500), "{status}");
    }
}

#[actix_web::test]
async fn what_was_never_sent_is_asked_again_whatever_it_is() {
    // A port that is taken, and where nobody listens yet.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a free port");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket());
    let base = format!("http://{}", address.expect("an address"));
    let once = Made::new(&config::Backend {
        retries: 0,
        ..settings(&base)
    });
    check_failure(once.ask(rpc()).await, "unreachable");

    let made = Made::new(&config::Backend {
        retries: 10_000,
        ..settings(&base)
    });
    let asking = actix_web::rt::spawn(async move { made.ask(rpc()).await });
    // If it has not been refused by then, the test shows less, and still passes.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!asking.is_finished(), "it gave up");
    socket.listen(16).expect("a listener");
    let read = serve(socket.into(), &[Some(OK)]);
    let answer = asking.await.expect("no panic").expect("an answer");
    assert_eq!((answer, read.load(Ordering::Acquire)), (Verdict::Nothing, 1));
}

#[actix_web::test]
async fn a_question_takes_no_longer_than_it_may() {
    let (stub, base) = stub();
    stub.holds.store(true, Ordering::Release);
    let made = Made::new(&config::Backend {
        timeout: Duration::from_millis(100),
        ..settings(&base)
    });
    check_failure(made.ask(Question::Refresh).await, "timeout");
    assert_eq!(stub.bodies().len(), 1, "it is not asked again");
    made.check_metric("fanfare_backend_in_flight 0");
    made.check_metric("fanfare_backend_call_duration_seconds_count{event=\"refresh\"} 1");
    stub.holds.store(false, Ordering::Release);
}

#[actix_web::test]
async fn answers_that_are_too_long_or_elsewhere_or_not_understood() {
    let (stub, base) = stub();
    let made = Made::new(&config::Backend {
        response_size: 100,
        ..settings(&base)
    });
    let long = |length: usize| format!("{{{}}}", " ".repeat(length - 2));
    stub.says(200, long(100));
    assert_eq!(
        made.ask(Question::Refresh).await.expect("just short enough"),
        Verdict::Nothing
    );
    stub.says(200, long(101));
    check_failure(made.ask(Question::Refresh).await, "too_long");
    for status in [301, 302, 307, 308] {
        stub.bodies();
        stub.says(status, "");
        check_failure(made.ask(Question::Refresh).await, "status");
        assert_eq!(stub.bodies().len(), 1, "a redirect is not followed");
    }
    stub.says(201, "{}");
    check_failure(made.ask(Question::Refresh).await, "status");
    stub.says(200, "<html>");
    check_failure(made.ask(Question::Refresh).await, "malformed");
    let mut call = call(rpc());
    call.caller.user = "quote\"".into();
    assert_eq!(made.backend.call(call).await.expect("text is text"), Verdict::Nothing);
    let broken = Question::Rpc {
        method: "a".into(),
        data: Bytes::from_static(b"1,\"user\":\"admin\""),
    };
    check_failure(made.ask(broken).await, "question");
}

#[actix_web::test]
async fn statuses_stand_for_what_the_settings_say() {
    let (stub, base) = stub();
    let error = CommandError::Application {
        code: 403,
        message: "not a member".into(),
        is_temporary: false,
    };
    let answers = [
        (403, Refusal::Error(error.clone())),
        (503, Refusal::Disconnect(Disconnect::new(4503, "later"))),
    ];
    let made = Made::new(&config::Backend {
        statuses: answers.map(|(status, answer)| StatusAnswer { status, answer }).into(),
        ..settings(&base)
    });
    stub.says(403, "whatever");
    assert_eq!(made.ask(rpc()).await.expect("an answer"), Verdict::Refused(error));
    stub.says(503, "");
    let gone = Verdict::Disconnect(Disconnect::new(4503, "later"));
    assert_eq!(made.ask(Question::Refresh).await.expect("an answer"), gone);
    assert_eq!(stub.bodies().len(), 2, "an answer is not asked for again");
}

#[actix_web::test]
async fn only_so_many_questions_wait() {
    let (stub, base) = stub();
    stub.holds.store(true, Ordering::Release);
    let made = Made::new(&config::Backend {
        in_flight: 2,
        ..settings(&base)
    });
    let waiting = join_all([made.ask(rpc()), made.ask(Question::Refresh)]);
    let another = async {
        while stub.asked.lock().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        made.check_metric("fanfare_backend_in_flight 2");
        check_failure(made.ask(rpc()).await, "busy");
        stub.holds.store(false, Ordering::Release);
    };
    let both = async { tokio::join!(waiting, another) };
    let (answers, ()) = tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("in time");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(made.ask(rpc()).await.is_ok(), "the places are free again");
    made.check_metric("fanfare_backend_calls_total{event=\"rpc\",outcome=\"busy\"} 1");
}

#[actix_web::test]
async fn a_url_that_keeps_failing_is_left_alone() {
    let (stub, base) = stub();
    let made = Made::new(&config::Backend {
        retries: 0,
        breaker_failures: 2,
        breaker_pause: Duration::from_millis(200),
        ..settings(&base)
    });
    let open = |is_open| made.check_metric(&format!("fanfare_backend_breaker_open{{event=\"rpc\"}} {is_open}"));
    // What the application says of one question is no reason to leave it alone.
    for _ in 0..3 {
        stub.says(500, "");
        check_failure(made.ask(rpc()).await, "status");
    }
    for _ in 0..2 {
        open(0);
        stub.says(502, "");
        check_failure(made.ask(rpc()).await, "status");
    }
    open(1);
    assert_eq!(stub.bodies().len(), 5);
    check_failure(made.ask(rpc()).await, "open");
    assert!(stub.bodies().is_empty());
    // Other URLs are other backends.
    assert!(made.ask(Question::Refresh).await.is_ok());
    let until = Instant::now() + Duration::from_secs(20);
    while matches!(made.ask(rpc()).await, Err(Failure::Open)) {
        assert!(Instant::now() < until, "it is never asked again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    open(0);
    assert!(made.ask(rpc()).await.is_ok());
}

#[actix_web::test]
async fn a_question_that_nobody_waits_for_leaves_nothing_behind() {
    let (stub, base) = stub();
    let pause = Duration::from_millis(1);
    let made = Made::new(&config::Backend {
        in_flight: 1,
        retries: 0,
        breaker_failures: 1,
        breaker_pause: pause,
        ..settings(&base)
    });
    stub.says(502, "");
    check_failure(made.ask(rpc()).await, "status");
    stub.bodies();
    tokio::time::sleep(2 * pause).await;
    // The one question that tries whether the backend is back.
    stub.holds.store(true, Ordering::Release);
    {
        let asking = made.ask(rpc());
        let arrived = async {
            while stub.asked.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            outcome = asking => panic!("it is held, and not {outcome:?}"),
            () = arrived => {}
        }
    }
    made.check_metric("fanfare_backend_in_flight 0");
    stub.holds.store(false, Ordering::Release);
    let next = made.ask(rpc()).await;
    assert!(next.is_ok(), "{next:?}");
}

#[actix_web::test]
async fn tls_is_trusted_by_the_file_that_is_named() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate");
    let tls = Arc::new(tls);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let base = format!(
        "https://localhost:{}",
        listener.local_addr().expect("an address").port()
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(Arc::clone(&tls)).expect("a session");
            let mut stream = rustls::StreamOwned::new(session, stream.expect("a connection"));
            // Whoever does not trust us says so now.
            if read_question(&mut stream).is_ok() {
                let _ = stream.write_all(OK.as_bytes());
            }
        }
    });

    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("ca.pem");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    for (trusted, is_trusted) in [(made.cert.pem(), true), (other.cert.pem(), false)] {
        std::fs::write(&path, trusted).expect("a file");
        let outcome = Made::new(&config::Backend {
            ca_file: Some(path.clone()),
            ..settings(&base)
        })
        .ask(Question::Refresh)
        .await;
        assert_eq!(outcome.is_ok(), is_trusted, "{outcome:?}");
    }
    std::fs::write(&path, "nothing").expect("a file");
    let metrics = Registry::new();
    let error = Backend::new(
        &config::Backend {
            ca_file: Some(path),
            ..settings(&base)
        },
        &metrics,
    );
    assert!(
        matches!(error, Err(BackendError::Trust(TrustError::CaFile { .. }))),
        "{error:?}"
    );
}
