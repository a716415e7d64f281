//! Signed authorization responses (JARM).

use serde_json::{Map, Value};

use crate::app::{ALICE, Ask, Code, ISSUER, NATIVE, OWN, Reply, STATE, TestApp, TestClient, fields};

const SIGNED: TestClient = TestClient {
    id: "signed",
    secret: Some("signed-secret-4a4a"),
    redirect_uri: "https://signed.example/cb",
    scope: "openid",
};

fn document(alg: &str) -> String {
    format!(
        r#"
[[client]]
client_id = "signed"
client_secret = "signed-secret-4a4a"
redirect_uris = ["https://signed.example/cb", "https://signed.example/cb?kept=1"]
scope = "openid"
auto_approve = true
authorization_signed_response_alg = "{alg}"
"#
    )
}

/// The JWT of a response that came in the query, which holds nothing else.
fn in_query(reply: Reply) -> String {
    let location = reply.expect_redirect();
    let (_, query) = location.split_once('?').unwrap();
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let [(name, jwt)] = <[_; 1]>::try_from(pairs).unwrap();
    assert_eq!(name, "response", "{location}");
    jwt
}

/// The JWT of a response that comes by form, which holds nothing else.
fn in_form(reply: Reply) -> (String, String) {
    let page = reply.expect_html(200);
    let [form] = <[_; 1]>::try_from(page.forms()).unwrap();
    assert_eq!(form.fields.names(), ["response"]);
    (form.action, form.fields.get("response").unwrap().to_owned())
}

async fn opened(app: &TestApp, client: TestClient, jwt: &str) -> Map<String, Value> {
    let claims = app.claims(jwt).await;
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], client.id);
    let left = claims["exp"].as_i64().unwrap() - app.now();
    assert!((60..=600).contains(&left), "{left}");
    claims
}

fn names(claims: &Map<String, Value>) -> Vec<&str> {
    let mut names: Vec<&str> = claims.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn code_in(claims: &Map<String, Value>, client: TestClient) -> Code {
    Code {
        value: claims["code"].as_str().unwrap().to_owned(),
        client,
        redirect_uri: client.redirect_uri.into(),
        has_challenge: true,
    }
}

fn by(mode: &str, ask: Ask) -> Ask {
    ask.with("response_mode", mode)
}

#[tokio::test]
async fn a_signed_response_holds_what_a_plain_one_would_and_nothing_stands_beside_it() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    for mode in ["jwt", "query.jwt", "form_post.jwt"] {
        let reply = browser.get(&by(mode, OWN.ask()).path()).await;
        let jwt = match mode {
            "form_post.jwt" => {
                let (action, jwt) = in_form(reply);
                assert_eq!(action, OWN.redirect_uri);
                jwt
            }
            _ => in_query(reply),
        };
        let claims = opened(&app, OWN, &jwt).await;
        assert_eq!(names(&claims), ["aud", "code", "exp", "iss", "state"], "{mode}");
        assert_eq!(claims["state"], STATE);
        app.exchange(&code_in(&claims, OWN)).await.expect_tokens();
    }
}

#[tokio::test]
async fn errors_are_signed_as_well() {
    let app = TestApp::start().await;
    for (name, value, error) in [
        ("prompt", "none", "login_required"),
        ("scope", "openid admin2", "invalid_scope"),
        ("max_age", "soon", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
    ] {
        for mode in ["jwt", "query.jwt", "form_post.jwt"] {
            let reply = app.get(&by(mode, OWN.ask()).with(name, value).path()).await;
            let jwt = match mode {
                "form_post.jwt" => in_form(reply).1,
                _ => in_query(reply),
            };
            let claims = opened(&app, OWN, &jwt).await;
            let wanted = ["aud", "error", "error_description", "exp", "iss", "state"];
            assert_eq!(names(&claims), wanted, "{mode}");
            assert_eq!(claims["error"], error);
        }
    }
}

#[tokio::test]
async fn a_person_who_says_no_is_told_in_a_signed_response() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let page = browser
        .authorize(&by("jwt", OWN.ask()))
        .await
        .expect_page("login-cancel");
    let reply = browser.press(&page, "login-cancel").await;
    let claims = opened(&app, OWN, &in_query(reply)).await;
    assert_eq!(claims["error"], "access_denied");
}

#[tokio::test]
async fn the_client_registers_the_algorithm_and_rs256_is_the_default() {
    let app = TestApp::start().await;
    let jwt = in_query(app.get(&by("jwt", OWN.ask()).with("prompt", "none").path()).await);
    assert_eq!(app.verified(&jwt).await.alg.as_str(), "RS256");
    let advertised = app.metadata().await["authorization_signing_alg_values_supported"].clone();
    for alg in advertised.as_array().unwrap() {
        let alg = alg.as_str().unwrap();
        app.apply(&document(alg)).await;
        let jwt = in_query(app.get(&by("jwt", SIGNED.ask()).with("prompt", "none").path()).await);
        let verified = app.verified(&jwt).await;
        assert_eq!(verified.alg.as_str(), alg);
        assert_eq!(verified.claims["aud"], SIGNED.id);
    }
}

#[tokio::test]
async fn a_signed_response_is_no_id_token_and_no_access_token() {
    let app = TestApp::start().await;
    let jwt = in_query(app.get(&by("jwt", OWN.ask()).with("prompt", "none").path()).await);
    app.call(http::Method::GET, "/userinfo")
        .bearer(&jwt)
        .send()
        .await
        .expect_bearer_error(401, "invalid_token");
    app.get(&OWN.ask().with("id_token_hint", &jwt).path())
        .await
        .expect_error_answer("invalid_request");
    assert!(!app.is_active(&jwt).await);
}

#[tokio::test]
async fn what_the_redirect_uri_has_already_stays() {
    let app = TestApp::builder().document(&document("PS256")).start().await;
    let ask = by("jwt", SIGNED.ask())
        .with("redirect_uri", "https://signed.example/cb?kept=1")
        .with("prompt", "none");
    let location = app.get(&ask.path()).await.expect_redirect();
    assert!(
        location.starts_with("https://signed.example/cb?kept=1&response=eyJ"),
        "{location}"
    );
}

#[tokio::test]
async fn a_long_and_hostile_state_is_signed_whole() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    for state in [
        &"s".repeat(384),
        "line\r\n日本語 🦀 \u{202e}\"'<>&;%00",
        "\u{1}\u{7f}\\",
    ] {
        for mode in ["jwt", "form_post.jwt"] {
            let reply = browser.get(&by(mode, OWN.ask()).with("state", state).path()).await;
            let jwt = match mode {
                "jwt" => in_query(reply),
                _ => in_form(reply).1,
            };
            assert_eq!(opened(&app, OWN, &jwt).await["state"], *state);
        }
    }
}

#[tokio::test]
async fn a_signed_response_may_be_asked_for_by_a_pushed_request() {
    let app = TestApp::start().await;
    let form = by("jwt", OWN.ask()).fields.without("client_id");
    let body = app.as_client(OWN, "/oauth2/par", &form).await.expect_json(201);
    let path = format!(
        "/oauth2/authorize?{}",
        fields([
            ("client_id", OWN.id),
            ("request_uri", body["request_uri"].as_str().unwrap())
        ])
        .encode()
    );
    let reply = app.signed_in(ALICE).await.get(&path).await;
    let claims = opened(&app, OWN, &in_query(reply)).await;
    app.exchange(&code_in(&claims, OWN)).await.expect_tokens();
}

#[tokio::test]
async fn modes_that_put_the_response_elsewhere_are_refused() {
    let app = TestApp::start().await;
    for mode in ["fragment.jwt", "web_message.jwt", "JWT", "query.jwt "] {
        app.get(&by(mode, OWN.ask()).path())
            .await
            .expect_error_answer("invalid_request");
    }
    // A form can be posted to a web address only.
    let app_link = by("form_post.jwt", NATIVE.ask()).with("redirect_uri", "com.example.app:/cb");
    let location = app.get(&app_link.path()).await.expect_redirect();
    assert!(
        location.starts_with("com.example.app:/cb?error=invalid_request"),
        "{location}"
    );
}
