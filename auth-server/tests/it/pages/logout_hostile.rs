//! The logout endpoint as an open redirector, and its pages as a place for other people's scripts (SECURITY.md section 2).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::app::{ALICE, Browser, TestApp, Tokens, WEB, fields};

const BACK: &str = "https://web.example/";

/// What breaks out of attributes, elements, scripts, headers or addresses.
const HOSTILE: &[&str] = &[
    "\"><script>alert(1)</script>",
    "'-alert(1)-'",
    "</script><script>alert(1)</script>",
    "javascript:alert(1)",
    "\" onload=alert(1) x=\"",
    "{{7*7}}",
    "\r\nLocation: https://evil.example/\r\n\r\n",
    "\u{202e}//elpmaxe.live",
    "%22%3E%3Cscript%3E",
    "&#34;&#62;&#60;script&#62;",
    "\u{feff}https://evil.example",
];

/// Near misses of the registered address, and schemes that browsers run.
const ADDRESSES: &[&str] = &[
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example",
    "https:/web.example/",
    "https:web.example/",
    "https://web.example",
    "https://web.example/?",
    "https://web.example/#",
    "https://web.example/#x",
    "https://web.example//",
    "https://web.example/.",
    "https://web.example/%2e%2e/",
    "https://web.example/..;/",
    "https://WEB.example/",
    "HTTPS://web.example/",
    "https://web.example:443/",
    "https://web.example.evil.example/",
    "https://web.example@evil.example/",
    "https://evil.example\\@web.example/",
    "https://web.example/\u{9}",
    " https://web.example/",
    "https://web.example/ ",
    "https://web.example/\r\nSet-Cookie: a=b",
    "https://web.example/bye",
    "https://web.example/bye?from=op&x=1",
    "https://web.example/bye?from=OP",
    "https://ẉeb.example/",
    "http://web.example/",
    "javascript:alert(1)//https://web.example/",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "blob:https://web.example/x",
    "about:blank",
];

async fn signed_in(app: &TestApp) -> (Browser<'_>, Tokens) {
    let mut browser = app.browser();
    let code = browser.consented_code(ALICE, &WEB.ask()).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    (browser, tokens)
}

fn path(pairs: &[(&str, &str)]) -> String {
    let query = pairs
        .iter()
        .fold(fields([]), |fields, (name, value)| fields.and(name, value));
    format!("/connect/logout?{}", query.encode())
}

#[tokio::test]
async fn no_address_but_a_registered_one_is_gone_to_signed_in_or_not() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    let mut stranger = app.browser();
    for address in ADDRESSES.iter().chain(HOSTILE) {
        let asked = path(&[
            ("id_token_hint", &tokens.id_token),
            ("post_logout_redirect_uri", address),
        ]);
        for browser in [&mut browser, &mut stranger] {
            let reply = browser.get(&asked).await;
            assert!(reply.header("location").is_none(), "{address:?}");
            let sentence = reply.expect_error_page(400, "invalid_request");
            assert!(sentence.contains("post_logout_redirect_uri"), "{address:?}: {sentence}");
        }
    }
    browser.get("/account").await.expect_html(200);
}

#[tokio::test]
async fn no_hint_that_we_did_not_sign_as_an_id_token_leads_anywhere() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    let parts: Vec<&str> = tokens.id_token.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        panic!("three parts");
    };
    let made = |header: &str| format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header));
    let kid = app.jwks().await.first().unwrap()["kid"].as_str().unwrap().to_owned();
    let mut hints = vec![
        "..".to_owned(),
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{header}..{signature}"),
        format!("{header}.{payload}.{signature}.x.y"),
        format!("{header}.{payload}.{signature}="),
        made(r#"{"alg":"none","typ":"JWT"}"#),
        made(r#"{"alg":"NONE","typ":"JWT"}"#),
        made(&format!(r#"{{"alg":"HS256","typ":"JWT","kid":"{kid}"}}"#)),
        made(&format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{kid}"}}"#)),
        made(r#"{"alg":"RS256","typ":"JWT","jku":"https://evil.example/keys"}"#),
        made(r#"{"alg":"RS256","typ":"JWT","jwk":{"kty":"oct","k":"AA"}}"#),
        tokens.access_token.clone(),
        tokens.refresh_token.clone(),
        tokens.id_token.repeat(20),
    ];
    hints.extend(HOSTILE.iter().map(|text| (*text).to_owned()));
    for hint in hints {
        let asked = path(&[("id_token_hint", &hint), ("post_logout_redirect_uri", BACK)]);
        let reply = browser.get(&asked).await;
        assert!(reply.header("location").is_none(), "{hint:?}");
        let sentence = reply.expect_error_page(400, "invalid_request");
        assert!(sentence.contains("id_token_hint"), "{hint:?}: {sentence}");
    }
    browser.get("/account").await.expect_html(200);
}

#[tokio::test]
async fn a_state_comes_back_as_one_parameter_whatever_is_in_it() {
    let app = TestApp::start().await;
    for state in HOSTILE {
        let (mut browser, tokens) = signed_in(&app).await;
        let asked = path(&[
            ("id_token_hint", &tokens.id_token),
            ("post_logout_redirect_uri", BACK),
            ("state", state),
        ]);
        let location = browser.get(&asked).await.expect_redirect();
        let query = location.strip_prefix(BACK).unwrap().strip_prefix('?').unwrap();
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert_eq!(pairs, [("state".to_owned(), (*state).to_owned())]);
        assert!(location.is_ascii());
    }
}

#[tokio::test]
async fn nothing_that_a_request_holds_shows_up_as_markup() {
    let app = TestApp::start().await;
    let (mut browser, _) = signed_in(&app).await;
    let hint = app.tokens(ALICE, WEB).await.id_token;
    for text in HOSTILE {
        for name in ["state", "ui_locales", "client_id", "logout_hint", "request", text] {
            let mut asked = vec![(name, *text)];
            if name != "client_id" {
                asked.push(("id_token_hint", &hint));
            }
            let page = browser.open(&path(&asked)).await.expect_page("id=\"logout-confirm\"");
            assert!(
                !page.has("<script") && !page.has("onload=") && !page.has("evil"),
                "{name} {text:?}"
            );
        }
        for name in ["client_id", "request", "ui_locales", "state"] {
            let query = fields([(name, text)]).encode();
            for at in ["/logged-out", "/logout"] {
                let page = browser.get(&format!("{at}?{query}")).await.expect_html(200);
                assert!(
                    !page.has("<script") && !page.has("onload=") && !page.has("evil"),
                    "{at} {name}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_repeated_parameter_is_refused() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = signed_in(&app).await;
    for name in ["post_logout_redirect_uri", "state", "client_id", "ui_locales"] {
        let asked = path(&[("id_token_hint", &tokens.id_token), (name, BACK), (name, BACK)]);
        browser.get(&asked).await.expect_error_page(400, "invalid_request");
    }
}
