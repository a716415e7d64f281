//! Client authentication at the token endpoint and its neighbours (RFC 6749 §2.3).

use std::{net::SocketAddr, time::Duration};

use auth_server::domain::{client::ClientStatus, ids::ClientId};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use http::Method;
use oauth_wire::SigningAlg;
use secrecy::ExposeSecret as _;
use serde_json::json;
use service_kit::PeerAddress;

use crate::app::{ALICE, Call, NOBODY, OWN, Reply, SERVICE, SPA, Signatory, TestApp, WEB, clients, fields};

fn post(app: &TestApp) -> Call<'_> {
    app.call(Method::POST, "/oauth2/token")
}

fn machine() -> crate::app::Fields {
    fields([("grant_type", "client_credentials")])
}

const SECRET: &str = "service-secret-1b2c";

#[tokio::test]
async fn basic_and_post_are_both_accepted_whichever_is_registered() {
    let app = TestApp::start().await;
    post(&app)
        .basic(SERVICE.id, SECRET)
        .form(&machine())
        .send()
        .await
        .expect_tokens();
    let form = machine().with("client_id", SERVICE.id).with("client_secret", SECRET);
    post(&app).form(&form).send().await.expect_tokens();
    // `own` is registered for client_secret_post.
    let code = app.consented_code(ALICE, OWN).await;
    post(&app)
        .basic(OWN.id, OWN.secret.unwrap())
        .form(&code.form())
        .send()
        .await
        .expect_tokens();
    let code = app.consented_code(ALICE, OWN).await;
    let form = code
        .form()
        .with("client_id", OWN.id)
        .with("client_secret", OWN.secret.unwrap());
    post(&app).form(&form).send().await.expect_tokens();
}

#[tokio::test]
async fn basic_with_the_same_client_id_in_the_body_is_one_method() {
    let app = TestApp::start().await;
    let form = machine().with("client_id", SERVICE.id);
    post(&app)
        .basic(SERVICE.id, SECRET)
        .form(&form)
        .send()
        .await
        .expect_tokens();
}

#[tokio::test]
async fn two_methods_at_once_are_refused() {
    let app = TestApp::start().await;
    let form = machine().with("client_id", SERVICE.id).with("client_secret", SECRET);
    let reply = post(&app).basic(SERVICE.id, SECRET).form(&form).send().await;
    reply.expect_oauth_error(400, "invalid_request");
    let form = machine().with("client_secret", SECRET);
    let reply = post(&app).basic(SERVICE.id, SECRET).form(&form).send().await;
    reply.expect_oauth_error(400, "invalid_request");
    let form = machine().with("client_id", WEB.id);
    let reply = post(&app).basic(SERVICE.id, SECRET).form(&form).send().await;
    reply.expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let app = TestApp::start().await;
    let call = post(&app).basic(SERVICE.id, SECRET).basic(SERVICE.id, SECRET);
    call.form(&machine())
        .send()
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn wrong_unknown_disabled_and_missing_credentials_sound_alike() {
    let app = TestApp::start().await;
    app.set_client_status(NOBODY, ClientStatus::Disabled).await;
    let form = machine();
    let replies: Vec<Reply> = vec![
        post(&app).basic(SERVICE.id, "wrong").form(&form).send().await,
        post(&app)
            .basic(SERVICE.id, &SECRET.to_uppercase())
            .form(&form)
            .send()
            .await,
        post(&app)
            .basic(SERVICE.id, &format!("{SECRET} "))
            .form(&form)
            .send()
            .await,
        post(&app).basic("SERVICE", SECRET).form(&form).send().await,
        post(&app).basic("no-such-client", SECRET).form(&form).send().await,
        post(&app).basic(WEB.id, SECRET).form(&form).send().await,
        post(&app)
            .basic(NOBODY.id, NOBODY.secret.unwrap())
            .form(&form)
            .send()
            .await,
        post(&app).basic(SERVICE.id, "").form(&form).send().await,
        post(&app).form(&form).send().await,
        post(&app)
            .form(&form.clone().with("client_id", SERVICE.id))
            .send()
            .await,
        post(&app)
            .form(
                &form
                    .clone()
                    .with("client_id", SERVICE.id)
                    .with("client_secret", "wrong"),
            )
            .send()
            .await,
        post(&app)
            .form(
                &form
                    .clone()
                    .with("client_id", "no-such-client")
                    .with("client_secret", "x"),
            )
            .send()
            .await,
        post(&app)
            .form(&form.clone().with("client_secret", SECRET))
            .send()
            .await,
    ];
    let mut descriptions: Vec<String> = replies
        .into_iter()
        .map(|reply| reply.expect_oauth_error(401, "invalid_client"))
        .collect();
    descriptions.dedup();
    assert_eq!(descriptions.len(), 1, "{descriptions:?}");
}

#[tokio::test]
async fn malformed_basic_is_failed_authentication() {
    let app = TestApp::start().await;
    for value in [
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic c2VydmljZQ==",
        "Basic /w==",
        "Basic OnNlY3JldA==",
        "basic %%%",
    ] {
        let reply = post(&app).header("authorization", value).form(&machine()).send().await;
        reply.expect_oauth_error(401, "invalid_client");
    }
}

#[tokio::test]
async fn the_scheme_name_has_no_case_and_the_parts_may_be_form_encoded() {
    let app = TestApp::start().await;
    let encoded = STANDARD.encode(format!("{}:{SECRET}", SERVICE.id));
    let reply = post(&app)
        .header("authorization", &format!("bAsIc {encoded}"))
        .form(&machine())
        .send()
        .await;
    reply.expect_tokens();
    // RFC 6749 appendix B: `_` and `-` may come as escapes.
    let reply = post(&app)
        .basic("%73ervice", "service%2Dsecret%2D1b2c")
        .form(&machine())
        .send()
        .await;
    reply.expect_tokens();
}

#[tokio::test]
async fn another_scheme_is_no_client_authentication() {
    let app = TestApp::start().await;
    let form = machine().with("client_id", SERVICE.id);
    for value in ["Bearer abc", "Digest username=\"service\"", "Negotiate"] {
        let reply = post(&app).header("authorization", value).form(&form).send().await;
        reply.expect_oauth_error(401, "invalid_client");
    }
}

#[tokio::test]
async fn a_public_client_with_a_secret_is_refused() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, SPA).await;
    let form = code.form().with("client_id", SPA.id).with("client_secret", "guess");
    post(&app)
        .form(&form)
        .send()
        .await
        .expect_oauth_error(401, "invalid_client");
    post(&app)
        .basic(SPA.id, "guess")
        .form(&code.form())
        .send()
        .await
        .expect_oauth_error(401, "invalid_client");
    // Basic with an empty password is how some libraries name a public client.
    post(&app)
        .basic(SPA.id, "")
        .form(&code.form())
        .send()
        .await
        .expect_tokens();
}

#[tokio::test]
async fn credentials_in_the_query_are_not_seen() {
    let app = TestApp::start().await;
    let query = machine()
        .with("client_id", SERVICE.id)
        .with("client_secret", SECRET)
        .encode();
    let reply = app
        .call(Method::POST, &format!("/oauth2/token?{query}"))
        .form(&machine())
        .send()
        .await;
    reply.expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn wrong_secrets_lock_nobody_out_but_one_address_after_many() {
    let app = TestApp::start().await;
    let from = |address: &str, secret: &str| {
        let peer = PeerAddress(SocketAddr::new(address.parse().unwrap(), 4711));
        post(&app)
            .extension(peer)
            .basic(SERVICE.id, secret)
            .form(&machine())
            .send()
    };
    for _ in 0..99 {
        from("192.0.2.1", "wrong")
            .await
            .expect_oauth_error(401, "invalid_client");
    }
    from("192.0.2.1", SECRET).await.expect_tokens();
    from("192.0.2.1", "wrong")
        .await
        .expect_oauth_error(401, "invalid_client");
    // From here on not even the right one, or guessing could go on.
    let refused = from("192.0.2.1", SECRET).await;
    assert_eq!(refused.header("retry-after"), Some("301"));
    refused.expect_oauth_error(429, "slow_down");
    from("192.0.2.2", SECRET).await.expect_tokens();
    let other = post(&app)
        .basic(WEB.id, WEB.secret.unwrap())
        .form(&machine())
        .send()
        .await;
    other.expect_oauth_error(400, "unauthorized_client");
    app.advance(300);
    from("192.0.2.1", SECRET).await.expect_tokens();
}

#[tokio::test]
async fn wrong_secrets_are_counted_over_all_nodes_and_endpoints() {
    let app = TestApp::start().await;
    let other = app.another_node().await;
    for at in 0..100 {
        let (node, path) = match at % 2 {
            0 => (&app, "/oauth2/introspect"),
            _ => (&other, "/oauth2/revoke"),
        };
        let call = node.call(Method::POST, path).basic(SERVICE.id, "wrong");
        let reply = call.form(&fields([("token", "x")])).send().await;
        reply.expect_oauth_error(401, "invalid_client");
    }
    for node in [&app, &other] {
        let wrong = post(node).basic(SERVICE.id, "wrong").form(&machine()).send().await;
        assert!(matches!(wrong.status, 401 | 429), "{}", wrong.status);
        let right = post(node).basic(SERVICE.id, SECRET).form(&machine()).send().await;
        right.expect_oauth_error(429, "slow_down");
    }
}

#[tokio::test]
async fn an_unknown_client_is_throttled_like_a_known_one() {
    let app = TestApp::builder()
        .config(|config| config.client_auth.max_failures = 2)
        .start()
        .await;
    for id in [SERVICE.id, "no-such-client", SPA.id] {
        let attempt = || post(&app).basic(id, "wrong").form(&machine()).send();
        for _ in 0..2 {
            attempt().await.expect_oauth_error(401, "invalid_client");
        }
        attempt().await.expect_oauth_error(429, "slow_down");
    }
}

#[tokio::test]
async fn many_guesses_at_once_are_not_worth_more() {
    let app = TestApp::builder()
        .config(|config| config.client_auth.max_failures = 5)
        .start()
        .await;
    let guesses = (0..60).map(|_| post(&app).basic(SERVICE.id, "wrong").form(&machine()).send());
    let replies = join_all(guesses).await;
    let compared = replies.iter().filter(|reply| reply.status == 401).count();
    assert_eq!(compared, 5);
}

#[tokio::test]
async fn nobody_counts_the_failures_of_exempt_clients_and_networks() {
    let app = TestApp::builder()
        .config(|config| {
            config.client_auth.max_failures = 1;
            config.client_auth.exempt_clients = vec![SERVICE.id.into()];
            config.client_auth.exempt_networks = vec!["192.0.2.0/24".parse().unwrap()];
        })
        .start()
        .await;
    let from = |id: &str, address: &str| {
        let peer = PeerAddress(SocketAddr::new(address.parse().unwrap(), 1));
        post(&app).extension(peer).basic(id, "wrong").form(&machine()).send()
    };
    for _ in 0..3 {
        from(SERVICE.id, "198.51.100.1")
            .await
            .expect_oauth_error(401, "invalid_client");
        from(WEB.id, "192.0.2.200")
            .await
            .expect_oauth_error(401, "invalid_client");
    }
    from(WEB.id, "198.51.100.1")
        .await
        .expect_oauth_error(401, "invalid_client");
    from(WEB.id, "198.51.100.1").await.expect_oauth_error(429, "slow_down");
}

#[tokio::test]
async fn a_secret_that_was_rotated_elsewhere_works_before_this_node_has_heard_of_it() {
    let app = TestApp::start().await;
    post(&app)
        .basic(SERVICE.id, SECRET)
        .form(&machine())
        .send()
        .await
        .expect_tokens();
    let operate = app.foundation().operate();
    let fresh = operate
        .rotate_secret(&ClientId::new(SERVICE.id), Duration::from_secs(60))
        .await
        .unwrap();
    let call = post(&app).basic(SERVICE.id, fresh.expose_secret());
    call.form(&machine()).send().await.expect_tokens();
}

#[tokio::test]
async fn the_same_rules_hold_at_introspection_and_revocation() {
    let app = TestApp::start().await;
    for path in ["/oauth2/introspect", "/oauth2/revoke"] {
        let form = fields([("token", "x")]);
        let post = || app.call(Method::POST, path);
        post()
            .form(&form)
            .send()
            .await
            .expect_oauth_error(401, "invalid_client");
        post()
            .basic(WEB.id, "wrong")
            .form(&form)
            .send()
            .await
            .expect_oauth_error(401, "invalid_client");
        let both = form
            .clone()
            .with("client_id", WEB.id)
            .with("client_secret", WEB.secret.unwrap());
        post()
            .basic(WEB.id, WEB.secret.unwrap())
            .form(&both)
            .send()
            .await
            .expect_oauth_error(400, "invalid_request");
        post().form(&both).send().await.expect_status(200);
        post()
            .basic(WEB.id, WEB.secret.unwrap())
            .form(&form)
            .send()
            .await
            .expect_status(200);
        let twice = form.and("token", "y");
        let reply = post().basic(WEB.id, WEB.secret.unwrap()).form(&twice).send().await;
        reply.expect_oauth_error(400, "invalid_request");
        let none = fields([("x", "y")]);
        let reply = post().basic(WEB.id, WEB.secret.unwrap()).form(&none).send().await;
        assert!(reply.expect_oauth_error(400, "invalid_request").contains("token"));
        app.get(path).await.expect_oauth_error(405, "invalid_request");
    }
}

#[tokio::test]
async fn a_rotated_secret_works_beside_the_old_one_until_the_overlap_ends() {
    let app = TestApp::start().await;
    let operate = app.foundation().operate();
    let overlap = Duration::from_secs(3600);
    let fresh = operate
        .rotate_secret(&ClientId::new(SERVICE.id), overlap)
        .await
        .unwrap();
    app.sync().await;
    post(&app)
        .basic(SERVICE.id, fresh.expose_secret())
        .form(&machine())
        .send()
        .await
        .expect_tokens();
    app.advance(3599);
    post(&app)
        .basic(SERVICE.id, SECRET)
        .form(&machine())
        .send()
        .await
        .expect_tokens();
    app.advance(1);
    post(&app)
        .basic(SERVICE.id, SECRET)
        .form(&machine())
        .send()
        .await
        .expect_oauth_error(401, "invalid_client");
    post(&app)
        .basic(SERVICE.id, fresh.expose_secret())
        .form(&machine())
        .send()
        .await
        .expect_tokens();
}

#[tokio::test]
async fn a_second_rotation_ends_the_secret_before_the_last() {
    let app = TestApp::start().await;
    let operate = app.foundation().operate();
    let (id, overlap) = (ClientId::new(SERVICE.id), Duration::from_secs(3600));
    let second = operate.rotate_secret(&id, overlap).await.unwrap();
    operate.rotate_secret(&id, overlap).await.unwrap();
    app.sync().await;
    post(&app)
        .basic(SERVICE.id, SECRET)
        .form(&machine())
        .send()
        .await
        .expect_oauth_error(401, "invalid_client");
    post(&app)
        .basic(SERVICE.id, second.expose_secret())
        .form(&machine())
        .send()
        .await
        .expect_tokens();
}

#[tokio::test]
async fn a_client_without_a_secret_has_none_to_rotate() {
    let app = TestApp::start().await;
    let keyed = Signatory::with_key("keyed", SigningAlg::Es256);
    app.apply(&clients(&[keyed.registration(json!({}))])).await;
    let operate = app.foundation().operate();
    operate
        .rotate_secret(&ClientId::new(SPA.id), Duration::ZERO)
        .await
        .unwrap_err();
    operate
        .rotate_secret(&ClientId::new(keyed.id), Duration::ZERO)
        .await
        .unwrap_err();
    operate
        .rotate_secret(&ClientId::new("nope"), Duration::ZERO)
        .await
        .unwrap_err();
}
