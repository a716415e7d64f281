//! Work that a vendor begins and has to be asked for: it is followed to its end, and ended when nobody waits for it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{recorder::interface, running::Running, stub_issuer::StubIssuer};

/// A vendor of tasks, which are done after so many questions.
#[derive(Clone)]
struct Tasks {
    url: String,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    done_after: usize,
    questions: AtomicUsize,
    submitted: AtomicUsize,
    /// Questions that are turned away, before any other is answered.
    stumbles: AtomicUsize,
    /// The same under a status of success.
    murmurs: AtomicUsize,
    /// Fetches of the result that come to nothing.
    lost: AtomicUsize,
    /// The work fails there.
    fails: bool,
    cancelled: Mutex<Vec<HeaderMap>>,
    fetched: Mutex<Vec<HeaderMap>>,
}

impl Tasks {
    async fn start(done_after: usize) -> Self {
        Self::start_as(Inner {
            done_after,
            ..Inner::default()
        })
        .await
    }

    async fn start_as(inner: Inner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let vendor = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            inner: Arc::new(inner),
        };
        let router = Router::new().fallback(answer).with_state(vendor.clone());
        #[expect(clippy::disallowed_methods, reason = "the stub ends with its test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        vendor
    }

    fn cancelled(&self) -> usize {
        self.inner.cancelled.lock().unwrap().len()
    }
}

fn one_of(left: &AtomicUsize) -> bool {
    left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
}

async fn answer(State(vendor): State<Tasks>, request: Request<Body>) -> Response {
    let inner = &vendor.inner;
    let task = |status: &str| json!({"output": {"task_id": "task-1", "task_status": status}, "request_id": "r"});
    let reply = match (request.method(), request.uri().path()) {
        (&Method::POST, "/api/v1/services/aigc/text2image/image-synthesis") => {
            assert_eq!(request.headers()["x-dashscope-async"], "enable");
            inner.submitted.fetch_add(1, SeqCst);
            task("PENDING")
        }
        (&Method::GET, "/api/v1/tasks/task-1") if one_of(&inner.murmurs) => {
            json!({"code": "Throttling.RateQuota", "message": "slowly", "request_id": "r"})
        }
        (&Method::GET, "/picture.png") if one_of(&inner.lost) => {
            inner.fetched.lock().unwrap().push(request.headers().clone());
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        (&Method::GET, "/api/v1/tasks/task-1") if inner.fails => {
            inner.questions.fetch_add(1, SeqCst);
            let mut failed = task("FAILED");
            failed["output"]["code"] = "InternalError".into();
            failed
        }
        (&Method::GET, "/api/v1/tasks/task-1") if one_of(&inner.stumbles) => {
            let busy = json!({"code": "ModelUnavailable", "message": "busy"});
            return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(busy)).into_response();
        }
        (&Method::GET, "/api/v1/tasks/task-1") if inner.questions.fetch_add(1, SeqCst) < inner.done_after => {
            task("RUNNING")
        }
        (&Method::GET, "/api/v1/tasks/task-1") => {
            let mut done = task("SUCCEEDED");
            done["output"]["results"] = json!([{"url": format!("{}/picture.png", vendor.url)}]);
            done
        }
        (&Method::POST, "/api/v1/tasks/task-1/cancel") => {
            inner.cancelled.lock().unwrap().push(request.headers().clone());
            json!({"request_id": "r"})
        }
        (&Method::GET, "/picture.png") => {
            inner.fetched.lock().unwrap().push(request.headers().clone());
            return ([("content-type", "image/png")], "PNG").into_response();
        }
        (method, path) => panic!("nobody asked for {method} {path} before"),
    };
    axum::Json(reply).into_response()
}

async fn world(vendor: &Tasks, reachable: bool, more: &str) -> Running {
    let issuer = StubIssuer::start().await;
    let world = Running::start_with(issuer, |config| {
        if reachable {
            config.fetch.allow_networks = vec!["127.0.0.1".parse().unwrap()];
        }
    })
    .await;
    let document = format!(
        "[[vendor]]\nname = \"tasks\"\nstrategy = \"dashscope\"\nbase_url = \"{}\"\nsecret_key = \"sk-of-the-vendor\"\n",
        vendor.url
    );
    world
        .apply(&(document + &interface("pictures", "image", "tasks", more)))
        .await;
    world
}

fn wanted(format: &str) -> serde_json::Value {
    json!({"model": "pictures", "prompt": "a cat", "response_format": format})
}

#[tokio::test]
async fn a_job_is_followed_to_its_end_and_its_result_fetched_as_a_stranger() {
    let vendor = Tasks::start(1).await;
    let world = world(&vendor, true, "").await;
    let answer = world
        .post("/v1/images/generations", &world.token(), &wanted("b64_json"))
        .await;
    assert_eq!(answer.ok()["data"][0]["b64_json"], "UE5H");
    assert_eq!(vendor.inner.questions.load(SeqCst), 2);
    let fetched = vendor.inner.fetched.lock().unwrap().clone();
    assert_eq!(fetched.len(), 1);
    assert!(
        !fetched[0].contains_key("authorization"),
        "no credential goes to a place that an answer names"
    );
    assert_eq!(vendor.cancelled(), 0, "what has ended is not ended again");
    world.stop().await;
}

#[tokio::test]
async fn a_question_that_fails_for_a_moment_loses_no_work_that_was_begun() {
    let vendor = Tasks::start(0).await;
    vendor.inner.stumbles.store(2, SeqCst);
    let world = world(&vendor, true, "").await;
    let answer = world
        .post("/v1/images/generations", &world.token(), &wanted("url"))
        .await;
    answer.ok();
    assert_eq!((vendor.inner.submitted.load(SeqCst), vendor.cancelled()), (1, 0));
    world.stop().await;
}

#[tokio::test]
async fn a_question_that_fails_under_a_status_of_success_is_asked_again_as_well() {
    let vendor = Tasks::start(0).await;
    vendor.inner.murmurs.store(2, SeqCst);
    let world = world(&vendor, true, "").await;
    let answer = world
        .post("/v1/images/generations", &world.token(), &wanted("url"))
        .await;
    answer.ok();
    assert_eq!((vendor.inner.submitted.load(SeqCst), vendor.cancelled()), (1, 0));
    world.stop().await;
}

#[tokio::test]
async fn work_that_has_failed_is_not_asked_for_again() {
    let vendor = Tasks::start_as(Inner {
        fails: true,
        ..Inner::default()
    })
    .await;
    let world = world(&vendor, true, "max_attempts = 1").await;
    let answer = world
        .post("/v1/images/generations", &world.token(), &wanted("url"))
        .await;
    answer.error(502);
    assert_eq!((vendor.inner.questions.load(SeqCst), vendor.cancelled()), (1, 0));
    world.stop().await;
}

#[tokio::test]
async fn a_result_that_cannot_be_fetched_for_a_moment_is_fetched_later() {
    let vendor = Tasks::start(0).await;
    vendor.inner.lost.store(2, SeqCst);
    let world = world(&vendor, true, "").await;
    let answer = world
        .post("/v1/images/generations", &world.token(), &wanted("b64_json"))
        .await;
    assert_eq!(answer.ok()["data"][0]["b64_json"], "UE5H");
    assert_eq!(vendor.inner.fetched.lock().unwrap().len(), 3);
    assert_eq!(vendor.inner.submitted.load(SeqCst), 1);
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_begun_whose_result_would_have_to_be_fetched_where_nothing_is() {
    let vendor = Tasks::start(0).await;
    let issuer = StubIssuer::start().await;
    let world = Running::start_with(issuer, |config| config.fetch.enabled = false).await;
    let document = format!(
        "[[vendor]]\nname = \"tasks\"\nstrategy = \"dashscope\"\nbase_url = \"{}\"\nsecret_key = \"sk-of-the-vendor\"\n",
        vendor.url
    );
    world
        .apply(&(document + &interface("pictures", "image", "tasks", "")))
        .await;
    let answer = world
        .post("/v1/images/generations", &world.token(), &wanted("b64_json"))
        .await;
    assert_eq!(answer.error(400)["code"], "results_not_fetched");
    assert_eq!(vendor.inner.submitted.load(SeqCst), 0);
    let answer = world
        .post("/v1/images/generations", &world.token(), &wanted("url"))
        .await;
    assert_eq!(answer.ok()["data"][0]["url"], format!("{}/picture.png", vendor.url));
    world.stop().await;
}

#[tokio::test]
async fn a_result_inside_is_not_fetched_unless_the_operator_says_so() {
    let vendor = Tasks::start(0).await;
    let world = world(&vendor, false, "").await;
    let answer = world
        .post("/v1/images/generations", &world.token(), &wanted("b64_json"))
        .await;
    assert_eq!(answer.error(502)["code"], "result_not_fetched");
    assert_eq!(vendor.inner.submitted.load(SeqCst), 1, "it would lie there again");
    assert!(vendor.inner.fetched.lock().unwrap().is_empty());
    let answer = world
        .post("/v1/images/generations", &world.token(), &wanted("url"))
        .await;
    assert_eq!(answer.ok()["data"][0]["url"], format!("{}/picture.png", vendor.url));
    world.stop().await;
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_vendors_job() {
    let vendor = Tasks::start(usize::MAX).await;
    let world = world(&vendor, false, "").await;
    let token = world.token();
    let call = world.request("/v1/images/generations", &token, &wanted("url")).send();
    let left = tokio::time::timeout(Duration::from_millis(1500), call).await;
    assert!(left.is_err(), "the job is not done");
    world.until("the job is ended", async || vendor.cancelled() == 1).await;
    let headers = vendor.inner.cancelled.lock().unwrap()[0].clone();
    assert_eq!(
        headers["authorization"], "Bearer sk-of-the-vendor",
        "signed like every call"
    );
    world.stop().await;
    assert_eq!(vendor.cancelled(), 1, "once");
}

#[tokio::test]
async fn a_job_whose_time_is_over_is_ended_as_well() {
    let vendor = Tasks::start(usize::MAX).await;
    let more = "max_attempts = 1\ntimeouts_ms = { connect = 500, first_byte = 1000, idle = 1000, total = 1600 }";
    let world = world(&vendor, false, more).await;
    let answer = world
        .post("/v1/images/generations", &world.token(), &wanted("url"))
        .await;
    answer.error(504);
    world.until("the job is ended", async || vendor.cancelled() == 1).await;
    world.stop().await;
    assert_eq!(vendor.cancelled(), 1, "once");
}
