//! News of budgets that run out: told once, by one of many nodes, until they are taken.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use resource_gateway::{
    adapters::sql::SqlLedger,
    domain::{
        ids::BudgetName,
        money::{Currency, Nanos},
    },
    ports::{
        budget::{Account, BudgetLedger as _, Notice},
        jobs::Told,
        notices::{DueNotice, NoticeOutbox as _},
    },
};
use serde_json::{Value, json};
use service_kit::{Clock as _, SystemClock, Timestamp};
use sql_kit::{Db, Options, Sql, args, sql};
use sql_test_kit::TestDatabase;

use crate::{
    admin::{get, problem, put, send, token},
    budgets::PRICES,
    job_webhooks::{Hooks, signature, tell_loopback},
    running::{Running, chat},
    storage_world::World,
};

/// Notices that wait for another attempt, and not for the end of one.
const PUT_OFF: Sql = sql!("SELECT COUNT(*) FROM budget_notice WHERE state = 'pending' AND attempts = 1 AND due < ?");
const STATES: Sql = sql!("SELECT state, attempts FROM budget_notice ORDER BY share");

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            use sql_test_kit::TestDatabase;
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(TestDatabase::sqlite()).await; })+
        }
        mod postgres {
            use sql_test_kit::TestDatabase;
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(TestDatabase::postgres().await).await; })+
        }
    };
}

on_both!(
    each_share_is_told_once_by_one_of_two_nodes,
    a_receiver_that_comes_up_late_is_told_by_whoever_lives_then,
    a_notice_is_in_the_hands_of_one_node_at_a_time,
);

/// A soft budget of ten calls, told at half of it and at its end.
fn quota(url: &str) -> String {
    format!(
        "[[quota]]\nname = \"ten\"\ninterface = \"echo\"\namount = \"0.00231\"\ncurrency = \"EUR\"\nperiod = \"month\"\n\
         hard = false\nnotify_at = [0.5, 1]\nnotify_url = \"{url}\"\n"
    )
}

/// Another that is told when one call was made.
fn one_call(name: &str, url: &str) -> String {
    format!(
        "[[quota]]\nname = \"{name}\"\ninterface = \"echo\"\namount = \"0.0001\"\ncurrency = \"EUR\"\nperiod = \"month\"\n\
         hard = false\nnotify_at = [1]\nnotify_url = \"{url}\"\n"
    )
}

async fn start(database: &TestDatabase, url: &str) -> Running {
    Running::start_at(Arc::new(SystemClock), &(PRICES.to_owned() + &quota(url)), |config| {
        config.database.url.clone_from(&database.url);
        tell_loopback(config);
    })
    .await
}

/// Retries come after five seconds, so longer than other tests wait.
async fn until(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !probe().await {
        assert!(begin.elapsed() < Duration::from_secs(20), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn states(database: &TestDatabase) -> Vec<(String, i64)> {
    let db = Db::connect(&database.url, &Options::default()).await.unwrap();
    let states = db.all(STATES, args![]).await.unwrap();
    db.close().await;
    states
}

async fn each_share_is_told_once_by_one_of_two_nodes(database: TestDatabase) {
    let (hooks, url) = Hooks::start(&[]).await;
    let here = start(&database, &url).await;
    let there = here.another().await;
    let nodes = [&here, &there];
    for answer in join_all((0..12).map(|at| nodes[at % 2].chat("echo"))).await {
        answer.ok();
    }
    until("both shares are told", async || hooks.seen().len() >= 2).await;
    let delivered = vec![("delivered".to_owned(), 1), ("delivered".to_owned(), 1)];
    until("and that is written down", async || {
        states(&database).await == delivered
    })
    .await;
    // Each tells something else by itself, so it has looked once more at what there is to be told.
    let tells = async |node: &Running, name: &str, told: usize| {
        node.apply(&one_call(name, &url)).await;
        node.chat("echo").await.ok();
        until("the other share is told", async || hooks.seen().len() >= told).await;
        let seen = hooks.seen();
        let last: Value = serde_json::from_str(&seen[told - 1].1).unwrap();
        assert_eq!((seen.len(), &last["budget"]), (told, &json!(name)));
    };
    here.stop().await;
    tells(&there, "third", 3).await;
    let again = there.another().await;
    there.stop().await;
    tells(&again, "fourth", 4).await;
    let seen = &hooks.seen()[..2];
    let secret = get(&again, "/v1/budgets/ten/webhook-secret").await.ok();
    let secret = secret["secret"].as_str().unwrap();
    let mut told = Vec::new();
    for (headers, body) in seen {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let wanted = signature(secret, &header("webhook-id"), &header("webhook-timestamp"), body);
        assert_eq!(header("webhook-signature"), wanted);
        assert_eq!(header("content-type"), "application/json");
        let news: Value = serde_json::from_str(body).unwrap();
        assert_eq!(news["id"], header("webhook-id"));
        for (member, value) in [
            ("object", json!("budget_notice")),
            ("budget", json!("ten")),
            ("key", json!("ten")),
            ("amount", json!("0.00231")),
            ("currency", json!("EUR")),
            ("period", json!("month")),
            ("hard", json!(false)),
        ] {
            assert_eq!(news[member], value, "{member}");
        }
        assert!(
            news["reached_at"].is_i64() && news["period_start"].is_i64() && news["spent"].is_string(),
            "{body}"
        );
        told.push(news["share"].as_f64().unwrap());
    }
    told.sort_by(f64::total_cmp);
    assert_eq!(told, [0.5, 1.0]);
    let ids: BTreeSet<_> = seen
        .iter()
        .map(|(headers, _)| headers["webhook-id"].clone().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 2);
}

async fn a_receiver_that_comes_up_late_is_told_by_whoever_lives_then(database: TestDatabase) {
    let port = test_kit::redis::free_port();
    let first = start(&database, &format!("http://127.0.0.1:{port}/hook?a=b")).await;
    for _ in 0..6 {
        first.chat("echo").await.ok();
    }
    let soon = SystemClock.now() + Duration::from_secs(30);
    let db = Db::connect(&database.url, &Options::default()).await.unwrap();
    until("the first attempt has failed", async || {
        let (count,): (i64,) = db.one(PUT_OFF, args![soon.as_micros()]).await.unwrap();
        count == 1
    })
    .await;
    db.close().await;
    first.stop().await;
    let second = first.another().await;
    let (hooks, _) = Hooks::start_at(port, &[]).await;
    until("it is told after all", async || {
        states(&database).await == [("delivered".to_owned(), 2)]
    })
    .await;
    assert_eq!(hooks.seen().len(), 1);
    second.stop().await;
}

async fn a_notice_is_in_the_hands_of_one_node_at_a_time(database: TestDatabase) {
    let world = World::over(database).await;
    let ledger = SqlLedger::new(world.db.clone());
    let at = |seconds: i64| Timestamp::from_seconds(1_900_000_000 + seconds);
    let account = Account {
        key: "b|sub=a".to_owned(),
        budget: Some(BudgetName::new("b")),
        period: at(0),
    };
    for (share, told) in [(500, false), (800, true), (1000, true)] {
        let notice = Notice {
            account: &account,
            share,
            spent: Nanos(80),
            amount: Nanos(100),
            currency: Currency::parse("EUR").unwrap(),
            at: at(i64::from(share)),
            told,
        };
        assert!(ledger.keep_notice(notice.clone()).await.unwrap());
        assert!(!ledger.keep_notice(notice).await.unwrap());
    }
    assert_eq!(
        ledger.claim_notice(at(799), at(900)).await.unwrap(),
        None,
        "it is not due"
    );
    let racers = join_all((0..8).map(|_| ledger.claim_notice(at(2000), at(2060)))).await;
    let mut claimed: Vec<DueNotice> = racers.into_iter().filter_map(Result::unwrap).collect();
    claimed.sort_by_key(|notice| notice.share);
    let shares: Vec<_> = claimed.iter().map(|notice| (notice.share, notice.attempts)).collect();
    assert_eq!(shares, [(800, 1), (1000, 1)]);
    let [first, second] = claimed.as_slice() else { panic!() };
    assert_eq!(
        *first,
        DueNotice {
            key: account.key.clone(),
            period: account.period,
            share: 800,
            budget: BudgetName::new("b"),
            spent: Nanos(80),
            amount: Nanos(100),
            currency: Currency::parse("EUR").unwrap(),
            at: at(800),
            attempts: 1,
        }
    );
    assert!(ledger.note_notice(second, Told::Delivered).await.unwrap());
    // The node of the other has died: after the lease another node has it, and the first one's word counts no more.
    assert_eq!(ledger.claim_notice(at(2059), at(2120)).await.unwrap(), None);
    let again = ledger.claim_notice(at(2060), at(2120)).await.unwrap().unwrap();
    assert_eq!((again.share, again.attempts), (800, 2));
    assert!(!ledger.note_notice(first, Told::Delivered).await.unwrap());
    assert!(ledger.note_notice(&again, Told::Again(at(3000))).await.unwrap());
    assert_eq!(ledger.claim_notice(at(2999), at(3060)).await.unwrap(), None);
    let last = ledger.claim_notice(at(3000), at(3060)).await.unwrap().unwrap();
    assert!(ledger.note_notice(&last, Told::Dead).await.unwrap());
    assert_eq!(ledger.claim_notice(at(9999), at(9999)).await.unwrap(), None);
}

#[tokio::test]
async fn who_is_told_is_allowed_by_the_operator_written_back_and_needs_something_to_be_told() {
    let world = Running::start_at(Arc::new(SystemClock), PRICES, tell_loopback).await;
    let path = "/v1/budgets/mine";
    let form = |url: &str| {
        json!({"interface": "echo", "tenant": "acme", "amount": "5", "currency": "EUR", "period": "day",
            "notify_at": [1.0], "notify_url": url})
    };
    for url in [
        "https://example.com/",
        "http://127.0.0.2/",
        "ftp://127.0.0.1/",
        "http://u@127.0.0.1/",
        "nonsense",
    ] {
        let refused = problem(&put(&world, path, &form(url)).await, 422, "invalid");
        assert_eq!(refused["errors"][0]["field"], "notify_url", "{url}: {refused}");
    }
    let mut silent = form("http://127.0.0.1:1/hook");
    silent["notify_at"] = json!([]);
    let refused = problem(&put(&world, path, &silent).await, 422, "invalid");
    assert_eq!(refused["errors"][0]["field"], "notify_url", "{refused}");
    assert_eq!(
        put(&world, path, &form("http://127.0.0.1:1/hook?a=b")).await.status,
        201
    );
    let read = get(&world, path).await.ok();
    assert_eq!(read["notify_url"], "http://127.0.0.1:1/hook?a=b");

    let secret = async |tenant: &str, permission: &str| {
        let token = token(&world, tenant, &[permission]);
        let url = "/v1/budgets/mine/webhook-secret";
        send(&world, reqwest::Method::GET, url, &token, &[], None).await
    };
    let own = secret("acme", "budget:write").await.ok();
    assert_eq!(own, get(&world, "/v1/budgets/mine/webhook-secret").await.ok());
    problem(&secret("acme", "budget:read").await, 403, "permission_denied");
    problem(&secret("other", "budget:write").await, 404, "not_found");
    let mut quiet = form("");
    quiet.as_object_mut().unwrap().remove("notify_url");
    put(&world, path, &quiet).await.ok();
    problem(&secret("acme", "budget:write").await, 404, "not_found");
    // The same name of another tenant has another secret.
    let mut other = form("http://127.0.0.1:1/hook");
    other["tenant"] = "other".into();
    put(&world, path, &other).await.ok();
    assert_ne!(secret("other", "budget:write").await.ok(), own);
    world
        .post("/v1/chat/completions", &world.token(), &chat("echo"))
        .await
        .ok();
}
