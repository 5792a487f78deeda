//! The command line of the program itself: commands, exit codes, what goes to stdout and what to stderr.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a command may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn fanfare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Runs a command that must end by itself.
#[track_caller]
fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("no signal"), text(stdout), text(stderr))
}

/// The exit code, and that stdout and stderr contain what they should.
#[track_caller]
fn check(command: &mut Command, code: i32, stdout: &[&str], stderr: &[&str]) {
    let (found, out, error) = run(command);
    assert_eq!(found, code, "{out}{error}");
    for part in stdout {
        assert!(out.contains(part), "no {part:?} in stdout:\n{out}");
    }
    for part in stderr {
        assert!(error.contains(part), "no {part:?} in stderr:\n{error}");
    }
    assert!(!stdout.is_empty() || out.is_empty(), "{out}");
    assert!(!stderr.is_empty() || error.is_empty(), "{error}");
}

#[test]
fn help_teaches() {
    check(
        &mut fanfare(&["--help"]),
        0,
        &["Examples:", "fanfare --dev", "Where settings come from", "Exit codes:"],
        &[],
    );
    check(
        &mut fanfare(&["-h"]),
        0,
        &["Usage: fanfare", "healthcheck", "config"],
        &[],
    );
    check(
        &mut fanfare(&["config", "--help"]),
        0,
        &["default", "show", "check", "env"],
        &[],
    );
    check(
        &mut fanfare(&["--version"]),
        0,
        &[concat!("fanfare ", env!("CARGO_PKG_VERSION"), " (revision ")],
        &[],
    );
    let (_, help, _) = run(&mut fanfare(&["config", "--help"]));
    assert!(!help.contains("reference"), "{help}");
}

#[test]
fn rules_are_explained() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("fanfare.toml");
    let rules = "[[channels]]\nmatch = 'news-*'\nsubscribe = 'anyone'\n[[channels]]\nmatch = '*'\nsubscribe = 'anyone'\n\
                 publish = 'subscribers'\npresence = true\nuser_limited = true\nmessage_size = '1KiB'\npublish_rate = 5\n";
    fs::write(&file, rules).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let explain = |arguments: &[&str], parts: &[&str]| {
        let all = [&["config", "explain", "--config", file], arguments].concat();
        check(&mut fanfare(&all), 0, parts, &[]);
    };
    explain(
        &["news-1"],
        &[
            "channels[0]",
            "\"news-*\"",
            "subscribe   anyone",
            "publish     servers only",
        ],
    );
    explain(
        &["room"],
        &[
            "channels[1]",
            "presence    known",
            "1024 bytes a publication, 5 publications a second",
        ],
    );
    explain(&["dialog#anna", "--user", "anna"], &["anna may; the name lists anna"]);
    explain(&["dialog#anna"], &["clients without a user with a token"]);
    explain(&["$room"], &["with a token for the channel: its name is private"]);
    explain(&["chat-channel"], &["the bare channel", "publish     its subscribers"]);
    check(
        &mut fanfare(&["config", "explain", "room"]),
        0,
        &["none matches: it is closed"],
        &[],
    );
    check(
        &mut fanfare(&["config", "explain", "--dev", "room"]),
        0,
        &["development mode", "anyone"],
        &[],
    );
    check(
        &mut fanfare(&["config", "explain", "a b"]),
        2,
        &[],
        &["no channel can be called that"],
    );
}

#[test]
fn wrong_arguments() {
    check(&mut fanfare(&["--prot", "1"]), 2, &[], &["--prot", "--port"]);
    check(&mut fanfare(&["sevre"]), 2, &[], &["serve"]);
    check(&mut fanfare(&["config"]), 2, &[], &["Usage"]);
}

#[test]
fn completions() {
    for shell in ["bash", "zsh", "fish"] {
        check(
            &mut fanfare(&["completions", shell]),
            0,
            &["fanfare", "healthcheck"],
            &[],
        );
    }
    check(&mut fanfare(&["completions", "sh"]), 2, &[], &["bash"]);
}

#[test]
fn pages() {
    check(
        &mut fanfare(&["config", "default"]),
        0,
        &["[listener]\n", "port = 3000\n", "[redis]\n"],
        &[],
    );
    check(
        &mut fanfare(&["config", "env"]),
        0,
        &["FANFARE__LISTENER__PORT=3000\n", "FANFARE__REDIS__URL=\n"],
        &[],
    );
    check(
        &mut fanfare(&["config", "reference"]),
        0,
        &["# Settings\n", "`redis.password`"],
        &[],
    );
}

#[test]
fn show_tells_values_and_origins_but_no_secret() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("f.toml");
    fs::write(&path, "[listener]\nbacklog = 7\n").expect("a file");
    let path = path.to_str().expect("UTF-8");
    let mut command = fanfare(&["config", "show", "--config", path, "--log", "debug"]);
    command
        .env("PORT", "3001")
        .env("REDIS_URL", "redis://:hush1@a.example")
        .env("FANFARE__REDIS__PASSWORD", "hush2");
    let (code, out, error) = run(&mut command);
    assert_eq!((code, error.as_str()), (0, ""));
    let line = |key: &str| {
        out.lines()
            .find(|line| line.starts_with(key))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(line("port ").as_deref(), Some("port = 3001 # variable PORT"));
    assert_eq!(
        line("backlog ").as_deref(),
        Some(format!("backlog = 7 # file {path}").as_str())
    );
    assert_eq!(line("filter ").as_deref(), Some("filter = \"debug\" # flag --log"));
    assert_eq!(
        line("url ").as_deref(),
        Some("url = \"redis://***@a.example\" # variable REDIS_URL")
    );
    assert_eq!(line("transport ").as_deref(), Some("transport = \"reactor\" # default"));
    assert!(!out.contains("hush"), "{out}");
}

#[test]
fn check_says_ok_or_every_mistake() {
    let (code, out, error) = run(&mut fanfare(&["config", "check"]));
    assert_eq!((code, out.as_str(), error.as_str()), (0, "ok\n", ""));
    let mut wrong = fanfare(&["config", "check", "--port", "x"]);
    wrong
        .env("FANFARE__LISTNER__PORT", "1")
        .env("FANFARE__REDIS__URL", "hush");
    let expected = [
        "3 mistakes",
        "listener.port = \"x\"  (flag --port)",
        "did you mean FANFARE__LISTENER__PORT?",
        "redis.url = \"***\"",
    ];
    check(&mut wrong, 2, &[], &expected);
    let (_, _, error) = run(&mut wrong);
    assert!(!error.contains("hush"), "{error}");
    check(
        &mut fanfare(&["config", "check", "--config", "/does/not/exist"]),
        2,
        &[],
        &["/does/not/exist: cannot be read"],
    );
}

#[test]
fn nothing_is_served_with_wrong_settings() {
    check(&mut fanfare(&["--port", "x"]), 2, &[], &["1 mistake", "listener.port"]);
    check(
        &mut fanfare(&["serve", "--port", "60000"]),
        2,
        &[],
        &["set admin.address"],
    );
    check(
        fanfare(&["--dev"]).env("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        2,
        &[],
        &["refused on Kubernetes"],
    );
}

/// Answers one request on a free port, and says which port.
fn answer_once(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn health_of_a_url() {
    let url = |answer| format!("http://127.0.0.1:{}/readyz", answer_once(answer));
    check(
        &mut fanfare(&["healthcheck", "--url", &url("HTTP/1.1 200 OK\r\n\r\n")]),
        0,
        &["ready\n"],
        &[],
    );
    check(
        &mut fanfare(&["healthcheck", "--url", &url("HTTP/1.1 503 No\r\n\r\ndraining")]),
        1,
        &[],
        &["not ready", "503: draining"],
    );
    check(
        &mut fanfare(&["healthcheck", "--url", "https://127.0.0.1:1/"]),
        1,
        &[],
        &["expected http://"],
    );
}

#[test]
fn health_by_the_settings() {
    let port = answer_once("HTTP/1.1 200 OK\r\n\r\n");
    check(
        fanfare(&["healthcheck"]).env("FANFARE__ADMIN__ADDRESS", format!("0.0.0.0:{port}")),
        0,
        &["ready\n"],
        &[],
    );
    check(fanfare(&["healthcheck"]).env("PORT", "0"), 1, &[], &["cannot be known"]);
    let closed = TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("bound");
    check(
        fanfare(&["healthcheck"]).env("FANFARE__ADMIN__ADDRESS", closed.to_string()),
        1,
        &[],
        &["does not answer"],
    );
}

/// Long enough for a secret.
const TOKEN_SECRET: &str = "hush-hush-hush-hush-hush-hush-hush";

/// `fanfare token ...` under settings that have a secret.
fn token(arguments: &[&str]) -> Command {
    let mut command = fanfare(&[&["token"], arguments].concat());
    command.env("FANFARE__TOKENS__HMAC_SECRET", TOKEN_SECRET);
    command
}

/// What `token inspect -` says of `token`: the exit code, stdout as JSON if it is, and stderr.
#[track_caller]
fn inspect(command: &mut Command, token: &str) -> (i32, serde_json::Value, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    // It stops reading where no token could go on.
    let _ = stdin.write_all(token.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    let stdout = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(!format!("{stdout}{stderr}").contains("hush"), "{stdout}{stderr}");
    (output.status.code().expect("no signal"), stdout, stderr)
}

#[test]
fn a_token_that_was_created_is_accepted() {
    let claims = [
        "--info",
        r#"{"name":"A"}"#,
        "--claim",
        "n=5",
        "--claim",
        "text=a=b",
        "--claim",
        "list=[1]",
    ];
    let mut create = token(&[&["create", "--user", "anna", "--ttl", "2h"], &claims[..]].concat());
    create
        .env("FANFARE__TOKENS__AUDIENCE", "chat,news")
        .env("FANFARE__TOKENS__ISSUER", "me");
    let (code, made, stderr) = run(&mut create);
    assert_eq!((code, stderr.as_str(), made.lines().count()), (0, "", 1));
    let mut command = token(&["inspect", "-"]);
    command
        .env("FANFARE__TOKENS__AUDIENCE", "chat")
        .env("FANFARE__TOKENS__ISSUER", "me");
    let (code, page, stderr) = inspect(&mut command, &made);
    assert_eq!((code, stderr.as_str()), (0, ""), "{page}");
    let claims = &page["claims"];
    assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|at| at + 7200));
    for (name, value) in [
        ("sub", serde_json::json!("anna")),
        ("info", serde_json::json!({"name": "A"})),
        ("n", serde_json::json!(5)),
        ("text", serde_json::json!("a=b")),
        ("list", serde_json::json!([1])),
        ("aud", serde_json::json!("chat")),
        ("iss", serde_json::json!("me")),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert_eq!(page["header"], serde_json::json!({"alg": "HS256", "typ": "JWT"}));
    assert_eq!((&page["for"], &page["accepted"]), (&"connection".into(), &true.into()));
    let ok = serde_json::json!({"signature": "ok", "times": "ok", "audience": "ok", "issuer": "ok"});
    assert_eq!(page["checks"], ok);
    // The token as an argument.
    check(&mut token(&["inspect", made.trim()]), 0, &["\"accepted\": true"], &[]);
}

#[test]
fn tokens_for_subscriptions() {
    let (code, made, _) = run(&mut token(&["create", "--user", "anna", "--channel", "$room:1"]));
    assert_eq!(code, 0);
    let (code, page, stderr) = inspect(&mut token(&["inspect", "-"]), &made);
    assert_eq!((code, stderr.as_str()), (0, ""), "{page}");
    assert_eq!(
        (&page["for"], &page["claims"]["channel"]),
        (&"subscription".into(), &"$room:1".into())
    );
}

#[test]
fn tokens_that_would_be_refused() {
    #[track_caller]
    fn check_refused(command: &mut Command, text: &str, check: &str, told: &str) {
        let (code, page, stderr) = inspect(command, text);
        assert_eq!((code, &page["accepted"]), (1, &false.into()), "{page}{stderr}");
        assert!(
            page["checks"][check]
                .as_str()
                .is_some_and(|outcome| outcome.contains(told)),
            "{page}"
        );
        assert!(
            stderr.starts_with("fanfare: the token ") && stderr.contains(told),
            "{stderr}"
        );
    }
    let make = |arguments: &[&str]| run(&mut token(&[&["create", "--user", "anna"], arguments].concat())).1;
    let inspect_command = || token(&["inspect", "-"]);
    let (fresh, expired) = (make(&[]), make(&["--claim", "exp=1", "--claim", "odd=\u{9b}2J"]));
    check_refused(&mut inspect_command(), &expired, "times", "has expired");
    let early = make(&["--claim", "nbf=9999999999", "--claim", "exp=99999999999"]);
    check_refused(&mut inspect_command(), &early, "times", "not valid yet");
    // Other claims under the same signature.
    let parts = |token: &str| token.trim().split('.').map(str::to_owned).collect::<Vec<_>>();
    let changed = [
        &parts(&fresh)[0],
        &parts(&make(&["--claim", "admin=true"]))[1],
        &parts(&fresh)[2],
    ]
    .map(String::as_str)
    .join(".");
    check_refused(&mut inspect_command(), &changed, "signature", "signature is wrong");
    let other = "another secret, another secret, another secret";
    check_refused(
        inspect_command().env("FANFARE__TOKENS__HMAC_SECRET", other),
        &fresh,
        "signature",
        "signature is wrong",
    );
    check_refused(
        inspect_command().env("FANFARE__TOKENS__AUDIENCE", "chat"),
        &fresh,
        "audience",
        "audience",
    );
    check_refused(
        inspect_command().env("FANFARE__TOKENS__ISSUER", "me"),
        &fresh,
        "issuer",
        "issuer",
    );
    let mut without_keys = fanfare(&["token", "inspect", "-"]);
    check_refused_with_hint(&mut without_keys, &fresh);
    // What a stranger put in must not steer the terminal.
    let (_, out, _) = run(&mut token(&["inspect", expired.trim()]));
    assert!(out.contains("\\u009b2J") && !out.contains('\u{9b}'), "{out}");
}

#[track_caller]
fn check_refused_with_hint(command: &mut Command, token: &str) {
    let (code, _, stderr) = inspect(command, token);
    assert_eq!(code, 1);
    assert!(stderr.contains("there is no key: set tokens.hmac_secret"), "{stderr}");
}

#[test]
fn what_is_no_token() {
    let long = "x".repeat(100_000);
    for (text, told) in [
        ("", "no JWT"),
        ("a.b.c", "no JWT"),
        ("\u{9b}", "no JWT"),
        (long.as_str(), "longer than 8192"),
    ] {
        let (code, page, stderr) = inspect(&mut token(&["inspect", "-"]), text);
        assert_eq!((code, page), (1, serde_json::Value::Null));
        assert!(stderr.contains(told), "{stderr}");
    }
}

#[test]
fn keys_in_files() {
    let directory = TempDir::new().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let issuers: serde_json::Value =
        serde_json::from_str(include_str!("../../src/token/test_keys.json")).expect("the file is right");
    let issuer = |name: &str| {
        let mut all = issuers.as_array().into_iter().flatten();
        all.find(|issuer| issuer["name"] == name).expect("it is there")
    };
    let pem = file("key.pem", issuer("RS256")["pem"].as_str().expect("text"));
    let keys = serde_json::json!({"keys": [issuer("ES384")["jwk"], {"kty": "oct", "k": "aHVzaA"}]});
    let set = file("set.json", &keys.to_string());
    for (name, token) in [("RS256", "without_kid"), ("RS256", "with_kid"), ("ES384", "with_kid")] {
        let mut command = fanfare(&["token", "inspect", "-"]);
        command
            .env("FANFARE__TOKENS__PUBLIC_KEY_FILE", &pem)
            .env("FANFARE__TOKENS__JWKS_FILE", &set);
        let (code, page, stderr) = inspect(&mut command, issuer(name)[token].as_str().expect("text"));
        assert_eq!((code, &page["checks"]["signature"]), (0, &"ok".into()), "{stderr}");
        assert!(stderr.contains("key 2 is left out: a shared secret"), "{stderr}");
    }
    let short = file("short.pem", issuer("short")["pem"].as_str().expect("text"));
    let mut wrong = fanfare(&["config", "check"]);
    wrong
        .env("FANFARE__TOKENS__PUBLIC_KEY_FILE", short)
        .env("FANFARE__TOKENS__JWKS_FILE", "/does/not/exist")
        .env("FANFARE__TOKENS__HMAC_SECRET", "hush")
        .env("FANFARE__TOKENS__LEEWAY", "2m");
    let expected = [
        "4 mistakes",
        "tokens.public_key_file = ",
        "expected an RSA key of 2048 to 8192 bits, this one has 1024",
        "tokens.jwks_file = \"/does/not/exist\"  (variable FANFARE__TOKENS__JWKS_FILE)",
        "the file cannot be read",
        "tokens.hmac_secret = \"***\"",
        "at least 32 bytes",
        "at most 1m",
    ];
    check(&mut wrong, 2, &[], &expected);
}

#[test]
fn keys_behind_a_url() {
    let issuers: serde_json::Value =
        serde_json::from_str(include_str!("../../src/token/test_keys.json")).expect("the file is right");
    let issuer = issuers
        .as_array()
        .into_iter()
        .flatten()
        .find(|issuer| issuer["name"] == "ES384");
    let issuer = issuer.expect("it is there");
    let text = issuer["with_kid"].as_str().expect("text");
    let set = serde_json::json!({"keys": [issuer["jwk"], {"kty": "oct", "k": "aHVzaA"}]}).to_string();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{set}", set.len());
    let inspect_with = |port: u16| {
        let mut command = fanfare(&["token", "inspect", "-"]);
        command.env("FANFARE__TOKENS__JWKS_URL", format!("http://127.0.0.1:{port}/keys"));
        inspect(&mut command, text)
    };
    let (code, page, stderr) = inspect_with(answer_once(answer.leak()));
    assert_eq!((code, &page["checks"]["signature"]), (0, &"ok".into()), "{stderr}");
    assert!(
        stderr.contains("tokens.jwks_url: key 2 is left out: a shared secret"),
        "{stderr}"
    );
    let (code, page, stderr) = inspect_with(answer_once("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"));
    assert_eq!((code, &page["accepted"]), (1, &false.into()), "{stderr}");
    assert!(stderr.contains("/keys answered with status 404"), "{stderr}");
    assert!(stderr.contains("there is no key: set tokens.hmac_secret"), "{stderr}");
}

#[test]
fn tokens_that_cannot_be_created() {
    let create = |arguments: &[&str]| token(&[&["create"], arguments].concat());
    check(&mut create(&[]), 2, &[], &["--user"]);
    check(
        &mut create(&["--user", "a", "--channel", "a b"]),
        2,
        &[],
        &["must not contain ' '"],
    );
    check(&mut create(&["--user", "a", "--ttl", "5"]), 2, &[], &["with its unit"]);
    check(&mut create(&["--user", "a", "--ttl", "0s"]), 2, &[], &["at least 1s"]);
    check(&mut create(&["--user", "a", "--info", "{"]), 2, &[], &["expected JSON"]);
    check(&mut create(&["--user", "a", "--claim", "x"]), 2, &[], &["NAME=VALUE"]);
    check(
        &mut fanfare(&["token", "create", "--user", "a"]),
        2,
        &[],
        &["no secret to sign with: set tokens.hmac_secret"],
    );
    check(&mut fanfare(&["token", "--help"]), 0, &["create", "inspect"], &[]);
}

/// A gateway that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first lines of the log, until clients are accepted.
#[track_caller]
fn start(arguments: &[&str]) -> (Running, Vec<String>) {
    start_command(fanfare(arguments))
}

#[track_caller]
fn start_command(mut command: Command) -> (Running, Vec<String>) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    let (lines, deadline) = (
        BufReader::new(child.stdout.take().expect("piped")).lines(),
        Instant::now() + PATIENCE,
    );
    let running = Running(child);
    let mut log = Vec::new();
    for line in lines {
        log.push(line.expect("UTF-8"));
        assert!(Instant::now() < deadline, "{log:#?}");
        if log.last().is_some_and(|line| line.contains("clients are accepted")) {
            break;
        }
    }
    (running, log)
}

#[test]
fn the_first_line_says_what_runs_with_what() {
    let (_running, log) = start(&["--port", "0"]);
    let first: serde_json::Value = serde_json::from_str(&log[0]).expect("JSON, as stdout is no terminal");
    assert_eq!(first["level"], "info");
    assert!(
        first["msg"]
            .as_str()
            .expect("a message")
            .contains("no Redis URL is set"),
        "{first}"
    );
    assert_eq!(first["bus"], "memory");
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(first["settings"], "flag --port");
    assert!(
        first["revision"].is_string() && first["connections"].is_u64(),
        "{first}"
    );
    assert!(
        log.iter()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{log:#?}"
    );
    assert!(
        log.iter()
            .any(|line| line.contains("the bare channel is open to anyone")),
        "{log:#?}"
    );
    assert!(!log.iter().any(|line| line.contains("DEVELOPMENT MODE")), "{log:#?}");
}

#[test]
fn development_mode_is_loud_and_text_is_for_people() {
    let (_running, log) = start(&["--dev", "--port", "0", "--log-format", "text"]);
    assert!(log[0].contains("Z  INFO "), "{log:#?}");
    assert!(
        log.iter()
            .any(|line| line.contains("WARN") && line.contains("DEVELOPMENT MODE")),
        "{log:#?}"
    );
}

#[test]
fn systemd_is_told() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut command = fanfare(&["--port", "0"]);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "300000")
        .env("FANFARE__DRAIN__DELAY", "500ms");
    let told = || {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    };
    let (running, _) = start_command(command);
    assert_eq!(told(), "READY=1");
    for _ in 0..3 {
        assert_eq!(told(), "WATCHDOG=1");
    }
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").arg(pid).status().expect("kill is there").success());
    let until = std::iter::from_fn(|| Some(told())).find(|told| told != "WATCHDOG=1");
    assert_eq!(until.as_deref(), Some("STOPPING=1"));
    // It is still watched over while it drains.
    assert_eq!(told(), "WATCHDOG=1");
}

#[test]
fn development_mode_gives_way_to_what_is_set() {
    let mut command = fanfare(&["--dev", "--port", "0"]);
    command
        .env("FANFARE__DEMO__ENABLED", "false")
        .env("FANFARE__LISTENER__ALLOWED_ORIGINS", "https://a.example");
    let (_running, log) = start_command(command);
    let address = log.iter().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["public"]
            .as_str()
            .map(|address| address.replace("0.0.0.0", "127.0.0.1"))
    });
    let address = address.expect("an address").parse().expect("an address");
    let page = crate::support::ask(address, "GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n");
    assert_eq!(page.status, 426);
    for (origin, status) in [("https://a.example", 101), ("https://b.example", 403)] {
        let answer = crate::support::ask(address, crate::support::upgrade("/", &[("Origin", origin)]));
        assert_eq!(answer.status, status, "{origin}");
    }
}

#[test]
fn an_address_that_is_taken_is_told() {
    let taken = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let mut command = fanfare(&["--port", &port]);
    command.env("FANFARE__ADMIN__ADDRESS", "127.0.0.1:0");
    let (code, log, _) = run(&mut command);
    let last: serde_json::Value = serde_json::from_str(log.lines().last().expect("a log")).expect("JSON");
    assert_eq!((code, &last["level"]), (1, &"error".into()), "{log}");
    let told = format!("cannot listen on 0.0.0.0:{port}");
    assert!(
        last["error"].as_str().is_some_and(|error| error.contains(&told)),
        "{log}"
    );
}

/// What [`a_panic_is_one_line_of_the_log`] runs in a process of its own: a panic that ends the process at once.
#[test]
#[ignore = "ends the process"]
fn panics_and_aborts() {
    let _logging = gateway::logging::start(&gateway::config::Config::default()).expect("the first log here");
    let thread = std::thread::Builder::new().name("doomed".into());
    let _ = thread.spawn(|| panic!("out of\nluck")).expect("a thread").join();
    std::process::abort();
}

#[test]
fn a_panic_is_one_line_of_the_log() {
    let mut child = Command::new(std::env::current_exe().expect("this test"));
    let output = child
        .args(["--ignored", "--exact", "--nocapture", "cli::panics_and_aborts"])
        .output()
        .expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let lines = stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let panics: Vec<_> = lines.filter(|line| line["target"] == "panic").collect();
    let [panic] = &panics[..] else { panic!("{stdout}") };
    assert_eq!((&panic["level"], &panic["thread"]), (&"error".into(), &"doomed".into()));
    assert_eq!(panic["msg"], "out of\nluck");
    assert!(
        panic["place"].as_str().is_some_and(|place| place.contains("cli.rs:")),
        "{panic}"
    );
    assert!(!output.status.success());
}
