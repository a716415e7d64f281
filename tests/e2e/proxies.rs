//! Proxies in front, and the listener for clients with certificates.

use reqwest::Method;
use serde_json::Value;

use crate::{
    oauth::{Auth, Http, Reply},
    world::{Engine, PASSWORD, SECRET, Settings, World, free_port},
};

/// A sign-in at the console's password grant, as it comes from a proxy.
async fn password_from(http: &Http, address: &str, username: &str, password: &str) -> Reply {
    let fields = [
        ("grant_type", "password"),
        ("client_id", "console"),
        ("username", username),
        ("password", password),
    ];
    let request = http.request(Method::POST, "/oauth2/token").form(&fields);
    Reply::read(request.header("x-forwarded-for", address).send().await.unwrap()).await
}

/// How many guesses from these addresses, one after the other, it takes until one is refused for their number.
async fn guesses(http: &Http, username: &str, address: impl Fn(u32) -> String) -> u32 {
    for tries in 1..=60 {
        let reply = password_from(http, &address(tries), username, "a wrong guess").await;
        if reply.status == 429 {
            return tries;
        }
        reply.oauth_error(400, "invalid_grant");
    }
    panic!("60 guesses at {username} and no end");
}

/// SECURITY.md 1, row 18.
#[tokio::test]
async fn a_trusted_proxy_tells_clients_apart_and_nobody_else_does() {
    let settings = Settings {
        auth: "proxy.trusted = [\"127.0.0.1\"]\n".into(),
        ..Settings::default()
    };
    let world = World::start_with(Engine::Sqlite, settings).await;
    let http = world.http();
    let from_one = guesses(&http, "carol", |_| "198.51.100.7, 203.0.113.1".into()).await;
    assert_eq!(password_from(&http, "203.0.113.1", "carol", PASSWORD).await.status, 429);
    // Another client of the same proxy is not held up, and what stands left of the right-most address is anybody's invention.
    assert_eq!(
        password_from(&http, "203.0.113.1, 203.0.113.2", "carol", PASSWORD)
            .await
            .status,
        200
    );
    let inventing = guesses(&http, "dave", |guess| format!("198.51.100.{guess}, 203.0.113.1")).await;
    assert_eq!(inventing, from_one);

    // Who is no trusted proxy cannot spread guesses over addresses.
    let open = World::start(Engine::Sqlite).await;
    let spreading = guesses(&open.http(), "carol", |guess| format!("203.0.113.{guess}")).await;
    assert_eq!(spreading, from_one);
}

/// RFC 8705 §5.
#[tokio::test]
async fn clients_with_certificates_find_the_same_endpoints_under_their_own_address() {
    let port = free_port();
    let base = format!("https://127.0.0.1:{port}");
    let settings = Settings {
        tls: true,
        auth: format!("mtls.listen = \"127.0.0.1:{port}\"\nmtls.base_url = \"{base}\"\n"),
        ..Settings::default()
    };
    let world = World::start_with(Engine::Sqlite, settings).await;
    let main = world.http();
    let metadata = main.get("/.well-known/openid-configuration").await.ok();
    let aliases = metadata["mtls_endpoint_aliases"].as_object().unwrap();
    let there = Http::trusting(base.clone(), world.ca.as_deref());
    let fields = [("grant_type", "client_credentials"), ("scope", "ai:chat")];
    let tokens = there
        .post("/oauth2/token", Auth::Basic("service", SECRET), &fields)
        .await
        .ok();
    // The issuer is the same one, whichever way they came.
    let introspected = main.introspect(tokens["access_token"].as_str().unwrap()).await;
    assert_eq!(introspected["iss"], Value::String(world.issuer.clone()));
    for (name, alias) in aliases {
        let path = alias.as_str().unwrap().strip_prefix(&base).unwrap();
        assert_eq!(metadata[name], format!("{}{path}", world.issuer), "{name}");
        assert_ne!(there.get(path).await.status, 404, "{name}");
    }
}
