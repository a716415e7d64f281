//! Services killed in the middle of their work.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::Value;

use crate::{
    gateway::{Caller, chat},
    world::{Engine, Link, World, eventually},
};

/// Eight callers at once, plain and streamed in turn; each notes the ids of answers that it got whole.
async fn traffic(caller: &Caller<'_>, stop: &AtomicBool, whole: &Mutex<BTreeSet<String>>) {
    join_all((0..8).map(|lane| async move {
        let mut body = chat("t-echo");
        body["stream"] = Value::Bool(lane % 2 == 0);
        while !stop.load(Ordering::Relaxed) {
            let Ok(response) = caller.request("/v1/chat/completions", &body).send().await else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let status = response.status();
            let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
            if let Ok(text) = response.text().await
                && status == 200
                && (lane % 2 == 1 || text.contains("[DONE]"))
            {
                whole.lock().unwrap().insert(id);
            }
        }
    }))
    .await;
}

async fn no_usage_is_lost_or_doubled(engine: Engine) {
    let world = World::start(engine).await;
    let caller = Caller::service(&world).await;
    let (stop, whole) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let kills = async {
        for round in 1..=3 {
            let wanted = round * 40;
            eventually("traffic", Duration::from_secs(30), async || {
                (whole.lock().unwrap().len() >= wanted).then_some(())
            })
            .await;
            world.kill_gateway();
            world.start_gateway().await;
        }
        let seen = whole.lock().unwrap().len();
        eventually("traffic again", Duration::from_secs(30), async || {
            (whole.lock().unwrap().len() > seen + 20).then_some(())
        })
        .await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(traffic(&caller, &stop, &whole), kills);
    // What was answered whole has its row. Written before the end of the answer or recovered at the start: that is the service's business.
    let whole = whole.into_inner().unwrap();
    let rows = eventually("every answer is accounted for", Duration::from_secs(20), async || {
        let rows = world.usage_request_ids().await;
        let known: BTreeSet<_> = rows.iter().cloned().collect();
        whole.is_subset(&known).then_some(rows)
    })
    .await;
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for id in rows {
        *counted.entry(id).or_default() += 1;
    }
    let doubled: Vec<_> = counted.iter().filter(|(_, count)| **count > 1).collect();
    assert!(doubled.is_empty(), "doubled: {doubled:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_of_the_gateway_under_traffic_loses_and_doubles_no_usage_row_on_sqlite() {
    no_usage_is_lost_or_doubled(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_of_the_gateway_under_traffic_loses_and_doubles_no_usage_row_on_postgresql() {
    no_usage_is_lost_or_doubled(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_provider_confirmed_survives_kill_nine() {
    let world = World::start(Engine::Sqlite).await;
    let app = world.web();
    let tokens = app.tokens_of(&world, "bob").await;
    let revoked = app.tokens_of(&world, "carol").await;
    let rotated = app.refresh(tokens.refresh()).await.tokens();
    assert_eq!(app.revoke(revoked.refresh()).await.status, 200);
    world.kill_auth();
    world.start_auth().await;
    app.refresh(revoked.refresh()).await.oauth_error(400, "invalid_grant");
    app.refresh(rotated.refresh()).await.tokens();
    world.http().userinfo(&rotated.access).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_lets_calls_under_way_finish() {
    let world = World::start(Engine::Sqlite).await;
    let caller = Caller::service(&world).await;
    let mut body = chat("t-hang");
    body["messages"][0]["content"] = "in flight".into();
    // This call needs 300 ms until its first-byte limit; the stop comes in the middle of it.
    let (reply, status) = tokio::join!(caller.post("/v1/chat/completions", &body), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.stop_gateway().await
    });
    reply.openai_error(504);
    assert!(status.success(), "{status}");
    assert_eq!(
        world.settled_usage(reply.header("x-request-id")).await.0,
        "upstream_error"
    );
    assert!(world.stop_auth().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_the_gateway_goes_on_and_its_usage_rows_wait() {
    let world = World::start(Engine::Postgres).await;
    let caller = Caller::service(&world).await;
    assert_eq!(caller.chat("t-echo").await.status, 200);
    world.gateway_database(Link::Down).await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let reply = caller.chat("t-echo").await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        waiting.push(reply.header("x-request-id").to_owned());
    }
    // Not even a crash loses what waits.
    world.kill_gateway();
    world.gateway_database(Link::Up).await;
    world.start_gateway().await;
    for id in waiting {
        assert_eq!(world.settled_usage(&id).await, ("completed".to_owned(), 11, 22));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_provider_the_gateway_goes_on_with_the_keys_that_it_has() {
    let world = World::start(Engine::Sqlite).await;
    let caller = Caller::service(&world).await;
    world.kill_auth();
    for _ in 0..3 {
        assert_eq!(caller.chat("t-echo").await.status, 200);
    }
    Caller::with(&world, "a.b.c")
        .chat("t-echo")
        .await
        .bearer_error(401, "invalid_token");
    world.start_auth().await;
    let caller = Caller::service(&world).await;
    assert_eq!(caller.chat("t-echo").await.status, 200);
}
