//! Nothing grows for ever: what is removed when, by how much at once, and what stays.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use resource_gateway::{
    adapters::sql::{SqlLedger, SqlReports, SqlUsage},
    application::retain_usage::RetainUsage,
    domain::{
        ids::{BudgetName, NodeId, TenantId},
        money::{Currency, Nanos},
        usage::{Charge, UsageRecord},
    },
    ports::{
        budget::{Account, BudgetLedger as _, Notice},
        usage::{UsageBatch, UsageStore as _},
        usage_reports::UsageReports as _,
    },
};
use service_kit::{SystemClock, Timestamp};
use sql_kit::{Sql, args, sql};
use test_kit::FixedClock;

use crate::{
    storage::on_both,
    storage_world::{World, full_record},
};

const IDS: Sql = sql!("SELECT request_id FROM usage_record ORDER BY request_id");
const NOTICES: Sql = sql!("SELECT budget_key FROM budget_notice ORDER BY budget_key");
const CHARGES: Sql = sql!("SELECT COUNT(*) FROM budget_charge");
const TABLES: Sql = sql!(
    sqlite: "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    postgres: "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY 1",
);

on_both!(
    usage_rows_go_by_their_age_alone_and_so_many_at_once,
    what_is_kept_is_kept_to_the_microsecond_and_sums_outlive_their_rows,
    more_rows_than_go_at_once_go_one_batch_after_the_other,
    notices_go_with_what_they_are_about,
    every_table_has_its_bound_in_the_documents,
);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn record(id: impl Into<String>, tenant: &str, time: Timestamp) -> UsageRecord {
    UsageRecord {
        time,
        tenant: Some(TenantId::new(tenant)),
        ..full_record(&id.into())
    }
}

async fn insert(world: &World, records: &[UsageRecord]) {
    let mut batch = UsageBatch::new();
    for record in records {
        batch.push(&serde_json::to_string(record).unwrap());
    }
    let store = SqlUsage::new(world.db.clone(), Arc::new(SystemClock));
    store.insert_usage(&batch).await.unwrap();
}

async fn texts(world: &World, sql: Sql) -> Vec<String> {
    let rows: Vec<(String,)> = world.db.all(sql, args![]).await.unwrap();
    rows.into_iter().map(|(text,)| text).collect()
}

fn retain(world: &World, clock: &Arc<FixedClock>, keep: Option<Duration>) -> RetainUsage {
    RetainUsage {
        reports: Arc::new(SqlReports::new(world.db.clone())),
        ledger: Arc::new(SqlLedger::new(world.db.clone())),
        clock: clock.clone(),
        keep,
    }
}

async fn usage_rows_go_by_their_age_alone_and_so_many_at_once(world: World) {
    let records: Vec<_> = (0..9)
        .flat_map(|age| ["a", "b"].map(|tenant| record(format!("{tenant}{age}"), tenant, at(1000 + age))))
        .collect();
    insert(&world, &records).await;
    let reports = SqlReports::new(world.db.clone());
    assert_eq!(reports.delete_usage(at(1000), 5).await.unwrap(), 0, "nothing is older");
    let mut steps = Vec::new();
    while steps.last() != Some(&0) {
        steps.push(reports.delete_usage(at(1006), 5).await.unwrap());
    }
    assert_eq!(steps, [5, 5, 2, 0]);
    assert_eq!(
        texts(&world, IDS).await,
        ["a6", "a7", "a8", "b6", "b7", "b8"],
        "what is not older stays, whoever's it is"
    );
}

async fn what_is_kept_is_kept_to_the_microsecond_and_sums_outlive_their_rows(world: World) {
    const DAY: Duration = Duration::from_hours(24);
    let now = at(1_900_000_000);
    let (clock, edge) = (Arc::new(FixedClock::at(now)), now - DAY);
    let account = Account {
        key: "b|x".to_owned(),
        budget: Some(BudgetName::new("b")),
        period: at(0),
    };
    let charged = |id: &str, time| UsageRecord {
        cost: Some(10),
        node: Some(NodeId::new("n")),
        charges: vec![Charge {
            key: account.key.clone(),
            budget: account.budget.clone(),
            period: account.period,
        }],
        ..record(id, "t", time)
    };
    let before = Timestamp::from_micros(edge.as_micros() - 1);
    insert(
        &world,
        &[charged("older", before), charged("edge", edge), charged("young", now)],
    )
    .await;
    assert_eq!(retain(&world, &clock, None).clean().await.unwrap(), 0, "kept for ever");
    assert_eq!(retain(&world, &clock, Some(DAY)).clean().await.unwrap(), 1);
    assert_eq!(texts(&world, IDS).await, ["edge", "young"]);
    let charges: Vec<(i64,)> = world.db.all(CHARGES, args![]).await.unwrap();
    assert_eq!(charges, [(1,)], "those of the last hour");
    let ledger = SqlLedger::new(world.db.clone());
    let sum = ledger
        .find_account(&account.key, account.period)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(sum.row.spent, 30, "what was spent stays known");
    assert_eq!(ledger.reconcile(&account, now).await.unwrap(), None);
    clock.advance(Duration::from_micros(1));
    assert_eq!(retain(&world, &clock, Some(DAY)).clean().await.unwrap(), 1);
    assert_eq!(texts(&world, IDS).await, ["young"]);
}

async fn more_rows_than_go_at_once_go_one_batch_after_the_other(world: World) {
    let records: Vec<_> = (0..2100)
        .map(|number| record(format!("r{number}"), "t", at(1000)))
        .collect();
    for part in records.chunks(500) {
        insert(&world, part).await;
    }
    insert(&world, &[record("young", "t", at(1_900_000_000))]).await;
    let clock = Arc::new(FixedClock::at(at(1_900_000_000)));
    let gone = retain(&world, &clock, Some(Duration::from_hours(1)))
        .clean()
        .await
        .unwrap();
    assert_eq!(gone, 2100);
    assert_eq!(texts(&world, IDS).await, ["young"]);
}

async fn notices_go_with_what_they_are_about(world: World) {
    let ledger = SqlLedger::new(world.db.clone());
    let keep = async |key: &str, period, told| {
        let account = Account {
            key: key.to_owned(),
            budget: Some(BudgetName::new("b")),
            period,
        };
        let notice = Notice {
            account: &account,
            share: 800,
            spent: Nanos(80),
            amount: Nanos(100),
            currency: Currency::parse("EUR").unwrap(),
            at: told,
            told: false,
        };
        assert!(ledger.keep_notice(notice).await.unwrap());
    };
    keep("day-old", at(500), at(1000)).await;
    keep("day-older", at(400), at(900)).await;
    keep("day-young", at(1500), at(2000)).await;
    // A total is told of once in its life: forgotten, it would be told again.
    keep("total", at(0), at(900)).await;
    ledger.forget_accounts(at(1001), 1).await.unwrap();
    assert_eq!(
        texts(&world, NOTICES).await,
        ["day-old", "day-young", "total"],
        "so many at once"
    );
    ledger.forget_accounts(at(1001), 1).await.unwrap();
    assert_eq!(texts(&world, NOTICES).await, ["day-young", "total"]);
    ledger.forget_accounts(at(2000), 9).await.unwrap();
    assert_eq!(texts(&world, NOTICES).await, ["day-young", "total"], "not older");
}

/// Whoever adds a table says what keeps it small.
async fn every_table_has_its_bound_in_the_documents(world: World) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/retention.md");
    let document = std::fs::read_to_string(path).unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    let told: BTreeSet<_> = rows
        .flat_map(|row| row.split(" |").next().unwrap().split(['`', ',', ' ']))
        .collect();
    let tables = texts(&world, TABLES).await;
    assert!(tables.len() > 20, "{tables:?}");
    let missing: Vec<_> = tables.iter().filter(|table| !told.contains(table.as_str())).collect();
    assert_eq!(missing, Vec::<&String>::new());
}
