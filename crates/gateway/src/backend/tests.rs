//! The backend against real servers: what they are asked, what their answers mean, and what becomes of questions when they fail.

use prometheus::{Registry, TextEncoder};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::future::join_all;
use protocol::{Channel, CommandError};

use super::*;
use crate::config::HttpUrl;

mod answers;
mod failures;

/// A backend that says what it is told to, and remembers what it was asked.
#[derive(Default)]
struct Stub {
    asked: Mutex<Vec<(Vec<String>, String)>>,
    /// What it says next; `{}` when there is nothing left.
    says: Mutex<VecDeque<(u16, String)>>,
    /// While it is true, questions are not answered.
    holds: AtomicBool,
}

impl Stub {
    fn says(&self, status: u16, body: impl Into<String>) {
        self.says.lock().push_back((status, body.into()));
    }

    /// The bodies that it was sent since the last time.
    fn bodies(&self) -> Vec<String> {
        self.asked.lock().drain(..).map(|(_, body)| body).collect()
    }
}

async fn answer(stub: web::Data<Stub>, request: HttpRequest, body: String) -> HttpResponse {
    let headers = request.headers().iter();
    let mut headers: Vec<_> = headers
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
        .collect();
    headers.sort();
    headers.push(request.uri().to_string());
    stub.asked.lock().push((headers, body));
    while stub.holds.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (status, body) = stub.says.lock().pop_front().unwrap_or((200, "{}".into()));
    let status = actix_web::http::StatusCode::from_u16(status).expect("a status");
    let mut response = HttpResponse::build(status);
    if status.is_redirection() {
        response.insert_header(("location", "/elsewhere"));
    }
    response.body(body)
}

/// Starts a stub; it ends with the test's runtime.
fn stub() -> (web::Data<Stub>, String) {
    let stub = web::Data::new(Stub::default());
    let data = stub.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .default_service(web::route().to(answer))
    });
    let server = server
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .expect("a free port");
    let address = server.addrs()[0];
    actix_web::rt::spawn(server.run());
    (stub, format!("http://{address}"))
}

fn url(text: &str) -> Option<HttpUrl> {
    Some(text.parse().expect("a URL"))
}

/// Settings that ask about everything at `base`, patiently.
fn settings(base: &str) -> config::Backend {
    config::Backend {
        connect: url(&format!("{base}/connect")),
        refresh: url(&format!("{base}/refresh")),
        subscribe: url(&format!("{base}/subscribe")),
        publish: url(&format!("{base}/publish")),
        sub_refresh: url(&format!("{base}/sub_refresh")),
        rpc: url(&format!("{base}/rpc")),
        timeout: Duration::from_secs(10),
        ..config::Backend::default()
    }
}

struct Made {
    backend: Backend,
    metrics: Registry,
}

impl Made {
    fn new(settings: &config::Backend) -> Self {
        let metrics = Registry::new();
        let backend = Backend::new(settings, &metrics).expect("settings that can be used");
        Self {
            backend: backend.expect("a URL"),
            metrics,
        }
    }

    async fn ask(&self, question: Question) -> Result<Verdict<Reply>, Failure> {
        self.backend.call(call(question)).await
    }

    /// One line of the metrics.
    #[track_caller]
    fn check_metric(&self, line: &str) {
        let text = TextEncoder::new()
            .encode_to_string(&self.metrics.gather())
            .expect("text");
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

fn caller() -> Caller {
    Caller {
        client: "c-1".into(),
        user: "u-42".into(),
        meta: Some(Bytes::from_static(br#"{"tier":1}"#)),
        transport: "websocket",
        protocol: "json",
        headers: Arc::default(),
        emulated: Arc::default(),
    }
}

fn call(question: Question) -> Call {
    Call {
        caller: caller(),
        question,
    }
}

fn channel(name: &str) -> Channel {
    Channel::parse(name).expect("a channel")
}

fn rpc() -> Question {
    Question::Rpc {
        method: "add".into(),
        data: Bytes::from_static(b"[1,2]"),
    }
}

fn questions() -> [Question; 6] {
    let data = Bytes::from_static(br#"{"a":"\u00e9"}"#);
    [
        Question::Connect {
            name: "js".into(),
            version: "1.0".into(),
            channels: vec![channel("news")],
            data: data.clone(),
        },
        Question::Refresh,
        Question::Subscribe {
            channel: channel("room:1"),
            token: "t".into(),
            data: data.clone(),
        },
        Question::Publish {
            channel: channel("room:1"),
            data,
        },
        Question::SubRefresh {
            channel: channel("room:1"),
        },
        rpc(),
    ]
}

#[actix_web::test]
async fn each_question_has_its_form_and_its_url() {
    const COMMON: &str = r#""client":"c-1","transport":"websocket","protocol":"json","encoding":"json""#;
    let expected = [
        (
            "/connect",
            r#""name":"js","version":"1.0","channels":["news"],"data":{"a":"\u00e9"}"#,
        ),
        ("/refresh", r#""user":"u-42","meta":{"tier":1}"#),
        (
            "/subscribe",
            r#""user":"u-42","channel":"room:1","token":"t","meta":{"tier":1},"data":{"a":"\u00e9"}"#,
        ),
        (
            "/publish",
            r#""user":"u-42","channel":"room:1","meta":{"tier":1},"data":{"a":"\u00e9"}"#,
        ),
        ("/sub_refresh", r#""user":"u-42","channel":"room:1","meta":{"tier":1}"#),
        ("/rpc", r#""user":"u-42","method":"add","meta":{"tier":1},"data":[1,2]"#),
    ];
    let (stub, base) = stub();
    let with_meta = config::Backend {
        include_meta: true,
        ..settings(&base)
    };
    let made = Made::new(&with_meta);
    for (question, (path, fields)) in questions().into_iter().zip(expected) {
        assert!(made.backend.answers(question.event()));
        assert_eq!(made.ask(question).await.expect("an answer"), Verdict::Nothing);
        let (headers, body) = stub.asked.lock().pop().expect("it was asked");
        assert_eq!(headers.last().map(String::as_str), Some(path));
        assert_eq!(body, format!("{{{COMMON},{fields}}}"));
    }
    // Without meta, and with nothing where nothing was sent.
    let made = Made::new(&settings(&base));
    made.ask(Question::Subscribe {
        channel: channel("a"),
        token: String::new(),
        data: Bytes::new(),
    })
    .await
    .expect("an answer");
    assert_eq!(stub.bodies(), [format!(r#"{{{COMMON},"user":"u-42","channel":"a"}}"#)]);
}

#[actix_web::test]
async fn headers_of_settings_and_clients_arrive() {
    let (stub, base) = stub();
    let name = |name: &str| vec![name.parse().expect("a name")];
    let made = Made::new(&config::Backend {
        static_headers: vec![config::StaticHeader::parse("X-Key: k,1").expect("a header")],
        headers: name("cookie"),
        emulated_headers: name("authorization"),
        ..settings(&base)
    });
    let mut call = call(Question::Refresh);
    call.caller.headers = Arc::new(made.backend.keep_headers([("Cookie", &b"a=1"[..]), ("x-other", b"no")]));
    call.caller.emulated = Arc::new(BTreeMap::from([
        ("Authorization".into(), "Bearer x".into()),
        ("cookie".into(), "no".into()),
    ]));
    made.backend.call(call).await.expect("an answer");
    let (headers, body) = stub.asked.lock().pop().expect("it was asked");
    let address = base.trim_start_matches("http://");
    assert_eq!(
        headers,
        [
            "authorization: Bearer x".to_owned(),
            format!("content-length: {}", body.len()),
            "content-type: application/json".into(),
            "cookie: a=1".into(),
            format!("host: {address}"),
            "x-key: k,1".into(),
            "/refresh".into(),
        ]
    );
}

#[actix_web::test]
async fn only_what_has_a_url_is_asked() {
    let metrics = Registry::new();
    let none = Backend::new(&config::Backend::default(), &metrics).expect("settings that can be used");
    assert!(none.is_none());
    let made = Made::new(&config::Backend {
        rpc: url("http://localhost/rpc"),
        ..config::Backend::default()
    });
    let answered: Vec<_> = Event::ALL
        .into_iter()
        .filter(|event| made.backend.answers(*event))
        .collect();
    assert_eq!(answered, [Event::Rpc]);
    assert!(matches!(made.ask(Question::Refresh).await, Err(Failure::NoEndpoint)));
    made.check_metric("fanfare_backend_calls_total{event=\"rpc\",outcome=\"granted\"} 0");
}
