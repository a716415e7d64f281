//! What operators do: lock people, set passwords, disable clients; and the cross of every grant with every state.

use auth_server::domain::{
    client::ClientStatus,
    ids::{ClientId, TenantId},
    user::UserStatus,
};

use crate::app::{ADMIN, ALICE, BANK, BOB, CONSOLE, DESK, OWN, SERVICE, SPA, TV, TestApp, WEB, asking};

#[tokio::test]
async fn a_new_password_ends_sessions_codes_refresh_and_access_tokens() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let pending = browser.consented_code(ALICE, &WEB.ask()).await;
    let offline = app
        .tokens_for(ALICE, &WEB.ask().with("scope", "openid offline_access"))
        .await;
    let by_password = app.password(CONSOLE, ALICE.name, ALICE.password).await.expect_tokens();
    let bobs = app.tokens(BOB, WEB).await;
    app.set_password(ALICE, "a new pass phrase").await;
    for tokens in [&offline, &by_password] {
        app.userinfo(tokens).await.expect_bearer_error(401, "invalid_token");
        assert!(!app.is_active(&tokens.access_token).await);
        assert!(!app.is_active(&tokens.refresh_token).await);
    }
    app.refresh(WEB, &offline.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.refresh(CONSOLE, &by_password.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.exchange(&pending).await.expect_oauth_error(400, "invalid_grant");
    browser.get("/account").await.expect_redirect_to("/login");
    app.password(CONSOLE, ALICE.name, ALICE.password)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.userinfo(&bobs).await.expect_status(200);
    // The second of the change and the one after count as before it; what is issued later lives.
    app.advance(2);
    let fresh = app
        .password(CONSOLE, ALICE.name, "a new pass phrase")
        .await
        .expect_tokens();
    app.userinfo(&fresh).await.expect_status(200);
}

#[tokio::test]
async fn consent_outlives_a_new_password() {
    let app = TestApp::start().await;
    app.consented_code(ALICE, WEB).await;
    app.set_password(ALICE, ALICE.password).await;
    app.signed_in(ALICE).await.get(&WEB.ask().path()).await.expect_code();
}

/// SECURITY.md section 2: every grant, every state of the person, at issue and at redeem.
#[tokio::test]
async fn a_person_who_may_not_gets_nothing_by_any_grant() {
    for status in [UserStatus::Locked, UserStatus::Deleted] {
        let app = TestApp::start().await;
        let mut browser = app.browser();
        let code = browser.consented_code(ADMIN, &OWN.ask()).await;
        let tokens = app.tokens(ADMIN, OWN).await;
        let by_password = app.password(CONSOLE, ADMIN.name, ADMIN.password).await.expect_tokens();
        let consent_under_way = {
            let mut browser = app.browser();
            let login = browser.authorize(&WEB.ask()).await;
            let page = browser.sign_in(&login, ADMIN).await.expect_page("id=\"consent-allow\"");
            (browser, page)
        };
        let (asked, allowed) = (
            app.asked(BANK, &asking(BANK, ADMIN)).await,
            app.asked(DESK, &asking(DESK, ADMIN)).await,
        );
        let mut elsewhere = app.signed_in(ADMIN).await;
        let page_elsewhere = elsewhere.open(&app.address_of(&allowed)).await.expect_html(200);
        elsewhere.press(&page_elsewhere, "approve-allow").await.expect_html(200);
        app.set_user_status(ADMIN, status).await;
        // At issue.
        app.ask(BANK, &asking(BANK, ADMIN))
            .await
            .expect_oauth_error(400, "unknown_user_id");
        app.password(CONSOLE, ADMIN.name, ADMIN.password)
            .await
            .expect_oauth_error(400, "invalid_grant");
        browser
            .get(&OWN.ask().with("prompt", "none").path())
            .await
            .expect_error_answer("login_required");
        let login = browser.authorize(&OWN.ask()).await;
        browser.sign_in(&login, ADMIN).await.expect_html(400);
        let (mut browser, page) = consent_under_way;
        browser
            .press(&page, "consent-allow")
            .await
            .expect_page("id=\"login-submit\"");
        // At redeem.
        app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
        app.ask_after(BANK, &asked)
            .await
            .expect_oauth_error(400, "invalid_grant");
        app.ask_after(DESK, &allowed)
            .await
            .expect_oauth_error(400, "invalid_grant");
        app.refresh(OWN, &tokens.refresh_token)
            .await
            .expect_oauth_error(400, "invalid_grant");
        app.refresh(CONSOLE, &by_password.refresh_token)
            .await
            .expect_oauth_error(400, "invalid_grant");
        // At use.
        for tokens in [&tokens, &by_password] {
            app.userinfo(tokens).await.expect_bearer_error(401, "invalid_token");
            assert!(!app.is_active(&tokens.access_token).await && !app.is_active(&tokens.refresh_token).await);
        }
    }
}

#[tokio::test]
async fn a_client_that_may_not_gets_nothing_by_any_grant() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    let tokens = app.tokens(ALICE, WEB).await;
    let console = app.password(CONSOLE, ALICE.name, ALICE.password).await.expect_tokens();
    let machine = app.client_credentials(SERVICE).await.expect_tokens();
    for client in [WEB, CONSOLE, SERVICE] {
        app.set_client_status(client, ClientStatus::Disabled).await;
    }
    app.exchange(&code).await.expect_oauth_error(401, "invalid_client");
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(401, "invalid_client");
    app.refresh(CONSOLE, &console.refresh_token)
        .await
        .expect_oauth_error(401, "invalid_client");
    app.password(CONSOLE, ALICE.name, ALICE.password)
        .await
        .expect_oauth_error(401, "invalid_client");
    app.client_credentials(SERVICE)
        .await
        .expect_oauth_error(401, "invalid_client");
    app.introspect(WEB, &tokens.access_token)
        .await
        .expect_oauth_error(401, "invalid_client");
    app.revoke(WEB, &tokens.access_token)
        .await
        .expect_oauth_error(401, "invalid_client");
    app.get(&WEB.ask().path())
        .await
        .expect_error_page(400, "invalid_client");
    for token in [&tokens.access_token, &console.access_token, &machine.access_token] {
        assert!(!app.is_active(token).await);
    }
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
}

#[tokio::test]
async fn what_waited_for_a_client_when_it_was_disabled_is_over_for_good() {
    let app = TestApp::start().await;
    let code = app.consented_code(ALICE, WEB).await;
    let parameters = WEB.ask().fields.without("client_id");
    let pushed = app.as_client(WEB, "/oauth2/par", &parameters).await.expect_json(201);
    let allowed = app.asked(BANK, &asking(BANK, ALICE)).await;
    app.answer_request(ALICE, "approve-allow").await;
    let undecided = app.asked(BANK, &asking(BANK, ALICE)).await;
    let (connected, shown) = (app.device(TV).await, app.device(TV).await);
    app.allow_device(ALICE, &connected).await;
    let of_another = app.consented_code(ALICE, SPA).await;
    for client in [WEB, BANK, TV] {
        app.set_client_status(client, ClientStatus::Disabled).await;
        app.set_client_status(client, ClientStatus::Active).await;
    }
    app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
    for id in [&allowed, &undecided] {
        app.ask_after(BANK, id).await.expect_oauth_error(400, "invalid_grant");
    }
    for codes in [&connected, &shown] {
        app.poll(TV, codes).await.expect_oauth_error(400, "invalid_grant");
    }
    let reference = WEB.ask().with("request_uri", pushed["request_uri"].as_str().unwrap());
    app.get(&reference.path())
        .await
        .expect_error_page(400, "invalid_request_uri");
    assert!(app.signed_in(ALICE).await.requests().await.is_empty());
    app.exchange(&of_another).await.expect_tokens();
    // It starts anew like any other.
    app.tokens(ALICE, WEB).await;
}

#[tokio::test]
async fn a_disabled_client_leaves_the_tokens_of_others_alone() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, SPA).await;
    app.set_client_status(WEB, ClientStatus::Disabled).await;
    app.userinfo(&tokens).await.expect_status(200);
    app.refresh(SPA, &tokens.refresh_token).await.expect_tokens();
}

#[tokio::test]
async fn deleting_frees_the_name_and_not_the_sub() {
    let app = TestApp::start().await;
    app.set_user_status(BOB, UserStatus::Deleted).await;
    let operate = app.foundation().operate();
    operate.user(&TenantId::new("default"), BOB.name).await.unwrap_err();
    let taken = "[[user]]\nusername = \"robert\"\nsub = \"user-bob\"\n";
    let error = app.try_apply(taken).await.unwrap_err().to_string();
    assert!(error.starts_with("user[0].sub: "), "{error}");
    app.apply("[[user]]\nusername = \"bob\"\npassword = \"x\"\n").await;
    let newcomer = operate.user(&TenantId::new("default"), BOB.name).await.unwrap();
    assert_ne!(newcomer.sub.as_str(), BOB.sub);
}

#[tokio::test]
async fn unknown_people_and_clients_are_said_to_be() {
    let app = TestApp::start().await;
    let operate = app.foundation().operate();
    let error = operate
        .user(&TenantId::new("default"), "nobody-here")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("nobody-here"));
    operate
        .user(&TenantId::new("no-such-tenant"), ALICE.name)
        .await
        .unwrap_err();
    let unknown = operate
        .set_client_status(&ClientId::new("none"), ClientStatus::Disabled)
        .await
        .unwrap_err();
    assert!(unknown.to_string().contains("none"));
}

#[tokio::test]
async fn lists_hold_everybody_once() {
    let app = TestApp::start().await;
    let many = (0..450)
        .map(|n| format!("[[user]]\nusername = \"u{n:03}\"\n"))
        .collect::<Vec<_>>()
        .concat();
    app.apply(&many).await;
    let operate = app.foundation().operate();
    let names: Vec<String> = operate
        .all_users(&TenantId::new("default"))
        .await
        .unwrap()
        .iter()
        .map(|user| user.username.as_str().to_owned())
        .collect();
    assert_eq!(names.len(), 453);
    assert!(names.is_sorted());
    let clients = operate.all_clients().await.unwrap();
    assert_eq!(clients.len(), 15);
}
