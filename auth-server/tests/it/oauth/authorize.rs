//! `/oauth2/authorize`: parameters, prompts, response modes (OpenID Connect Core §3.1.2).

use http::Method;

use crate::app::{ALICE, BOB, ELSEWHERE, ISSUER, NONCE, OTHER_ALICE, OWN, SPA, STATE, TestApp, WEB};

#[tokio::test]
async fn a_person_who_signs_in_and_allows_comes_back_with_code_state_and_iss() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.get(&WEB.ask().path()).await.expect_redirect_to("/login");
    let login = browser.authorize(&WEB.ask()).await;
    let consent = browser.sign_in(&login, ALICE).await.expect_page("id=\"consent-allow\"");
    let answer = browser.press(&consent, "consent-allow").await.expect_answer();
    assert_eq!(answer.uri, WEB.redirect_uri);
    let names: Vec<&str> = answer.params.keys().map(String::as_str).collect();
    assert_eq!(names, ["code", "iss", "state"]);
    assert_eq!(answer.params["state"], STATE);
    assert_eq!(answer.params["iss"], ISSUER);
}

#[tokio::test]
async fn who_is_signed_in_and_has_agreed_gets_a_code_without_a_page() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &WEB.ask()).await;
    browser.get(&WEB.ask().path()).await.expect_code();
}

#[tokio::test]
async fn a_request_without_a_client_or_with_an_unknown_one_is_a_page() {
    let app = TestApp::start().await;
    let sentence = app
        .get(&WEB.ask().without("client_id").path())
        .await
        .expect_error_page(400, "invalid_request");
    assert!(sentence.contains("client_id"), "{sentence}");
    let unknown = WEB.ask().with("client_id", "<script>alert(1)</script>");
    let sentence = app.get(&unknown.path()).await.expect_error_page(400, "invalid_client");
    assert!(sentence.contains("client_id"), "{sentence}");
}

#[tokio::test]
async fn what_is_wrong_is_told_by_redirect_with_state_and_iss() {
    let app = TestApp::start().await;
    let browser_asks = WEB.ask();
    let long = "n".repeat(4097);
    for (name, value, error, names) in [
        ("response_type", "token", "unsupported_response_type", "response_type"),
        (
            "response_type",
            "id_token",
            "unsupported_response_type",
            "response_type",
        ),
        (
            "response_type",
            "code id_token",
            "unsupported_response_type",
            "response_type",
        ),
        ("response_type", "none", "unsupported_response_type", "response_type"),
        ("response_mode", "fragment", "invalid_request", "response_mode"),
        ("response_mode", "web_message", "invalid_request", "response_mode"),
        ("scope", "openid reports:read", "invalid_scope", "scope"),
        ("scope", "admin", "invalid_scope", "scope"),
        ("scope", "open\"id", "invalid_scope", "scope"),
        ("scope", "openid\u{e9}", "invalid_scope", "scope"),
        ("prompt", "maybe", "invalid_request", "prompt"),
        ("prompt", "none login", "invalid_request", "prompt"),
        ("max_age", "soon", "invalid_request", "max_age"),
        ("max_age", "-1", "invalid_request", "max_age"),
        ("display", "hologram", "invalid_request", "display"),
        ("nonce", &long, "invalid_request", "nonce"),
        ("id_token_hint", "not.a.token", "invalid_request", "id_token_hint"),
        (
            "request",
            "eyJhbGciOiJub25lIn0.e30.",
            "invalid_request_object",
            "request",
        ),
        (
            "request_uri",
            "https://web.example/request.jwt",
            "invalid_request_uri",
            "request_uri",
        ),
        ("registration", "{}", "registration_not_supported", "registration"),
    ] {
        let answer = app
            .get(&browser_asks.clone().with(name, value).path())
            .await
            .expect_error_answer(error);
        assert_eq!(answer.uri, WEB.redirect_uri);
        let description = &answer.params["error_description"];
        assert!(description.contains(names), "{name}={value}: {description}");
    }
}

#[tokio::test]
async fn a_missing_response_type_is_told_by_redirect() {
    let app = TestApp::start().await;
    app.get(&WEB.ask().without("response_type").path())
        .await
        .expect_error_answer("invalid_request");
    app.get(&WEB.ask().with("response_type", "").path())
        .await
        .expect_error_answer("invalid_request");
}

#[tokio::test]
async fn a_parameter_that_is_sent_twice_is_refused_on_a_page() {
    let app = TestApp::start().await;
    for name in ["client_id", "redirect_uri", "state", "scope", "nonce", "unknown"] {
        let ask = WEB.ask().with(name, "a").and(name, "a");
        let sentence = app.get(&ask.path()).await.expect_error_page(400, "invalid_request");
        assert!(sentence.contains(name), "{sentence}");
    }
}

#[tokio::test]
async fn broken_utf8_and_too_many_parameters_are_refused_on_a_page() {
    let app = TestApp::start().await;
    let path = format!("{}&x=%ff%fe", WEB.ask().path());
    app.get(&path).await.expect_error_page(400, "invalid_request");
    app.get(&WEB.ask().with("state", "a\u{0}b").path())
        .await
        .expect_error_page(400, "invalid_request");
    let many = (0..130).map(|n| format!("&p{n}=1")).collect::<Vec<_>>().concat();
    app.get(&format!("{}{many}", WEB.ask().path()))
        .await
        .expect_error_page(400, "invalid_request");
}

#[tokio::test]
async fn unknown_parameters_are_ignored_and_empty_ones_count_as_absent() {
    let app = TestApp::start().await;
    let ask = WEB
        .ask()
        .with("extra", "foobar")
        .with("prompt", "")
        .with("max_age", "")
        .with("display", "");
    app.browser().answer(ALICE, &ask).await.params.get("code").unwrap();
}

#[tokio::test]
async fn parameters_that_only_help_are_accepted() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &WEB.ask()).await;
    for (name, value) in [
        ("display", "page"),
        ("display", "popup"),
        ("display", "touch"),
        ("ui_locales", "se"),
        ("ui_locales", "zh-Hans-CN en"),
        ("claims_locales", "se"),
        ("login_hint", "alice"),
        ("acr_values", "1 2"),
        ("acr_values", "urn:mace:incommon:iap:silver"),
        ("claims", r#"{"userinfo":{"name":{"essential":true}}}"#),
        ("response_mode", "query"),
        ("max_age", "10000"),
    ] {
        browser.get(&WEB.ask().with(name, value).path()).await.expect_code();
    }
}

#[tokio::test]
async fn the_order_of_parameters_and_scopes_does_not_matter() {
    let app = TestApp::start().await;
    let ask = WEB
        .ask()
        .with("scope", "ai:chat  profile openid")
        .with("client_id", "web");
    let tokens = app.tokens_for(ALICE, &ask).await;
    assert_eq!(
        app.claims(&tokens.access_token).await["scope"],
        "ai:chat openid profile"
    );
}

#[tokio::test]
async fn a_request_without_a_nonce_or_state_succeeds_and_none_is_invented() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let ask = WEB.ask().without("nonce").without("state");
    let code = browser.consented_code(ALICE, &ask).await;
    assert!(!browser.answer(ALICE, &ask).await.params.contains_key("state"));
    let tokens = app.exchange(&code).await.expect_tokens();
    assert!(!app.claims(&tokens.id_token).await.contains_key("nonce"));
}

#[tokio::test]
async fn the_nonce_goes_into_the_id_token_as_it_is() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    assert_eq!(app.claims(&tokens.id_token).await["nonce"], NONCE);
    let nonce = "n".repeat(4096);
    let tokens = app.tokens_for(ALICE, &WEB.ask().with("nonce", &nonce)).await;
    assert_eq!(app.claims(&tokens.id_token).await["nonce"], nonce.as_str());
}

#[tokio::test]
async fn state_is_echoed_to_the_byte_whatever_it_holds() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &OWN.ask()).await;
    let long = "s".repeat(2000);
    for state in [
        "a b+c%20d&e=f#g",
        "\u{202e}\u{1}\u{7f}\u{feff}",
        "line\r\nSet-Cookie: evil=1\r\n\r\n<script>",
        "\"'<>&;",
        "日本語 🦀 e\u{301}",
        "%00%0d%0a",
        "\u{fffd}",
        &long,
    ] {
        let reply = browser.get(&OWN.ask().with("state", state).path()).await;
        assert_eq!(reply.expect_answer().params["state"], state);
        let reply = browser
            .get(&OWN.ask().with("state", state).with("scope", "nonsense").path())
            .await;
        assert_eq!(reply.expect_answer().params["state"], state);
    }
}

#[tokio::test]
async fn a_state_that_is_kept_over_the_pages_is_echoed_to_the_byte() {
    let app = TestApp::start().await;
    let state = "line\r\n日本語 🦀 \u{202e}\"'<>&;%00";
    let answer = app.browser().answer(ALICE, &WEB.ask().with("state", state)).await;
    assert_eq!(answer.params["state"], state);
}

#[tokio::test]
async fn a_line_break_in_any_parameter_splits_no_header() {
    let app = TestApp::start().await;
    for name in [
        "state",
        "scope",
        "response_type",
        "response_mode",
        "prompt",
        "login_hint",
        "ui_locales",
        "nonce",
    ] {
        let reply = app.get(&WEB.ask().with(name, "x\r\nset-cookie: evil=1").path()).await;
        assert!(
            reply.cookies().iter().all(|cookie| !cookie.contains("evil")),
            "{name}: {reply:?}"
        );
        let location = reply.header("location").unwrap_or_default();
        assert!(!location.contains(['\r', '\n']), "{name}: {location}");
    }
}

#[tokio::test]
async fn what_is_kept_over_the_pages_is_refused_beyond_its_limit_and_never_cut() {
    let app = TestApp::start().await;
    let (longest, longer) = ("s".repeat(4096), "s".repeat(4097));
    let answer = app.browser().answer(ALICE, &WEB.ask().with("state", &longest)).await;
    assert_eq!(answer.params["state"], longest);
    for name in ["state", "login_hint", "ui_locales"] {
        let sentence = app
            .get(&WEB.ask().with(name, &longer).path())
            .await
            .expect_error_page(400, "invalid_request");
        assert!(sentence.contains(name), "{sentence}");
    }
}

#[tokio::test]
async fn a_redirect_uri_with_a_query_keeps_it() {
    let app = TestApp::start().await;
    let answer = app.browser().answer(ALICE, &crate::app::LEGACY.ask()).await;
    assert_eq!(answer.uri, "https://legacy.example/cb");
    assert_eq!(answer.params["tenant"], "1");
    assert!(answer.params.contains_key("code"));
}

#[tokio::test]
async fn no_cross_origin_script_may_read_the_authorization_endpoint() {
    let app = TestApp::start().await;
    let reply = app
        .call(Method::GET, &WEB.ask().path())
        .header("origin", "https://evil.example")
        .send()
        .await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn methods_other_than_get_and_post_are_refused() {
    let app = TestApp::start().await;
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let reply = app
            .call(method.clone(), "/oauth2/authorize")
            .header("accept", "text/html")
            .send()
            .await;
        reply.expect_error_page(405, "invalid_request");
        app.call(method, "/oauth2/authorize")
            .send()
            .await
            .expect_oauth_error(405, "invalid_request");
    }
}

// Prompts.

#[tokio::test]
async fn prompt_none_without_a_session_is_login_required() {
    let app = TestApp::start().await;
    app.get(&WEB.ask().with("prompt", "none").path())
        .await
        .expect_error_answer("login_required");
}

#[tokio::test]
async fn prompt_none_without_consent_is_consent_required() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    browser
        .get(&WEB.ask().with("prompt", "none").path())
        .await
        .expect_error_answer("consent_required");
}

#[tokio::test]
async fn prompt_none_succeeds_in_silence_with_the_same_sub_and_auth_time() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    let first = app.exchange(&code).await.expect_tokens();
    app.advance(100);
    let code = browser.consented_code(ALICE, &WEB.ask().with("prompt", "none")).await;
    let second = app.exchange(&code).await.expect_tokens();
    let (first, second) = (app.claims(&first.id_token).await, app.claims(&second.id_token).await);
    assert_eq!(
        (&first["sub"], &first["auth_time"]),
        (&second["sub"], &second["auth_time"])
    );
    assert_ne!(first["iat"], second["iat"]);
}

#[tokio::test]
async fn prompt_login_asks_for_the_password_again_and_moves_auth_time() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    let first = app.exchange(&code).await.expect_tokens();
    app.advance(5);
    let ask = WEB.ask().with("prompt", "login");
    let login = browser.authorize(&ask).await;
    login.clone().expect_page("id=\"login-submit\"");
    let code = browser.sign_in(&login, ALICE).await.expect_code();
    let code = crate::app::Code {
        value: code,
        client: WEB,
        redirect_uri: WEB.redirect_uri.into(),
        has_challenge: true,
    };
    let second = app.exchange(&code).await.expect_tokens();
    let (first, second) = (app.claims(&first.id_token).await, app.claims(&second.id_token).await);
    assert_eq!(
        second["auth_time"].as_i64().unwrap(),
        first["auth_time"].as_i64().unwrap() + 5
    );
    assert_eq!(first["sid"], second["sid"], "the same session, proved again");
}

#[tokio::test]
async fn prompt_login_cannot_be_passed_by_going_on_with_the_old_session() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &WEB.ask()).await;
    app.advance(5);
    let login = browser
        .get(&WEB.ask().with("prompt", "login").path())
        .await
        .expect_redirect();
    let consent = login.replace("/login", "/consent");
    browser.get(&consent).await.expect_redirect_to("/login");
}

#[tokio::test]
async fn prompt_select_account_shows_the_sign_in_page() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &WEB.ask()).await;
    app.advance(5);
    browser
        .authorize(&WEB.ask().with("prompt", "select_account"))
        .await
        .expect_page("id=\"login-submit\"");
}

#[tokio::test]
async fn prompt_consent_asks_again_for_what_was_agreed_to() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &WEB.ask()).await;
    app.advance(5);
    let ask = WEB.ask().with("prompt", "consent");
    let page = browser.authorize(&ask).await.expect_page("id=\"consent-allow\"");
    browser.press(&page, "consent-allow").await.expect_code();
}

#[tokio::test]
async fn prompt_login_and_consent_shows_both_pages() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &WEB.ask()).await;
    app.advance(5);
    let login = browser.authorize(&WEB.ask().with("prompt", "login consent")).await;
    app.advance(5);
    let consent = browser.sign_in(&login, ALICE).await.expect_page("id=\"consent-allow\"");
    app.advance(5);
    browser.press(&consent, "consent-allow").await.expect_code();
}

// max_age.

#[tokio::test]
async fn max_age_asks_for_a_new_sign_in_one_second_after_its_edge() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &WEB.ask()).await;
    app.advance(60);
    browser.get(&WEB.ask().with("max_age", "60").path()).await.expect_code();
    app.advance(1);
    let ask = WEB.ask().with("max_age", "60");
    let login = browser.authorize(&ask).await;
    login.clone().expect_page("id=\"login-submit\"");
    browser
        .get(&ask.with("prompt", "none").path())
        .await
        .expect_error_answer("login_required");
    let code = browser.sign_in(&login, ALICE).await.expect_code();
    assert!(!code.is_empty());
}

#[tokio::test]
async fn a_sign_in_for_this_very_request_satisfies_max_age_however_long_the_consent_takes() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let login = browser.authorize(&WEB.ask().with("max_age", "1")).await;
    let consent = browser.sign_in(&login, ALICE).await.expect_page("id=\"consent-allow\"");
    app.advance(30);
    browser.press(&consent, "consent-allow").await.expect_code();
}

#[tokio::test]
async fn max_age_beyond_every_number_is_no_limit() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &WEB.ask()).await;
    browser
        .get(&WEB.ask().with("max_age", "18446744073709551615").path())
        .await
        .expect_code();
    let reply = browser
        .get(&WEB.ask().with("max_age", "18446744073709551616").path())
        .await;
    reply.expect_error_answer("invalid_request");
}

// Hints.

#[tokio::test]
async fn a_hint_at_the_person_who_is_signed_in_succeeds_in_silence_even_after_it_has_expired() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    app.advance(3600);
    let ask = WEB.ask().with("prompt", "none").with("id_token_hint", &tokens.id_token);
    browser.get(&ask.path()).await.expect_code();
}

#[tokio::test]
async fn a_hint_at_somebody_else_is_login_required_or_another_sign_in() {
    let app = TestApp::start().await;
    let bobs = app.tokens(BOB, WEB).await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &WEB.ask()).await;
    let ask = WEB.ask().with("id_token_hint", &bobs.id_token);
    browser
        .get(&ask.clone().with("prompt", "none").path())
        .await
        .expect_error_answer("login_required");
    browser.authorize(&ask).await.expect_page("id=\"login-submit\"");
}

#[tokio::test]
async fn who_signs_in_as_somebody_else_than_the_hint_says_ends_the_request() {
    let app = TestApp::start().await;
    let bobs = app.tokens(BOB, WEB).await;
    let mut browser = app.browser();
    let login = browser
        .authorize(&WEB.ask().with("id_token_hint", &bobs.id_token))
        .await;
    app.advance(1);
    browser
        .sign_in(&login, ALICE)
        .await
        .expect_error_answer("login_required");
    let login = browser
        .authorize(&WEB.ask().with("id_token_hint", &bobs.id_token))
        .await;
    app.advance(1);
    browser.sign_in(&login, BOB).await.expect_code();
}

#[tokio::test]
async fn an_access_token_or_a_changed_id_token_is_no_hint() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, WEB).await;
    let mut changed = tokens.id_token.clone();
    changed.truncate(changed.len() - 4);
    for hint in [&tokens.access_token, &changed, &format!("{changed}AAAA"), "", "x.y.z"]
        .iter()
        .filter(|h| !h.is_empty())
    {
        let reply = app.get(&WEB.ask().with("id_token_hint", hint).path()).await;
        reply.expect_error_answer("invalid_request");
    }
}

#[tokio::test]
async fn login_hint_fills_the_user_name_and_cannot_break_out_of_it() {
    let app = TestApp::start().await;
    let hostile = "\"><script>alert(1)</script>";
    let page = app
        .browser()
        .authorize(&WEB.ask().with("login_hint", hostile))
        .await
        .expect_html(200);
    assert!(!page.has("<script>alert"), "{}", page.text);
    assert_eq!(page.form("login-submit").fields.get("username"), Some(hostile));
}

#[tokio::test]
async fn ui_locales_choose_the_language_before_the_browser_does() {
    let app = TestApp::start().await;
    let ask = WEB.ask().with("ui_locales", "se zh-CN");
    let page = app
        .browser()
        .sending("accept-language", "en")
        .authorize(&ask)
        .await
        .expect_html(200);
    assert!(page.has("<html lang=\"zh-Hans\""));
    let page = app
        .browser()
        .sending("accept-language", "zh-TW, en;q=0.5")
        .authorize(&WEB.ask())
        .await
        .expect_html(200);
    assert!(page.has("<html lang=\"zh-Hans\""));
    let page = app
        .browser()
        .authorize(&WEB.ask().with("ui_locales", "se"))
        .await
        .expect_html(200);
    assert!(page.has("<html lang=\"en\""));
}

// Response modes.

#[tokio::test]
async fn form_post_answers_with_one_form_that_a_button_or_a_script_sends() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let reply = browser.authorize(&WEB.ask().with("response_mode", "form_post")).await;
    let reply = browser.complete(reply, ALICE).await;
    let csp = reply.header("content-security-policy").unwrap().to_owned();
    let page = reply.expect_html(200);
    let forms = page.forms();
    let [form] = forms.as_slice() else { panic!("{forms:?}") };
    assert_eq!(form.action, WEB.redirect_uri);
    let mut names = form.fields.names();
    names.sort();
    assert_eq!(names, ["code", "iss", "state"]);
    assert_eq!(form.fields.get("state"), Some(STATE));
    assert_eq!(form.fields.get("iss"), Some(ISSUER));
    assert_eq!(page.text.matches("type=\"submit\"").count(), 1);
    let nonce = page.between("<script nonce=\"", "\"");
    assert!(
        csp.contains(&format!("script-src 'nonce-{nonce}'")) && csp.contains("https://web.example"),
        "{csp}"
    );
    let code = crate::app::Code {
        value: form.fields.get("code").unwrap().to_owned(),
        client: WEB,
        redirect_uri: WEB.redirect_uri.into(),
        has_challenge: true,
    };
    app.exchange(&code).await.expect_tokens();
}

#[tokio::test]
async fn form_post_carries_errors_and_hostile_state_as_well() {
    let app = TestApp::start().await;
    let state = "\"><script>alert(1)</script>\u{202e}";
    let ask = WEB
        .ask()
        .with("response_mode", "form_post")
        .with("prompt", "none")
        .with("state", state);
    let page = app.get(&ask.path()).await.expect_html(200);
    assert!(!page.has("<script>alert"));
    let [form] = <[_; 1]>::try_from(page.forms()).unwrap();
    assert_eq!(form.fields.get("error"), Some("login_required"));
    assert_eq!(form.fields.get("state"), Some(state));
    assert_eq!(form.fields.get("iss"), Some(ISSUER));
    assert_eq!(form.fields.get("code"), None);
}

#[tokio::test]
async fn each_form_post_page_has_a_nonce_of_its_own() {
    let app = TestApp::start().await;
    let ask = WEB.ask().with("response_mode", "form_post").with("prompt", "none");
    let first = app
        .get(&ask.path())
        .await
        .expect_html(200)
        .between("<script nonce=\"", "\"");
    let second = app
        .get(&ask.path())
        .await
        .expect_html(200)
        .between("<script nonce=\"", "\"");
    assert_ne!(first, second);
}

// POST.

#[tokio::test]
async fn a_posted_request_with_the_cookie_is_answered_at_once() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &WEB.ask()).await;
    browser.post("/oauth2/authorize", &WEB.ask().fields).await.expect_code();
}

#[tokio::test]
async fn a_posted_request_without_the_cookie_comes_again_as_a_get_that_brings_it() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &WEB.ask()).await;
    let reply = app
        .call(Method::POST, "/oauth2/authorize")
        .form(&WEB.ask().fields)
        .send()
        .await;
    let location = reply.expect_redirect();
    assert!(location.starts_with("/oauth2/authorize?"), "{location}");
    browser.get(&location).await.expect_code();
}

#[tokio::test]
async fn a_posted_request_that_is_not_a_form_or_repeats_a_parameter_is_refused() {
    let app = TestApp::start().await;
    let json = app
        .call(Method::POST, "/oauth2/authorize")
        .raw("application/json", "{}")
        .send()
        .await;
    json.expect_error_page(400, "invalid_request");
    let twice = WEB.ask().and("state", "b");
    let reply = app
        .call(Method::POST, "/oauth2/authorize")
        .form(&twice.fields)
        .send()
        .await;
    reply.expect_error_page(400, "invalid_request");
    let huge = WEB.ask().with("state", &"s".repeat(70_000));
    let reply = app
        .call(Method::POST, "/oauth2/authorize")
        .form(&huge.fields)
        .send()
        .await;
    assert!([400, 413].contains(&reply.status), "{}", reply.status);
}

#[tokio::test]
async fn a_posted_request_too_long_for_an_address_is_answered_at_once() {
    let app = TestApp::start().await;
    // Each character takes nine bytes of an address.
    let state = "\u{65e5}".repeat(1300);
    let mut browser = app.browser();
    let reply = browser
        .post("/oauth2/authorize", &WEB.ask().with("state", &state).fields)
        .await;
    let login = browser.follow(reply).await;
    let consent = browser.sign_in(&login, ALICE).await;
    let answer = browser.complete(consent, ALICE).await.expect_answer();
    assert_eq!(answer.params["state"], state);
}

// Consent.

#[tokio::test]
async fn consent_is_remembered_per_client() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser.consented_code(ALICE, &WEB.ask()).await;
    browser.authorize(&SPA.ask()).await.expect_page("id=\"consent-allow\"");
}

#[tokio::test]
async fn consent_is_remembered_in_every_browser_of_the_person_and_for_nobody_else() {
    let app = TestApp::start().await;
    app.consented_code(ALICE, WEB).await;
    app.signed_in(ALICE).await.get(&WEB.ask().path()).await.expect_code();
    app.signed_in(BOB)
        .await
        .authorize(&WEB.ask())
        .await
        .expect_page("id=\"consent-allow\"");
}

#[tokio::test]
async fn a_scope_that_is_new_asks_again_and_one_that_was_agreed_to_does_not() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser
        .consented_code(ALICE, &WEB.ask().with("scope", "openid profile"))
        .await;
    browser
        .get(&WEB.ask().with("scope", "openid").path())
        .await
        .expect_code();
    let more = WEB.ask().with("scope", "openid email");
    let page = browser.authorize(&more).await.expect_page("id=\"consent-allow\"");
    browser.press(&page, "consent-allow").await.expect_code();
    browser
        .get(&WEB.ask().with("scope", "openid profile email").path())
        .await
        .expect_code();
}

#[tokio::test]
async fn an_own_application_asks_for_no_consent() {
    let app = TestApp::start().await;
    app.signed_in(ALICE).await.get(&OWN.ask().path()).await.expect_code();
    let ask = OWN.ask().with("prompt", "none");
    app.signed_in(BOB).await.get(&ask.path()).await.expect_code();
}

// Tenants, clients and people that may not.

#[tokio::test]
async fn a_session_of_another_tenant_does_not_count() {
    let app = TestApp::start().await;
    let mut browser = app.signed_in(ALICE).await;
    browser
        .get(&ELSEWHERE.ask().with("prompt", "none").path())
        .await
        .expect_error_answer("login_required");
    let login = browser.authorize(&ELSEWHERE.ask()).await;
    let again = browser.sign_in(&login, ALICE).await;
    again.clone().expect_html(400);
    let code = browser.sign_in(&again, OTHER_ALICE).await.expect_code();
    let code = crate::app::Code {
        value: code,
        client: ELSEWHERE,
        redirect_uri: ELSEWHERE.redirect_uri.into(),
        has_challenge: true,
    };
    let tokens = app.exchange(&code).await.expect_tokens();
    assert_eq!(app.claims(&tokens.id_token).await["sub"], OTHER_ALICE.sub);
    assert_eq!(app.claims(&tokens.access_token).await["tenant"], "other");
}

#[tokio::test]
async fn a_request_that_waits_too_long_starts_again_at_the_application() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let login = browser.authorize(&WEB.ask()).await;
    let consent = browser.sign_in(&login, ALICE).await.expect_page("id=\"consent-allow\"");
    app.advance(30 * 60);
    browser
        .press(&consent, "consent-allow")
        .await
        .expect_error_page(400, "invalid_request");
}

#[tokio::test]
async fn one_browser_keeps_eight_requests_and_forgets_the_oldest() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let first = browser.authorize(&WEB.ask()).await;
    for _ in 0..7 {
        browser.authorize(&WEB.ask()).await;
    }
    let mut copy = browser.clone();
    copy.sign_in(&first, ALICE).await.expect_page("id=\"consent-allow\"");
    let mut browser = app.browser();
    let first = browser.authorize(&WEB.ask()).await;
    for _ in 0..8 {
        browser.authorize(&WEB.ask()).await;
    }
    browser.sign_in(&first, ALICE).await.expect_html(400);
}

#[tokio::test]
async fn a_code_cannot_be_drawn_by_reading_the_session_cookie_of_nobody() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    browser
        .cookies
        .insert("hexgate_session".into(), "AAAAAAAAAAAAAAAAAAAAAA".into());
    browser
        .get(&OWN.ask().with("prompt", "none").path())
        .await
        .expect_error_answer("login_required");
}

// Defaults of the registration.

const SETTLED: &str = r#"
[[client]]
client_id = "settled"
client_secret = "settled-secret-1d1d"
redirect_uris = ["https://settled.example/cb"]
scope = "openid reports:read"
auto_approve = true
default_max_age = 60
require_auth_time = true
default_acr_values = ["1"]
"#;
const SETTLED_CLIENT: crate::app::TestClient = crate::app::TestClient {
    id: "settled",
    secret: Some("settled-secret-1d1d"),
    redirect_uri: "https://settled.example/cb",
    scope: "openid",
};

#[tokio::test]
async fn the_registrations_max_age_holds_where_the_request_has_none() {
    let app = TestApp::builder().document(SETTLED).start().await;
    let mut browser = app.signed_in(ALICE).await;
    app.advance(60);
    browser.get(&SETTLED_CLIENT.ask().path()).await.expect_code();
    app.advance(1);
    browser
        .get(&SETTLED_CLIENT.ask().path())
        .await
        .expect_redirect_to("/login");
    let answer = browser.get(&SETTLED_CLIENT.ask().with("max_age", "1000").path()).await;
    let code = crate::app::Code {
        value: answer.expect_code(),
        client: SETTLED_CLIENT,
        redirect_uri: SETTLED_CLIENT.redirect_uri.into(),
        has_challenge: true,
    };
    let tokens = app.exchange(&code).await.expect_tokens();
    let claims = app.claims(&tokens.id_token).await;
    assert_eq!(claims["auth_time"], app.now() - 61);
    assert_eq!(claims["acr"], "1");
}

#[tokio::test]
async fn the_only_redirect_uri_need_not_be_named_unless_openid_is_asked_for() {
    let app = TestApp::builder().document(SETTLED).start().await;
    let mut browser = app.signed_in(ALICE).await;
    let ask = SETTLED_CLIENT
        .ask()
        .without("redirect_uri")
        .with("scope", "reports:read");
    let code = browser.consented_code(ALICE, &ask).await;
    app.token(SETTLED_CLIENT, &code.form().without("redirect_uri"))
        .await
        .expect_tokens();
    for ask in [
        SETTLED_CLIENT.ask().without("redirect_uri"),
        // Two are registered.
        WEB.ask().without("redirect_uri").with("scope", "ai:chat"),
    ] {
        let sentence = browser.get(&ask.path()).await.expect_error_page(400, "invalid_request");
        assert!(sentence.contains("redirect_uri"), "{sentence}");
    }
    // FAPI 2.0 section 5.3.2.2: a pushed request names it.
    let form = ask.fields.without("client_id");
    app.as_client(SETTLED_CLIENT, "/oauth2/par", &form)
        .await
        .expect_oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn without_a_scope_the_client_gets_what_it_is_registered_for_and_is_told() {
    let app = TestApp::start().await;
    let tokens = app.tokens_for(ALICE, &SPA.ask().without("scope")).await;
    // RFC 6749 §3.3, §5.1; offline_access is granted to those who ask for it.
    assert_eq!(tokens.scope.as_deref(), Some("ai:chat openid profile"));
    let named = app.tokens_for(ALICE, &SPA.ask()).await;
    assert_eq!(named.scope, None);
}
