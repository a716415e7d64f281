//! The pages' own forms and addresses, hurt like the protocol's: people type there, and anybody can send what people would not.

use http::Method;
use serde_json::json;
use sql_test_kit::TestDatabase;

use super::{
    Table, encoded,
    hurts::{FOREIGN, Hurt, What, hurts},
    patient,
    voices::{caught, is_sound},
};
use crate::app::{ALICE, Fields, NOW, Page, Reply, TestApp, TestClient, fields};

/// Addresses of pages, and the parameters that they look at.
const QUERIES: [(&str, &[&str]); 11] = [
    ("/login", &["request", "ui_locales"]),
    ("/consent", &["request"]),
    ("/device", &["user_code"]),
    ("/device/consent", &["request"]),
    ("/device/done", &["outcome"]),
    ("/device/qr", &["user_code"]),
    ("/approve", &["request"]),
    ("/approve/done", &["outcome"]),
    ("/logout", &["request"]),
    ("/logged-out", &["request", "client_id", "ui_locales"]),
    ("/account", &["done"]),
];

/// Forms, with what somebody who is signed in could send, and which of it is hurt. None of them does anything when it is hurt so.
const FORMS: [(&str, &[(&str, &str)]); 7] = [
    (
        "/login",
        &[
            ("request", "x"),
            ("username", "alice"),
            ("password", "x"),
            ("action", "y"),
        ],
    ),
    ("/consent", &[("request", "x"), ("action", "allow")]),
    ("/device", &[("user_code", "BCDF-GHJK")]),
    ("/device/consent", &[("request", "x"), ("action", "allow")]),
    ("/approve", &[("request", "x"), ("action", "allow")]),
    ("/logout", &[("request", "x"), ("action", "neither")]),
    (
        "/account",
        &[("action", "end-session"), ("session", "x"), ("client_id", "x")],
    ),
];

/// A page, a redirect to a page, or a picture; never a failure, and never what a browser would run.
fn judge(reply: &Reply) -> Result<(), String> {
    let outcome = caught(|| {
        assert!(reply.status < 500, "{} {}", reply.status, reply.text());
        let location = reply.header("location").unwrap_or("/");
        assert!(location.starts_with('/') && !location.starts_with("//"), "{location}");
    });
    let is_picture = reply.header("content-type") == Some("image/svg+xml");
    outcome.and_then(|()| match is_picture {
        true => Ok(()),
        false => is_sound(reply),
    })
}

async fn walk(app: &TestApp) {
    let mut table = Table::open();
    let mut browser = app.signed_in(ALICE).await;
    for (path, parameters) in QUERIES {
        for name in parameters {
            for hurt in hurts("en", None, false) {
                let query = encoded(&Fields::default(), name, &hurt);
                let address = [path.as_bytes(), b"?", &query].concat();
                if http::Uri::try_from(address.as_slice()).is_err() {
                    continue;
                }
                let cookies = browser.cookies.iter().map(|(name, value)| format!("{name}={value}"));
                let cookies = cookies.collect::<Vec<_>>().join("; ");
                for cookie in [cookies.as_str(), "a=b"] {
                    let reply = app
                        .call_bytes(Method::GET, &address)
                        .header("cookie", cookie)
                        .send()
                        .await;
                    table.note(path, name, &hurt.name, judge(&reply));
                }
            }
        }
    }
    let page = browser.get("/logout").await.expect_html(200);
    let csrf = page.form("logout-confirm").fields.get("csrf").unwrap().to_owned();
    for (path, parameters) in FORMS {
        let good = parameters
            .iter()
            .fold(fields([("csrf", &csrf)]), |form, (name, value)| form.and(name, value));
        for name in parameters.iter().map(|(name, _)| *name).chain(["csrf"]) {
            for hurt in hurts(good.get(name).unwrap(), None, true) {
                let reply = post(app, &browser.cookies, path, &encoded(&good, name, &hurt)).await;
                table.note(path, name, &hurt.name, judge(&reply));
            }
        }
    }
    table.expect_none();
}

async fn post(app: &TestApp, cookies: &std::collections::BTreeMap<String, String>, path: &str, body: &[u8]) -> Reply {
    let cookies = cookies.iter().map(|(name, value)| format!("{name}={value}"));
    let call = app
        .call(Method::POST, path)
        .header("cookie", &cookies.collect::<Vec<_>>().join("; "));
    call.raw("application/x-www-form-urlencoded", body).send().await
}

#[tokio::test]
async fn no_page_fails_or_leads_away_whatever_it_is_sent_on_sqlite() {
    walk(&patient().start().await).await;
}

#[tokio::test]
async fn no_page_fails_or_leads_away_whatever_it_is_sent_on_postgres() {
    let database = TestDatabase::postgres().await;
    walk(&patient().database(&database.url).start().await).await;
}

const PLANNER: TestClient = TestClient {
    id: "planner",
    secret: Some("planner-secret-1d1d"),
    redirect_uri: "https://planner.example/cb",
    scope: "openid ai:chat",
};
const DOCUMENT: &str = r#"
[[client]]
client_id = "planner"
client_secret = "planner-secret-1d1d"
redirect_uris = ["https://planner.example/cb"]
scope = "openid ai:chat"
authorization_details_types = ["ai_call"]
"#;

/// What a person may narrow on the consent page (RFC 9396 §6): whatever is sent there, the grant never grows.
#[tokio::test]
async fn what_is_typed_on_the_consent_page_only_narrows() {
    let app = patient().document(DOCUMENT).start().await;
    let mut table = Table::open();
    let details = json!([{
        "type": "ai_call", "interfaces": ["chat", "docs"], "max_cost": {"amount": "5.00", "currency": "EUR"}, "expires_at": NOW + 3600,
    }]);
    let ask = PLANNER.ask().with("authorization_details", &details.to_string());
    let mut browser = app.signed_in(ALICE).await;
    let shown = browser.authorize(&ask).await.expect_page("id=\"consent-allow\"");
    let names = names_of(&shown);
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let values: Vec<Hurt> = hurts("4.00", None, true)
            .into_iter()
            .filter(|hurt| hurt.what != What::Foreign || FOREIGN.iter().any(|(known, _)| *known == hurt.name))
            .collect();
        for hurt in values {
            let page = browser.authorize(&ask).await.expect_page("id=\"consent-allow\"");
            let form = page.form("consent-allow");
            let reply = post(
                &app,
                &browser.cookies,
                &form.action,
                &encoded(&form.fields, &name, &hurt),
            )
            .await;
            let code = reply
                .header("location")
                .and_then(|location| location.split_once("?code="));
            let outcome = match code {
                None => judge(&reply),
                Some((_, rest)) => {
                    let code = crate::app::Code {
                        value: rest.split('&').next().unwrap().to_owned(),
                        client: PLANNER,
                        redirect_uri: PLANNER.redirect_uri.to_owned(),
                        has_challenge: true,
                    };
                    let granted = app.exchange(&code).await.expect_json(200)["authorization_details"].clone();
                    is_within(&granted)
                }
            };
            table.note("/consent", &name, &hurt.name, outcome);
        }
    }
    table.expect_none();
}

/// The fields of the details, and those that anybody would try beside them.
fn names_of(page: &Page) -> Vec<String> {
    let form = page.form("consent-allow").fields.names();
    let own = form.into_iter().filter(|name| name.starts_with("rar-"));
    own.chain(["rar-1-amount".to_owned(), "rar-0-interface-9".to_owned()])
        .collect()
}

fn is_within(granted: &serde_json::Value) -> Result<(), String> {
    let within = granted.as_array().is_none_or(|calls| {
        calls.iter().all(|call| {
            let interfaces = call["interfaces"].as_array().into_iter().flatten();
            let amount = call["max_cost"]["amount"]
                .as_str()
                .and_then(|text| text.parse::<f64>().ok());
            interfaces.into_iter().all(|one| one == "chat" || one == "docs")
                && amount.is_some_and(|amount| (0.0..=5.0).contains(&amount))
                && call["max_cost"]["currency"] == "EUR"
                && call["expires_at"].as_i64().is_some_and(|end| end <= NOW + 3600)
        })
    });
    match within {
        true => Ok(()),
        false => Err(granted.to_string()),
    }
}

/// The address at which gateways poll takes JSON as well (RFC 8936 §2.4).
#[tokio::test]
async fn no_body_of_a_poll_for_events_is_a_failure() {
    let app = patient().start().await;
    let mut table = Table::open();
    for member in ["maxEvents", "ack", "setErrs", "returnImmediately", "noSuchMember"] {
        for (name, value) in super::registration::kinds() {
            // Otherwise it would wait for news.
            let waits = member == "returnImmediately" && (value == "false" || value == "null");
            if waits {
                continue;
            }
            let body = match member {
                "returnImmediately" => format!(r#"{{"{member}":{value}}}"#),
                _ => format!(r#"{{"returnImmediately":true,"{member}":{value}}}"#),
            };
            let call = app
                .call(Method::POST, "/events/poll?stream=a")
                .bearer(&TestApp::events_credential());
            let reply = call.raw("application/json", body).send().await;
            let outcome = caught(|| match reply.status {
                200 => assert_eq!(reply.header("cache-control"), Some("no-store")),
                _ => drop(reply.clone().expect_oauth_error(400, "invalid_request")),
            });
            table.note("/events/poll", member, &name, outcome);
        }
    }
    table.expect_none();
}
