//! Redirect URIs: compared as strings, and nothing is sent to one that is not registered (RFC 9700 §2.1, §4.1).

use proptest::{prelude::*, test_runner::TestRunner};

use crate::app::{ALICE, LEGACY, NATIVE, TestApp, WEB};

/// Everything that parsers have taken for `https://web.example/callback` somewhere.
const FOREIGN: &[&str] = &[
    "https://evil.example/callback",
    "https://web.example/callback/",
    "https://web.example/CALLBACK",
    "HTTPS://web.example/callback",
    "https://WEB.example/callback",
    "https://web.example/callback?x=1",
    "https://web.example/callback#x",
    "https://web.example/callback%20",
    "https://web.example/callback/../callback",
    "https://web.example/./callback",
    "https://web.example/..;/callback",
    "https://web.example/callback;x",
    "https://web.example/%63allback",
    "https://web.example//callback",
    "https://web.example:443/callback",
    "https://web.example:8443/callback",
    "https://web.example./callback",
    "https://web.example.evil.example/callback",
    "https://evil.example@web.example/callback",
    "https://web.example@evil.example/callback",
    "https://web.example%40evil.example/callback",
    "https://evil.example/https://web.example/callback",
    "https://evil.example\\@web.example/callback",
    "https:\\\\web.example\\callback",
    "https:/web.example/callback",
    "https:web.example/callback",
    "//web.example/callback",
    "http://web.example/callback",
    " https://web.example/callback",
    "https://web.example/callback ",
    "https://web.example/callback\r\nlocation: https://evil.example",
    "https://web.example\u{2044}callback",
    "https://web\u{ff0e}example/callback",
    "https://xn--web-.example/callback",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)//https://web.example/callback",
    "data:text/html,<script>alert(1)</script>",
    "file:///etc/passwd",
    "about:blank",
    "callback",
    "/callback",
    "*",
];

#[tokio::test]
async fn an_unregistered_redirect_uri_is_a_page_and_never_a_redirect() {
    let app = TestApp::start().await;
    for uri in FOREIGN {
        for ask in [
            WEB.ask().with("redirect_uri", uri),
            // Other faults at once change nothing about it.
            WEB.ask().with("redirect_uri", uri).with("response_type", "token"),
            WEB.ask().with("redirect_uri", uri).with("prompt", "none"),
            WEB.ask()
                .with("redirect_uri", uri)
                .with("response_mode", "form_post")
                .with("scope", "?"),
        ] {
            let sentence = app.get(&ask.path()).await.expect_error_page(400, "invalid_request");
            assert!(sentence.contains("redirect_uri"), "{uri}: {sentence}");
        }
    }
}

#[tokio::test]
async fn a_missing_redirect_uri_is_a_page_even_when_one_alone_is_registered() {
    let app = TestApp::start().await;
    for ask in [WEB.ask(), LEGACY.ask()] {
        let sentence = app
            .get(&ask.without("redirect_uri").path())
            .await
            .expect_error_page(400, "invalid_request");
        assert!(sentence.contains("redirect_uri"), "{sentence}");
    }
}

#[tokio::test]
async fn every_registered_uri_is_accepted_as_it_is() {
    let app = TestApp::start().await;
    for uri in ["https://web.example/callback", "https://web.example/second"] {
        let answer = app.browser().answer(ALICE, &WEB.ask().with("redirect_uri", uri)).await;
        assert_eq!(answer.uri, uri);
    }
}

#[tokio::test]
async fn a_registered_query_has_to_be_there_unchanged() {
    let app = TestApp::start().await;
    for uri in [
        "https://legacy.example/cb",
        "https://legacy.example/cb?",
        "https://legacy.example/cb?tenant=2",
        "https://legacy.example/cb?tenant=1&x=1",
        "https://legacy.example/cb?x=1&tenant=1",
    ] {
        app.get(&LEGACY.ask().with("redirect_uri", uri).path())
            .await
            .expect_error_page(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_native_application_chooses_the_port_of_its_loopback_address() {
    let app = TestApp::start().await;
    for uri in [
        "http://127.0.0.1/cb",
        "http://127.0.0.1:49152/cb",
        "http://[::1]:49152/cb",
    ] {
        let ask = NATIVE.ask().with("redirect_uri", uri);
        let code = app.browser().consented_code(ALICE, &ask).await;
        app.exchange(&code).await.expect_tokens();
    }
}

#[tokio::test]
async fn a_loopback_address_may_differ_in_its_port_alone() {
    let app = TestApp::start().await;
    for uri in [
        "http://localhost:49152/cb",
        "http://127.0.0.2:49152/cb",
        "https://127.0.0.1:49152/cb",
        "http://127.0.0.1:49152/CB",
        "http://127.0.0.1:49152/cb?x=1",
        "http://127.0.0.1:49152/cb/",
        "http://127.0.0.1:/cb",
        "http://127.0.0.1:99999/cb",
        "http://127.0.0.1:49152@evil.example/cb",
        "http://127.0.0.1.evil.example:49152/cb",
        "http://0x7f000001:49152/cb",
        "http://2130706433/cb",
        "http://127.1/cb",
        "http://user@127.0.0.1:49152/cb",
        "http://[::2]:49152/cb",
    ] {
        app.get(&NATIVE.ask().with("redirect_uri", uri).path())
            .await
            .expect_error_page(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_confidential_client_may_not_choose_a_port() {
    let document = r#"
        [[client]]
        client_id = "local"
        client_secret = "local-secret"
        redirect_uris = ["http://127.0.0.1:8080/callback"]
        scope = "openid"
    "#;
    let app = TestApp::builder().document(document).start().await;
    let local = crate::app::TestClient {
        id: "local",
        secret: Some("local-secret"),
        redirect_uri: "http://127.0.0.1:8080/callback",
        scope: "openid",
    };
    app.browser().answer(ALICE, &local.ask()).await;
    let moved = local.ask().with("redirect_uri", "http://127.0.0.1:8081/callback");
    app.get(&moved.path()).await.expect_error_page(400, "invalid_request");
}

#[tokio::test]
async fn a_private_scheme_is_answered_by_redirect_but_never_by_form() {
    let app = TestApp::start().await;
    let ask = NATIVE.ask().with("redirect_uri", "com.example.app:/cb");
    let answer = app.browser().answer(ALICE, &ask).await;
    assert_eq!(answer.uri, "com.example.app:/cb");
    app.get(&ask.with("response_mode", "form_post").path())
        .await
        .expect_error_answer("invalid_request");
}

#[tokio::test]
async fn the_code_is_bound_to_the_very_uri_of_its_request() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    let other = code.form().with("redirect_uri", "https://web.example/second");
    app.token(WEB, &other).await.expect_oauth_error(400, "invalid_grant");
    app.exchange(&code).await.expect_tokens();
    let ask = NATIVE.ask().with("redirect_uri", "http://127.0.0.1:5000/cb");
    let code = app.browser().consented_code(ALICE, &ask).await;
    let other = code.form().with("redirect_uri", "http://127.0.0.1:5001/cb");
    app.token(NATIVE, &other).await.expect_oauth_error(400, "invalid_grant");
}

/// Texts near a registered URI and far from it.
fn texts() -> impl Strategy<Value = String> {
    let registered = "https://web.example/callback";
    let inserted = (0..=registered.len(), "[ -~]{1,3}|\\PC{1,2}|[\\x00-\\x1f]").prop_map(move |(at, text)| {
        let (before, after) = registered.split_at(at);
        format!("{before}{text}{after}")
    });
    let cut = (0..registered.len()).prop_map(move |at| registered.chars().take(at).collect());
    prop_oneof![inserted, cut, "\\PC{1,40}", "(https?|ftp|javascript|data):[ -~]{1,30}"]
}

#[test]
fn no_text_that_is_not_registered_is_ever_redirected_to() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let app = runtime.block_on(TestApp::start());
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    });
    let outcome = runner.run(&texts(), |text| {
        let reply = runtime.block_on(app.get(&WEB.ask().with("redirect_uri", &text).path()));
        prop_assert_eq!(reply.status, 400);
        prop_assert_eq!(reply.header("location"), None);
        Ok(())
    });
    outcome.unwrap();
}
