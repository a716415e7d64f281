//! What is revoked at the provider is dead at the gateway at once, without a call per request.

use std::time::{Duration, Instant};

use crate::{
    browser::Browser,
    gateway::Caller,
    oauth::App,
    world::{Engine, World, eventually, on_both_engines},
};

/// How long this machine may take, whatever else it does. A gateway that is told at once is quicker by far (docs/performance.md);
/// one that heard of it at the end of its poll only would take longer: the provider holds a poll for 25 seconds.
const LIMIT: Duration = Duration::from_secs(15);

fn victim(world: &World) -> App {
    App::confidential(
        world,
        "victim",
        "http://127.0.0.1:8096/callback",
        "openid offline_access ai:chat",
    )
}

/// The token works now, `revoke` happens, and soon it does not work any more, for good.
async fn dies(world: &World, what: &str, token: &str, revoke: impl Future<Output = ()>) {
    let caller = Caller::with(world, token);
    assert_eq!(caller.chat("t-echo").await.status, 200, "{what}: good before");
    revoke.await;
    let started = Instant::now();
    eventually(&format!("{what} reaches the gateway"), LIMIT, async || {
        (caller.chat("t-echo").await.status == 401).then_some(())
    })
    .await;
    eprintln!("{what} reached the gateway in {:?}", started.elapsed());
    caller.chat("t-echo").await.bearer_error(401, "invalid_token");
}

on_both_engines! {
    async fn revoked_tokens_grants_and_sessions_die_while_the_poll_waits(world: &World) {
        let app = world.web();
        let kept = app.tokens_of(world, "alice").await;

        let tokens = app.tokens_of(world, "alice").await;
        dies(world, "a revoked access token", &tokens.access, async { assert_eq!(app.revoke(&tokens.access).await.status, 200) }).await;

        let tokens = app.tokens_of(world, "alice").await;
        dies(world, "a revoked grant", &tokens.access, async { assert_eq!(app.revoke(tokens.refresh()).await.status, 200) }).await;

        let granted = app.code_from(&Browser::new(world), "alice").await;
        let tokens = app.redeem(&granted).await.tokens();
        dies(world, "a replayed code", &tokens.access, async { app.redeem(&granted).await.oauth_error(400, "invalid_grant") }).await;

        let first = app.tokens_of(world, "alice").await;
        let second = app.refresh(first.refresh()).await.tokens();
        let third = app.refresh(second.refresh()).await.tokens();
        dies(world, "a reused refresh token", &third.access, async { app.refresh(first.refresh()).await.oauth_error(400, "invalid_grant") }).await;

        let browser = Browser::new(world);
        let tokens = app.tokens_from(&browser, "alice").await;
        dies(world, "a log-out", &tokens.access, async {
            let page = browser.open("/logout").await.page();
            assert!(browser.submit(&page.click("logout-confirm")).await.page().has("logged-out"));
        })
        .await;

        assert_eq!(Caller::with(world, kept.access).chat("t-echo").await.status, 200, "others live on");
    }
}

#[tokio::test]
async fn locked_people_and_disabled_clients_die_while_the_poll_waits_and_over_a_restart() {
    let world = World::start(Engine::Sqlite).await;
    let app = victim(&world);
    let bob = app.tokens_of(&world, "bob").await;
    let carol = app.tokens_of(&world, "carol").await;
    let machine = world.http().client_credentials("victim", "ai:chat").await;
    dies(&world, "a locked person", &bob.access, async {
        world.auth_cli(&["user", "lock", "bob"]);
    })
    .await;
    assert_eq!(
        Caller::with(&world, carol.access.clone()).chat("t-echo").await.status,
        200
    );
    dies(&world, "a disabled client", &machine.access, async {
        world.auth_cli(&["client", "disable", "victim"]);
    })
    .await;
    assert_eq!(
        Caller::with(&world, carol.access.clone()).chat("t-echo").await.status,
        401
    );

    // A gateway that was away learns it before it says that it is ready.
    world.kill_gateway();
    world.start_gateway().await;
    for token in [&bob.access, &carol.access, &machine.access] {
        Caller::with(&world, token.clone())
            .chat("t-echo")
            .await
            .bearer_error(401, "invalid_token");
    }
    // So does one that starts while the provider restarts.
    world.kill_auth();
    world.start_auth().await;
    let service = Caller::service(&world).await;
    assert_eq!(service.chat("t-echo").await.status, 200);
    eventually("the feed is followed again", Duration::from_secs(20), async || {
        let tokens = world.http().client_credentials("service", "ai:chat").await;
        let caller = Caller::with(&world, tokens.access.clone());
        assert_eq!(caller.chat("t-echo").await.status, 200);
        let auth = crate::oauth::Auth::Basic("service", crate::world::SECRET);
        world
            .http()
            .post("/oauth2/revoke", auth, &[("token", &tokens.access)])
            .await;
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(1) {
            if caller.chat("t-echo").await.status == 401 {
                return Some(());
            }
        }
        None
    })
    .await;
}

/// A service exchanges a person's token for one of its own, and says so (RFC 8693).
async fn passed_on(world: &World, token: &str) -> String {
    const TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
    let own = world.http().client_credentials("courier", "ai:chat").await;
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", token),
        ("subject_token_type", TYPE),
        ("actor_token", &own.access),
        ("actor_token_type", TYPE),
        ("scope", "ai:chat"),
    ];
    let auth = crate::oauth::Auth::Basic("courier", crate::world::SECRET);
    world.http().token(auth, &form).await.tokens().access
}

#[tokio::test]
async fn what_was_passed_on_dies_with_what_it_came_from() {
    let world = World::start(Engine::Sqlite).await;
    let app = victim(&world);
    let tokens = app.tokens_of(&world, "alice").await;
    let token = passed_on(&world, &tokens.access).await;
    let claims = crate::oauth::claims(&token);
    assert_eq!(claims["act"]["sub"], "courier");
    assert_eq!(claims["sub"], crate::oauth::claims(&tokens.access)["sub"]);
    dies(&world, "the grant", &token, async {
        assert_eq!(app.revoke(tokens.refresh()).await.status, 200);
    })
    .await;
    let tokens = app.tokens_of(&world, "bob").await;
    let token = passed_on(&world, &tokens.access).await;
    dies(&world, "the client in front", &token, async {
        world.auth_cli(&["client", "disable", "victim"]);
    })
    .await;
    let service = Caller::service(&world).await;
    assert_eq!(service.chat("t-echo").await.status, 200, "others live on");
}

#[tokio::test]
async fn the_feed_is_for_those_who_hold_its_credential() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let poll = |request: reqwest::RequestBuilder| async move {
        request
            .json(&serde_json::json!({"returnImmediately": true, "maxEvents": 1}))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    let request = || http.request(reqwest::Method::POST, "/events/poll?stream=e2e");
    assert_eq!(poll(request()).await, 401);
    assert_eq!(poll(request().bearer_auth("garbage")).await, 401);
    let token = http.client_credentials("service", "ai:chat").await.access;
    assert_eq!(poll(request().bearer_auth(token)).await, 401);
    let refused = poll(request().header("authorization", crate::oauth::basic("service", crate::world::SECRET))).await;
    assert!(matches!(refused, 401 | 403), "{refused}");
}
