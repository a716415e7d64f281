//! Browser sessions: cookies, sign-out, the account page.

use url::Url;

use crate::{
    browser::{Browser, Landing},
    oauth::{App, answer_of},
    world::{Engine, PASSWORD, World, on_both_engines},
};

fn trusted(world: &World) -> App {
    App::confidential(
        world,
        "trusted",
        "http://127.0.0.1:8091/callback",
        "openid profile offline_access ai:chat",
    )
}

fn logout_url(world: &World, parameters: &[(&str, &str)]) -> String {
    Url::parse_with_params(&format!("{}/connect/logout", world.issuer), parameters)
        .unwrap()
        .into()
}

/// Goes through the logout, confirming when asked.
async fn log_out(browser: &Browser, url: &str) -> Landing {
    match browser.open(url).await {
        Landing::Page(page) if page.has("logout-confirm") => browser.submit(&page.click("logout-confirm")).await,
        landing => landing,
    }
}

on_both_engines! {
    async fn logging_out_ends_the_session_and_sends_the_person_back(world: &World) {
        let app = trusted(world);
        let browser = Browser::new(world);
        let tokens = app.tokens_from(&browser, "carol").await;
        let hint = tokens.id.clone().unwrap();
        let url = logout_url(world, &[("id_token_hint", &hint), ("post_logout_redirect_uri", "http://127.0.0.1:8091/bye"), ("state", "s1")]);
        let back = log_out(&browser, &url).await.away();
        assert_eq!(back.as_str(), "http://127.0.0.1:8091/bye?state=s1");
        let quiet = app.ask(&[("prompt", "none")]);
        assert_eq!(answer_of(&browser.open(&quiet.url).await.away())["error"], "login_required");
        assert!(!browser.is_signed_in().await);
        // Tokens that came out of the session end with it.
        assert_eq!(world.http().introspect(&tokens.access).await["active"], false);
    }

    async fn the_account_page_ends_other_sessions_and_disconnects_apps(world: &World) {
        let phone = Browser::new(world);
        let laptop = Browser::new(world);
        let app = world.web().scope("openid profile offline_access");
        let tokens = app.tokens_from(&phone, "frank").await;
        let page = laptop.sign_in("frank").await;
        assert!(page.buttons("end-session").count() >= 2, "both sessions are listed");
        assert!(page.reply.body.contains("Demo web app"));
        laptop.submit(&page.click_value("end-others")).await.page();
        assert!(!phone.is_signed_in().await);
        assert!(laptop.is_signed_in().await);

        let page = laptop.open("/account").await.page();
        laptop.submit(&page.click_value("remove-app")).await.page();
        app.refresh(tokens.refresh()).await.oauth_error(400, "invalid_grant");
        assert!(!laptop.open("/account").await.page().reply.body.contains("Demo web app"));
    }

    async fn a_session_survives_a_restart_of_nothing_but_ends_at_sign_out(world: &World) {
        let browser = Browser::new(world);
        browser.sign_in("carol").await;
        let stolen = browser.cookies();
        let landing = browser.open("/logout").await.page();
        let page = browser.submit(&landing.click("logout-confirm")).await.page();
        assert!(page.has("logged-out"));
        // The cookie is worth nothing now, whoever kept a copy.
        let thief = Browser::new(world);
        thief.plant_cookies(stolen);
        assert!(!thief.is_signed_in().await);
    }
}

#[tokio::test]
async fn signing_in_changes_the_session_id_and_cookies_are_closed_to_scripts() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    let page = browser.open(&trusted(world).ask(&[]).url).await.page();
    let before = browser.cookies();
    browser.submit(&page.login_form("bob", PASSWORD)).await.away();
    // An attacker who planted the cookies of before has nothing (session fixation).
    let attacker = Browser::new(world);
    attacker.plant_cookies(before);
    assert!(!attacker.is_signed_in().await);
    let cookies = browser.set_cookies();
    assert!(!cookies.is_empty());
    for cookie in cookies {
        let lower = cookie.to_lowercase();
        assert!(
            lower.contains("; httponly") && lower.contains("; samesite=lax") && lower.contains("; path=/"),
            "{cookie}"
        );
        assert!(!lower.contains("domain="), "{cookie}");
    }
}

#[tokio::test]
async fn a_session_cookie_may_not_be_chosen_by_the_browser() {
    let world = World::shared(Engine::Sqlite).await;
    let browser = Browser::new(world);
    browser.open("/account").await.page();
    let chosen: std::collections::BTreeMap<_, _> = browser
        .cookies()
        .into_keys()
        .map(|name| (name, "AAAAAAAAAAAAAAAAAAAAAA".to_owned()))
        .collect();
    let victim = Browser::new(world);
    victim.plant_cookies(chosen.clone());
    victim.sign_in("bob").await;
    let attacker = Browser::new(world);
    attacker.plant_cookies(chosen);
    assert!(!attacker.is_signed_in().await);
}

#[tokio::test]
async fn a_log_out_without_a_good_hint_asks_first_and_never_redirects_on_its_own() {
    let world = World::shared(Engine::Sqlite).await;
    let app = trusted(world);
    let browser = Browser::new(world);
    let tokens = app.tokens_from(&browser, "bob").await;
    let hint = tokens.id.unwrap();
    let foreign = World::shared(Engine::Postgres).await;
    let foreign_hint = trusted(foreign).tokens_of(foreign, "bob").await.id.unwrap();
    let (_, rest) = hint.split_once('.').unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{}.", rest.split_once('.').unwrap().0);
    let bye = "http://127.0.0.1:8091/bye";
    for parameters in [
        vec![
            ("id_token_hint", hint.as_str()),
            ("post_logout_redirect_uri", "https://evil.example/"),
        ],
        vec![
            ("id_token_hint", hint.as_str()),
            ("post_logout_redirect_uri", "http://127.0.0.1:8091/bye?added=1"),
        ],
        vec![("id_token_hint", none.as_str()), ("post_logout_redirect_uri", bye)],
        vec![
            ("id_token_hint", foreign_hint.as_str()),
            ("post_logout_redirect_uri", bye),
        ],
        vec![("id_token_hint", "garbage"), ("post_logout_redirect_uri", bye)],
        vec![("post_logout_redirect_uri", bye)],
        vec![
            ("client_id", "trusted"),
            ("id_token_hint", hint.as_str()),
            ("post_logout_redirect_uri", "javascript:alert(1)"),
        ],
        vec![
            ("client_id", "web"),
            ("id_token_hint", hint.as_str()),
            ("post_logout_redirect_uri", bye),
        ],
    ] {
        let page = browser.open(&logout_url(world, &parameters)).await.page();
        assert!(
            page.has("oauth-error") || page.has("logout-confirm"),
            "{parameters:?}: {}",
            page.reply.body
        );
    }
    assert!(browser.is_signed_in().await, "nothing was confirmed");
    // A page that asks can be declined.
    let page = browser.open("/logout").await.page();
    browser.submit(&page.click("logout-cancel")).await;
    assert!(browser.is_signed_in().await);
    let page = log_out(&browser, &logout_url(world, &[])).await.page();
    assert!(page.has("logged-out"));
    assert!(!browser.is_signed_in().await);
    // Somebody who is not signed in is logged out already.
    assert!(
        log_out(&Browser::new(world), &logout_url(world, &[("state", "x")]))
            .await
            .page()
            .has("logged-out")
    );
}
