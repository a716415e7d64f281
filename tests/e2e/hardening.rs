//! Attacks that others fell for (SECURITY.md section 2), each against the running provider.

use std::time::Instant;

use reqwest::Method;
use url::Url;

use crate::{
    browser::{Browser, Landing},
    oauth::{App, Auth, answer_of, claims, header, unsigned},
    world::{Engine, PASSWORD, World},
};

fn trusted(world: &World) -> App {
    App::confidential(
        world,
        "trusted",
        "http://127.0.0.1:8091/callback",
        "openid profile offline_access ai:chat",
    )
}

#[tokio::test]
async fn redirect_uris_that_only_look_registered_end_on_a_page() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    browser.sign_in("bob").await;
    for uri in [
        // case (CVE-2020-15234), default ports, empty parts
        "http://127.0.0.1:8091/CALLBACK",
        "HTTP://127.0.0.1:8091/callback",
        "http://127.0.0.1:8091/callback/",
        "http://127.0.0.1:8091/callback?",
        "http://127.0.0.1:8091/callback#",
        "http://127.0.0.1:8091//callback",
        "http://127.0.0.1:08091/callback",
        // query (CVE-2020-15233)
        "http://127.0.0.1:8091/callback?x=1",
        "http://127.0.0.1:8091/callback?tenant=2",
        "http://127.0.0.1:8091/callback?tenant=1&x=1",
        // user info and parsers that disagree (CVE-2026-7504)
        "http://127.0.0.1:8091@evil.example/callback",
        "http://evil.example@127.0.0.1:8091/callback",
        "http://evil.example@@127.0.0.1:8091/callback",
        "http://evil.example\\@127.0.0.1:8091/callback",
        "http://127.0.0.1:8091\\.evil.example/callback",
        "http:/127.0.0.1:8091/callback",
        "http:127.0.0.1:8091/callback",
        "//127.0.0.1:8091/callback",
        // path traversal (CVE-2026-3872)
        "http://127.0.0.1:8091/callback/../callback",
        "http://127.0.0.1:8091/x/..;/callback",
        "http://127.0.0.1:8091/%63allback",
        "http://127.0.0.1:8091/callback%2f..",
        "http://127.0.0.1:8091/./callback",
        // hosts that begin or end alike (CVE-2024-8883)
        "http://127.0.0.1.evil.example:8091/callback",
        "http://evil.example/127.0.0.1:8091/callback",
        "http://localhost:8091/callback",
        "http://127.1:8091/callback",
        "http://2130706433:8091/callback",
        "http://[::ffff:127.0.0.1]:8091/callback",
        // white space and control characters
        " http://127.0.0.1:8091/callback",
        "http://127.0.0.1:8091/callback ",
        "http://127.0.0.1:8091/callback\r\nx: y",
        "http://127.0.0.1:8091/callback\0",
        // schemes (CVE-2026-9086)
        "JaVaScRiPt:alert(1)//127.0.0.1:8091/callback",
        "data:text/html,<script>alert(1)</script>",
        "https://127.0.0.1:8091/callback",
    ] {
        let asked = trusted(world).ask(&[("redirect_uri", uri)]);
        let page = match browser.open(&asked.url).await {
            Landing::Page(page) => page,
            Landing::Away(url) => panic!("{uri:?} was accepted: {url}"),
        };
        assert_eq!((page.reply.status, page.has("oauth-error")), (400, true), "{uri:?}");
        assert!(!page.reply.headers.contains_key("location"), "{uri:?}");
    }
}

#[tokio::test]
async fn nothing_redirects_to_where_a_stranger_says() {
    let world = World::shared(Engine::Sqlite).await;
    for target in [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "javascript:alert(1)",
    ] {
        for name in [
            "return_to",
            "next",
            "redirect",
            "redirect_uri",
            "continue",
            "request",
            "url",
            "post_logout_redirect_uri",
        ] {
            for path in [
                "/login",
                "/logout",
                "/logged-out",
                "/error",
                "/account",
                "/consent",
                "/",
            ] {
                let url = Url::parse_with_params(&format!("{}{path}", world.issuer), [(name, target)]).unwrap();
                let browser = Browser::new(world);
                let landing = browser.open(url.as_str()).await;
                let page = landing.page();
                let escaped = page.elements().iter().any(|element| {
                    ["href", "action", "formaction", "src"].iter().any(|attribute| {
                        let value = element.attribute(attribute);
                        value.contains("evil.example") || value.to_lowercase().starts_with("javascript:")
                    })
                });
                assert!(!escaped, "{url} leads away: {}", page.reply.body);
            }
        }
    }
    // Not after signing in either.
    let browser = Browser::new(world);
    let page = browser
        .open("/login?return_to=https%3A%2F%2Fevil.example%2F")
        .await
        .page();
    let page = if page.has("login-submit") {
        page
    } else {
        browser.open("/account").await.page()
    };
    let landing = browser.submit(&page.login_form("bob", PASSWORD)).await;
    assert!(matches!(landing, Landing::Page(_)), "{landing:?}");
}

#[tokio::test]
async fn hostile_text_reaches_no_page_as_markup_and_no_header_as_a_line() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    let hostile = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>\r\nSet-Cookie: evil=1";
    let clean = |page: &crate::browser::Page, place: &str| {
        for element in page.elements() {
            assert!(
                element.tag != "script" || !element.attribute("nonce").is_empty(),
                "a script in {place}: {}",
                page.reply.body
            );
            assert!(
                !element.attributes.keys().any(|name| name.starts_with("on")),
                "a handler in {place}: {}",
                page.reply.body
            );
        }
        assert!(!page.reply.body.contains("<script>alert"), "{place}");
        assert!(!page.reply.body.contains("<img src=x"), "{place}");
        let policy = page.reply.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") || policy.contains("default-src 'self'"),
            "{place}: {policy}"
        );
        assert!(
            !policy.contains("unsafe-inline") && !policy.contains("unsafe-eval"),
            "{place}: {policy}"
        );
        assert_eq!(page.reply.header("x-content-type-options"), "nosniff", "{place}");
        assert!(!page.reply.header("referrer-policy").is_empty(), "{place}");
        assert!(
            !page.reply.headers.contains_key("access-control-allow-origin"),
            "pages are not for other origins: {place}"
        );
    };
    for name in [
        "client_id",
        "redirect_uri",
        "response_type",
        "scope",
        "prompt",
        "ui_locales",
        "login_hint",
        "state",
        "error",
        "error_description",
        "request",
    ] {
        for path in [
            "/oauth2/authorize",
            "/error",
            "/login",
            "/consent",
            "/logout",
            "/connect/logout",
            "/account",
        ] {
            let url = Url::parse_with_params(&format!("{}{path}", world.issuer), [(name, hostile)]).unwrap();
            if let Landing::Page(page) = browser.open(url.as_str()).await {
                clean(&page, url.as_str());
            }
        }
    }
    for (name, value) in [("login_hint", hostile), ("ui_locales", hostile), ("state", hostile)] {
        clean(
            &browser.open(&trusted(world).ask(&[(name, value)]).url).await.page(),
            name,
        );
    }
    // What an app sends back comes back as it was.
    let asked = trusted(world).ask(&[("state", hostile), ("prompt", "none")]);
    assert_eq!(answer_of(&browser.open(&asked.url).await.away())["state"], hostile);
    // Names from documents: an app and a person.
    let app = App::confidential(world, "hostile", "http://127.0.0.1:8093/callback", "openid profile");
    let page = browser.open(&app.ask(&[]).url).await.page();
    clean(&page, "sign-in");
    let page = browser.submit(&page.login_form("hostile", PASSWORD)).await.page();
    assert!(page.has("consent-allow"));
    clean(&page, "consent");
    browser.submit(&page.click("consent-allow")).await.away();
    clean(&browser.open("/account").await.page(), "account");
    clean(&browser.open("/logout").await.page(), "logout");
}

#[tokio::test]
async fn a_consent_page_of_one_browser_is_worth_nothing_in_another() {
    let world = World::shared(Engine::Sqlite).await;
    let attacker = Browser::new(world);
    let asked = world.web().ask(&[("prompt", "consent")]);
    let page = attacker.open(&asked.url).await.page();
    let page = attacker.submit(&page.login_form("bob", PASSWORD)).await.page();
    let form = page.click("consent-allow");

    // The attacker's link and the attacker's form, in the browser of somebody who is signed in, and in a fresh one.
    let victim = Browser::new(world);
    victim.sign_in("carol").await;
    for browser in [&victim, &Browser::new(world)] {
        match browser.open(page.url.as_str()).await {
            Landing::Page(shown) => assert!(!shown.has("consent-allow"), "{}", shown.reply.body),
            Landing::Away(url) => panic!("went on to {url}"),
        }
        match browser.submit(&form).await {
            Landing::Page(shown) => assert!(!shown.has("consent-allow"), "{}", shown.reply.body),
            Landing::Away(url) => panic!("approved, to {url}"),
        }
    }
    // It was not burned by that: its own browser can still decide, once.
    assert!(answer_of(&attacker.submit(&form).await.away()).contains_key("code"));
    assert!(
        matches!(attacker.submit(&form).await, Landing::Page(_)),
        "a decision is taken once"
    );
}

#[tokio::test]
async fn forms_from_elsewhere_change_nothing() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    let login = browser.open("/account").await.page();
    // Without the token, or with that of another browser, nobody is signed in (login CSRF).
    let mut form = login.login_form("bob", PASSWORD);
    let token = form.get("csrf").expect("forms carry a token").to_owned();
    form.remove("csrf");
    browser.submit(&form).await;
    assert!(!browser.is_signed_in().await);
    let other = Browser::new(world);
    form.set(
        "csrf",
        other
            .open("/account")
            .await
            .page()
            .login_form("bob", PASSWORD)
            .get("csrf")
            .unwrap(),
    );
    browser.submit(&form).await;
    assert!(!browser.is_signed_in().await);
    form.set("csrf", &token);
    // With it, but sent by a page of another site.
    for headers in [
        [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")],
        [("origin", "null"), ("sec-fetch-site", "cross-site")],
    ] {
        let reply = browser
            .send(Method::POST, form.action.clone(), &form.fields, &headers)
            .await;
        assert!((400..500).contains(&reply.status), "{}", reply.status);
        assert!(!browser.is_signed_in().await);
    }
    browser.sign_in("bob").await;

    // The same holds for every form behind the sign-in.
    let account = browser.open("/account").await.page();
    let logout = browser.open("/logout").await.page();
    for mut form in [account.click_value("end-session"), logout.click("logout-confirm")] {
        for wrong in ["", "garbage", token.as_str()] {
            if wrong == form.get("csrf").unwrap() {
                continue;
            }
            form.set("csrf", wrong);
            browser.submit(&form).await;
            assert!(browser.is_signed_in().await, "csrf {wrong:?}");
        }
        let get = Url::parse_with_params(form.action.as_str(), &form.fields).unwrap();
        browser.open(get.as_str()).await;
        assert!(browser.is_signed_in().await, "a GET changes nothing");
    }
}

#[tokio::test]
async fn a_verifier_for_a_code_without_a_challenge_is_refused() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    browser.sign_in("bob").await;
    let app = App::confidential(world, "relaxed", "http://127.0.0.1:8092/callback", "openid");
    let asked = app.ask(&[("code_challenge", ""), ("code_challenge_method", "")]);
    let code = answer_of(&browser.open(&asked.url).await.away())["code"].clone();
    // RFC 9700 §2.1.1: the challenge may have been taken out on the way (CVE: KAN #1097).
    let granted = crate::oauth::Granted {
        code,
        verifier: asked.verifier,
        nonce: asked.nonce,
    };
    app.redeem(&granted).await.oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn unknown_people_and_wrong_passwords_look_alike() {
    // Its own, for what it works is counted.
    let world = World::start(Engine::Sqlite).await;
    let http = world.http();
    let mut seen = Vec::new();
    let mut work_for = async |names: [&str; 3]| {
        let before = world.auth_work();
        for name in names {
            for _ in 0..3 {
                let reply = http.password(name, "not the password").await;
                reply.oauth_error(400, "invalid_grant");
                seen.push(reply.body);
            }
        }
        world.auth_work() - before
    };
    work_for(["frank", "nobody-6", "nobody-6"]).await; // the first of everything costs more
    let known = work_for(["frank", "hostile", "erin"]).await;
    let unknown = work_for(["nobody-7", "nobody-8", "nobody-9"]).await;
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    // A hash that is left out for unknown names is most of the work. Work and not time, for how long it takes
    // is up to what else the machine does.
    assert!(unknown * 2 > known, "unknown {unknown}, known {known}");

    let page_for = async |name: &str| {
        let browser = Browser::new(&world);
        let page = browser.open("/account").await.page();
        let page = browser.submit(&page.login_form(name, "not the password")).await.page();
        (page.reply.status, page.text_of("login-problem"))
    };
    assert_eq!(page_for("frank").await, page_for("nobody-10").await);
}

#[tokio::test]
async fn long_and_odd_passwords_and_names_are_refused_without_work() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let long = "a".repeat(100_000);
    let started = Instant::now();
    for (name, password) in [
        ("carol", long.as_str()),
        (long.as_str(), "x"),
        ("", ""),
        ("carol\0", "x"),
        ("' OR '1'='1", "' OR '1'='1"),
        ("carol'--", PASSWORD),
    ] {
        let reply = http.password(name, password).await;
        assert!(matches!(reply.status, 400 | 413), "{}", reply.body);
    }
    assert!(started.elapsed().as_secs() < 30);
    let browser = Browser::new(world);
    let page = browser.open("/account").await.page();
    let page = browser.submit(&page.login_form("carol", &long)).await.page();
    assert!(
        page.has("login-submit") || matches!(page.reply.status, 400 | 413),
        "{}",
        page.reply.status
    );
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn links_come_from_the_configured_issuer_whatever_the_headers_say() {
    let world = World::shared(Engine::Sqlite).await;
    let spoofed = [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "host=evil.example;proto=https"),
        ("x-original-url", "/evil"),
        ("x-rewrite-url", "/evil"),
        ("x-forwarded-prefix", "/evil"),
    ];
    let mut request = world.http().request(Method::GET, "/.well-known/openid-configuration");
    for (name, value) in spoofed {
        request = request.header(name, value);
    }
    let body = request.send().await.unwrap().text().await.unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&body).unwrap()["issuer"],
        world.issuer
    );
    assert!(!body.contains("evil"));
    let mut browser = Browser::new(world);
    browser.extra_headers = spoofed.to_vec();
    let asked = trusted(world).ask(&[]);
    let page = browser.open(&asked.url).await.page();
    assert!(!page.reply.body.contains("evil"));
    let answer = answer_of(&browser.submit(&page.login_form("bob", PASSWORD)).await.away());
    assert_eq!(answer["iss"], world.issuer);
    assert!(!browser.open("/account").await.page().reply.body.contains("evil"));
    for cookie in browser.set_cookies() {
        assert!(!cookie.contains("evil"), "{cookie}");
    }
}

#[tokio::test]
async fn tokens_with_another_algorithm_or_key_are_refused_by_the_provider_too() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let good = trusted(world).tokens_of(world, "bob").await;
    let forged_of = |token: &str| {
        let (head, body) = (header(token), claims(token));
        let with = |name: &str, value: serde_json::Value| {
            let mut head = head.clone();
            head[name] = value;
            head
        };
        vec![
            unsigned(&with("alg", "none".into()), &body, b""),
            unsigned(&with("alg", "NoNe".into()), &body, b""),
            unsigned(&with("alg", "HS256".into()), &body, b"01234567890123456789012345678901"),
            unsigned(&with("jwk", serde_json::json!({"kty": "EC"})), &body, b"x"),
            unsigned(&with("crit", serde_json::json!(["x"])), &body, b"x"),
            format!("{}.", token.rsplit_once('.').unwrap().0),
        ]
    };
    for token in forged_of(&good.access) {
        http.userinfo(&token).await.bearer_error(401, "invalid_token");
        assert_eq!(http.introspect(&token).await["active"], false);
    }
    let refresh = good.refresh().to_owned();
    for position in [0, refresh.len() / 2, refresh.len() - 1] {
        let mut bytes = refresh.clone().into_bytes();
        bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        trusted(world).refresh(&changed).await.oauth_error(400, "invalid_grant");
    }
    trusted(world).refresh(&refresh).await.tokens();
}

#[tokio::test]
async fn cors_is_open_where_browser_apps_call_and_closed_at_the_authorization_endpoint() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let preflight = async |path: &str| {
        let request = http
            .request(Method::OPTIONS, path)
            .header("origin", "https://app.example");
        let request = request.header("access-control-request-method", "POST").header(
            "access-control-request-headers",
            "authorization,content-type,mcp-protocol-version",
        );
        request.send().await.unwrap()
    };
    for path in [
        "/oauth2/token",
        "/oauth2/revoke",
        "/userinfo",
        "/.well-known/openid-configuration",
        "/oauth2/jwks",
    ] {
        let answer = preflight(path).await;
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let headers = answer.headers();
        assert_eq!(headers["access-control-allow-origin"], "*", "{path}");
        assert!(!headers.contains_key("access-control-allow-credentials"), "{path}");
    }
    for path in ["/oauth2/authorize", "/login", "/consent", "/account"] {
        assert!(
            !preflight(path)
                .await
                .headers()
                .contains_key("access-control-allow-origin"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn odd_paths_are_not_other_paths() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    for path in [
        "/oauth2//token",
        "//oauth2/token",
        "/oauth2/token/",
        "/OAUTH2/token",
        "/oauth2/%74oken%00",
        "/oauth2;x=1/token",
    ] {
        let url = format!("{}{path}", world.issuer);
        let reply = http
            .post(
                &url,
                Auth::Basic("service", crate::world::SECRET),
                &[("grant_type", "client_credentials")],
            )
            .await;
        assert_eq!(reply.status, 404, "{path}");
    }
    for (path, token) in [
        ("/v1//chat/completions", ""),
        ("/v1/chat%2fcompletions", ""),
        ("/V1/chat/completions", ""),
        ("/v1/chat/completions/", ""),
    ] {
        let reply = http.bearer_get(&format!("{}{path}", world.gateway), token).await;
        assert!(matches!(reply.status, 401 | 404 | 405), "{path}: {}", reply.status);
    }
}

#[tokio::test]
async fn no_secret_and_no_password_is_in_any_log() {
    let world = World::start(Engine::Sqlite).await;
    let app = world.web();
    let browser = Browser::new(&world);
    let granted = app.code_from(&browser, "alice").await;
    let tokens = app.redeem(&granted).await.tokens();
    world.http().password("alice", "a wrong password of hers").await;
    world.http().password("alice", PASSWORD).await.tokens();
    let chat = serde_json::json!({"model": "chat", "messages": [{"role": "user", "content": "a very private prompt"}]});
    let request = world
        .http()
        .request(Method::POST, &format!("{}/v1/chat/completions", world.gateway))
        .bearer_auth(&tokens.access)
        .json(&chat);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let refreshed = app.refresh(tokens.refresh()).await.tokens();
    app.revoke(refreshed.refresh()).await;
    world.stop_gateway().await;
    world.stop_auth().await;
    let logs = world.logs();
    assert!(logs.lines().count() > 2, "there are logs");
    let cookies = browser.cookies();
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let mut secrets = vec![
        PASSWORD.to_owned(),
        crate::world::SECRET.to_owned(),
        "a wrong password of hers".to_owned(),
        "a very private prompt".to_owned(),
        "upstream-secret-key".to_owned(),
        granted.code.clone(),
        granted.verifier.clone(),
        tokens.refresh().to_owned(),
        signature(&tokens.access),
        signature(tokens.id.as_ref().unwrap()),
    ];
    secrets.extend(cookies.into_values().filter(|value| value.len() > 12));
    for secret in secrets {
        assert!(!logs.contains(&secret), "{secret} is in the logs");
    }
}
