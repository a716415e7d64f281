//! A vendor with an API of its own, which keeps what it gets and answers by the path.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Clone)]
pub(crate) struct EchoVendor {
    /// Without a path.
    pub(crate) origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Streams that were dropped before their end.
    given_up: Arc<AtomicUsize>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

struct Watch(Arc<AtomicUsize>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl EchoVendor {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let vendor = Self {
            origin: format!("http://{}", listener.local_addr().unwrap()),
            seen: Arc::default(),
            given_up: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(vendor.clone());
        #[expect(clippy::disallowed_methods, reason = "the stub ends with its test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        vendor
    }

    /// Everything since the last look.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// The only request since the last look.
    #[track_caller]
    pub(crate) fn take_one(&self) -> Seen {
        let mut seen = self.take();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    pub(crate) fn given_up(&self) -> usize {
        self.given_up.load(SeqCst)
    }
}

async fn answer(
    State(vendor): State<EchoVendor>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorization = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned());
    vendor.seen.lock().unwrap().push(Seen {
        method: method.clone(),
        target: uri.to_string(),
        headers,
        body: body.clone(),
    });
    let path = uri.path().strip_prefix("/base").unwrap_or(uri.path());
    let path = path.strip_prefix("/more").unwrap_or(path);
    if let Some(status) = path.strip_prefix("/status/") {
        let status = StatusCode::from_u16(status.parse().unwrap()).unwrap();
        return (
            status,
            [
                ("content-type", "application/problem+json"),
                ("location", "/base/elsewhere"),
                ("retry-after", "7"),
            ],
            "{\"detail\":\"said by host-7\"}",
        )
            .into_response();
    }
    match path {
        "/nothing" => StatusCode::NO_CONTENT.into_response(),
        "/fail" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Response::new(Body::empty())
        }
        "/bytes" => ([("content-type", "image/png")], &[0x89_u8, b'P', 0xff, 0][..]).into_response(),
        "/untyped" => Response::new(Body::from("plain")),
        "/headers" => (
            [
                ("set-cookie", "s=1"),
                ("www-authenticate", "Basic"),
                ("x-listed", "yes"),
                ("x-sandbox", "true"),
                ("x-unlisted", "no"),
                ("x-echo", authorization.as_deref().unwrap_or_default()),
                ("cache-control", "public"),
                ("access-control-allow-origin", "*"),
                ("location", "https://evil.test/x"),
            ],
            "{}",
        )
            .into_response(),
        "/events" => events(
            stream::iter(["data: 1\n\n", "data: {\"x\":2}\n\n", ": done\n\n"])
                .map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece))),
        ),
        "/endless" => {
            let watch = Watch(Arc::clone(&vendor.given_up));
            events(stream::repeat(()).then(move |()| {
                let _held = &watch;
                async {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok::<_, std::io::Error>(Bytes::from("data: more\n\n"))
                }
            }))
        }
        "/cut" => {
            let last = stream::once(async {
                // What was sent before has to arrive before the connection is cut.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::other("cut"))
            });
            events(stream::iter([Ok(Bytes::from("data: 1\n\n"))]).chain(last))
        }
        "/stall" => {
            events(stream::once(async { Ok::<_, std::io::Error>(Bytes::from("data: 1\n\n")) }).chain(stream::pending()))
        }
        _ => {
            let echo = json!({"method": method.as_str(), "target": uri.to_string(), "bytes": body.len()});
            ([("content-type", "application/json")], echo.to_string()).into_response()
        }
    }
}

fn events(body: impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static) -> Response {
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .header("x-listed", "stream")
        .body(Body::from_stream(body))
        .unwrap()
}
