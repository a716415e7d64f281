//! The ledger of budgets over both engines: the sums hold, whoever comes when.

use std::{sync::Arc, time::Duration};

use resource_gateway::{
    adapters::sql::{SqlLedger, SqlUsage},
    domain::{
        ids::{BudgetName, NodeId},
        lease::{PeriodRow, Wish},
        money::{Currency, Nanos},
        usage::{Charge, UsageRecord},
    },
    ports::{
        budget::{Account, BudgetLedger as _, Notice, Order, Taken},
        usage::{UsageBatch, UsageStore as _},
    },
};
use service_kit::{SystemClock, Timestamp};
use sql_kit::{Sql, args, sql};

use crate::{
    storage::on_both,
    storage_world::{World, full_record},
};

const LEASES: Sql = sql!("SELECT COUNT(*) FROM budget_lease");
const CHARGES: Sql = sql!("SELECT COUNT(*) FROM budget_charge");
const BREAK_SUMS: Sql = sql!("UPDATE budget_period SET spent = spent + 7, held = held + 9");

on_both!(
    a_lease_moves_money_and_a_record_spends_it_once,
    a_cost_beyond_the_lease_counts_whole,
    racing_nodes_never_take_more_than_there_is,
    a_node_that_needs_what_others_hold_has_it_recalled,
    what_a_dead_node_held_comes_back,
    batches_of_many_accounts_may_overlap,
    sums_that_do_not_fit_are_put_right,
    old_charges_are_folded_and_the_sum_stays,
    a_share_is_told_of_once,
    accounts_are_forgotten_when_nothing_can_come_of_them,
);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn account(key: &str) -> Account {
    Account {
        key: key.to_owned(),
        budget: Some(BudgetName::new(key.split('|').next().unwrap())),
        period: at(86_400),
    }
}

fn node(name: &str) -> NodeId {
    NodeId::new(name)
}

async fn take(ledger: &SqlLedger, node: &NodeId, account: &Account, amount: i64, need: i64) -> Taken {
    let order = Order {
        node,
        account,
        amount: Nanos(amount),
        wish: Wish {
            need,
            want: need,
            comfort: 0,
        },
        at: at(100_000),
    };
    ledger.take(order).await.unwrap()
}

/// A record that cost something and is charged to accounts.
fn charged(id: &str, node: &NodeId, cost: i64, accounts: &[&Account]) -> UsageRecord {
    UsageRecord {
        cost: Some(cost),
        node: Some(node.clone()),
        charges: accounts
            .iter()
            .map(|account| Charge {
                key: account.key.clone(),
                budget: account.budget.clone(),
                period: account.period,
            })
            .collect(),
        ..full_record(id)
    }
}

async fn insert(world: &World, records: &[UsageRecord]) {
    let mut batch = UsageBatch::new();
    for record in records {
        batch.push(&serde_json::to_string(record).unwrap());
    }
    let usage = SqlUsage::new(world.db.clone(), Arc::new(SystemClock));
    usage.insert_usage(&batch).await.unwrap();
}

async fn row(ledger: &SqlLedger, account: &Account) -> PeriodRow {
    let status = ledger.find_account(&account.key, account.period).await.unwrap();
    status.unwrap().row
}

async fn count(world: &World, sql: Sql) -> i64 {
    let (count,): (i64,) = world.db.one(sql, args![]).await.unwrap();
    count
}

async fn a_lease_moves_money_and_a_record_spends_it_once(world: World) {
    let ledger = SqlLedger::new(world.db.clone());
    let (a, budget, other) = (node("a"), account("b"), account("other|sub=x"));
    let taken = take(&ledger, &a, &budget, 100, 60).await;
    assert_eq!((taken.granted, taken.lease.held, taken.known), (Ok(60), 60, false));
    assert_eq!(row(&ledger, &budget).await, PeriodRow { spent: 0, held: 60 });
    let record = charged("r1", &a, 25, &[&budget, &other]);
    insert(
        &world,
        &[record.clone(), full_record("free"), charged("r2", &a, 5, &[&budget])],
    )
    .await;
    insert(&world, std::slice::from_ref(&record)).await;
    assert_eq!(row(&ledger, &budget).await, PeriodRow { spent: 30, held: 30 });
    // An account that nobody held anything of is opened by its first cost.
    assert_eq!(row(&ledger, &other).await, PeriodRow { spent: 25, held: 0 });
    // One sum for each account of a batch; what came again with something new is not counted again.
    assert_eq!(count(&world, CHARGES).await, 2);
    insert(&world, &[record, charged("r3", &a, 1, &[&other])]).await;
    assert_eq!(row(&ledger, &other).await, PeriodRow { spent: 26, held: 0 });
    let refused = take(&ledger, &a, &budget, 100, 41).await;
    assert_eq!(refused.granted.unwrap_err().held, 30);
    assert_eq!(
        (refused.lease.held, refused.lease.charged, refused.known),
        (30, 30, true)
    );
    let back = ledger.give_back(&a, &budget, 1000).await.unwrap().unwrap();
    assert_eq!((back.held, back.charged), (0, 30));
    assert_eq!(row(&ledger, &budget).await, PeriodRow { spent: 30, held: 0 });
    assert!(ledger.close_lease(&a, &budget).await.unwrap());
    assert_eq!(ledger.give_back(&a, &budget, 1).await.unwrap(), None);
    assert_eq!(count(&world, LEASES).await, 0);
}

async fn a_cost_beyond_the_lease_counts_whole(world: World) {
    let ledger = SqlLedger::new(world.db.clone());
    let (a, budget) = (node("a"), account("b"));
    take(&ledger, &a, &budget, 100, 10).await.granted.unwrap();
    insert(&world, &[charged("r", &a, 150, &[&budget])]).await;
    assert_eq!(row(&ledger, &budget).await, PeriodRow { spent: 150, held: 0 });
    let refused = take(&ledger, &a, &budget, 100, 1).await;
    assert_eq!(refused.granted.unwrap_err().held, 0);
    assert!(!ledger.close_lease(&node("b"), &budget).await.unwrap() || count(&world, LEASES).await == 1);
}

async fn racing_nodes_never_take_more_than_there_is(world: World) {
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..8 {
        let ledger = SqlLedger::new(world.db.clone());
        racers.spawn(async move {
            let (me, budget) = (node(&format!("n{racer}")), account("b"));
            let mut taken = 0;
            while let Ok(granted) = take(&ledger, &me, &budget, 100, 3).await.granted {
                taken += granted;
            }
            taken
        });
    }
    let mut sum = 0;
    while let Some(taken) = racers.join_next().await {
        sum += taken.unwrap();
    }
    assert_eq!(sum, 99, "33 times 3 fit into 100");
    let ledger = SqlLedger::new(world.db.clone());
    assert_eq!(row(&ledger, &account("b")).await, PeriodRow { spent: 0, held: 99 });
}

async fn a_node_that_needs_what_others_hold_has_it_recalled(world: World) {
    let ledger = SqlLedger::new(world.db.clone());
    let (a, b, budget) = (node("a"), node("b"), account("x"));
    take(&ledger, &a, &budget, 100, 90).await.granted.unwrap();
    assert_eq!(ledger.recalled(&a, at(0)).await.unwrap(), []);
    let refused = take(&ledger, &b, &budget, 100, 20).await.granted.unwrap_err();
    assert_eq!(refused.held, 90);
    assert_eq!(
        ledger.recalled(&a, at(0)).await.unwrap(),
        [(budget.clone(), at(100_000))]
    );
    assert_eq!(ledger.recalled(&a, at(100_000)).await.unwrap(), [], "told once");
    assert_eq!(ledger.recalled(&b, at(0)).await.unwrap(), [], "has nothing to give");
    // What one holds oneself is no reason to ask others.
    take(&ledger, &a, &account("y"), 100, 90).await.granted.unwrap();
    take(&ledger, &a, &account("y"), 100, 20).await.granted.unwrap_err();
    assert_eq!(ledger.recalled(&a, at(100_000)).await.unwrap(), []);
}

async fn what_a_dead_node_held_comes_back(world: World) {
    let ledger = SqlLedger::new(world.db.clone());
    let usage = SqlUsage::new(world.db.clone(), Arc::new(SystemClock));
    let (dead, alive) = (node("dead"), node("alive"));
    for key in ["x", "y"] {
        take(&ledger, &dead, &account(key), 100, 40).await.granted.unwrap();
        take(&ledger, &alive, &account(key), 100, 10).await.granted.unwrap();
    }
    insert(&world, &[charged("r", &dead, 15, &[&account("x")])]).await;
    usage.end_node(&dead).await.unwrap();
    usage.end_node(&dead).await.unwrap();
    assert_eq!(row(&ledger, &account("x")).await, PeriodRow { spent: 15, held: 10 });
    assert_eq!(row(&ledger, &account("y")).await, PeriodRow { spent: 0, held: 10 });
    // A machine that never comes back: its leases go when nobody has heard of it for long.
    take(&ledger, &dead, &account("x"), 100, 20).await.granted.unwrap();
    ledger.keep_alive(&alive, at(200_000)).await.unwrap();
    assert_eq!(ledger.end_stale(at(100_000)).await.unwrap(), 0);
    assert_eq!(ledger.end_stale(at(150_000)).await.unwrap(), 1);
    assert_eq!(row(&ledger, &account("x")).await, PeriodRow { spent: 15, held: 10 });
    assert_eq!(count(&world, LEASES).await, 2, "the living keep theirs");
}

async fn batches_of_many_accounts_may_overlap(world: World) {
    let accounts: Vec<_> = (0..30).map(|at| account(&format!("each|sub=u{at}"))).collect();
    let ledger = SqlLedger::new(world.db.clone());
    for account in &accounts {
        take(&ledger, &node("n0"), account, 1_000_000, 1000)
            .await
            .granted
            .unwrap();
    }
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..4 {
        let (db, accounts) = (world.db.clone(), accounts.clone());
        racers.spawn(async move {
            let usage = SqlUsage::new(db, Arc::new(SystemClock));
            let mut records: Vec<_> = (0..200)
                .map(|at| {
                    charged(
                        &format!("r{at:03}"),
                        &node("n0"),
                        3,
                        &[&accounts[at % 30], &accounts[(at * 7) % 30]],
                    )
                })
                .collect();
            if racer % 2 == 1 {
                records.reverse();
            }
            for records in records.chunks(50) {
                let mut batch = UsageBatch::new();
                for record in records {
                    batch.push(&serde_json::to_string(record).unwrap());
                }
                usage.insert_usage(&batch).await.unwrap();
            }
        });
    }
    while let Some(raced) = racers.join_next().await {
        raced.unwrap();
    }
    for account in &accounts {
        assert_eq!(ledger.reconcile(account, at(1)).await.unwrap(), None, "{account:?}");
        let row = row(&ledger, account).await;
        assert_eq!(row.spent + row.held, 1000, "what was held was spent or is still held");
    }
}

async fn sums_that_do_not_fit_are_put_right(world: World) {
    let ledger = SqlLedger::new(world.db.clone());
    let (a, budget) = (node("a"), account("b"));
    take(&ledger, &a, &budget, 100, 60).await.granted.unwrap();
    insert(&world, &[charged("r", &a, 10, &[&budget])]).await;
    assert_eq!(ledger.reconcile(&budget, at(1)).await.unwrap(), None);
    let right = row(&ledger, &budget).await;
    world.db.execute(BREAK_SUMS, args![]).await.unwrap();
    let repaired = ledger.reconcile(&budget, at(1)).await.unwrap().unwrap();
    assert_eq!(
        (repaired.before, repaired.after),
        (PeriodRow { spent: 17, held: 59 }, right)
    );
    assert_eq!(row(&ledger, &budget).await, right);
}

async fn old_charges_are_folded_and_the_sum_stays(world: World) {
    let ledger = SqlLedger::new(world.db.clone());
    let (a, budget) = (node("a"), account("b"));
    let aged = |id: &str, seconds| UsageRecord {
        time: at(seconds),
        ..charged(id, &a, 10, &[&budget])
    };
    for age in 0..9 {
        insert(&world, &[aged(&format!("r{age}"), 1000 + age)]).await;
    }
    assert_eq!(ledger.fold(at(1006), 4).await.unwrap(), 4);
    assert_eq!(ledger.fold(at(1006), 4).await.unwrap(), 2);
    assert_eq!(ledger.fold(at(1006), 4).await.unwrap(), 0);
    assert_eq!(count(&world, CHARGES).await, 3);
    assert_eq!(ledger.reconcile(&budget, at(1)).await.unwrap(), None);
    assert_eq!(row(&ledger, &budget).await.spent, 90);
}

async fn accounts_are_forgotten_when_nothing_can_come_of_them(world: World) {
    let ledger = SqlLedger::new(world.db.clone());
    let n = node("n");
    let total = Account {
        period: at(0),
        ..account("total")
    };
    let grant = Account {
        key: "grant:g:EUR".to_owned(),
        budget: None,
        period: at(0),
    };
    let charged_day = account("charged");
    insert(&world, &[charged("r", &n, 1, &[&charged_day])]).await;
    for account in [&total, &grant, &account("day")] {
        take(&ledger, &n, account, 100, 10).await.granted.unwrap();
    }
    let later = at(4_000_000_000);
    assert_eq!(
        ledger.forget_accounts(later, 10).await.unwrap(),
        0,
        "all hold or remember something"
    );
    SqlUsage::new(world.db.clone(), Arc::new(SystemClock))
        .end_node(&n)
        .await
        .unwrap();
    assert_eq!(
        ledger.forget_accounts(at(100_000), 10).await.unwrap(),
        0,
        "not old enough"
    );
    assert_eq!(ledger.forget_accounts(later, 10).await.unwrap(), 2);
    for (account, kept) in [
        (&total, true),
        (&grant, false),
        (&account("day"), false),
        (&charged_day, true),
    ] {
        let found = ledger.find_account(&account.key, account.period).await.unwrap();
        assert_eq!(found.is_some(), kept, "{account:?}");
    }
}

async fn a_share_is_told_of_once(world: World) {
    let ledger = SqlLedger::new(world.db.clone());
    let budget = account("b");
    let notice = |share| Notice {
        account: &budget,
        share,
        spent: Nanos(80),
        amount: Nanos(100),
        currency: Currency::parse("EUR").unwrap(),
        at: at(1),
        told: false,
    };
    assert!(ledger.keep_notice(notice(800)).await.unwrap());
    assert!(!ledger.keep_notice(notice(800)).await.unwrap());
    assert!(ledger.keep_notice(notice(1000)).await.unwrap());
    insert(&world, &[charged("r", &node("a"), 80, &[&budget])]).await;
    let changed = ledger.changed_accounts(at(0), 10).await.unwrap();
    assert_eq!(changed.len(), 1);
    assert_eq!((&changed[0].account, changed[0].row.spent), (&budget, 80));
    let later = changed[0].updated_at + Duration::from_micros(1);
    assert_eq!(ledger.changed_accounts(later, 10).await.unwrap(), []);
}
