//! The world of the service tests: a provider on an in-memory database, called without sockets, with a clock that
//! stands still and seeded entropy.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod browser;
pub(crate) mod certificates;
mod ciba;
mod device;
mod hosts;
mod proofs;
mod reply;
mod world;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use auth_server::{
    adapters::sql::SqlStore,
    application::apply::{ApplyError, Report},
    bootstrap::{Ambient, Foundation, Provider},
    config::Config,
    domain::{
        ids::{ClientId, TenantId},
        signing_key::{KeyStage, SigningKey},
        user::User,
    },
    ports::{
        outbound::Outbound,
        store::{SigningKeys as _, Transactions as _},
    },
};
use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, Method, Request, header};
use oauth_wire::SigningAlg;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use service_kit::{Clock as _, Timestamp, listener::PeerAddress};
use sql_kit::Options;
use test_kit::{FixedClock, SeededEntropy, TestKey};
use token_keys::{Jwks, MasterKey, SigningKeyPair, VerifiedJwt};
use tokio::sync::OnceCell;
use tower::ServiceExt as _;

pub(crate) use browser::{Browser, Page};
pub(crate) use ciba::{BACKCHANNEL, asking};
pub(crate) use device::DeviceCodes;
pub(crate) use hosts::{Hosts, reply};
pub(crate) use proofs::{By, Signatory, bytes_under_mac, clients, proof, under_mac};
pub(crate) use reply::{Answer, Reply, Tokens};
pub(crate) use world::*;

/// When the tests' clock starts: 2030-01-01T00:00:00Z.
pub(crate) const NOW: i64 = 1_893_456_000;
pub(crate) const ISSUER: &str = "http://127.0.0.1:9000";
pub(crate) const GATEWAY: &str = "http://127.0.0.1:9100";

/// What takes long to make and is the same for every test: the master key and the signing keys.
struct Template {
    keys: tempfile::TempDir,
    signing_keys: Vec<SigningKey>,
}

static NEXT_SEED: AtomicU64 = AtomicU64::new(8);
static TEMPLATE: OnceCell<Template> = OnceCell::const_new();

/// The provider under test.
pub(crate) struct TestApp {
    provider: Provider,
    clock: Arc<FixedClock>,
    revision: AtomicI64,
    base: String,
    pub(crate) issuer: String,
    /// Who answers when the provider asks somebody.
    pub(crate) hosts: Arc<Hosts>,
    outbound: Option<Arc<dyn Outbound>>,
    config: Config,
}

/// What a test wants to be different from the standard world.
pub(crate) struct Builder {
    config: Config,
    documents: Vec<String>,
    /// What can be put there before the provider starts.
    pub(crate) hosts: Arc<Hosts>,
    outbound: Option<Arc<dyn Outbound>>,
}

impl Builder {
    /// Changes the configuration.
    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub(crate) fn issuer(self, issuer: &str) -> Self {
        self.config(|config| issuer.clone_into(&mut config.issuer))
    }

    pub(crate) fn database(self, url: &str) -> Self {
        self.config(|config| url.clone_into(&mut config.database.url))
    }

    /// The guarded client over real sockets, in place of the hosts of the test.
    pub(crate) fn real_outbound(mut self) -> Self {
        self.outbound = None;
        self
    }

    /// Applies one more document.
    pub(crate) fn document(mut self, toml: &str) -> Self {
        self.documents.push(toml.to_owned());
        self
    }

    pub(crate) async fn start(mut self) -> TestApp {
        let template = TEMPLATE.get_or_init(Template::make).await;
        template.keys.path().clone_into(&mut self.config.keys.dir);
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(NOW)));
        let store = SqlStore::connect(&self.config.database.url, &Options::default())
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        for key in &template.signing_keys {
            tx.insert_key(key).await.unwrap();
        }
        tx.commit().await.unwrap();
        let master = MasterKey::load(&self.config.keys.dir).unwrap();
        let ambient = Ambient {
            outbound: self.outbound.clone(),
            ..ambient(&clock)
        };
        let foundation = Foundation::on(&self.config, ambient, Arc::new(store), master).unwrap();
        for document in &self.documents {
            foundation.apply().apply(document).await.unwrap();
        }
        let base = url::Url::parse(&self.config.issuer)
            .unwrap()
            .path()
            .trim_end_matches('/')
            .to_owned();
        let provider = Provider::assemble(foundation).await.unwrap();
        TestApp {
            provider,
            clock,
            revision: AtomicI64::new(0),
            base,
            issuer: self.config.issuer.clone(),
            hosts: self.hosts,
            outbound: self.outbound,
            config: self.config,
        }
    }
}

impl Template {
    async fn make() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let mut config = config();
        keys.path().clone_into(&mut config.keys.dir);
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(NOW)));
        let foundation = Foundation::lay(&config, ambient(&clock)).await.unwrap();
        let signing_keys = foundation.store.list_keys().await.unwrap();
        Self { keys, signing_keys }
    }
}

pub(crate) fn base64(text: impl AsRef<[u8]>) -> String {
    STANDARD.encode(text)
}

fn ambient(clock: &Arc<FixedClock>) -> Ambient {
    Ambient {
        clock: clock.clone(),
        entropy: Arc::new(SeededEntropy::new(7)),
        outbound: None,
    }
}

fn config() -> Config {
    let mut config = Config::default();
    config.database.url = "sqlite::memory:".into();
    // The cheapest that Argon2 allows: what a password costs is not the subject here.
    config.password_hashing.memory_kib = 8;
    config.password_hashing.passes = 1;
    config.password_hashing.threads = 1;
    config
}

impl TestApp {
    pub(crate) fn builder() -> Builder {
        let hosts = Arc::new(Hosts::default());
        Builder {
            config: config(),
            documents: vec![WORLD.to_owned()],
            outbound: Some(hosts.clone()),
            hosts,
        }
    }

    /// The standard world.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    pub(crate) fn foundation(&self) -> &Foundation {
        &self.provider.foundation
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Seconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_seconds()
    }

    /// Lets the provider see what commands have changed, as it does five times a second in production.
    pub(crate) async fn sync(&self) {
        let mut seen = self.revision.load(Ordering::SeqCst);
        self.provider.sync(&mut seen).await.unwrap();
        self.revision.store(seen, Ordering::SeqCst);
    }

    /// Sends the news of logouts that is due, as every node does once a second in production, and waits until that was tried; how much it was.
    pub(crate) async fn send_due_logouts(&self) -> usize {
        let told = self.provider.logouts.send_due().await.unwrap();
        let sent = told.len();
        told.tried().await;
        sent
    }

    /// How much such news waits.
    pub(crate) async fn waiting_logouts(&self) -> u64 {
        self.provider.logouts.waiting().await.unwrap()
    }

    /// As [`TestApp::send_due_logouts`], the news that people have decided.
    pub(crate) async fn send_due_pings(&self) -> usize {
        let told = self.provider.pings.send_due().await.unwrap();
        let sent = told.len();
        told.tried().await;
        sent
    }

    /// How much of that waits.
    pub(crate) async fn waiting_pings(&self) -> u64 {
        self.provider.pings.waiting().await.unwrap()
    }

    /// Waits until so much of it is left; it is sent while the person's page is answered already.
    pub(crate) async fn pings_settle(&self, hosts_asked: usize, left: u64) {
        for _ in 0..400 {
            if self.hosts.asked().len() >= hosts_asked && self.waiting_pings().await == left {
                // What was noted last is the outcome of the last attempt.
                tokio::time::sleep(Duration::from_millis(20)).await;
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(
            (self.hosts.asked().len(), self.waiting_pings().await),
            (hosts_asked, left)
        );
    }

    pub(crate) async fn try_apply(&self, toml: &str) -> Result<Report, ApplyError> {
        let report = self.foundation().apply().apply(toml).await;
        self.sync().await;
        report
    }

    pub(crate) async fn apply(&self, toml: &str) -> Report {
        self.try_apply(toml).await.unwrap()
    }

    pub(crate) async fn user(&self, user: TestUser) -> User {
        self.foundation()
            .operate()
            .user(&TenantId::new(user.tenant), user.name)
            .await
            .unwrap()
    }

    pub(crate) async fn set_client_status(
        &self,
        client: TestClient,
        status: auth_server::domain::client::ClientStatus,
    ) {
        self.foundation()
            .operate()
            .set_client_status(&ClientId::new(client.id), status)
            .await
            .unwrap();
        self.sync().await;
    }

    pub(crate) async fn set_user_status(&self, user: TestUser, status: auth_server::domain::user::UserStatus) {
        let user = self.user(user).await;
        self.foundation()
            .operate()
            .set_user_status(&user, status)
            .await
            .unwrap();
        self.sync().await;
    }

    pub(crate) async fn set_password(&self, user: TestUser, password: &str) {
        let user = self.user(user).await;
        self.foundation()
            .operate()
            .set_password(&user, password.to_owned().into())
            .await
            .unwrap();
        self.sync().await;
    }

    pub(crate) async fn rotate_keys(&self) {
        assert!(self.foundation().key_factory.rotate().await.unwrap());
        self.sync().await;
    }

    /// A token that the provider's own key signs, whatever it says: for claims that the provider would never put together.
    pub(crate) async fn sign_as_provider(&self, typ: &str, claims: &Value) -> String {
        let factory = &self.foundation().key_factory;
        let keys = factory.list().await.unwrap();
        let key = keys.iter().find(|key| key.stage == KeyStage::Current).unwrap();
        let place = format!("signing_key/sealed_private/{}", key.kid);
        let private = factory.master.unseal(&place, &key.sealed_private).unwrap();
        let pair = SigningKeyPair::from_private_bytes(key.alg, &private).unwrap();
        pair.sign(typ, claims.to_string().as_bytes()).unwrap()
    }

    /// The provider's own key by that algorithm, to sign what the provider never would.
    pub(crate) async fn provider_key(&self, alg: SigningAlg) -> TestKey {
        let factory = &self.foundation().key_factory;
        let keys = factory.list().await.unwrap();
        let of_alg = |key: &&SigningKey| key.stage == KeyStage::Current && key.alg == alg;
        let key = keys.iter().find(of_alg).unwrap();
        let place = format!("signing_key/sealed_private/{}", key.kid);
        let private = factory.master.unseal(&place, &key.sealed_private).unwrap();
        TestKey::from_private(alg, &private)
    }

    /// The credential by which the gateways of this installation fetch security events.
    pub(crate) fn events_credential() -> String {
        let keys = TEMPLATE.get().unwrap().keys.path();
        let credential = MasterKey::load(keys)
            .unwrap()
            .service_credential("events-poll")
            .unwrap();
        credential.expose_secret().to_owned()
    }

    /// Another node on the same database and with the same clock, or this one after a restart.
    pub(crate) async fn another_node(&self) -> Self {
        let ambient = Ambient {
            clock: self.clock.clone(),
            // No node draws what another has drawn.
            entropy: Arc::new(SeededEntropy::new(NEXT_SEED.fetch_add(1, Ordering::Relaxed))),
            outbound: self.outbound.clone(),
        };
        let master = MasterKey::load(&self.config.keys.dir).unwrap();
        let foundation = Foundation::on(&self.config, ambient, self.foundation().store.clone(), master).unwrap();
        let provider = Provider::assemble(foundation).await.unwrap();
        let (clock, base, issuer) = (self.clock.clone(), self.base.clone(), self.issuer.clone());
        Self {
            provider,
            clock,
            revision: AtomicI64::new(0),
            base,
            issuer,
            hosts: self.hosts.clone(),
            outbound: self.outbound.clone(),
            config: self.config.clone(),
        }
    }

    // Calls.

    pub(crate) fn call(&self, method: Method, path: &str) -> Call<'_> {
        // A path of ours; an absolute one (`//path`) is left as it is, for what lies outside the issuer's path.
        let uri = path
            .strip_prefix('/')
            .filter(|rest| rest.starts_with('/'))
            .map_or_else(|| format!("{}{path}", self.base), str::to_owned);
        let request = Request::builder().method(method).uri(&uri);
        Call {
            app: self,
            request,
            uri,
            body: Vec::new(),
        }
    }

    /// As [`TestApp::call`], to an address of any bytes that HTTP lets through.
    pub(crate) fn call_bytes(&self, method: Method, path: &[u8]) -> Call<'_> {
        let uri = [self.base.as_bytes(), path].concat();
        let request = Request::builder().method(method).uri(uri.as_slice());
        Call {
            app: self,
            request,
            uri: String::from_utf8_lossy(&uri).into_owned(),
            body: Vec::new(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path).send().await
    }

    /// The token endpoint, as that client.
    pub(crate) async fn token(&self, client: TestClient, fields: &Fields) -> Reply {
        self.as_client(client, "/oauth2/token", fields).await
    }

    /// An endpoint that authenticates clients: Basic for one with a secret, `client_id` for a public one.
    pub(crate) async fn as_client(&self, client: TestClient, path: &str, fields: &Fields) -> Reply {
        let call = self.call(Method::POST, path);
        match client.secret {
            Some(secret) => call.basic(client.id, secret).form(fields).send().await,
            None => call.form(&fields.clone().with("client_id", client.id)).send().await,
        }
    }

    pub(crate) async fn exchange(&self, code: &Code) -> Reply {
        self.token(code.client, &code.form()).await
    }

    pub(crate) async fn refresh(&self, client: TestClient, token: &str) -> Reply {
        self.token(client, &refresh_form(token)).await
    }

    pub(crate) async fn password(&self, client: TestClient, username: &str, password: &str) -> Reply {
        let form = fields([
            ("grant_type", "password"),
            ("username", username),
            ("password", password),
        ]);
        self.token(client, &form).await
    }

    pub(crate) async fn client_credentials(&self, client: TestClient) -> Reply {
        self.token(client, &fields([("grant_type", "client_credentials")]))
            .await
    }

    pub(crate) async fn introspect(&self, caller: TestClient, token: &str) -> Reply {
        self.as_client(caller, "/oauth2/introspect", &fields([("token", token)]))
            .await
    }

    pub(crate) async fn is_active(&self, token: &str) -> bool {
        self.introspect(RESOURCE_SERVER, token).await.expect_json(200)["active"] == true
    }

    pub(crate) async fn revoke(&self, client: TestClient, token: &str) -> Reply {
        self.as_client(client, "/oauth2/revoke", &fields([("token", token)]))
            .await
    }

    pub(crate) async fn userinfo(&self, tokens: &Tokens) -> Reply {
        self.call(Method::GET, "/userinfo")
            .bearer(&tokens.access_token)
            .send()
            .await
    }

    // Flows.

    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser::new(self)
    }

    /// A browser in which that person is signed in.
    pub(crate) async fn signed_in(&self, user: TestUser) -> Browser<'_> {
        let mut browser = self.browser();
        let page = browser.open("/login").await;
        browser.sign_in(&page, user).await.expect_page("account");
        browser
    }

    /// A code that the person has agreed to in a browser of their own.
    pub(crate) async fn consented_code(&self, user: TestUser, client: TestClient) -> Code {
        let mut browser = self.browser();
        browser.consented_code(user, &client.ask()).await
    }

    pub(crate) async fn tokens(&self, user: TestUser, client: TestClient) -> Tokens {
        let code = self.consented_code(user, client).await;
        self.exchange(&code).await.expect_tokens()
    }

    pub(crate) async fn tokens_for(&self, user: TestUser, ask: &Ask) -> Tokens {
        let mut browser = self.browser();
        let code = browser.consented_code(user, ask).await;
        self.exchange(&code).await.expect_tokens()
    }

    pub(crate) async fn metadata(&self) -> Value {
        self.get("/.well-known/openid-configuration").await.expect_json(200)
    }

    pub(crate) async fn jwks(&self) -> Vec<Value> {
        self.get("/oauth2/jwks").await.expect_json(200)["keys"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// What a relying party does with a token: finds the key by `kid` and checks the signature.
    pub(crate) async fn verified(&self, token: &str) -> VerifiedJwt {
        let jwks = self.get("/oauth2/jwks").await;
        Jwks::from_slice(&jwks.body).unwrap().verify(token).unwrap()
    }

    pub(crate) async fn claims(&self, token: &str) -> Map<String, Value> {
        self.verified(token).await.claims
    }

    async fn send(&self, request: Request<Body>, asked: String) -> Reply {
        let response = self.provider.router.clone().oneshot(request).await.unwrap();
        Reply::read(response, asked, &self.issuer).await
    }
}

/// One request.
#[must_use]
pub(crate) struct Call<'a> {
    app: &'a TestApp,
    request: http::request::Builder,
    uri: String,
    body: Vec<u8>,
}

impl Call<'_> {
    pub(crate) fn header(self, name: impl AsRef<str>, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_ref().as_bytes()).unwrap();
        Self {
            request: self.request.header(name, value),
            ..self
        }
    }

    /// A header of any bytes that HTTP lets through.
    pub(crate) fn header_bytes(self, name: &'static str, value: &[u8]) -> Self {
        Self {
            request: self.request.header(name, value),
            ..self
        }
    }

    /// With what a listener tells of the peer.
    pub(crate) fn extension<T: Clone + Send + Sync + 'static>(self, value: T) -> Self {
        Self {
            request: self.request.extension(value),
            ..self
        }
    }

    pub(crate) fn basic(self, id: &str, secret: &str) -> Self {
        self.header(
            header::AUTHORIZATION,
            &format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))),
        )
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header(header::AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// From that network address.
    pub(crate) fn from(self, address: &str) -> Self {
        let peer = PeerAddress(SocketAddr::new(address.parse().unwrap(), 50_000));
        Self {
            request: self.request.extension(peer),
            ..self
        }
    }

    pub(crate) fn form(self, fields: &Fields) -> Self {
        self.raw("application/x-www-form-urlencoded", fields.encode())
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.raw("application/json", body.to_string())
    }

    pub(crate) fn raw(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self.header(header::CONTENT_TYPE, content_type)
        }
    }

    /// A body without a word of what it is.
    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    pub(crate) async fn send(self) -> Reply {
        let request = self.request.body(Body::from(self.body)).unwrap();
        let asked = format!("{} {}", request.method(), self.uri);
        self.app.send(request, asked).await
    }
}
