//! Real processes on loopback: Redis, gateways, the Node server, load balancers, and what is asked of them from outside.
//!
//! Each process has a directory of its own with its log, listens on free ports, and ends with its value. Knows the programs and their
//! settings, not what a test wants of them. Invariant: whatever waits, waits for an event, and at most [`PATIENCE`].

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

mod blackhole;
mod client;

pub(crate) use blackhole::{Blackhole, Side};
pub(crate) use client::{Client, End};

/// How long anything that must happen may take; generous, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Waits until `found` gives something, and gives that.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that nothing listens on, outside the range that the kernel gives to clients, so that no connection takes it meanwhile.
pub(crate) fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| rand::random_range(10_000..32_000_u16)).take(1000);
    ports
        .find(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok())
        .expect("a free port")
}

/// One process, with a directory of its own. A test that fails shows its log.
struct Process {
    child: RefCell<Child>,
    dir: TempDir,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let dir = TempDir::new().expect("a directory");
        let log = File::create(dir.path().join("log")).expect("a log");
        for (name, _) in std::env::vars().filter(|(name, _)| is_setting(name)) {
            if command.get_envs().all(|(given, _)| given != name.as_str()) {
                command.env_remove(name);
            }
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        let child = RefCell::new(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        Self { child, dir }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn pid(&self) -> u32 {
        self.child.borrow().id()
    }

    /// How it ended, if it has.
    fn ended(&self) -> Option<ExitStatus> {
        self.child.borrow_mut().try_wait().expect("a child of ours")
    }

    /// Waits until `found` gives something; panics at once when the process ends before.
    #[track_caller]
    fn wait_for<T>(&self, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        wait_for(what, || {
            assert_eq!(self.ended(), None, "it ended before {what}");
            found()
        })
    }

    #[track_caller]
    fn wait_until_listening(&self, address: SocketAddr) {
        self.wait_for("a listener", || TcpStream::connect(address).ok());
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(kill.expect("kill is installed").success(), "SIG{name}");
    }

    /// Waits for its end.
    #[track_caller]
    fn wait(&self) -> ExitStatus {
        wait_for("the end of a process", || self.ended())
    }

    /// As `kill -9` does.
    fn kill(&self) {
        let mut child = self.child.borrow_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of process {}\n{}", self.pid(), self.log());
        }
    }
}

fn is_setting(variable: &str) -> bool {
    ["FANFARE_", "KUBERNETES_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
        || ["PORT", "HOST", "REDIS_URL", "RUST_LOG"].contains(&variable)
}

/// A redis-server.
pub(crate) struct Redis {
    process: Process,
    address: SocketAddr,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_at(SocketAddr::from((LOOPBACK, free_port())))
    }

    #[track_caller]
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let process = redis_server(address);
        process.wait_until_listening(address);
        Self { process, address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// As `kill -9` does.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }

    /// Starts again, empty, where it was.
    pub(crate) fn restart(&mut self) {
        self.process = redis_server(self.address);
        self.process.wait_until_listening(self.address);
    }

    /// Nothing is answered any more, and no connection closed.
    pub(crate) fn freeze(&self) {
        self.process.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// Publishes as a person would, with redis-cli.
    #[track_caller]
    pub(crate) fn publish(&self, channel: &str, payload: &str) {
        let (ip, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let answer = Command::new("redis-cli")
            .args(["-h", &ip, "-p", &port, "PUBLISH", channel, payload])
            .output();
        let answer = answer.expect("redis-cli is installed");
        assert!(answer.status.success(), "{answer:?}");
    }
}

fn redis_server(address: SocketAddr) -> Process {
    let mut command = Command::new("redis-server");
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    command.args(["--bind", &ip, "--port", &port, "--save", "", "--appendonly", "no"]);
    Process::start(command)
}

/// The program itself.
pub(crate) struct Gateway {
    process: Process,
    port: u16,
    admin: u16,
    redis: String,
    settings: Vec<(String, String)>,
}

impl Gateway {
    /// Starts one that is ready. `settings`: section and key with their value, such as `("drain.delay", "0s")`.
    #[track_caller]
    pub(crate) fn start(redis: &str, settings: &[(&str, &str)]) -> Self {
        let gateway = Self::start_unready(redis, settings);
        gateway.wait_until_ready();
        gateway
    }

    /// Starts one that need not be ready soon.
    pub(crate) fn start_unready(redis: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_fanfare")), redis, settings)
    }

    /// Starts one by a command of another program that becomes the gateway.
    pub(crate) fn start_by(command: Command, redis: &str, settings: &[(&str, &str)]) -> Self {
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| (variable(name), (*value).to_owned()))
            .collect();
        let (port, admin) = (free_port(), free_port());
        let process = Process::start(configured(command, port, admin, redis, &settings));
        Self {
            process,
            port,
            admin,
            redis: redis.to_owned(),
            settings,
        }
    }

    /// Starts again, with the same settings and ports, once it has ended.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.process.wait();
        let command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
        self.process = Process::start(configured(command, self.port, self.admin, &self.redis, &self.settings));
        self.wait_until_ready();
    }

    #[track_caller]
    pub(crate) fn wait_until_ready(&self) {
        self.process
            .wait_for("a ready gateway", || (self.probe("/readyz")?.0 == 200).then_some(()));
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((LOOPBACK, self.port))
    }

    /// Where probes, metrics and the server API are.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        SocketAddr::from((LOOPBACK, self.admin))
    }

    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// Status and body of an answer of the admin listener; `None` if it does not answer.
    pub(crate) fn probe(&self, path: &str) -> Option<(u16, String)> {
        get(self.admin_address(), path)
    }

    /// Whether `/readyz?verbose` has that line.
    pub(crate) fn shows(&self, line: &str) -> bool {
        let (_, report) = self.probe("/readyz?verbose").expect("the admin listener answers");
        report.lines().any(|found| found.contains(line))
    }

    /// A metric without labels.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.probe("/metrics").expect("the admin listener answers");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no metric {name}"))
            .parse()
            .expect("a number")
    }

    /// How many clients it has now.
    #[track_caller]
    #[expect(clippy::cast_possible_truncation, reason = "a small whole number")]
    pub(crate) fn connections(&self) -> usize {
        self.metric("fanfare_connections") as usize
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Asks it to leave.
    pub(crate) fn terminate(&self) {
        self.process.signal("TERM");
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&self) -> ExitStatus {
        self.process.wait()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.process.ended()
    }
}

fn variable(setting: &str) -> String {
    format!("FANFARE__{}", setting.to_uppercase().replace('.', "__"))
}

fn configured(mut command: Command, port: u16, admin: u16, redis: &str, settings: &[(String, String)]) -> Command {
    command
        .arg("--dev")
        .env("PORT", port.to_string())
        .env("REDIS_URL", redis)
        .env("FANFARE__LISTENER__ADDRESS", LOOPBACK.to_string())
        .env("FANFARE__ADMIN__ADDRESS", format!("{LOOPBACK}:{admin}"))
        .envs(settings.iter().map(|(name, value)| (name, value)));
    command
}

/// The chat server of the Node tutorial.
pub(crate) struct NodeServer {
    _process: Process,
    address: SocketAddr,
}

impl NodeServer {
    #[track_caller]
    pub(crate) fn start(redis: &str) -> Self {
        let project = Path::new(ROOT).join("crates/loadtest/baselines/node-server");
        install_packages(&project);
        let mut command = Command::new("node");
        command
            .arg(project.join("server.js"))
            .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("REDIS_URL", redis)]);
        let process = Process::start(command);
        let address = process.wait_for("the Node server", || {
            let log = process.log();
            let (line, _) = log.strip_prefix("listening on ")?.split_once('\n')?;
            line.parse().ok()
        });
        Self {
            _process: process,
            address,
        }
    }

    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }
}

/// Installs what the lock file names, unless that was done before; one process at a time.
fn install_packages(project: &Path) {
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm.lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let changed = |file: PathBuf| fs::metadata(file).and_then(|file| file.modified()).ok();
    let installed = changed(project.join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= changed(project.join("package-lock.json")) {
        return;
    }
    let npm = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--silent"])
        .current_dir(project)
        .status();
    assert!(npm.expect("npm is installed").success(), "npm ci");
}

/// A load balancer in front of two gateways, with a file of `deploy` as it is.
pub(crate) struct Balancer {
    process: Process,
    address: SocketAddr,
}

impl Balancer {
    #[track_caller]
    pub(crate) fn haproxy(a: &Gateway, b: &Gateway) -> Self {
        let address = SocketAddr::from((LOOPBACK, free_port()));
        let mut command = system_command("haproxy");
        command.arg("-f").arg(Path::new(ROOT).join("deploy/haproxy.cfg")).envs([
            ("FANFARE_LISTEN", address.to_string()),
            ("FANFARE_A", a.address().to_string()),
            ("FANFARE_A_ADMIN", a.admin.to_string()),
            ("FANFARE_B", b.address().to_string()),
            ("FANFARE_B_ADMIN", b.admin.to_string()),
        ]);
        Self::start(command, address)
    }

    /// nginx reads addresses from two files beside its own, so a copy of that is run beside other addresses.
    #[track_caller]
    pub(crate) fn nginx(a: &Gateway, b: &Gateway, dir: &Path) -> Self {
        let address = SocketAddr::from((LOOPBACK, free_port()));
        let shipped = Path::new(ROOT).join("deploy");
        let config = dir.join("nginx.conf");
        fs::copy(shipped.join("nginx.conf"), &config).expect("a copy");
        fs::create_dir(dir.join("nginx")).expect("a directory");
        let instances = fs::read_to_string(shipped.join("nginx/instances.conf")).expect("shipped");
        let instances = instances
            .replace("127.0.0.1:3000", &a.address().to_string())
            .replace("127.0.0.1:3001", &b.address().to_string());
        fs::write(dir.join("nginx/instances.conf"), instances).expect("written");
        fs::write(dir.join("nginx/listen.conf"), format!("listen {address};\n")).expect("written");
        let mut command = system_command("nginx");
        let directives = format!("daemon off; pid {};", dir.join("pid").display());
        command.arg("-c").arg(config).args(["-e", "stderr", "-g", &directives]);
        Self::start(command, address)
    }

    #[track_caller]
    fn start(command: Command, address: SocketAddr) -> Self {
        let process = Process::start(command);
        process.wait_until_listening(address);
        Self { process, address }
    }

    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Waits until its log has those words.
    #[track_caller]
    pub(crate) fn wait_until_it_says(&self, words: &str) {
        self.process
            .wait_for(words, || self.process.log().contains(words).then_some(()));
    }
}

impl Drop for Balancer {
    /// nginx ends its workers only when asked.
    fn drop(&mut self) {
        if self.process.ended().is_none() {
            self.process.signal("TERM");
            let deadline = Instant::now() + PATIENCE;
            while self.process.ended().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// A program that may be where only administrators look.
fn system_command(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("env");
    command.arg(format!("PATH={path}:/usr/sbin:/sbin")).arg(name);
    command
}

/// Status and body of the answer to a plain GET; `None` without one.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
