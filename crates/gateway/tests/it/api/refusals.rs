//! What is refused, and in which words.

use std::io::Write;
use std::net::TcpStream;

use gateway::config::{ApiKey, Call};

use super::*;
use crate::cluster::Gateway;
use crate::hostile::flood;
use crate::support::config;

const SHOP: &str = "the key of the shop";

fn server() -> Server {
    let mut config = with_rules(config(Transport::Reactor));
    config.api.keys = vec![ApiKey {
        name: "shop".into(),
        key: Some(Secret::new(SHOP)),
        calls: vec![Call::Publish, Call::Broadcast],
        ..ApiKey::default()
    }];
    config.api.body_size = 1 << 10;
    Server::start(config)
}

#[test]
fn nobody_is_let_in_without_a_key() {
    let server = server();
    let (long, apikey) = (format!("{KEY}x"), format!("ApiKey {KEY}"));
    let (bearer, half) = (format!("Bearer {KEY}"), format!("apikey {}", &KEY[1..]));
    let check = |method: &str, headers: &[(&str, &str)], expected: u16| {
        let answer = ask(server.admin(), request(method, headers, "{}"));
        assert_eq!(answer.status, expected, "{headers:?}");
        assert!(expected != 401 || answer.body.is_empty(), "{answer:?}");
    };
    check("info", &[], 401);
    check("info", &[("X-API-Key", "")], 401);
    check("info", &[("X-API-Key", &KEY[1..])], 401);
    check("info", &[("X-API-Key", &long)], 401);
    check("info", &[("Authorization", &bearer)], 401);
    check("info", &[("Authorization", &half)], 401);
    check("info", &[("X-API-Key", "wrong"), ("Authorization", &apikey)], 401);
    check(&format!("info?api_key={SHOP}").replace(' ', "%20"), &[], 401);
    check("nothing", &[], 401);
    check("info", &[("X-API-Key", KEY)], 200);
    check("info", &[("Authorization", &apikey)], 200);
    let refused = server.metric(r#"fanfare_api_calls_total{method="info",outcome="refused"}"#);
    assert!((refused - 8.0).abs() < f64::EPSILON, "{refused}");

    let closed = Server::start(config(Transport::Reactor));
    assert_eq!(
        post(&closed, "info", "{}").status,
        401,
        "no key in the settings opens nothing"
    );
    let mut config = with_rules(config(Transport::Reactor));
    config.api.key_in_url = true;
    let server = Server::start(config);
    let in_url = |key: &str| {
        let method = format!("info?api_key={key}").replace(' ', "%20");
        ask(server.admin(), request(&method, &[("X-API-Key", "wrong")], "{}")).status
    };
    assert_eq!((in_url(KEY), in_url("wrong")), (200, 401));
}

#[test]
fn a_key_opens_its_calls_only() {
    let server = server();
    let check = |method: &str, takes: &Value, expected: u16| {
        let answer = ask(
            server.admin(),
            request(method, &[("X-API-Key", SHOP)], &takes.to_string()),
        );
        assert_eq!(answer.status, expected, "{method} {takes}: {answer:?}");
        answer
    };
    let publish = json!({"channel": "room-1", "data": 1});
    let mut raw = server.client_of("/raw/room-1");
    check("publish", &publish, 200);
    raw.expect("1");
    let forbidden = check("info", &json!({}), 403);
    assert_eq!(forbidden.header("content-type"), Some("application/problem+json"));
    let problem: Value = serde_json::from_str(&forbidden.body).expect("JSON");
    let expected =
        json!({"type": "about:blank", "title": "Forbidden", "status": 403, "detail": "the key is not for this call"});
    assert_eq!(problem, expected);
    check("batch", &json!({"commands": [{"publish": publish}, {"info": {}}]}), 403);
    check(
        "batch",
        &json!({"commands": [{"publish": {"channel": "room-1", "data": 2}}, {"foo": {}}]}),
        200,
    );
    raw.expect("2");
    assert!(!forbidden.body.contains("shop") && !forbidden.head.contains("shop"));
}

#[test]
fn requests_that_are_none() {
    let server = server();
    let status = |request: &str| ask(server.admin(), request).status;
    for body in [
        "",
        "{",
        "[]",
        "null",
        "5",
        "\u{feff}{}",
        r#"{"channel":5,"data":1}"#,
        r#"{"channel":"room-1","data":}"#,
        r#"{"channel":"room-1","data":1,"tags":{"a":1}}"#,
        r#"{"channel":"room-1","data":1,"version":-1}"#,
        r#"{"channel":"room-1","data":1}{}"#,
    ] {
        let answer = post(&server, "publish", body);
        assert_eq!((answer.status, answer.body.as_str()), (400, "Bad Request"), "{body}");
    }
    let deep = format!(
        r#"{{"channel":"room-1","data":{}1{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    assert_eq!(post(&server, "publish", &deep).status, 200);
    for body in [
        r#"{"channel":"room-1"}"#.to_owned(),
        r#"{"channel":"room-1","data":1,"b64data":"!"}"#.to_owned(),
        r#"{"channel":"room-1","b64data":"aGk="}"#.to_owned(),
        r#"{"channel":"","data":1}"#.to_owned(),
        r#"{"channel":"a b","data":1}"#.to_owned(),
        r#"{"data":1}"#.to_owned(),
    ] {
        let answer = post(&server, "publish", &body);
        assert_eq!(
            json_of(&answer),
            json!({"error": {"code": 107, "message": "bad request"}}),
            "{body}"
        );
    }
    let headers = format!("Host: x\r\nX-API-Key: {KEY}\r\n");
    let problem = |request: String, expected: u16| {
        let answer = ask(server.admin(), request);
        let kind = answer.header("content-type");
        assert_eq!(
            (answer.status, kind),
            (expected, Some("application/problem+json")),
            "{answer:?}"
        );
        answer
    };
    let get = problem(format!("GET /api/info HTTP/1.1\r\n{headers}\r\n"), 405);
    assert_eq!(get.header("allow"), Some("POST"));
    problem(
        format!("POST /api/connections HTTP/1.1\r\n{headers}Content-Length: 2\r\n\r\n{{}}"),
        404,
    );
    problem(
        format!("POST /api/info/more HTTP/1.1\r\n{headers}Content-Length: 2\r\n\r\n{{}}"),
        404,
    );
    problem(
        format!("POST /api/info HTTP/1.1\r\n{headers}Content-Length: 1025\r\n\r\n"),
        413,
    );
    let chunk = format!("800\r\n{}\r\n0\r\n\r\n", " ".repeat(0x800));
    problem(
        format!("POST /api/info HTTP/1.1\r\n{headers}Transfer-Encoding: chunked\r\n\r\n{chunk}"),
        413,
    );
    let kept = format!("400\r\n{{}}{}\r\n0\r\n\r\n", " ".repeat(0x3fe));
    let kept = format!("POST /api/info HTTP/1.1\r\n{headers}Transfer-Encoding: chunked\r\n\r\n{kept}");
    assert_eq!(status(&kept), 200);
}

#[test]
fn errors_have_a_status_when_they_are_asked_to() {
    let server = server();
    let ask_by = |mode: &str, method: &str, takes: &Value| {
        let headers = [("X-API-Key", KEY), ("X-Centrifugo-Error-Mode", mode)];
        ask(server.admin(), request(method, &headers, &takes.to_string()))
    };
    for (method, takes, status, code) in [
        ("publish", json!({"channel": "else", "data": 1}), 404, 102),
        ("publish", json!({}), 400, 107),
        ("history", json!({"channel": "room-1"}), 400, 108),
        ("rpc", json!({"method": "sing"}), 404, 104),
    ] {
        let answer = ask_by("transport", method, &takes);
        let error: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!((answer.status, &error["code"]), (status, &json!(code)), "{answer:?}");
        assert_eq!(json_of(&ask_by("", method, &takes)), json!({"error": error}));
    }
    let published = ask_by("transport", "publish", &json!({"channel": "room-1", "data": 1}));
    assert_eq!(json_of(&published), json!({"result": {}}));
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let mut config = with_rules(config(Transport::Reactor));
    config.api.body_timeout = Duration::from_millis(100);
    let server = Server::start(config);
    let answer = ask(
        server.admin(),
        format!("POST /api/info HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 2\r\n\r\n{{"),
    );
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (408, Some("application/problem+json"))
    );
}

#[test]
fn no_key_is_in_the_log() {
    let gateway = Gateway::start(
        "",
        &[
            ("log.filter", "trace"),
            ("admin.api_key", KEY),
            (
                "api.keys",
                &format!("[{{name = 'shop', key = '{SHOP}', calls = ['publish']}}]"),
            ),
            ("api.key_in_url", "true"),
        ],
    );
    let ask_by =
        |method: &str, key: &str| ask(gateway.admin_address(), request(method, &[("X-API-Key", key)], "{}")).status;
    assert_eq!(ask_by("info", KEY), 200);
    assert_eq!(ask_by("info", SHOP), 403);
    let in_url = format!("info?api_key={KEY}").replace(' ', "%20");
    assert_eq!(ask_by(&in_url, "a key that is wrong"), 200);
    let log = crate::support::wait_for("the name of the key", || {
        Some(gateway.log()).filter(|log| log.contains("shop"))
    });
    for secret in [KEY, SHOP, "a key that is wrong", &KEY.replace(' ', "%20")] {
        assert!(!log.contains(secret), "{secret} in\n{log}");
    }
}

#[test]
fn a_body_without_end_is_not_read_without_end() {
    let server = server();
    for path in ["/api/publish", "/readyz"] {
        let mut stream = TcpStream::connect(server.admin()).expect("a connection");
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("taken");
        let chunk = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
        flood(&mut stream, &chunk, Duration::from_secs(4));
    }
}
