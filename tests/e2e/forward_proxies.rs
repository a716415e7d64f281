//! `/auth/forward` behind the proxies that docs/forward-auth.md configures, with the very lines that stand there.

use std::{
    fs::{self, OpenOptions},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{Json, Router, extract::Request};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::{
    oauth::{Reply, random_text},
    world::{Engine, Settings, World, eventually, free_port, root, unix_now},
};

#[path = "../../docs/signers/hexgate_signer.rs"]
#[expect(
    clippy::cast_possible_truncation,
    clippy::many_single_char_names,
    unreachable_pub,
    reason = "it is written to be copied, in as few lines as will do"
)]
mod signer;

const IDENTITY: [&str; 6] = [
    "x-hexgate-sub",
    "x-hexgate-client-id",
    "x-hexgate-tenant",
    "x-hexgate-scope",
    "x-hexgate-access-key",
    "x-hexgate-signed-content-sha256",
];

/// The block of the documentation that begins with these words.
fn snippet(language: &str) -> String {
    let text = fs::read_to_string(root().join("docs/forward-auth.md")).unwrap();
    let begin = format!("```{language}\n");
    let (_, rest) = text
        .split_once(&begin)
        .unwrap_or_else(|| panic!("no {language} in the documentation"));
    rest.split_once("```").unwrap().0.to_owned()
}

/// A service that believes its proxy: it answers with the headers that it was sent.
async fn service() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new().fallback(async |request: Request| {
        let mut seen: Map<String, Value> = Map::new();
        for (name, value) in request.headers() {
            let value = value.to_str().unwrap_or("?");
            let known = seen.get(name.as_str()).and_then(Value::as_str).map(str::to_owned);
            let value = known.map_or_else(|| value.to_owned(), |known| format!("{known} AND {value}"));
            seen.insert(name.as_str().to_owned(), value.into());
        }
        seen.insert("uri".to_owned(), request.uri().to_string().into());
        Json(Value::Object(seen))
    });
    #[expect(clippy::disallowed_methods, reason = "it ends with its test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// A proxy process, ended when dropped.
struct Proxy {
    url: String,
    child: Child,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // SIGTERM, so that a master ends its workers.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Proxy {
    async fn nginx(world: &World, service: &str) -> Self {
        let (port, dir) = (free_port(), Self::dir(world, "nginx"));
        let block = snippet("nginx")
            .replace("http://127.0.0.1:9100", &world.gateway)
            .replace("http://service", &format!("http://{service}"));
        let scratch = dir.display();
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {scratch}/{name};"));
        let config = format!(
            "daemon off; user root; worker_processes 1; pid {scratch}/pid; error_log {scratch}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; {} server {{ listen 127.0.0.1:{port};\n{block}\n}} }}\n",
            paths.join(" ")
        );
        let file = dir.join("nginx.conf");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command
            .args(["-e", &format!("{scratch}/error.log"), "-p"])
            .arg(&dir)
            .arg("-c")
            .arg(file);
        Self::start(command, port, &dir).await
    }

    async fn caddy(world: &World, service: &str) -> Self {
        let (port, dir) = (free_port(), Self::dir(world, "caddy"));
        let block = snippet("caddyfile")
            .replace("127.0.0.1:9100", world.gateway.strip_prefix("http://").unwrap())
            .replace("service:8080", service)
            .replace("app.example", &format!("http://127.0.0.1:{port}"));
        let file = dir.join("Caddyfile");
        fs::write(&file, format!("{{\nadmin off\nauto_https off\n}}\n{block}")).unwrap();
        let mut command = Command::new("/usr/bin/caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        command
            .env("HOME", &dir)
            .env("XDG_DATA_HOME", &dir)
            .env("XDG_CONFIG_HOME", &dir);
        Self::start(command, port, &dir).await
    }

    fn dir(world: &World, name: &str) -> PathBuf {
        let dir = world.dir.join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    async fn start(mut command: Command, port: u16, dir: &std::path::Path) -> Self {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/install-test-tools.sh installs it"));
        let mut proxy = Self {
            url: format!("http://127.0.0.1:{port}"),
            child,
        };
        eventually("the proxy listens", Duration::from_secs(20), async || {
            let ended = proxy.child.try_wait().unwrap();
            let log = || fs::read_to_string(dir.join("log")).unwrap();
            assert!(ended.is_none(), "the proxy ended: {}", log());
            TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .await;
        proxy
    }

    async fn get(&self, world: &World, headers: &[(&str, &str)]) -> Reply {
        let url = format!("{}/some/path?x=1&y=%20", self.url);
        let mut request = world.http().request(Method::GET, &url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::read(request.send().await.unwrap()).await
    }

    /// Sends what a holder of an access key signs.
    async fn get_signed(&self, world: &World, key: &(String, String)) -> Reply {
        let url = format!("{}/some/path?x=1&y=%20", self.url);
        let date = rfc3339(unix_now());
        let nonce = random_text(24);
        let request = signer::Request {
            method: "GET",
            url: &url,
            body: b"",
            headers: &[],
        };
        let stamp = signer::Stamp {
            date: &date,
            nonce: &nonce,
            expires: 300,
        };
        let (id, secret) = key;
        let signed = signer::sign(&signer::Key { id, secret }, &request, &stamp).unwrap();
        let headers: Vec<_> = signed
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        self.get(world, &headers).await
    }
}

/// As `X-Hexgate-Date` wants it.
fn rfc3339(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    // Days since 0000-03-01 of the proleptic Gregorian calendar, in cycles of 400 years.
    let since = days + 719_468;
    let (era, day_of_era) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

async fn world(more: &str) -> World {
    let settings = Settings {
        gateway: format!("proxy.trusted = [\"127.0.0.1\"]\n{more}"),
        ..Settings::default()
    };
    World::start_with(Engine::Sqlite, settings).await
}

/// An access key of the demo's machine.
async fn access_key(world: &World) -> (String, String) {
    let operator = world.http().operator(&world.gateway).await;
    let url = format!("{}/admin/v1/access-keys", world.gateway);
    let form = json!({"client_id": "service", "scopes": ["ai:chat"]});
    let request = world.http().request(Method::POST, &url).bearer_auth(operator);
    let issued = Reply::read(request.json(&form).send().await.unwrap()).await;
    assert_eq!(issued.status, 201, "{}", issued.body);
    let issued = issued.json();
    let text = |name: &str| issued[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

/// What a client invents: names of ours in several spellings, and a proxy's word.
const INVENTED: [(&str, &str); 11] = [
    ("x-hexgate-sub", "root"),
    ("x-hexgate-client-id", "root"),
    ("x-hexgate-tenant", "root"),
    ("x-hexgate-scope", "admin"),
    ("x-hexgate-access-key", "hgk_root"),
    ("x-hexgate-signed-content-sha256", "spoofed"),
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-method", "DELETE"),
    ("x-forwarded-proto", "gopher"),
    ("x-forwarded-host", "elsewhere.example"),
    ("x-forwarded-uri", "/elsewhere"),
];

async fn identities_are_the_gateways_word(world: &World, proxy: &Proxy) {
    let token = world.http().client_credentials("service", "ai:chat").await.access;
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("authorization", bearer.as_str())];
    let honest = proxy.get(world, &headers).await.ok();
    headers.extend(INVENTED);
    let invented = proxy.get(world, &headers).await.ok();
    for seen in [&honest, &invented] {
        assert_eq!(seen["uri"], "/some/path?x=1&y=%20");
        assert_eq!(seen["x-hexgate-sub"], "service", "{seen}");
        for name in IDENTITY {
            // What the gateway did not say is not there, or empty.
            let value = seen.get(name).and_then(Value::as_str).unwrap_or_default();
            assert!(
                !value.contains("root") && !value.contains("admin") && value != "spoofed",
                "{name}: {seen}"
            );
            assert_eq!(
                value,
                honest.get(name).and_then(Value::as_str).unwrap_or_default(),
                "{name}"
            );
        }
        for (name, value) in seen
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| name.starts_with("x-"))
        {
            let value = value.as_str().unwrap();
            let invented = INVENTED.iter().any(|(_, word)| value.contains(word));
            assert!(!invented && !value.contains(['{', '}']), "{name}: {seen}");
        }
        for name in ["x-hexgate-access-key", "x-hexgate-signed-content-sha256"] {
            assert_eq!(seen.get(name).and_then(Value::as_str).unwrap_or_default(), "", "{name}");
        }
    }
}

async fn refusals_reach_the_client(world: &World, proxy: &Proxy) {
    let nobody = proxy.get(world, &[]).await;
    assert_eq!(nobody.status, 401, "{}", nobody.body);
    let challenge = nobody.header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer ") && challenge.contains("resource_metadata="),
        "{challenge}"
    );
    let garbage = proxy.get(world, &[("authorization", "Bearer garbage")]).await;
    assert_eq!(garbage.status, 401);
    assert!(garbage.header("www-authenticate").contains("invalid_token"));
    let narrow = world.http().client_credentials("service", "ai:embeddings").await.access;
    let bearer = format!("Bearer {narrow}");
    assert_eq!(proxy.get(world, &[("authorization", &bearer)]).await.status, 403);
}

/// A signature is for the address that the client called, which only the proxy can tell.
async fn signatures_are_judged_and_floods_told(world: &World, proxy: &Proxy) {
    let key = access_key(world).await;
    let seen = proxy.get_signed(world, &key).await.ok();
    assert_eq!(seen["x-hexgate-sub"], "service", "{seen}");
    let mut flooded = None;
    for _ in 0..2000 {
        let reply = proxy.get_signed(world, &key).await;
        if reply.status != 200 {
            flooded = Some(reply);
            break;
        }
    }
    let flooded = flooded.expect("one key has only its share of the memory of nonces");
    assert_eq!(
        (flooded.status, flooded.header("retry-after")),
        (429, "15"),
        "{}",
        flooded.body
    );
}

async fn trouble_of_ours_is_no_fault_of_the_clients(world: &World, proxy: &Proxy) {
    let key = access_key(world).await;
    let reply = proxy.get_signed(world, &key).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, "1"),
        "{}",
        reply.body
    );
    world.kill_gateway();
    let token = format!("Bearer {}", random_text(40));
    let reply = proxy.get(world, &[("authorization", &token)]).await;
    assert!(
        (500..=504).contains(&reply.status),
        "{}: a gateway that is gone lets nobody in",
        reply.status
    );
}

/// So few nonces that a flood is soon one.
const FEW_NONCES: &str = "access_keys.nonce_entries = 1000\n";

fn lost_redis() -> String {
    format!("redis.url = \"redis://127.0.0.1:{}\"\n", free_port())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_asks_the_gateway_and_hands_on_what_it_says() {
    let (world, service) = (world(FEW_NONCES).await, service().await);
    let proxy = Proxy::nginx(&world, &service).await;
    identities_are_the_gateways_word(&world, &proxy).await;
    refusals_reach_the_client(&world, &proxy).await;
    signatures_are_judged_and_floods_told(&world, &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_shows_trouble_of_the_gateway_as_what_it_is() {
    let (world, service) = (world(&lost_redis()).await, service().await);
    let proxy = Proxy::nginx(&world, &service).await;
    trouble_of_ours_is_no_fault_of_the_clients(&world, &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_asks_the_gateway_and_hands_on_what_it_says() {
    let (world, service) = (world(FEW_NONCES).await, service().await);
    let proxy = Proxy::caddy(&world, &service).await;
    identities_are_the_gateways_word(&world, &proxy).await;
    refusals_reach_the_client(&world, &proxy).await;
    signatures_are_judged_and_floods_told(&world, &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_shows_trouble_of_the_gateway_as_what_it_is() {
    let (world, service) = (world(&lost_redis()).await, service().await);
    let proxy = Proxy::caddy(&world, &service).await;
    trouble_of_ours_is_no_fault_of_the_clients(&world, &proxy).await;
}
