//! Links in a request to a vendor that does not look behind them: they are looked behind once, whoever is asked in the end.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{running::Running, stub_issuer::StubIssuer};

/// A vendor that fails so often, and places beside it.
#[derive(Clone, Default)]
struct Stub(Arc<Inner>);

#[derive(Default)]
struct Inner {
    failures: AtomicUsize,
    looked: Mutex<Vec<String>>,
    told: Mutex<Vec<Value>>,
}

async fn answer(State(Stub(stub)): State<Stub>, uri: Uri, body: Bytes) -> Response {
    if uri.path() != "/api/chat" {
        stub.looked.lock().unwrap().push(uri.path().to_owned());
        let length = uri.query().map_or(8, |length| length.parse().unwrap());
        let mut picture = b"\x89PNG\r\n\x1a\n".to_vec();
        picture.resize(length, 0);
        return picture.into_response();
    }
    stub.told.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    let fails = stub.failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
    if fails.is_ok() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let reply = json!({"model": "up", "message": {"role": "assistant", "content": "a dot"}, "done": true,
        "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 1});
    axum::Json(reply).into_response()
}

async fn world(stub: &Stub) -> (Running, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(stub.clone());
    #[expect(clippy::disallowed_methods, reason = "the stub ends with its test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    let world = Running::start_with(StubIssuer::start().await, |config| {
        config.fetch.allow_networks = vec!["127.0.0.1".parse().unwrap()];
        config.fetch.max_bytes = 1000;
    })
    .await;
    let vendor = |name: &str| format!("[[vendor]]\nname = \"{name}\"\nstrategy = \"ollama\"\nbase_url = \"{url}\"\n");
    let routes = "routes = [{ vendor = \"one\", model = \"up\" }, { vendor = \"other\", model = \"up\" }]";
    let interface = format!("[[interface]]\nname = \"eyes\"\ncapability = \"chat\"\n{routes}\n");
    world.apply(&[vendor("one"), vendor("other"), interface].concat()).await;
    (world, url)
}

fn about(urls: &[String]) -> Value {
    let picture = |url: &String| json!({"type": "image_url", "image_url": {"url": url}});
    let pictures: Vec<_> = urls.iter().map(picture).collect();
    json!({"model": "eyes", "messages": [{"role": "user", "content": pictures}]})
}

#[tokio::test]
async fn a_call_that_goes_on_elsewhere_takes_along_what_was_fetched() {
    let stub = Stub::default();
    stub.0.failures.store(1, SeqCst);
    let (world, url) = world(&stub).await;
    let (a, b) = (format!("{url}/a.png"), format!("{url}/b.png"));
    let answer = world
        .post("/v1/chat/completions", &world.token(), &about(&[a.clone(), b, a]))
        .await;
    assert_eq!(answer.ok()["choices"][0]["message"]["content"], "a dot");
    let told = stub.0.told.lock().unwrap().clone();
    assert_eq!(told.len(), 2, "both vendors were asked");
    for told in told {
        let pictures = told["messages"][0]["images"].as_array().map(Vec::len);
        assert_eq!(pictures, Some(3), "{told}");
    }
    let mut looked = stub.0.looked.lock().unwrap().clone();
    looked.sort();
    assert_eq!(
        looked,
        ["/a.png", "/b.png"],
        "each once, though it was named twice and sent twice"
    );
    world.stop().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_limit_and_no_vendor_is_asked() {
    let stub = Stub::default();
    let (world, url) = world(&stub).await;
    let exact = world
        .post(
            "/v1/chat/completions",
            &world.token(),
            &about(&[format!("{url}/a.png?1000")]),
        )
        .await;
    exact.ok();
    let told = stub.0.told.lock().unwrap().len();
    let over = world
        .post(
            "/v1/chat/completions",
            &world.token(),
            &about(&[format!("{url}/b.png?1001")]),
        )
        .await;
    let error = over.error(413);
    assert_eq!(error["code"], "url_not_fetched");
    assert!(error["message"].as_str().unwrap().contains("1000 bytes"), "{error}");
    assert_eq!(stub.0.told.lock().unwrap().len(), told);
    let looked = stub.0.looked.lock().unwrap().clone();
    assert_eq!(
        looked,
        ["/a.png", "/b.png"],
        "nor is it tried again for the other vendor"
    );
    world.stop().await;
}
