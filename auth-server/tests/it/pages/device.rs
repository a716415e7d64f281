//! `/device`: bringing a device's code.

use http::Method;

use crate::app::{ALICE, BOB, KIOSK, TV, TestApp};

#[tokio::test]
async fn the_address_fills_the_code_in_and_the_person_still_presses_the_button() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let mut browser = app.signed_in(ALICE).await;
    let lower = codes.user_code.to_lowercase();
    let page = browser
        .open(&format!("/device?user_code={lower}"))
        .await
        .expect_html(200);
    assert!(page.has(&format!("value=\"{}\"", codes.user_code)), "{}", page.text);
    let page = browser
        .press(&page, "device-submit")
        .await
        .expect_page("id=\"device-allow\"");
    assert!(page.has(&format!(
        "<code id=\"device-code\"><bdi>{}</bdi></code>",
        codes.user_code
    )));
    assert!(page.has("Living-room TV"));
    assert!(page.has("Chat with AI models"));
}

#[tokio::test]
async fn the_code_comes_before_the_sign_in_and_the_question_after_it() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let mut browser = app.browser();
    let login = browser.type_code(&codes.user_code).await;
    let page = login.clone().expect_page("id=\"login-submit\"");
    assert!(page.has("Living-room TV"));
    let page = browser.sign_in(&login, ALICE).await.expect_page("id=\"device-allow\"");
    let done = browser
        .press(&page, "device-allow")
        .await
        .expect_page("id=\"device-done\"");
    assert!(done.has("Your device is connected"));
}

#[tokio::test]
async fn an_application_that_needs_no_consent_elsewhere_asks_here_each_time() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    for _ in 0..2 {
        let codes = app.device(KIOSK).await;
        let page = browser.bring(ALICE, &codes).await;
        browser.press(&page, "device-allow").await.expect_html(200);
        app.poll(KIOSK, &codes).await.expect_tokens();
    }
}

#[tokio::test]
async fn whoever_cancels_the_sign_in_has_decided_nothing() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let mut browser = app.browser();
    let login = browser.type_code(&codes.user_code).await.expect_html(200);
    browser
        .press(&login, "login-cancel")
        .await
        .expect_page("id=\"user-code\"");
    app.poll(TV, &codes)
        .await
        .expect_oauth_error(400, "authorization_pending");
}

#[tokio::test]
async fn somebody_else_may_take_over() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let mut browser = app.signed_in(BOB).await;
    let page = browser.bring(BOB, &codes).await;
    let login = browser.press(&page, "switch").await;
    let page = browser.sign_in(&login, ALICE).await.expect_page("id=\"device-allow\"");
    browser.press(&page, "device-allow").await.expect_html(200);
    let tokens = app.poll(TV, &codes).await.expect_tokens();
    assert_eq!(app.claims(&tokens.access_token).await["sub"], ALICE.sub);
}

#[tokio::test]
async fn a_wrong_code_is_named_and_stays_in_the_field() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    for typed in ["WDJB-MJHT", "nonsense", "<script>alert(1)</script>"] {
        let page = browser.type_code(typed).await.expect_html(400);
        assert!(page.has("id=\"device-problem\""), "{typed}");
        assert!(!page.has("<script"));
    }
    let page = browser.type_code("wdjbmjht").await.expect_html(400);
    assert!(page.has("value=\"WDJB-MJHT\""));
}

#[tokio::test]
async fn whoever_guesses_is_blocked_from_right_codes_too_until_the_window_ends() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    for _ in 0..10 {
        browser.type_code("WDJB-MJHT").await.expect_html(400);
    }
    let codes = app.device(TV).await;
    let page = browser.type_code(&codes.user_code).await.expect_html(429);
    assert!(page.has("Too many attempts. Please wait 10 minutes"), "{}", page.text);
    // Another browser at the same address is no way round.
    app.browser().type_code(&codes.user_code).await.expect_html(429);
    app.advance(600);
    let codes = app.device(TV).await;
    browser
        .type_code(&codes.user_code)
        .await
        .expect_page("id=\"login-submit\"");
}

#[tokio::test]
async fn right_codes_do_not_count() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    for _ in 0..12 {
        let codes = app.device(TV).await;
        browser.bring(ALICE, &codes).await;
    }
}

#[tokio::test]
async fn a_form_without_the_browsers_token_decides_nothing() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.bring(ALICE, &codes).await;
    let form = page.form("device-allow").fields;
    for forged in [form.clone().without("csrf"), form.clone().with("csrf", "x")] {
        browser.post("/device/consent", &forged).await.expect_html(400);
    }
    let code = browser
        .open("/device")
        .await
        .expect_html(200)
        .form("device-submit")
        .fields;
    let forged = code.without("csrf").with("user_code", &codes.user_code);
    browser.post("/device", &forged).await.expect_html(400);
    // Nor can another browser, with all that the form holds.
    app.signed_in(BOB)
        .await
        .post("/device/consent", &form)
        .await
        .expect_html(400);
    app.poll(TV, &codes)
        .await
        .expect_oauth_error(400, "authorization_pending");
    browser.press(&page, "device-allow").await.expect_html(200);
    app.poll(TV, &codes).await.expect_tokens();
}

#[tokio::test]
async fn a_form_without_an_action_or_with_another_decides_nothing() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let mut browser = app.signed_in(ALICE).await;
    let form = browser.bring(ALICE, &codes).await.form("device-allow").fields;
    for odd in [form.clone().without("action"), form.clone().with("action", "maybe")] {
        browser
            .post("/device/consent", &odd)
            .await
            .expect_error_page(400, "invalid_request");
    }
    app.poll(TV, &codes)
        .await
        .expect_oauth_error(400, "authorization_pending");
}

#[tokio::test]
async fn a_decision_counts_once() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let mut first = app.signed_in(ALICE).await;
    let mut second = app.signed_in(BOB).await;
    let (ours, theirs) = (first.bring(ALICE, &codes).await, second.bring(BOB, &codes).await);
    first.press(&ours, "device-allow").await.expect_html(200);
    for button in ["device-deny", "device-allow"] {
        let page = second.press(&theirs, button).await.expect_html(400);
        assert!(page.has("This code has expired or has been used already."));
    }
    first.press(&ours, "device-deny").await.expect_html(400);
    let tokens = app.poll(TV, &codes).await.expect_tokens();
    assert_eq!(app.claims(&tokens.access_token).await["sub"], ALICE.sub);
}

#[tokio::test]
async fn whoever_has_signed_out_meanwhile_is_asked_to_sign_in() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.bring(ALICE, &codes).await;
    // Twelve hours are a session; the code has to be newer.
    app.advance(12 * 3600);
    browser.press(&page, "device-allow").await.expect_html(400);
    app.poll(TV, &codes).await.expect_oauth_error(400, "expired_token");
    let codes = app.device(TV).await;
    browser
        .type_code(&codes.user_code)
        .await
        .expect_page("id=\"login-submit\"");
}

#[tokio::test]
async fn pages_of_devices_cannot_be_framed_and_lead_nowhere_else() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let mut browser = app.signed_in(ALICE).await;
    browser.bring(ALICE, &codes).await;
    for path in ["/device", "/device/done?outcome=denied"] {
        let reply = browser.get(path).await;
        let policy = reply.header("content-security-policy").unwrap().to_owned();
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(
            policy.contains("form-action 'self'") && !policy.contains("https:"),
            "{path}: {policy}"
        );
        reply.expect_html(200);
    }
    browser.get("/device/done?outcome=x").await.expect_status(303);
}

#[tokio::test]
async fn a_device_that_cannot_draw_gets_a_picture_of_its_address() {
    let app = TestApp::start().await;
    let codes = app.device(TV).await;
    let reply = app
        .get(&format!("/device/qr?user_code={}", codes.user_code))
        .await
        .expect_status(200);
    assert_eq!(reply.header("content-type"), Some("image/svg+xml"));
    assert!(reply.text().contains("<svg"));
    assert!(reply.cookies().is_empty());
    // It is made of the code alone, so that it does not tell which codes wait.
    app.get("/device/qr?user_code=WDJB-MJHT").await.expect_status(200);
    for bad in ["", "?user_code=", "?user_code=x", "?user_code=<svg>"] {
        app.call(Method::GET, &format!("/device/qr{}", bad.replace(['<', '>'], "%3C")))
            .header("accept", "text/html")
            .send()
            .await
            .expect_error_page(400, "invalid_request");
    }
}
