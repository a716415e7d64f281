//! Mixed traffic on budgets while the gateway is killed again and again: afterwards the books are right to the last billionth.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, future::join_all};
use serde_json::Value;

use crate::{
    gateway::{Caller, chat},
    world::{Engine, World, eventually},
};

/// The scripted vendor counts 11 tokens in and 22 out.
const CALL: i64 = 11 * 1_000 + 22 * 10_000;
/// More than half of this is used up between kills, all of it before the end.
const CALLS: i64 = 240;

const MONEY: &str = r#"
[[price]]
name = "scripted"
vendor = "scripted"
input_per_million = "1"
output_per_million = "10"
currency = "EUR"

[[quota]]
name = "echo"
interface = "t-echo"
amount = "0.05544"
currency = "EUR"
period = "total"

[[quota]]
name = "each-slow"
client_id = "*"
interface = "t-slow"
amount = "5"
currency = "EUR"
period = "month"

[[quota]]
name = "failing"
interface = "t-status-500"
amount = "1"
currency = "EUR"
period = "day"
hard = false
"#;

/// What the load client knows.
#[derive(Default)]
struct Seen {
    /// Answers that it got whole.
    whole: Mutex<BTreeMap<String, i64>>,
    refused: AtomicUsize,
    failed: AtomicUsize,
    abandoned: AtomicUsize,
    stop: AtomicBool,
}

impl Seen {
    fn finished(&self) -> usize {
        self.whole.lock().unwrap().len()
    }
}

/// One caller: plain, streamed, failing and abandoned calls in turn.
async fn lane(caller: &Caller<'_>, http: &reqwest::Client, lane: usize, seen: &Seen) {
    let url = format!("{}/v1/chat/completions", caller.world.gateway);
    let mut turn = lane;
    while !seen.stop.load(Ordering::Relaxed) {
        turn += 1;
        let model = match turn % 8 {
            0 => "t-status-500",
            1 => "t-slow",
            _ => "t-echo",
        };
        let mut body = chat(model);
        let stream = turn % 2 == 1;
        body["stream"] = stream.into();
        body["max_tokens"] = 22.into();
        let request = http.post(&url).bearer_auth(&caller.token).json(&body);
        let Ok(response) = request.send().await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let status = response.status().as_u16();
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        if model == "t-slow" {
            // Leaves in the middle of the answer.
            let mut parts = response.bytes_stream();
            parts.next().await;
            seen.abandoned.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let Ok(text) = response.text().await else { continue };
        match status {
            200 if !stream || text.contains("[DONE]") => {
                seen.whole.lock().unwrap().insert(id, CALL);
            }
            200 => {}
            429 => {
                let error: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(error["error"]["code"], "insufficient_quota", "{text}");
                seen.refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => {
                seen.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

async fn numbers(world: &World, sql: &str) -> Vec<i64> {
    let texts = world.gateway_texts(sql).await;
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

async fn number(world: &World, sql: &str) -> i64 {
    numbers(world, sql).await.first().copied().unwrap_or_default()
}

async fn sum(world: &World, what: &str, of: &str) -> i64 {
    number(
        world,
        &format!("SELECT CAST(COALESCE(SUM({what}), 0) AS TEXT) FROM {of}"),
    )
    .await
}

async fn the_books_are_right(engine: Engine) {
    let world = World::start(engine).await;
    let document = world.write("money.toml", MONEY);
    world.gateway_cli(&["apply", document.to_str().unwrap()]);
    let caller = Caller::service(&world).await;
    let seen = Seen::default();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let kills = async {
        for round in 1..=4 {
            eventually("traffic", Duration::from_secs(120), async || {
                (seen.finished() >= round * 35).then_some(())
            })
            .await;
            world.kill_gateway();
            world.start_gateway().await;
        }
        eventually("the budget is used up", Duration::from_secs(180), async || {
            (seen.refused.load(Ordering::Relaxed) >= 20).then_some(())
        })
        .await;
        seen.stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all((0..8).map(|at| lane(&caller, &http, at, &seen))), kills);
    assert!(world.stop_gateway().await.success());

    // Each answer that a caller got whole has one row, at its price.
    let rows = world
        .gateway_texts("SELECT request_id || ' ' || CAST(cost AS TEXT) FROM usage_record WHERE state = 'completed'")
        .await;
    let mut costs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in &rows {
        let (id, cost) = row.split_once(' ').unwrap();
        costs.entry(id).or_default().push(cost);
    }
    let ledger = seen.whole.into_inner().unwrap();
    for (id, cost) in &ledger {
        assert_eq!(costs.get(id.as_str()), Some(&vec![cost.to_string().as_str()]), "{id}");
    }

    // The ledger's sums are those of the rows, and nothing is held any more.
    for (budget, interface) in [("echo", "t-echo"), ("each-slow", "t-slow"), ("failing", "t-status-500")] {
        let period = format!("budget_period WHERE budget = '{budget}'");
        let (spent, held) = (sum(&world, "spent", &period).await, sum(&world, "held", &period).await);
        let cost = sum(&world, "cost", &format!("usage_record WHERE interface = '{interface}'")).await;
        let charges = format!(
            "budget_charge WHERE budget_key IN (SELECT budget_key FROM budget_period WHERE budget = '{budget}')"
        );
        assert_eq!((spent, held), (cost, 0), "{budget}");
        assert_eq!(sum(&world, "amount", &charges).await, cost, "{budget}");
    }
    assert_eq!(
        number(&world, "SELECT CAST(COUNT(*) AS TEXT) FROM budget_lease").await,
        0
    );

    // Everybody together spent what there was, and nobody more than one call beyond it.
    let spent = number(
        &world,
        "SELECT CAST(spent AS TEXT) FROM budget_period WHERE budget = 'echo'",
    )
    .await;
    assert!(spent <= CALLS * CALL + CALL, "oversold: {spent}");
    assert!(spent > (CALLS - 1) * CALL, "no call that fits is refused: {spent}");
    assert!(i64::try_from(ledger.len()).unwrap() * CALL <= spent);
    // What was abandoned was paid for as far as it went.
    assert!(seen.abandoned.load(Ordering::Relaxed) > 0 && seen.failed.load(Ordering::Relaxed) > 0);
    let left = numbers(
        &world,
        "SELECT CAST(cost AS TEXT) FROM usage_record WHERE interface = 't-slow' AND state = 'client_gone_after_first_byte'",
    )
    .await;
    assert!(!left.is_empty() && left.iter().all(|cost| *cost > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_under_mixed_traffic_leaves_the_books_right_on_sqlite() {
    the_books_are_right(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_under_mixed_traffic_leaves_the_books_right_on_postgresql() {
    the_books_are_right(Engine::Postgres).await;
}
