//! Token exchange (RFC 8693).

use auth_server::domain::{client::ClientStatus, user::UserStatus};
use http::Method;
use oauth_wire::SigningAlg;
use serde_json::{Value, json};
use service_kit::PeerCertificate;
use test_kit::TestKey;

use super::{events::events, register};
use crate::app::{
    ALICE, BOB, CONSOLE, ELSEWHERE, Fields, GATEWAY, ISSUER, OTHER_ALICE, Reply, SERVICE, SPA, TestApp, TestClient,
    Tokens, WEB,
    certificates::{Wanted, key, self_signed},
    fields,
};

/// A service that is called on behalf of people.
const FRONT: TestClient = TestClient {
    id: "front",
    secret: Some("front-secret-4d4d"),
    redirect_uri: "https://front.example/cb",
    scope: "openid",
};
/// A second one behind it.
const BEHIND: TestClient = TestClient {
    id: "behind",
    secret: Some("behind-secret-7e7e"),
    redirect_uri: "https://behind.example/cb",
    ..FRONT
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";

fn registration(client: TestClient, more: &str) -> String {
    format!(
        "[[client]]\nclient_id = \"{}\"\nclient_secret = \"{}\"\nredirect_uris = [\"{}\"]\nauto_approve = true\n\
         grant_types = [\"{GRANT}\", \"client_credentials\", \"authorization_code\"]\nscope = \"openid profile ai:chat\"\n{more}\n",
        client.id,
        client.secret.unwrap(),
        client.redirect_uri,
    )
}

fn document() -> String {
    [FRONT, BEHIND].map(|client| registration(client, "")).concat()
}

async fn start() -> TestApp {
    TestApp::builder().document(&document()).start().await
}

fn subject(token: &str) -> Fields {
    fields([
        ("grant_type", GRANT),
        ("subject_token", token),
        ("subject_token_type", ACCESS_TOKEN),
    ])
}

fn acting(form: &Fields, token: &str) -> Fields {
    let form = form.clone().with("actor_token", token);
    form.with("actor_token_type", ACCESS_TOKEN)
}

async fn own_token(app: &TestApp, client: TestClient) -> String {
    app.client_credentials(client).await.expect_tokens().access_token
}

/// A service exchanges a token and says that it acts.
async fn delegate(app: &TestApp, client: TestClient, token: &str) -> Reply {
    let actor = own_token(app, client).await;
    app.token(client, &acting(&subject(token), &actor)).await
}

/// For the test of the metadata.
pub(super) async fn works() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    delegate(&app, FRONT, &tokens.access_token).await.expect_tokens();
}

#[tokio::test]
async fn a_service_acts_for_the_person_and_the_token_says_so() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let reply = delegate(&app, FRONT, &tokens.access_token).await;
    let body = reply.clone().expect_json(200);
    assert_eq!(body["issued_token_type"], ACCESS_TOKEN);
    assert_eq!(body["scope"], "ai:chat openid profile");
    assert_eq!((body.get("refresh_token"), body.get("id_token")), (None, None));
    let exchanged = reply.expect_tokens();
    let (before, after) = (
        app.claims(&tokens.access_token).await,
        app.claims(&exchanged.access_token).await,
    );
    assert_eq!(after["client_id"], FRONT.id);
    assert_eq!(after["act"], json!({"sub": FRONT.id, "client_id": FRONT.id}));
    for kept in ["sub", "sid", "tenant", "aud", "auth_time", "acr", "amr", "scope"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    assert_ne!(after["jti"], before["jti"]);
    app.userinfo(&exchanged).await.expect_json(200);
}

#[tokio::test]
async fn every_service_on_the_way_stands_in_the_token_and_there_are_at_most_five() {
    let app = start().await;
    let mut token = app.tokens(ALICE, WEB).await.access_token;
    for hop in 0..5 {
        let client = if hop % 2 == 0 { FRONT } else { BEHIND };
        token = delegate(&app, client, &token).await.expect_tokens().access_token;
    }
    let claims = app.claims(&token).await;
    let mut act = claims.get("act");
    let mut seen = Vec::new();
    while let Some(actor) = act {
        seen.push(actor["sub"].as_str().unwrap().to_owned());
        act = actor.get("act");
    }
    assert_eq!(seen, ["front", "behind", "front", "behind", "front"]);
    assert_eq!(claims["via"], json!(["web", "front", "behind", "front", "behind"]));
    delegate(&app, BEHIND, &token)
        .await
        .expect_oauth_error(400, "invalid_request");
    app.token(BEHIND, &subject(&token))
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn without_an_actor_the_token_names_the_client_alone() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let exchanged = app.token(FRONT, &subject(&tokens.access_token)).await.expect_tokens();
    let claims = app.claims(&exchanged.access_token).await;
    assert_eq!((&claims["sub"], claims.get("act")), (&ALICE.sub.into(), None));
    assert_eq!(claims["client_id"], FRONT.id);
    // Who has acted before stays there.
    let delegated = delegate(&app, FRONT, &tokens.access_token).await.expect_tokens();
    let again = app
        .token(FRONT, &subject(&delegated.access_token))
        .await
        .expect_tokens();
    assert_eq!(app.claims(&again.access_token).await["act"]["sub"], FRONT.id);
}

#[tokio::test]
async fn a_client_that_is_not_registered_for_it_gets_nothing() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    app.token(WEB, &subject(&tokens.access_token))
        .await
        .expect_oauth_error(400, "unauthorized_client");
    app.token(SPA, &subject(&tokens.access_token).with("client_id", SPA.id))
        .await
        .expect_oauth_error(400, "unauthorized_client");
}

#[tokio::test]
async fn strangers_register_for_it_only_where_the_operator_lets_them() {
    let metadata = json!({
        "redirect_uris": ["https://app.example/cb"], "grant_types": ["authorization_code", GRANT], "scope": "openid",
    });
    let app = register::open().start().await;
    register::register(&app, &metadata)
        .await
        .expect_oauth_error(400, "invalid_client_metadata");
    let app = register::open()
        .config(|config| config.registration.grant_types.push(GRANT.into()))
        .start()
        .await;
    let client = register::test_client(&register::registered(&app, &metadata).await);
    let tokens = app.tokens(ALICE, WEB).await;
    let exchanged = app.token(client, &subject(&tokens.access_token)).await.expect_tokens();
    assert_eq!(exchanged.scope.as_deref(), Some("openid"));
    let public = json!({"redirect_uris": ["https://app.example/cb"], "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", GRANT]});
    register::register(&app, &public)
        .await
        .expect_oauth_error(400, "invalid_client_metadata");
}

#[tokio::test]
async fn a_public_client_cannot_be_registered_for_it() {
    let app = TestApp::start().await;
    let document = format!(
        "[[client]]\nclient_id = \"p\"\ntoken_endpoint_auth_method = \"none\"\ngrant_types = [\"{GRANT}\"]\nresponse_types = []\n"
    );
    app.try_apply(&document).await.unwrap_err();
}

#[tokio::test]
async fn scope_shrinks_and_never_grows() {
    let app = start().await;
    let tokens = app
        .tokens_for(ALICE, &WEB.ask().with("scope", "openid email ai:chat"))
        .await;
    let form = subject(&tokens.access_token);
    // What both have: not email, which the service may not have, nor profile, which the token has not.
    let all = app.token(FRONT, &form).await.expect_tokens();
    assert_eq!(all.scope.as_deref(), Some("ai:chat openid"));
    let less = app.token(FRONT, &form.clone().with("scope", "ai:chat")).await;
    let less = less.expect_tokens();
    assert_eq!(less.scope, None);
    assert_eq!(app.claims(&less.access_token).await["scope"], "ai:chat");
    for more in ["email", "profile", "openid profile", "admin", "offline_access"] {
        app.token(FRONT, &form.clone().with("scope", more))
            .await
            .expect_oauth_error(400, "invalid_scope");
    }
    let nothing = app.tokens_for(ALICE, &WEB.ask().with("scope", "ai:embeddings")).await;
    app.token(FRONT, &subject(&nothing.access_token))
        .await
        .expect_oauth_error(400, "invalid_scope");
    let grown = app
        .token(FRONT, &subject(&less.access_token).with("scope", "openid"))
        .await;
    grown.expect_oauth_error(400, "invalid_scope");
}

#[tokio::test]
async fn what_could_be_refreshed_is_not_handed_on() {
    let app = start().await;
    app.apply(&document().replace("openid profile ai:chat", "openid offline_access ai:chat"))
        .await;
    let tokens = app
        .tokens_for(ALICE, &WEB.ask().with("scope", "openid offline_access"))
        .await;
    let exchanged = app.token(FRONT, &subject(&tokens.access_token)).await.expect_tokens();
    assert_eq!(exchanged.scope.as_deref(), Some("openid"));
    assert_eq!(exchanged.refresh_token, "");
}

#[tokio::test]
async fn the_audience_shrinks_and_never_grows() {
    let app = start().await;
    let for_gateway = app
        .tokens_for(ALICE, &WEB.ask().with("scope", "ai:chat").with("resource", GATEWAY))
        .await;
    let both = app.tokens(ALICE, WEB).await;
    let audience = async |form: Fields| {
        let token = app.token(FRONT, &form).await.expect_tokens().access_token;
        app.claims(&token).await["aud"].clone()
    };
    assert_eq!(audience(subject(&for_gateway.access_token)).await, GATEWAY);
    assert_eq!(
        audience(subject(&both.access_token)).await,
        app.claims(&both.access_token).await["aud"]
    );
    // Nobody who has nothing to do with what is asked for.
    assert_eq!(
        audience(subject(&both.access_token).with("scope", "ai:chat")).await,
        GATEWAY
    );
    assert_eq!(
        audience(subject(&both.access_token).with("scope", "profile")).await,
        ISSUER
    );
    for name in ["resource", "audience"] {
        let less = subject(&both.access_token)
            .with("scope", "ai:chat profile")
            .and(name, GATEWAY);
        assert_eq!(audience(less).await, GATEWAY, "{name}");
        for target in [ISSUER, "https://elsewhere.example"] {
            app.token(FRONT, &subject(&for_gateway.access_token).and(name, target))
                .await
                .expect_oauth_error(400, "invalid_target");
        }
    }
}

#[tokio::test]
async fn a_token_ends_with_the_one_it_was_made_of() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let exp = app.claims(&tokens.access_token).await["exp"].clone();
    app.advance(400);
    let exchanged = app.token(FRONT, &subject(&tokens.access_token)).await.expect_tokens();
    assert_eq!(exchanged.expires_in, 200);
    assert_eq!(app.claims(&exchanged.access_token).await["exp"], exp);
    app.advance(200);
    app.token(FRONT, &subject(&tokens.access_token))
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn whatever_ends_the_grant_ends_what_was_made_of_it() {
    let app = start().await;
    let exchanged = async |tokens: &Tokens| {
        let reply = app.token(FRONT, &subject(&tokens.access_token)).await;
        reply.expect_tokens().access_token
    };
    let tokens = app.tokens(ALICE, SPA).await;
    let token = exchanged(&tokens).await;
    app.revoke(SPA, &tokens.refresh_token).await.expect_status(200);
    assert!(!app.is_active(&token).await, "the refresh token was revoked");

    let tokens = app.tokens(ALICE, WEB).await;
    let token = exchanged(&tokens).await;
    app.set_password(ALICE, "another password").await;
    assert!(!app.is_active(&token).await, "the password was changed");

    let tokens = app.tokens(BOB, WEB).await;
    let token = exchanged(&tokens).await;
    let mut browser = app.signed_in(BOB).await;
    let account = browser.open("/account").await.expect_html(200);
    browser.press(&account, "remove-app").await.expect_html(200);
    assert!(!app.is_active(&token).await, "the application was removed");

    let mut browser = app.signed_in(BOB).await;
    let code = browser.consented_code(BOB, &WEB.ask()).await;
    let token = exchanged(&app.exchange(&code).await.expect_tokens()).await;
    let page = browser.open("/connect/logout").await.expect_html(200);
    browser.press(&page, "logout-confirm").await.expect_html(200);
    assert!(!app.is_active(&token).await, "the person has signed out");
}

#[tokio::test]
async fn a_client_that_ends_takes_along_what_was_made_of_its_tokens() {
    for ended in [WEB, FRONT, BEHIND] {
        let app = start().await;
        let first = app.tokens(ALICE, WEB).await.access_token;
        let second = delegate(&app, FRONT, &first).await.expect_tokens().access_token;
        let third = delegate(&app, BEHIND, &second).await.expect_tokens().access_token;
        app.set_client_status(ended, ClientStatus::Disabled).await;
        let mut alive = Vec::new();
        for token in [&first, &second, &third] {
            alive.push(app.is_active(token).await);
        }
        let behind_the_end = [WEB, FRONT, BEHIND].iter().position(|client| *client == ended).unwrap();
        assert_eq!(alive, [0, 1, 2].map(|at| at < behind_the_end), "{}", ended.id);
    }
}

/// What nobody may do anything with.
async fn is_dead(app: &TestApp, tokens: &Tokens, why: &str) {
    assert!(!app.is_active(&tokens.access_token).await, "{why}");
    assert_eq!(app.userinfo(tokens).await.status, 401, "{why}");
    for reply in [
        app.token(BEHIND, &subject(&tokens.access_token)).await,
        delegate(app, FRONT, &tokens.access_token).await,
    ] {
        assert_eq!(reply.status, 400, "{why}");
        reply.expect_oauth_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn whoever_is_locked_acts_for_nobody_any_more() {
    for more in ["", "subject_type = \"pairwise\""] {
        let app = TestApp::builder()
            .document(&[FRONT, BEHIND].map(|client| registration(client, more)).concat())
            .start()
            .await;
        let (alice, bob) = (app.tokens(ALICE, WEB).await, app.tokens(BOB, FRONT).await);
        let form = acting(&subject(&alice.access_token), &bob.access_token);
        let first = app.token(FRONT, &form).await.expect_tokens();
        // Behind it Bob has acted before, and where nobody acts anew he still does.
        let second = delegate(&app, BEHIND, &first.access_token).await.expect_tokens();
        let third = app.token(BEHIND, &subject(&first.access_token)).await.expect_tokens();
        for tokens in [&first, &second, &third] {
            app.userinfo(tokens).await.expect_json(200);
        }
        let names = [
            app.claims(&first.access_token).await["act"]["sub"].clone(),
            app.claims(&second.access_token).await["act"]["act"]["sub"].clone(),
        ];
        app.set_user_status(BOB, UserStatus::Locked).await;
        // Resource servers hear it by each name that a token has for him, also where he never signed in.
        let told: Vec<Value> = events(&app, "a")
            .await
            .iter()
            .map(|event| event["sub_id"]["sub"].clone())
            .collect();
        assert!(names.iter().all(|name| told.contains(name)), "{names:?} {told:?}");
        for tokens in [&first, &second, &third] {
            is_dead(&app, tokens, more).await;
        }
        app.userinfo(&alice).await.expect_json(200);
        // What has ended does not come back with the account.
        app.set_user_status(BOB, UserStatus::Active).await;
        for tokens in [&first, &second, &third] {
            is_dead(&app, tokens, more).await;
        }
    }
}

#[tokio::test]
async fn tokens_that_are_not_good_are_refused_whatever_is_wrong_with_them() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let machine = own_token(&app, SERVICE).await;
    let other_tenant = app.tokens(OTHER_ALICE, ELSEWHERE).await;
    let revoked = app.tokens(ALICE, WEB).await;
    app.revoke(WEB, &revoked.access_token).await.expect_status(200);
    let tampered = format!("{}x", tokens.access_token);
    for (what, token) in [
        ("nonsense", "nonsense"),
        ("an ID token", &tokens.id_token),
        ("a refresh token", &tokens.refresh_token),
        ("a machine's token", &machine),
        ("another tenant's token", &other_tenant.access_token),
        ("a revoked token", &revoked.access_token),
        ("a tampered token", &tampered),
    ] {
        let reply = app.token(FRONT, &subject(token)).await;
        assert_eq!(reply.status, 400, "{what}");
        reply.expect_oauth_error(400, "invalid_request");
        // As an actor they are no better.
        let form = acting(&subject(&tokens.access_token), token);
        let reply = app.token(FRONT, &form).await;
        assert_eq!(reply.status, 400, "{what} as actor");
        reply.expect_oauth_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn nobody_acts_in_the_name_of_a_token_that_is_not_theirs() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let others = own_token(&app, BEHIND).await;
    app.token(FRONT, &acting(&subject(&tokens.access_token), &others))
        .await
        .expect_oauth_error(400, "invalid_request");
    // Somebody who is acted for does not act.
    let acted_for = delegate(&app, FRONT, &tokens.access_token).await.expect_tokens();
    app.token(FRONT, &acting(&subject(&tokens.access_token), &acted_for.access_token))
        .await
        .expect_oauth_error(400, "invalid_request");
    // A person at the service itself may act for another.
    let helper = app.tokens(BOB, FRONT).await;
    let exchanged = app
        .token(FRONT, &acting(&subject(&tokens.access_token), &helper.access_token))
        .await
        .expect_tokens();
    let claims = app.claims(&exchanged.access_token).await;
    assert_eq!(claims["act"], json!({"sub": BOB.sub, "client_id": FRONT.id}));
    app.set_user_status(BOB, UserStatus::Locked).await;
    app.token(FRONT, &acting(&subject(&tokens.access_token), &helper.access_token))
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn access_tokens_go_in_and_come_out_and_nothing_else_does() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let good = subject(&tokens.access_token);
    for form in [
        good.clone().without("subject_token"),
        good.clone().without("subject_token_type"),
        good.clone().with("subject_token_type", "access_token"),
        good.clone()
            .with("subject_token_type", "urn:ietf:params:oauth:token-type:saml2"),
        good.clone().with("requested_token_type", ID_TOKEN),
        good.clone().with("requested_token_type", REFRESH_TOKEN),
        good.clone()
            .with("requested_token_type", "urn:ietf:params:oauth:token-type:saml2"),
        good.clone().with("actor_token_type", ACCESS_TOKEN),
        good.clone().and("subject_token", "x"),
    ] {
        app.token(FRONT, &form).await.expect_oauth_error(400, "invalid_request");
    }
    // Whatever they are called, ID tokens and refresh tokens are told why.
    for (token, kind, why) in [
        (&tokens.id_token, ID_TOKEN, "an ID token allows nothing"),
        (
            &tokens.refresh_token,
            REFRESH_TOKEN,
            "a refresh token is for its own client",
        ),
        (&tokens.id_token, JWT, "unknown, expired or revoked"),
    ] {
        let form = subject(token).with("subject_token_type", kind);
        let told = app.token(FRONT, &form).await.expect_oauth_error(400, "invalid_request");
        assert!(told.contains(why), "{told}");
    }
    let actor = own_token(&app, FRONT).await;
    for form in [
        good.clone().with("actor_token", &actor),
        acting(&good, &actor).with("actor_token_type", ID_TOKEN),
    ] {
        app.token(FRONT, &form).await.expect_oauth_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn the_new_token_is_called_what_was_asked_for() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let good = subject(&tokens.access_token);
    for (requested, called) in [
        (None, ACCESS_TOKEN),
        (Some(ACCESS_TOKEN), ACCESS_TOKEN),
        (Some(JWT), JWT),
    ] {
        for kind in [ACCESS_TOKEN, JWT] {
            let form = good.clone().with("subject_token_type", kind);
            let form = requested
                .iter()
                .fold(form, |form, one| form.with("requested_token_type", one));
            let reply = app.token(FRONT, &form).await.expect_json(200);
            assert_eq!(
                (&reply["issued_token_type"], &reply["token_type"]),
                (&called.into(), &"Bearer".into())
            );
        }
    }
    let other = app.client_credentials(FRONT).await.expect_json(200);
    assert_eq!(other.get("issued_token_type"), None);
}

#[tokio::test]
async fn opaque_tokens_go_in_and_come_out_but_are_never_called_jwts() {
    let sealed = "access_token_format = \"opaque\"";
    let vault = registration(BEHIND, sealed).replace("ai:chat", "email");
    let app = TestApp::builder()
        .document(&[registration(FRONT, ""), vault].concat())
        .start()
        .await;
    let opaque = app.tokens(ALICE, BEHIND).await.access_token;
    assert!(opaque.starts_with("hga_"), "{opaque}");
    let exchanged = app.token(FRONT, &subject(&opaque)).await.expect_tokens();
    assert_eq!(app.claims(&exchanged.access_token).await["sub"], ALICE.sub);
    let back = app
        .token(BEHIND, &subject(&exchanged.access_token))
        .await
        .expect_tokens();
    assert!(back.access_token.starts_with("hga_") && app.is_active(&back.access_token).await);
    for (client, form) in [
        (FRONT, subject(&opaque).with("subject_token_type", JWT)),
        (
            BEHIND,
            subject(&exchanged.access_token).with("requested_token_type", JWT),
        ),
    ] {
        app.token(client, &form)
            .await
            .expect_oauth_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn nobody_is_called_by_a_name_that_is_for_another_sector() {
    let pairwise = "subject_type = \"pairwise\"";
    let app = TestApp::builder()
        .document(&[FRONT, BEHIND].map(|client| registration(client, pairwise)).concat())
        .start()
        .await;
    let in_front = async |user| app.claims(&app.tokens(user, FRONT).await.id_token).await["sub"].clone();
    let behind = async |user| app.claims(&app.tokens(user, BEHIND).await.id_token).await["sub"].clone();
    assert_ne!(in_front(ALICE).await, behind(ALICE).await);
    // Bob helps Alice at the service in front; the one behind it knows both by other names.
    let (alice, bob) = (app.tokens(ALICE, WEB).await, app.tokens(BOB, FRONT).await);
    let form = acting(&subject(&alice.access_token), &bob.access_token);
    let first = app.token(FRONT, &form).await.expect_tokens().access_token;
    let claims = app.claims(&first).await;
    assert_eq!(
        (&claims["sub"], &claims["act"]["sub"]),
        (&in_front(ALICE).await, &in_front(BOB).await)
    );
    let second = delegate(&app, BEHIND, &first).await.expect_tokens().access_token;
    let claims = app.claims(&second).await;
    assert_eq!(
        (&claims["sub"], &claims["act"]["sub"]),
        (&behind(ALICE).await, &BEHIND.id.into())
    );
    assert_eq!(claims["act"]["act"]["sub"], behind(BOB).await);
    let text = Value::Object(claims).to_string();
    for other in [
        in_front(ALICE).await,
        in_front(BOB).await,
        ALICE.sub.into(),
        BOB.sub.into(),
    ] {
        assert!(!text.contains(other.as_str().unwrap()), "{text}");
    }
    // Who hears of it by the person's own name is told as well: it ends with the account.
    app.set_user_status(ALICE, UserStatus::Locked).await;
    assert!(!app.is_active(&second).await);
}

#[tokio::test]
async fn people_and_clients_that_may_not_act_get_nothing() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    app.set_client_status(WEB, ClientStatus::Disabled).await;
    app.token(FRONT, &subject(&tokens.access_token))
        .await
        .expect_oauth_error(400, "invalid_request");
    let tokens = app.tokens(BOB, SPA).await;
    app.set_user_status(BOB, UserStatus::Locked).await;
    app.token(FRONT, &subject(&tokens.access_token))
        .await
        .expect_oauth_error(400, "invalid_request");
    app.set_client_status(FRONT, ClientStatus::Disabled).await;
    app.token(FRONT, &subject(&tokens.access_token))
        .await
        .expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn interfaces_are_those_that_both_have() {
    let app = start().await;
    app.apply(&registration(FRONT, "ai_interfaces = [\"drafts\", \"support\"]"))
        .await;
    app.apply(
        "[[client]]\nclient_id = \"narrow\"\nclient_secret = \"narrow-secret-1111\"\nredirect_uris = [\"https://narrow.example/cb\"]\n\
         auto_approve = true\nscope = \"ai:chat\"\nai_interfaces = [\"chat\", \"support\"]\n",
    )
    .await;
    let narrow = TestClient {
        id: "narrow",
        secret: Some("narrow-secret-1111"),
        redirect_uri: "https://narrow.example/cb",
        scope: "ai:chat",
    };
    let tokens = app.tokens(ALICE, narrow).await;
    let exchanged = app.token(FRONT, &subject(&tokens.access_token)).await.expect_tokens();
    let claims = app.claims(&exchanged.access_token).await;
    assert_eq!(claims["ai_interfaces"], json!(["support"]));
}

#[tokio::test]
async fn details_stay_and_may_be_narrowed() {
    let app = start().await;
    let ask = |interfaces: &[&str]| json!([{"type": "ai_call", "interfaces": interfaces}]).to_string();
    let request = WEB.ask().with("authorization_details", &ask(&["drafts", "support"]));
    let tokens = app.tokens_for(ALICE, &request).await;
    let details = async |form: Fields| {
        let token = app.token(FRONT, &form).await.expect_tokens().access_token;
        app.claims(&token).await["authorization_details"].to_string()
    };
    let form = subject(&tokens.access_token);
    assert_eq!(
        details(form.clone()).await,
        app.claims(&tokens.access_token).await["authorization_details"].to_string()
    );
    let less = form.clone().with("authorization_details", &ask(&["support"]));
    assert!(details(less).await.contains("[\"support\"]"));
    let more = form.with("authorization_details", &ask(&["chat"]));
    app.token(FRONT, &more)
        .await
        .expect_oauth_error(400, "invalid_authorization_details");
}

fn proof(app: &TestApp, key: &TestKey, jti: &str) -> String {
    key.proof(&json!({"jti": jti, "htm": "POST", "htu": format!("{ISSUER}/oauth2/token"), "iat": app.now()}))
}

async fn proving(app: &TestApp, client: TestClient, form: &Fields, proof: &str) -> Reply {
    let call = app.call(Method::POST, "/oauth2/token").header("dpop", proof);
    let call = call.basic(client.id, client.secret.unwrap());
    call.form(form).send().await
}

#[tokio::test]
async fn a_bound_token_is_exchanged_by_its_holder_alone_and_stays_bound() {
    let app = start().await;
    let (key, other) = (TestKey::new(SigningAlg::Es256), TestKey::new(SigningAlg::Es256));
    let code = app.consented_code(ALICE, WEB).await;
    let bound: Value = proving(&app, WEB, &code.form(), &proof(&app, &key, "a"))
        .await
        .expect_json(200);
    let form = subject(bound["access_token"].as_str().unwrap());
    app.token(FRONT, &form).await.expect_oauth_error(400, "invalid_request");
    proving(&app, FRONT, &form, &proof(&app, &other, "b"))
        .await
        .expect_oauth_error(400, "invalid_request");
    let reply = proving(&app, FRONT, &form, &proof(&app, &key, "c"))
        .await
        .expect_json(200);
    assert_eq!(reply["token_type"], "DPoP");
    let cnf = |claims: serde_json::Map<String, Value>| claims["cnf"].clone();
    let (before, after) = (
        app.claims(bound["access_token"].as_str().unwrap()).await,
        app.claims(reply["access_token"].as_str().unwrap()).await,
    );
    assert_eq!(cnf(after), cnf(before));
    // What was free may be bound.
    let free = app.tokens(ALICE, WEB).await;
    let reply = proving(&app, FRONT, &subject(&free.access_token), &proof(&app, &other, "d"))
        .await
        .expect_json(200);
    assert!(
        app.claims(reply["access_token"].as_str().unwrap())
            .await
            .contains_key("cnf")
    );
    // A bound actor token takes the same proof.
    let machine = fields([("grant_type", "client_credentials")]);
    let actor = proving(&app, FRONT, &machine, &proof(&app, &key, "e"))
        .await
        .expect_json(200);
    let form = acting(&subject(&free.access_token), actor["access_token"].as_str().unwrap());
    app.token(FRONT, &form).await.expect_oauth_error(400, "invalid_request");
    proving(&app, FRONT, &form, &proof(&app, &key, "f"))
        .await
        .expect_json(200);
}

#[tokio::test]
async fn an_administrators_rights_are_handed_on_only_to_who_may_have_them() {
    let app = start().await;
    let admin = app
        .password(CONSOLE, crate::app::ADMIN.name, crate::app::ADMIN.password)
        .await
        .expect_tokens();
    assert!(app.claims(&admin.access_token).await.contains_key("permissions"));
    let exchanged = app.token(FRONT, &subject(&admin.access_token)).await.expect_tokens();
    let claims = app.claims(&exchanged.access_token).await;
    assert_eq!((claims.get("permissions"), claims.get("roles")), (None, None));
}

#[tokio::test]
async fn nothing_is_exchanged_while_storage_is_away() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    own_token(&app, FRONT).await;
    app.foundation().store.close().await;
    app.token(FRONT, &subject(&tokens.access_token))
        .await
        .expect_oauth_error(503, "temporarily_unavailable");
}

#[tokio::test]
async fn a_token_that_says_who_may_act_is_exchanged_by_nobody_else() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let claims = app.claims(&tokens.access_token).await;
    let saying = async |may_act: Value| {
        let mut claims = claims.clone();
        claims.insert("may_act".into(), may_act);
        app.sign_as_provider("at+jwt", &Value::Object(claims)).await
    };
    let token = saying(json!({"sub": FRONT.id})).await;
    app.token(FRONT, &subject(&token)).await.expect_tokens();
    delegate(&app, FRONT, &token).await.expect_tokens();
    app.token(BEHIND, &subject(&token))
        .await
        .expect_oauth_error(400, "invalid_request");
    // Bob may help, the service on its own may not.
    let bob = app.tokens(BOB, FRONT).await.access_token;
    let token = saying(json!({"sub": BOB.sub, "client_id": FRONT.id})).await;
    app.token(FRONT, &acting(&subject(&token), &bob)).await.expect_tokens();
    delegate(&app, FRONT, &token)
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn a_certificate_binds_as_a_key_does() {
    let bound = registration(FRONT, "tls_client_certificate_bound_access_tokens = true");
    let app = TestApp::builder()
        .document(&[bound, registration(BEHIND, "")].concat())
        .start()
        .await;
    let certificate = || self_signed(&key(), &Wanted::default());
    let (own, other) = (certificate(), certificate());
    let showing = async |client: TestClient, form: &Fields, shown: &PeerCertificate| {
        let call = app.call(Method::POST, "/oauth2/token").extension(shown.clone());
        call.basic(client.id, client.secret.unwrap()).form(form).send().await
    };
    let code = app.consented_code(ALICE, FRONT).await;
    let first = showing(FRONT, &code.form(), &own).await.expect_tokens().access_token;
    let form = subject(&first);
    showing(FRONT, &form, &other)
        .await
        .expect_oauth_error(400, "invalid_request");
    // Who binds no tokens proves nothing by a certificate.
    showing(BEHIND, &form, &own)
        .await
        .expect_oauth_error(400, "invalid_request");
    let second = showing(FRONT, &form, &own).await.expect_tokens().access_token;
    let (before, after) = (app.claims(&first).await, app.claims(&second).await);
    assert_eq!(after["cnf"], before["cnf"]);
    assert!(after["cnf"]["x5t#S256"].is_string());
}

#[tokio::test]
async fn a_limit_that_cannot_be_read_is_not_lifted() {
    let app = start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let claims = app.claims(&tokens.access_token).await;
    for (name, limit) in [
        ("authorization_details", json!([{"type": "of_a_newer_node"}])),
        ("authorization_details", json!("all")),
        ("ai_interfaces", json!("all")),
        ("ai_interfaces", json!([1])),
        ("aud", json!([1])),
        ("act", json!({"name": "somebody"})),
        ("via", json!("web")),
        ("cnf", json!({"newer": "binding"})),
    ] {
        let mut claims = claims.clone();
        claims.insert(name.into(), limit.clone());
        let token = app.sign_as_provider("at+jwt", &Value::Object(claims)).await;
        let reply = app.token(FRONT, &subject(&token)).await;
        assert_eq!(reply.status, 400, "{name}: {limit}: {}", reply.text());
        reply.expect_oauth_error(400, "invalid_request");
    }
}
