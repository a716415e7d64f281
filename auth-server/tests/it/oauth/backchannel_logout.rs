//! Logout tokens to the applications that a session has reached (OpenID Connect Back-Channel Logout 1.0).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use auth_server::{
    domain::{client::ClientStatus, user::UserStatus},
    ports::outbound::{OutboundBody, OutboundError, OutboundMethod, Purpose},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use tokio::{io::AsyncReadExt as _, net::TcpListener};

use crate::app::{ALICE, BOB, Browser, Fields, ISSUER, TestApp, TestClient, Tokens, fields, reply};

const fn application(id: &'static str, redirect_uri: &'static str) -> TestClient {
    TestClient {
        id,
        secret: Some("application-secret-1234"),
        redirect_uri,
        scope: "openid",
    }
}

const MAIL: TestClient = application("mail", "https://mail.example/cb");
const PHOTOS: TestClient = application("photos", "https://photos.example/cb");
/// Wants no logout tokens.
const NOTES: TestClient = application("notes", "https://notes.example/cb");

const MAIL_OUT: &str = "https://mail.example/out";
const PHOTOS_OUT: &str = "https://photos.example/out?tenant=1";

const APPLICATIONS: &str = r#"
[[client]]
client_id = "mail"
client_secret = "application-secret-1234"
redirect_uris = ["https://mail.example/cb"]
post_logout_redirect_uris = ["https://mail.example/"]
grant_types = ["authorization_code", "refresh_token"]
scope = "openid offline_access"
auto_approve = true
backchannel_logout_uri = "https://mail.example/out"
backchannel_logout_session_required = true

[[client]]
client_id = "photos"
client_secret = "application-secret-1234"
redirect_uris = ["https://photos.example/cb"]
scope = "openid"
auto_approve = true
id_token_signed_response_alg = "ES256"
backchannel_logout_uri = "https://photos.example/out?tenant=1"

[[client]]
client_id = "notes"
client_secret = "application-secret-1234"
redirect_uris = ["https://notes.example/cb"]
scope = "openid"
auto_approve = true
"#;

async fn start() -> TestApp {
    let app = TestApp::builder().document(APPLICATIONS).start().await;
    app.hosts.put(MAIL_OUT, reply(200, "text/plain", ""));
    app.hosts.put(PHOTOS_OUT, reply(204, "text/plain", ""));
    app
}

async fn tokens(browser: &mut Browser<'_>, app: &TestApp, client: TestClient) -> Tokens {
    let code = browser.consented_code(ALICE, &client.ask()).await;
    app.exchange(&code).await.expect_tokens()
}

async fn sid(app: &TestApp, tokens: &Tokens) -> String {
    app.claims(&tokens.id_token).await["sid"].as_str().unwrap().to_owned()
}

/// A browser with Alice's session, which has reached the clients.
async fn signed_in<'a>(app: &'a TestApp, clients: &[TestClient]) -> (Browser<'a>, String) {
    let mut browser = app.browser();
    let mut session = String::new();
    for client in clients {
        let tokens = tokens(&mut browser, app, *client).await;
        session = sid(app, &tokens).await;
    }
    (browser, session)
}

async fn log_out(browser: &mut Browser<'_>) {
    let page = browser.open("/logout").await.expect_page("id=\"logout-confirm\"");
    browser
        .press(&page, "logout-confirm")
        .await
        .expect_page("id=\"logged-out\"");
}

/// A form of the account page.
async fn act(browser: &mut Browser<'_>, form: Fields) {
    let page = browser.get("/logout").await.expect_html(200);
    let csrf = page.form("logout-confirm").fields.get("csrf").unwrap().to_owned();
    browser
        .post("/account", &form.with("csrf", &csrf))
        .await
        .expect_status(303);
}

/// What was sent so far: where to, and the token.
fn sent(app: &TestApp) -> Vec<(String, String)> {
    let tokens = app.hosts.asked().into_iter().map(|asked| {
        assert_eq!(asked.purpose, Purpose::BackchannelLogout);
        assert!(asked.bearer.is_none());
        let form: &[(&str, String)] = match &asked.method {
            OutboundMethod::Post(OutboundBody::Form(form)) => form,
            OutboundMethod::Post(OutboundBody::Json(_)) | OutboundMethod::Get => &[],
        };
        let names: Vec<&str> = form.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["logout_token"], "one parameter (§2.5)");
        (asked.url.clone(), form[0].1.clone())
    });
    tokens.collect()
}

async fn told(app: &TestApp) -> BTreeSet<(String, String)> {
    let mut told = BTreeSet::new();
    for (_, token) in sent(app) {
        let claims = app.claims(&token).await;
        let text = |name: &str| claims[name].as_str().unwrap().to_owned();
        assert!(told.insert((text("aud"), text("sid"))), "told twice: {claims:?}");
    }
    told
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeSet<(String, String)> {
    pairs
        .into_iter()
        .map(|(client, sid)| (client.to_owned(), sid.to_owned()))
        .collect()
}

fn header(token: &str) -> Map<String, Value> {
    let part = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_logout_token_says_exactly_what_the_specification_lists() {
    let app = start().await;
    let (mut browser, session) = signed_in(&app, &[MAIL, PHOTOS]).await;
    app.advance(7);
    log_out(&mut browser).await;
    let sent = sent(&app);
    assert_eq!(sent.len(), 2);
    let mut ids = BTreeSet::new();
    for ((url, token), (address, client, alg)) in sent
        .iter()
        .zip([(MAIL_OUT, "mail", "RS256"), (PHOTOS_OUT, "photos", "ES256")])
    {
        assert_eq!(url, address);
        let header = header(token);
        assert_eq!(header["typ"], "logout+jwt");
        assert_eq!(header["alg"], alg, "as the client's ID tokens");
        assert!(header.contains_key("kid"));
        let mut claims = app.claims(token).await;
        ids.insert(claims.remove("jti").unwrap().as_str().unwrap().to_owned());
        let expected = json!({
            "iss": ISSUER,
            "sub": ALICE.sub,
            "aud": client,
            "iat": app.now(),
            "exp": app.now() + 120,
            "sid": session,
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        assert_eq!(Value::Object(claims), expected, "and no nonce");
    }
    assert_eq!(ids.len(), 2);
    assert_eq!(app.waiting_logouts().await, 0);
}

#[tokio::test]
async fn exactly_the_applications_that_the_session_has_reached_are_told() {
    let app = start().await;
    let (mut here, session) = signed_in(&app, &[MAIL, NOTES]).await;
    let (_there, _) = signed_in(&app, &[PHOTOS, MAIL]).await;
    app.tokens(BOB, PHOTOS).await;
    // Back in an application where they were before: it is told once.
    tokens(&mut here, &app, MAIL).await;
    log_out(&mut here).await;
    assert_eq!(told(&app).await, pairs([("mail", &session)]));
}

#[tokio::test]
async fn logout_tokens_are_good_for_nothing_else() {
    let app = start().await;
    let (mut browser, _) = signed_in(&app, &[MAIL]).await;
    log_out(&mut browser).await;
    let (_, token) = sent(&app).pop().unwrap();
    app.call(http::Method::GET, "/userinfo")
        .bearer(&token)
        .send()
        .await
        .expect_bearer_error(401, "invalid_token");
    assert!(!app.is_active(&token).await);
    let query = fields([
        ("id_token_hint", token.as_str()),
        ("post_logout_redirect_uri", "https://mail.example/"),
    ]);
    let path = format!("/connect/logout?{}", query.encode());
    let sentence = browser.get(&path).await.expect_error_page(400, "invalid_request");
    assert!(sentence.contains("id_token_hint"), "{sentence}");
    let hinted = MAIL.ask().with("id_token_hint", &token).path();
    browser.get(&hinted).await.expect_error_answer("invalid_request");
}

#[tokio::test]
async fn the_redirect_after_a_relying_partys_logout_comes_when_the_applications_know() {
    let app = start().await;
    let mut browser = app.browser();
    let mails = tokens(&mut browser, &app, MAIL).await;
    tokens(&mut browser, &app, PHOTOS).await;
    let session = sid(&app, &mails).await;
    let query = fields([
        ("id_token_hint", mails.id_token.as_str()),
        ("post_logout_redirect_uri", "https://mail.example/"),
    ]);
    let path = format!("/connect/logout?{}", query.encode());
    browser.get(&path).await.expect_redirect_to("https://mail.example/");
    assert_eq!(told(&app).await, pairs([("mail", &session), ("photos", &session)]));
}

#[tokio::test]
async fn every_way_to_end_a_session_tells_its_applications() {
    type Way = for<'a> fn(&'a TestApp, &'a mut Browser<'_>, &'a str) -> futures_util::future::BoxFuture<'a, ()>;
    let ways: [(&str, Way); 10] = [
        ("log out", |_, browser, _| Box::pin(log_out(browser))),
        ("end session", |_, browser, sid| {
            Box::pin(act(browser, fields([("action", "end-session"), ("session", sid)])))
        }),
        ("end all", |_, browser, _| {
            Box::pin(act(browser, fields([("action", "end-all")])))
        }),
        ("end others, from elsewhere", |app, _, _| {
            Box::pin(async {
                let mut other = app.signed_in(ALICE).await;
                act(&mut other, fields([("action", "end-others")])).await;
            })
        }),
        ("somebody else signs in", |_, browser, _| {
            Box::pin(async {
                let page = browser.open("/login").await;
                browser.sign_in(&page, BOB).await.expect_page("account");
            })
        }),
        ("lock", |app, _, _| {
            Box::pin(app.set_user_status(ALICE, UserStatus::Locked))
        }),
        ("delete", |app, _, _| {
            Box::pin(app.set_user_status(ALICE, UserStatus::Deleted))
        }),
        ("another password", |app, _, _| {
            Box::pin(app.set_password(ALICE, "new password"))
        }),
        ("sign out by the operator", |app, _, _| {
            Box::pin(async {
                let user = app.user(ALICE).await;
                app.foundation().operate().sign_out(&user).await.unwrap();
            })
        }),
        ("lock by document", |app, _, _| {
            Box::pin(async {
                app.apply("[[user]]\nusername = \"alice\"\nlocked = true\n").await;
            })
        }),
    ];
    for (name, way) in ways {
        let app = start().await;
        let (mut browser, session) = signed_in(&app, &[MAIL, PHOTOS]).await;
        way(&app, &mut browser, &session).await;
        // What a command has queued waits for the nodes to look; what ends here is on its way.
        app.send_due_logouts().await;
        tokio::time::timeout(Duration::from_secs(5), async {
            while app.waiting_logouts().await > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        let expected = pairs([("mail", &session), ("photos", &session)]);
        assert_eq!(told(&app).await, expected, "{name}");
    }
}

#[tokio::test]
async fn an_application_that_is_removed_is_told_and_again_when_it_came_back() {
    let app = start().await;
    let (mut browser, session) = signed_in(&app, &[MAIL, PHOTOS]).await;
    let removal = fields([("action", "remove-app"), ("client_id", "mail")]);
    act(&mut browser, removal.clone()).await;
    assert_eq!(told(&app).await, pairs([("mail", &session)]));
    // The sessions go on, without it.
    act(&mut browser, removal).await;
    assert_eq!(app.hosts.asked().len(), 1);
    let back = tokens(&mut browser, &app, MAIL).await;
    assert_eq!(sid(&app, &back).await, session);
    log_out(&mut browser).await;
    assert_eq!(app.hosts.times(MAIL_OUT), 2);
    assert_eq!(app.hosts.times(PHOTOS_OUT), 1);
}

#[tokio::test]
async fn a_receiver_that_fails_is_asked_again_after_longer_and_longer_waits() {
    let app = start().await;
    app.hosts.fail(MAIL_OUT, OutboundError::Unreachable);
    let (mut browser, session) = signed_in(&app, &[MAIL]).await;
    log_out(&mut browser).await;
    assert_eq!((app.hosts.times(MAIL_OUT), app.waiting_logouts().await), (1, 1));
    assert_eq!(app.send_due_logouts().await, 0, "not at once");
    let mut waited = 0;
    for (attempt, longest) in [(2, 1), (3, 2), (4, 4), (5, 8)] {
        while app.send_due_logouts().await == 0 {
            app.advance(1);
            waited += 1;
            assert!(waited <= longest, "attempt {attempt}");
        }
        assert_eq!(app.hosts.times(MAIL_OUT), attempt);
        waited = 0;
    }
    for status in [500, 404, 429] {
        app.hosts.put(MAIL_OUT, reply(status, "text/plain", ""));
        app.advance(900);
        assert_eq!(app.send_due_logouts().await, 1, "{status}");
        assert_eq!(app.waiting_logouts().await, 1, "{status}");
    }
    app.hosts.put(MAIL_OUT, reply(200, "text/plain", ""));
    app.advance(900);
    app.send_due_logouts().await;
    assert_eq!(app.waiting_logouts().await, 0);
    let tokens = sent(&app);
    let last = app.claims(&tokens.last().unwrap().1).await;
    assert_eq!(last["iat"], app.now(), "made when it was sent");
    assert_eq!(last["sid"], session);
    let mut ids = BTreeSet::new();
    for (_, token) in &tokens {
        ids.insert(app.claims(token).await["jti"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), tokens.len(), "each token is another one");
}

#[tokio::test]
async fn a_receiver_that_understands_and_refuses_is_not_asked_again() {
    for outcome in [
        Ok(reply(400, "application/json", r#"{"error":"invalid_request"}"#)),
        Err(OutboundError::Refused(auth_server::ports::outbound::Refusal::NotHttps)),
    ] {
        let app = start().await;
        match outcome {
            Ok(refusal) => app.hosts.put(MAIL_OUT, refusal),
            Err(error) => app.hosts.fail(MAIL_OUT, error),
        }
        let (mut browser, _) = signed_in(&app, &[MAIL]).await;
        log_out(&mut browser).await;
        assert_eq!(app.waiting_logouts().await, 0);
        app.advance(3600);
        assert_eq!(app.send_due_logouts().await, 0);
    }
}

#[tokio::test]
async fn after_a_day_nobody_tries_again() {
    let app = start().await;
    app.hosts.fail(MAIL_OUT, OutboundError::Timeout);
    let (mut browser, _) = signed_in(&app, &[MAIL]).await;
    log_out(&mut browser).await;
    app.advance(24 * 3600 - 10);
    assert_eq!(app.send_due_logouts().await, 1);
    assert_eq!(app.waiting_logouts().await, 1);
    app.advance(9);
    app.send_due_logouts().await;
    assert_eq!(app.waiting_logouts().await, 0);
}

#[tokio::test]
async fn what_waits_survives_a_restart() {
    let before = start().await;
    before.hosts.fail(MAIL_OUT, OutboundError::Unreachable);
    let (mut browser, session) = signed_in(&before, &[MAIL]).await;
    log_out(&mut browser).await;
    let after = before.another_node().await;
    after.hosts.put(MAIL_OUT, reply(200, "text/plain", ""));
    after.advance(1);
    assert_eq!(after.send_due_logouts().await, 1);
    assert_eq!(after.waiting_logouts().await, 0);
    let (_, token) = sent(&after).pop().unwrap();
    assert_eq!(after.claims(&token).await["sid"], session);
}

#[tokio::test]
async fn what_a_node_takes_is_its_own_until_it_must_be_dead() {
    let app = start().await;
    let (_browser, _) = signed_in(&app, &[MAIL, PHOTOS]).await;
    let user = app.user(ALICE).await;
    app.foundation().operate().sign_out(&user).await.unwrap();
    let other = app.another_node().await;
    let taken = tokio::join!(app.send_due_logouts(), other.send_due_logouts());
    assert_eq!(taken.0 + taken.1, 2);
    assert_eq!(app.hosts.asked().len(), 2, "each by one of them");
    assert_eq!(app.waiting_logouts().await, 0);
}

#[tokio::test]
async fn news_that_a_dead_node_took_is_taken_by_another_a_minute_later() {
    use auth_server::ports::logout::{LogoutClaim, LogoutQueue as _};
    let app = start().await;
    let (_browser, _) = signed_in(&app, &[MAIL]).await;
    let user = app.user(ALICE).await;
    app.foundation().operate().sign_out(&user).await.unwrap();
    let now = service_kit::Timestamp::from_seconds(app.now());
    let claim = LogoutClaim {
        now,
        until: now + Duration::from_secs(60),
        limit: 10,
        per_client: 2,
        busy: &[],
    };
    assert_eq!(app.foundation().store.claim_logouts(claim).await.unwrap().len(), 1);
    app.advance(59);
    assert_eq!(app.send_due_logouts().await, 0);
    app.advance(1);
    assert_eq!(app.send_due_logouts().await, 1);
    assert_eq!((app.hosts.times(MAIL_OUT), app.waiting_logouts().await), (1, 0));
}

#[tokio::test]
async fn a_client_that_is_gone_or_wants_nothing_any_more_is_not_told() {
    let app = start().await;
    app.hosts.fail(MAIL_OUT, OutboundError::Unreachable);
    app.hosts.fail(PHOTOS_OUT, OutboundError::Unreachable);
    let (mut browser, _) = signed_in(&app, &[MAIL, PHOTOS]).await;
    log_out(&mut browser).await;
    let asked = app.hosts.asked().len();
    app.set_client_status(MAIL, ClientStatus::Disabled).await;
    let document = APPLICATIONS.replace(
        "backchannel_logout_uri = \"https://photos",
        "client_uri = \"https://photos",
    );
    app.apply(&document).await;
    app.advance(5);
    app.send_due_logouts().await;
    assert_eq!((app.hosts.asked().len(), app.waiting_logouts().await), (asked, 0));
}

#[tokio::test]
async fn offline_access_and_the_applications_own_tokens_are_no_matter_of_the_news() {
    let app = start().await;
    let mut browser = app.browser();
    let ask = MAIL.ask().with("scope", "openid offline_access");
    let code = browser.consented_code(ALICE, &ask).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    let session = sid(&app, &tokens).await;
    log_out(&mut browser).await;
    assert_eq!(told(&app).await, pairs([("mail", &session)]));
    app.refresh(MAIL, &tokens.refresh_token).await.expect_tokens();
}

/// A receiver on a socket of its own: what it was sent, in order, when it has answered with `status`.
struct Receiver {
    url: String,
    received: tokio::sync::mpsc::UnboundedReceiver<String>,
}

async fn receiver(answer: Option<&'static str>) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/out", listener.local_addr().unwrap());
    let (sender, received) = tokio::sync::mpsc::unbounded_channel();
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while !is_whole(&request) {
                let read = stream.read(&mut piece).await.unwrap();
                assert!(read > 0);
                request.extend_from_slice(&piece[..read]);
            }
            sender.send(String::from_utf8(request).unwrap()).unwrap();
            if let Some(answer) = answer {
                tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes())
                    .await
                    .unwrap();
            }
            held.push(stream);
        }
    });
    Receiver { url, received }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")
            .map(str::to_owned)
    });
    length.is_some_and(|length| body.len() >= length.parse().unwrap())
}

async fn start_with(receiver: &Receiver) -> TestApp {
    let document = APPLICATIONS.replace(MAIL_OUT, &receiver.url);
    TestApp::builder()
        .document(&document)
        .real_outbound()
        .config(|config| config.outbound.allow_hosts = vec!["127.0.0.1".into()])
        .start()
        .await
}

#[tokio::test]
async fn over_the_wire_it_is_a_form_with_one_parameter() {
    let mut receiver = receiver(Some(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ))
    .await;
    let app = start_with(&receiver).await;
    let (mut browser, session) = signed_in(&app, &[MAIL]).await;
    log_out(&mut browser).await;
    let request = receiver.received.recv().await.unwrap();
    assert!(request.starts_with("POST /out HTTP/1.1\r\n"), "{request}");
    assert!(
        request
            .to_ascii_lowercase()
            .contains("content-type: application/x-www-form-urlencoded\r\n"),
        "{request}"
    );
    let token = request.split_once("\r\n\r\nlogout_token=").unwrap().1;
    assert_eq!(app.claims(token).await["sid"], session);
    assert_eq!(app.waiting_logouts().await, 0);
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_nobody_up() {
    let mut receiver = receiver(None).await;
    let app = start_with(&receiver).await;
    let (mut browser, _) = signed_in(&app, &[MAIL]).await;
    let page = browser.open("/logout").await.expect_page("id=\"logout-confirm\"");
    let begun = Instant::now();
    browser
        .press(&page, "logout-confirm")
        .await
        .expect_page("id=\"logged-out\"");
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(15), "{waited:?}");
    receiver.received.recv().await.unwrap();
    // The news is not lost: it is under way, and then it waits.
    assert_eq!(app.waiting_logouts().await, 1);
}

/// SECURITY.md section 2: an address that is completed by what a request says leads wherever the request wants it to.
#[tokio::test]
async fn an_address_is_one_address() {
    let app = start().await;
    for address in [
        "https://{host}/out",
        "https://${application.session.host}/out",
        "https://*.mail.example/out",
        "https://%s/out",
        "http://mail.example/out",
        "https://user@mail.example/out",
        "https://mail.example/out#fragment",
        "javascript:alert(1)",
        "//mail.example/out",
        "mail.example/out",
    ] {
        for member in ["backchannel_logout_uri", "frontchannel_logout_uri"] {
            let (before, after) = APPLICATIONS
                .split_once(&format!("backchannel_logout_uri = \"{MAIL_OUT}\""))
                .unwrap();
            let document = format!("{before}{member} = \"{address}\"{after}");
            let error = app.try_apply(&document).await.err().map(|error| error.to_string());
            let error = error.unwrap_or_default();
            assert!(
                error.contains(&format!("client[0].{member}")),
                "{member} {address}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn the_document_says_that_sessions_are_named() {
    let app = start().await;
    let metadata = app.metadata().await;
    for name in [
        "backchannel_logout_supported",
        "backchannel_logout_session_supported",
        "frontchannel_logout_supported",
        "frontchannel_logout_session_supported",
    ] {
        assert_eq!(metadata[name], true, "{name}");
    }
    assert!(metadata.get("check_session_iframe").is_none());
}

#[tokio::test]
async fn a_pairwise_application_is_told_of_the_person_that_it_knows() {
    let app = start().await;
    let pairwise = "auto_approve = true\nsubject_type = \"pairwise\"\n";
    app.apply(&APPLICATIONS.replace("auto_approve = true\n", pairwise))
        .await;
    let mut browser = app.browser();
    let mut known = BTreeSet::new();
    for client in [MAIL, PHOTOS] {
        let tokens = tokens(&mut browser, &app, client).await;
        let claims = app.claims(&tokens.id_token).await;
        known.insert((client.id.to_owned(), claims["sub"].as_str().unwrap().to_owned()));
    }
    log_out(&mut browser).await;
    let mut told = BTreeSet::new();
    for (_, token) in sent(&app) {
        let claims = app.claims(&token).await;
        let text = |name: &str| claims[name].as_str().unwrap().to_owned();
        told.insert((text("aud"), text("sub")));
    }
    assert_eq!(told, known);
    assert!(told.iter().all(|(_, sub)| sub != ALICE.sub));
}
