//! Clients that find, register and bind by themselves: FAPI, MCP, single-page apps, Apache. None is treated specially.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tokio::sync::OnceCell;

use crate::{
    clients::run_in,
    world::{Engine, SECRET, Settings, World, eventually, free_port, required_environment},
};

/// A world in which clients may register themselves, and an MCP server's port.
struct Open {
    world: World,
    mcp_port: u16,
}

async fn open() -> &'static Open {
    static OPEN: OnceCell<Open> = OnceCell::const_new();
    OPEN.get_or_init(|| async {
        let mcp_port = free_port();
        let auth = format!(
            "registration.mode = \"open\"\nregistration.require_pkce = false\n\
             registration.grant_types = [\"authorization_code\", \"refresh_token\", \"urn:openid:params:grant-type:ciba\"]\n\
             outbound.allow_hosts = [\"127.0.0.1\"]\n\
             tokens.resources = [\"http://127.0.0.1:{mcp_port}/mcp\"]\n"
        );
        let settings = Settings {
            auth,
            ..Settings::default()
        };
        Open {
            world: World::start_with(Engine::Sqlite, settings).await,
            mcp_port,
        }
    })
    .await
}

async fn run(program: String, script: &str) {
    let Open { world, mcp_port } = open().await;
    let environment = [
        ("HEXGATE_MCP_PORT", mcp_port.to_string()),
        ("HEXGATE_MCP_RESOURCE", format!("http://127.0.0.1:{mcp_port}/mcp")),
    ];
    run_in(program, script, world.dir.join("demo.json"), &environment).await;
}

#[tokio::test]
async fn openid_client_completes_fapi_2_with_pushed_requests_and_bound_tokens() {
    run("node".into(), "node/fapi.mjs").await;
}

#[tokio::test]
async fn openid_client_asks_a_person_from_elsewhere() {
    run("node".into(), "node/ciba.mjs").await;
}

#[tokio::test]
async fn oauth4webapi_believes_every_answer() {
    run("node".into(), "node/oauth4webapi.mjs").await;
}

#[tokio::test]
async fn oidc_client_ts_signs_a_person_in_and_out_of_a_single_page_app() {
    run("node".into(), "node/browser_client.mjs").await;
}

#[tokio::test]
async fn idpyoidc_registers_itself_and_signs_in_and_out() {
    run(required_environment("HEXGATE_PYTHON"), "python/idpyoidc_rp.py").await;
}

#[tokio::test]
async fn authlib_signs_its_assertions_with_a_key_or_a_secret() {
    run(required_environment("HEXGATE_PYTHON"), "python/authlib_assertions.py").await;
}

/// Both SDKs play their MCP server on the one port that the provider knows, so they take turns.
#[tokio::test]
async fn mcp_clients_find_the_provider_register_and_sign_in() {
    run("node".into(), "node/mcp.mjs").await;
    run(required_environment("HEXGATE_PYTHON"), "python/mcp_client.py").await;
}

#[tokio::test]
async fn the_mcp_conformance_suite_passes() {
    run("node".into(), "node/mcp_conformance.mjs").await;
}

/// An Apache of our own, stopped when it goes out of scope.
struct Apache {
    program: PathBuf,
    config: PathBuf,
}

impl Apache {
    async fn start(world: &World, port: u16) -> Self {
        let dir = world.dir.join("apache");
        fs::create_dir_all(dir.join("www/protected")).unwrap();
        fs::write(dir.join("www/protected/index.html"), "<p id=\"inside\">inside</p>").unwrap();
        fs::write(dir.join("www/bye.html"), "<p id=\"bye\">bye</p>").unwrap();
        let config = include_str!("documents/apache.conf")
            .replace("@DIR@", dir.to_str().unwrap())
            .replace("@PORT@", &port.to_string())
            .replace("@ISSUER@", &world.issuer)
            .replace("@SECRET@", SECRET);
        let path = dir.join("httpd.conf");
        fs::write(&path, config).unwrap();
        // The workers are not root; the site is theirs to read.
        open_to_all(&world.dir);
        open_to_all(&dir);
        let apache = Self {
            program: "/usr/sbin/apache2".into(),
            config: path,
        };
        apache.signal("start");
        eventually("Apache listens", Duration::from_secs(20), async || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .await;
        apache
    }

    fn signal(&self, signal: &str) {
        let output = Command::new(&self.program)
            .args(["-f", self.config.to_str().unwrap(), "-k", signal])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "apache2 -k {signal}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        let stopped = Command::new(&self.program)
            .args(["-f", self.config.to_str().unwrap(), "-k", "stop"])
            .status();
        if let Err(error) = stopped {
            eprintln!("Apache could not be stopped: {error}");
        }
    }
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn mod_auth_openidc_signs_in_and_out_and_hears_of_a_logout_elsewhere() {
    let Open { world, .. } = open().await;
    let port = free_port();
    let site = format!("http://127.0.0.1:{port}");
    let document = format!(
        "[[client]]\nclient_id = \"apache\"\nclient_secret = \"{SECRET}\"\n\
         redirect_uris = [\"{site}/protected/callback\"]\npost_logout_redirect_uris = [\"{site}/bye.html\"]\n\
         scope = \"openid profile email\"\n\
         backchannel_logout_uri = \"{site}/protected/callback?logout=backchannel\"\n\
         backchannel_logout_session_required = true\n"
    );
    world.write("apache.toml", &document);
    world.auth_cli(&["apply", "apache.toml"]);
    let _apache = Apache::start(world, port).await;
    let environment = [("HEXGATE_APACHE", site)];
    run_in(
        "node".into(),
        "node/apache.mjs",
        world.dir.join("demo.json"),
        &environment,
    )
    .await;
}
