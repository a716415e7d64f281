//! What the service makes of the store's promises: races with a slow hasher, callers who go away, a shutdown, a stale node.

use futures_util::FutureExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use auth_server::application::end_grant::EndGrant;
use auth_server::application::operate::Operate;
use auth_server::bootstrap::{Ambient, Foundation, Provider};
use auth_server::config::Config;
use auth_server::domain::ids::{GrantId, TenantId};
use auth_server::domain::user::PasswordHash;
use auth_server::ports::crypto::{PasswordError, PasswordHasher};
use axum::body::Body;
use futures_util::future::join_all;
use http::{Request, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::Tasks;
use test_kit::{FixedClock, SeededEntropy};
use token_keys::MasterKey;
use tower::ServiceExt as _;

use super::NOON;
use crate::app::{ALICE, SPA, TestApp, WEB, WORLD};

const WITHOUT_REFRESH: &str = r#"
[[client]]
client_id = "kiosk"
grant_types = ["password"]
response_types = []
scope = "openid"
token_endpoint_auth_method = "none"
first_party = true
"#;

/// A hasher during whose work somebody else changes the password, or that has too much to do.
struct Slow {
    inner: Arc<dyn PasswordHasher>,
    operate: Operate,
    meddles: AtomicBool,
    is_busy: AtomicBool,
}

#[async_trait]
impl PasswordHasher for Slow {
    async fn hash(&self, password: SecretString) -> Result<PasswordHash, PasswordError> {
        self.inner.hash(password).await
    }

    async fn verify(&self, password: SecretString, hash: Option<PasswordHash>) -> Result<bool, PasswordError> {
        if self.is_busy.load(Ordering::SeqCst) {
            return Err(PasswordError::Busy);
        }
        let genuine = self.inner.verify(password, hash).await;
        if self.meddles.swap(false, Ordering::SeqCst) {
            let user = self.operate.user(&TenantId::new("default"), ALICE.name).await.unwrap();
            self.operate
                .set_password(&user, "another one".to_owned().into())
                .await
                .unwrap();
        }
        genuine
    }
}

struct Node {
    provider: Provider,
    hasher: Arc<Slow>,
    clock: Arc<FixedClock>,
    keys: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.database.url = "sqlite::memory:".into();
        config.keys.dir = keys.path().to_owned();
        config.password_hashing.memory_kib = 8;
        config.password_hashing.passes = 1;
        config.password_hashing.threads = 1;
        let clock = Arc::new(FixedClock::at(NOON));
        let ambient = Ambient {
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(3)),
            outbound: None,
        };
        let mut foundation = Foundation::lay(&config, ambient).await.unwrap();
        for document in [WORLD, WITHOUT_REFRESH] {
            foundation.apply().apply(document).await.unwrap();
        }
        let hasher = Arc::new(Slow {
            inner: foundation.hasher.clone(),
            operate: foundation.operate(),
            meddles: AtomicBool::new(false),
            is_busy: AtomicBool::new(false),
        });
        foundation.hasher = hasher.clone();
        let provider = Provider::assemble(foundation).await.unwrap();
        Self {
            provider,
            hasher,
            clock,
            keys,
        }
    }

    async fn send(&self, request: Request<Body>) -> StatusCode {
        self.provider.router.clone().oneshot(request).await.unwrap().status()
    }

    /// The password grant for Alice.
    async fn sign_in(&self, client: &str) -> StatusCode {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "password")
            .append_pair("client_id", client)
            .append_pair("username", ALICE.name)
            .append_pair("password", ALICE.password);
        let request = Request::post("/oauth2/token")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form.finish()));
        self.send(request.unwrap()).await
    }

    fn long_poll(&self) -> Request<Body> {
        let credential = MasterKey::load(self.keys.path())
            .unwrap()
            .service_credential("events-poll")
            .unwrap();
        Request::post("/events/poll?stream=a")
            .header(header::AUTHORIZATION, format!("Bearer {}", credential.expose_secret()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from("{}"))
            .unwrap()
    }
}

#[tokio::test]
async fn a_sign_in_under_way_does_not_survive_a_change_of_the_password() {
    for client in ["console", "kiosk"] {
        let node = Node::start().await;
        assert_eq!(node.sign_in(client).await, StatusCode::OK, "{client}");
        node.hasher.meddles.store(true, Ordering::SeqCst);
        assert_eq!(node.sign_in(client).await, StatusCode::BAD_REQUEST, "{client}");
    }
}

#[tokio::test]
async fn a_busy_service_locks_nobody_out() {
    let node = Node::start().await;
    node.hasher.is_busy.store(true, Ordering::SeqCst);
    for _ in 0..30 {
        assert_eq!(node.sign_in("console").await, StatusCode::SERVICE_UNAVAILABLE);
    }
    node.hasher.is_busy.store(false, Ordering::SeqCst);
    assert_eq!(node.sign_in("console").await, StatusCode::OK);
}

#[tokio::test]
async fn a_long_poll_ends_when_the_service_stops() {
    let node = Node::start().await;
    let stop = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        node.provider.tasks.stop();
    };
    let both = async { tokio::join!(node.send(node.long_poll()), stop).0 };
    let status = tokio::time::timeout(Duration::from_secs(5), both).await.unwrap();
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_node_that_has_not_read_what_others_changed_is_not_ready() {
    let node = Node::start().await;
    node.provider.readiness().await.unwrap();
    node.clock.advance(Duration::from_secs(10));
    node.provider.readiness().await.unwrap();
    node.clock.advance(Duration::from_secs(1));
    let reason = node.provider.readiness().await.unwrap_err();
    assert!(reason.ends_with("11 s ago"), "{reason}");
    node.provider.sync(&mut 0).await.unwrap();
    node.provider.readiness().await.unwrap();
    assert_eq!(node.provider.synced_at(), NOON + Duration::from_secs(11));
}

#[tokio::test]
async fn a_grant_ends_even_if_its_caller_goes_away() {
    let node = Node::start().await;
    let foundation = &node.provider.foundation;
    let tasks = Tasks::default();
    let end = EndGrant {
        transactions: foundation.store.clone(),
        revocations: foundation.revocations.clone(),
        clock: node.clock.clone(),
        tasks: tasks.clone(),
    };
    // Polled once, then dropped.
    assert!(end.end(&GrantId::new("g")).now_or_never().is_none());
    assert!(tasks.drain(Duration::from_secs(10)).await);
    assert_eq!(foundation.revocations.feed().len(), 1);
}

#[tokio::test]
async fn what_is_revoked_again_and_again_is_told_once() {
    let app = TestApp::start().await;
    let told = || app.foundation().revocations.feed().len();
    let code = app.consented_code(ALICE, SPA).await;
    let tokens = app.exchange(&code).await.expect_tokens();
    for _ in 0..5 {
        app.exchange(&code).await.expect_oauth_error(400, "invalid_grant");
        app.revoke(SPA, &tokens.refresh_token).await.expect_status(200);
    }
    assert_eq!(told(), 1);
    let tokens = app.tokens(ALICE, SPA).await;
    for _ in 0..5 {
        app.revoke(SPA, &tokens.access_token).await.expect_status(200);
    }
    assert_eq!(told(), 2);
    let code = app.consented_code(ALICE, WEB).await;
    join_all((0..50).map(|_| app.exchange(&code))).await;
    app.sync().await;
    assert_eq!(told(), 3);
}

#[tokio::test]
async fn a_disabled_tenants_tokens_codes_and_people_are_refused() {
    let app = TestApp::start().await;
    let tokens = app.tokens(ALICE, SPA).await;
    let code = app.consented_code(ALICE, WEB).await;
    let tenant = |enabled: bool| format!("[[tenant]]\nid = \"default\"\nname = \"Default\"\nenabled = {enabled}\n");
    app.apply(&tenant(false)).await;
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.refresh(SPA, &tokens.refresh_token)
        .await
        .expect_oauth_error(401, "invalid_client");
    app.exchange(&code).await.expect_oauth_error(401, "invalid_client");
    app.apply(&tenant(true)).await;
    // Resource servers were told that the tokens are over, so they stay over; what may be refreshed starts anew.
    app.userinfo(&tokens).await.expect_bearer_error(401, "invalid_token");
    app.refresh(SPA, &tokens.refresh_token).await.expect_tokens();
}
