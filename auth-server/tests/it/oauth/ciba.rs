//! Backchannel authentication (OpenID Connect CIBA Core 1.0): what applications ask for and get.

use auth_server::{
    domain::{client::ClientStatus, user::UserStatus},
    ports::outbound::{OutboundBody, OutboundError, OutboundMethod, Purpose, Refusal},
};
use futures_util::future::join_all;
use http::Method;
use oauth_wire::SigningAlg;
use secrecy::ExposeSecret as _;
use serde_json::json;
use sql_test_kit::TestDatabase;
use test_kit::TestKey;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::app::{
    ALICE, BACKCHANNEL, BANK, BOB, DESK, Fields, GATEWAY, ISSUER, OTHER_ALICE, Signatory, TV, TestApp, TestClient, WEB,
    asking, clients, fields, proof, reply,
};

const ALLOW: &str = "approve-allow";
const DENY: &str = "approve-deny";

#[tokio::test]
async fn a_request_is_acknowledged_with_what_the_client_polls_by() {
    let app = TestApp::start().await;
    let reply = app.ask(BANK, &asking(BANK, ALICE)).await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let given = reply.expect_json(200);
    let id = given["auth_req_id"].as_str().unwrap();
    // CIBA §7.3: at least 160 bits, of these characters.
    assert!(id.starts_with("hgb_") && id.len() >= 4 + 27, "{id}");
    assert!(
        id.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)),
        "{id}"
    );
    assert_eq!((&given["expires_in"], &given["interval"]), (&300.into(), &5.into()));
    assert_eq!(given.as_object().unwrap().len(), 3);
    let metadata = app.metadata().await;
    assert_eq!(
        metadata["backchannel_authentication_endpoint"],
        format!("{ISSUER}{BACKCHANNEL}")
    );
    assert_eq!(metadata["backchannel_user_code_parameter_supported"], false);
    assert!(
        metadata
            .get("backchannel_authentication_request_signing_alg_values_supported")
            .is_none()
    );
}

#[tokio::test]
async fn who_allows_lets_the_application_have_tokens() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    app.ask_after(BANK, &id)
        .await
        .expect_oauth_error(400, "authorization_pending");
    app.answer_request(ALICE, ALLOW).await;
    let tokens = app.ask_after(BANK, &id).await.expect_tokens();
    let claims = app.claims(&tokens.access_token).await;
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&ALICE.sub.into(), &BANK.id.into())
    );
    assert_eq!(claims["scope"], "ai:chat openid profile");
    assert_eq!(claims.get("sid"), None, "the application is not in the browser");
    let id_token = app.claims(&tokens.id_token).await;
    assert_eq!(
        (&id_token["aud"], &id_token["sub"]),
        (&BANK.id.into(), &ALICE.sub.into())
    );
    assert_eq!(
        (&id_token["auth_time"], &id_token["acr"]),
        (&app.now().into(), &"1".into())
    );
    assert_eq!(id_token.get("nonce"), None);
    app.userinfo(&tokens).await.expect_json(200);
    app.refresh(BANK, &tokens.refresh_token).await.expect_tokens();
    // Once is all.
    app.ask_after(BANK, &id).await.expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn who_denies_is_the_end_of_it_however_often_the_application_asks() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    app.answer_request(ALICE, DENY).await;
    for _ in 0..3 {
        app.ask_after(BANK, &id).await.expect_oauth_error(400, "access_denied");
    }
    assert!(app.signed_in(ALICE).await.requests().await.is_empty());
}

#[tokio::test]
async fn an_application_without_refresh_tokens_gets_none() {
    let app = TestApp::start().await;
    let id = app.asked(DESK, &asking(DESK, ALICE)).await;
    app.answer_request(ALICE, ALLOW).await;
    let tokens = app.ask_after(DESK, &id).await.expect_tokens();
    assert_eq!(tokens.refresh_token, "");
    app.ask_after(DESK, &id).await.expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn who_polls_too_early_is_told_to_slow_down_and_has_to() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    let poll = async |expected: &str| {
        app.ask_after(BANK, &id).await.expect_oauth_error(400, expected);
    };
    poll("authorization_pending").await;
    app.advance(4);
    poll("slow_down").await;
    // CIBA §11: five seconds more for this and all that follow.
    app.advance(9);
    poll("slow_down").await;
    app.advance(15);
    poll("authorization_pending").await;
    // Nobody waits for an answer that is there.
    app.answer_request(ALICE, ALLOW).await;
    app.ask_after(BANK, &id).await.expect_tokens();
}

#[tokio::test]
async fn requests_expire_when_they_were_asked_to_within_bounds() {
    let app = TestApp::start().await;
    for (asked, told) in [
        ("1", 1),
        ("60", 60),
        ("900", 900),
        ("901", 900),
        ("99999999999999999999", 900),
    ] {
        let form = asking(BANK, ALICE).with("requested_expiry", asked);
        let given = app.ask(BANK, &form).await.expect_json(200);
        assert_eq!(given["expires_in"], told, "{asked}");
        let id = given["auth_req_id"].as_str().unwrap();
        app.advance(told);
        app.ask_after(BANK, id).await.expect_oauth_error(400, "expired_token");
        assert!(app.signed_in(ALICE).await.requests().await.is_empty());
    }
    for asked in ["0", "-1", "ten", "1.5", ""] {
        // An empty parameter counts as none (RFC 6749 §3.1).
        let form = asking(BOB_AT_BANK.0, BOB_AT_BANK.1).with("requested_expiry", asked);
        let reply = app.ask(BANK, &form).await;
        match asked {
            "" => drop(reply.expect_json(200)),
            _ => drop(reply.expect_oauth_error(400, "invalid_request")),
        }
    }
}

const BOB_AT_BANK: (TestClient, crate::app::TestUser) = (BANK, BOB);

#[tokio::test]
async fn what_was_allowed_expires_too() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    app.answer_request(ALICE, ALLOW).await;
    app.advance(300);
    app.ask_after(BANK, &id).await.expect_oauth_error(400, "expired_token");
}

#[tokio::test]
async fn a_request_is_its_clients_alone_and_no_device_code() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    app.answer_request(ALICE, ALLOW).await;
    app.ask_after(DESK, &id).await.expect_oauth_error(400, "invalid_grant");
    app.ask_after(WEB, &id)
        .await
        .expect_oauth_error(400, "unauthorized_client");
    app.ask_after(BANK, &format!("{id}x"))
        .await
        .expect_oauth_error(400, "invalid_grant");
    let as_device = fields([
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("device_code", &id),
    ]);
    app.token(TV, &as_device).await.expect_oauth_error(400, "invalid_grant");
    let codes = app.device(TV).await;
    app.ask_after(BANK, &codes.device_code)
        .await
        .expect_oauth_error(400, "invalid_grant");
    let bare = fields([("grant_type", "urn:openid:params:grant-type:ciba")]);
    app.token(BANK, &bare).await.expect_oauth_error(400, "invalid_request");
    app.ask_after(BANK, &id).await.expect_tokens();
}

#[tokio::test]
async fn of_many_polls_at_once_one_gets_tokens_and_they_live() {
    let app = TestApp::start().await;
    for client in [BANK, DESK] {
        let id = app.asked(client, &asking(client, ALICE)).await;
        app.answer_request(ALICE, ALLOW).await;
        let replies = join_all((0..20).map(|_| app.ask_after(client, &id))).await;
        let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
        assert_eq!(won.len(), 1, "{}", client.id);
        for reply in lost {
            reply.expect_oauth_error(400, "invalid_grant");
        }
        for reply in won {
            assert!(app.is_active(&reply.expect_tokens().access_token).await);
        }
    }
}

#[tokio::test]
async fn only_clients_that_prove_who_they_are_and_are_registered_for_it_may_ask() {
    let app = TestApp::start().await;
    app.ask(WEB, &asking(WEB, ALICE))
        .await
        .expect_oauth_error(400, "unauthorized_client");
    app.ask(TV, &asking(TV, ALICE))
        .await
        .expect_oauth_error(400, "unauthorized_client");
    let forged = TestClient {
        secret: Some("wrong"),
        ..BANK
    };
    app.ask(forged, &asking(BANK, ALICE))
        .await
        .expect_oauth_error(401, "invalid_client");
    let nameless = TestClient { secret: None, ..BANK };
    app.ask(nameless, &asking(BANK, ALICE))
        .await
        .expect_oauth_error(401, "invalid_client");
    app.get(BACKCHANNEL).await.expect_status(405);
    // No business of browsers.
    let call = app
        .call(Method::POST, BACKCHANNEL)
        .header("origin", "https://bank.example");
    let reply = call
        .basic(BANK.id, BANK.secret.unwrap())
        .form(&asking(BANK, ALICE))
        .send()
        .await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
    reply.expect_json(200);
}

#[tokio::test]
async fn what_is_asked_for_is_checked_before_anybody_is_looked_up() {
    let app = TestApp::start().await;
    let good = asking(BANK, ALICE);
    for (form, code) in [
        (good.clone().without("scope"), "invalid_request"),
        (good.clone().with("scope", "profile"), "invalid_scope"),
        (good.clone().with("scope", "openid admin"), "invalid_scope"),
        (good.clone().with("scope", "openid\u{1}"), "invalid_scope"),
        (good.clone().with("resource", "https://other.example"), "invalid_target"),
        (good.clone().without("login_hint"), "invalid_request"),
        (good.clone().with("id_token_hint", "x"), "invalid_request"),
        (
            good.clone().without("login_hint").with("login_hint_token", "x"),
            "invalid_request",
        ),
        (good.clone().with("login_hint_token", "x"), "invalid_request"),
        (good.clone().and("login_hint", "bob"), "invalid_request"),
        (good.clone().with("user_code", "1234"), "invalid_request"),
        (good.clone().with("request", "x.y.z"), "invalid_request"),
        (good.clone().with("client_notification_token", "a b"), "invalid_request"),
        (
            good.clone().with("client_notification_token", &"a".repeat(1025)),
            "invalid_request",
        ),
        (good.clone().with("claims", "nonsense"), "invalid_request"),
        (
            good.clone().with(
                "claims",
                r#"{"id_token": {"acr": {"essential": true, "values": ["9"]}}}"#,
            ),
            "invalid_request",
        ),
        (
            good.clone().with("authorization_details", "nonsense"),
            "invalid_authorization_details",
        ),
        (
            good.clone().with("authorization_details", r#"[{"type": "payment"}]"#),
            "invalid_authorization_details",
        ),
    ] {
        app.ask(BANK, &form).await.expect_oauth_error(400, code);
        // Whether the person exists changes nothing.
        let hints = form.names().iter().filter(|name| *name == "login_hint").count();
        if hints == 1 && form.get("login_hint") == Some(ALICE.name) {
            app.ask(BANK, &form.with("login_hint", "nobody-here"))
                .await
                .expect_oauth_error(400, code);
        }
    }
    assert!(app.signed_in(ALICE).await.requests().await.is_empty());
    // Known words that change nothing here, and unknown ones, do no harm.
    let form = good
        .with("acr_values", "1 2")
        .with("client_notification_token", "abc")
        .with("foo", "bar");
    app.ask(BANK, &form).await.expect_json(200);
}

#[tokio::test]
async fn a_binding_message_is_short_and_all_of_it_can_be_seen() {
    let app = TestApp::start().await;
    let ask = async |message: &str| {
        app.ask(BANK, &asking(BANK, ALICE).with("binding_message", message))
            .await
    };
    for message in [
        " ",
        "a\nb",
        "a\u{7}",
        "12.50 \u{202e}RUE",
        "a\u{200b}b",
        "a\u{2028}b",
        "a\u{e000}",
        &"x".repeat(101),
    ] {
        ask(message).await.expect_oauth_error(400, "invalid_binding_message");
    }
    let longest = "é".repeat(100);
    ask(&longest).await.expect_json(200);
    let page = app.signed_in(ALICE).await.look_at_request().await;
    assert!(page.has(&format!("<code id=\"binding-message\"><bdi>{longest}</bdi></code>")));
}

#[tokio::test]
async fn only_people_who_could_sign_in_are_known() {
    let app = TestApp::start().await;
    let ask = async |name: &str| app.ask(BANK, &asking(BANK, ALICE).with("login_hint", name)).await;
    let mut told = Vec::new();
    for name in [
        "nobody-here",
        "alice@example.org",
        "user-alice",
        "a\u{7}b",
        &"x".repeat(20_000),
        " ",
    ] {
        told.push(ask(name).await.expect_oauth_error(400, "unknown_user_id"));
    }
    app.set_user_status(BOB, UserStatus::Locked).await;
    told.push(ask(BOB.name).await.expect_oauth_error(400, "unknown_user_id"));
    app.set_user_status(BOB, UserStatus::Deleted).await;
    told.push(ask(BOB.name).await.expect_oauth_error(400, "unknown_user_id"));
    told.dedup();
    assert_eq!(told.len(), 1, "which one is not told");
    ask("ALICE").await.expect_json(200);
}

#[tokio::test]
async fn names_count_in_the_clients_own_tenant() {
    let app = TestApp::builder()
        .document(
            "[[client]]\nclient_id = \"there\"\nclient_secret = \"there-secret-1212\"\ntenant = \"other\"\n\
             grant_types = [\"urn:openid:params:grant-type:ciba\"]\nresponse_types = []\nscope = \"openid\"\n\
             backchannel_token_delivery_mode = \"poll\"\n",
        )
        .start()
        .await;
    let there = TestClient {
        id: "there",
        secret: Some("there-secret-1212"),
        ..DESK
    };
    let id = app.asked(there, &asking(there, ALICE)).await;
    app.ask(there, &asking(there, BOB))
        .await
        .expect_oauth_error(400, "unknown_user_id");
    // The other Alice is asked, not this one; she signs in to her own tenant for it.
    assert!(app.signed_in(ALICE).await.requests().await.is_empty());
    let address = app.address_of(&id);
    let mut browser = app.browser();
    let login = browser.open(&address).await;
    let page = browser
        .sign_in(&login, OTHER_ALICE)
        .await
        .expect_page("id=\"approve-allow\"");
    browser.press(&page, ALLOW).await.expect_html(200);
    let tokens = app.ask_after(there, &id).await.expect_tokens();
    assert_eq!(app.claims(&tokens.access_token).await["sub"], OTHER_ALICE.sub);
}

#[tokio::test]
async fn an_id_token_of_the_clients_own_is_a_hint_also_when_it_has_expired() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    app.answer_request(ALICE, ALLOW).await;
    let tokens = app.ask_after(BANK, &id).await.expect_tokens();
    let hinted = |token: &str| fields([("scope", "openid"), ("id_token_hint", token)]);
    app.advance(86_400);
    app.asked(BANK, &hinted(&tokens.id_token)).await;
    app.signed_in(ALICE).await.look_at_request().await;
    // Neither one of another client nor anything else that we sign.
    let others = app.tokens(ALICE, WEB).await;
    let forged = Signatory::with_key("bank", SigningAlg::Es256).assertion(&app);
    for token in [&others.id_token, &tokens.access_token, &forged, "nonsense"] {
        let reason = app
            .ask(BANK, &hinted(token))
            .await
            .expect_oauth_error(400, "invalid_request");
        assert!(reason.contains("id_token_hint"), "{reason}");
    }
    app.set_user_status(ALICE, UserStatus::Locked).await;
    app.ask(BANK, &hinted(&tokens.id_token))
        .await
        .expect_oauth_error(400, "unknown_user_id");
}

#[tokio::test]
async fn a_client_with_pairwise_subjects_hints_by_its_own() {
    let app = TestApp::builder()
        .document(
            "[[client]]\nclient_id = \"pair\"\nclient_secret = \"pair-secret-1212\"\nsubject_type = \"pairwise\"\n\
             sector_identifier_uri = \"https://pair.example/sector.json\"\nscope = \"openid\"\nresponse_types = []\n\
             grant_types = [\"urn:openid:params:grant-type:ciba\"]\nbackchannel_token_delivery_mode = \"poll\"\n",
        )
        .start()
        .await;
    let client = TestClient {
        id: "pair",
        secret: Some("pair-secret-1212"),
        ..DESK
    };
    let id = app.asked(client, &asking(client, ALICE)).await;
    app.answer_request(ALICE, ALLOW).await;
    let tokens = app.ask_after(client, &id).await.expect_tokens();
    assert_ne!(app.claims(&tokens.id_token).await["sub"], ALICE.sub);
    let hinted = fields([("scope", "openid"), ("id_token_hint", &tokens.id_token)]);
    app.asked(client, &hinted).await;
    app.signed_in(ALICE).await.look_at_request().await;
}

#[tokio::test]
async fn nobody_is_bombarded() {
    let app = TestApp::start().await;
    let form = asking(BANK, ALICE);
    let first = app.asked(BANK, &form).await;
    app.asked(BANK, &form).await;
    let reply = app.ask(BANK, &form).await;
    assert_eq!(reply.header("retry-after"), Some("301"), "until the first has expired");
    reply.expect_oauth_error(429, "slow_down");
    // Others are asked, and others ask.
    app.asked(BANK, &asking(BANK, BOB)).await;
    app.asked(DESK, &asking(DESK, ALICE)).await;
    // An answer makes room.
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.open(&app.address_of(&first)).await.expect_html(200);
    browser.press(&page, DENY).await.expect_page("id=\"approve-done\"");
    app.asked(BANK, &form).await;
    app.ask(BANK, &form).await.expect_oauth_error(429, "slow_down");
}

#[tokio::test]
async fn all_applications_together_have_a_limit_too() {
    let app = TestApp::builder()
        .config(|config| (config.ciba.max_open, config.ciba.max_open_in_all) = (2, 3))
        .start()
        .await;
    for client in [BANK, BANK, DESK] {
        app.asked(client, &asking(client, ALICE)).await;
    }
    app.ask(DESK, &asking(DESK, ALICE))
        .await
        .expect_oauth_error(429, "slow_down");
    app.advance(300);
    app.asked(DESK, &asking(DESK, ALICE)).await;
}

#[tokio::test]
async fn of_many_requests_at_once_no_more_get_through_than_may_wait() {
    let app = TestApp::start().await;
    let form = asking(BANK, ALICE);
    let replies = join_all((0..8).map(|_| app.ask(BANK, &form))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 2);
    assert_eq!(app.signed_in(ALICE).await.requests().await.len(), 2);
}

#[tokio::test]
async fn a_no_does_not_make_room_for_ever() {
    let app = TestApp::builder()
        .config(|config| config.ciba.max_requests_per_person = 3)
        .start()
        .await;
    for _ in 0..3 {
        app.asked(BANK, &asking(BANK, ALICE)).await;
        app.answer_request(ALICE, DENY).await;
    }
    let reply = app.ask(BANK, &asking(BANK, ALICE)).await;
    assert_eq!(reply.header("retry-after"), Some("601"));
    reply.expect_oauth_error(429, "slow_down");
    app.asked(BANK, &asking(BANK, BOB)).await;
    app.advance(600);
    app.asked(BANK, &asking(BANK, ALICE)).await;
}

#[tokio::test]
async fn a_client_asks_no_more_often_than_it_may_whomever() {
    let app = TestApp::builder()
        .config(|config| config.ciba.max_requests = 2)
        .start()
        .await;
    app.asked(BANK, &asking(BANK, ALICE)).await;
    app.asked(BANK, &asking(BANK, BOB)).await;
    app.ask(BANK, &asking(BANK, ALICE))
        .await
        .expect_oauth_error(429, "slow_down");
    app.asked(DESK, &asking(DESK, ALICE)).await;
}

#[tokio::test]
async fn a_client_cannot_find_out_by_guessing_who_has_an_account() {
    let app = TestApp::builder()
        .config(|config| config.ciba.max_unknown = 3)
        .start()
        .await;
    let guess = async |name: &str| app.ask(BANK, &asking(BANK, ALICE).with("login_hint", name)).await;
    for n in 0..2 {
        guess(&format!("guess-{n}"))
            .await
            .expect_oauth_error(400, "unknown_user_id");
    }
    // Right ones do not count, and forgive nothing.
    guess(ALICE.name).await.expect_json(200);
    guess("guess-3").await.expect_oauth_error(400, "unknown_user_id");
    guess("guess-4").await.expect_oauth_error(429, "slow_down");
    guess(BOB.name).await.expect_oauth_error(429, "slow_down");
    app.asked(DESK, &asking(DESK, BOB)).await;
    app.advance(600);
    guess(BOB.name).await.expect_json(200);
}

#[tokio::test]
async fn a_guess_at_who_somebody_is_counts_as_well() {
    let app = TestApp::builder()
        .config(|config| config.ciba.max_unknown = 1)
        .start()
        .await;
    let named =
        |sub: &str| asking(BANK, ALICE).with("claims", &json!({"id_token": {"sub": {"value": sub}}}).to_string());
    app.ask(BANK, &named(ALICE.sub)).await.expect_json(200);
    app.ask(BANK, &named(BOB.sub))
        .await
        .expect_oauth_error(400, "unknown_user_id");
    app.ask(BANK, &named(ALICE.sub))
        .await
        .expect_oauth_error(429, "slow_down");
}

#[tokio::test]
async fn a_lock_a_new_password_or_a_kick_ends_what_waits_and_what_was_allowed() {
    let app = TestApp::start().await;
    for end in ["lock", "password", "kick"] {
        let (waiting, allowed) = (
            app.asked(BANK, &asking(BANK, BOB)).await,
            app.asked(DESK, &asking(DESK, BOB)).await,
        );
        let mut browser = app.signed_in(BOB).await;
        let address = app.address_of(&allowed);
        let page = browser.open(&address).await.expect_page("id=\"approve-allow\"");
        browser.press(&page, ALLOW).await.expect_html(200);
        match end {
            "lock" => {
                app.set_user_status(BOB, UserStatus::Locked).await;
                app.set_user_status(BOB, UserStatus::Active).await;
            }
            "password" => app.set_password(BOB, BOB.password).await,
            _ => {
                let user = app.user(BOB).await;
                app.foundation().operate().sign_out(&user).await.unwrap();
                app.sync().await;
            }
        }
        app.ask_after(BANK, &waiting)
            .await
            .expect_oauth_error(400, "invalid_grant");
        app.ask_after(DESK, &allowed)
            .await
            .expect_oauth_error(400, "invalid_grant");
        app.advance(2);
        assert!(app.signed_in(BOB).await.requests().await.is_empty(), "{end}");
    }
}

#[tokio::test]
async fn who_was_locked_after_the_yes_gets_no_tokens() {
    let app = TestApp::start().await;
    let id = app.asked(DESK, &asking(DESK, ALICE)).await;
    app.answer_request(ALICE, ALLOW).await;
    app.set_user_status(ALICE, UserStatus::Locked).await;
    app.ask_after(DESK, &id).await.expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_disabled_client_is_not_shown_and_gets_nothing() {
    let app = TestApp::start().await;
    let (waiting, address) = {
        let id = app.asked(BANK, &asking(BANK, ALICE)).await;
        let address = app.address_of(&id);
        (id, address)
    };
    let mut browser = app.signed_in(ALICE).await;
    browser.look_at_request().await;
    app.set_client_status(BANK, ClientStatus::Disabled).await;
    assert!(browser.requests().await.is_empty());
    browser.open(&address).await.expect_page("id=\"sessions-heading\"");
    app.ask_after(BANK, &waiting)
        .await
        .expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn removing_the_application_ends_what_it_has_and_what_it_asks() {
    let app = TestApp::start().await;
    let first = app.asked(BANK, &asking(BANK, ALICE)).await;
    app.answer_request(ALICE, ALLOW).await;
    let tokens = app.ask_after(BANK, &first).await.expect_tokens();
    let second = app.asked(BANK, &asking(BANK, ALICE)).await;
    let mut browser = app.signed_in(ALICE).await;
    let account = browser.open("/account").await.expect_html(200);
    assert!(account.has("Corner Bank"));
    browser.press(&account, "remove-app").await.expect_html(200);
    assert!(!app.is_active(&tokens.access_token).await);
    app.ask_after(BANK, &second)
        .await
        .expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn tokens_are_for_the_resource_that_was_asked_for() {
    let app = TestApp::start().await;
    let form = asking(BANK, ALICE)
        .with("scope", "openid ai:chat")
        .with("resource", GATEWAY);
    let id = app.asked(BANK, &form).await;
    app.answer_request(ALICE, ALLOW).await;
    let tokens = app.ask_after(BANK, &id).await.expect_tokens();
    assert_eq!(app.claims(&tokens.access_token).await["aud"], json!([GATEWAY, ISSUER]));
}

#[tokio::test]
async fn claims_are_asked_for_one_by_one_as_elsewhere() {
    let app = TestApp::start().await;
    let claims = r#"{"id_token": {"email": null, "address": null}, "userinfo": {"nickname": null}}"#;
    let form = asking(BANK, ALICE).with("scope", "openid").with("claims", claims);
    let id = app.asked(BANK, &form).await;
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.look_at_request().await;
    assert!(page.has("nickname") && page.has("e-mail address"), "{}", page.text);
    browser.press(&page, ALLOW).await.expect_html(200);
    let tokens = app.ask_after(BANK, &id).await.expect_tokens();
    let id_token = app.claims(&tokens.id_token).await;
    assert_eq!(id_token["email"], "alice@example.org");
    assert_eq!(
        id_token.get("address"),
        None,
        "the client is not registered for its scope"
    );
    assert_eq!(app.userinfo(&tokens).await.expect_json(200)["nickname"], "Ally");
}

const DETAILS: &str =
    r#"[{"type": "ai_call", "interfaces": ["drafts", "support"], "max_cost": {"amount": "5.00", "currency": "EUR"}}]"#;

#[tokio::test]
async fn a_person_leaves_an_application_less_than_it_asked_for() {
    let app = TestApp::start().await;
    let form = asking(BANK, ALICE).with("authorization_details", DETAILS);
    let id = app.asked(BANK, &form).await;
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.look_at_request().await;
    // More than was asked for is asked about again.
    let page = browser
        .press_with(&page, ALLOW, |fields| fields.with("rar-0-amount", "6.00"))
        .await
        .expect_html(200);
    assert!(page.has("id=\"rar-problem\""));
    let less = |fields: Fields| fields.with("rar-0-amount", "2.00").without("rar-0-interface-0");
    browser
        .press_with(&page, ALLOW, less)
        .await
        .expect_page("id=\"approve-done\"");
    let reply = app.ask_after(BANK, &id).await.expect_json(200);
    let left =
        json!([{"type": "ai_call", "interfaces": ["support"], "max_cost": {"amount": "2.00", "currency": "EUR"}}]);
    assert_eq!(reply["authorization_details"], left);
    let claims = app.claims(reply["access_token"].as_str().unwrap()).await;
    assert_eq!(claims["authorization_details"], left);
}

#[tokio::test]
async fn tokens_are_bound_to_the_key_that_the_poll_proves() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    app.answer_request(ALICE, ALLOW).await;
    let key = TestKey::new(SigningAlg::Es256);
    let claims = json!({"jti": "one", "htm": "POST", "htu": format!("{ISSUER}/oauth2/token"), "iat": app.now()});
    let form = fields([
        ("grant_type", "urn:openid:params:grant-type:ciba"),
        ("auth_req_id", &id),
    ]);
    let call = app
        .call(Method::POST, "/oauth2/token")
        .header("dpop", &key.proof(&claims));
    let reply = call
        .basic(BANK.id, BANK.secret.unwrap())
        .form(&form)
        .send()
        .await
        .expect_json(200);
    assert_eq!(reply["token_type"], "DPoP");
    let claims = app.claims(reply["access_token"].as_str().unwrap()).await;
    assert_eq!(claims["cnf"]["jkt"], key.thumbprint());
}

#[tokio::test]
async fn a_client_that_proves_itself_by_assertions_does_so_here_as_well() {
    let keyed = Signatory::with_key("keyed", SigningAlg::Es256);
    let registration = keyed.registration(json!({
        "grant_types": ["urn:openid:params:grant-type:ciba"],
        "redirect_uris": [],
        "response_types": [],
        "backchannel_token_delivery_mode": "poll",
        "scope": "openid",
    }));
    let app = TestApp::builder().document(&clients(&[registration])).start().await;
    let form = fields([("scope", "openid"), ("login_hint", ALICE.name)]);
    let assertion = proof(&keyed.assertion(&app));
    let send = async |form: &Fields| app.call(Method::POST, BACKCHANNEL).form(form).send().await;
    send(&form.clone().plus(&assertion)).await.expect_json(200);
    // Its assertions work once here, too.
    send(&form.plus(&assertion))
        .await
        .expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn another_node_answers_as_well_as_this_one_and_so_does_a_restarted_one() {
    for database in [TestDatabase::sqlite(), TestDatabase::postgres().await] {
        let app = TestApp::builder().database(&database.url).start().await;
        let id = app
            .asked(BANK, &asking(BANK, ALICE).with("binding_message", "W4SCT"))
            .await;
        let other = app.another_node().await;
        let page = other.signed_in(ALICE).await.look_at_request().await;
        assert!(page.has("W4SCT"));
        other.answer_request(ALICE, ALLOW).await;
        app.another_node().await.ask_after(BANK, &id).await.expect_tokens();
        app.ask_after(BANK, &id).await.expect_oauth_error(400, "invalid_grant");
    }
}

#[tokio::test]
async fn registrations_that_could_not_work_are_refused() {
    let app = TestApp::start().await;
    let client = |more: &str| {
        format!(
            "[[client]]\nclient_id = \"c\"\nclient_secret = \"client-secret-1212\"\nscope = \"openid\"\n\
             response_types = []\n{more}\n"
        )
    };
    let ciba = "grant_types = [\"urn:openid:params:grant-type:ciba\"]\n";
    for (more, member) in [
        (ciba.to_owned(), "backchannel_token_delivery_mode"),
        (
            format!("{ciba}backchannel_token_delivery_mode = \"push\""),
            "backchannel_token_delivery_mode",
        ),
        (
            format!("{ciba}backchannel_token_delivery_mode = \"\""),
            "backchannel_token_delivery_mode",
        ),
        (
            "grant_types = []\nbackchannel_token_delivery_mode = \"poll\"".to_owned(),
            "backchannel_token_delivery_mode",
        ),
        (
            format!("{ciba}backchannel_token_delivery_mode = \"ping\""),
            "backchannel_client_notification_endpoint",
        ),
        (
            format!(
                "{ciba}backchannel_token_delivery_mode = \"ping\"\n\
                 backchannel_client_notification_endpoint = \"http://c.example/ping\""
            ),
            "backchannel_client_notification_endpoint",
        ),
        (
            format!(
                "{ciba}backchannel_token_delivery_mode = \"ping\"\n\
                 backchannel_client_notification_endpoint = \"https://127.0.0.1/ping\""
            ),
            "backchannel_client_notification_endpoint",
        ),
        (
            format!(
                "{ciba}backchannel_token_delivery_mode = \"poll\"\n\
                 backchannel_client_notification_endpoint = \"https://c.example/ping\""
            ),
            "backchannel_client_notification_endpoint",
        ),
        (
            format!("{ciba}backchannel_token_delivery_mode = \"poll\"\nbackchannel_user_code_parameter = true"),
            "backchannel_user_code_parameter",
        ),
        (
            format!(
                "{ciba}backchannel_token_delivery_mode = \"poll\"\n\
                 backchannel_authentication_request_signing_alg = \"ES256\""
            ),
            "backchannel_authentication_request_signing_alg",
        ),
    ] {
        let error = app.try_apply(&client(&more)).await.unwrap_err().to_string();
        assert!(error.contains(&format!("client[0].{member}")), "{more}: {error}");
    }
    let public = "[[client]]\nclient_id = \"p\"\ntoken_endpoint_auth_method = \"none\"\nscope = \"openid\"\n\
                  response_types = []\nbackchannel_token_delivery_mode = \"poll\"\n";
    let error = app.try_apply(&format!("{public}{ciba}")).await.unwrap_err().to_string();
    assert!(error.contains("client[0].grant_types"), "{error}");
    app.apply(&client(&format!("{ciba}backchannel_token_delivery_mode = \"poll\"")))
        .await;
}

#[tokio::test]
async fn strangers_register_it_only_where_the_operator_lets_them() {
    let metadata = json!({
        "client_name": "Stranger",
        "redirect_uris": [],
        "grant_types": ["urn:openid:params:grant-type:ciba"],
        "response_types": [],
        "backchannel_token_delivery_mode": "poll",
        "scope": "openid",
    });
    let register = async |app: &TestApp| app.call(Method::POST, "/connect/register").json(&metadata).send().await;
    let closed = TestApp::start().await;
    register(&closed)
        .await
        .expect_oauth_error(400, "invalid_client_metadata");
    let open = TestApp::builder()
        .config(|config| {
            config
                .registration
                .grant_types
                .push("urn:openid:params:grant-type:ciba".into());
        })
        .start()
        .await;
    let registered = register(&open).await.expect_json(201);
    assert_eq!(registered["backchannel_token_delivery_mode"], "poll");
    let (id, secret) = (&registered["client_id"], &registered["client_secret"]);
    let reply = open
        .call(Method::POST, BACKCHANNEL)
        .basic(id.as_str().unwrap(), secret.as_str().unwrap())
        .form(&fields([("scope", "openid"), ("login_hint", ALICE.name)]))
        .send()
        .await;
    reply.expect_json(200);
    let page = open.signed_in(ALICE).await.look_at_request().await;
    assert!(page.has("Stranger"));
}

// Ping mode.

const SHOP: TestClient = TestClient {
    id: "shop",
    secret: Some("shop-secret-9f9f"),
    redirect_uri: "",
    scope: "openid",
};
const PING: &str = "https://shop.example/ping?tenant=1";
const TOKEN: &str = "8d67dc78-7faa-4d41-aabd-67707b374255";
const SHOPS: &str = r#"
[[client]]
client_id = "shop"
client_secret = "shop-secret-9f9f"
client_name = "Shop"
grant_types = ["urn:openid:params:grant-type:ciba"]
response_types = []
scope = "openid"
auto_approve = true
backchannel_token_delivery_mode = "ping"
backchannel_client_notification_endpoint = "https://shop.example/ping?tenant=1"
"#;

async fn shop() -> TestApp {
    let app = TestApp::builder().document(SHOPS).start().await;
    app.hosts.put(PING, reply(204, "text/plain", ""));
    app
}

fn telling(user: crate::app::TestUser) -> Fields {
    asking(SHOP, user).with("client_notification_token", TOKEN)
}

/// Alice decides about the request of that id.
async fn decide(app: &TestApp, id: &str, button: &str) {
    let mut browser = app.signed_in(ALICE).await;
    let page = browser
        .open(&app.address_of(id))
        .await
        .expect_page("id=\"approve-allow\"");
    browser.press(&page, button).await.expect_page("id=\"approve-done\"");
}

/// What the shop was told: the requests that were decided on.
fn pinged(app: &TestApp) -> Vec<String> {
    let told = app.hosts.asked().into_iter().map(|asked| {
        assert_eq!((asked.purpose, asked.url.as_str()), (Purpose::CibaNotification, PING));
        assert_eq!(asked.bearer.as_ref().unwrap().expose_secret(), TOKEN);
        // CIBA §10.2: JSON with one member.
        let body = match &asked.method {
            OutboundMethod::Post(OutboundBody::Json(body)) => body.as_object(),
            OutboundMethod::Post(OutboundBody::Form(_)) | OutboundMethod::Get => None,
        };
        let body = body.unwrap();
        assert_eq!(body.len(), 1);
        body["auth_req_id"].as_str().unwrap().to_owned()
    });
    told.collect()
}

#[tokio::test]
async fn a_client_is_told_of_a_yes_and_fetches_its_tokens() {
    let app = shop().await;
    let id = app.asked(SHOP, &telling(ALICE)).await;
    assert_eq!(app.waiting_pings().await, 0, "there is nothing to tell yet");
    decide(&app, &id, ALLOW).await;
    app.pings_settle(1, 0).await;
    assert_eq!(pinged(&app), std::slice::from_ref(&id));
    app.ask_after(SHOP, &id).await.expect_tokens();
    let modes = &app.metadata().await["backchannel_token_delivery_modes_supported"];
    assert_eq!(*modes, json!(["poll", "ping"]));
}

#[tokio::test]
async fn a_client_is_told_of_a_no_as_well() {
    let app = shop().await;
    let id = app.asked(SHOP, &telling(ALICE)).await;
    decide(&app, &id, DENY).await;
    app.pings_settle(1, 0).await;
    assert_eq!(pinged(&app), std::slice::from_ref(&id));
    app.ask_after(SHOP, &id).await.expect_oauth_error(400, "access_denied");
}

#[tokio::test]
async fn who_is_told_may_poll_and_keeps_its_pace() {
    let app = shop().await;
    let id = app.asked(SHOP, &telling(ALICE)).await;
    app.ask_after(SHOP, &id)
        .await
        .expect_oauth_error(400, "authorization_pending");
    app.ask_after(SHOP, &id).await.expect_oauth_error(400, "slow_down");
    app.hosts.fail(PING, OutboundError::Unreachable);
    decide(&app, &id, ALLOW).await;
    app.ask_after(SHOP, &id).await.expect_tokens();
    app.pings_settle(1, 0).await;
    app.advance(60);
    assert_eq!(app.send_due_pings().await, 0, "it knows already");
}

#[tokio::test]
async fn who_is_to_be_told_says_by_which_token() {
    let app = shop().await;
    app.ask(SHOP, &asking(SHOP, ALICE))
        .await
        .expect_oauth_error(400, "invalid_request");
    for token in ["", "a b", "\u{e9}", &"a".repeat(1025)] {
        app.ask(SHOP, &telling(ALICE).with("client_notification_token", token))
            .await
            .expect_oauth_error(400, "invalid_request");
    }
    app.ask(
        SHOP,
        &telling(ALICE).with("client_notification_token", &"a".repeat(1024)),
    )
    .await
    .expect_json(200);
}

#[tokio::test]
async fn what_fails_is_repeated_until_it_gets_through() {
    let app = shop().await;
    for (number, trouble) in [
        Err(OutboundError::Unreachable),
        Err(OutboundError::Refused(Refusal::Redirect)),
        Ok(reply(500, "text/html", "oh")),
        Ok(reply(404, "text/html", "oh")),
        Ok(reply(429, "text/html", "oh")),
    ]
    .into_iter()
    .enumerate()
    {
        let before = app.hosts.asked().len();
        match trouble {
            Err(error) => app.hosts.fail(PING, error),
            Ok(reply) => app.hosts.put(PING, reply),
        }
        let id = app.asked(SHOP, &telling(ALICE)).await;
        decide(&app, &id, DENY).await;
        app.pings_settle(before + 1, 1).await;
        assert_eq!(app.send_due_pings().await, 0, "not at once");
        app.advance(1);
        assert_eq!(app.send_due_pings().await, 1);
        app.hosts.put(PING, reply(200, "text/html", "thanks"));
        app.advance(2);
        assert_eq!(app.send_due_pings().await, 1);
        assert_eq!(app.waiting_pings().await, 0, "{number}");
        assert_eq!(pinged(&app)[before..], [id.clone(), id.clone(), id], "{number}");
    }
}

#[tokio::test]
async fn who_refuses_the_news_is_not_told_again() {
    let app = shop().await;
    for (number, status) in [(1, 400), (2, 401)] {
        app.hosts.put(PING, reply(status, "text/html", "no"));
        let id = app.asked(SHOP, &telling(ALICE)).await;
        decide(&app, &id, ALLOW).await;
        app.pings_settle(number, 0).await;
        app.ask_after(SHOP, &id).await.expect_tokens();
    }
}

#[tokio::test]
async fn nobody_is_told_of_what_has_expired_or_of_somebody_who_is_gone() {
    let app = shop().await;
    app.hosts.fail(PING, OutboundError::Timeout);
    let id = app.asked(SHOP, &telling(ALICE)).await;
    decide(&app, &id, ALLOW).await;
    app.pings_settle(1, 1).await;
    app.advance(300);
    assert_eq!((app.send_due_pings().await, app.waiting_pings().await), (0, 0));
    let id = app.asked(SHOP, &telling(ALICE)).await;
    decide(&app, &id, ALLOW).await;
    app.pings_settle(2, 1).await;
    app.set_user_status(ALICE, UserStatus::Locked).await;
    app.advance(5);
    assert_eq!((app.send_due_pings().await, app.waiting_pings().await), (0, 0));
}

#[tokio::test]
async fn the_address_that_counts_is_the_one_that_is_registered_when_the_news_goes_out() {
    let app = shop().await;
    app.hosts.fail(PING, OutboundError::Unreachable);
    let id = app.asked(SHOP, &telling(ALICE)).await;
    decide(&app, &id, ALLOW).await;
    app.pings_settle(1, 1).await;
    // It would rather poll now.
    let polling = SHOPS
        .replace("\"ping\"", "\"poll\"")
        .replace("backchannel_client_notification_endpoint", "#");
    app.apply(&polling).await;
    app.advance(5);
    assert_eq!(app.send_due_pings().await, 1);
    assert_eq!((app.hosts.asked().len(), app.waiting_pings().await), (1, 0));
    app.ask_after(SHOP, &id).await.expect_tokens();
}

#[tokio::test]
async fn a_disabled_client_is_told_nothing() {
    let app = shop().await;
    app.hosts.fail(PING, OutboundError::Unreachable);
    let id = app.asked(SHOP, &telling(ALICE)).await;
    decide(&app, &id, ALLOW).await;
    app.pings_settle(1, 1).await;
    app.set_client_status(SHOP, ClientStatus::Disabled).await;
    assert_eq!(app.waiting_pings().await, 0, "the news went with the request");
    app.advance(5);
    assert_eq!(app.send_due_pings().await, 0);
    assert_eq!(app.hosts.asked().len(), 1);
}

#[tokio::test]
async fn a_client_of_a_disabled_tenant_is_told_nothing() {
    let app = shop().await;
    app.hosts.fail(PING, OutboundError::Unreachable);
    let id = app.asked(SHOP, &telling(ALICE)).await;
    decide(&app, &id, ALLOW).await;
    app.pings_settle(1, 1).await;
    app.apply("[[tenant]]\nid = \"default\"\nname = \"Default\"\nenabled = false\n")
        .await;
    app.advance(5);
    assert_eq!(app.send_due_pings().await, 1);
    assert_eq!((app.hosts.asked().len(), app.waiting_pings().await), (1, 0));
}

#[tokio::test]
async fn what_one_node_could_not_tell_another_tells_also_after_a_restart() {
    for database in [TestDatabase::sqlite(), TestDatabase::postgres().await] {
        let app = TestApp::builder().database(&database.url).document(SHOPS).start().await;
        let id = app.asked(SHOP, &telling(ALICE)).await;
        decide(&app, &id, ALLOW).await;
        app.pings_settle(1, 1).await;
        app.hosts.put(PING, reply(204, "text/plain", ""));
        let after = app.another_node().await;
        drop(app);
        after.advance(1);
        assert_eq!(after.send_due_pings().await, 1);
        assert_eq!(
            (pinged(&after), after.waiting_pings().await),
            (vec![id.clone(), id.clone()], 0)
        );
        after.ask_after(SHOP, &id).await.expect_tokens();
    }
}

#[tokio::test]
async fn a_receiver_on_the_network_gets_one_post_and_no_redirect_is_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let document = SHOPS.replace("https://shop.example/ping?tenant=1", &format!("http://{address}/ping"));
    let app = TestApp::builder()
        .config(|config| config.outbound.allow_hosts.push(address.to_string()))
        .real_outbound()
        .document(&document)
        .start()
        .await;
    let answer = async |listener: &TcpListener, head: &str| {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            let mut part = [0; 4096];
            let read = socket.read(&mut part).await.unwrap();
            assert_ne!(read, 0, "the request broke off");
            request.extend_from_slice(&part[..read]);
        }
        let reply = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        socket.write_all(reply.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    };
    let id = app.asked(SHOP, &telling(ALICE)).await;
    let elsewhere = format!("302 Found\r\nlocation: http://{address}/elsewhere");
    let (request, ()) = tokio::join!(answer(&listener, &elsewhere), decide(&app, &id, ALLOW));
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /ping HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains(&format!("authorization: bearer {TOKEN}")), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(body).unwrap(),
        json!({"auth_req_id": id})
    );
    assert_eq!(app.waiting_pings().await, 1, "a redirect is no answer");
    // The next is the repetition, not the redirect's address.
    app.advance(60);
    let repeat = async {
        // The pause is counted from when the first attempt was written down, which may be after the clock went on.
        loop {
            match app.send_due_pings().await {
                0 => app.advance(1),
                sent => return sent,
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let (request, sent) = tokio::join!(answer(&listener, "204 No Content"), repeat);
    assert!(request.starts_with("POST /ping HTTP/1.1\r\n"), "{request}");
    assert_eq!((sent, app.waiting_pings().await), (1, 0));
}

#[tokio::test]
async fn a_stranger_cannot_join_a_sector_by_naming_none_of_its_addresses() {
    let app = TestApp::builder()
        .config(|config| {
            config
                .registration
                .grant_types
                .push("urn:openid:params:grant-type:ciba".into());
        })
        .start()
        .await;
    let sector = "https://shop.example/sector.json";
    let register = async |endpoint: &str| {
        let metadata = json!({
            "redirect_uris": [],
            "grant_types": ["urn:openid:params:grant-type:ciba"],
            "response_types": [],
            "subject_type": "pairwise",
            "sector_identifier_uri": sector,
            "scope": "openid",
            "backchannel_token_delivery_mode": "ping",
            "backchannel_client_notification_endpoint": endpoint,
        });
        app.call(Method::POST, "/connect/register").json(&metadata).send().await
    };
    app.hosts.put_json(sector, &json!([PING]));
    register("https://evil.example/ping")
        .await
        .expect_oauth_error(400, "invalid_client_metadata");
    register(PING).await.expect_json(201);
}
