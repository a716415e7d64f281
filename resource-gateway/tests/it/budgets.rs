//! What calls cost, and budgets that hold: one node, two nodes, and a database that goes away.

use std::time::Duration;

use serde_json::{Value, json};
use service_kit::SystemClock;
use sql_kit::{Db, Options, Record, Sql, args, sql};
use sql_test_kit::TestDatabase;

use crate::running::{Answer, Running, chat};

const COSTS: Sql = sql!("SELECT cost, currency, price FROM usage_record WHERE request_id = ?");
const SUMS: Sql = sql!(
    "SELECT CAST(COALESCE(SUM(spent), 0) AS BIGINT), CAST(COALESCE(SUM(held), 0) AS BIGINT) FROM budget_period WHERE budget = ?"
);
const COST_OF_ALL: Sql = sql!("SELECT CAST(COALESCE(SUM(cost), 0) AS BIGINT) FROM usage_record WHERE interface = ?");
const LEASES: Sql = sql!("SELECT COUNT(*) FROM budget_lease");
const NOTICES: Sql = sql!("SELECT share FROM budget_notice WHERE budget = ? ORDER BY share");
const NO_LEDGER: Sql = sql!("ALTER TABLE budget_period RENAME TO budget_period_away");
const LEDGER_AGAIN: Sql = sql!("ALTER TABLE budget_period_away RENAME TO budget_period");

/// The stub counts 11 tokens in and 22 out: 231 millionths, 231000 nanos.
pub(crate) const PRICES: &str = "\
[[price]]
name = \"stub\"
vendor = \"stub\"
input_per_million = 1
output_per_million = \"10\"
currency = \"EUR\"
[[price]]
name = \"flat\"
interface = \"sandbox\"
per_call = 0.01
currency = \"EUR\"
";
const CALL: i64 = 231_000;

fn quota(name: &str, interface: &str, amount: &str, more: &str) -> String {
    format!(
        "[[quota]]\nname = \"{name}\"\ninterface = \"{interface}\"\namount = \"{amount}\"\ncurrency = \"EUR\"\nperiod = \"total\"\n{more}\n"
    )
}

async fn start(more: &str) -> Running {
    Running::start_at(std::sync::Arc::new(SystemClock), &(PRICES.to_owned() + more), |_| {}).await
}

async fn rows<R: Record>(world: &Running, sql: Sql, name: &str) -> Vec<R> {
    let db = Db::connect(&world.database, &Options::default()).await.unwrap();
    let rows = if format!("{sql:?}").contains('?') {
        db.all(sql, args![name]).await.unwrap()
    } else {
        db.all(sql, args![]).await.unwrap()
    };
    db.close().await;
    rows
}

/// Changes the schema, as soon as nobody writes.
async fn alter(world: &Running, sql: Sql) {
    let db = Db::connect(&world.database, &Options::default()).await.unwrap();
    world
        .until("nobody writes", async || db.execute(sql, args![]).await.is_ok())
        .await;
    db.close().await;
}

/// What was spent of a budget, and what nodes hold.
async fn sums(world: &Running, budget: &str) -> (i64, i64) {
    world.gateway.journal.finish(Duration::from_secs(5)).await;
    rows(world, SUMS, budget).await[0]
}

#[track_caller]
fn is_used_up(answer: &Answer) -> String {
    let error = answer.error(429);
    assert_eq!(
        (&error["code"], &error["type"]),
        (&json!("insufficient_quota"), &json!("insufficient_quota"))
    );
    assert_eq!(answer.header("x-should-retry"), "false");
    assert_eq!(answer.header("retry-after"), "");
    error["message"].as_str().unwrap().to_owned()
}

/// How many of the calls passed; the others were refused for the budget's sake.
fn passed(answers: &[Answer]) -> usize {
    let refused = answers.iter().filter(|answer| answer.status != 200);
    refused.for_each(|answer| drop(is_used_up(answer)));
    answers.iter().filter(|answer| answer.status == 200).count()
}

async fn at_once(world: &[&Running], model: &str, calls: usize) -> Vec<Answer> {
    let calls = (0..calls).map(|at| {
        let world = world[at % world.len()];
        async move {
            match at % 4 {
                0 => world.stream(model).await,
                _ => world.chat(model).await,
            }
        }
    });
    futures_util::future::join_all(calls).await
}

#[tokio::test]
async fn each_call_costs_what_the_vendor_counted_in_one_piece_or_streamed() {
    let world = start("").await;
    for (answer, wanted) in [
        (world.chat("echo").await, Some((CALL, "stub"))),
        (world.stream("echo").await, Some((CALL, "stub"))),
        (world.chat("sandbox").await, Some((10_000_000, "flat"))),
        (world.stream("sandbox").await, Some((10_000_000, "flat"))),
        (world.chat("closed").await, None),
        (world.chat("status-500").await, Some((0, "stub"))),
    ] {
        world.usage(answer.request_id()).await;
        let costs: Vec<(Option<i64>, Option<String>, Option<String>)> = rows(&world, COSTS, answer.request_id()).await;
        let wanted = match wanted {
            Some((cost, price)) => (Some(cost), Some("EUR".to_owned()), Some(price.to_owned())),
            None => (None, None, None),
        };
        assert_eq!(costs, [wanted], "{}", answer.body);
    }
}

#[tokio::test]
async fn a_budget_lets_through_exactly_as_many_calls_as_it_pays_for() {
    let world = start(&quota("ten", "echo", "0.00231", "")).await;
    let answers = at_once(&[&world], "echo", 64).await;
    assert_eq!(passed(&answers), 10);
    assert_eq!(sums(&world, "ten").await, (10 * CALL, 0));
    let message = is_used_up(&world.chat("echo").await);
    assert!(
        !message.contains("ten"),
        "a budget that others share is not named: {message}"
    );
    assert_eq!(world.chat("no-done").await.status, 200, "other interfaces go on");
}

#[tokio::test]
async fn two_gateways_share_a_budget() {
    let world = start(&quota("twenty", "echo", "0.00462", "")).await;
    let other = world.another().await;
    let answers = at_once(&[&world, &other], "echo", 64).await;
    let passed = passed(&answers);
    assert!((20..=21).contains(&passed), "{passed}");
    other.gateway.journal.finish(Duration::from_secs(5)).await;
    let (spent, _) = sums(&world, "twenty").await;
    assert_eq!(spent, i64::try_from(passed).unwrap() * CALL);
    // Both leave: nothing stays behind.
    for node in [&world, &other] {
        node.stop().await;
        assert!(node.gateway.finish(Duration::from_secs(5)).await);
    }
    assert_eq!(rows::<(i64,)>(&world, LEASES, "").await, [(0,)]);
    assert_eq!(sums(&world, "twenty").await, (spent, 0));
}

#[tokio::test]
async fn two_gateways_share_a_budget_on_postgresql() {
    let database = TestDatabase::postgres().await;
    let more = PRICES.to_owned() + &quota("calls", "sandbox", "0.25", "");
    let world = Running::start_at(std::sync::Arc::new(SystemClock), &more, |config| {
        config.database.url.clone_from(&database.url);
    })
    .await;
    let other = world.another().await;
    let answers = at_once(&[&world, &other], "sandbox", 64).await;
    assert_eq!(
        passed(&answers),
        25,
        "a call of a fixed price never costs more than was held back"
    );
    other.gateway.journal.finish(Duration::from_secs(5)).await;
    assert_eq!(sums(&world, "calls").await.0, 250_000_000);
}

#[tokio::test]
async fn what_calls_under_way_do_not_need_goes_to_those_who_wait() {
    // Each call holds back far more than it costs, as its answer might be long.
    let world = start(&quota("b", "echo", "0.05", "")).await;
    let mut body = chat("echo");
    body["max_tokens"] = 4000.into();
    let token = world.token();
    let calls = (0..20).map(|_| world.post("/v1/chat/completions", &token, &body));
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(passed(&answers), 20);
    assert_eq!(sums(&world, "b").await.0, 20 * CALL);
}

#[tokio::test]
async fn a_soft_budget_only_tells() {
    let more = quota("soft", "echo", "0.00231", "hard = false\nnotify_at = [0.5, 1]");
    let world = start(&more).await;
    for _ in 0..5 {
        assert_eq!(world.chat("echo").await.status, 200);
    }
    world.gateway.journal.finish(Duration::from_secs(5)).await;
    let told = async |wanted: &[(i64,)]| {
        world
            .until("operators are told", async || {
                rows::<(i64,)>(&world, NOTICES, "soft").await == wanted
            })
            .await;
    };
    told(&[(500,)]).await;
    for _ in 0..6 {
        assert_eq!(world.chat("echo").await.status, 200);
    }
    told(&[(500,), (1000,)]).await;
    assert_eq!(sums(&world, "soft").await, (11 * CALL, 0));
}

#[tokio::test]
async fn everybody_has_a_budget_of_their_own_and_is_told_its_name() {
    let more = "[[budget]]\nname = \"each\"\nsub = \"*\"\ninterface = \"sandbox\"\namount = 0.02\ncurrency = \"EUR\"\nperiod = \"day\"\n";
    let world = start(more).await;
    for sub in ["alice", "bob|sub=alice"] {
        let token = world.issuer.token(&json!({"sub": sub}));
        for _ in 0..2 {
            assert_eq!(world.chat_as(&token, "sandbox").await.status, 200);
        }
        let message = is_used_up(&world.chat_as(&token, "sandbox").await);
        assert!(message.contains("'each'"), "{message}");
    }
}

#[tokio::test]
async fn a_changed_amount_holds_for_the_next_call() {
    let world = start(&quota("b", "sandbox", "100", "")).await;
    assert_eq!(world.chat("sandbox").await.status, 200);
    world.apply(&quota("b", "sandbox", "0.01", "")).await;
    is_used_up(&world.chat("sandbox").await);
    world.apply(&quota("b", "sandbox", "0.02", "")).await;
    world
        .until("the refusal is forgotten", async || {
            world.chat("sandbox").await.status == 200
        })
        .await;
    is_used_up(&world.chat("sandbox").await);
}

#[tokio::test]
async fn without_the_ledger_leases_go_on_then_hard_budgets_refuse() {
    let more = quota("hard", "sandbox", "100", "") + &quota("soft", "echo", "100", "hard = false");
    let world = start(&more).await;
    assert_eq!(world.chat("sandbox").await.status, 200);
    world.gateway.journal.finish(Duration::from_secs(5)).await;
    alter(&world, NO_LEDGER).await;
    assert_eq!(world.chat("sandbox").await.status, 200, "out of the lease");
    let mut passed = 2;
    let refused = loop {
        let answer = world.chat("sandbox").await;
        if answer.status != 200 {
            break answer;
        }
        passed += 1;
        assert!(passed < 100, "a lease is no budget");
    };
    assert_eq!(refused.error(503)["code"], "budget_unavailable");
    assert_eq!(world.chat("echo").await.status, 200, "a soft budget refuses nobody");
    alter(&world, LEDGER_AGAIN).await;
    assert_eq!(world.chat("sandbox").await.status, 200);
    let cost = (passed + 1) * 10_000_000;
    world
        .until("every cost arrives", async || sums(&world, "hard").await.0 == cost)
        .await;
    assert_eq!(rows::<(i64,)>(&world, COST_OF_ALL, "sandbox").await, [(cost,)]);
}

#[tokio::test]
async fn a_grant_pays_as_much_as_was_agreed_however_often_its_token_is_renewed() {
    let world = start("").await;
    let token = |jti: &str, cost: Value| {
        let details = json!([{"type": "ai_call", "interfaces": ["sandbox", "echo", "off"], "max_cost": cost}]);
        world
            .issuer
            .token(&json!({"jti": jti, "authorization_details": details}))
    };
    let two = json!({"amount": "0.02", "currency": "EUR"});
    assert_eq!(world.chat_as(&token("g1.a", two.clone()), "sandbox").await.status, 200);
    assert_eq!(world.chat_as(&token("g1.b", two.clone()), "sandbox").await.status, 200);
    is_used_up(&world.chat_as(&token("g1.c", two.clone()), "sandbox").await);
    is_used_up(&world.chat_as(&token("g1.c", two.clone()), "echo").await);
    assert_eq!(world.chat_as(&token("g2.a", two.clone()), "sandbox").await.status, 200);
    assert_eq!(
        world.chat_as(&token("machine", two.clone()), "sandbox").await.status,
        200
    );
    let dollars = token("g3.a", json!({"amount": "5.00", "currency": "USD"}));
    let refused = world.chat_as(&dollars, "sandbox").await;
    assert_eq!(refused.error(403)["code"], "authorization_details_denied");
    assert_eq!(world.usage(refused.request_id()).await.state, "rejected");
}

#[tokio::test]
async fn failures_cost_nothing_and_give_back_what_was_held() {
    let world = start(&quota("b", "status-500", "0.001", "")).await;
    for _ in 0..20 {
        assert_eq!(world.chat("status-500").await.status, 502);
    }
    assert_eq!(sums(&world, "b").await.0, 0);
}
