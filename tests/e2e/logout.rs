//! Applications that are told of a logout: over the wire and past a crash, and by the frames that Chromium loads.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Form, Router, http::StatusCode, routing::post};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    clients::run_with,
    oauth::App,
    world::{Engine, SECRET, Settings, World, eventually, free_port},
};

/// An application's receiver of logout tokens: what came, decoded.
struct Receiver {
    port: u16,
    claims: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    /// A port at which nothing listens yet.
    fn absent() -> Self {
        Self {
            port: free_port(),
            claims: Arc::default(),
        }
    }

    async fn listen(&self) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let claims = Arc::clone(&self.claims);
        let receive = async move |Form(form): Form<Vec<(String, String)>>| {
            let [(name, token)] = form.as_slice() else {
                return StatusCode::BAD_REQUEST;
            };
            assert_eq!(name, "logout_token");
            let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
            claims.lock().unwrap().push(serde_json::from_slice(&payload).unwrap());
            StatusCode::OK
        };
        let router = Router::new().route("/out", post(receive));
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    }

    async fn received(&self, count: usize) -> Vec<Value> {
        eventually("the logout token", Duration::from_secs(20), async || {
            let claims = self.claims.lock().unwrap();
            (claims.len() >= count).then(|| claims.clone())
        })
        .await
    }
}

async fn world_with(engine: Engine, receiver: &Receiver) -> World {
    let settings = Settings {
        auth: "outbound.allow_hosts = [\"127.0.0.1\"]\n".into(),
        ..Settings::default()
    };
    let world = World::start_with(engine, settings).await;
    let document = format!(
        "[[client]]\nclient_id = \"told\"\nclient_secret = \"{SECRET}\"\nredirect_uris = [\"http://127.0.0.1:8095/cb\"]\n\
         scope = \"openid\"\nauto_approve = true\nbackchannel_logout_uri = \"http://127.0.0.1:{}/out\"\n",
        receiver.port
    );
    world.write("told.toml", &document);
    world.auth_cli(&["apply", "told.toml"]);
    world
}

fn told(world: &World) -> App {
    App::confidential(world, "told", "http://127.0.0.1:8095/cb", "openid")
}

async fn log_out(browser: &Browser) {
    let page = browser.open("/logout").await.page();
    assert!(
        browser
            .submit(&page.click("logout-confirm"))
            .await
            .page()
            .has("logged-out")
    );
}

async fn news_survives_a_crash(engine: Engine) {
    let receiver = Receiver::absent();
    let world = world_with(engine, &receiver).await;
    let browser = Browser::new(&world);
    told(&world).tokens_from(&browser, "alice").await;
    log_out(&browser).await;
    // Nobody was there to hear it, and now the one who knew dies.
    world.kill_auth();
    receiver.listen().await;
    world.start_auth().await;
    let claims = receiver.received(1).await;
    assert_eq!(claims[0]["iss"], world.issuer.as_str());
    assert_eq!(claims[0]["aud"], "told");
    assert_eq!(
        claims[0]["events"],
        json!({"http://schemas.openid.net/event/backchannel-logout": {}})
    );
    assert!(claims[0]["sid"].is_string() && claims[0].get("nonce").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_a_logout_survives_kill_nine_on_sqlite() {
    news_survives_a_crash(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_a_logout_survives_kill_nine_on_postgresql() {
    news_survives_a_crash(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_command_ends_the_running_provider_tells() {
    let receiver = Receiver::absent();
    receiver.listen().await;
    let world = world_with(Engine::Sqlite, &receiver).await;
    let browser = Browser::new(&world);
    told(&world).tokens_from(&browser, "bob").await;
    world.auth_cli(&["user", "sign-out", "bob"]);
    let claims = receiver.received(1).await;
    assert!(!browser.is_signed_in().await);
    // Signed out is not locked out.
    told(&world).tokens_from(&browser, "bob").await;
    world.auth_cli(&["user", "lock", "bob"]);
    let again = receiver.received(2).await;
    assert_eq!(claims[0]["sub"], again[1]["sub"]);
    assert_ne!(claims[0]["sid"], again[1]["sid"]);
    assert!(!browser.is_signed_in().await);
}

const FRAMED: &str = r#"
[[client]]
client_id = "mail"
client_name = "Mail"
client_secret = "@SECRET@"
redirect_uris = ["@MAIL@/cb"]
post_logout_redirect_uris = ["@MAIL@/bye"]
scope = "openid"
auto_approve = true
frontchannel_logout_uri = "@MAIL@/out?tenant=1"
frontchannel_logout_session_required = true

[[client]]
client_id = "photos"
client_secret = "@SECRET@"
redirect_uris = ["@PHOTOS@/cb"]
scope = "openid"
auto_approve = true
frontchannel_logout_uri = "@PHOTOS@/out"
"#;

#[tokio::test]
async fn chromium_loads_the_frames_of_applications_and_then_goes_on() {
    // The applications are on loopback without TLS, as only a laboratory has them.
    let settings = Settings {
        auth: "dev_mode = true\n".into(),
        ..Settings::default()
    };
    let world = World::start_with(Engine::Sqlite, settings).await;
    // The script serves both.
    let [mail, photos] = [(); 2].map(|()| format!("http://127.0.0.1:{}", free_port()));
    let document = FRAMED
        .replace("@SECRET@", SECRET)
        .replace("@MAIL@", &mail)
        .replace("@PHOTOS@", &photos);
    world.write("framed.toml", &document);
    world.auth_cli(&["apply", "framed.toml"]);
    let demo = std::fs::read_to_string(world.dir.join("demo.json")).unwrap();
    let mut demo: Value = serde_json::from_str(&demo).unwrap();
    for (name, origin) in [("mail", &mail), ("photos", &photos)] {
        let redirect_uri = format!("{origin}/cb");
        demo["clients"][name] = json!({"client_id": name, "client_secret": SECRET, "redirect_uri": redirect_uri});
    }
    let demo = world.write("framed.json", &demo.to_string());
    run_with("node".into(), "node/frontchannel_logout.mjs", demo).await;
}
