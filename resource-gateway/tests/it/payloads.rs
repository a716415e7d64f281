//! Logged requests and answers: only where the operator wants them, without secrets, cut, and not for ever.

use std::time::Duration;

use resource_gateway::{
    adapters::sql::SqlPayloads,
    ports::payload_log::{PayloadQuery, PayloadStore as _, StoredPayload},
};
use serde_json::{Value, json};
use service_kit::{Clock as _, SystemClock, Timestamp};

use crate::{
    admin::{get, problem, put},
    running::{Answer, Running, chat},
    storage::on_both,
    storage_world::World,
    stub_issuer::StubIssuer,
};

/// An interface of the stub vendor that logs as told.
async fn logging(running: &Running, log: &Value) {
    let body = json!({"capability": "chat", "routes": [{"vendor": "stub", "model": "echo"}], "log": log,
        "fields": [{"name": "/temperature", "value": 0.5}]});
    let answer = put(running, "/v1/interfaces/logged", &body).await;
    assert_eq!(answer.status / 100, 2, "{}", answer.body);
}

pub(crate) async fn logged(running: &Running, request_id: &str) -> Value {
    let path = format!("/v1/payloads?request_id={request_id}");
    let mut found = None;
    running
        .until("the payload is logged", async || {
            let page = get(running, &path).await.ok();
            found = page["items"].as_array().unwrap().first().cloned();
            found.is_some()
        })
        .await;
    found.unwrap()
}

async fn call(running: &Running, body: &Value) -> Answer {
    let answer = running.post("/v1/chat/completions", &running.token(), body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

#[tokio::test]
async fn what_was_sent_and_answered_can_be_read_and_holds_no_secret() {
    let running = Running::start().await;
    logging(&running, &json!({"payload": true})).await;
    let mut body = chat("logged");
    body["messages"][0]["content"] = json!("my key is sk-abcdefghijklmnopqrst, keep it");
    body["image"] = "A".repeat(400).into();
    let answer = call(&running, &body).await;
    let payload = logged(&running, answer.request_id()).await;
    let request: Value = serde_json::from_str(payload["request"].as_str().unwrap()).unwrap();
    assert_eq!(request["messages"][0]["content"], "my key is [api-key], keep it");
    assert_eq!(request["temperature"], 0.5, "what was forced is seen as well");
    assert!(
        request["image"]
            .as_str()
            .unwrap()
            .starts_with("[base64 400 bytes sha256:")
    );
    assert_eq!(payload["reply"], answer.body);
    assert_eq!(payload["reply_bytes"], answer.body.len());
    assert_eq!(
        (&payload["state"], &payload["interface"]),
        (&json!("completed"), &json!("logged"))
    );
    assert_eq!(
        (&payload["request_cut"], &payload["reply_cut"]),
        (&json!(false), &json!(false))
    );

    logging(&running, &json!({"payload": true, "image_base64": true})).await;
    let answer = call(&running, &body).await;
    let payload = logged(&running, answer.request_id()).await;
    assert!(payload["request"].as_str().unwrap().contains(&"A".repeat(400)));
}

#[tokio::test]
async fn a_stream_is_logged_as_it_went_out() {
    let running = Running::start().await;
    logging(&running, &json!({"payload": true})).await;
    let mut body = chat("logged");
    body["stream"] = true.into();
    let answer = call(&running, &body).await;
    let payload = logged(&running, answer.request_id()).await;
    assert_eq!(payload["reply"], answer.body);
}

#[tokio::test]
async fn long_texts_are_cut() {
    let running = Running::start_with(StubIssuer::start().await, |config| config.payload_log.max_bytes = 300).await;
    logging(&running, &json!({"payload": true})).await;
    let mut body = chat("logged");
    body["messages"][0]["content"] = "long ".repeat(200).into();
    let answer = call(&running, &body).await;
    let payload = logged(&running, answer.request_id()).await;
    assert_eq!(payload["request"].as_str().unwrap().len(), 300);
    assert_eq!(payload["request_cut"], true);
    assert!(payload["request_bytes"].as_u64().unwrap() > 1000);
}

#[tokio::test]
async fn nothing_is_kept_that_nobody_asked_for_or_has_room_for() {
    let running = Running::start_with(StubIssuer::start().await, |config| {
        config.payload_log.max_bytes = 256;
        config.payload_log.queue_bytes = 2000;
    })
    .await;
    logging(&running, &json!({"metadata": true})).await;
    call(&running, &chat("logged")).await;
    logging(&running, &json!({"payload": true})).await;
    let mut large = chat("logged");
    large["messages"][0]["content"] = "x ".repeat(2000).into();
    call(&running, &large).await;
    let last = call(&running, &chat("logged")).await;
    logged(&running, last.request_id()).await;
    let all = get(&running, "/v1/payloads").await.ok();
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    problem(
        &get(&running, "/v1/payloads?page_token=eA").await,
        400,
        "invalid_page_token",
    );
}

on_both!(payloads_are_listed_newest_first_and_forgotten_in_steps);

async fn payloads_are_listed_newest_first_and_forgotten_in_steps(world: World) {
    let store = SqlPayloads::new(world.db.clone());
    let now = SystemClock.now();
    let row = |at: u64, interface: &str| StoredPayload {
        request_id: format!("r{at}"),
        time: now - Duration::from_secs(at),
        tenant: at.is_multiple_of(2).then(|| "acme".to_owned()),
        client_id: "c".into(),
        sub: "s".into(),
        interface: interface.into(),
        state: "completed".into(),
        request: "a\0b".into(),
        request_bytes: 3,
        request_cut: false,
        reply: "\u{20ac}".into(),
        reply_bytes: 900,
        reply_cut: true,
    };
    let rows: Vec<_> = (0..10).map(|at| row(at, if at < 5 { "chat" } else { "ocr" })).collect();
    store.insert_payloads(&rows).await.unwrap();
    store.insert_payloads(&[row(3, "again")]).await.unwrap();
    let ids = async |query: PayloadQuery| -> Vec<String> {
        let found = store.list_payloads(&query).await.unwrap();
        found.into_iter().map(|row| row.request_id).collect()
    };
    let all = PayloadQuery {
        limit: 4,
        ..PayloadQuery::default()
    };
    assert_eq!(ids(all.clone()).await, ["r0", "r1", "r2", "r3"]);
    let next = PayloadQuery {
        before: Some((rows[3].time, "r3".into())),
        ..all.clone()
    };
    assert_eq!(ids(next).await, ["r4", "r5", "r6", "r7"]);
    let narrow = PayloadQuery {
        tenant: Some("acme".to_owned().into()),
        interface: Some("ocr".into()),
        client_id: Some("c".into()),
        ..all.clone()
    };
    assert_eq!(ids(narrow).await, ["r6", "r8"]);
    let found = store.list_payloads(&all).await.unwrap();
    let stored = StoredPayload {
        time: Timestamp::from_micros(rows[0].time.as_micros()),
        request: "a\u{fffd}b".into(),
        ..rows[0].clone()
    };
    assert_eq!(found[0], stored);
    let before = now - Duration::from_secs(4);
    assert_eq!(store.forget_payloads(before, 3).await.unwrap(), 3);
    assert_eq!(store.forget_payloads(before, 3).await.unwrap(), 2);
    assert_eq!(store.forget_payloads(before, 3).await.unwrap(), 0);
    let left = PayloadQuery { limit: 50, ..all };
    assert_eq!(ids(left).await, ["r0", "r1", "r2", "r3", "r4"]);
}
