//! The admin listener: probes and metrics, for machines and for people, and never by the public port.

use std::io::Write;
use std::process::{Command, Stdio};

use gateway::config::Transport;

use crate::support::{Redis, Server, ask, config, config_on, get, metric, on_both_transports, upgrade};

on_both_transports! {
    metrics_are_as_prometheus_wants_them
    probes_answer_and_explain
    the_public_port_knows_nothing_of_it
}

fn metrics_are_as_prometheus_wants_them(transport: Transport) {
    let redis = Redis::start();
    let server = Server::start(config_on(&redis, transport));
    let mut socket = server.client();
    socket.send("{ }");
    socket.expect("{}");
    server.wait_for_metric("fanfare_messages_sent_total", 1.0);
    let (status, text) = get(server.admin(), "/metrics").expect("an answer");
    assert_eq!(status, 200);
    promtool(&text);

    for (name, value) in [
        ("fanfare_connections", 1.0),
        ("fanfare_connections_opened_total", 1.0),
        ("fanfare_subscriptions", 1.0),
        ("fanfare_messages_received_total", 1.0),
        ("fanfare_bus_published_total", 1.0),
        ("fanfare_bus_messages_received_total", 1.0),
        ("fanfare_bus_up", 1.0),
        ("fanfare_draining", 0.0),
        ("fanfare_handshake_duration_seconds_count", 1.0),
        // Known labels are there from the start.
        (r#"fanfare_messages_dropped_total{reason="slow_consumer"}"#, 0.0),
        (r#"fanfare_connections_closed_total{reason="drain"}"#, 0.0),
        (r#"fanfare_connections_rejected_total{reason="origin"}"#, 0.0),
        (r#"fanfare_bus_publish_errors_total{reason="unavailable"}"#, 0.0),
        (r#"fanfare_api_calls_total{method="publish",outcome="internal"}"#, 0.0),
        (r#"fanfare_api_calls_total{method="unknown",outcome="refused"}"#, 0.0),
    ] {
        assert_eq!(metric(&text, name), value, "{name}");
    }
    // Nothing names a channel or a client.
    assert!(!text.contains("chat-channel") && !text.contains("127.0.0.1"), "{text}");
}

/// The judgement of Prometheus' own tool.
#[track_caller]
fn promtool(text: &str) {
    let mut command = Command::new("promtool");
    command
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is installed (package prometheus)");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

fn probes_answer_and_explain(transport: Transport) {
    let redis = Redis::start();
    for (config, kind) in [(config(transport), "memory"), (config_on(&redis, transport), "redis")] {
        let server = Server::start(config);
        let _client = server.client();
        let ok = || Some((200, "ok\n".to_owned()));
        assert_eq!(get(server.admin(), "/livez").map(|(status, _)| status), Some(200));
        assert_eq!(get(server.admin(), "/readyz"), ok());
        assert_eq!(get(server.admin(), "/readyz?other"), ok());
        let (status, report) = get(server.admin(), "/readyz?verbose").expect("an answer");
        assert_eq!(status, 200);
        let bus = format!("bus: {kind}");
        for line in [
            "[+] started",
            "[+] not draining",
            &bus,
            "link: up for ",
            "publisher: up",
            "connections: 1 of ",
        ] {
            assert!(report.contains(line), "no {line:?} in\n{report}");
        }
        let (_, alive) = get(server.admin(), "/livez").expect("an answer");
        for line in ["[+] lane 0", "[+] lane 1", "[+] node", "[+] accept loop"] {
            assert!(alive.contains(line), "no {line:?} in\n{alive}");
        }
    }
}

fn the_public_port_knows_nothing_of_it(transport: Transport) {
    let server = Server::start(config(transport));
    for path in [
        "/livez",
        "/readyz",
        "/readyz?verbose",
        "/healthz",
        "/metrics",
        "/api",
        "/api/info",
        "/openapi.json",
        "/debug/pprof",
        "/raw/../metrics",
    ] {
        for request in [format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"), upgrade(path, &[])] {
            assert_eq!(server.ask(&request).status, 404, "{request}");
        }
    }
    // Nor is anybody served where the probes are.
    assert_eq!(ask(server.admin(), upgrade("/", &[])).status, 404);
    assert_eq!(ask(server.admin(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n").status, 404);
}
