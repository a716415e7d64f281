//! Disabled people and clients, at every grant, at issue and at redemption; guessing passwords.
//! Each test has a world of its own, for it changes what others would trip over.

use std::collections::BTreeMap;

use crate::{
    browser::{Browser, Landing},
    oauth::{App, Auth, Http, answer_of},
    world::{Engine, Link, PASSWORD, SECRET, Settings, World},
};

fn victim(world: &World) -> App {
    App::confidential(
        world,
        "victim",
        "http://127.0.0.1:8096/callback",
        "openid offline_access ai:chat",
    )
}

async fn locked_people_get_nothing(engine: Engine) {
    let world = World::start(engine).await;
    let http = world.http();
    let app = victim(&world);
    let browser = Browser::new(&world);
    let tokens = app.tokens_from(&browser, "bob").await;
    let waiting = app.code_from(&browser, "bob").await;
    let console = http.password("bob", PASSWORD).await.tokens();

    world.auth_cli(&["user", "lock", "bob"]);

    http.password("bob", PASSWORD).await.oauth_error(400, "invalid_grant");
    app.redeem(&waiting).await.oauth_error(400, "invalid_grant");
    app.refresh(tokens.refresh()).await.oauth_error(400, "invalid_grant");
    http.token(
        Auth::Public("console"),
        &[("grant_type", "refresh_token"), ("refresh_token", console.refresh())],
    )
    .await
    .oauth_error(400, "invalid_grant");
    http.userinfo(&tokens.access).await.bearer_error(401, "invalid_token");
    for token in [&tokens.access, &console.access, tokens.refresh.as_ref().unwrap()] {
        assert_eq!(http.introspect(token).await["active"], false);
    }
    let quiet = app.ask(&[("prompt", "none")]);
    assert_eq!(
        answer_of(&browser.open(&quiet.url).await.away())["error"],
        "login_required"
    );
    let page = browser.open(&app.ask(&[]).url).await.page();
    let refused = browser.submit(&page.login_form("bob", PASSWORD)).await.page();
    // Locked or wrong: the page does not tell which.
    let wrong = browser.open(&app.ask(&[]).url).await.page();
    let wrong = browser.submit(&wrong.login_form("carol", "not it")).await.page();
    assert_eq!(refused.text_of("login-problem"), wrong.text_of("login-problem"));

    world.auth_cli(&["user", "unlock", "bob"]);
    app.tokens_of(&world, "bob").await;
    app.refresh(tokens.refresh()).await.oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn locked_people_get_nothing_on_sqlite() {
    locked_people_get_nothing(Engine::Sqlite).await;
}

#[tokio::test]
async fn locked_people_get_nothing_on_postgresql() {
    locked_people_get_nothing(Engine::Postgres).await;
}

#[tokio::test]
async fn disabled_clients_get_nothing() {
    let world = World::start(Engine::Sqlite).await;
    let http = world.http();
    let app = victim(&world);
    let browser = Browser::new(&world);
    let tokens = app.tokens_from(&browser, "bob").await;
    let waiting = app.code_from(&browser, "bob").await;
    let machine = http.client_credentials("victim", "ai:chat").await;

    world.auth_cli(&["client", "disable", "victim"]);

    app.redeem(&waiting).await.oauth_error(401, "invalid_client");
    app.refresh(tokens.refresh()).await.oauth_error(401, "invalid_client");
    http.token(Auth::Basic("victim", SECRET), &[("grant_type", "client_credentials")])
        .await
        .oauth_error(401, "invalid_client");
    let page = browser.open(&app.ask(&[]).url).await.page();
    assert_eq!((page.reply.status, page.has("oauth-error")), (400, true));
    for token in [&tokens.access, &machine.access, tokens.refresh.as_ref().unwrap()] {
        assert_eq!(http.introspect(token).await["active"], false);
    }
    http.userinfo(&tokens.access).await.bearer_error(401, "invalid_token");

    world.auth_cli(&["client", "enable", "victim"]);
    http.client_credentials("victim", "ai:chat").await;
}

#[tokio::test]
async fn what_a_client_may_is_checked_again_when_it_refreshes() {
    let world = World::start(Engine::Sqlite).await;
    let app = victim(&world);
    let tokens = app.tokens_of(&world, "bob").await;
    let narrower = format!(
        "[[client]]\nclient_id = \"victim\"\nclient_secret = \"{SECRET}\"\nclient_name = \"Less\"\nredirect_uris = [\"http://127.0.0.1:8096/callback\"]\n\
         grant_types = [\"authorization_code\", \"refresh_token\"]\nresponse_types = [\"code\"]\nscope = \"openid offline_access\"\n"
    );
    world.write("narrower.toml", &narrower);
    world.auth_cli(&["apply", "narrower.toml"]);
    let reply = app.refresh(tokens.refresh()).await;
    if reply.status == 200 {
        assert!(
            !reply.tokens().access_claims()["scope"]
                .as_str()
                .unwrap()
                .contains("ai:chat")
        );
    } else {
        reply.oauth_error(400, "invalid_scope");
    }
}

#[tokio::test]
async fn applying_the_same_document_again_changes_nothing() {
    let world = World::start(Engine::Sqlite).await;
    let app = world.web();
    let browser = Browser::new(&world);
    let tokens = app.tokens_from(&browser, "alice").await;
    world.auth_cli(&["apply", "auth-demo.toml", "auth-extra.toml"]);
    assert!(browser.is_signed_in().await);
    app.refresh(tokens.refresh()).await.tokens();
}

#[tokio::test]
async fn a_new_password_ends_what_the_old_one_opened() {
    let world = World::start(Engine::Sqlite).await;
    let app = victim(&world);
    let browser = Browser::new(&world);
    let tokens = app.tokens_from(&browser, "bob").await;
    world.write(
        "new.toml",
        "[[user]]\nusername = \"bob\"\nname = \"Bob\"\npassword = \"an entirely new password\"\n",
    );
    world.auth_cli(&["apply", "new.toml"]);
    assert!(!browser.is_signed_in().await);
    app.refresh(tokens.refresh()).await.oauth_error(400, "invalid_grant");
    world
        .http()
        .password("bob", PASSWORD)
        .await
        .oauth_error(400, "invalid_grant");
    world.http().password("bob", "an entirely new password").await.tokens();
}

/// A document with an error anywhere changes nothing, and says where the error is.
#[tokio::test]
async fn a_document_is_taken_whole_or_not_at_all() {
    let world = World::start(Engine::Sqlite).await;
    let good = "[[user]]\nusername = \"newcomer\"\npassword = \"a password of some length\"\n";
    for (bad, naming) in [
        (
            "[[client]]\nclient_id = \"x\"\nredirect_uris = [\"javascript:alert(1)\"]\ntoken_endpoint_auth_method = \"none\"\n",
            "redirect_uris",
        ),
        (
            "[[client]]\nclient_id = \"x\"\nredirect_uris = [\"http://app.example/callback\"]\ntoken_endpoint_auth_method = \"none\"\n",
            "redirect_uris",
        ),
        (
            "[[client]]\nclient_id = \"x\"\nredirect_uris = [\"https://app.example/#f\"]\ntoken_endpoint_auth_method = \"none\"\n",
            "redirect_uris",
        ),
        (
            "[[client]]\nclient_id = \"x\"\nredirect_uris = [\"https://*.example/\"]\ntoken_endpoint_auth_method = \"none\"\n",
            "redirect_uris",
        ),
        (
            "[[client]]\nclient_id = \"x\"\nredirect_uris = [\"https://user@app.example/\"]\ntoken_endpoint_auth_method = \"none\"\n",
            "redirect_uris",
        ),
        (
            "[[client]]\nclient_id = \"x\"\nredirect_uris = [\"data:text/html,x\"]\ntoken_endpoint_auth_method = \"none\"\n",
            "redirect_uris",
        ),
        ("[[client]]\nclient_id = \"x\"\nclient_nmae = \"typo\"\n", "client_nmae"),
        (
            "[[client]]\nclient_id = \"x\"\ngrant_types = [\"password\"]\nclient_secret = \"0123456789012345678901234567890123\"\n",
            "grant_types",
        ),
        (
            "[[user]]\nusername = \"y\"\nroles = [\"no-such-role\"]\npassword = \"a password of some length\"\n",
            "roles",
        ),
        ("[[usr]]\nusername = \"y\"\n", "usr"),
    ] {
        world.write("bad.toml", &format!("{good}{bad}"));
        println!("{bad}");
        let output = world.auth_cli_fails(&["apply", "bad.toml"]);
        assert!(output.contains(naming), "{naming} is not in: {output}");
    }
    world
        .http()
        .password("newcomer", "a password of some length")
        .await
        .oauth_error(400, "invalid_grant");
}

/// Guesses at the console's password grant until it is refused for its number.
async fn guess_until_blocked(http: &Http, username: &str) -> u32 {
    for tries in 1..=60 {
        let reply = http.password(username, "a wrong guess").await;
        if reply.status == 429 {
            return tries;
        }
        reply.oauth_error(400, "invalid_grant");
    }
    panic!("60 guesses at {username} and no end");
}

#[tokio::test]
async fn guesses_count_together_at_both_doors_and_for_unknown_people_alike() {
    let world = World::start(Engine::Sqlite).await;
    let http = world.http();
    let tries = guess_until_blocked(&http, "carol").await;
    let reply = http.password("carol", PASSWORD).await;
    assert_eq!(reply.status, 429, "the right password does not get through either");
    assert!(
        reply
            .header("retry-after")
            .parse::<u32>()
            .is_ok_and(|seconds| seconds > 0)
    );
    // The page is the second door.
    let browser = Browser::new(&world);
    let page = browser.open("/account").await.page();
    let blocked = browser.submit(&page.login_form("carol", PASSWORD)).await.page();
    assert!(blocked.has("login-submit"), "not signed in");
    assert!(!browser.is_signed_in().await);
    // Case and spelling of the name are no third door.
    assert_ne!(http.password("CAROL", PASSWORD).await.status, 200);
    // Nobody else is held up, and who does not exist is counted alike.
    http.password("bob", PASSWORD).await.tokens();
    assert_eq!(guess_until_blocked(&http, "nobody-of-that-name").await, tries);
}

#[tokio::test]
async fn guesses_at_the_page_close_the_password_grant() {
    let world = World::start(Engine::Sqlite).await;
    let browser = Browser::new(&world);
    let mut blocked = false;
    for _ in 0..60 {
        let page = browser.open("/account").await.page();
        let answer = browser.submit(&page.login_form("dave", "a wrong guess")).await.page();
        assert!(answer.has("login-problem"));
        if answer.reply.status == 429 {
            blocked = true;
            break;
        }
    }
    assert!(blocked, "60 guesses at the page and no end");
    assert_eq!(world.http().password("dave", PASSWORD).await.status, 429);
}

#[tokio::test]
async fn a_stranger_cannot_lock_out_a_browser_that_signed_in_before() {
    let world = World::start(Engine::Sqlite).await;
    let own = Browser::new(&world);
    own.sign_in("erin").await;
    let landing = own.open("/logout").await.page();
    own.submit(&landing.click("logout-confirm")).await;
    guess_until_blocked(&world.http(), "erin").await;
    own.sign_in("erin").await;
}

/// SECURITY: refresh reuse after a restart. What was rotated away stays so.
async fn rotated_tokens_stay_dead_over_restarts(engine: Engine) {
    let world = World::start(engine).await;
    let app = victim(&world);
    let first = app.tokens_of(&world, "bob").await;
    let second = app.refresh(first.refresh()).await.tokens();
    let third = app.refresh(second.refresh()).await.tokens();
    let kept = app.tokens_of(&world, "carol").await;
    let granted = app.code_from(&Browser::new(&world), "dave").await;
    let given = app.redeem(&granted).await.tokens();
    let revoked = app.tokens_of(&world, "erin").await;
    assert_eq!(app.revoke(revoked.refresh()).await.status, 200);

    world.kill_auth();
    world.start_auth().await;

    assert_eq!(world.http().introspect(&revoked.access).await["active"], false);
    app.refresh(first.refresh()).await.oauth_error(400, "invalid_grant");
    app.refresh(third.refresh()).await.oauth_error(400, "invalid_grant");
    app.refresh(kept.refresh()).await.tokens();
    app.redeem(&granted).await.oauth_error(400, "invalid_grant");
    app.refresh(given.refresh()).await.oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn rotated_tokens_stay_dead_over_restarts_on_sqlite() {
    rotated_tokens_stay_dead_over_restarts(Engine::Sqlite).await;
}

#[tokio::test]
async fn rotated_tokens_stay_dead_over_restarts_on_postgresql() {
    rotated_tokens_stay_dead_over_restarts(Engine::Postgres).await;
}

#[tokio::test]
async fn without_its_database_the_provider_answers_503_and_never_success() {
    let world = World::start(Engine::Postgres).await;
    let app = victim(&world);
    let http = world.http();
    let browser = Browser::new(&world);
    let tokens = app.tokens_from(&browser, "bob").await;
    let waiting = app.code_from(&browser, "bob").await;
    let login = Browser::new(&world);
    let form = login.open("/account").await.page().login_form("carol", PASSWORD);

    world.provider_database(Link::Down).await;

    let mut answers = BTreeMap::new();
    answers.insert("code", app.redeem(&waiting).await.status);
    answers.insert("refresh", app.refresh(tokens.refresh()).await.status);
    answers.insert("password", http.password("bob", PASSWORD).await.status);
    answers.insert("revoke", app.revoke(tokens.refresh()).await.status);
    answers.insert(
        "introspect refresh",
        http.post(
            "/oauth2/introspect",
            Auth::Basic("resource_server", SECRET),
            &[("token", tokens.refresh())],
        )
        .await
        .status,
    );
    match browser.open(&app.ask(&[]).url).await {
        Landing::Page(page) => {
            answers.insert("authorize", page.reply.status);
        }
        Landing::Away(url) => panic!("went on to {url}"),
    }
    match login.submit(&form).await {
        Landing::Page(page) => {
            answers.insert("sign-in", page.reply.status);
        }
        Landing::Away(url) => panic!("signed in, to {url}"),
    }
    assert!(answers.values().all(|status| *status == 503), "{answers:?}");
    let ready = http.get(&format!("{}/readyz", world.auth_status)).await;
    assert_eq!(ready.status, 503);
    assert_eq!(http.get(&format!("{}/healthz", world.auth_status)).await.status, 200);
    // Tokens still verify at the gateway, without the provider's database.
    assert_eq!(
        http.bearer_get(&format!("{}/v1/models", world.gateway), &tokens.access)
            .await
            .status,
        200
    );

    world.provider_database(Link::Up).await;
    crate::world::eventually(
        "the provider recovers",
        std::time::Duration::from_secs(20),
        async || (app.refresh(tokens.refresh()).await.status == 200).then_some(()),
    )
    .await;
}

#[tokio::test]
async fn unknown_configuration_keys_are_refused_by_name() {
    let world = World::start_with(Engine::Sqlite, Settings::default()).await;
    for (file, run) in [
        (
            "auth-server.toml",
            World::auth_cli_fails as fn(&World, &[&str]) -> String,
        ),
        ("resource-gateway.toml", World::gateway_cli_fails),
    ] {
        let path = world.dir.join(file);
        let good = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("lisen = \"127.0.0.1:1\"\n{good}")).unwrap();
        let output = run(&world, &["migrate"]);
        assert!(output.contains("lisen"), "{output}");
        std::fs::write(&path, good).unwrap();
    }
}

#[tokio::test]
async fn a_client_changes_over_to_a_new_secret_while_the_old_one_works() {
    let world = World::start(Engine::Sqlite).await;
    let http = world.http();
    let printed = world.auth_cli(&["client", "rotate-secret", "service"]);
    let new = printed
        .split_whitespace()
        .find(|word| word.starts_with("hgcs_"))
        .unwrap();
    let with = async |secret: &str| {
        http.token(Auth::Basic("service", secret), &[("grant_type", "client_credentials")])
            .await
    };
    with(new).await.tokens();
    with(SECRET).await.tokens();
    // At most two work at once.
    world.auth_cli(&["client", "rotate-secret", "service"]);
    with(new).await.tokens();
    with(SECRET).await.oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn the_doctor_finds_a_healthy_installation_and_a_missing_key() {
    let world = World::start(Engine::Sqlite).await;
    world.auth_cli(&["doctor"]);
    world.gateway_cli(&["doctor"]);
    let key = world.dir.join("keys/master.key");
    let text = std::fs::read_to_string(&key).unwrap();
    std::fs::write(&key, "not a key").unwrap();
    assert!(world.auth_cli_fails(&["doctor"]).contains("master.key"));
    assert!(world.gateway_cli_fails(&["doctor"]).contains("master.key"));
    std::fs::write(&key, text).unwrap();
}

#[tokio::test]
async fn over_https_cookies_are_bound_to_the_host_and_everything_else_works_too() {
    let world = World::start_with(
        Engine::Sqlite,
        Settings {
            tls: true,
            ..Settings::default()
        },
    )
    .await;
    let browser = Browser::new(&world);
    let app = world.web();
    let tokens = app.tokens_from(&browser, "alice").await;
    for cookie in browser.set_cookies() {
        assert!(cookie.starts_with("__Host-") && cookie.contains("; Secure"), "{cookie}");
    }
    let page = browser.open("/account").await.page();
    assert!(page.reply.header("strict-transport-security").contains("max-age="));
    // The gateway finds the provider's keys and its revocations over https, too.
    let caller = crate::gateway::Caller::with(&world, tokens.access.clone());
    assert_eq!(caller.chat("t-echo").await.status, 200);
    assert_eq!(app.revoke(tokens.refresh()).await.status, 200);
    crate::world::eventually(
        "the revocation arrives",
        std::time::Duration::from_secs(1),
        async || (caller.chat("t-echo").await.status == 401).then_some(()),
    )
    .await;
    // Nobody answers in the clear on these ports.
    let plain = Http::new(world.issuer.replace("https:", "http:"));
    assert!(
        plain
            .request(reqwest::Method::GET, "/oauth2/jwks")
            .send()
            .await
            .is_err_and(|error| !error.is_timeout())
    );
}
