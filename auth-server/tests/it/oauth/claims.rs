//! The `claims` parameter (OpenID Connect Core §5.5).

use serde_json::{Value, json};

use crate::app::{ALICE, Ask, BOB, OWN, STATE, TestApp, TestClient, WEB};

/// A client that may see all that scopes open, and asks for little.
const MODEST: TestClient = TestClient { scope: "openid", ..WEB };

fn asking(client: TestClient, claims: &Value) -> Ask {
    client.ask().with("claims", &claims.to_string())
}

#[tokio::test]
async fn claims_that_no_scope_opens_are_asked_for_in_words() {
    let app = TestApp::start().await;
    let claims = json!({"userinfo": {"birthdate": null, "name": {"essential": true}}, "id_token": {"email": null}});
    let mut browser = app.signed_in(ALICE).await;
    let page = browser
        .authorize(&asking(MODEST, &claims))
        .await
        .expect_page("id=\"consent-allow\"");
    assert!(page.has("birthday · e-mail address · full name"), "{}", page.text);
    assert!(!page.has("1990-05-04") && !page.has("alice@example.org"));
    browser.press(&page, "consent-allow").await.expect_code();
    // Agreed to once, and shown where it can be taken back.
    browser.get(&asking(MODEST, &claims).path()).await.expect_code();
    let account = browser.open("/account").await.expect_html(200);
    assert!(account.has("See parts of your profile"), "{}", account.text);
}

#[tokio::test]
async fn claims_that_a_scope_opens_need_no_line_of_their_own() {
    let app = TestApp::start().await;
    let claims = json!({"userinfo": {"name": null}, "id_token": {"nickname": null}});
    let mut browser = app.signed_in(ALICE).await;
    let page = browser
        .authorize(&asking(WEB, &claims))
        .await
        .expect_page("id=\"consent-allow\"");
    assert!(!page.has("See parts of your profile"));
}

#[tokio::test]
async fn one_more_claim_asks_again_and_prompt_none_does_not_go_on_without() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let asked = |claim: &str| asking(MODEST, &json!({"userinfo": {claim: null}}));
    browser.consented_code(ALICE, &asked("name")).await;
    browser.get(&asked("name").path()).await.expect_code();
    browser
        .get(&asked("gender").with("prompt", "none").path())
        .await
        .expect_error_answer("consent_required");
    let page = browser
        .authorize(&asked("gender"))
        .await
        .expect_page("id=\"consent-allow\"");
    assert!(page.has("gender") && !page.has("full name"));
    browser.press(&page, "consent-allow").await.expect_code();
    // What was agreed to before stays.
    browser
        .get(&asked("name").with("prompt", "none").path())
        .await
        .expect_code();
    app.advance(1);
    let again = asked("name").with("prompt", "consent");
    browser.authorize(&again).await.expect_page("id=\"consent-allow\"");
}

#[tokio::test]
async fn a_claim_outside_the_clients_registration_is_neither_asked_for_nor_an_error() {
    let app = TestApp::start().await;
    // The client is registered for profile, e-mail and the admin API, not for phone numbers.
    let claims = json!({"userinfo": {"phone_number": {"essential": true}, "address": null, "shoe_size": null}});
    let tokens = app.tokens_for(ALICE, &asking(OWN, &claims)).await;
    let answered = app.userinfo(&tokens).await.expect_json(200);
    for name in ["phone_number", "address", "shoe_size"] {
        assert!(answered.get(name).is_none(), "{answered}");
    }
}

#[tokio::test]
async fn a_parameter_that_is_not_as_specified_is_refused() {
    let app = TestApp::start().await;
    let long = json!({"x": "y".repeat(8200)}).to_string();
    for claims in [
        "name",
        "[]",
        "{",
        "null",
        r#"{"userinfo": []}"#,
        r#"{"userinfo": {"name": 1}}"#,
        r#"{"userinfo": {"name": {"essential": "true"}}}"#,
        r#"{"id_token": {"acr": {"values": "1"}}}"#,
        r#"{"id_token": {"sub": {"value": 1}}}"#,
        &"[".repeat(300),
        &long,
    ] {
        let answer = app
            .get(&WEB.ask().with("claims", claims).path())
            .await
            .expect_error_answer("invalid_request");
        assert!(answer.params["error_description"].contains("claims"), "{answer:?}");
    }
    for claims in [
        "{}",
        r#"{"userinfo": null, "unknown": 7}"#,
        r#"{"userinfo": {"name#ja-Kana-JP": null}}"#,
    ] {
        app.get(&WEB.ask().with("claims", claims).path())
            .await
            .expect_redirect_to("/login");
    }
}

#[tokio::test]
async fn an_essential_acr_that_no_sign_in_meets_is_a_failed_sign_in() {
    let app = TestApp::start().await;
    let acr = |demand: Value| asking(OWN, &json!({"id_token": {"acr": demand}}));
    for demand in [
        json!({"essential": true, "value": "urn:mace:incommon:iap:silver"}),
        json!({"essential": true, "values": ["2", "3"]}),
    ] {
        app.get(&acr(demand).path())
            .await
            .expect_error_answer("unmet_authentication_requirements");
    }
    let mut browser = app.signed_in(ALICE).await;
    for demand in [
        json!({"essential": true, "values": ["2", "1"]}),
        json!({"essential": true}),
        json!({"values": ["2"]}),
        Value::Null,
    ] {
        let code = browser.consented_code(ALICE, &acr(demand)).await;
        let tokens = app.exchange(&code).await.expect_tokens();
        assert_eq!(app.claims(&tokens.id_token).await["acr"], "1");
    }
}

#[tokio::test]
async fn a_sub_with_a_value_is_the_only_person_who_will_do() {
    let app = TestApp::start().await;
    let only = |sub: &str| asking(OWN, &json!({"id_token": {"sub": {"value": sub}}}));
    let mut browser = app.signed_in(ALICE).await;
    browser.get(&only(ALICE.sub).path()).await.expect_code();
    browser
        .get(&only(BOB.sub).with("prompt", "none").path())
        .await
        .expect_error_answer("login_required");
    // Somebody else may sign in, and it has to be Bob.
    let login = browser.authorize(&only(BOB.sub)).await;
    login.clone().expect_page("id=\"login-submit\"");
    app.advance(1);
    browser
        .sign_in(&login, ALICE)
        .await
        .expect_error_answer("login_required");
    let login = browser.authorize(&only(BOB.sub)).await;
    app.advance(1);
    browser.sign_in(&login, BOB).await.expect_code();
    let either =
        json!({"userinfo": {"sub": {"values": [ALICE.sub, BOB.sub]}}, "id_token": {"sub": {"value": BOB.sub}}});
    browser.get(&asking(OWN, &either).path()).await.expect_code();
    let neither = json!({"userinfo": {"sub": {"value": ALICE.sub}}, "id_token": {"sub": {"value": BOB.sub}}});
    browser
        .get(&asking(OWN, &neither).path())
        .await
        .expect_error_answer("login_required");
}

#[tokio::test]
async fn without_openid_nothing_is_asked_for() {
    let app = TestApp::start().await;
    let claims = json!({"userinfo": {"email": null}, "id_token": {"sub": {"value": "nobody"}}});
    let ask = asking(WEB, &claims).with("scope", "ai:chat");
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.authorize(&ask).await.expect_page("id=\"consent-allow\"");
    assert!(!page.has("See parts of your profile"));
    browser.press(&page, "consent-allow").await.expect_code();
}

#[tokio::test]
async fn a_pushed_request_carries_its_claims() {
    let app = TestApp::start().await;
    let claims = json!({"userinfo": {"birthdate": null}});
    let form = asking(MODEST, &claims).fields.without("client_id");
    let body = app.as_client(MODEST, "/oauth2/par", &form).await.expect_json(201);
    let path = format!(
        "/oauth2/authorize?{}",
        crate::app::fields([
            ("client_id", MODEST.id),
            ("request_uri", body["request_uri"].as_str().unwrap())
        ])
        .encode()
    );
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.open(&path).await.expect_page("id=\"consent-allow\"");
    assert!(page.has("birthday"));
    let answer = browser.press(&page, "consent-allow").await.expect_answer();
    assert_eq!(answer.params["state"], STATE);
}

/// SECURITY.md: a restriction must not be lost when tokens are renewed.
#[tokio::test]
async fn a_client_that_lost_a_scope_gets_the_claims_of_it_no_more() {
    const CURIOUS: TestClient = TestClient {
        id: "curious",
        secret: Some("curious-secret-5c5c"),
        redirect_uri: "https://curious.example/cb",
        scope: "openid offline_access",
    };
    let document = |scope: &str| {
        format!(
            r#"
[[client]]
client_id = "curious"
client_secret = "curious-secret-5c5c"
redirect_uris = ["https://curious.example/cb"]
grant_types = ["authorization_code", "refresh_token"]
scope = "{scope}"
"#
        )
    };
    let app = TestApp::builder()
        .document(&document("openid offline_access email"))
        .start()
        .await;
    let claims = json!({"userinfo": {"email": null}, "id_token": {"email": null}});
    let first = app.tokens_for(ALICE, &asking(CURIOUS, &claims)).await;
    assert_eq!(app.claims(&first.id_token).await["email"], "alice@example.org");
    assert_eq!(
        app.userinfo(&first).await.expect_json(200)["email"],
        "alice@example.org"
    );
    app.apply(&document("openid offline_access")).await;
    app.sync().await;
    // The token that is still good tells it no longer, nor do new ones.
    assert_eq!(app.userinfo(&first).await.expect_json(200).get("email"), None);
    let renewed = app.refresh(CURIOUS, &first.refresh_token).await.expect_tokens();
    assert_eq!(app.claims(&renewed.id_token).await.get("email"), None);
    assert_eq!(app.claims(&renewed.access_token).await.get("userinfo_claims"), None);
}
