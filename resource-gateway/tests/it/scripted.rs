//! A vendor that does as it is told, call by call.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

use crate::stub_vendor::{CHUNK, DONE, FINISH, USAGE};

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Cut,
    /// Never.
    Stall,
}

/// What is answered to a call.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Before the head.
    pub(crate) delay: Duration,
    pub(crate) parts: Vec<Bytes>,
    /// Before each part but the first.
    pub(crate) pause: Duration,
    pub(crate) end: End,
}

impl Act {
    /// An answer that is right, plain or streamed.
    pub(crate) fn well(stream: bool) -> Self {
        if stream {
            return Self::events(&[CHUNK, CHUNK, FINISH, USAGE, DONE]);
        }
        let body = "{\"id\":\"x\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"four\"},\"finish_reason\":\"stop\"}],\
            \"usage\":{\"prompt_tokens\":11,\"completion_tokens\":22,\"total_tokens\":33}}";
        Self::body(200, "application/json", body)
    }

    pub(crate) fn body(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type", content_type.to_owned())],
            delay: Duration::ZERO,
            parts: vec![body.into()],
            pause: Duration::ZERO,
            end: End::Clean,
        }
    }

    pub(crate) fn events(events: &[&str]) -> Self {
        let parts = events.iter().map(|event| Bytes::from((*event).to_owned())).collect();
        Self {
            parts,
            ..Self::body(200, "text/event-stream", "")
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        let error = "{\"error\":{\"message\":\"no at secret-host-7\",\"type\":\"t\",\"param\":null,\"code\":null}}";
        Self::body(status, "application/json", error)
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }

    pub(crate) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// What the server does when nothing is queued.
#[derive(Debug, Clone)]
enum Rule {
    Well,
    Always(Act),
}

#[derive(Clone)]
pub(crate) struct Scripted {
    /// With the path of the API.
    pub(crate) url: String,
    pub(crate) port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    rule: Mutex<Rule>,
    queue: Mutex<VecDeque<Act>>,
    seen: Mutex<Vec<HeaderMap>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    given_up: AtomicUsize,
    health: AtomicU16,
    checks: AtomicUsize,
}

/// Counts a call as long as it lives, and notes when it is dropped before its answer was complete.
struct Watch(Arc<Inner>, bool);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, SeqCst);
        if !self.1 {
            self.0.given_up.fetch_add(1, SeqCst);
        }
    }
}

impl Scripted {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner {
            rule: Mutex::new(Rule::Well),
            queue: Mutex::default(),
            seen: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            health: AtomicU16::new(200),
            checks: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(answer))
            .route("/health", get(health))
            .with_state(Arc::clone(&inner));
        #[expect(clippy::disallowed_methods, reason = "the server ends with its test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url: format!("http://127.0.0.1:{port}/v1"),
            port,
            inner,
        }
    }

    /// From now on every call is answered so.
    pub(crate) fn always(&self, act: Act) {
        *self.inner.rule.lock().unwrap() = Rule::Always(act);
    }

    pub(crate) fn well(&self) {
        *self.inner.rule.lock().unwrap() = Rule::Well;
    }

    /// The next calls are answered so.
    pub(crate) fn next(&self, acts: impl IntoIterator<Item = Act>) {
        self.inner.queue.lock().unwrap().extend(acts);
    }

    /// Nothing is queued any more.
    pub(crate) fn forget(&self) {
        self.inner.queue.lock().unwrap().clear();
    }

    pub(crate) fn calls(&self) -> usize {
        self.inner.seen.lock().unwrap().len()
    }

    pub(crate) fn seen(&self) -> Vec<HeaderMap> {
        self.inner.seen.lock().unwrap().clone()
    }

    pub(crate) fn given_up(&self) -> usize {
        self.inner.given_up.load(SeqCst)
    }

    pub(crate) fn most_under_way(&self) -> usize {
        self.inner.most_under_way.load(SeqCst)
    }

    pub(crate) fn health(&self, status: u16) {
        self.inner.health.store(status, SeqCst);
    }

    pub(crate) fn checks(&self) -> usize {
        self.inner.checks.load(SeqCst)
    }
}

async fn health(State(inner): State<Arc<Inner>>) -> StatusCode {
    inner.checks.fetch_add(1, SeqCst);
    StatusCode::from_u16(inner.health.load(SeqCst)).unwrap()
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    inner.seen.lock().unwrap().push(headers);
    let under_way = inner.under_way.fetch_add(1, SeqCst) + 1;
    inner.most_under_way.fetch_max(under_way, SeqCst);
    let mut watch = Watch(Arc::clone(&inner), false);
    let queued = inner.queue.lock().unwrap().pop_front();
    let act = queued.unwrap_or_else(|| match &*inner.rule.lock().unwrap() {
        Rule::Well => Act::well(body["stream"] == true),
        Rule::Always(act) => act.clone(),
    });
    tokio::time::sleep(act.delay).await;
    let mut reply = StatusCode::from_u16(act.status).unwrap().into_response();
    for (name, value) in &act.headers {
        reply.headers_mut().insert(*name, value.parse().unwrap());
    }
    if act.end == End::Clean && act.pause.is_zero() {
        watch.1 = true;
        *reply.body_mut() = Body::from(act.parts.concat());
        return reply;
    }
    let pause = act.pause;
    let parts = stream::iter(act.parts.into_iter().enumerate()).then(move |(at, part)| async move {
        if at > 0 {
            tokio::time::sleep(pause).await;
        }
        Ok::<_, std::io::Error>(part)
    });
    let last = stream::once(async move {
        // What was sent before has to arrive before the connection is cut.
        tokio::time::sleep(Duration::from_millis(20)).await;
        match act.end {
            End::Clean => {}
            End::Cut => {
                watch.1 = true;
                drop(watch);
                return Err(std::io::Error::other("cut"));
            }
            End::Stall => std::future::pending().await,
        }
        watch.1 = true;
        drop(watch);
        Ok(Bytes::new())
    });
    *reply.body_mut() = Body::from_stream(parts.chain(last));
    reply
}

/// A server that takes a request and answers with a reset of the connection.
pub(crate) async fn start_resetting() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "the server ends with its test's runtime")]
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            reset(stream).await;
        }
    });
    url
}

async fn reset(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 64]).await;
    // Unread bytes make the kernel send RST when the socket is closed.
    drop(stream);
}
