//! What a step of the protocol costs the database: at most one transaction, and nothing where an answer stands in memory.

use std::future::Future;

use http::Method;
use oauth_wire::SigningAlg;
use serde_json::json;
use sql_kit::Work;
use test_kit::TestKey;

use crate::app::{
    ALICE, CONSOLE, OWN, RESOURCE_SERVER, SERVICE, Signatory, TestApp, clients, fields, proof, refresh_form,
};

/// What was asked of the database meanwhile.
async fn work_of<T>(app: &TestApp, step: impl Future<Output = T>) -> (T, Work) {
    let before = app.foundation().store.work();
    let outcome = step.await;
    let after = app.foundation().store.work();
    let work = Work {
        reads: after.reads - before.reads,
        writes: after.writes - before.writes,
        transactions: after.transactions - before.transactions,
    };
    (outcome, work)
}

/// The step answers, with at most one transaction, which a single statement that writes is as well.
async fn at_most_one<T>(app: &TestApp, name: &str, step: impl Future<Output = T>) -> T {
    let (outcome, work) = work_of(app, step).await;
    assert!(work.writes + work.transactions <= 1, "{name}: {work:?}");
    outcome
}

const NONE: Work = Work {
    reads: 0,
    writes: 0,
    transactions: 0,
};

#[tokio::test]
async fn discovery_and_keys_cost_the_database_nothing() {
    let app = TestApp::start().await;
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/oauth2/jwks",
    ] {
        let (reply, work) = work_of(&app, app.get(path)).await;
        assert_eq!((reply.status, work), (200, NONE), "{path}");
    }
}

#[tokio::test]
async fn introspection_of_a_jwt_and_client_credentials_cost_the_database_nothing() {
    let app = TestApp::start().await;
    let tokens = app.client_credentials(SERVICE).await.expect_tokens();
    app.introspect(RESOURCE_SERVER, &tokens.access_token).await;
    let (reply, work) = work_of(&app, app.introspect(RESOURCE_SERVER, &tokens.access_token)).await;
    assert_eq!(reply.expect_json(200)["active"], true);
    // Revocations are known in memory.
    assert_eq!(work, NONE);
    let (reply, work) = work_of(&app, app.client_credentials(SERVICE)).await;
    reply.expect_tokens();
    assert_eq!(work, NONE);
}

#[tokio::test]
async fn each_step_of_a_sign_in_with_a_code_is_one_transaction_at_most() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    let push = fields([("x", "y")])
        .plus(&OWN.ask().fields)
        .without("client_id")
        .without("x");
    let pushed = at_most_one(&app, "push", app.as_client(OWN, "/oauth2/par", &push)).await;
    let reference = pushed.expect_json(201)["request_uri"].as_str().unwrap().to_owned();
    let mut ask = OWN.ask().with("request_uri", &reference);
    for name in ask.fields.names() {
        if name != "client_id" && name != "request_uri" {
            ask = ask.without(&name);
        }
    }
    let reply = at_most_one(&app, "authorize", browser.get(&ask.path())).await;
    let code = crate::app::Code {
        value: reply.expect_code(),
        client: OWN,
        redirect_uri: OWN.redirect_uri.into(),
        has_challenge: true,
    };
    let tokens = at_most_one(&app, "code", app.exchange(&code)).await.expect_tokens();
    let again = at_most_one(&app, "refresh", app.refresh(OWN, &tokens.refresh_token))
        .await
        .expect_tokens();
    at_most_one(&app, "userinfo", app.userinfo(&again)).await;
    at_most_one(&app, "revocation", app.revoke(OWN, &again.refresh_token)).await;
}

/// With everything that works once: an assertion, a proof, the code.
#[tokio::test]
async fn each_step_of_fapi_is_one_transaction_at_most() {
    let signatory = Signatory::with_key("bank", SigningAlg::Es256);
    let registration = signatory.registration(json!({
        "grant_types": ["authorization_code", "refresh_token"], "scope": "openid offline_access", "auto_approve": true,
        "first_party": true, "require_pushed_authorization_requests": true, "dpop_bound_access_tokens": true,
    }));
    let app = TestApp::builder().document(&clients(&[registration])).start().await;
    let mut browser = app.signed_in(ALICE).await;
    let key = TestKey::new(SigningAlg::Es256);
    let call = |path: &'static str, form: crate::app::Fields| {
        let url = format!("{}{path}", app.issuer);
        let claims = json!({"jti": format!("p{}", form.encode().len()), "htm": "POST", "htu": url, "iat": app.now()});
        app.call(Method::POST, path)
            .header("dpop", &key.proof(&claims))
            .form(&form.plus(&proof(&signatory.assertion(&app))))
            .send()
    };
    let ask = fields([
        ("response_type", "code"),
        ("redirect_uri", "https://signatory.example/cb"),
        ("scope", "openid offline_access"),
        ("state", crate::app::STATE),
        ("code_challenge", crate::app::CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    let pushed = at_most_one(&app, "push", call("/oauth2/par", ask))
        .await
        .expect_json(201);
    let query = fields([
        ("client_id", "bank"),
        ("request_uri", pushed["request_uri"].as_str().unwrap()),
    ]);
    let path = format!("/oauth2/authorize?{}", query.encode());
    let code = at_most_one(&app, "authorize", browser.get(&path)).await.expect_code();
    let exchange = fields([
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", "https://signatory.example/cb"),
        ("code_verifier", crate::app::VERIFIER),
    ]);
    let tokens = at_most_one(&app, "code", call("/oauth2/token", exchange))
        .await
        .expect_json(200);
    let refresh = refresh_form(tokens["refresh_token"].as_str().unwrap());
    at_most_one(&app, "refresh", call("/oauth2/token", refresh))
        .await
        .expect_json(200);
}

#[tokio::test]
async fn a_log_in_by_password_is_counted_and_forgotten_and_nothing_more() {
    let app = TestApp::start().await;
    let (reply, work) = work_of(
        &app,
        app.password(CONSOLE, crate::app::ADMIN.name, crate::app::ADMIN.password),
    )
    .await;
    reply.expect_tokens();
    // Two counters, of the address and of the account, before and after; and the refresh token's family.
    assert!(work.writes + work.transactions <= 5, "{work:?}");
}
