//! Jobs, as callers meet them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::body::Bytes;
use oauth_wire::Revoked;
use resource_gateway::{
    bootstrap::{Ambient, Gateway},
    config::Config,
};
use serde_json::{Value, json};
use service_kit::{Clock as _, SystemClock, Tasks};
use sql_kit::{Db, Options, Record, Sql, args, sql};
use test_kit::FixedClock;

use crate::{
    forms::form,
    recorder::{Recorder, interface},
    running::{Answer, Running, chat},
};

const CALLS: &str = "/v1/chat/completions";

/// `quick` answers, `held` when it is released, `broken` never; `rare` once a minute.
fn interfaces() -> String {
    let entry = |name: &str, model: &str, more: &str| {
        format!(
            "[[interface]]\nname = \"{name}\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"stub\", model = \"{model}\" }}]\n{more}\n"
        )
    };
    let jobs = "jobs = { retention_hours = 1, max_waiting_per_client = 3 }";
    [
        entry("quick", "echo", jobs),
        entry("many", "echo", "jobs = {}"),
        entry("held", "held", jobs),
        entry("broken", "status-422", jobs),
        entry(
            "rare",
            "echo",
            &format!("{jobs}\nlimits = {{ requests_per_minute = 1 }}"),
        ),
        entry("closed-again", "echo", "jobs = { enabled = false }"),
    ]
    .concat()
}

pub(crate) async fn world(change: impl FnOnce(&mut Config)) -> Running {
    Running::start_at(Arc::new(SystemClock), &interfaces(), change).await
}

pub(crate) async fn still_world(change: impl FnOnce(&mut Config)) -> (Arc<FixedClock>, Running) {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    let world = Running::start_at(clock.clone(), &interfaces(), change).await;
    (clock, world)
}

fn marked(model: &str, marker: &str) -> Value {
    let mut body = chat(model);
    body["user"] = marker.into();
    body
}

/// Another gateway over the same database.
async fn another(config: &Config, ambient: Ambient) -> (Arc<Gateway>, Tasks) {
    let gateway = Arc::new(Gateway::build(config, ambient).await.unwrap());
    let tasks = Tasks::default();
    gateway.start(&tasks, &tasks);
    (gateway, tasks)
}

impl Running {
    pub(crate) async fn ask(&self, token: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.request(CALLS, token, body).header("prefer", "respond-async");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::read(request.send().await.unwrap()).await
    }

    /// The id of a job that is accepted.
    async fn submit(&self, token: &str, body: &Value) -> String {
        let answer = self.ask(token, body, &[]).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}"), &self.token()).await.ok()
    }

    pub(crate) async fn until_job(&self, id: &str, status: &str) -> Value {
        let what = format!("{id} is {status}");
        self.until(&what, async || self.job(id).await["status"] == status).await;
        self.job(id).await
    }

    /// What stands in the table of a job.
    async fn job_row<R: Record>(&self, sql: Sql, id: &str) -> Option<R> {
        let db = Db::connect(&self.database, &Options::default()).await.unwrap();
        let row = db.all(sql, args![id.to_owned()]).await.unwrap().pop();
        db.close().await;
        row
    }

    async fn delete(&self, path: &str, token: &str) -> Answer {
        let request = self.http.delete(format!("{}{path}", self.url)).bearer_auth(token);
        Answer::read(request.send().await.unwrap()).await
    }
}

/// A job in another format than that of chat completions: its vendor is told what it would have been told at once, and the answer that
/// waits for the caller is in the caller's words.
#[tokio::test]
async fn callers_of_every_format_of_chat_get_their_answers_later_in_their_own() {
    let world = world(|_| {}).await;
    let token = world.token();
    for (path, mut body, own) in [
        (
            "/v1/messages",
            json!({"model": "quick", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}),
            json!({"type": "message", "role": "assistant", "content": [{"type": "text", "text": "four"}]}),
        ),
        (
            "/v1/responses",
            json!({"model": "quick", "max_output_tokens": 50, "input": "Hello"}),
            json!({"object": "response", "status": "completed"}),
        ),
    ] {
        let later = async |body: &Value, key: &str| {
            let request = world.request(path, &token, body).header("prefer", "respond-async");
            // Nobody chooses the format of a job but by the door.
            let request = request
                .header("x-hexgate-voice", "nobody's")
                .header("idempotency-key", key);
            Answer::read(request.send().await.unwrap()).await
        };
        let accepted = later(&body, path).await;
        assert_eq!(accepted.status, 202, "{path} {}", accepted.body);
        assert_eq!(accepted.header("preference-applied"), "respond-async");
        let id = accepted.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(later(&body, path).await.json()["id"], id, "asked for twice");
        world.until_job(&id, "succeeded").await;
        let result = world.get(&format!("/v1/jobs/{id}/result"), &token).await.ok();
        for (name, value) in own.as_object().unwrap() {
            assert_eq!(&result[name], value, "{path} {result}");
        }
        let at_once = world.post(path, &token, &body).await.ok();
        assert_eq!(
            (&result["model"], &result["usage"]),
            (&at_once["model"], &at_once["usage"])
        );
        // What cannot wait is refused, in the door's own words.
        body["stream"] = true.into();
        let refused = later(&body, &format!("{path}-streamed")).await;
        assert_eq!(refused.status, 400, "{path} {}", refused.body);
        assert!(
            refused.json()["error"]["message"].as_str().unwrap().contains("stream"),
            "{}",
            refused.body
        );
        // Where no jobs are offered the preference does not count.
        body["stream"] = false.into();
        body["model"] = "closed-again".into();
        let at_once = later(&body, &format!("{path}-at-once")).await;
        assert_eq!(at_once.status, 200, "{path} {}", at_once.body);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_call_is_answered_later_just_as_it_would_have_been_at_once() {
    let world = world(|_| {}).await;
    let token = world.token();
    let accepted = world.ask(&token, &chat("quick"), &[("x-request-id", "chosen")]).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    let job = accepted.json();
    let id = job["id"].as_str().unwrap();
    assert!(id.starts_with("job_"));
    assert_eq!((&job["object"], &job["status"]), (&json!("job"), &json!("queued")));
    assert_eq!((&job["model"], &job["capability"]), (&json!("quick"), &json!("chat")));
    assert_eq!(accepted.header("location"), format!("/v1/jobs/{id}"));
    assert_eq!(accepted.header("preference-applied"), "respond-async");
    assert_eq!(
        (accepted.header("retry-after"), accepted.header("vary")),
        ("1", "prefer")
    );
    assert_eq!(job["request_id"], accepted.request_id());
    let done = world.until_job(id, "succeeded").await;
    assert_eq!((&done["runs"], &done["error"]), (&json!(1), &Value::Null));
    assert_eq!(
        done["expires_at"].as_i64(),
        done["finished_at"].as_i64().map(|at| at + 3600)
    );
    assert_eq!(done["result"]["content_type"], "application/json");
    let at_once = world.chat("quick").await;
    let url = done["result"]["url"].as_str().unwrap();
    for _ in 0..2 {
        let later = world.get(url, &token).await;
        assert_eq!(later.ok(), at_once.ok());
        assert_eq!(later.header("content-type"), at_once.header("content-type"));
        assert_eq!(done["result"]["bytes"], later.body.len());
    }
    let usage = world.usage(accepted.request_id()).await;
    assert_eq!((usage.state.as_str(), usage.input, usage.output), ("completed", 11, 22));
    assert_eq!(world.usage_rows("").await.len(), 2);
}

#[tokio::test]
async fn the_preference_is_ignored_where_nothing_is_answered_later_and_refused_where_it_cannot_be_obeyed() {
    let world = world(|_| {}).await;
    let token = world.token();
    for model in ["echo", "closed-again"] {
        let answer = world.ask(&token, &chat(model), &[]).await;
        answer.ok();
        assert_eq!(answer.header("preference-applied"), "");
    }
    world.ask(&token, &chat("nobody"), &[]).await.error(404);
    let mut stream = chat("quick");
    stream["stream"] = true.into();
    let refused = world.ask(&token, &stream, &[]).await;
    assert_eq!(refused.error(400)["code"], "stream_not_deferrable");
    assert_eq!(world.usage(refused.request_id()).await.state, "rejected");
    let webhook = |url| ("x-hexgate-webhook", url);
    for (headers, code) in [
        (vec![("idempotency-key", "a b")], "invalid_idempotency_key"),
        (vec![webhook("https://127.0.0.1/")], "invalid_webhook"),
        (
            vec![webhook("https://a.test/"), webhook("https://b.test/")],
            "invalid_webhook",
        ),
    ] {
        let refused = world.ask(&token, &chat("quick"), &headers).await;
        assert_eq!(refused.error(400)["code"], code);
        // As a call at once that is refused for what it says.
        assert_eq!(world.usage(refused.request_id()).await.state, "rejected");
    }
    // What a call is refused for at once, it is refused for here.
    let other = world.issuer.token(&json!({"ai_interfaces": ["held"]}));
    world.ask(&other, &chat("quick"), &[]).await.error(403);
    let list = world.get("/v1/jobs", &token).await.ok();
    assert_eq!(list, json!({"items": [], "next_page_token": null}));
}

#[tokio::test]
async fn a_submission_that_is_repeated_is_accepted_once() {
    let world = world(|_| {}).await;
    let token = world.token();
    let named = [("idempotency-key", "order-7")];
    let first = world.ask(&token, &chat("quick"), &named).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (202, ""));
    let id = first.json()["id"].clone();
    let check = async |when: &str| {
        let again = world.ask(&token, &chat("quick"), &named).await;
        assert_eq!(
            (again.status, again.header("idempotent-replayed")),
            (202, "true"),
            "{when}"
        );
        assert_eq!(again.json()["id"], id, "{when}");
        assert_eq!(again.header("location"), first.header("location"), "{when}");
    };
    check("at once").await;
    world.until_job(id.as_str().unwrap(), "succeeded").await;
    check("when it is done").await;
    let refused = world.ask(&token, &marked("quick", "another"), &named).await;
    assert_eq!(refused.error(422)["code"], "idempotency_key_reused");
    assert_eq!(world.usage(refused.request_id()).await.state, "rejected");
    // A key is its caller's own, and answers at once are other things.
    let bob = world.issuer.token(&json!({"sub": "bob"}));
    assert_ne!(world.ask(&bob, &chat("quick"), &named).await.json()["id"], id);
    let request = world
        .request(CALLS, &token, &chat("quick"))
        .header("idempotency-key", "order-7");
    let at_once = Answer::read(request.send().await.unwrap()).await;
    assert_eq!((at_once.status, at_once.header("idempotent-replayed")), (200, ""));
    // After a failure it is safe to repeat, and another job.
    let named = [("idempotency-key", "order-8")];
    let failed = world.ask(&token, &chat("broken"), &named).await.json()["id"].clone();
    world.until_job(failed.as_str().unwrap(), "failed").await;
    let next = world.ask(&token, &chat("broken"), &named).await;
    assert_eq!((next.status, next.header("idempotent-replayed")), (202, ""));
    assert_ne!(next.json()["id"], failed);
}

#[tokio::test]
async fn a_recording_is_written_down_later_and_survives_a_restart() {
    let recorder = Recorder::start().await;
    let document = format!(
        "[[vendor]]\nname = \"recorder\"\nstrategy = \"openai\"\nbase_url = \"{}\"\n{}",
        recorder.url,
        interface("stt", "transcription", "recorder", "jobs = {}")
    );
    let world = Running::start_at(Arc::new(SystemClock), &document, |config| config.jobs.workers = 0).await;
    let body = form(&[
        ("response_format", "text"),
        ("file", "RIFF\r\n\r\n--"),
        ("language", "en"),
        ("model", "stt"),
    ]);
    let request = world.http.post(format!("{}/v1/audio/transcriptions", world.url));
    let request = request
        .bearer_auth(world.token())
        .header("prefer", "respond-async")
        .header("content-type", "multipart/form-data; boundary=XyZ")
        .body(body);
    let accepted = Answer::read(request.send().await.unwrap()).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(accepted.json()["capability"], "transcription");
    assert_eq!(world.job(&id).await["status"], "queued", "nobody here runs jobs");
    // The process ends, and another one finds the form where it was left.
    world.stop().await;
    let mut config = world.config.clone();
    config.jobs.workers = 1;
    let next = world.another_with(&config).await;
    let done = next.until_job(&id, "succeeded").await;
    let result = next.get(done["result"]["url"].as_str().unwrap(), &next.token()).await;
    assert_eq!((result.status, result.body.as_str()), (200, "Clear. Mumble.\n"));
    assert_eq!(result.header("content-type"), "text/plain; charset=utf-8");
    let seen = recorder.take().form();
    let fields: Vec<_> = seen
        .parts()
        .iter()
        .map(|part| (&*part.name, part.value.clone()))
        .collect();
    let expected = [
        ("response_format", "text"),
        ("file", "RIFF\r\n\r\n--"),
        ("language", "en"),
        ("model", "up"),
    ];
    assert_eq!(fields, expected.map(|(name, value)| (name, Bytes::from(value))));
    assert_eq!(next.usage(accepted.request_id()).await.state, "completed");
}

#[tokio::test]
async fn a_job_that_fails_has_the_error_of_the_call() {
    let world = world(|_| {}).await;
    let id = world.submit(&world.token(), &chat("broken")).await;
    let job = world.until_job(&id, "failed").await;
    let at_once = world.chat("broken").await.error(422);
    let later = world
        .get(&format!("/v1/jobs/{id}/result"), &world.token())
        .await
        .error(422);
    assert_eq!((&later, &job["error"]), (&at_once, &at_once));
    assert_eq!(job["result"], Value::Null);
}

#[tokio::test]
async fn a_job_that_fails_has_the_error_of_its_door() {
    let world = world(|_| {}).await;
    let token = world.token();
    for (path, body) in [
        (
            "/v1/messages",
            json!({"model": "broken", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}),
        ),
        ("/v1/responses", json!({"model": "broken", "input": "Hello"})),
    ] {
        let request = world.request(path, &token, &body).header("prefer", "respond-async");
        let accepted = Answer::read(request.send().await.unwrap()).await;
        assert_eq!(accepted.status, 202, "{path} {}", accepted.body);
        let id = accepted.json()["id"].as_str().unwrap().to_owned();
        world.until_job(&id, "failed").await;
        let later = world.get(&format!("/v1/jobs/{id}/result"), &token).await;
        let mut at_once = world.post(path, &token, &body).await.json();
        if path == "/v1/messages" {
            assert_eq!(at_once["type"], "error");
            at_once["request_id"] = accepted.request_id().into();
        }
        assert_eq!((later.status, later.json()), (422, at_once), "{path}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_job_is_cancelled_before_it_runs_and_while_it_does() {
    let world = world(|config| config.jobs.workers = 1).await;
    let token = world.token();
    let first = world.ask(&token, &marked("held", "first"), &[]).await;
    let running = first.json()["id"].as_str().unwrap().to_owned();
    world.until_job(&running, "running").await;
    let waiting = world.submit(&token, &marked("held", "second")).await;
    let early = world.get(&format!("/v1/jobs/{waiting}/result"), &token).await;
    assert_eq!(early.error(409)["code"], "job_not_finished");
    let cancelled = world.delete(&format!("/v1/jobs/{waiting}"), &token).await.ok();
    assert_eq!(cancelled["status"], "cancelled");
    world
        .until("the vendor is called", async || {
            world.vendor.find_call("first").is_some()
        })
        .await;
    let cancelled = world
        .post(&format!("/v1/jobs/{running}/cancel"), &token, &json!({}))
        .await
        .ok();
    assert_eq!(cancelled["status"], "cancelled");
    let dropped = async || world.vendor.find_call("first").unwrap().cancelled;
    world.until("the vendor is left alone", dropped).await;
    let none = world.get(&format!("/v1/jobs/{running}/result"), &token).await;
    assert_eq!(none.error(409)["code"], "job_cancelled");
    assert_eq!(world.only_usage().await.state, "client_gone_before_first_byte");
    assert_eq!(world.usage(first.request_id()).await.attempts, 1);
    // The worker goes on, and never asked for the one that was cancelled.
    let next = world.submit(&token, &chat("quick")).await;
    world.until_job(&next, "succeeded").await;
    assert!(world.vendor.find_call("second").is_none());
    // What has ended stays as it is.
    let ended = world.delete(&format!("/v1/jobs/{next}"), &token).await.ok();
    assert_eq!(ended["status"], "succeeded");
}

#[tokio::test]
async fn nobody_else_sees_a_job() {
    let world = world(|_| {}).await;
    let id = world.submit(&world.token(), &chat("quick")).await;
    world.until_job(&id, "succeeded").await;
    for change in [
        json!({"sub": "bob"}),
        json!({"client_id": "other"}),
        json!({"tenant": "t2"}),
        json!({"tenant": null}),
        // The same person, by a token that could not have asked for it.
        json!({"scope": "ai:chat:held ai:embeddings"}),
    ] {
        let stranger = world.issuer.token(&change);
        for path in [format!("/v1/jobs/{id}"), format!("/v1/jobs/{id}/result")] {
            assert_eq!(
                world.get(&path, &stranger).await.error(404)["code"],
                "job_not_found",
                "{change}"
            );
        }
        world.delete(&format!("/v1/jobs/{id}"), &stranger).await.error(404);
        assert_eq!(
            world.get("/v1/jobs", &stranger).await.ok()["items"],
            json!([]),
            "{change}"
        );
    }
    world.get("/v1/jobs/job_0", &world.token()).await.error(404);
    world.get(&format!("/v1/jobs/{id}"), "nonsense").await.error(401);
    let narrow = world.issuer.token(&json!({"scope": "ai:chat:quick"}));
    world.get(&format!("/v1/jobs/{id}"), &narrow).await.ok();
}

#[tokio::test]
async fn a_list_has_pages() {
    let world = world(|config| config.jobs.workers = 0).await;
    let token = world.token();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, world.submit(&token, &chat("quick")).await);
    }
    let page = world.get("/v1/jobs?limit=2", &token).await.ok();
    let seen = |page: &Value| -> Vec<String> {
        let jobs = page["items"].as_array().unwrap().iter();
        jobs.map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(seen(&page), ids[..2].to_vec());
    let after = page["next_page_token"].as_str().unwrap();
    let rest = world
        .get(&format!("/v1/jobs?limit=2&page_token={after}"), &token)
        .await
        .ok();
    assert_eq!(
        (seen(&rest), &rest["next_page_token"]),
        (ids[2..].to_vec(), &json!(null))
    );
    // A page that is just full is the last one.
    let full = world.get(&format!("/v1/jobs?limit={}", ids.len()), &token).await.ok();
    assert_eq!((seen(&full), &full["next_page_token"]), (ids.clone(), &json!(null)));
    for query in ["limit=0", "limit=101", "limit=x", "limit=1&limit=2", "status=queued"] {
        let refused = world.get(&format!("/v1/jobs?{query}"), &token).await;
        assert_eq!(refused.error(400)["code"], "invalid_query", "{query}");
    }
}

#[tokio::test]
async fn a_client_may_have_so_many_unfinished_jobs_and_no_more() {
    let world = world(|config| config.jobs.workers = 0).await;
    let token = world.token();
    let first = world.submit(&token, &chat("quick")).await;
    for sub in ["alice", "bob"] {
        world
            .submit(&world.issuer.token(&json!({"sub": sub})), &chat("quick"))
            .await;
    }
    let refused = world.ask(&token, &chat("quick"), &[]).await;
    assert_eq!(refused.error(429)["code"], "too_many_jobs");
    assert_eq!(refused.header("retry-after"), "5");
    // Another client's are its own, and so are those of another interface.
    world
        .submit(&world.issuer.token(&json!({"client_id": "other"})), &chat("quick"))
        .await;
    world.submit(&token, &chat("held")).await;
    world.delete(&format!("/v1/jobs/{first}"), &token).await.ok();
    world.submit(&token, &chat("quick")).await;
    world.ask(&token, &chat("quick"), &[]).await.error(429);
    // A call that is answered at once does not wait.
    world.chat("quick").await.ok();
}

#[tokio::test]
async fn bodies_and_results_have_a_limit() {
    let world = world(|config| {
        config.jobs.max_request_bytes = 1024;
        config.jobs.max_result_bytes = 1024;
    })
    .await;
    let long = "x".repeat(1024);
    let refused = world.ask(&world.token(), &marked("quick", &long), &[]).await;
    assert_eq!(refused.error(413)["code"], "request_too_large");
    world.post(CALLS, &world.token(), &marked("quick", &long)).await.ok();
}

#[tokio::test]
async fn a_limit_puts_a_job_off_and_leaves_no_record_of_it() {
    let (clock, world) = still_world(|_| {}).await;
    let token = world.token();
    let first = world.submit(&token, &chat("rare")).await;
    world.until_job(&first, "succeeded").await;
    let second = world.submit(&token, &chat("rare")).await;
    // It is due again at a time that will not come: a worker has looked at it and put it off.
    world
        .until("it is put off", async || {
            let due = world.job_row::<(i64, i64)>(
                sql!("SELECT due_at, created_at FROM job WHERE id = ? AND status = 'queued'"),
                &second,
            );
            due.await.is_some_and(|(due, created)| due > created)
        })
        .await;
    let waiting = world.job(&second).await;
    assert_eq!((&waiting["status"], &waiting["runs"]), (&json!("queued"), &json!(0)));
    world.gateway.journal.finish(Duration::from_secs(5)).await;
    assert_eq!(world.usage_rows("").await.len(), 1);
    clock.advance(Duration::from_secs(61));
    let done = world.until_job(&second, "succeeded").await;
    assert_eq!(done["runs"], 1);
    assert_eq!(
        world.usage(done["request_id"].as_str().unwrap()).await.state,
        "completed"
    );
}

#[tokio::test]
async fn results_go_when_their_time_is_over() {
    let (clock, world) = still_world(|_| {}).await;
    let token = world
        .issuer
        .token(&json!({"exp": SystemClock.now().as_seconds() + 9000}));
    let id = world.submit(&token, &chat("quick")).await;
    world.until_job(&id, "succeeded").await;
    clock.advance(Duration::from_secs(3599));
    world.get(&format!("/v1/jobs/{id}/result"), &token).await.ok();
    clock.advance(Duration::from_secs(1));
    for path in [format!("/v1/jobs/{id}"), format!("/v1/jobs/{id}/result")] {
        world.get(&path, &token).await.error(404);
    }
}

#[tokio::test]
async fn a_job_fails_when_its_clients_access_has_ended_before_it_ran() {
    let world = world(|config| config.jobs.workers = 1).await;
    let blocker = world.submit(&world.token(), &chat("held")).await;
    world.until_job(&blocker, "running").await;
    let token = world.issuer.token(&json!({"client_id": "leaving"}));
    let id = world.submit(&token, &marked("quick", "late")).await;
    let client_id = "leaving".to_owned();
    let before = SystemClock.now().as_seconds() + 1;
    world.issuer.revoke(Revoked::Client { client_id, before });
    let revoked = async || world.chat_as(&token, "quick").await.status == 401;
    world.until("the client is revoked", revoked).await;
    world.vendor.release();
    world.until_job(&blocker, "succeeded").await;
    // By a token from after the revocation.
    let fresh = world
        .issuer
        .token(&json!({"client_id": "leaving", "iat": before + 1, "jti": "fresh"}));
    let failed = async || world.get(&format!("/v1/jobs/{id}"), &fresh).await.json()["status"] == "failed";
    world.until("the job has failed", failed).await;
    let job = world.get(&format!("/v1/jobs/{id}"), &fresh).await.ok();
    assert_eq!(job["error"]["code"], "access_revoked");
    assert!(world.vendor.find_call("late").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_workers_run_each_job_once() {
    let world = world(|_| {}).await;
    let (second, first_tasks) = another(&world.config, Ambient::default()).await;
    let (third, second_tasks) = another(&world.config, Ambient::default()).await;
    let mut ids = BTreeSet::new();
    for number in 0..24 {
        ids.insert(world.submit(&world.token(), &marked("many", &number.to_string())).await);
    }
    for id in &ids {
        assert_eq!(world.until_job(id, "succeeded").await["runs"], 1);
    }
    assert_eq!(world.vendor.calls_seen(), 24);
    for gateway in [&world.gateway, &second, &third] {
        gateway.journal.finish(Duration::from_secs(5)).await;
    }
    assert_eq!(world.usage_rows("").await.len(), 24);
    first_tasks.drain(Duration::from_secs(3)).await;
    second_tasks.drain(Duration::from_secs(3)).await;
}

#[tokio::test]
async fn a_shutdown_hands_jobs_back() {
    let world = world(|config| config.jobs.workers = 0).await;
    let mut config = world.config.clone();
    config.jobs.workers = 1;
    let (_first, tasks) = another(&config, Ambient::default()).await;
    let id = world.submit(&world.token(), &marked("held", "a")).await;
    world
        .until("the vendor is called", async || world.vendor.find_call("a").is_some())
        .await;
    assert!(tasks.drain(Duration::from_secs(5)).await);
    assert_eq!(world.job(&id).await["status"], "queued");
    world.vendor.release();
    let (_second, tasks) = another(&config, Ambient::default()).await;
    assert_eq!(world.until_job(&id, "succeeded").await["runs"], 2);
    tasks.drain(Duration::from_secs(5)).await;
}

/// A process that is killed: its runtime is gone from one moment to the next, nothing is drained.
#[test]
fn jobs_survive_the_death_of_the_process_that_ran_them() {
    let outside = tokio::runtime::Runtime::new().unwrap();
    let world = outside.block_on(world(|config| config.jobs.workers = 0));
    let mut config = world.config.clone();
    config.jobs.workers = 1;
    let doomed = tokio::runtime::Runtime::new().unwrap();
    let alive = doomed.block_on(another(&config, Ambient::default()));
    let (running, waiting) = outside.block_on(async {
        let running = world.submit(&world.token(), &marked("held", "a")).await;
        world
            .until("the vendor is called", async || world.vendor.find_call("a").is_some())
            .await;
        (running, world.submit(&world.token(), &chat("quick")).await)
    });
    doomed.shutdown_background();
    drop(alive);
    outside.block_on(async {
        let left = async || world.vendor.find_call("a").unwrap().cancelled;
        world.until("the connection to the vendor is gone", left).await;
        assert_eq!(world.job(&running).await["status"], "running");
        world.vendor.release();
        // Half a minute later nobody has renewed the lease.
        let clock = Arc::new(FixedClock::at(SystemClock.now() + Duration::from_secs(31)));
        let ambient = Ambient {
            clock,
            ..Ambient::default()
        };
        let (_gateway, tasks) = another(&config, ambient).await;
        assert_eq!(world.until_job(&running, "succeeded").await["runs"], 2);
        assert_eq!(world.until_job(&waiting, "succeeded").await["runs"], 1);
        tasks.drain(Duration::from_secs(5)).await;
    });
}
