//! Redis servers of a test's own, on free ports: single, behind a sentinel, and as a cluster. They end with the test.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

/// A server has this long to do what it is asked to.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server process, killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    arguments: Vec<String>,
    dir: PathBuf,
    child: Option<Child>,
}

#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot have its server has failed, and says best why by a panic"
)]
impl RedisServer {
    /// An empty server that keeps nothing on disk.
    ///
    /// # Panics
    /// When `redis-server` is not installed or does not begin to answer.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further arguments of `redis-server`.
    ///
    /// # Panics
    /// When `redis-server` is not installed or does not begin to answer.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self::new(arguments);
        server.restart();
        server
    }

    fn new(arguments: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("hexgate-redis-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self {
            port: free_port(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            dir,
            child: None,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts the server on its port, which it has kept. It comes up empty.
    ///
    /// # Panics
    /// When it does not begin to answer.
    pub fn restart(&mut self) {
        self.kill();
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command
            .args(["--dir", &self.dir.display().to_string()])
            .args(&self.arguments);
        self.spawn(command);
    }

    fn spawn(&mut self, mut command: Command) {
        let log = fs::File::create(self.dir.join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).spawn();
        self.child =
            Some(child.unwrap_or_else(|error| panic!("redis-server cannot be started, is it installed? {error}")));
        self.until("it answers", |server| {
            server.ask("PING").is_some_and(|answer| answer == "+PONG")
        });
    }

    /// Ends the process at once, without any farewell.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the process in the middle of whatever it does: connections stand, nothing is answered.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen process go on.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Sends a command and answers the first line of what comes back; none when nobody answers.
    pub fn ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    }

    /// All lines of an answer that is one bulk string, such as `INFO`.
    pub fn ask_text(&self, command: &str) -> String {
        let read = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
            stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let mut text = vec![0; line.trim_end().strip_prefix('$')?.parse().ok()?];
            std::io::Read::read_exact(&mut reader, &mut text).ok()?;
            String::from_utf8(text).ok()
        };
        read().unwrap_or_default()
    }

    fn until(&self, what: &str, mut probe: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !probe(self) {
            let log = self.dir.join("log");
            assert!(
                begin.elapsed() < PATIENCE,
                "not in time: {what}; {}",
                fs::read_to_string(log).unwrap_or_default()
            );
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A master with a replica, and a sentinel that makes the replica master when the master is gone.
#[derive(Debug)]
pub struct RedisSentinel {
    pub master: RedisServer,
    pub replica: RedisServer,
    sentinel: RedisServer,
}

#[expect(clippy::unwrap_used, reason = "a test that cannot have its server has failed")]
impl RedisSentinel {
    /// The name of the master.
    pub const MASTER: &str = "limits";

    /// # Panics
    /// When the servers do not find each other.
    pub fn start() -> Self {
        let master = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
        let port = master.port().to_string();
        let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]);
        replica.until("the replica follows", |replica| {
            replica.ask_text("INFO replication").contains("master_link_status:up")
        });
        let mut sentinel = RedisServer::new(&[]);
        let name = Self::MASTER;
        let file = sentinel.dir.join("sentinel.conf");
        let text = format!(
            "port {}\nbind 127.0.0.1\nsentinel monitor {name} 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 3000\n",
            sentinel.port
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel");
        sentinel.spawn(command);
        sentinel.until("the sentinel knows the replica", |sentinel| {
            sentinel.ask_text("INFO sentinel").contains("slaves=1")
        });
        Self {
            master,
            replica,
            sentinel,
        }
    }

    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{}", self.sentinel.port, Self::MASTER)
    }
}

/// Three masters that share the slots.
#[derive(Debug)]
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// # Panics
    /// When the nodes do not find each other.
    pub fn start() -> Self {
        let node = || {
            let bus = free_port().to_string();
            let arguments = [
                ["--cluster-enabled", "yes"],
                ["--cluster-port", &bus],
                ["--cluster-node-timeout", "1000"],
                // What is on the other nodes goes on when one is lost.
                ["--cluster-require-full-coverage", "no"],
            ];
            (RedisServer::start_with(arguments.as_flattened()), bus)
        };
        let nodes = [node(), node(), node()];
        for (at, (server, _)) in nodes.iter().enumerate() {
            let (first, last) = (at * 16384 / 3, (at + 1) * 16384 / 3 - 1);
            let answer = server.ask(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            assert_eq!(answer.as_deref(), Some("+OK"));
        }
        for (server, bus) in &nodes[1..] {
            let port = server.port();
            let answer = nodes[0].0.ask(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"));
            assert_eq!(answer.as_deref(), Some("+OK"));
        }
        let nodes: Vec<_> = nodes.into_iter().map(|(server, _)| server).collect();
        for node in &nodes {
            node.until("the cluster stands", |node| {
                let info = node.ask_text("CLUSTER INFO");
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            });
        }
        Self { nodes }
    }

    pub fn url(&self) -> String {
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        format!("redis+cluster://{}", nodes.join(","))
    }
}

/// A free port outside the range that the kernel hands out to outgoing connections, so that none of those takes it.
///
/// # Panics
/// When there is none.
#[expect(clippy::panic, reason = "a machine without a free port runs no tests")]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id() % 79 * 100;
    for _ in 0..2000 {
        let port = 12_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 8000;
        let port = u16::try_from(port).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
