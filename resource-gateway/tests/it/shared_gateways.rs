//! Two gateways on one Redis: what one has seen, the other knows.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::{Value, json};
use test_kit::redis::RedisServer;

use crate::{
    admin::put,
    running::{Answer, Running, chat},
    signed_calls::{CHAT, Draft, Holder, is_refused, settings},
    stub_issuer::StubIssuer,
};

const KEY: &str = "idempotency-key";

struct Pair {
    redis: RedisServer,
    here: Running,
    there: Running,
}

impl Pair {
    async fn start() -> Self {
        let redis = RedisServer::start();
        let here = Running::start_with(StubIssuer::start().await, |config| {
            config.redis.url = Some(redis.url());
            config.redis.timeout_ms = 1000;
        })
        .await;
        let there = here.another().await;
        let pair = Self { redis, here, there };
        pair.until("together").await;
        pair
    }

    /// Until both say how they keep things.
    async fn until(&self, how: &str) {
        for node in [&self.here, &self.there] {
            node.until("both see Redis alike", async || {
                let status = node.gateway.status();
                let words = [
                    &status["limits"]["counted"],
                    &status["nonces"]["remembered"],
                    &status["answers"]["kept"],
                ];
                let lost = words == [&json!("alone"), &json!("refused"), &json!("lost")];
                if how == "lost" {
                    lost
                } else {
                    words.iter().all(|word| *word == how)
                }
            })
            .await;
        }
    }

    /// Makes an interface that is cached for a minute, known to both.
    async fn cached(&self, model: &str) {
        let form = json!({"capability": "chat", "routes": [{"vendor": "stub", "model": model}], "cache_ttl_s": 60});
        let answer = put(&self.here, "/v1/interfaces/cached", &form).await;
        assert!(answer.status < 300, "{}", answer.body);
        self.there.gateway.snapshots.refresh().await;
    }
}

/// Sends to a gateway what was signed, or would have been, for another: as a balancer does that hands the host on.
async fn send_to(node: &Running, draft: &Draft, holder: &Holder) -> Answer {
    let headers = draft.headers(holder);
    let draft = Draft {
        url: format!("{}{CHAT}", node.url),
        ..draft.clone()
    };
    node.send(&draft, &headers).await
}

async fn ask(node: &Running, body: &Value, key: Option<&str>) -> Answer {
    let request = node.request(CHAT, &node.token(), body);
    let request = match key {
        Some(key) => request.header(KEY, key),
        None => request,
    };
    Answer::read(request.send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_signed_for_one_gateway_is_no_use_at_another() {
    let pair = Pair::start().await;
    let holder = pair.here.issue(settings()).await;
    let draft = pair.here.draft("echo");
    // Redis has only just come up: what was signed in its first second is refused, and signed anew.
    pair.here
        .until("signatures are taken", async || {
            send_to(&pair.there, &pair.here.draft("echo"), &holder).await.status == 200
        })
        .await;
    let draft = Draft {
        date: crate::stub_issuer::now(),
        ..draft
    };
    send_to(&pair.here, &draft, &holder).await.ok();
    for node in [&pair.there, &pair.here] {
        is_refused(&send_to(node, &draft, &holder).await, 401, "nonce_replayed");
    }
    let racing = pair.here.draft("echo");
    let nodes = [&pair.here, &pair.there];
    let answers = join_all((0..16).map(|at| send_to(nodes[at % 2], &racing, &holder))).await;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(passed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_repeated_at_another_gateway_gets_the_first_answer() {
    let pair = Pair::start().await;
    let mut streamed = chat("echo");
    streamed["stream"] = true.into();
    for (at, body) in [chat("echo"), streamed].iter().enumerate() {
        let key = format!("order-{at}");
        let first = ask(&pair.here, body, Some(&key)).await;
        assert_eq!((first.status, first.header("idempotent-replayed")), (200, ""));
        let calls = pair.here.vendor.calls_seen();
        // The answer is taken to Redis behind the reply's back; until then its request is under way.
        let mut again = ask(&pair.there, body, Some(&key)).await;
        pair.there
            .until("the answer is there", async || {
                again = ask(&pair.there, body, Some(&key)).await;
                again.status == 200
            })
            .await;
        assert_eq!(again.header("idempotent-replayed"), "true");
        assert_eq!(again.header("idempotent-request-id"), first.request_id());
        assert_eq!(
            (&again.body, again.header("content-type")),
            (&first.body, first.header("content-type"))
        );
        assert_eq!(pair.here.vendor.calls_seen(), calls, "the vendor was not asked again");
        let another = ask(&pair.there, &chat("sandbox"), Some(&key)).await;
        assert_eq!(another.error(422)["code"], "idempotency_key_reused");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_requests_with_one_key_at_all_gateways_at_once_one_reaches_the_vendor() {
    let pair = Pair::start().await;
    pair.here
        .apply("[[interface]]\nname = \"held\"\ncapability = \"chat\"\nroutes = [{ vendor = \"stub\", model = \"held\" }]\n")
        .await;
    pair.there.gateway.snapshots.refresh().await;
    let nodes = [&pair.here, &pair.there];
    let body = chat("held");
    let answered = AtomicUsize::new(0);
    let calls = join_all((0..12).map(async |at| {
        let answer = ask(nodes[at % 2], &body, Some("once")).await;
        answered.fetch_add(1, Ordering::SeqCst);
        answer
    }));
    let release = async {
        pair.here
            .until("all others have been told to wait", async || {
                answered.load(Ordering::SeqCst) == 11
            })
            .await;
        pair.here.vendor.release();
    };
    let (answers, ()) = tokio::join!(calls, release);
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((passed, pair.here.vendor.calls_seen()), (1, 1));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.error(409)["code"], "idempotency_key_in_use");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_one_gateway_keeps_is_given_by_the_other() {
    let pair = Pair::start().await;
    pair.cached("echo").await;
    let body = chat("cached");
    let first = ask(&pair.here, &body, None).await;
    assert_eq!((first.status, first.header("x-hexgate-cache")), (200, "miss"));
    let calls = pair.here.vendor.calls_seen();
    let mut hit = None;
    pair.there
        .until("the answer is there", async || {
            let probe = pair
                .there
                .request(CHAT, &pair.there.token(), &body)
                .header("cache-control", "only-if-cached");
            let answer = Answer::read(probe.send().await.unwrap()).await;
            let found = answer.status == 200;
            hit = Some(answer);
            found
        })
        .await;
    let hit = hit.unwrap();
    assert_eq!((hit.header("x-hexgate-cache"), &hit.body), ("hit", &first.body));
    assert_eq!(pair.here.vendor.calls_seen(), calls);
    // A change of the row forgets it everywhere.
    pair.cached("no-usage").await;
    for node in [&pair.there, &pair.here] {
        let request = node
            .request(CHAT, &node.token(), &body)
            .header("cache-control", "only-if-cached");
        let answer = Answer::read(request.send().await.unwrap()).await;
        assert_eq!(answer.error(504)["code"], "not_cached");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_signed_and_named_requests_are_refused_and_all_others_answered() {
    let mut pair = Pair::start().await;
    pair.cached("echo").await;
    let holder = pair.here.issue(settings()).await;
    ask(&pair.here, &chat("cached"), None).await.ok();
    pair.redis.kill();
    pair.until("lost").await;
    for node in [&pair.here, &pair.there] {
        let signed = node.signed_chat(&holder, "echo").await;
        assert_eq!(signed.error(503)["code"], "signatures_unavailable");
        assert_eq!(signed.header("retry-after"), "1");
        let named = ask(node, &chat("echo"), Some("k")).await;
        assert_eq!(named.error(503)["code"], "idempotency_unavailable");
        assert_eq!(named.header("retry-after"), "1");
        ask(node, &chat("echo"), None).await.ok();
        for _ in 0..2 {
            let answer = ask(node, &chat("cached"), None).await;
            assert_eq!((answer.status, answer.header("x-hexgate-cache")), (200, "miss"));
        }
        assert!(node.gateway.status()["nonces"]["error"].is_string());
    }
    pair.redis.restart();
    pair.until("together").await;
    pair.here
        .until("signatures are taken again", async || {
            pair.here.signed_chat(&holder, "echo").await.status == 200
        })
        .await;
    ask(&pair.there, &chat("echo"), Some("k")).await.ok();
}
