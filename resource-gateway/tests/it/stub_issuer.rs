//! A provider: discovery, keys, revocations. Its keys sign whatever a test wants.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use oauth_wire::{RevocationEvent, Revoked, SigningAlg};
use serde_json::{Map, Value, json};
use service_kit::{Clock as _, SystemClock};
use token_keys::SigningKeyPair;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

pub(crate) const AUDIENCE: &str = "https://gateway.test";

#[derive(Clone)]
pub(crate) struct StubIssuer {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    keys: Mutex<Vec<Arc<SigningKeyPair>>>,
    events: Mutex<BTreeMap<String, String>>,
    news: watch::Sender<u64>,
    jwks_fetches: AtomicUsize,
    feed_status: Mutex<StatusCode>,
    /// Polls that are still let through, and how many events each brings.
    polls: Semaphore,
    /// Polls that have come.
    asked: AtomicUsize,
    page: AtomicUsize,
}

const ENDLESS: usize = 1 << 20;

pub(crate) fn now() -> i64 {
    SystemClock.now().as_seconds()
}

pub(crate) fn es256() -> Arc<SigningKeyPair> {
    Arc::new(SigningKeyPair::generate(SigningAlg::Es256).unwrap())
}

impl StubIssuer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener)
    }

    pub(crate) fn start_on(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            keys: Mutex::new(vec![es256()]),
            events: Mutex::default(),
            news: watch::channel(0).0,
            jwks_fetches: AtomicUsize::new(0),
            feed_status: Mutex::new(StatusCode::OK),
            polls: Semaphore::new(ENDLESS),
            asked: AtomicUsize::new(0),
            page: AtomicUsize::new(usize::MAX),
        });
        let issuer = Self {
            url: url.clone(),
            shared,
        };
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/oauth2/jwks"), "more": [1]});
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(move || async move { Json(discovery.clone()) }),
            )
            .route("/oauth2/jwks", get(jwks))
            .route("/events/poll", post(poll))
            .with_state(issuer.clone());
        #[expect(clippy::disallowed_methods, reason = "the stub ends with its test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        issuer
    }

    /// The same keys under another name, where nobody answers.
    pub(crate) fn renamed(self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self
        }
    }

    /// The key that signs now.
    pub(crate) fn key(&self) -> Arc<SigningKeyPair> {
        self.shared.keys.lock().unwrap().last().unwrap().clone()
    }

    /// Publishes a further key and signs with it from now on.
    pub(crate) fn rotate(&self) {
        self.shared.keys.lock().unwrap().push(es256());
    }

    /// Withdraws the oldest key.
    pub(crate) fn withdraw_oldest(&self) {
        self.shared.keys.lock().unwrap().remove(0);
    }

    pub(crate) fn jwks_fetches(&self) -> usize {
        self.shared.jwks_fetches.load(Ordering::SeqCst)
    }

    pub(crate) fn refuse_feed(&self, status: StatusCode) {
        *self.shared.feed_status.lock().unwrap() = status;
    }

    /// Leaves polls unanswered, and answers them with one event each.
    pub(crate) fn hold_feed(&self) {
        self.shared.polls.forget_permits(ENDLESS);
        self.shared.page.store(1, Ordering::SeqCst);
    }

    pub(crate) fn answer_polls(&self, count: usize) {
        self.shared.polls.add_permits(count);
    }

    /// How many polls have come. Whoever asks again has taken the answer before.
    pub(crate) fn polls_seen(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// The claims of a good token.
    pub(crate) fn claims(&self) -> Value {
        json!({"iss": self.url, "aud": [AUDIENCE], "sub": "alice", "client_id": "app", "jti": "grant-1.token-1",
            "sid": "session-1", "iat": now(), "exp": now() + 600, "scope": oauth_wire::ai_scopes().collect::<Vec<_>>().join(" "), "tenant": "t1"})
    }

    pub(crate) fn sign(&self, typ: &str, claims: &Value) -> String {
        self.key().sign(typ, claims.to_string().as_bytes()).unwrap()
    }

    /// A good token with other claims; null takes one away.
    pub(crate) fn token(&self, changes: &Value) -> String {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        self.sign("at+jwt", &claims)
    }

    pub(crate) fn revoke(&self, revoked: Revoked) {
        let event = RevocationEvent {
            revoked,
            until: now() + 600,
        };
        let mut events = self.shared.events.lock().unwrap();
        let id = format!("event-{}", events.len());
        let mut claims: Map<String, Value> = event.to_claims(&self.url);
        claims.extend([
            ("iss".into(), json!(self.url)),
            ("jti".into(), json!(id)),
            ("iat".into(), json!(now())),
        ]);
        events.insert(id, self.sign("secevent+jwt", &Value::Object(claims)));
        drop(events);
        self.shared.news.send_modify(|count| *count += 1);
    }

    /// Puts an event token on the feed as it is.
    pub(crate) fn publish_raw(&self, id: &str, set: String) {
        self.shared.events.lock().unwrap().insert(id.to_owned(), set);
        self.shared.news.send_modify(|count| *count += 1);
    }

    pub(crate) fn unacknowledged(&self) -> usize {
        self.shared.events.lock().unwrap().len()
    }
}

async fn jwks(State(issuer): State<StubIssuer>) -> Json<Value> {
    issuer.shared.jwks_fetches.fetch_add(1, Ordering::SeqCst);
    let keys: Vec<_> = issuer
        .shared
        .keys
        .lock()
        .unwrap()
        .iter()
        .map(|key| key.public_jwk())
        .collect();
    Json(json!({"keys": keys}))
}

async fn poll(State(issuer): State<StubIssuer>, Json(request): Json<Value>) -> impl IntoResponse {
    issuer.shared.asked.fetch_add(1, Ordering::SeqCst);
    issuer.shared.polls.acquire().await.unwrap().forget();
    let status = *issuer.shared.feed_status.lock().unwrap();
    let mut news = issuer.shared.news.subscribe();
    {
        let mut events = issuer.shared.events.lock().unwrap();
        for id in request["ack"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            events.remove(id);
        }
    }
    let empty = issuer.shared.events.lock().unwrap().is_empty();
    if empty && request["returnImmediately"] == false {
        let _ = tokio::time::timeout(Duration::from_secs(25), news.changed()).await;
    }
    let mut sets = issuer.shared.events.lock().unwrap().clone();
    let mut more = false;
    while sets.len() > issuer.shared.page.load(Ordering::SeqCst) {
        sets.pop_last();
        more = true;
    }
    (status, Json(json!({"sets": sets, "moreAvailable": more})))
}
