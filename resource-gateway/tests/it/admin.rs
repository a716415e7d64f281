//! The admin API: who may, what is written and read back, what is refused, and how fast calls obey.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::running::{Answer, Running, chat};

/// Somebody who holds every permission in the operator's tenant.
pub(crate) fn admin_token(running: &Running) -> String {
    token(running, "default", &["*"])
}

pub(crate) fn token(running: &Running, tenant: &str, permissions: &[&str]) -> String {
    running.issuer.token(
        &json!({"scope": "openid admin", "sub": "root", "client_id": "console", "tenant": tenant,
            "permissions": permissions}),
    )
}

pub(crate) async fn send(
    running: &Running,
    method: Method,
    path: &str,
    token: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Answer {
    let url = format!("{}/admin{path}", running.url);
    let mut request = running.http.request(method, url).bearer_auth(token);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    Answer::read(request.send().await.unwrap()).await
}

pub(crate) async fn put(running: &Running, path: &str, body: &Value) -> Answer {
    send(running, Method::PUT, path, &admin_token(running), &[], Some(body)).await
}

pub(crate) async fn post(running: &Running, path: &str, body: &Value) -> Answer {
    send(running, Method::POST, path, &admin_token(running), &[], Some(body)).await
}

pub(crate) async fn get(running: &Running, path: &str) -> Answer {
    send(running, Method::GET, path, &admin_token(running), &[], None).await
}

async fn delete(running: &Running, path: &str) -> Answer {
    send(running, Method::DELETE, path, &admin_token(running), &[], None).await
}

/// A problem document (RFC 9457) with what each of ours has.
#[track_caller]
pub(crate) fn problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(!answer.request_id().is_empty());
    let problem = answer.json();
    assert_eq!(
        (&problem["status"], &problem["code"]),
        (&json!(status), &json!(code)),
        "{problem}"
    );
    assert!(problem["type"].is_string() && problem["title"].is_string() && problem["detail"].is_string());
    problem
}

pub(crate) fn without(mut form: Value, member: &str) -> Value {
    form.as_object_mut().unwrap().remove(member);
    form
}

fn interface(routes: &Value) -> Value {
    json!({"capability": "chat", "routes": routes})
}

#[tokio::test]
async fn what_is_written_is_read_back_and_can_be_sent_again() {
    let running = Running::start().await;
    let vendor = json!({"strategy": "openai", "enabled": false, "base_url": "https://api.test/v1",
        "secret_key": "sk-never-shown", "pool": {"strategy": "random", "addresses": [{"url": "https://a.test/v1", "weight": 3}]}});
    let created = put(&running, "/v1/vendors/acme", &vendor).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let mut wanted = without(vendor, "secret_key");
    wanted["name"] = "acme".into();
    wanted["secret_key_set"] = true.into();
    let shown = created.json();
    for (member, value) in wanted.as_object().unwrap() {
        if member != "pool" {
            assert_eq!(&shown[member], value, "{member}");
        }
    }
    assert_eq!(shown["pool"]["addresses"], wanted["pool"]["addresses"]);

    let read = get(&running, "/v1/vendors/acme").await;
    assert_eq!(
        (read.ok(), read.header("etag")),
        (shown.clone(), created.header("etag"))
    );
    let again = put(&running, "/v1/vendors/acme", &shown).await;
    assert_eq!(
        (again.status, again.header("etag")),
        (200, created.header("etag")),
        "nothing changed"
    );

    let full = json!({"name": "full", "capability": "chat", "enabled": false,
        "routes": [{"vendor": "stub", "model": "echo", "weight": 2, "priority": 1}],
        "fields": [{"name": "/temperature", "enabled": true, "value": 0.5, "allow_override": true},
            {"name": "/metadata/team", "enabled": false, "value": {"a": [1, null]}, "allow_override": false},
            {"name": "/user", "enabled": true, "forbid": true}],
        "timeouts_ms": {"connect": 1, "first_byte": 2, "idle": 3, "total": 4}, "log": {"metadata": false}, "max_attempts": 2});
    assert_eq!(put(&running, "/v1/interfaces/full", &full).await.status, 201);
    let read = get(&running, "/v1/interfaces/full").await.ok();
    for (member, value) in full.as_object().unwrap() {
        let shown = &read[member];
        let same = match (shown, value) {
            (Value::Object(shown), Value::Object(value)) => {
                value.iter().all(|(name, value)| shown.get(name) == Some(value))
            }
            (shown, value) => shown == value,
        };
        assert!(same, "{member}: {shown} instead of {value}");
    }
    assert_eq!(delete(&running, "/v1/interfaces/full").await.status, 204);
    problem(&get(&running, "/v1/interfaces/full").await, 404, "not_found");
    problem(&delete(&running, "/v1/interfaces/full").await, 404, "not_found");
}

#[tokio::test]
async fn an_invalid_change_names_every_fault_and_publishes_nothing() {
    let running = Running::start().await;
    let before = running.gateway.snapshots.status().revision;
    let answer = put(
        &running,
        "/v1/interfaces/echo",
        &json!({"name": "other", "capability": "ocr", "colour": "red", "routes": [{"vendor": "nobody", "weight": -1}],
            "fields": [{"name": "temperature", "value": 1}, {"name": "/model", "value": "m"}], "max_attempts": 11}),
    )
    .await;
    let problem = problem(&answer, 422, "invalid");
    let places: BTreeSet<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    let wanted = [
        "/name",
        "/colour",
        "/routes/0/weight",
        "/routes/0/vendor",
        "/fields/0/name",
        "/fields/1/name",
        "/max_attempts",
    ];
    assert_eq!(places, wanted.into_iter().collect(), "{problem}");
    assert_eq!(running.gateway.snapshots.status().revision, before);
    running.chat("echo").await.ok();
}

#[tokio::test]
async fn bodies_that_are_not_one_json_object_are_refused() {
    let running = Running::start().await;
    let url = format!("{}/admin/v1/vendors/acme", running.url);
    for (content_type, body, status, code) in [
        ("application/json", "[]", 400, "invalid_json"),
        ("application/json", "{", 400, "invalid_json"),
        (
            "application/json",
            r#"{"strategy":"sandbox","strategy":"openai"}"#,
            400,
            "invalid_json",
        ),
        ("text/plain", "{}", 415, "unsupported_media_type"),
    ] {
        let request = running.http.put(&url).bearer_auth(admin_token(&running));
        let request = request.header("content-type", content_type).body(body);
        let answer = Answer::read(request.send().await.unwrap()).await;
        problem(&answer, status, code);
    }
    let request = running.http.put(&url).bearer_auth(admin_token(&running));
    let large = request
        .header("content-type", "application/json")
        .body(" ".repeat(1024 * 1024 + 1));
    problem(
        &Answer::read(large.send().await.unwrap()).await,
        413,
        "request_too_large",
    );
    problem(
        &put(&running, "/v1/vendors/bad%20name", &json!({})).await,
        400,
        "invalid_name",
    );
    problem(&put(&running, "/v1/sorcerers/a", &json!({})).await, 404, "not_found");
    problem(&get(&running, "/v2/vendors").await, 404, "not_found");
    let patched = send(
        &running,
        Method::PATCH,
        "/v1/vendors/a",
        &admin_token(&running),
        &[],
        None,
    )
    .await;
    problem(&patched, 405, "method_not_allowed");
}

#[tokio::test]
async fn writers_who_saw_an_older_version_are_told_so() {
    let running = Running::start().await;
    let token = admin_token(&running);
    let body = |weight: u32| interface(&json!([{"vendor": "stub", "model": "echo", "weight": weight}]));
    let write = async |headers: &[(&str, &str)], weight| {
        send(
            &running,
            Method::PUT,
            "/v1/interfaces/mine",
            &token,
            headers,
            Some(&body(weight)),
        )
        .await
    };
    problem(&write(&[("if-match", "*")], 1).await, 412, "precondition_failed");
    let first = write(&[("if-none-match", "*")], 1).await;
    assert_eq!(first.status, 201);
    problem(&write(&[("if-none-match", "*")], 1).await, 412, "precondition_failed");
    let second = write(&[("if-match", first.header("etag"))], 2).await;
    assert_eq!(second.status, 200);
    assert_ne!(first.header("etag"), second.header("etag"));
    problem(
        &write(&[("if-match", first.header("etag"))], 3).await,
        412,
        "precondition_failed",
    );
    problem(
        &write(&[("if-match", "*"), ("if-none-match", "*")], 3).await,
        400,
        "invalid_precondition",
    );

    // Of several at once who saw the same version, one wins.
    let url = format!("{}/admin/v1/interfaces/mine", running.url);
    let racers = (0..8).map(|racer| {
        let request = running.http.put(&url).bearer_auth(&token);
        request
            .header("if-match", second.header("etag"))
            .json(&body(10 + racer))
            .send()
    });
    let statuses = futures_util::future::join_all(racers).await;
    let won = statuses
        .iter()
        .filter(|answer| answer.as_ref().unwrap().status() == 200);
    assert_eq!(won.count(), 1);

    let stale = send(
        &running,
        Method::DELETE,
        "/v1/interfaces/mine",
        &token,
        &[("if-match", "\"1\"")],
        None,
    )
    .await;
    problem(&stale, 412, "precondition_failed");
}

#[tokio::test]
async fn a_vendor_that_routes_need_stays() {
    let running = Running::start().await;
    let problem = problem(&delete(&running, "/v1/vendors/stub").await, 409, "invalid");
    assert!(
        problem["errors"][0]["detail"].as_str().unwrap().contains("stub"),
        "{problem}"
    );
    running.chat("echo").await.ok();
}

#[tokio::test]
async fn no_answer_shows_a_secret_and_none_is_read_from_the_machine() {
    let running = Running::start().await;
    let body = json!({"strategy": "openai", "base_url": "http://a.test", "secret_key": "sk-top-secret"});
    put(&running, "/v1/vendors/acme", &body).await;
    let rotated = json!({"strategy": "openai", "base_url": "http://a.test", "secret_key": "sk-newer-secret"});
    let version = get(&running, "/v1/vendors/acme").await.header("etag").to_owned();
    let changed = put(&running, "/v1/vendors/acme", &rotated).await;
    assert_ne!(changed.header("etag"), version, "another secret is another version");
    for path in ["/v1/vendors", "/v1/vendors/acme", "/v1/audit-events"] {
        let answer = get(&running, path).await;
        assert!(!answer.body.contains("secret\""), "{}", answer.body);
        assert!(!answer.body.contains("sk-"), "{}", answer.body);
    }
    let events = get(&running, "/v1/audit-events?limit=1").await.ok();
    assert_eq!(events["items"][0]["secret_changed"], true);
    for member in ["secret_key_env", "secret_key_file"] {
        let body = json!({"strategy": "openai", "base_url": "http://a.test", member: "/etc/passwd"});
        let problem = problem(&put(&running, "/v1/vendors/acme", &body).await, 422, "invalid");
        assert_eq!(problem["errors"][0]["field"], member);
    }
}

#[tokio::test]
async fn every_change_leaves_an_audit_row() {
    let running = Running::start().await;
    let body = interface(&json!([{"vendor": "stub", "model": "echo"}]));
    let created = put(&running, "/v1/interfaces/mine", &body).await;
    let replaced = put(
        &running,
        "/v1/interfaces/mine",
        &interface(&json!([{"vendor": "sandbox"}])),
    )
    .await;
    put(&running, "/v1/interfaces/mine", &replaced.json()).await;
    let deleted = delete(&running, "/v1/interfaces/mine").await;
    let events = get(&running, "/v1/audit-events?limit=3").await.ok();
    let seen: Vec<_> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            assert_eq!(
                (&event["sub"], &event["client_id"]),
                (&json!("root"), &json!("console"))
            );
            assert_eq!((&event["kind"], &event["name"]), (&json!("interface"), &json!("mine")));
            (event["action"].as_str().unwrap(), event["request_id"].as_str().unwrap())
        })
        .collect();
    let wanted = [
        ("deleted", deleted.request_id()),
        ("replaced", replaced.request_id()),
        ("created", created.request_id()),
    ];
    assert_eq!(seen, wanted, "a change that changes nothing leaves none");
    assert_eq!(events["items"][1]["before"]["routes"][0]["vendor"], "stub");
    assert_eq!(events["items"][1]["after"]["routes"][0]["vendor"], "sandbox");

    // The rest is behind the token: what the documents of the installation brought.
    let mut next = events["next_page_token"].as_str().unwrap().to_owned();
    let mut names = BTreeSet::new();
    loop {
        let page = get(&running, &format!("/v1/audit-events?limit=7&page_token={next}"))
            .await
            .ok();
        for event in page["items"].as_array().unwrap() {
            assert!(
                names.insert(format!("{} {}", event["kind"], event["name"])),
                "{event} comes twice"
            );
            assert_eq!(event["sub"], Value::Null);
        }
        match page["next_page_token"].as_str() {
            Some(token) => token.clone_into(&mut next),
            None => break,
        }
    }
    assert!(names.contains("\"vendor\" \"stub\"") && names.contains("\"interface\" \"echo\""));
}

#[tokio::test]
async fn lists_are_paged_by_name() {
    let running = Running::start().await;
    let whole = get(&running, "/v1/interfaces?limit=500").await.ok();
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = names(&whole);
    assert!(all.is_sorted() && all.len() > 20);
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = get(&running, &format!("/v1/interfaces?limit=6&page_token={token}"))
            .await
            .ok();
        let some = names(&page);
        assert!(some.len() <= 6);
        seen.extend(some);
        match page["next_page_token"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }
    assert_eq!(seen, all);
    for query in ["limit=0", "limit=501", "limit=x", "limit=1&limit=2", "sort=name"] {
        problem(
            &get(&running, &format!("/v1/interfaces?{query}")).await,
            400,
            "invalid_query",
        );
    }
    problem(
        &get(&running, "/v1/interfaces?page_token=%21").await,
        400,
        "invalid_page_token",
    );
}

#[tokio::test]
async fn the_next_call_obeys_and_calls_in_flight_end_as_they_began() {
    let running = Running::start().await;
    let route = |model: &str| interface(&json!([{"vendor": "stub", "model": model}]));
    put(&running, "/v1/interfaces/mine", &route("held")).await;
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..500 {
        let mut body = chat("mine");
        body["user"] = format!("call {call}").into();
        calls.spawn(running.request("/v1/chat/completions", &running.token(), &body).send());
    }
    running
        .until("all calls are under way", async || running.vendor.calls_seen() == 500)
        .await;
    let changed = put(&running, "/v1/interfaces/mine", &route("echo")).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(running.chat("mine").await.ok()["model"], "echo");
    running.vendor.release();
    while let Some(call) = calls.join_next().await {
        let answer = Answer::read(call.unwrap().unwrap()).await;
        assert_eq!(answer.ok()["model"], "held");
    }
}
