//! Leases of budgets through their changes and losses.

use std::{sync::Arc, time::Duration};

use resource_gateway::{
    adapters::sql::SqlLedger,
    application::budgets::{Bound, Budgets, Demand},
    domain::{
        budget::{Firmness, Period},
        ids::{BudgetName, NodeId},
        lease::{PeriodRow, Wish},
        money::Nanos,
    },
    ports::budget::{Account, BudgetLedger as _, Order},
};
use service_kit::{Clock as _, SystemClock, Timestamp};
use sql_kit::{Db, Options, Sql, args, sql};

use crate::{running::Running, storage_world::World};

const SPENT: Sql = sql!("SELECT spent FROM budget_period WHERE budget = 'b' AND period_start = ?");
const FLAT: &str = "[[price]]\nname = \"flat\"\ninterface = \"sandbox\"\nper_call = 0.01\ncurrency = \"EUR\"\n";
const CALL: i64 = 10_000_000;

fn budget(amount: &str, period: &str) -> String {
    format!(
        "[[quota]]\nname = \"b\"\ninterface = \"sandbox\"\namount = \"{amount}\"\ncurrency = \"EUR\"\nperiod = \"{period}\"\n"
    )
}

async fn start(more: &str) -> Running {
    Running::start_at(Arc::new(SystemClock), &(FLAT.to_owned() + more), |_| {}).await
}

/// How many of the calls passed until one was refused for the budget's sake.
async fn until_used_up(world: &Running) -> i64 {
    for passed in 0..10 {
        let answer = world.chat("sandbox").await;
        if answer.status != 200 {
            assert_eq!(answer.error(429)["code"], "insufficient_quota");
            return passed;
        }
    }
    panic!("the budget holds nobody back");
}

async fn spent(world: &Running, period: Timestamp) -> i64 {
    world.gateway.journal.finish(Duration::from_secs(5)).await;
    let db = Db::connect(&world.database, &Options::default()).await.unwrap();
    let rows: Vec<(i64,)> = db.all(SPENT, args![period.as_micros()]).await.unwrap();
    db.close().await;
    rows.first().map_or(0, |(spent,)| *spent)
}

#[tokio::test]
async fn a_changed_period_holds_for_the_next_call_longer_or_shorter() {
    let world = start(&budget("0.03", "day")).await;
    assert_eq!(world.chat("sandbox").await.status, 200);
    world.apply(&budget("0.03", "total")).await;
    assert_eq!(until_used_up(&world).await, 3, "the whole of the total");
    world.apply(&budget("0.03", "day")).await;
    assert_eq!(until_used_up(&world).await, 2, "what the day had left");
    let today = Period::Day.start(SystemClock.now());
    assert_eq!(spent(&world, Timestamp::from_seconds(0)).await, 3 * CALL);
    assert_eq!(spent(&world, today).await, 3 * CALL);
}

#[tokio::test]
async fn a_call_that_costs_nothing_passes_whatever_was_spent() {
    let paid = "[[price]]\nname = \"flat\"\ninterface = \"sandbox\"\noutput_per_million = 1000\ncurrency = \"EUR\"\n";
    let world = Running::start_at(
        Arc::new(SystemClock),
        &(paid.to_owned() + &budget("0.000001", "total")),
        |_| {},
    )
    .await;
    // It costs more than there was.
    assert_eq!(until_used_up(&world).await, 1);
    let free =
        "[[price]]\nname = \"flat\"\ninterface = \"sandbox\"\nper_call = 0\nunit = \"call\"\ncurrency = \"EUR\"\n";
    world.apply(free).await;
    assert_eq!(world.chat("sandbox").await.status, 200);
}

#[tokio::test]
async fn a_grant_whose_answer_was_lost_is_given_back_when_nobody_calls() {
    let world = World::sqlite().await;
    let ledger = Arc::new(SqlLedger::new(world.db.clone()));
    let node = NodeId::new("n");
    let budgets = Budgets::new(ledger.clone(), node.clone(), Arc::new(SystemClock));
    let account = Account {
        key: "b".to_owned(),
        budget: Some(BudgetName::new("b")),
        period: Timestamp::from_seconds(0),
    };
    let demand = Demand {
        account: account.clone(),
        every: Period::Total,
        firmness: Firmness::Hard,
        amount: Nanos(1000),
        least: Nanos(1),
        most: Nanos(10),
        bound: Bound::Known,
        shown: None,
    };
    drop(budgets.reserve(vec![demand]).await.unwrap());
    // The caller went while the ledger was about to answer: what it granted is known to the ledger alone.
    let wish = Wish {
        need: 100,
        want: 100,
        comfort: 0,
    };
    let order = Order {
        node: &node,
        account: &account,
        amount: Nanos(1000),
        wish,
        at: SystemClock.now(),
    };
    ledger.take(order).await.unwrap();
    for _ in 0..2 {
        budgets.sweep(Duration::ZERO).await;
    }
    let status = ledger.find_account("b", account.period).await.unwrap().unwrap();
    assert_eq!(status.row, PeriodRow { spent: 0, held: 0 });
}

#[tokio::test]
async fn what_calls_without_a_bound_have_cost_is_held_back_for_the_next() {
    let account = |key: &str| Account {
        key: key.to_owned(),
        budget: Some(BudgetName::new("b")),
        period: Timestamp::from_seconds(0),
    };
    let world = World::sqlite().await;
    let ledger = Arc::new(SqlLedger::new(world.db.clone()));
    let budgets = Budgets::new(ledger.clone(), NodeId::new("n"), Arc::new(SystemClock));
    let held_after = async |key: &str, bound: Bound| {
        let reserve = async || {
            let demand = Demand {
                account: account(key),
                every: Period::Total,
                firmness: Firmness::Hard,
                amount: Nanos(10_000),
                least: Nanos(1),
                most: Nanos(10),
                bound,
                shown: None,
            };
            budgets.reserve(vec![demand]).await.unwrap()
        };
        reserve().await.settle(Nanos(500));
        let _held = reserve().await;
        let status = ledger.find_account(key, account(key).period).await.unwrap();
        status.unwrap().row.held
    };
    // 500 of each are what the first call has cost.
    assert!(held_after("known", Bound::Known).await < 1000);
    assert!(held_after("assumed", Bound::Assumed).await >= 1000);
}
