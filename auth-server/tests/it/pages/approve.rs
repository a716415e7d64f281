//! `/approve`: answering what applications ask from elsewhere.

use crate::app::{ALICE, BANK, BOB, DESK, Fields, TestApp, asking, fields};

const ALLOW: &str = "approve-allow";
const PENDING: &str = "authorization_pending";

#[tokio::test]
async fn the_page_tells_who_asks_for_what_and_the_message_to_compare() {
    let app = TestApp::start().await;
    let form = asking(BANK, ALICE).with("binding_message", "Pay 12.50 <b>EUR</b>");
    app.asked(BANK, &form).await;
    app.advance(65);
    let mut browser = app.signed_in(ALICE).await;
    let account = browser.open("/account").await.expect_html(200);
    assert!(account.has("Corner Bank") && account.has("id=\"asking-heading\""));
    assert!(account.has("Pay 12.50 &#60;b&#62;EUR"), "{}", account.text);
    assert!(account.has("1 minute ago"));
    let page = browser.look_at_request().await;
    assert!(page.has("Corner Bank") && page.has("Chat with AI models"));
    assert!(page.has("<code id=\"binding-message\"><bdi>Pay 12.50 &#60;b&#62;EUR"));
    assert!(page.has("1 minute ago"));
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_asked_to_and_comes_back() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    let address = app.address_of(&id);
    let mut browser = app.browser();
    let login = browser.open(&address).await;
    assert!(login.clone().expect_page("id=\"login-submit\"").has("Corner Bank"));
    let page = browser.sign_in(&login, ALICE).await.expect_page("id=\"approve-allow\"");
    let done = browser.press(&page, ALLOW).await.expect_page("id=\"approve-done\"");
    assert!(done.has("You have confirmed it"));
    app.ask_after(BANK, &id).await.expect_tokens();
}

#[tokio::test]
async fn whoever_cancels_the_sign_in_has_decided_nothing() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    let address = app.address_of(&id);
    let mut browser = app.browser();
    let login = browser.open(&address).await.expect_html(200);
    browser.press(&login, "login-cancel").await.expect_html(200);
    app.ask_after(BANK, &id).await.expect_oauth_error(400, PENDING);
}

#[tokio::test]
async fn nobody_sees_or_answers_somebody_elses_request() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    let address = app.address_of(&id);
    let mut bob = app.signed_in(BOB).await;
    assert!(bob.requests().await.is_empty());
    let page = bob.open(&address).await.expect_page("id=\"sessions-heading\"");
    assert!(page.has("expired or was answered already") && !page.has("Corner Bank"));
    for action in ["allow", "deny"] {
        let page = bob.get("/logout").await.expect_html(200);
        let csrf = page.form("logout-confirm").fields.get("csrf").unwrap().to_owned();
        let request = address.split('=').nth(1).unwrap();
        let form = fields([("csrf", csrf.as_str()), ("request", request), ("action", action)]);
        let location = bob.post("/approve", &form).await.expect_redirect();
        assert_eq!(location, "/account?done=request-gone");
    }
    app.ask_after(BANK, &id).await.expect_oauth_error(400, PENDING);
}

#[tokio::test]
async fn somebody_else_may_make_room_for_the_person_who_is_asked() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    let address = app.address_of(&id);
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.open(&address).await.expect_html(200);
    let login = browser.press(&page, "switch").await;
    let account = browser
        .sign_in(&login, BOB)
        .await
        .expect_page("id=\"sessions-heading\"");
    assert!(account.has("expired or was answered already"));
    app.ask_after(BANK, &id).await.expect_oauth_error(400, PENDING);
}

#[tokio::test]
async fn an_answer_needs_the_token_of_the_form() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.look_at_request().await;
    for forge in [
        |fields: Fields| fields.without("csrf"),
        |fields: Fields| fields.with("csrf", "guess"),
    ] {
        let reply = browser.press_with(&page, ALLOW, forge).await;
        assert!(reply.expect_html(200).has("This form had expired"));
    }
    let mut framed = browser.clone().sending("sec-fetch-site", "cross-site");
    let reply = framed.press(&page, ALLOW).await;
    assert!(reply.expect_html(200).has("This form had expired"));
    app.ask_after(BANK, &id).await.expect_oauth_error(400, PENDING);
    let unknown = |fields: Fields| fields.with("action", "perhaps");
    browser
        .press_with(&page, ALLOW, unknown)
        .await
        .expect_error_page(400, "invalid_request");
}

#[tokio::test]
async fn an_answer_counts_once_and_in_time() {
    let app = TestApp::start().await;
    let id = app.asked(BANK, &asking(BANK, ALICE)).await;
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.look_at_request().await;
    browser
        .press(&page, "approve-deny")
        .await
        .expect_page("id=\"approve-done\"");
    let late = browser.press(&page, ALLOW).await.expect_html(200);
    assert!(late.has("expired or was answered already"));
    app.ask_after(BANK, &id).await.expect_oauth_error(400, "access_denied");
    app.asked(BANK, &asking(BANK, ALICE)).await;
    let page = browser.look_at_request().await;
    app.advance(300);
    let late = browser.press(&page, ALLOW).await.expect_html(200);
    assert!(late.has("expired or was answered already"));
}

#[tokio::test]
async fn an_application_that_needs_no_consent_elsewhere_asks_here_each_time() {
    let app = TestApp::start().await;
    for _ in 0..2 {
        let id = app.asked(DESK, &asking(DESK, ALICE)).await;
        app.ask_after(DESK, &id).await.expect_oauth_error(400, PENDING);
        app.answer_request(ALICE, ALLOW).await;
        app.ask_after(DESK, &id).await.expect_tokens();
    }
}

#[tokio::test]
async fn a_client_that_wants_fresh_sign_ins_gets_one_before_a_yes() {
    let app = TestApp::start().await;
    app.apply(
        "[[client]]\nclient_id = \"desk\"\nclient_secret = \"desk-secret-6d6d\"\nscope = \"openid\"\nresponse_types = []\n\
         grant_types = [\"urn:openid:params:grant-type:ciba\"]\nbackchannel_token_delivery_mode = \"poll\"\n\
         default_max_age = 60\n",
    )
    .await;
    let mut browser = app.signed_in(ALICE).await;
    app.advance(60);
    app.asked(DESK, &asking(DESK, ALICE)).await;
    let page = browser.look_at_request().await;
    app.advance(1);
    // Between the look and the yes the sign-in has become too old; the same person proves it once more, and is asked again.
    let login = browser.press(&page, ALLOW).await;
    assert!(login.clone().expect_page("id=\"login-submit\"").has("id=\"username\""));
    let page = browser.sign_in(&login, ALICE).await.expect_page("id=\"approve-allow\"");
    browser.press(&page, ALLOW).await.expect_page("id=\"approve-done\"");
    // A no needs nothing of the kind.
    let id = app.asked(DESK, &asking(DESK, ALICE)).await;
    let page = browser.look_at_request().await;
    app.advance(100);
    browser
        .press(&page, "approve-deny")
        .await
        .expect_page("id=\"approve-done\"");
    app.ask_after(DESK, &id).await.expect_oauth_error(400, "access_denied");
}

#[tokio::test]
async fn the_time_of_a_fresh_sign_in_is_what_the_tokens_tell() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    let signed_in = app.now();
    app.advance(30);
    let id = app.asked(DESK, &asking(DESK, ALICE)).await;
    let page = browser.look_at_request().await;
    browser.press(&page, ALLOW).await.expect_html(200);
    let tokens = app.ask_after(DESK, &id).await.expect_tokens();
    assert_eq!(app.claims(&tokens.id_token).await["auth_time"], signed_in);
}

#[tokio::test]
async fn addresses_that_name_no_request_lead_to_the_account_page() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    for address in [
        "/approve",
        "/approve?request=",
        "/approve/done",
        "/approve/done?outcome=perhaps",
    ] {
        browser.get(address).await.expect_redirect_to("/account");
    }
    for request in ["x", "AAAA", &"A".repeat(43)] {
        let reply = browser.get(&format!("/approve?request={request}")).await;
        assert_eq!(reply.expect_redirect(), "/account?done=request-gone", "{request}");
    }
    // A stranger learns nothing by trying.
    let unknown = format!("/login?request={}", "A".repeat(43));
    app.browser().open(&unknown).await.expect_html(400);
}
