//! The load test as a process, against the floor and against servers that do one thing wrong.

mod centrifuge;
mod faulty;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use faulty::Fault;
use serde_json::Value;

/// The floor as a process of its own, ended with the test.
struct Floor {
    child: Child,
    url: String,
}

impl Floor {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_floor"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the floor starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on ").expect("an address");
        Self {
            url: format!("ws://{address}"),
            child,
        }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .expect("the floor runs until it is ended");
    }
}

/// Runs the load test: its exit code and its report.
fn run(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_fanfare-loadtest"))
        .args(arguments)
        .arg("--json")
        .output()
        .expect("the load test starts");
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), report)
}

#[test]
fn fanout_counts_every_delivery() {
    let floor = Floor::start();
    let (code, report) = run(&[
        "fanout",
        "--url",
        &floor.url,
        "--pid",
        &floor.pid(),
        "--subscribers",
        "50",
        "--publishers",
        "3",
        "--rate",
        "200",
        "--duration",
        "1s",
        "--warmup",
        "100ms",
    ]);
    assert_eq!(
        (code, &report["problems"]),
        (Some(0), &Value::Array(vec![])),
        "{report}"
    );
    let traffic = &report["traffic"];
    assert_eq!(traffic["published"], 200);
    assert_eq!(traffic["deliveries"], 200 * 50);
    assert_eq!(traffic["foreign"], 0);
    assert!(traffic["used"]["servers"]["resident"].as_u64() > Some(0), "{report}");
    assert!(traffic["latency"]["max_ms"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn a_message_that_waits_to_be_sent_is_late() {
    let floor = Floor::start();
    // More than one thread can send, so that the schedule is ahead of it.
    let (code, report) = run(&[
        "fanout",
        "--url",
        &floor.url,
        "--subscribers",
        "1",
        "--rate",
        "2000000",
        "--duration",
        "20ms",
    ]);
    assert_eq!(code, Some(0), "{report}");
    let traffic = &report["traffic"];
    let behind = traffic["behind_ms"].as_f64().expect("a number");
    let latest = traffic["latency"]["max_ms"].as_f64().expect("a number");
    assert!(behind > 20.0 && latest >= behind, "{report}");
}

#[test]
fn chat_keeps_rooms_apart() {
    let floor = Floor::start();
    let (code, report) = run(&[
        "chat",
        "--url",
        &floor.url,
        "--clients",
        "40",
        "--rooms",
        "8",
        "--rate",
        "5",
        "--duration",
        "1s",
    ]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["traffic"]["published"], 200);
    assert_eq!(report["traffic"]["deliveries"], 200 * 5);
}

#[test]
fn connections_are_dealt_to_the_servers_in_turn() {
    // Two floors do not know each other: each delivers to its own half.
    let (left, right) = (Floor::start(), Floor::start());
    let (code, report) = run(&[
        "fanout",
        "--url",
        &left.url,
        "--url",
        &right.url,
        "--subscribers",
        "20",
        "--rate",
        "50",
        "--duration",
        "200ms",
        "--patience",
        "300ms",
    ]);
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["traffic"]["deliveries"], 10 * 10);
    assert_eq!(report["traffic"]["lost"], 10 * 10);
}

#[test]
fn idle_reports_memory_before_and_after() {
    let floor = Floor::start();
    let (code, report) = run(&[
        "idle",
        "--url",
        &floor.url,
        "--pid",
        &floor.pid(),
        "--connections",
        "200",
        "--hold",
        "100ms",
        "--messages",
        "2",
        "--rounds",
        "2",
    ]);
    assert_eq!(code, Some(0), "{report}");
    let memory = &report["memory"];
    assert!(memory["before"].as_u64() > Some(0), "{report}");
    assert!(memory["open"].as_u64() >= memory["before"].as_u64(), "{report}");
    assert_eq!(memory["closed"].as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!(report["traffic"]["deliveries"], 2 * 200);
}

#[test]
fn storm_brings_everybody_back() {
    let floor = Floor::start();
    let (code, report) = run(&["storm", "--url", &floor.url, "--connections", "200", "--rounds", "2"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["storms"].as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!(report["storms"][1]["open"], 200);
    assert_eq!(report["traffic"]["deliveries"], 3 * 200);
}

#[test]
fn the_report_for_people_says_what_happened() {
    let floor = Floor::start();
    let text = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_fanfare-loadtest"))
            .args(arguments)
            .args(["--url", &floor.url, "--pid", &floor.pid()])
            .output()
            .expect("the load test starts");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let check = |arguments: &[&str], lines: &[&str]| {
        let report = text(arguments);
        for line in lines {
            assert!(
                report.lines().any(|found| found.trim().starts_with(line)),
                "no line {line:?} in\n{report}"
            );
        }
    };
    check(
        &[
            "fanout",
            "--subscribers",
            "20",
            "--stalled",
            "1",
            "--rate",
            "100",
            "--duration",
            "200ms",
            "--patience",
            "1s",
        ],
        &[
            "fanout  20 of 20 connections",
            "opened  20 in ",
            "published  20 in ",
            "delivered  380 of 380 in ",
            "faults  0 lost, 0 duplicated, 0 reordered",
            "latency  p50 ",
            "server CPU  ",
            "own CPU  ",
            "stalled  0 of 1 closed with 1013",
            "result  ok",
        ],
    );
    check(
        &[
            "idle",
            "--connections",
            "20",
            "--hold",
            "10ms",
            "--messages",
            "1",
            "--rounds",
            "1",
        ],
        &["idle  20 of 20 connections", "memory  ", "closed  RSS ", "result  ok"],
    );
    check(
        &["storm", "--connections", "20", "--messages", "1"],
        &[
            "storm  20 of 20 connections",
            "all back  20 in ",
            "delivered  20 of 20 in ",
            "result  ok",
        ],
    );
}

/// Chats in two rooms on a server with `fault`; `counts` are lost, duplicated, reordered and misdelivered.
#[track_caller]
fn check(fault: Fault, counts: [u64; 4], problem: &str) {
    let url = format!("ws://{}", faulty::start(fault));
    let (code, report) = run(&[
        "chat",
        "--url",
        &url,
        "--clients",
        "8",
        "--rooms",
        "2",
        "--rate",
        "10",
        "--duration",
        "1s",
        "--patience",
        "500ms",
    ]);
    let seen = ["lost", "duplicated", "reordered", "misdelivered"].map(|name| report["traffic"][name].as_u64());
    assert_eq!(seen, counts.map(Some), "{fault:?}: {report}");
    assert_eq!(code, Some(if problem.is_empty() { 0 } else { 1 }), "{fault:?}");
    assert!(report["problems"].to_string().contains(problem), "{fault:?}: {report}");
}

#[test]
fn faults_of_a_server_are_found() {
    check(Fault::Nothing, [0, 0, 0, 0], "");
    check(Fault::Drops, [1, 0, 0, 0], "1 lost");
    check(Fault::Duplicates, [0, 1, 0, 0], "1 duplicated");
    check(Fault::Leaks, [0, 0, 0, 4], "4 delivered in another channel");
}

#[test]
fn a_swap_is_seen_where_the_sender_is_the_same() {
    let url = format!("ws://{}", faulty::start(Fault::Swaps));
    let (code, report) = run(&[
        "fanout",
        "--url",
        &url,
        "--subscribers",
        "4",
        "--rate",
        "50",
        "--duration",
        "500ms",
        "--patience",
        "500ms",
    ]);
    assert_eq!(code, Some(1), "{report}");
    let traffic = &report["traffic"];
    assert_eq!(
        (&traffic["lost"], &traffic["reordered"]),
        (&0.into(), &1.into()),
        "{report}"
    );
}

#[test]
fn a_connection_that_ends_is_a_failure() {
    let url = format!("ws://{}", faulty::start(Fault::HangsUp));
    let (code, report) = run(&[
        "fanout",
        "--url",
        &url,
        "--subscribers",
        "4",
        "--rate",
        "50",
        "--duration",
        "500ms",
        "--patience",
        "500ms",
    ]);
    assert_eq!(code, Some(1), "{report}");
    assert!(
        report["problems"]
            .to_string()
            .contains("1 connections ended by themselves"),
        "{report}"
    );
}

/// Nothing opens at `address`; each of two connections is tried twice.
#[track_caller]
fn check_refused(address: SocketAddr, reason: &str) {
    let url = format!("ws://{address}");
    let (code, report) = run(&["fanout", "--url", &url, "--subscribers", "2", "--attempts", "2"]);
    assert_eq!(code, Some(1), "{report}");
    let refused = report["opened"]["refused"].as_object().expect("an object");
    let counts: Vec<_> = refused
        .iter()
        .map(|(reason, count)| (reason.as_str(), count.as_u64()))
        .collect();
    assert!(
        counts.len() == 1 && counts[0].0.contains(reason) && counts[0].1 == Some(4),
        "{report}"
    );
    assert!(
        report["problems"]
            .to_string()
            .contains("2 connections could not be opened"),
        "{report}"
    );
}

#[test]
fn connections_that_do_not_open_are_a_failure() {
    check_refused(faulty::start(Fault::Refuses), "answered 503");
    check_refused(faulty::start(Fault::MistakesKeys), "wrong accept key");
    let nobody = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    check_refused(nobody, "Connection refused");
}

/// Ten connections on a server, the last of which does not read; `ended` is what it finds when it does.
#[track_caller]
fn check_stalled(url: &str, closed_as_slow: u64, ended: &Value) {
    let (code, report) = run(&[
        "fanout",
        "--url",
        url,
        "--subscribers",
        "10",
        "--stalled",
        "1",
        "--in-flight",
        "1",
        "--rate",
        "100",
        "--duration",
        "200ms",
        "--patience",
        "1s",
    ]);
    assert_eq!(
        (code, &report["problems"]),
        (Some(0), &Value::Array(vec![])),
        "{report}"
    );
    assert_eq!(report["traffic"]["deliveries"], 20 * 9, "{report}");
    let stalled = serde_json::json!({ "connections": 1, "closed_as_slow": closed_as_slow, "ended": ended });
    assert_eq!(report["stalled"], stalled);
}

#[test]
fn who_does_not_read_loses_nothing_and_tells_how_it_ended() {
    check_stalled(&Floor::start().url, 0, &serde_json::json!({}));
    let url = format!("ws://{}", faulty::start(Fault::GivesUp));
    check_stalled(&url, 1, &serde_json::json!({ "closed with 1013": 1 }));
}

#[test]
fn rounds_end_with_one_that_does_not_open() {
    let url = format!("ws://{}", faulty::start(Fault::Tires));
    let (code, report) = run(&[
        "idle",
        "--url",
        &url,
        "--pid",
        &std::process::id().to_string(),
        "--connections",
        "5",
        "--hold",
        "10ms",
        "--rounds",
        "3",
        "--attempts",
        "1",
    ]);
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(
        report["problems"],
        serde_json::json!(["5 connections could not be opened (5 x answered 503 instead of 101)"]),
        "{report}"
    );
    assert_eq!(report["memory"]["closed"].as_array().map(Vec::len), Some(1), "{report}");
}

#[test]
fn what_fails_at_once_is_not_waited_for() {
    // The kernel refuses to connect to a broadcast address before anything is sent.
    let begun = Instant::now();
    let (code, report) = run(&[
        "fanout",
        "--url",
        "ws://255.255.255.255:1",
        "--subscribers",
        "2",
        "--attempts",
        "1",
    ]);
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["opened"]["open"], 0, "{report}");
    assert!(begun.elapsed() < Duration::from_secs(20), "waited for nothing");
}

#[test]
fn connections_may_be_more_than_the_soft_limit_of_open_files() {
    let floor = Floor::start();
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -Sn 40 && exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_fanfare-loadtest"),
        ])
        .args([
            "fanout",
            "--url",
            &floor.url,
            "--subscribers",
            "100",
            "--duration",
            "100ms",
            "--attempts",
            "1",
        ])
        .output()
        .expect("a shell");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn a_run_that_cannot_take_place_exits_with_2() {
    for arguments in [
        &["fanout", "--url", "http://127.0.0.1:1"][..],
        &["idle", "--url", "ws://127.0.0.1:1"],
        &["fanout", "--url", "ws://127.0.0.1:1", "--pid", "4294967295"],
        &["fanout", "--url", "wss://127.0.0.1:1"],
        &["chat", "--url", "ws://127.0.0.1:1", "--clients", "2", "--rooms", "3"],
        &["fanout", "--url", "ws://127.0.0.1:1", "--size", "71"],
        &["fanout", "--url", "ws://127.0.0.1:1", "--token", "t"],
        &["fanout", "--url", "ws://127.0.0.1:1", "--channel", "a b"],
        &[
            "fanout",
            "--url",
            "ws://127.0.0.1:1",
            "--subscribers",
            "2",
            "--stalled",
            "2",
        ],
    ] {
        assert_eq!(run(arguments).0, Some(2), "{arguments:?}");
    }
}
