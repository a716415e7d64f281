//! `authorization_details` (RFC 9396) of type `ai_call`, from the request over the consent page to the tokens.

use serde_json::{Value, json};

use crate::app::{
    ALICE, Ask, Browser, Code, Fields, NOW, Page, RESOURCE_SERVER, Reply, TestApp, TestClient, WEB, fields,
    refresh_form,
};

/// A third-party application that works with a few interfaces.
const PLANNER: TestClient = TestClient {
    id: "planner",
    secret: Some("planner-secret-1d1d"),
    redirect_uri: "https://planner.example/cb",
    scope: "openid ai:chat offline_access",
};
/// The operator's own: nobody is asked, and it may act for itself.
const ROBOT: TestClient = TestClient {
    id: "robot",
    secret: Some("robot-secret-2e2e"),
    redirect_uri: "https://robot.example/cb",
    scope: "openid ai:chat",
};
/// May use the password grant.
const DESK: TestClient = TestClient {
    id: "desk",
    secret: None,
    redirect_uri: "",
    scope: "ai:chat",
};
const DOCUMENT: &str = r#"
[[client]]
client_id = "planner"
client_secret = "planner-secret-1d1d"
redirect_uris = ["https://planner.example/cb"]
grant_types = ["authorization_code", "refresh_token"]
scope = "openid offline_access ai:chat"
ai_interfaces = ["chat", "docs", "drafts"]
authorization_details_types = ["ai_call"]

[[client]]
client_id = "robot"
client_secret = "robot-secret-2e2e"
redirect_uris = ["https://robot.example/cb"]
grant_types = ["authorization_code", "client_credentials"]
scope = "openid ai:chat reports:read"
ai_interfaces = ["chat", "docs"]
auto_approve = true

[[client]]
client_id = "desk"
grant_types = ["password", "refresh_token"]
response_types = []
scope = "openid ai:chat"
token_endpoint_auth_method = "none"
first_party = true
auto_approve = true
"#;

const END: i64 = NOW + 3600;

async fn world() -> TestApp {
    TestApp::builder().document(DOCUMENT).start().await
}

fn call(interfaces: &[&str], amount: Option<&str>, end: Option<i64>) -> Value {
    let mut call = json!({"type": "ai_call", "interfaces": interfaces});
    if let Some(amount) = amount {
        call["max_cost"] = json!({"amount": amount, "currency": "EUR"});
    }
    if let Some(end) = end {
        call["expires_at"] = end.into();
    }
    call
}

/// What most tests ask for.
fn usual() -> Value {
    json!([call(&["chat", "docs"], Some("5.00"), Some(END))])
}

fn ask(client: TestClient, details: &Value) -> Ask {
    client.ask().with("authorization_details", &details.to_string())
}

async fn asked<'a>(app: &'a TestApp, details: &Value) -> (Browser<'a>, Page) {
    let mut browser = app.signed_in(ALICE).await;
    let reply = browser.authorize(&ask(PLANNER, details)).await;
    (browser, reply.expect_page("id=\"consent-allow\""))
}

fn code(client: TestClient, value: String) -> Code {
    Code {
        value,
        client,
        redirect_uri: client.redirect_uri.into(),
        has_challenge: true,
    }
}

async fn granted(app: &TestApp, details: &Value) -> Code {
    let (mut browser, page) = asked(app, details).await;
    code(PLANNER, browser.press(&page, "consent-allow").await.expect_code())
}

/// The details of a token response, which are those of the token and of what introspection tells.
async fn carried(app: &TestApp, reply: Reply) -> Value {
    let body = reply.expect_json(200);
    let token = body["access_token"].as_str().unwrap();
    let details = body["authorization_details"].clone();
    assert_eq!(app.claims(token).await["authorization_details"], details);
    let told = app.introspect(RESOURCE_SERVER, token).await.expect_json(200);
    assert_eq!(told["authorization_details"], details);
    details
}

fn with(form: &Fields, details: &Value) -> Fields {
    form.clone().with("authorization_details", &details.to_string())
}

#[tokio::test]
async fn what_was_agreed_to_is_in_the_response_in_the_token_and_in_what_introspection_tells() {
    let app = world().await;
    let code = granted(&app, &usual()).await;
    assert_eq!(carried(&app, app.exchange(&code).await).await, usual());
    // Who asks for none gets none.
    let plain = app.tokens(ALICE, WEB).await;
    let claims = app.claims(&plain.access_token).await;
    assert_eq!(claims.get("authorization_details"), None);
}

#[tokio::test]
async fn what_is_not_sound_is_refused_at_every_endpoint() {
    let app = world().await;
    let good = granted(&app, &usual()).await;
    let machine = fields([("grant_type", "client_credentials"), ("scope", "ai:chat")]);
    let many = json!(vec![call(&["chat"], None, None); 17]);
    let long = format!("{}{}", " ".repeat(8192), usual());
    let mut cases: Vec<String> = [
        json!([]),
        json!({}),
        json!(call(&["chat"], None, None)),
        json!([call(&[], None, None)]),
        json!([call(&["elsewhere"], None, None)]),
        json!([call(&["chat", "elsewhere"], None, None)]),
        json!([call(&["chat"], Some("0"), None)]),
        json!([call(&["chat"], Some("-5"), None)]),
        json!([call(&["chat"], Some("5e2"), None)]),
        json!([call(&["chat"], None, Some(NOW))]),
        json!([call(&["chat"], None, None), call(&["chat"], None, Some(NOW - 1))]),
        json!([{"type": "payment", "interfaces": ["chat"]}]),
        json!([{"interfaces": ["chat"]}]),
        json!([{"type": "ai_call", "interfaces": ["chat"], "locations": ["https://x.example"]}]),
        json!([{"type": "ai_call", "interfaces": ["chat"], "max_cost": {"amount": "5", "currency": "eur"}}]),
        many,
    ]
    .iter()
    .map(Value::to_string)
    .collect();
    cases.extend(["not json".to_owned(), "[".repeat(5000), long]);
    for text in cases {
        let wrong = PLANNER.ask().with("authorization_details", &text);
        app.get(&wrong.path())
            .await
            .expect_error_answer("invalid_authorization_details");
        let form = wrong.fields.without("client_id");
        app.as_client(PLANNER, "/oauth2/par", &form)
            .await
            .expect_oauth_error(400, "invalid_authorization_details");
        for (client, form) in [(PLANNER, good.form()), (ROBOT, machine.clone())] {
            app.token(client, &form.with("authorization_details", &text))
                .await
                .expect_oauth_error(400, "invalid_authorization_details");
        }
    }
    // None of that has spent the code.
    app.exchange(&good).await.expect_tokens();
}

#[tokio::test]
async fn details_need_a_scope_that_they_can_narrow() {
    let app = world().await;
    let bare = ask(PLANNER, &usual()).with("scope", "openid");
    let answer = app.get(&bare.path()).await.expect_error_answer("invalid_scope");
    assert!(answer.params["error_description"].contains("ai:"), "{answer:?}");
    let form = fields([("grant_type", "client_credentials"), ("scope", "reports:read")]);
    app.token(ROBOT, &with(&form, &usual()))
        .await
        .expect_oauth_error(400, "invalid_scope");
}

#[tokio::test]
async fn the_page_says_in_words_what_is_asked_for_and_works_without_scripts() {
    let app = world().await;
    let details = json!([
        call(&["chat", "docs"], Some("5.00"), Some(END)),
        call(&["drafts"], None, None)
    ]);
    let (mut browser, page) = asked(&app, &details).await;
    for text in [
        "id=\"rar-0\"",
        "id=\"rar-1\"",
        "5.00 EUR",
        "1 Jan 2030, 01:00 UTC",
        "No cost limit was asked for.",
        "No end was asked for.",
        "value=\"2030-01-01T01:00:00\"",
    ] {
        assert!(page.has(text), "{text}: {}", page.text);
    }
    assert!(!page.has("<script") && !page.has("rar-problem"));
    assert_eq!(page.text.matches("type=\"checkbox\"").count(), 3);
    let chinese = browser
        .authorize(&ask(PLANNER, &details).with("ui_locales", "zh"))
        .await;
    let chinese = chinese.expect_page("id=\"rar-0\"");
    assert!(chinese.has("费用上限") && chinese.has("2030年1月1日 01:00 UTC"));
    let plain = browser.authorize(&PLANNER.ask()).await.expect_html(200);
    assert!(!plain.has("rar-"));
}

#[tokio::test]
async fn a_person_may_leave_less_than_was_asked_for() {
    let app = world().await;
    let details = json!([
        call(&["chat", "docs"], Some("5.00"), Some(END)),
        call(&["drafts"], None, None)
    ]);
    let (mut browser, page) = asked(&app, &details).await;
    let reply = browser
        .press_with(&page, "consent-allow", |fields| {
            fields
                .without("rar-0-interface-0")
                .with("rar-0-amount", "2.50")
                .with("rar-0-end", "2030-01-01T00:30")
                .with("rar-1-end", "2030-01-01T00:10:05")
        })
        .await;
    let left = json!([
        call(&["docs"], Some("2.50"), Some(NOW + 1800)),
        call(&["drafts"], None, Some(NOW + 605))
    ]);
    let code = code(PLANNER, reply.expect_code());
    let reply = app.exchange(&code).await;
    assert_eq!(carried(&app, reply.clone()).await, left);
    // Nor does the refresh token bring back what the person took away.
    let refresh = reply.expect_tokens().refresh_token;
    app.token(PLANNER, &with(&refresh_form(&refresh), &details))
        .await
        .expect_oauth_error(400, "invalid_authorization_details");
    assert_eq!(carried(&app, app.refresh(PLANNER, &refresh).await).await, left);
}

#[tokio::test]
async fn a_call_without_interfaces_is_left_out() {
    let app = world().await;
    let details = json!([call(&["chat"], Some("5.00"), None), call(&["drafts"], None, Some(END))]);
    let (mut browser, page) = asked(&app, &details).await;
    let reply = browser
        .press_with(&page, "consent-allow", |fields| {
            fields.without("rar-0-interface-0").without("rar-0-amount")
        })
        .await;
    let code = code(PLANNER, reply.expect_code());
    let left = json!([call(&["drafts"], None, Some(END))]);
    assert_eq!(carried(&app, app.exchange(&code).await).await, left);
}

#[tokio::test]
async fn a_form_that_asks_for_more_grants_nothing_and_may_be_sent_again() {
    let app = world().await;
    let (mut browser, page) = asked(&app, &usual()).await;
    let form = page.form("consent-allow").fields;
    let tampered = [
        form.clone().with("rar-0-amount", "5.01"),
        form.clone().with("rar-0-amount", "1e9"),
        form.clone().with("rar-0-amount", "0"),
        form.clone().with("rar-0-amount", "-1"),
        form.clone().with("rar-0-amount", ""),
        form.clone().without("rar-0-amount"),
        form.clone().with("rar-0-end", "2030-01-01T01:00:01"),
        form.clone().with("rar-0-end", "2029-12-31T23:59"),
        form.clone().with("rar-0-end", "later"),
        form.clone().with("rar-0-interface-0", "drafts"),
        form.clone().with("rar-0-interface-2", "drafts"),
        form.clone().with("rar-1-interface-0", "drafts"),
        form.clone().with("rar-0-currency", "USD"),
        form.clone().without("rar-0-interface-0").without("rar-0-interface-1"),
        fields([
            ("csrf", form.get("csrf").unwrap()),
            ("request", form.get("request").unwrap()),
            ("action", "allow"),
        ]),
    ];
    for form in tampered {
        let page = browser.post("/consent", &form).await.expect_page("id=\"rar-problem\"");
        assert!(page.has("id=\"consent-allow\""), "{form:?}");
    }
    let code = code(PLANNER, browser.press(&page, "consent-allow").await.expect_code());
    assert_eq!(carried(&app, app.exchange(&code).await).await, usual());
}

#[tokio::test]
async fn details_are_asked_for_every_time() {
    let app = world().await;
    let (mut browser, page) = asked(&app, &usual()).await;
    browser.press(&page, "consent-allow").await.expect_code();
    browser
        .authorize(&ask(PLANNER, &usual()))
        .await
        .expect_page("id=\"rar-0\"");
    browser
        .authorize(&ask(PLANNER, &usual()).with("prompt", "none"))
        .await
        .expect_error_answer("consent_required");
    // The scopes alone have been agreed to.
    browser.authorize(&PLANNER.ask()).await.expect_code();
    // Another tab with the same request is another decision.
    let first = browser.get(&ask(PLANNER, &usual()).path()).await.expect_redirect();
    let second = browser
        .authorize(&ask(PLANNER, &usual()))
        .await
        .expect_page("id=\"rar-0\"");
    browser.press(&second, "consent-allow").await.expect_code();
    browser.get(&first).await.expect_page("id=\"rar-0\"");
}

#[tokio::test]
async fn nobody_is_asked_by_the_operators_own_application() {
    let app = world().await;
    let mut browser = app.signed_in(ALICE).await;
    let silent = ask(ROBOT, &usual()).with("prompt", "none");
    let code = code(ROBOT, browser.get(&silent.path()).await.expect_code());
    assert_eq!(carried(&app, app.exchange(&code).await).await, usual());
}

#[tokio::test]
async fn a_pushed_request_carries_its_details() {
    let app = world().await;
    let form = ask(PLANNER, &usual()).fields.without("client_id");
    let body = app.as_client(PLANNER, "/oauth2/par", &form).await.expect_json(201);
    let reference = fields([
        ("client_id", PLANNER.id),
        ("request_uri", body["request_uri"].as_str().unwrap()),
        (
            "authorization_details",
            "[{\"type\":\"ai_call\",\"interfaces\":[\"drafts\"]}]",
        ),
    ]);
    let mut browser = app.signed_in(ALICE).await;
    let page = browser
        .open(&format!("/oauth2/authorize?{}", reference.encode()))
        .await
        .expect_page("id=\"rar-0\"");
    let reply = browser
        .press_with(&page, "consent-allow", |fields| fields.with("rar-0-amount", "1"))
        .await;
    let code = code(PLANNER, reply.expect_code());
    let left = json!([call(&["chat", "docs"], Some("1"), Some(END))]);
    assert_eq!(carried(&app, app.exchange(&code).await).await, left);
}

#[tokio::test]
async fn a_pushed_request_that_its_client_may_not_make_any_more_is_dead() {
    let app = world().await;
    let form = ask(PLANNER, &usual()).fields.without("client_id");
    let body = app.as_client(PLANNER, "/oauth2/par", &form).await.expect_json(201);
    app.apply(&DOCUMENT.replace("\"chat\", \"docs\", \"drafts\"", "\"chat\""))
        .await;
    let reference = fields([
        ("client_id", PLANNER.id),
        ("request_uri", body["request_uri"].as_str().unwrap()),
    ]);
    app.get(&format!("/oauth2/authorize?{}", reference.encode()))
        .await
        .expect_error_page(400, "invalid_request_uri");
}

#[tokio::test]
async fn a_token_may_be_narrowed_and_the_grant_stays_whole() {
    let app = world().await;
    let code = granted(&app, &usual()).await;
    let less = json!([call(&["chat"], Some("1.00"), Some(END - 60))]);
    for more in [
        json!([call(&["chat"], Some("5.00"), None)]),
        json!([call(&["chat"], None, Some(END))]),
        json!([call(&["drafts"], Some("5.00"), Some(END))]),
        json!([call(&["chat"], Some("5.01"), Some(END))]),
        json!([call(&["chat"], Some("5.00"), Some(END + 1))]),
        json!([
            call(&["chat"], Some("3.00"), Some(END)),
            call(&["docs"], Some("3.00"), Some(END))
        ]),
        json!([{"type": "ai_call", "interfaces": ["chat"], "max_cost": {"amount": "1", "currency": "USD"}, "expires_at": END}]),
    ] {
        app.token(PLANNER, &with(&code.form(), &more))
            .await
            .expect_oauth_error(400, "invalid_authorization_details");
    }
    let reply = app.token(PLANNER, &with(&code.form(), &less)).await;
    assert_eq!(carried(&app, reply.clone()).await, less);
    let token = reply.expect_tokens().refresh_token;
    let wider = json!([call(&["chat", "docs", "drafts"], Some("5.00"), Some(END))]);
    app.token(PLANNER, &with(&refresh_form(&token), &wider))
        .await
        .expect_oauth_error(400, "invalid_authorization_details");
    let docs = json!([call(&["docs"], Some("5"), Some(END))]);
    let reply = app.token(PLANNER, &with(&refresh_form(&token), &docs)).await;
    assert_eq!(carried(&app, reply.clone()).await, docs);
    let token = reply.expect_tokens().refresh_token;
    assert_eq!(carried(&app, app.refresh(PLANNER, &token).await).await, usual());
    // Where no details were granted there is nothing to take a part of.
    let plain = app.tokens(ALICE, WEB).await;
    app.token(WEB, &with(&refresh_form(&plain.refresh_token), &less))
        .await
        .expect_oauth_error(400, "invalid_authorization_details");
}

#[tokio::test]
async fn tokens_end_with_the_last_of_their_details_and_carry_none_that_are_over() {
    let app = world().await;
    let details = json!([
        call(&["chat"], None, Some(NOW + 100)),
        call(&["docs"], None, Some(NOW + 300))
    ]);
    let code = granted(&app, &details).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    assert_eq!(tokens.expires_in, 300);
    assert_eq!(app.claims(&tokens.access_token).await["exp"], NOW + 300);
    app.advance(100);
    let reply = app.refresh(PLANNER, &tokens.refresh_token).await;
    assert_eq!(
        carried(&app, reply.clone()).await,
        json!([call(&["docs"], None, Some(NOW + 300))])
    );
    let tokens = reply.expect_tokens();
    assert_eq!(tokens.expires_in, 200);
    app.advance(200);
    app.refresh(PLANNER, &tokens.refresh_token)
        .await
        .expect_oauth_error(400, "invalid_grant");
    // One without an end leaves the token its usual lifetime.
    let open = json!([
        call(&["chat"], None, Some(app.now() + 100)),
        call(&["docs"], None, None)
    ]);
    let code = granted(&app, &open).await;
    assert_eq!(app.exchange(&code).await.expect_tokens().expires_in, 600);
}

#[tokio::test]
async fn a_code_whose_details_are_over_is_worth_nothing() {
    let app = world().await;
    let code = granted(&app, &json!([call(&["chat"], None, Some(NOW + 10))])).await;
    app.advance(10);
    app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn what_is_over_before_the_person_answers_cannot_be_allowed() {
    let app = world().await;
    let (mut browser, page) = asked(&app, &json!([call(&["chat"], None, Some(NOW + 10))])).await;
    app.advance(10);
    browser
        .press(&page, "consent-allow")
        .await
        .expect_page("id=\"rar-problem\"");
}

#[tokio::test]
async fn machines_and_the_operators_desk_ask_at_the_token_endpoint() {
    let app = world().await;
    let machine = fields([("grant_type", "client_credentials"), ("scope", "ai:chat")]);
    let reply = app.token(ROBOT, &with(&machine, &usual())).await;
    assert_eq!(carried(&app, reply).await, usual());
    let short = json!([call(&["chat"], None, Some(NOW + 30))]);
    let tokens = app.token(ROBOT, &with(&machine, &short)).await.expect_tokens();
    assert_eq!(tokens.expires_in, 30);
    let body = app.token(ROBOT, &machine).await.expect_json(200);
    assert_eq!(body.get("authorization_details"), None);
    let desk = fields([
        ("grant_type", "password"),
        ("username", ALICE.name),
        ("password", ALICE.password),
        ("scope", DESK.scope),
    ]);
    let reply = app.token(DESK, &with(&desk, &usual())).await;
    assert_eq!(carried(&app, reply.clone()).await, usual());
    let reply = app.refresh(DESK, &reply.expect_tokens().refresh_token).await;
    assert_eq!(carried(&app, reply).await, usual());
}

#[tokio::test]
async fn the_type_is_advertised_and_others_cannot_be_registered() {
    let app = world().await;
    let types = &app.metadata().await["authorization_details_types_supported"];
    assert_eq!(*types, json!(["ai_call"]));
    let error = app
        .try_apply(&DOCUMENT.replace("[\"ai_call\"]", "[\"ai_call\", \"payment\"]"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("client[0].authorization_details_types: ") && error.contains("ai_call"),
        "{error}"
    );
}
