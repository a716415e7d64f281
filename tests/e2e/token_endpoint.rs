//! The token endpoint and its relatives: introspection, revocation, userinfo.

use reqwest::Method;

use crate::{
    browser::Browser,
    oauth::{App, Auth, Reply, basic, console_tokens},
    world::{Engine, PASSWORD, SECRET, World, on_both_engines},
};

fn other(world: &World) -> App {
    App::confidential(
        world,
        "other",
        "http://127.0.0.1:8090/callback",
        "openid offline_access",
    )
}

on_both_engines! {
    async fn a_code_is_good_for_one_redemption_and_a_replay_ends_what_it_gave(world: &World) {
        let app = world.web();
        let granted = app.code_from(&Browser::new(world), "bob").await;
        let tokens = app.redeem(&granted).await.tokens();
        world.http().userinfo(&tokens.access).await.ok();
        app.redeem(&granted).await.oauth_error(400, "invalid_grant");
        app.refresh(tokens.refresh()).await.oauth_error(400, "invalid_grant");
        world.http().userinfo(&tokens.access).await.bearer_error(401, "invalid_token");
        assert_eq!(world.http().introspect(&tokens.access).await["active"], false);
    }

    async fn refresh_tokens_rotate_and_the_reuse_of_an_old_one_ends_the_family(world: &World) {
        let app = world.spa();
        let first = app.tokens_of(world, "carol").await;
        let second = app.refresh(first.refresh()).await.tokens();
        assert_ne!(second.refresh(), first.refresh());
        assert_eq!(second.access_claims()["sub"], first.access_claims()["sub"]);
        assert_eq!(second.id_claims()["auth_time"], first.id_claims()["auth_time"], "OpenID Connect Core §12.2");
        let third = app.refresh(second.refresh()).await.tokens();
        world.http().userinfo(&third.access).await.ok();
        app.refresh(first.refresh()).await.oauth_error(400, "invalid_grant");
        app.refresh(third.refresh()).await.oauth_error(400, "invalid_grant");
        world.http().userinfo(&third.access).await.bearer_error(401, "invalid_token");
    }

    async fn a_reply_that_got_lost_is_given_again_to_the_same_client(world: &World) {
        let app = world.spa();
        let first = app.tokens_of(world, "carol").await;
        let lost = app.refresh(first.refresh()).await.tokens();
        let again = app.refresh(first.refresh()).await.tokens();
        assert_eq!(again.refresh(), lost.refresh(), "the family has one successor");
        app.refresh(again.refresh()).await.tokens();
    }

    async fn a_refresh_may_ask_for_less_and_never_for_more(world: &World) {
        let app = world.web().scope("openid profile offline_access");
        let tokens = app.tokens_of(world, "bob").await;
        let ask = async |token: &str, scope: &str| {
            app.http.token(app.auth(), &[("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)]).await
        };
        ask(tokens.refresh(), "openid ai:chat").await.oauth_error(400, "invalid_scope");
        let less = ask(tokens.refresh(), "openid").await.tokens();
        assert_eq!(less.access_claims()["scope"], "openid");
        // RFC 6749 §6: the refresh token itself keeps its scope.
        let full = app.refresh(less.refresh()).await.tokens();
        assert!(full.access_claims()["scope"].as_str().unwrap().contains("profile"));
    }

    async fn introspection_and_revocation_follow_the_state_of_a_token(world: &World) {
        let app = world.web();
        let tokens = app.tokens_of(world, "bob").await;
        let known = world.http().introspect(&tokens.access).await;
        assert_eq!(known["active"], true);
        for (name, value) in [("client_id", "web"), ("token_type", "Bearer"), ("iss", world.issuer.as_str())] {
            assert_eq!(known[name], value);
        }
        assert_eq!(known["sub"], tokens.access_claims()["sub"]);
        assert_eq!(known["exp"], tokens.access_claims()["exp"]);
        assert_eq!(world.http().introspect(tokens.refresh()).await["active"], true);
        assert_eq!(app.revoke(tokens.refresh()).await.status, 200);
        assert_eq!(world.http().introspect(tokens.refresh()).await, serde_json::json!({"active": false}));
        // RFC 7009 §2.1: the access tokens of the same grant go, too.
        assert_eq!(world.http().introspect(&tokens.access).await["active"], false);
        app.refresh(tokens.refresh()).await.oauth_error(400, "invalid_grant");
        // RFC 7009 §2.2: what is unknown or gone already is no error.
        assert_eq!(app.revoke(tokens.refresh()).await.status, 200);
        assert_eq!(app.revoke("garbage").await.status, 200);
    }

    async fn idle_refresh_tokens_end(world: &World) {
        let app = App::confidential(world, "short", "http://127.0.0.1:8095/callback", "openid offline_access");
        let tokens = app.tokens_of(world, "bob").await;
        let issued = tokens.access_claims()["iat"].as_i64().unwrap();
        while crate::world::unix_now() < issued + 2 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        app.refresh(tokens.refresh()).await.oauth_error(400, "invalid_grant");
        world.http().userinfo(&tokens.access).await.bearer_error(401, "invalid_token");
    }

    async fn signing_keys_rotate_with_an_overlap(world: &World) {
        let http = world.http();
        let kids = async || {
            let jwks = http.get("/oauth2/jwks").await.json();
            jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let old = http.client_credentials("service", "ai:chat").await;
        let before = kids().await;
        world.auth_cli(&["keys", "rotate"]);
        let after = crate::world::eventually("a new key in the JWKS", std::time::Duration::from_secs(20), async || {
            let now = kids().await;
            now.iter().any(|kid| !before.contains(kid)).then_some(now)
        })
        .await;
        assert!(after.contains(&crate::oauth::header(&old.access)["kid"].as_str().unwrap().to_owned()), "what was issued stays verifiable");
        assert_eq!(http.introspect(&old.access).await["active"], true);
        // Whichever key signs now, the gateway accepts both.
        let new = http.client_credentials("service", "ai:chat").await;
        for token in [&old.access, &new.access] {
            assert_eq!(http.bearer_get(&format!("{}/v1/models", world.gateway), token).await.status, 200);
        }
        assert!(world.auth_cli(&["keys", "list"]).contains(&before[0]));
    }
}

#[tokio::test]
async fn a_machine_gets_a_token_of_its_own() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let tokens = http.client_credentials("service", "ai:chat").await;
    assert_eq!(
        (tokens.refresh.as_ref(), tokens.id.as_ref()),
        (None, None),
        "RFC 6749 §4.4.3"
    );
    let claims = tokens.access_claims();
    assert_eq!(
        (claims["client_id"].as_str(), claims["sub"].as_str()),
        (Some("service"), Some("service")),
        "RFC 9068 §2.2"
    );
    assert_eq!(claims["scope"], "ai:chat");
    let by_post = http
        .token(
            Auth::Post("service", SECRET),
            &[("grant_type", "client_credentials"), ("scope", "ai:chat")],
        )
        .await;
    by_post.tokens();
    let default = http
        .token(Auth::Basic("service", SECRET), &[("grant_type", "client_credentials")])
        .await
        .tokens();
    assert!(default.access_claims()["scope"].as_str().unwrap().contains("ai:"));
    http.token(
        Auth::Basic("service", SECRET),
        &[("grant_type", "client_credentials"), ("scope", "admin")],
    )
    .await
    .oauth_error(400, "invalid_scope");
    http.userinfo(&tokens.access)
        .await
        .bearer_error(403, "insufficient_scope");
}

#[tokio::test]
async fn the_console_may_use_the_password_grant_and_nobody_else() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let tokens = console_tokens(world, "admin").await;
    assert_eq!(tokens.access_claims()["permissions"], serde_json::json!(["*"]));
    assert_eq!(tokens.access_claims()["client_id"], "console");
    let refreshed = http
        .token(
            Auth::Public("console"),
            &[("grant_type", "refresh_token"), ("refresh_token", tokens.refresh())],
        )
        .await;
    refreshed.tokens();
    let fields = [
        ("grant_type", "password"),
        ("username", "alice"),
        ("password", PASSWORD),
    ];
    http.token(Auth::Basic("web", SECRET), &fields)
        .await
        .oauth_error(400, "unauthorized_client");
    http.token(Auth::Public("spa"), &fields)
        .await
        .oauth_error(400, "unauthorized_client");
    http.token(Auth::Basic("service", SECRET), &fields)
        .await
        .oauth_error(400, "unauthorized_client");
    http.token(
        Auth::Public("console"),
        &[("grant_type", "password"), ("username", "alice"), ("password", "wrong")],
    )
    .await
    .oauth_error(400, "invalid_grant");
    // A person without the permission does not get it by asking for the scope.
    let plain = console_tokens(world, "bob").await.access_claims();
    assert!(plain["permissions"].as_array().is_none_or(Vec::is_empty), "{plain}");
}

#[tokio::test]
async fn a_code_needs_the_right_verifier_client_and_redirect_uri() {
    let world = World::shared(Engine::Sqlite).await;
    let app = world.web();
    let browser = Browser::new(world);
    let fresh = async || app.code_from(&browser, "bob").await;

    let wrong = crate::oauth::random_text(64);
    app.redeem_with(&fresh().await, &[("code_verifier", &wrong)])
        .await
        .oauth_error(400, "invalid_grant");
    app.redeem_with(&fresh().await, &[("code_verifier", "")])
        .await
        .oauth_error(400, "invalid_grant");
    app.redeem_with(&fresh().await, &[("redirect_uri", "http://127.0.0.1:8080/other")])
        .await
        .oauth_error(400, "invalid_grant");
    app.redeem_with(&fresh().await, &[("code", "")])
        .await
        .oauth_error(400, "invalid_request");
    app.redeem_with(&fresh().await, &[("code", "garbage")])
        .await
        .oauth_error(400, "invalid_grant");
    let granted = fresh().await;
    let thief = App {
        redirect_uri: app.redirect_uri.clone(),
        ..other(world)
    };
    thief.redeem(&granted).await.oauth_error(400, "invalid_grant");
    world
        .spa()
        .redeem_with(&granted, &[("redirect_uri", &app.redirect_uri)])
        .await
        .oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_refresh_token_of_another_client_is_refused_and_keeps_working_for_its_own() {
    let world = World::shared(Engine::Sqlite).await;
    let tokens = world.web().tokens_of(world, "bob").await;
    other(world)
        .refresh(tokens.refresh())
        .await
        .oauth_error(400, "invalid_grant");
    world
        .spa()
        .refresh(tokens.refresh())
        .await
        .oauth_error(400, "invalid_grant");
    // RFC 7009 §2.1: nor may another client revoke it.
    let _ = other(world).revoke(tokens.refresh()).await;
    world.web().refresh(tokens.refresh()).await.tokens();
}

#[tokio::test]
async fn single_use_objects_of_one_kind_are_not_taken_for_another() {
    let world = World::shared(Engine::Sqlite).await;
    let app = world.web();
    let granted = app.code_from(&Browser::new(world), "bob").await;
    app.refresh(&granted.code).await.oauth_error(400, "invalid_grant");
    world
        .http()
        .userinfo(&granted.code)
        .await
        .bearer_error(401, "invalid_token");
    let tokens = app.redeem(&granted).await.tokens();
    world
        .http()
        .userinfo(tokens.refresh())
        .await
        .bearer_error(401, "invalid_token");
    world
        .http()
        .userinfo(tokens.id.as_ref().unwrap())
        .await
        .bearer_error(401, "invalid_token");
    let as_code = crate::oauth::Granted {
        code: tokens.refresh().to_owned(),
        ..granted
    };
    app.redeem(&as_code).await.oauth_error(400, "invalid_grant");
    app.refresh(&tokens.access).await.oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn client_authentication_fails_as_the_rfc_says() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let fields = [("grant_type", "client_credentials")];
    for auth in [
        Auth::Basic("service", "wrong"),
        Auth::Basic("nobody", SECRET),
        Auth::Post("service", "wrong"),
        Auth::Post("nobody", "x"),
        Auth::Basic("service", ""),
        Auth::Public("service"),
        Auth::Public("nobody"),
    ] {
        let reply = http.token(auth.clone(), &fields).await;
        reply.oauth_error(401, "invalid_client");
        assert!(reply.header("www-authenticate").starts_with("Basic realm="), "{auth:?}");
    }
    let raw = async |authorization: &str, body: &str| {
        http.post_raw("/oauth2/token", &[("authorization", authorization)], body)
            .await
    };
    for header in [
        "Basic",
        "Basic !!!",
        "Basic c2VydmljZQ==",
        "Basic /////w==",
        "Bearer abc",
        "Digest username=service",
    ] {
        raw(header, "grant_type=client_credentials")
            .await
            .oauth_error(401, "invalid_client");
    }
    // RFC 6749 §2.3: not more than one method in a request.
    let both = raw(
        &basic("service", SECRET),
        &format!("grant_type=client_credentials&client_id=service&client_secret={SECRET}"),
    )
    .await;
    both.oauth_error(400, "invalid_request");
    // The same client_id beside Basic is a repetition, another one a contradiction.
    assert_eq!(
        raw(
            &basic("service", SECRET),
            "grant_type=client_credentials&client_id=service"
        )
        .await
        .status,
        200
    );
    assert_ne!(
        raw(&basic("service", SECRET), "grant_type=client_credentials&client_id=web")
            .await
            .status,
        200
    );
    // RFC 6749 §2.3.1: credentials are form-encoded before base64.
    let encoded = SECRET.replace('-', "%2D");
    http.token(Auth::Basic("service", &encoded), &fields).await.tokens();
    // A public client has no secret to show.
    http.token(
        Auth::Post("spa", "anything"),
        &[("grant_type", "refresh_token"), ("refresh_token", "x")],
    )
    .await
    .oauth_error(401, "invalid_client");
    http.token(Auth::Nothing, &fields)
        .await
        .oauth_error(401, "invalid_client");
    // Credentials in the URL are no credentials (OAuth 2.1 §2.4).
    let in_url = http
        .post_raw(
            &format!("/oauth2/token?client_id=service&client_secret={SECRET}&grant_type=client_credentials"),
            &[],
            "",
        )
        .await;
    assert!(matches!(in_url.status, 400 | 401), "{}", in_url.body);
}

#[tokio::test]
async fn requests_of_a_wrong_form_are_refused() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let with = async |body: &str| {
        http.post_raw("/oauth2/token", &[("authorization", &basic("service", SECRET))], body)
            .await
    };
    with("grant_type=unknown")
        .await
        .oauth_error(400, "unsupported_grant_type");
    with("grant_type=implicit")
        .await
        .oauth_error(400, "unsupported_grant_type");
    with("").await.oauth_error(400, "invalid_request");
    with("grant_type=").await.oauth_error(400, "invalid_request");
    with("grant_type=client_credentials&grant_type=client_credentials")
        .await
        .oauth_error(400, "invalid_request");
    with("grant_type=client_credentials&scope=ai%3Achat&scope=ai%3Achat")
        .await
        .oauth_error(400, "invalid_request");
    with("grant_type=client_credentials&scope=%22")
        .await
        .oauth_error(400, "invalid_scope");
    // A grant that exists, but not for this client.
    with("grant_type=authorization_code&code=x")
        .await
        .oauth_error(400, "unauthorized_client");
    assert_eq!(
        with("grant_type=client_credentials&whatever=1").await.status,
        200,
        "unknown parameters are ignored"
    );

    for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"] {
        let reply = http.get(path).await;
        assert_eq!(reply.status, 405, "{path}");
        assert!(reply.header("allow").contains("POST"), "{path}");
    }
    let json = Reply::read(
        http.request(Method::POST, "/oauth2/token")
            .header("authorization", basic("service", SECRET))
            .header("content-type", "application/json")
            .body("{\"grant_type\":\"client_credentials\"}")
            .send()
            .await
            .unwrap(),
    )
    .await;
    json.oauth_error(400, "invalid_request");
    let huge = format!("grant_type=client_credentials&x={}", "a".repeat(2_000_000));
    assert!(matches!(with(&huge).await.status, 400 | 413));
}

#[tokio::test]
async fn introspection_answers_only_those_whom_a_token_concerns() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let token = http.client_credentials("service", "ai:chat").await.access;
    let ask = async |auth: Auth<'_>, token: &str| http.post("/oauth2/introspect", auth, &[("token", token)]).await;
    ask(Auth::Nothing, &token).await.oauth_error(401, "invalid_client");
    ask(Auth::Basic("resource_server", "wrong"), &token)
        .await
        .oauth_error(401, "invalid_client");
    // RFC 7662 §4: who is not concerned learns nothing, not even that the token is good.
    assert_eq!(
        ask(Auth::Basic("bystander", SECRET), &token).await.ok(),
        serde_json::json!({"active": false})
    );
    ask(Auth::Basic("resource_server", SECRET), "")
        .await
        .oauth_error(400, "invalid_request");
    for garbage in ["garbage", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(
            ask(Auth::Basic("resource_server", SECRET), garbage).await.ok(),
            serde_json::json!({"active": false})
        );
    }
    // A public client cannot prove that it is the one that is concerned.
    assert_ne!(ask(Auth::Public("spa"), &token).await.json()["active"], true);
}

#[tokio::test]
async fn userinfo_takes_a_bearer_token_and_says_what_is_wrong_with_others() {
    let world = World::shared(Engine::Sqlite).await;
    let http = world.http();
    let tokens = world.web().scope("openid email").tokens_of(world, "alice").await;
    let claims = http.userinfo(&tokens.access).await.ok();
    assert_eq!(claims["email"], "alice@example.org");
    assert_eq!(claims["name"], serde_json::Value::Null, "only what the scope opens");
    let posted = Reply::read(
        http.request(Method::POST, "/userinfo")
            .bearer_auth(&tokens.access)
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(posted.ok(), claims);
    let none = http.get("/userinfo").await;
    assert_eq!(none.status, 401);
    // RFC 6750 §3.1: without any credentials no error code.
    assert!(
        none.header("www-authenticate").starts_with("Bearer") && !none.header("www-authenticate").contains("error=")
    );
    http.userinfo("garbage").await.bearer_error(401, "invalid_token");
    // Tokens in query strings end up in logs and histories (RFC 9700 §2.6).
    assert_eq!(
        http.get(&format!("/userinfo?access_token={}", tokens.access))
            .await
            .status,
        401
    );
}
