//! The state machine of tokens as a property: whatever is done in whatever order and on whatever node, restarts included, what introspection, userinfo and a refresh
//! say is what a [`model`] of a page says (SECURITY.md section 2, "refresh reuse after restart", "tokens for disabled / locked users").

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod model;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use auth_server::domain::{client::ClientStatus, user::UserStatus};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use sql_test_kit::TestDatabase;

use self::model::{Answer, Client, Model, User};
use crate::app::{ALICE, BOB, Browser, Code, OWN, Reply, TestApp, TestClient, TestUser, Tokens, fields};

const USERS: [TestUser; 2] = [ALICE, BOB];
/// Bound to the session, for offline use, and by password.
const CLIENTS: [TestClient; 3] = [
    OWN,
    TestClient {
        id: "offline",
        secret: None,
        redirect_uri: "https://offline.example/cb",
        scope: "openid offline_access",
    },
    TestClient {
        id: "terminal",
        secret: None,
        redirect_uri: "",
        scope: "openid",
    },
];
const TERMINAL: usize = 2;

const DOCUMENT: &str = r#"
[[client]]
client_id = "offline"
redirect_uris = ["https://offline.example/cb"]
grant_types = ["authorization_code", "refresh_token"]
scope = "openid offline_access"
token_endpoint_auth_method = "none"
auto_approve = true

[[client]]
client_id = "terminal"
grant_types = ["password", "refresh_token"]
response_types = []
scope = "openid"
token_endpoint_auth_method = "none"
first_party = true
auto_approve = true
"#;

/// One thing that somebody does. Numbers pick from what there is by then.
#[derive(Debug, Clone, Copy)]
enum Step {
    SignIn {
        user: usize,
    },
    Authorize {
        session: usize,
        client: usize,
    },
    Exchange {
        code: usize,
    },
    Password {
        user: usize,
    },
    /// `age`: how many generations ago the token was the current one.
    Refresh {
        grant: usize,
        age: usize,
    },
    RefreshBy {
        grant: usize,
        client: usize,
    },
    RevokeAccess {
        access: usize,
    },
    RevokeRefresh {
        grant: usize,
        age: usize,
    },
    SignOut {
        session: usize,
    },
    SignOutEverywhere {
        user: usize,
    },
    Lock {
        user: usize,
    },
    Unlock {
        user: usize,
    },
    Disable {
        client: usize,
    },
    Enable {
        client: usize,
    },
    RemoveApp {
        session: usize,
        client: usize,
    },
    Advance {
        seconds: u64,
    },
    Restart,
    /// From now on to the other node, once it has read what is new.
    Cross,
}

fn step() -> impl Strategy<Value = Step> {
    let (user, any_client, web_client) = (0..USERS.len(), 0..CLIENTS.len(), 0..TERMINAL);
    let some = || prop_oneof![3 => Just(0_usize), 2 => 0..12_usize];
    let age = || prop_oneof![6 => Just(0_usize), 3 => Just(1), 1 => Just(2)];
    prop_oneof![
        3 => user.clone().prop_map(|user| Step::SignIn { user }),
        6 => (some(), web_client.clone()).prop_map(|(session, client)| Step::Authorize { session, client }),
        8 => some().prop_map(|code| Step::Exchange { code }),
        2 => user.clone().prop_map(|user| Step::Password { user }),
        10 => (some(), age()).prop_map(|(grant, age)| Step::Refresh { grant, age }),
        1 => (some(), any_client.clone()).prop_map(|(grant, client)| Step::RefreshBy { grant, client }),
        2 => some().prop_map(|access| Step::RevokeAccess { access }),
        1 => (some(), age()).prop_map(|(grant, age)| Step::RevokeRefresh { grant, age }),
        1 => some().prop_map(|session| Step::SignOut { session }),
        1 => user.clone().prop_map(|user| Step::SignOutEverywhere { user }),
        1 => user.clone().prop_map(|user| Step::Lock { user }),
        3 => user.prop_map(|user| Step::Unlock { user }),
        1 => any_client.clone().prop_map(|client| Step::Disable { client }),
        3 => any_client.prop_map(|client| Step::Enable { client }),
        1 => (some(), web_client).prop_map(|(session, client)| Step::RemoveApp { session, client }),
        8 => prop_oneof![
            Just(1_u64), Just(2), Just(9), Just(10), Just(11), Just(59), Just(60), Just(200), Just(300), Just(450), Just(599), Just(600), Just(499),
        ].prop_map(|seconds| Step::Advance { seconds }),
        2 => Just(Step::Restart),
        4 => Just(Step::Cross),
    ]
}

/// The provider beside the model, and what each thing of the model is called there.
struct Play {
    /// The node that is talked to.
    app: TestApp,
    /// Another one on the same database.
    other: TestApp,
    model: Model,
    cookies: Vec<BTreeMap<String, String>>,
    codes: Vec<Code>,
    /// Of each grant, the refresh tokens of every generation.
    refresh: Vec<Vec<String>>,
    access: Vec<String>,
}

type Outcome = Result<(), TestCaseError>;

/// The latest first, so that small numbers mean what has just been done.
fn pick(number: usize, count: usize) -> Option<usize> {
    (count > 0).then(|| count - 1 - number % count)
}

fn answer(reply: &Reply) -> Result<Answer, TestCaseError> {
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    match (reply.status, body["error"].as_str()) {
        (200, None) => Ok(Answer::Tokens),
        (400, Some("invalid_grant")) => Ok(Answer::InvalidGrant),
        (401, Some("invalid_client")) => Ok(Answer::InvalidClient),
        _ => Err(TestCaseError::fail(format!("{} {body}", reply.status))),
    }
}

impl Play {
    async fn on(database: &str) -> Self {
        let builder = TestApp::builder()
            .database(database)
            .document(DOCUMENT)
            .config(|config| {
                config.login.max_attempts = 1_000_000;
                config.tokens.access_token_ttl_s = model::ACCESS_TTL.unsigned_abs();
                config.tokens.refresh_idle_s = model::IDLE_TTL.unsigned_abs();
                config.tokens.refresh_absolute_s = model::ABSOLUTE_TTL.unsigned_abs();
                config.tokens.session_ttl_s = model::SESSION_TTL.unsigned_abs();
                config.tokens.lost_reply_window_s = model::LOST_REPLY.unsigned_abs();
            });
        let app = builder.start().await;
        let other = app.another_node().await;
        let user = |_| User {
            is_active: true,
            cutoff: 0,
        };
        let client = |client: TestClient| Client {
            is_active: true,
            cutoff: 0,
            is_offline: client.scope.contains("offline_access"),
        };
        let model = Model {
            now: app.now(),
            users: USERS.map(user).into(),
            clients: CLIENTS.map(client).into(),
            ..Model::default()
        };
        Self {
            app,
            other,
            model,
            cookies: Vec::new(),
            codes: Vec::new(),
            refresh: Vec::new(),
            access: Vec::new(),
        }
    }

    fn browser(&self, session: usize) -> Browser<'_> {
        let mut browser = self.app.browser();
        browser.cookies.clone_from(&self.cookies[session]);
        browser
    }

    async fn take(&mut self, step: Step) -> Outcome {
        match step {
            Step::SignIn { user } => self.sign_in(user).await?,
            Step::Authorize { session, client } => {
                if let Some(session) = pick(session, self.cookies.len()) {
                    self.authorize(session, client).await?;
                }
            }
            Step::Exchange { code } => {
                if let Some(code) = pick(code, self.codes.len()) {
                    let reply = self.app.exchange(&self.codes[code]).await;
                    let expected = self.model.exchange(code);
                    self.settle(&reply, expected, None)?;
                }
            }
            Step::Password { user } => {
                let (name, password) = (USERS[user].name, USERS[user].password);
                let reply = self.app.password(CLIENTS[TERMINAL], name, password).await;
                let expected = self.model.password(user, TERMINAL);
                self.settle(&reply, expected, None)?;
            }
            Step::Refresh { grant, age } => {
                if let Some(grant) = pick(grant, self.refresh.len()) {
                    self.refresh(grant, age, self.model.grants[grant].client).await?;
                }
            }
            Step::RefreshBy { grant, client } => {
                if let Some(grant) = pick(grant, self.refresh.len()) {
                    self.refresh(grant, 0, client).await?;
                }
            }
            Step::Advance { seconds } => {
                self.app.advance(seconds);
                self.model.now = self.app.now();
            }
            Step::Restart => self.app = self.app.another_node().await,
            Step::Cross => {
                std::mem::swap(&mut self.app, &mut self.other);
                self.app.sync().await;
            }
            ending => self.end(ending).await?,
        }
        self.compare().await
    }

    async fn end(&mut self, step: Step) -> Outcome {
        match step {
            Step::RevokeAccess { access } => {
                if let Some(access) = pick(access, self.access.len()) {
                    let client = self.model.grants[self.model.accesses[access].grant].client;
                    let reply = self.app.revoke(CLIENTS[client], &self.access[access]).await;
                    prop_assert_eq!(answer(&reply)?, self.model.revoke_access(access));
                }
            }
            Step::RevokeRefresh { grant, age } => {
                if let Some(grant) = pick(grant, self.refresh.len()) {
                    let tokens = &self.refresh[grant];
                    let token = &tokens[tokens.len() - 1 - age.min(tokens.len() - 1)];
                    let client = CLIENTS[self.model.grants[grant].client];
                    let reply = self.app.revoke(client, token).await;
                    prop_assert_eq!(answer(&reply)?, self.model.revoke_refresh(grant));
                }
            }
            Step::SignOut { session } => {
                if let Some(session) = pick(session, self.cookies.len()) {
                    self.sign_out(session).await;
                }
            }
            Step::SignOutEverywhere { user } => {
                let person = self.app.user(USERS[user]).await;
                self.app.foundation().operate().sign_out(&person).await.unwrap();
                self.app.sync().await;
                self.model.end_everything_of(user);
            }
            Step::Lock { user } => {
                self.app.set_user_status(USERS[user], UserStatus::Locked).await;
                self.model.users[user].is_active = false;
                self.model.end_everything_of(user);
            }
            Step::Unlock { user } => {
                self.app.set_user_status(USERS[user], UserStatus::Active).await;
                self.model.users[user].is_active = true;
            }
            Step::Disable { client } => {
                self.app
                    .set_client_status(CLIENTS[client], ClientStatus::Disabled)
                    .await;
                self.model.disable(client);
            }
            Step::Enable { client } => {
                self.app.set_client_status(CLIENTS[client], ClientStatus::Active).await;
                self.model.clients[client].is_active = true;
            }
            Step::RemoveApp { session, client } => {
                if let Some(session) = pick(session, self.cookies.len()) {
                    self.remove_app(session, client).await;
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn sign_in(&mut self, user: usize) -> Outcome {
        let mut browser = self.app.browser();
        let page = browser.open("/login").await;
        let reply = browser.sign_in(&page, USERS[user]).await;
        let is_in = reply.text().contains("id=\"account\"") || reply.text().contains("action=\"/account\"");
        let cookies = browser.cookies.clone();
        let expected = self.model.sign_in(user);
        prop_assert_eq!(is_in, expected, "sign-in: {} {}", reply.status, reply.text());
        if expected {
            self.cookies.push(cookies);
        }
        Ok(())
    }

    async fn authorize(&mut self, session: usize, client: usize) -> Outcome {
        let client_of = CLIENTS[client];
        let path = client_of.ask().with("prompt", "none").path();
        let reply = self.browser(session).get(&path).await;
        let location = reply.header("location").unwrap_or_default().to_owned();
        let query = location.split_once('?').map_or("", |(_, query)| query);
        let code = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "code");
        let code = code.map(|(_, code)| code.into_owned());
        prop_assert_eq!(code.is_some(), self.model.authorize(session, client), "{}", location);
        self.codes.extend(code.map(|value| Code {
            value,
            client: client_of,
            redirect_uri: client_of.redirect_uri.to_owned(),
            has_challenge: true,
        }));
        Ok(())
    }

    async fn refresh(&mut self, grant: usize, age: usize, by: usize) -> Outcome {
        let tokens = &self.refresh[grant];
        let at = tokens.len() - 1 - age.min(tokens.len() - 1);
        let reply = self.app.refresh(CLIENTS[by], &tokens[at]).await;
        let expected = self.model.refresh(grant, at + 1, by);
        self.settle(&reply, expected, Some(grant))
    }

    /// Compares an answer of the token endpoint and files what it brought.
    fn settle(&mut self, reply: &Reply, expected: Answer, grant: Option<usize>) -> Outcome {
        prop_assert_eq!(answer(reply)?, expected, "{}", reply.text());
        if expected != Answer::Tokens {
            return Ok(());
        }
        let tokens: Tokens = serde_json::from_slice(&reply.body).unwrap();
        self.access.push(tokens.access_token);
        match grant {
            None => self.refresh.push(vec![tokens.refresh_token]),
            Some(grant) => {
                let known = &mut self.refresh[grant];
                // A lost reply brings the very token that got lost.
                if self.model.grants[grant].generation == known.len() {
                    prop_assert_eq!(known.last(), Some(&tokens.refresh_token));
                } else {
                    prop_assert!(!known.contains(&tokens.refresh_token));
                    known.push(tokens.refresh_token);
                }
            }
        }
        Ok(())
    }

    async fn sign_out(&mut self, session: usize) {
        let mut browser = self.browser(session);
        let page = browser.get("/logout").await;
        if page.status == 200 {
            let page = page.expect_html(200);
            browser.press(&page, "logout-confirm").await;
        }
        self.model.sign_out(session);
    }

    async fn remove_app(&mut self, session: usize, client: usize) {
        let mut browser = self.browser(session);
        let page = browser.get("/logout").await;
        if page.status == 200 {
            let form = page.expect_html(200).form("logout-confirm").fields;
            let asked = fields([
                ("action", "remove-app"),
                ("client_id", CLIENTS[client].id),
                ("csrf", form.get("csrf").unwrap()),
            ]);
            browser.post("/account", &asked).await.expect_redirect();
        }
        self.model.remove_app(session, client);
    }

    /// The invariant.
    async fn compare(&self) -> Outcome {
        for (at, token) in self.access.iter().enumerate() {
            let age = self.model.now - self.model.accesses[at].issued_at;
            // What has been over for long stays over.
            if age > 2 * model::ACCESS_TTL {
                continue;
            }
            let expected = self.model.is_good(at);
            prop_assert_eq!(
                self.app.is_active(token).await,
                expected,
                "introspection of access token {}",
                at
            );
            if at + 4 >= self.access.len() {
                let reply = self.app.call(http::Method::GET, "/userinfo").bearer(token).send().await;
                let status = if expected { 200 } else { 401 };
                prop_assert_eq!(reply.status, status, "userinfo with access token {}", at);
            }
        }
        for (grant, tokens) in self.refresh.iter().enumerate() {
            for (at, token) in tokens.iter().enumerate().rev().take(2) {
                let expected = self.model.is_current(grant, at + 1);
                let active = self.app.is_active(token).await;
                prop_assert_eq!(
                    active,
                    expected,
                    "introspection of refresh token {} of grant {}",
                    at + 1,
                    grant
                );
            }
        }
        Ok(())
    }
}

/// The same cases in every run; a failing one is made as short as it can be.
fn run(cases: u32, seed: u8, database: impl Fn() -> Option<String>) -> BTreeSet<&'static str> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::with_cases(cases)
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    let steps = proptest::collection::vec(step(), 1..80);
    let seen = RefCell::new(BTreeSet::new());
    let outcome = runner.run(&steps, |steps| {
        runtime.block_on(async {
            let url = match database() {
                Some(url) => url,
                None => TestDatabase::postgres().await.url,
            };
            let mut play = Play::on(&url).await;
            for (at, step) in steps.iter().enumerate() {
                let done = play.take(*step).await;
                done.map_err(|error| TestCaseError::fail(format!("step {at}, {step:?}: {error}")))?;
            }
            play.app.foundation().store.close().await;
            seen.borrow_mut().extend(play.model.seen);
            Ok(())
        })
    });
    outcome.unwrap();
    seen.into_inner()
}

#[test]
fn whatever_is_done_in_whatever_order_tokens_are_good_when_the_model_says_so_on_sqlite() {
    let seen = run(90, 1, || Some("sqlite::memory:".into()));
    let unseen: Vec<&str> = model::CASES.into_iter().filter(|case| !seen.contains(case)).collect();
    assert!(unseen.is_empty(), "no run came to {unseen:?}");
}

#[test]
fn whatever_is_done_in_whatever_order_tokens_are_good_when_the_model_says_so_on_postgres() {
    assert!(run(20, 2, || None).contains("a reuse"));
}
