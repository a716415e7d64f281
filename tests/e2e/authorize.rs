//! The authorization endpoint and the code flow, as an application and a person see them.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Method, header::LOCATION};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::{
    browser::{Browser, Landing},
    oauth::{App, Asked, Reply, answer_of, claims, header},
    world::{Engine, World, on_both_engines, unix_now},
};

const WEB_SCOPE: &str = "openid profile email phone address offline_access ai:chat ai:embeddings";

fn trusted(world: &World) -> App {
    App::confidential(
        world,
        "trusted",
        "http://127.0.0.1:8091/callback",
        "openid profile offline_access ai:chat",
    )
}

/// The error that a redirect brought back, with what must stand beside it.
#[track_caller]
fn redirected_error(landing: Landing, asked: &Asked, issuer: &str) -> String {
    let answer = answer_of(&landing.away());
    assert!(!answer.contains_key("code"));
    assert_eq!(answer.get("state"), Some(&asked.state));
    assert_eq!(answer.get("iss").map(String::as_str), Some(issuer), "RFC 9207 §2");
    answer["error"].clone()
}

/// An error page: no redirect, an id that scripts can find, nothing that may be framed.
#[track_caller]
fn error_page(landing: Landing, naming: &str) {
    let page = landing.page();
    assert_eq!(page.reply.status, 400);
    assert!(page.reply.header("content-type").starts_with("text/html"));
    assert!(!page.reply.headers.contains_key(LOCATION));
    assert!(!page.reply.body.contains("http-equiv"), "no redirect by meta tag");
    assert!(
        page.text_of("oauth-error").contains(naming),
        "{}",
        page.text_of("oauth-error")
    );
    assert_eq!(page.reply.header("x-frame-options"), "DENY");
    assert!(
        page.reply
            .header("content-security-policy")
            .contains("frame-ancestors 'none'")
    );
}

on_both_engines! {
    async fn a_person_signs_in_consents_and_the_app_gets_every_kind_of_token(world: &World) {
        let app = world.web().scope(WEB_SCOPE);
        let browser = Browser::new(world);
        let before = unix_now();
        let granted = app.code_from(&browser, "alice").await;
        let tokens = app.redeem(&granted).await.tokens();

        let head = header(&tokens.access);
        assert_eq!((head["typ"].as_str(), head["alg"].as_str()), (Some("at+jwt"), Some("ES256")), "RFC 9068 §2.1");
        let access = tokens.access_claims();
        assert_eq!(access["iss"], world.issuer);
        assert_eq!(access["client_id"], "web");
        assert!(access["aud"].as_array().unwrap().iter().any(|aud| *aud == world.gateway), "{access}");
        assert!(access["iat"].as_i64().unwrap() >= before);
        assert!(access["exp"].is_i64() && access["jti"].is_string() && access["sub"].is_string());
        let scope: BTreeSet<_> = access["scope"].as_str().unwrap().split(' ').collect();
        assert_eq!(scope, WEB_SCOPE.split(' ').collect());

        let head = header(tokens.id.as_deref().unwrap());
        assert_eq!(head["alg"], "RS256");
        let id = tokens.id_claims();
        assert_eq!((id["iss"].as_str(), id["aud"].as_str()), (Some(world.issuer.as_str()), Some("web")));
        assert_eq!(id["nonce"], granted.nonce);
        assert_eq!(id["sub"], access["sub"]);
        // OpenID Connect Core §3.1.3.6: the left half of the access token's hash.
        assert_eq!(id["at_hash"], URL_SAFE_NO_PAD.encode(&Sha256::digest(&tokens.access)[..16]));
        assert!((before..=unix_now()).contains(&id["auth_time"].as_i64().unwrap()));
        assert!(id["sid"].is_string() && id["acr"].as_str().is_some_and(|acr| !acr.is_empty()), "{id}");
        assert_eq!(id["amr"], serde_json::json!(["pwd"]));
        assert_eq!(id["sid"], access["sid"]);

        let userinfo = world.http().userinfo(&tokens.access).await.ok();
        assert_eq!(userinfo["sub"], id["sub"]);
        for claim in [
            "name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website", "gender",
            "birthdate", "zoneinfo", "locale", "email", "phone_number",
        ] {
            assert!(userinfo[claim].as_str().is_some_and(|value| !value.is_empty()), "{claim}: {userinfo}");
        }
        assert!(userinfo["updated_at"].is_i64() && userinfo["email_verified"] == true && userinfo["phone_number_verified"] == true);
        for part in ["formatted", "street_address", "locality", "region", "postal_code", "country"] {
            assert!(userinfo["address"][part].is_string(), "{part}: {userinfo}");
        }
    }

    async fn consent_is_remembered_for_the_client_and_the_scopes_and_asked_again_for_more(world: &World) {
        let browser = Browser::new(world);
        let app = App::confidential(world, "other", "http://127.0.0.1:8090/callback", "openid profile");
        let landing = browser.open(&app.ask(&[]).url).await.page();
        let consent = browser.submit(&landing.login_form("erin", crate::world::PASSWORD)).await.page();
        let consented = consent.has("consent-allow");
        if consented {
            answer_of(&browser.submit(&consent.click("consent-allow")).await.away());
        }
        assert!(consented, "a third-party client asks the first time");
        assert!(answer_of(&browser.open(&app.ask(&[("prompt", "none")]).url).await.away()).contains_key("code"));
        let more = app.clone().scope("openid profile ai:chat").ask(&[]);
        assert!(browser.open(&more.url).await.page().has("consent-allow"), "a new scope asks again");
        let quiet = app.clone().scope("openid profile ai:chat").ask(&[("prompt", "none")]);
        let error = redirected_error(browser.open(&quiet.url).await, &quiet, &world.issuer);
        assert_eq!(error, "consent_required");
        assert!(browser.open(&app.ask(&[("prompt", "consent")]).url).await.page().has("consent-allow"));
        // Leaves the world as it was for the other engine's twin and for repeated runs.
        let account = browser.open("/account").await.page();
        browser.submit(&account.click_value("remove-app")).await;
        assert!(browser.open(&app.ask(&[]).url).await.page().has("consent-allow"), "a removed consent is asked for again");
    }
}

#[tokio::test]
async fn cancelling_the_sign_in_or_denying_consent_tells_the_app_access_denied() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    let asked = world.web().ask(&[("prompt", "consent")]);
    let login = browser.open(&asked.url).await.page();
    assert_eq!(login.url.path(), "/login", "each step has its own URL");
    let landing = browser.submit(&login.click("login-cancel")).await;
    assert_eq!(redirected_error(landing, &asked, &world.issuer), "access_denied");

    let asked = world.web().ask(&[("prompt", "consent")]);
    let login = browser.open(&asked.url).await.page();
    let consent = browser
        .submit(&login.login_form("frank", crate::world::PASSWORD))
        .await
        .page();
    assert!(consent.url.path().starts_with("/consent"), "each step has its own URL");
    let landing = browser.submit(&consent.click("consent-deny")).await;
    assert_eq!(redirected_error(landing, &asked, &world.issuer), "access_denied");
}

#[tokio::test]
async fn requests_that_an_app_got_wrong_go_back_to_it_as_errors() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    for (client, changes, error) in [
        (
            world.web(),
            vec![("code_challenge", ""), ("code_challenge_method", "")],
            "invalid_request",
        ),
        (
            world.spa(),
            vec![("code_challenge", ""), ("code_challenge_method", "")],
            "invalid_request",
        ),
        (world.web(), vec![("code_challenge_method", "plain")], "invalid_request"),
        // RFC 7636 §4.3: without a method the challenge is a plain one.
        (world.web(), vec![("code_challenge_method", "")], "invalid_request"),
        (world.web(), vec![("code_challenge_method", "S512")], "invalid_request"),
        (world.web(), vec![("code_challenge", "too-short")], "invalid_request"),
        (world.web(), vec![("scope", "openid admin")], "invalid_scope"),
        (world.web(), vec![("scope", "openid \"quoted\"")], "invalid_scope"),
        (
            world.web(),
            vec![("response_type", "token")],
            "unsupported_response_type",
        ),
        (
            world.web(),
            vec![("response_type", "code id_token")],
            "unsupported_response_type",
        ),
        (world.web(), vec![("response_type", "")], "invalid_request"),
        (world.web(), vec![("prompt", "none login")], "invalid_request"),
        (world.web(), vec![("max_age", "-1")], "invalid_request"),
        (world.web(), vec![("max_age", "soon")], "invalid_request"),
        (world.web(), vec![("prompt", "none")], "login_required"),
        (
            world.web(),
            vec![("request", "eyJhbGciOiJub25lIn0.e30.")],
            "invalid_request_object",
        ),
        (
            world.web(),
            vec![("request_uri", "https://app.example/request")],
            "invalid_request_uri",
        ),
    ] {
        let asked = client.ask(&changes);
        let landing = browser.open(&asked.url).await;
        assert_eq!(redirected_error(landing, &asked, &world.issuer), error, "{changes:?}");
    }
    let asked = world.web().ask(&[("response_mode", "fragment_of_imagination")]);
    assert_eq!(
        redirected_error(browser.open(&asked.url).await, &asked, &world.issuer),
        "invalid_request"
    );
}

#[tokio::test]
async fn a_bad_client_or_redirect_uri_ends_on_a_page_and_never_redirects() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    for (changes, naming) in [
        (vec![("client_id", "nobody")], "client_id"),
        (vec![("client_id", "")], "client_id"),
        (vec![("redirect_uri", "https://evil.example/callback")], "redirect_uri"),
        (vec![("redirect_uri", "http://127.0.0.1:8081/callback")], "redirect_uri"),
        (vec![("redirect_uri", "javascript:alert(1)")], "redirect_uri"),
        (
            vec![("redirect_uri", "http://127.0.0.1:8080/callback#fragment")],
            "redirect_uri",
        ),
    ] {
        error_page(browser.open(&world.web().ask(&changes).url).await, naming);
    }
}

#[tokio::test]
async fn repeated_parameters_are_refused() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    for name in [
        "client_id",
        "redirect_uri",
        "state",
        "scope",
        "response_type",
        "code_challenge",
        "nonce",
        "prompt",
    ] {
        let mut url: Url = world.web().ask(&[("prompt", "login")]).url.parse().unwrap();
        let value = url
            .query_pairs()
            .find(|(found, _)| found == name)
            .unwrap()
            .1
            .into_owned();
        url.query_pairs_mut().append_pair(name, &value);
        match browser.open(url.as_str()).await {
            Landing::Page(page) => assert_eq!((page.reply.status, page.has("oauth-error")), (400, true), "{name}"),
            Landing::Away(back) => assert_eq!(answer_of(&back)["error"], "invalid_request", "{name}"),
        }
    }
}

#[tokio::test]
async fn unknown_parameters_are_ignored_and_the_standard_hints_are_taken() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    let app = trusted(world);
    let asked = app.ask(&[
        ("extra", "foobar"),
        ("display", "popup"),
        ("ui_locales", "se zh-CN"),
        ("claims_locales", "se"),
        ("acr_values", "1 2"),
        ("login_hint", "bob"),
        ("claims", "{\"userinfo\":{\"name\":{\"essential\":true}}}"),
    ]);
    let page = browser.open(&asked.url).await.page();
    assert_eq!(
        page.find("username").unwrap().attribute("value"),
        "bob",
        "login_hint fills the name"
    );
    assert!(
        page.reply.body.contains("<html lang=\"zh"),
        "the first known of ui_locales"
    );
    assert!(answer_of(&browser.go_through(&asked.url, "bob").await).contains_key("code"));
}

#[tokio::test]
async fn the_request_may_be_posted() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    browser.sign_in("bob").await;
    let asked: Url = trusted(world).ask(&[]).url.parse().unwrap();
    let fields: Vec<_> = asked
        .query_pairs()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let endpoint = Url::parse(&format!("{}/oauth2/authorize", world.issuer)).unwrap();
    let mut reply = browser.send(Method::POST, endpoint.clone(), &fields, &[]).await;
    if reply.header("location").starts_with(&world.issuer) || reply.header("location").starts_with('/') {
        let next = endpoint.join(reply.header("location")).unwrap();
        reply = browser.send(Method::GET, next, &[], &[]).await;
    }
    assert!(matches!(reply.status, 302 | 303), "{} {}", reply.status, reply.body);
    assert!(answer_of(&reply.header("location").parse().unwrap()).contains_key("code"));
}

#[tokio::test]
async fn form_post_answers_by_a_page_whose_form_posts_itself() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    browser.sign_in("bob").await;
    let app = trusted(world);
    let asked = app.ask(&[("response_mode", "form_post")]);
    let page = browser.open(&asked.url).await.page();
    assert_eq!(page.reply.status, 200);
    assert!(page.reply.header("cache-control").contains("no-store"));
    let buttons: Vec<_> = page
        .elements()
        .iter()
        .filter(|element| element.tag == "button")
        .collect();
    assert_eq!(buttons.len(), 1, "works without scripts");
    let form = page.press(buttons[0]);
    assert_eq!(
        (form.method.as_str(), form.action.as_str()),
        ("POST", "http://127.0.0.1:8091/callback")
    );
    let names: BTreeSet<_> = form.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        BTreeSet::from(["code", "iss", "state"]),
        "nothing but the response"
    );
    assert_eq!(form.get("state"), Some(asked.state.as_str()));
    let granted = crate::oauth::Granted {
        code: form.get("code").unwrap().to_owned(),
        verifier: asked.verifier.clone(),
        nonce: asked.nonce.clone(),
    };
    app.redeem(&granted).await.tokens();

    // Errors take the same way.
    let asked = app.ask(&[("response_mode", "form_post"), ("scope", "openid admin")]);
    let page = browser.open(&asked.url).await.page();
    let button = page.elements().iter().find(|element| element.tag == "button").unwrap();
    assert_eq!(page.press(button).get("error"), Some("invalid_scope"));
}

#[tokio::test]
async fn prompt_and_max_age_decide_about_a_second_sign_in() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    let app = trusted(world);
    let first = app.tokens_from(&browser, "bob").await.id_claims();

    let quiet = app.ask(&[("prompt", "none"), ("max_age", "10000")]);
    let code = answer_of(&browser.open(&quiet.url).await.away())["code"].clone();
    let granted = crate::oauth::Granted {
        code,
        verifier: quiet.verifier,
        nonce: quiet.nonce,
    };
    let silent = app.redeem(&granted).await.tokens().id_claims();
    assert_eq!(
        (&silent["auth_time"], &silent["sub"]),
        (&first["auth_time"], &first["sub"])
    );

    let hint = app.tokens_from(&browser, "bob").await.id.unwrap();
    let hinted = app.ask(&[("prompt", "none"), ("id_token_hint", &hint)]);
    assert!(answer_of(&browser.open(&hinted.url).await.away()).contains_key("code"));

    // The second sign-in has a later time; seconds are all a token tells.
    while unix_now() <= first["auth_time"].as_i64().unwrap() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let again = app.ask(&[("prompt", "login")]);
    assert!(browser.open(&again.url).await.page().has("login-submit"));
    let back = browser.go_through(&again.url, "bob").await;
    let granted = crate::oauth::Granted {
        code: answer_of(&back)["code"].clone(),
        verifier: again.verifier,
        nonce: again.nonce,
    };
    let second = app.redeem(&granted).await.tokens().id_claims();
    assert!(second["auth_time"].as_i64() > first["auth_time"].as_i64());

    while unix_now() <= second["auth_time"].as_i64().unwrap() + 1 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let aged = app.ask(&[("max_age", "1")]);
    assert!(browser.open(&aged.url).await.page().has("login-submit"));
    let zero = app.ask(&[("max_age", "1"), ("prompt", "none")]);
    assert_eq!(
        redirected_error(browser.open(&zero.url).await, &zero, &world.issuer),
        "login_required"
    );
}

#[tokio::test]
async fn an_id_token_hint_of_somebody_else_does_not_answer_for_the_person_signed_in() {
    let world = World::shared(Engine::Sqlite).await;
    let app = trusted(world);
    let hint = app.tokens_of(world, "carol").await.id.unwrap();
    let browser = Browser::new(world);
    browser.sign_in("bob").await;
    let asked = app.ask(&[("prompt", "none"), ("id_token_hint", &hint)]);
    let error = redirected_error(browser.open(&asked.url).await, &asked, &world.issuer);
    assert!(
        matches!(error.as_str(), "login_required" | "account_selection_required"),
        "{error}"
    );
}

#[tokio::test]
async fn a_loopback_redirect_is_free_in_its_port_and_in_nothing_else() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    browser.sign_in("bob").await;
    let app = |uri: &str| App::public(world, "native", uri, "openid");
    for good in [
        "http://127.0.0.1/native",
        "http://127.0.0.1:49152/native",
        "http://[::1]:50000/native",
        "com.example.app:/callback",
        "https://app.example/Callback",
    ] {
        let back = browser.open(&app(good).ask(&[]).url).await.away();
        assert!(
            back.as_str().starts_with(good) && answer_of(&back).contains_key("code"),
            "{back}"
        );
    }
    for bad in [
        "http://127.0.0.1:49152/native/",
        "http://127.0.0.1:49152/native?x=1",
        "http://localhost:49152/native",
        "https://127.0.0.1:49152/native",
        "http://127.0.0.2:49152/native",
        "https://app.example:8443/Callback",
    ] {
        error_page(browser.open(&app(bad).ask(&[]).url).await, "redirect_uri");
    }
}

#[tokio::test]
async fn a_registered_query_stays_and_the_answer_is_added_to_it() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    browser.sign_in("bob").await;
    let app = App::confidential(world, "trusted", "http://127.0.0.1:8091/callback?tenant=1", "openid");
    let answer = answer_of(&browser.open(&app.ask(&[]).url).await.away());
    assert_eq!(answer["tenant"], "1");
    assert!(answer.contains_key("code"));
}

#[tokio::test]
async fn a_client_excused_from_pkce_may_go_without_it_and_may_choose_es256() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    browser.sign_in("bob").await;
    let relaxed = App::confidential(world, "relaxed", "http://127.0.0.1:8092/callback", "openid");
    let asked = relaxed.ask(&[("code_challenge", ""), ("code_challenge_method", "")]);
    let code = answer_of(&browser.open(&asked.url).await.away())["code"].clone();
    let granted = crate::oauth::Granted {
        code,
        verifier: String::new(),
        nonce: asked.nonce,
    };
    relaxed.redeem_with(&granted, &[("code_verifier", "")]).await.tokens();

    let modern = App::confidential(world, "modern", "http://127.0.0.1:8094/callback", "openid");
    let tokens = modern.tokens_from(&browser, "bob").await;
    assert_eq!(header(tokens.id.as_deref().unwrap())["alg"], "ES256");
}

#[tokio::test]
async fn the_metadata_documents_say_what_is_true() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let request = http.request(Method::GET, "/.well-known/openid-configuration");
    let openid = Reply::read(request.header("origin", "https://app.example").send().await.unwrap()).await;
    assert_eq!(openid.header("access-control-allow-origin"), "*");
    let openid = openid.ok();
    let oauth = http.get("/.well-known/oauth-authorization-server").await.ok();
    for document in [&openid, &oauth] {
        assert_eq!(document["issuer"], world.issuer);
        assert_eq!(document["authorization_response_iss_parameter_supported"], true);
        assert_eq!(
            document["code_challenge_methods_supported"],
            serde_json::json!(["S256"])
        );
        assert_eq!(document["response_types_supported"], serde_json::json!(["code"]));
        let grants = document["grant_types_supported"].as_array().unwrap();
        for grant in ["authorization_code", "refresh_token", "client_credentials", "password"] {
            assert!(grants.iter().any(|found| found == grant), "{grant}");
        }
        assert!(!grants.iter().any(|grant| grant == "implicit"));
        for (name, path) in [
            ("authorization_endpoint", "/oauth2/authorize"),
            ("token_endpoint", "/oauth2/token"),
            ("jwks_uri", "/oauth2/jwks"),
            ("introspection_endpoint", "/oauth2/introspect"),
            ("revocation_endpoint", "/oauth2/revoke"),
        ] {
            assert_eq!(document[name], format!("{}{path}", world.issuer));
        }
    }
    assert_eq!(openid["userinfo_endpoint"], format!("{}/userinfo", world.issuer));
    assert_eq!(
        openid["end_session_endpoint"],
        format!("{}/connect/logout", world.issuer)
    );
    assert!(
        openid["id_token_signing_alg_values_supported"]
            .as_array()
            .unwrap()
            .iter()
            .any(|alg| alg == "RS256")
    );
    assert!(
        !openid["id_token_signing_alg_values_supported"]
            .to_string()
            .contains("none")
    );
    assert_eq!(
        openid["subject_types_supported"],
        serde_json::json!(["public", "pairwise"])
    );
    assert!(
        openid["scopes_supported"]
            .as_array()
            .unwrap()
            .iter()
            .any(|scope| scope == "openid")
    );
    for name in [
        "request_parameter_supported",
        "request_uri_parameter_supported",
        "require_request_uri_registration",
    ] {
        assert_eq!(openid[name], true, "{name}");
    }
    assert_eq!(http.get("/.well-known/nothing-here").await.status, 404);
}

#[tokio::test]
async fn the_jwks_has_distinct_public_keys_and_verifies_what_is_issued() {
    let world = World::shared(Engine::Sqlite).await;
    let jwks = world.http().get("/oauth2/jwks").await.json();
    let keys = jwks["keys"].as_array().unwrap();
    let kids: BTreeSet<_> = keys.iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(kids.len(), keys.len());
    for key in keys {
        assert_eq!(key["use"], "sig");
        assert!(
            matches!(
                (key["kty"].as_str(), key["alg"].as_str()),
                (Some("RSA"), Some("RS256" | "PS256")) | (Some("EC"), Some("ES256")) | (Some("OKP"), Some("EdDSA"))
            ),
            "{key}"
        );
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert_eq!(key[private], Value::Null, "a private part");
        }
    }
    let tokens = trusted(world).tokens_of(world, "bob").await;
    for token in [&tokens.access, tokens.id.as_ref().unwrap()] {
        let head = header(token);
        let key = keys.iter().find(|key| key["kid"] == head["kid"]).unwrap();
        let jwk = josekit::jwk::Jwk::from_bytes(key.to_string()).unwrap();
        let verified = if head["alg"] == "RS256" {
            josekit::jwt::decode_with_verifier(token, &josekit::jws::RS256.verifier_from_jwk(&jwk).unwrap())
        } else {
            josekit::jwt::decode_with_verifier(token, &josekit::jws::ES256.verifier_from_jwk(&jwk).unwrap())
        };
        assert_eq!(verified.unwrap().0.subject(), claims(token)["sub"].as_str());
    }
}
