//! Starts the two real services, each world in a directory and on ports of its own.
//!
//! Tests that do not disturb each other share one world per database engine ([`World::shared`]); the others start
//! their own ([`World::start`]). A watchdog process ends the services of a shared world when the test
//! process ends, however it ends.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, Once,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};
use tokio::sync::OnceCell;

use crate::{
    oauth::{App, Http},
    upstream,
};

/// Whether a service reaches its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    Down,
}

/// Which database both services of a world use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// Runs each test once per database engine.
macro_rules! on_both_engines {
    ($(async fn $name:ident($world:ident: &World) $body:block)*) => { $(
        mod $name {
            use super::*;

            async fn check($world: &World) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                check(World::shared($crate::world::Engine::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql() {
                check(World::shared($crate::world::Engine::Postgres).await).await;
            }
        }
    )* };
}
pub(crate) use on_both_engines;

/// A running pair of services.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) issuer: String,
    pub(crate) gateway: String,
    pub(crate) gateway_status: String,
    pub(crate) auth_status: String,
    pub(crate) dir: PathBuf,
    /// The certificate that clients have to trust.
    pub(crate) ca: Option<PathBuf>,
    auth: Service,
    resource_gateway: Service,
    databases: Databases,
    watchdog: Mutex<Option<Child>>,
}

/// A further gateway of a world, ended when dropped.
pub(crate) struct Node {
    pub(crate) gateway: String,
    pub(crate) gateway_status: String,
    service: Service,
}

impl Node {
    /// SIGKILL, as a crash would be.
    pub(crate) fn kill(&self) {
        self.service.kill();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.service.kill();
    }
}

/// One of the two services.
struct Service {
    name: &'static str,
    config: PathBuf,
    dir: PathBuf,
    child: Mutex<Option<Child>>,
}

#[derive(Clone)]
struct Databases {
    auth: String,
    gateway: String,
}

/// What differs from world to world.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Lines of TOML for the provider, as dotted keys.
    pub(crate) auth: String,
    /// The same for the gateway.
    pub(crate) gateway: String,
    /// Both services speak https, with a certificate of their own.
    pub(crate) tls: bool,
}

/// A password or secret of the documents; the same in every world, for they never leave the machine.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const SECRET: &str = "s3cr3t-of-the-test-clients-0123456789";

#[expect(clippy::disallowed_methods, reason = "tests are configured by their environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

pub(crate) fn required_environment(name: &str) -> String {
    environment(name).unwrap_or_else(|| panic!("{name} is not set: run the tests with `make test`, which provides it"))
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where the two binaries are: `HEXGATE_BIN_DIR`, or a build made here, once.
pub(crate) fn bin_dir() -> PathBuf {
    static BUILD: Once = Once::new();
    if let Some(dir) = environment("HEXGATE_BIN_DIR") {
        return dir.into();
    }
    // The test binary lies in target/<profile>/deps.
    let dir = std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    BUILD.call_once(|| {
        let status = Command::new(env!("CARGO"))
            .args(["build", "-q", "-p", "auth-server", "-p", "resource-gateway"])
            .current_dir(root())
            .status()
            .unwrap();
        assert!(status.success(), "the services do not build");
    });
    dir
}

/// A free port outside the range that the kernel hands out to outgoing connections, so that none of those takes it
/// between here and the service's start.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 97).unwrap() * 100;
    for _ in 0..2000 {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// Asks `probe` again and again until it answers, for at most `limit`.
pub(crate) async fn eventually<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "black-box tests live in real time")]
pub(crate) fn unix_now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .try_into()
        .unwrap()
}

impl World {
    /// The world of that engine that undemanding tests share.
    pub(crate) async fn shared(engine: Engine) -> &'static Self {
        static SQLITE: OnceCell<World> = OnceCell::const_new();
        static POSTGRES: OnceCell<World> = OnceCell::const_new();
        let cell = match engine {
            Engine::Sqlite => &SQLITE,
            Engine::Postgres => &POSTGRES,
        };
        let world = cell.get_or_init(|| Self::start(engine)).await;
        world.show_logs_on_panic();
        world
    }

    /// A world that no other test sees.
    pub(crate) async fn start(engine: Engine) -> Self {
        Self::start_with(engine, Settings::default()).await
    }

    pub(crate) async fn start_with(engine: Engine, settings: Settings) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hexgate-e2e-")
            .tempdir()
            .unwrap()
            .keep();
        let databases = match engine {
            Engine::Sqlite => Databases {
                auth: format!("sqlite://{}", dir.join("auth.db").display()),
                gateway: format!("sqlite://{}", dir.join("gateway.db").display()),
            },
            Engine::Postgres => Databases {
                auth: new_database().await,
                gateway: new_database().await,
            },
        };
        let [auth_port, auth_status, gateway_port, gateway_status] = [(); 4].map(|()| free_port());
        let scheme = if settings.tls { "https" } else { "http" };
        let issuer = format!("{scheme}://127.0.0.1:{auth_port}");
        let gateway = format!("{scheme}://127.0.0.1:{gateway_port}");
        let ca = settings.tls.then(|| certificate(&dir));
        let tls = ca.as_ref().map_or_else(String::new, |path| {
            let key = path.with_extension("key");
            format!(
                "tls.cert = \"{}\"\ntls.key = \"{}\"\noutbound.extra_ca = \"{}\"\n",
                path.display(),
                key.display(),
                path.display()
            )
        });
        let keys = dir.join("keys");
        let auth_config = format!(
            "issuer = \"{issuer}\"\nlisten = \"127.0.0.1:{auth_port}\"\nmanagement_listen = \"127.0.0.1:{auth_status}\"\n\
             tokens.gateway_audience = \"{gateway}\"\n{tls}{}\n[database]\nurl = \"{}\"\n[keys]\ndir = \"{}\"\n",
            settings.auth,
            databases.auth,
            keys.display(),
        );
        let gateway_config = format!(
            "listen = \"127.0.0.1:{gateway_port}\"\nmanagement_listen = \"127.0.0.1:{gateway_status}\"\n{tls}{}\n\
             [database]\nurl = \"{}\"\n[auth]\nissuer = \"{issuer}\"\naudience = \"{gateway}\"\nleeway_s = 1\n[keys]\ndir = \"{}\"\n",
            settings.gateway,
            databases.gateway,
            keys.display(),
        );
        let service = |name: &'static str, text: &str| {
            let config = dir.join(format!("{name}.toml"));
            fs::write(&config, text).unwrap();
            Service {
                name,
                config,
                dir: dir.clone(),
                child: Mutex::new(None),
            }
        };
        let world = Self {
            engine,
            issuer,
            gateway,
            gateway_status: format!("http://127.0.0.1:{gateway_status}"),
            auth_status: format!("http://127.0.0.1:{auth_status}"),
            auth: service("auth-server", &auth_config),
            resource_gateway: service("resource-gateway", &gateway_config),
            databases,
            ca,
            watchdog: Mutex::new(Some(watchdog(&dir))),
            dir,
        };
        world.show_logs_on_panic();
        world.furnish().await;
        world
    }

    /// Processor time that the provider has taken, in ticks of the kernel (proc(5)).
    pub(crate) fn auth_work(&self) -> u64 {
        let pid = self.auth.child.lock().unwrap().as_ref().expect("it runs").id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // What follows the name, which may hold anything, begins with the third field; these are 14 and 15.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let spent = fields.split_whitespace().skip(11).take(2);
        spent.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Migrates, applies the documents and starts both services.
    async fn furnish(&self) {
        self.write_documents();
        self.auth_cli(&["migrate"]);
        self.auth_cli(&["apply", "auth-demo.toml", "auth-extra.toml"]);
        self.gateway_cli(&["migrate"]);
        self.gateway_cli(&[
            "apply",
            root().join("resource-gateway/demo/gateway.toml").to_str().unwrap(),
            "gateway-extra.toml",
        ]);
        self.start_auth().await;
        self.start_gateway().await;
    }

    fn write_documents(&self) {
        let mut demo = fs::read_to_string(root().join("scripts/demo/auth.toml")).unwrap();
        for name in ["WEB_SECRET", "SERVICE_SECRET", "RESOURCE_SERVER_SECRET"] {
            demo = demo.replace(&format!("@{name}@"), SECRET);
        }
        for name in ["ADMIN_PASSWORD", "ALICE_PASSWORD"] {
            demo = demo.replace(&format!("@{name}@"), PASSWORD);
        }
        self.write("auth-demo.toml", &demo);
        let extra = include_str!("documents/auth.toml")
            .replace("@SECRET@", SECRET)
            .replace("@PASSWORD@", PASSWORD);
        self.write("auth-extra.toml", &extra);
        let gateway = include_str!("documents/gateway.toml").replace("@UPSTREAM@", upstream::address());
        let closed = format!("127.0.0.1:{}", free_port());
        self.write("gateway-extra.toml", &gateway.replace("@CLOSED@", &closed));
        self.write("demo.json", &serde_json::to_string_pretty(&self.demo()).unwrap());
    }

    /// What `make up` would write to `.run/demo.json`.
    fn demo(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "gateway": self.gateway,
            "clients": {
                "web": {"client_id": "web", "client_secret": SECRET, "redirect_uri": "http://127.0.0.1:8080/callback"},
                "spa": {"client_id": "spa", "redirect_uri": "http://127.0.0.1:8081/callback"},
                "service": {"client_id": "service", "client_secret": SECRET},
                "resource_server": {"client_id": "resource_server", "client_secret": SECRET},
                "console": {"client_id": "console"},
            },
            "users": {
                "admin": {"username": "admin", "password": PASSWORD},
                "alice": {"username": "alice", "password": PASSWORD},
            },
            "interfaces": {"chat": "chat", "embeddings": "embeddings"},
        })
    }

    /// Writes a file into the world's directory, where the command line tools run.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn http(&self) -> Http {
        Http::trusting(self.issuer.clone(), self.ca.as_deref())
    }

    /// The third-party web application of the demo.
    pub(crate) fn web(&self) -> App {
        App::confidential(
            self,
            "web",
            "http://127.0.0.1:8080/callback",
            "openid profile offline_access ai:chat",
        )
    }

    /// The single-page app of the demo.
    pub(crate) fn spa(&self) -> App {
        App::public(
            self,
            "spa",
            "http://127.0.0.1:8081/callback",
            "openid profile offline_access ai:chat",
        )
    }

    /// Runs a command of the provider's to its end; panics when it fails.
    pub(crate) fn auth_cli(&self, args: &[&str]) -> String {
        self.auth
            .run(args)
            .unwrap_or_else(|output| panic!("auth-server {args:?} failed:\n{output}"))
    }

    /// Runs a command of the provider's that must fail; answers what it printed.
    pub(crate) fn auth_cli_fails(&self, args: &[&str]) -> String {
        self.auth.run(args).expect_err("auth-server succeeded")
    }

    pub(crate) fn gateway_cli(&self, args: &[&str]) -> String {
        self.resource_gateway
            .run(args)
            .unwrap_or_else(|output| panic!("resource-gateway {args:?} failed:\n{output}"))
    }

    pub(crate) fn gateway_cli_fails(&self, args: &[&str]) -> String {
        self.resource_gateway.run(args).expect_err("resource-gateway succeeded")
    }

    pub(crate) async fn start_auth(&self) {
        self.auth.start().await;
    }

    pub(crate) async fn start_gateway(&self) {
        self.resource_gateway.start().await;
    }

    /// Starts a further gateway with the same configuration, on ports and with a journal of its own.
    pub(crate) async fn another_gateway(&self) -> Node {
        let [port, status] = [(); 2].map(|()| free_port());
        let dir = self.dir.join(format!("node-{port}"));
        fs::create_dir(&dir).unwrap();
        let text = fs::read_to_string(&self.resource_gateway.config).unwrap();
        let own = format!(
            "listen = \"127.0.0.1:{port}\"\nmanagement_listen = \"127.0.0.1:{status}\"\nusage.journal_dir = \"{}\"",
            dir.join("journal").display()
        );
        let (_, shared) = text
            .split_once("management_listen")
            .and_then(|(_, rest)| rest.split_once('\n'))
            .unwrap();
        let config = dir.join("resource-gateway.toml");
        fs::write(&config, format!("{own}\n{shared}")).unwrap();
        let service = Service {
            name: "resource-gateway",
            config,
            dir,
            child: Mutex::new(None),
        };
        service.start().await;
        Node {
            gateway: format!("http://127.0.0.1:{port}"),
            gateway_status: format!("http://127.0.0.1:{status}"),
            service,
        }
    }

    /// SIGKILL, as a crash would be.
    pub(crate) fn kill_auth(&self) {
        self.auth.kill();
    }

    pub(crate) fn kill_gateway(&self) {
        self.resource_gateway.kill();
    }

    /// SIGTERM, as an orchestrator stops a service; waits for the end.
    pub(crate) async fn stop_gateway(&self) -> ExitStatus {
        self.resource_gateway.terminate().await
    }

    pub(crate) async fn stop_auth(&self) -> ExitStatus {
        self.auth.terminate().await
    }

    /// Everything that both services have logged.
    pub(crate) fn logs(&self) -> String {
        ["auth-server.log", "resource-gateway.log"]
            .map(|name| fs::read_to_string(self.dir.join(name)).unwrap_or_default())
            .concat()
    }

    /// The rows of `usage_record` for a request, as `(state, input tokens, output tokens)`.
    pub(crate) async fn usage_of(&self, request_id: &str) -> Vec<(String, i64, i64)> {
        const SQL: &str = "SELECT state, input_tokens, output_tokens FROM usage_record WHERE request_id = ";
        macro_rules! rows {
            ($connection:ty, $sql:expr) => {{
                let mut connection = <$connection>::connect(&self.databases.gateway).await.unwrap();
                let rows = sqlx::query(sqlx::AssertSqlSafe($sql))
                    .bind(request_id)
                    .fetch_all(&mut connection)
                    .await
                    .unwrap();
                rows.iter()
                    .map(|row| {
                        let number = |name| row.try_get::<Option<i64>, _>(name).unwrap().unwrap_or_default();
                        (
                            row.get::<String, _>("state"),
                            number("input_tokens"),
                            number("output_tokens"),
                        )
                    })
                    .collect()
            }};
        }
        match self.engine {
            Engine::Sqlite => rows!(sqlx::SqliteConnection, format!("{SQL}?")),
            Engine::Postgres => rows!(sqlx::PgConnection, format!("{SQL}$1")),
        }
    }

    /// The one usage row of a request, waited for: it may be written just after the reply.
    pub(crate) async fn settled_usage(&self, request_id: &str) -> (String, i64, i64) {
        eventually("a usage row", Duration::from_secs(10), async || {
            let rows = self.usage_of(request_id).await;
            assert!(rows.len() < 2, "one request, {} usage rows", rows.len());
            rows.into_iter().next()
        })
        .await
    }

    /// Every `request_id` in `usage_record`.
    pub(crate) async fn usage_request_ids(&self) -> Vec<String> {
        self.gateway_texts("SELECT request_id FROM usage_record").await
    }

    /// The states of an interface's usage rows.
    pub(crate) async fn usage_of_interface(&self, interface: &str) -> Vec<String> {
        assert!(interface.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        let sql = format!("SELECT state FROM usage_record WHERE interface = '{interface}'");
        self.gateway_texts(&sql).await
    }

    /// The texts that a statement over the gateway's database answers.
    pub(crate) async fn gateway_texts(&self, sql: &str) -> Vec<String> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        match self.engine {
            Engine::Sqlite => {
                let mut connection = sqlx::SqliteConnection::connect(&self.databases.gateway).await.unwrap();
                sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
            }
            Engine::Postgres => {
                let mut connection = sqlx::PgConnection::connect(&self.databases.gateway).await.unwrap();
                sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
            }
        }
    }

    /// Cuts the provider off from its PostgreSQL database (connections are ended and new ones refused), or lets it
    /// back.
    pub(crate) async fn provider_database(&self, link: Link) {
        self.set_link(&self.databases.auth, link).await;
    }

    /// The same for the gateway.
    pub(crate) async fn gateway_database(&self, link: Link) {
        self.set_link(&self.databases.gateway, link).await;
    }

    async fn set_link(&self, url: &str, link: Link) {
        assert_eq!(self.engine, Engine::Postgres);
        let allowed = link == Link::Up;
        let name = url.rsplit_once('/').unwrap().1;
        let mut server = sqlx::PgConnection::connect(&required_environment("HEXGATE_TEST_POSTGRES_URL"))
            .await
            .unwrap();
        let alter = format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allowed}");
        sqlx::query(sqlx::AssertSqlSafe(alter))
            .execute(&mut server)
            .await
            .unwrap();
        if !allowed {
            sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
                .bind(name)
                .execute(&mut server)
                .await
                .unwrap();
        }
    }

    /// Lets a failing test on this thread print the ends of this world's logs.
    fn show_logs_on_panic(&self) {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                before(info);
                WORLDS_OF_THREAD.with_borrow(|worlds| {
                    for dir in worlds {
                        for name in ["auth-server.log", "resource-gateway.log"] {
                            let log = fs::read_to_string(dir.join(name)).unwrap_or_default();
                            let lines: Vec<_> = log.lines().collect();
                            let end = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default();
                            eprintln!("── end of {name}\n{}", end.join("\n"));
                        }
                    }
                });
            }));
        });
        WORLDS_OF_THREAD.with_borrow_mut(|worlds| worlds.push(self.dir.clone()));
    }
}

thread_local! {
    static WORLDS_OF_THREAD: std::cell::RefCell<Vec<PathBuf>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Drop for World {
    fn drop(&mut self) {
        self.auth.kill();
        self.resource_gateway.kill();
        // Its standard input closes here: the watchdog removes the directory and ends.
        if let Some(mut watchdog) = self.watchdog.lock().unwrap().take() {
            drop(watchdog.stdin.take());
            let _ = watchdog.wait();
        }
    }
}

/// A process that waits until this one is gone (its standard input closes), then ends the services whose
/// numbers stand in the directory and removes it. Statics are not dropped, and a killed test process drops nothing.
fn watchdog(dir: &Path) -> Child {
    Command::new("sh")
        .arg("-c")
        .arg("trap '' INT TERM HUP; read -r _; for f in \"$1\"/*.pid; do [ -s \"$f\" ] && kill -9 \"$(cat \"$f\")\"; done 2>/dev/null; rm -rf \"$1\"")
        .arg("watchdog")
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A certificate for 127.0.0.1 that signs itself; its key lies beside it.
fn certificate(dir: &Path) -> PathBuf {
    use openssl::{asn1::Asn1Time, bn::BigNum, ec, hash::MessageDigest, nid::Nid, pkey::PKey, x509};
    let group = ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut name = x509::X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "hexgate-e2e").unwrap();
    let name = name.build();
    let mut builder = x509::X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder
        .set_serial_number(&BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    let context = builder.x509v3_context(None, None);
    let names = x509::extension::SubjectAlternativeName::new()
        .ip("127.0.0.1")
        .build(&context)
        .unwrap();
    builder.append_extension(names).unwrap();
    builder
        .append_extension(
            x509::extension::BasicConstraints::new()
                .critical()
                .ca()
                .build()
                .unwrap(),
        )
        .unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let path = dir.join("tls.pem");
    fs::write(&path, builder.build().to_pem().unwrap()).unwrap();
    fs::write(path.with_extension("key"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    path
}

async fn new_database() -> String {
    let url = required_environment("HEXGATE_TEST_POSTGRES_URL");
    let name = format!(
        "hexgate_e2e_{}",
        crate::oauth::random_text(12).to_lowercase().replace('-', "_")
    );
    let mut server = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut server)
        .await
        .unwrap();
    format!("{}/{name}", url.rsplit_once('/').unwrap().0)
}

impl Service {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(bin_dir().join(self.name));
        command
            .args(args)
            .arg("--config")
            .arg(&self.config)
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        // The machine's own settings must not reach into a test.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("AUTH__") || name.starts_with("GATEWAY__") || name.to_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command
    }

    fn run(&self, args: &[&str]) -> Result<String, String> {
        let output = self.command(args).output().unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    async fn start(&self) {
        let ready = self.dir.join(format!("{}.ready", self.name));
        let _ = fs::remove_file(&ready);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join(format!("{}.log", self.name)))
            .unwrap();
        let child = self
            .command(&["serve", "--ready-file", ready.to_str().unwrap()])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut pid = File::create(self.dir.join(format!("{}.pid", self.name))).unwrap();
        write!(pid, "{}", child.id()).unwrap();
        assert!(
            self.child.lock().unwrap().replace(child).is_none(),
            "{} runs already",
            self.name
        );
        eventually(
            &format!("{} is ready", self.name),
            Duration::from_secs(30),
            async || {
                let ended = self.child.lock().unwrap().as_mut().unwrap().try_wait().unwrap();
                assert_eq!(ended, None, "{} ended by itself", self.name);
                ready.exists().then_some(())
            },
        )
        .await;
    }

    fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
            let _ = fs::remove_file(self.dir.join(format!("{}.pid", self.name)));
        }
    }

    async fn terminate(&self) -> ExitStatus {
        let mut child = self.child.lock().unwrap().take().expect("it runs");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = eventually("a graceful end", Duration::from_secs(30), async || {
            child.try_wait().unwrap()
        })
        .await;
        let _ = fs::remove_file(self.dir.join(format!("{}.pid", self.name)));
        status
    }
}
