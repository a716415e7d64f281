//! Declarative documents: refused whole with every fault at its path, written in one transaction, idempotent.

#![expect(clippy::panic, reason = "helpers of tests fail as tests do")]

use auth_server::application::apply::ApplyError;

use crate::app::{ALICE, BOB, CONSOLE, NOBODY, SERVICE, SPA, TestApp, WEB, WORLD};

const CLIENT: &str = "[[client]]\nclient_id = \"c\"\nclient_secret = \"s\"\nredirect_uris = [\"https://c.example/cb\"]\nscope = \"openid\"\n";

/// The faults of a document as `path: reason`, which must be refused.
async fn faults(app: &TestApp, toml: &str) -> Vec<String> {
    match app.try_apply(toml).await {
        Err(ApplyError::Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{toml}\n{other:?}"),
    }
}

async fn expect_fault(app: &TestApp, toml: &str, path: &str) {
    let faults = faults(app, toml).await;
    assert!(
        faults.iter().any(|fault| fault.starts_with(&format!("{path}: "))),
        "{toml}\nwanted {path}, saw {faults:?}"
    );
}

/// One key of the client above replaced or added.
fn client_with(line: &str) -> String {
    let key = line.split('=').next().unwrap_or_default().trim();
    let kept = CLIENT
        .lines()
        .filter(|kept| kept.split('=').next().unwrap_or_default().trim() != key);
    kept.chain([line]).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_same_document_twice_changes_nothing() {
    let app = TestApp::start().await;
    app.advance(100);
    let tokens = app.tokens(ALICE, WEB).await;
    let report = app.apply(WORLD).await;
    assert!(report.is_unchanged(), "{report}");
    app.userinfo(&tokens).await.expect_status(200);
    app.refresh(WEB, &tokens.refresh_token).await.expect_tokens();
}

#[tokio::test]
async fn an_empty_document_is_fine() {
    let app = TestApp::start().await;
    assert!(app.apply("").await.is_unchanged());
    assert!(app.apply("# nothing\n").await.is_unchanged());
}

#[tokio::test]
async fn a_report_counts_what_was_created_updated_and_left() {
    let app = TestApp::start().await;
    assert_eq!(
        app.apply(CLIENT).await.to_string(),
        "client: 1 created, 0 updated, 0 unchanged"
    );
    let renamed = client_with("client_name = \"C\"");
    assert_eq!(
        app.apply(&renamed).await.to_string(),
        "client: 0 created, 1 updated, 0 unchanged"
    );
    assert_eq!(
        app.apply(&renamed).await.to_string(),
        "client: 0 created, 0 updated, 1 unchanged"
    );
}

#[tokio::test]
async fn what_is_no_toml_or_has_unknown_keys_is_refused_with_its_place() {
    let app = TestApp::start().await;
    expect_fault(&app, "[[client", "document").await;
    faults(&app, "[[user]]\nusername = 7\n").await;
    for (toml, names) in [
        ("[[clients]]\nclient_id = \"x\"\n", "clients"),
        ("[[client]]\nclient_id = \"x\"\nredirect_url = \"y\"\n", "redirect_url"),
        ("[[user]]\nusername = \"x\"\nemial = \"y\"\n", "emial"),
        ("[[user]]\nusername = \"x\"\n[user.address]\ncity = \"y\"\n", "city"),
        ("[[role]]\nname = \"x\"\npermission = []\n", "permission"),
        ("[[client]]\nclient_name = \"x\"\n", "client_id"),
        (
            "[[client]]\nclient_id = \"x\"\naccess_token_ttl = -1\n",
            "access_token_ttl",
        ),
        ("[[client]]\nclient_id = \"x\"\nenabled = \"yes\"\n", "enabled"),
    ] {
        let [fault] = <[String; 1]>::try_from(faults(&app, toml).await).unwrap();
        assert!(fault.contains(names), "{toml}: {fault}");
    }
}

#[tokio::test]
async fn every_fault_of_a_client_has_its_path() {
    let app = TestApp::start().await;
    for (line, path) in [
        ("client_id = \"\"", "client[0].client_id"),
        ("client_id = \"a b\"", "client[0].client_id"),
        ("client_id = \"a:b\"", "client[0].client_id"),
        ("client_id = \"日本\"", "client[0].client_id"),
        (
            "grant_types = [\"authorization_code\", \"implicit\"]",
            "client[0].grant_types[1]",
        ),
        (
            "grant_types = [\"authorization_code\", \"password\"]",
            "client[0].grant_types",
        ),
        ("response_types = [\"token\"]", "client[0].response_types[0]"),
        ("response_types = []", "client[0].response_types"),
        (
            "grant_types = [\"client_credentials\"]\nresponse_types = [\"code\"]",
            "client[0].response_types",
        ),
        ("scope = \"open\\\"id\"", "client[0].scope"),
        ("redirect_uris = []", "client[0].redirect_uris"),
        ("token_endpoint_auth_method = \"private_key_jwt\"", "client[0].jwks"),
        (
            "token_endpoint_auth_method = \"private_key\"",
            "client[0].token_endpoint_auth_method",
        ),
        ("token_endpoint_auth_method = \"none\"", "client[0].client_secret"),
        (
            "id_token_signed_response_alg = \"none\"",
            "client[0].id_token_signed_response_alg",
        ),
        (
            "id_token_signed_response_alg = \"HS256\"",
            "client[0].id_token_signed_response_alg",
        ),
        (
            "access_token_signing_alg = \"PS384\"",
            "client[0].access_token_signing_alg",
        ),
        ("logo_uri = \"javascript:alert(1)\"", "client[0].logo_uri"),
        ("policy_uri = \"data:text/html,x\"", "client[0].policy_uri"),
        ("tos_uri = \"/terms\"", "client[0].tos_uri"),
        ("client_uri = \"ftp://c.example\"", "client[0].client_uri"),
        ("access_token_ttl = 0", "client[0].access_token_ttl"),
        ("access_token_ttl = 3601", "client[0].access_token_ttl"),
        ("refresh_token_ttl = 0", "client[0].refresh_token_ttl"),
        ("refresh_token_ttl = 7776001", "client[0].refresh_token_ttl"),
    ] {
        expect_fault(&app, &client_with(line), path).await;
    }
    let public = "[[client]]\nclient_id = \"p\"\ntoken_endpoint_auth_method = \"none\"\ngrant_types = [\"client_credentials\"]\nresponse_types = []\n";
    expect_fault(&app, public, "client[0].grant_types").await;
    let secretless = "[[client]]\nclient_id = \"p\"\nredirect_uris = [\"https://p.example/cb\"]\n";
    expect_fault(&app, secretless, "client[0].client_secret").await;
    expect_fault(&app, &format!("{CLIENT}{CLIENT}"), "client[1].client_id").await;
}

#[tokio::test]
async fn redirect_uris_that_browsers_run_or_parsers_read_differently_are_refused() {
    let app = TestApp::start().await;
    for uri in [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "about:blank",
        "blob:https://c.example/x",
        "http://c.example/cb",
        "http://127.0.0.1.evil.example/cb",
        "https://c.example/cb#x",
        "https://c.example/cb#",
        "https://user@c.example/cb",
        "https://c.example@evil.example/cb",
        "https://c.example/a/../b",
        "https://c.example/a/..;/b",
        "https://c.example/%2e%2e/b",
        "https://c.example/a%2fb",
        "https://c.example\\\\cb",
        "https://c.example/a b",
        "https://*.example/cb",
        "https://c.example/<x>",
        "/cb",
        "cb",
        "",
        "*",
        "myapp:/cb",
        "https://",
        "ws://c.example/cb",
    ] {
        let line = format!("redirect_uris = [\"https://c.example/cb\", \"{uri}\"]");
        expect_fault(&app, &client_with(&line), "client[0].redirect_uris[1]").await;
        let line = format!("post_logout_redirect_uris = [\"{uri}\"]");
        expect_fault(&app, &client_with(&line), "client[0].post_logout_redirect_uris[0]").await;
    }
}

#[tokio::test]
async fn every_fault_of_a_person_or_role_has_its_path() {
    let app = TestApp::start().await;
    let long = "x".repeat(256);
    for (toml, path) in [
        ("[[user]]\nusername = \"\"\n".to_owned(), "user[0].username"),
        ("[[user]]\nusername = \"a\\u0000b\"\n".to_owned(), "user[0].username"),
        (
            "[[user]]\nusername = \"x\"\n[[user]]\nusername = \" X \"\n".to_owned(),
            "user[1].username",
        ),
        (format!("[[user]]\nusername = \"x\"\nsub = \"{long}\"\n"), "user[0].sub"),
        ("[[user]]\nusername = \"x\"\nsub = \"\"\n".to_owned(), "user[0].sub"),
        ("[[user]]\nusername = \"x\"\nsub = \"日本\"\n".to_owned(), "user[0].sub"),
        ("[[user]]\nusername = \"x\"\nsub = \"web\"\n".to_owned(), "user[0].sub"),
        (
            "[[user]]\nusername = \"x\"\nsub = \"user-bob\"\n".to_owned(),
            "user[0].sub",
        ),
        (
            "[[user]]\nusername = \"alice\"\nsub = \"another\"\n".to_owned(),
            "user[0].sub",
        ),
        (
            format!("[[user]]\nusername = \"x\"\npassword = \"{}\"\n", "p".repeat(1025)),
            "user[0].password",
        ),
        (
            "[[user]]\nusername = \"x\"\nroles = [\"typo\"]\n".to_owned(),
            "user[0].roles",
        ),
        (
            "[[role]]\nname = \"r\"\ndata_permission = \"everything\"\n".to_owned(),
            "role[0].data_permission",
        ),
        (
            "[[role]]\nname = \"r\"\ndata_permission = \"all\"\ndata_orgs = [\"o\"]\n".to_owned(),
            "role[0].data_orgs",
        ),
    ] {
        expect_fault(&app, &toml, path).await;
    }
    let both = format!("[[user]]\nusername = \"x\"\nsub = \"c\"\n{CLIENT}");
    let faults = faults(&app, &both).await;
    assert!(!faults.is_empty(), "a sub must never be a client_id (RFC 9700 §4.15)");
}

#[tokio::test]
async fn two_people_of_one_document_cannot_have_one_sub() {
    let app = TestApp::start().await;
    let toml = "[[user]]\nusername = \"x\"\nsub = \"one\"\n[[user]]\nusername = \"y\"\nsub = \"one\"\n";
    expect_fault(&app, toml, "user[1].sub").await;
}

#[tokio::test]
async fn every_fault_is_told_at_once_and_nothing_is_written() {
    let app = TestApp::start().await;
    let toml = format!(
        "{}[[client]]\nclient_id = \"bad id\"\nscope = \"\\u0000\"\n[[user]]\nusername = \"x\"\nsub = \"web\"\n",
        CLIENT.replace("\"c\"", "\"fine\"")
    );
    let faults = faults(&app, &toml).await;
    assert!(faults.len() >= 4, "{faults:?}");
    let fine = crate::app::TestClient {
        id: "fine",
        secret: Some("s"),
        redirect_uri: "https://c.example/cb",
        scope: "openid",
    };
    app.get(&fine.ask().path())
        .await
        .expect_error_page(400, "invalid_client");
}

#[tokio::test]
async fn a_fault_that_shows_only_in_the_transaction_rolls_everything_back() {
    let app = TestApp::start().await;
    expect_fault(
        &app,
        &format!("{CLIENT}[[user]]\nusername = \"x\"\nroles = [\"typo\"]\n"),
        "user[0].roles",
    )
    .await;
    let c = crate::app::TestClient {
        id: "c",
        secret: Some("s"),
        redirect_uri: "https://c.example/cb",
        scope: "openid",
    };
    app.get(&c.ask().path()).await.expect_error_page(400, "invalid_client");
}

#[tokio::test]
async fn faults_never_repeat_a_secret() {
    let app = TestApp::start().await;
    let secret = "hunter2-hunter2";
    for toml in [
        format!("[[client]]\nclient_id = \"p\"\ntoken_endpoint_auth_method = \"none\"\nclient_secret = \"{secret}\"\n"),
        format!("[[user]]\nusername = \"\"\npassword = \"{secret}\"\n"),
        format!("[[user]]\nusername = \"x\"\npassword = [\"{secret}\"]\n"),
        format!("[[user]]\nusername = \"x\"\npassword = \"{secret}\n"),
    ] {
        let told = faults(&app, &toml).await.join("\n");
        assert!(!told.contains(secret), "{told}");
    }
}

#[tokio::test]
async fn a_change_is_seen_by_the_running_provider() {
    let app = TestApp::start().await;
    app.client_credentials(SERVICE).await.expect_tokens();
    app.apply("[[client]]\nclient_id = \"service\"\nclient_secret = \"another-secret\"\ngrant_types = [\"client_credentials\"]\nresponse_types = []\nscope = \"ai:chat\"\n").await;
    app.client_credentials(SERVICE)
        .await
        .expect_oauth_error(401, "invalid_client");
    let changed = crate::app::TestClient {
        secret: Some("another-secret"),
        ..SERVICE
    };
    let tokens = app.client_credentials(changed).await.expect_tokens();
    assert_eq!(tokens.scope.as_deref(), Some("ai:chat"));
}

#[tokio::test]
async fn a_document_without_the_secret_leaves_it_as_it_is() {
    let app = TestApp::start().await;
    app.apply("[[client]]\nclient_id = \"service\"\ngrant_types = [\"client_credentials\"]\nresponse_types = []\nscope = \"ai:chat\"\n").await;
    app.client_credentials(SERVICE).await.expect_tokens();
}

#[tokio::test]
async fn another_password_ends_everything_and_the_new_one_works() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let pending = browser.consented_code(ALICE, &WEB.ask()).await;
    let tokens = app
        .tokens_for(ALICE, &WEB.ask().with("scope", "openid offline_access"))
        .await;
    app.apply("[[user]]\nusername = \"alice\"\npassword = \"another\"\n")
        .await;
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.refresh(WEB, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.exchange(&pending).await.expect_oauth_error(400, "invalid_grant");
    browser.get("/account").await.expect_redirect_to("/login");
    app.password(CONSOLE, ALICE.name, ALICE.password)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.password(CONSOLE, ALICE.name, "another").await.expect_tokens();
}

#[tokio::test]
async fn a_document_without_the_password_leaves_it_and_the_sessions() {
    let app = TestApp::start().await;
    let tokens = app.tokens(BOB, WEB).await;
    app.apply("[[user]]\nusername = \"bob\"\nname = \"Robert\"\n").await;
    app.userinfo(&tokens).await.expect_status(200);
    app.password(CONSOLE, BOB.name, BOB.password).await.expect_tokens();
}

#[tokio::test]
async fn locking_by_document_ends_everything_and_leaving_it_out_does_not_unlock() {
    let app = TestApp::start().await;
    let tokens = app.tokens(BOB, WEB).await;
    app.apply("[[user]]\nusername = \"bob\"\nlocked = true\n").await;
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.apply("[[user]]\nusername = \"bob\"\n").await;
    app.password(CONSOLE, BOB.name, BOB.password)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.apply("[[user]]\nusername = \"bob\"\nlocked = false\n").await;
    app.password(CONSOLE, BOB.name, BOB.password).await.expect_tokens();
}

#[tokio::test]
async fn disabling_by_document_ends_everything_and_leaving_it_out_does_not_enable() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, SPA).await;
    let code = app.consented_code(ALICE, SPA).await;
    let spa = "[[client]]\nclient_id = \"spa\"\nredirect_uris = [\"https://spa.example/cb\"]\ngrant_types = [\"authorization_code\", \"refresh_token\"]\n\
               scope = \"openid profile\"\ntoken_endpoint_auth_method = \"none\"\n";
    app.apply(&format!("{spa}enabled = false\n")).await;
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.get(&SPA.ask().path())
        .await
        .expect_error_page(400, "invalid_client");
    app.apply(spa).await;
    app.get(&SPA.ask().path())
        .await
        .expect_error_page(400, "invalid_client");
    app.apply(&format!("{spa}enabled = true\n")).await;
    app.get(&SPA.ask().path()).await.expect_redirect_to("/login");
    app.refresh(SPA, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn roles_change_what_admin_tokens_say() {
    let app = TestApp::start().await;
    let toml = "[[role]]\nname = \"auditor\"\npermissions = [\"audit:read\"]\n[[user]]\nusername = \"bob\"\nroles = [\"auditor\"]\n";
    app.apply(toml).await;
    let tokens = app.password(CONSOLE, BOB.name, BOB.password).await.expect_tokens();
    let claims = app.claims(&tokens.access_token).await;
    assert_eq!(claims["roles"], serde_json::json!(["auditor"]));
    assert_eq!(claims["permissions"], serde_json::json!(["audit:read"]));
}

#[tokio::test]
async fn tenants_orgs_menus_and_dictionaries_are_kept_and_idempotent() {
    let app = TestApp::start().await;
    let toml = r#"
        [[tenant]]
        id = "acme"
        name = "Acme"
        [[org]]
        id = "sales"
        name = "Sales"
        [[org]]
        id = "emea"
        name = "EMEA"
        parent = "sales"
        [[menu]]
        id = "users"
        title = "Users"
        path = "/users"
        permission = "users:read"
        [[role]]
        name = "seller"
        menus = ["users"]
        data_permission = "custom"
        data_orgs = ["sales", "emea"]
        [[dictionary]]
        name = "colour"
        items = [{ key = "r", label = "Red" }, { key = "g", label = "Green" }]
        [[user]]
        username = "sam"
        org = "emea"
        roles = ["seller"]
        password = "sam i am"
    "#;
    let report = app.apply(toml).await.to_string();
    for line in [
        "tenant: 1 created",
        "org: 2 created",
        "menu: 1 created",
        "role: 1 created",
        "dictionary: 1 created",
        "user: 1 created",
    ] {
        assert!(report.contains(line), "{report}");
    }
    assert!(app.apply(toml).await.is_unchanged());
    let tokens = app.password(CONSOLE, "sam", "sam i am").await.expect_tokens();
    assert_eq!(app.claims(&tokens.access_token).await["org"], "emea");
}

#[tokio::test]
async fn a_person_without_a_password_cannot_sign_in() {
    let app = TestApp::start().await;
    app.apply("[[user]]\nusername = \"ghost\"\n").await;
    for password in ["x", " "] {
        app.password(CONSOLE, "ghost", password)
            .await
            .expect_oauth_error(400, "invalid_grant");
    }
}

#[tokio::test]
async fn a_client_without_a_name_is_called_by_its_id() {
    let app = TestApp::start().await;
    app.apply(CLIENT).await;
    let c = crate::app::TestClient {
        id: "c",
        secret: Some("s"),
        redirect_uri: "https://c.example/cb",
        scope: "openid",
    };
    let mut browser = app.signed_in(ALICE).await;
    let page = browser.authorize(&c.ask()).await.expect_page("id=\"consent-allow\"");
    assert!(page.has("<bdi>c</bdi>"), "{}", page.text);
}

#[tokio::test]
async fn a_client_that_changes_to_public_loses_its_secret() {
    let app = TestApp::start().await;
    app.apply("[[client]]\nclient_id = \"nobody\"\ngrant_types = []\nresponse_types = []\ntoken_endpoint_auth_method = \"none\"\n").await;
    app.introspect(NOBODY, "x")
        .await
        .expect_oauth_error(401, "invalid_client");
}
