//! One contract for what counts requests: the store of one process, and Redis in each way of keeping it alive.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use resource_gateway::{
    adapters::{
        limits_local::LocalRates,
        redis::{Channel, Link, Purpose, RedisRates},
    },
    domain::{ids::Subject, limits::Measure, redis_place::RedisPlace},
    ports::rate_store::{Bucket, BucketKey, End, Mode, RateStore, Taken, Verdict, Wanted, Who},
};
use service_kit::{Entropy, SystemClock, SystemEntropy};
use test_kit::{
    certificates::{Recipe, Usage},
    redis::{RedisCluster, RedisSentinel, RedisServer},
};
use tokio_util::sync::CancellationToken;

/// Renewed every 100 ms.
const LEASE: Duration = Duration::from_millis(300);

/// A node's store, with what runs beside it.
struct Node {
    store: Arc<RedisRates>,
    channel: Arc<Channel>,
    stop: CancellationToken,
}

impl Node {
    fn new(url: &str, prefix: &str) -> Self {
        Self::trusting(None, url, prefix)
    }

    fn trusting(extra_ca: Option<String>, url: &str, prefix: &str) -> Self {
        // Longer than in service: what is tested is not how quick this machine is.
        let patience = Duration::from_millis(500);
        let place = RedisPlace::parse(url).unwrap();
        let link = Arc::new(Link::new(place, extra_ca.map(String::into_bytes), patience));
        let channel = Channel::new(link, prefix.to_owned(), &Purpose::LIMITS);
        let store = Arc::new(RedisRates::new(Arc::clone(&channel), LEASE, &SystemEntropy));
        let (stop, runs, looks) = (CancellationToken::new(), Arc::clone(&store), Arc::clone(&channel));
        let until = stop.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with its node, or with the test's runtime"
        )]
        tokio::spawn(async move { tokio::join!(runs.run(until.clone()), until.run_until_cancelled(looks.watch())) });
        Self { store, channel, stop }
    }

    async fn until(&self, what: &str, mut probe: impl AsyncFnMut(&RedisRates) -> bool) {
        for _ in 0..1000 {
            if probe(&self.store).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not in ten seconds: {what}: {:?}", self.store.status());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The server that the tests are given; `make test` starts it.
pub(crate) fn given() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the server is, only the environment knows"
    )]
    let url = std::env::var("HEXGATE_TEST_REDIS_URL");
    url.unwrap_or_else(|_| panic!("HEXGATE_TEST_REDIS_URL is not set: scripts/test.sh starts a Redis and sets it"))
}

fn bucket(measure: Measure, limit: u32, sub: &str) -> Bucket {
    let who = Who {
        sub: Some(Subject::new(sub)),
        ..Who::default()
    };
    Bucket {
        key: BucketKey {
            rule: "quota/q".into(),
            measure,
            who,
        },
        limit,
        mode: Mode::Enforced,
        cost: 1,
    }
}

fn wanted(buckets: impl IntoIterator<Item = Bucket>) -> Wanted {
    Wanted {
        part: "all".into(),
        buckets: buckets.into_iter().collect(),
    }
}

async fn ask(store: &dyn RateStore, wanted: &Wanted) -> Verdict {
    store.acquire(wanted).await.unwrap()
}

async fn granted(store: &dyn RateStore, wanted: &Wanted) -> bool {
    ask(store, wanted).await.granted
}

async fn soon(store: &dyn RateStore, wanted: &Wanted) -> Verdict {
    for _ in 0..200 {
        let verdict = ask(store, wanted).await;
        if verdict.granted {
            return verdict;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not granted in two seconds");
}

/// What every store keeps. `nodes` count together.
async fn contract(nodes: &[&dyn RateStore]) {
    exactly_the_limit_passes_at_once(nodes).await;
    all_is_taken_or_nothing(nodes).await;
    what_is_over_in_shadow_mode_is_skipped(nodes).await;
    tokens_are_set_right_at_the_end(nodes).await;
    slots_come_free(nodes).await;
    the_wait_is_as_long_as_it_says(nodes).await;
}

fn node<'n>(nodes: &[&'n dyn RateStore], at: usize) -> &'n dyn RateStore {
    nodes[at % nodes.len()]
}

async fn exactly_the_limit_passes_at_once(nodes: &[&dyn RateStore]) {
    for (measure, limit) in [
        (Measure::RequestsPerMinute, 17),
        (Measure::TokensPerMinute, 5),
        (Measure::Concurrency, 9),
    ] {
        let one = wanted([bucket(measure, limit, "burst")]);
        let asked = (0..64).map(|at| ask(node(nodes, at), &one));
        let mut remaining: Vec<_> = join_all(asked)
            .await
            .into_iter()
            .filter(|verdict| verdict.granted)
            .map(|verdict| verdict.standings[0].remaining)
            .collect();
        remaining.sort_unstable();
        assert_eq!(remaining, (0..u64::from(limit)).collect::<Vec<_>>(), "{measure:?}");
        let other = wanted([bucket(measure, limit, "somebody else")]);
        assert!(granted(nodes[0], &other).await);
    }
}

async fn all_is_taken_or_nothing(nodes: &[&dyn RateStore]) {
    let full = bucket(Measure::RequestsPerMinute, 1, "full");
    assert!(granted(nodes[0], &wanted([full.clone()])).await);
    let others = [
        bucket(Measure::RequestsPerMinute, 3, "untouched"),
        bucket(Measure::Concurrency, 1, "untouched"),
    ];
    let mut all = others.to_vec();
    all.insert(1, full);
    for at in 0..5 {
        let verdict = ask(node(nodes, at), &wanted(all.clone())).await;
        let over: Vec<_> = verdict.standings.iter().map(|standing| standing.over).collect();
        assert!(!verdict.granted && over == [false, true, false], "{verdict:?}");
        assert_eq!(verdict.standings[0].remaining, 3);
    }
    let verdict = ask(nodes[0], &wanted(others)).await;
    assert!(verdict.granted && verdict.standings[0].remaining == 2, "{verdict:?}");
}

async fn what_is_over_in_shadow_mode_is_skipped(nodes: &[&dyn RateStore]) {
    let mut shadow = bucket(Measure::RequestsPerMinute, 1, "shadow");
    shadow.mode = Mode::Shadow;
    let both = wanted([shadow, bucket(Measure::RequestsPerMinute, 10, "beside")]);
    for (at, over) in [(0, false), (1, true), (2, true)] {
        let verdict = ask(node(nodes, at), &both).await;
        assert!(verdict.granted && verdict.standings[0].over == over, "{verdict:?}");
        let left = 9 - u64::try_from(at).unwrap();
        assert_eq!(verdict.standings[1].remaining, left);
    }
}

/// Until a store has been told of an end, it answers as if there had been none.
async fn remaining(store: &dyn RateStore, tokens: &Bucket, wanted_remaining: u64) {
    let mut seen = None;
    for _ in 0..200 {
        let asked = Bucket {
            cost: 0,
            ..tokens.clone()
        };
        seen = Some(ask(store, &wanted([asked])).await.standings[0].remaining);
        if seen == Some(wanted_remaining) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{seen:?} instead of {wanted_remaining}");
}

async fn tokens_are_set_right_at_the_end(nodes: &[&dyn RateStore]) {
    let bucket = |sub: &str, cost: u64| Bucket {
        cost,
        // So few a minute that next to none come back while the test runs.
        ..bucket(Measure::TokensPerMinute, 300, sub)
    };
    for (sub, used, left) in [
        ("fewer", 20, 280),
        ("none", 0, 300),
        ("more", 250, 50),
        ("far more", 1_000_000, 0),
    ] {
        let tokens = bucket(sub, 100);
        let hundred = wanted([tokens.clone()]);
        let verdict = ask(nodes[0], &hundred).await;
        assert_eq!(verdict.standings[0].remaining, 200);
        let taken = Taken {
            wanted: hundred,
            verdict,
        };
        nodes[0].settle(taken, End::Used { tokens: used });
        // A token comes back every 200 ms, so what is left may already be one or two more.
        let store = node(nodes, 1);
        let mut seen = 0;
        for _ in 0..200 {
            let asked = Bucket {
                cost: 0,
                ..tokens.clone()
            };
            seen = ask(store, &wanted([asked])).await.standings[0].remaining;
            if (left..left + 3).contains(&seen) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!((left..left + 3).contains(&seen), "{sub}: {seen}");
    }
    // Whoever used far more waits for a period more, and no longer.
    let verdict = ask(nodes[0], &wanted([bucket("far more", 1)])).await;
    let wait = verdict.standings[0].wait;
    assert!(
        !verdict.granted && wait > Duration::from_secs(55) && wait < Duration::from_secs(61),
        "{wait:?}"
    );
    // What never began is given back whole.
    let undone = bucket("undone", 100);
    let both = wanted([undone.clone(), self::bucket(Measure::RequestsPerMinute, 3, "undone")]);
    let verdict = ask(nodes[0], &both).await;
    let requests = both.buckets[1].clone();
    nodes[0].settle(Taken { wanted: both, verdict }, End::Undone);
    remaining(node(nodes, 1), &undone, 300).await;
    remaining(node(nodes, 1), &requests, 3).await;
}

async fn slots_come_free(nodes: &[&dyn RateStore]) {
    let one = wanted([bucket(Measure::Concurrency, 1, "slot")]);
    let mut verdict = ask(nodes[0], &one).await;
    for at in 0..4 {
        assert!(!granted(node(nodes, at), &one).await);
        let taken = Taken {
            wanted: one.clone(),
            verdict,
        };
        node(nodes, at).settle(taken, End::Used { tokens: 5 });
        verdict = soon(node(nodes, at + 1), &one).await;
    }
    assert_eq!(verdict.standings[0].remaining, 0);
}

async fn the_wait_is_as_long_as_it_says(nodes: &[&dyn RateStore]) {
    let two = wanted([bucket(Measure::RequestsPerSecond, 2, "waits")]);
    let wait = loop {
        let verdict = ask(nodes[0], &two).await;
        if !verdict.granted {
            break verdict.standings[0].wait;
        }
    };
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(500), "{wait:?}");
    tokio::time::sleep(wait).await;
    assert!(granted(node(nodes, 1), &two).await);
    assert!(!granted(node(nodes, 2), &two).await);
}

#[tokio::test]
async fn one_process_keeps_the_contract() {
    let store = LocalRates::new(Arc::new(SystemClock));
    contract(&[&store]).await;
}

#[tokio::test]
async fn redis_keeps_the_contract_for_three_nodes() {
    let (url, prefix) = (given(), (&SystemEntropy as &dyn Entropy).id());
    let nodes = [(); 3].map(|()| Node::new(&url, &prefix));
    let stores = nodes.each_ref().map(|node| node.store.as_ref() as &dyn RateStore);
    contract(&stores).await;
}

#[tokio::test]
async fn a_redis_behind_sentinels_keeps_the_contract_and_so_does_its_successor() {
    let mut servers = RedisSentinel::start();
    let nodes = [(); 2].map(|()| Node::new(&servers.url(), "before"));
    contract(&nodes.each_ref().map(|node| node.store.as_ref() as &dyn RateStore)).await;
    servers.master.kill();
    let one = wanted([bucket(Measure::RequestsPerMinute, 100, "after")]);
    join_all(nodes.iter().map(async |node| {
        node.until("the loss shows", async |store| store.acquire(&one).await.is_err())
            .await;
        node.until("the replica is master", async |store| {
            store.acquire(&one).await.is_ok() && store.status().error.is_none()
        })
        .await;
    }))
    .await;
    drop(nodes);
    let nodes = [(); 2].map(|()| Node::new(&servers.url(), "after"));
    contract(&nodes.each_ref().map(|node| node.store.as_ref() as &dyn RateStore)).await;
}

#[tokio::test]
async fn a_cluster_keeps_the_contract_and_loses_only_what_is_on_a_lost_node() {
    let mut cluster = RedisCluster::start();
    let nodes = [(); 3].map(|()| Node::new(&cluster.url(), "c"));
    let stores = nodes.each_ref().map(|node| node.store.as_ref() as &dyn RateStore);
    contract(&stores).await;
    let parts: Vec<Wanted> = (0..30)
        .map(|part| Wanted {
            part: format!("interface/{part}").into(),
            buckets: vec![
                bucket(Measure::RequestsPerMinute, 1000, "a"),
                bucket(Measure::Concurrency, 1000, "b"),
            ],
        })
        .collect();
    for part in &parts {
        assert!(granted(stores[0], part).await);
    }
    for node in &cluster.nodes {
        let keys: usize = node.ask("DBSIZE").unwrap()[1..].parse().unwrap();
        assert!(keys > 3, "the parts lie on all nodes");
    }
    cluster.nodes[2].kill();
    let answered = async |store: &RedisRates| {
        let all = join_all(parts.iter().map(|part| store.acquire(part))).await;
        all.iter().filter(|answer| answer.is_ok()).count()
    };
    nodes[0]
        .until("the loss shows", async |store| answered(store).await < parts.len())
        .await;
    nodes[0]
        .until("what is on the others is counted", async |store| {
            let count = answered(store).await;
            (10..parts.len() - 3).contains(&count) && store.status().error.is_some()
        })
        .await;
    cluster.nodes[2].restart();
    for node in &nodes {
        node.until("all parts are counted again", async |store| {
            answered(store).await == parts.len() && store.status().error.is_none()
        })
        .await;
    }
}

#[tokio::test]
async fn slots_of_a_node_that_died_come_free_and_those_of_a_living_one_do_not() {
    let (url, prefix) = (given(), (&SystemEntropy as &dyn Entropy).id());
    let nodes = [(); 3].map(|()| Node::new(&url, &prefix));
    let two = wanted([bucket(Measure::Concurrency, 2, "leased")]);
    assert!(granted(nodes[0].store.as_ref(), &two).await);
    assert!(granted(nodes[1].store.as_ref(), &two).await);
    // The first renews its lease for as long as it lives.
    let [first, second, third] = &nodes;
    second.stop.cancel();
    tokio::time::sleep(LEASE * 3).await;
    let verdict = ask(third.store.as_ref(), &two).await;
    assert!(verdict.granted && verdict.standings[0].remaining == 0, "{verdict:?}");
    first.stop.cancel();
    third.stop.cancel();
    tokio::time::sleep(LEASE * 2).await;
    let verdict = ask(third.store.as_ref(), &two).await;
    assert_eq!(verdict.standings[0].remaining, 1);
}

#[tokio::test]
async fn a_slot_that_nobody_waited_for_comes_free() {
    let server = RedisServer::start();
    let node = Node::new(&server.url(), "u");
    let one = wanted([bucket(Measure::Concurrency, 1, "left")]);
    assert_eq!(
        soon(node.store.as_ref(), &wanted([bucket(Measure::Concurrency, 9, "warm")]))
            .await
            .standings[0]
            .remaining,
        8
    );
    server.freeze();
    // Asked for and left: the server will take the slot when it goes on.
    let left = tokio::time::timeout(Duration::from_millis(50), node.store.acquire(&one)).await;
    assert!(left.is_err());
    server.thaw();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(soon(node.store.as_ref(), &one).await.granted);
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let server = RedisServer::start();
    let node = Node::new(&server.url(), "s");
    let ten = wanted([
        bucket(Measure::RequestsPerMinute, 10, "x"),
        bucket(Measure::Concurrency, 1, "x"),
    ]);
    for used in 1..=3 {
        assert_eq!(server.ask("SCRIPT FLUSH").as_deref(), Some("+OK"));
        let verdict = soon(node.store.as_ref(), &ten).await;
        assert_eq!(verdict.standings[0].remaining, 10 - used);
        assert_eq!(server.ask("SCRIPT FLUSH").as_deref(), Some("+OK"));
        let taken = Taken {
            wanted: ten.clone(),
            verdict,
        };
        node.store.settle(taken, End::Used { tokens: 0 });
    }
    assert!(node.store.status().error.is_none());
}

#[tokio::test]
async fn a_restart_of_redis_costs_no_refusal_when_it_answers_again() {
    let mut server = RedisServer::start();
    let node = Node::new(&server.url(), "r");
    let ten = wanted([bucket(Measure::RequestsPerMinute, 10, "x")]);
    assert!(granted(node.store.as_ref(), &ten).await);
    server.restart();
    // Whether a look or this call finds the connection gone: it is made again, and the call goes through.
    node.until("it is counted together again", async |store| {
        store.acquire(&ten).await.is_ok()
    })
    .await;
    assert!(node.store.status().error.is_none());
}

#[tokio::test]
async fn no_request_waits_for_a_redis_that_does_not_answer() {
    let server = RedisServer::start();
    let node = Node::new(&server.url(), "f");
    let ten = wanted([bucket(Measure::RequestsPerMinute, 1000, "x")]);
    assert!(granted(node.store.as_ref(), &ten).await);
    server.freeze();
    let begin = std::time::Instant::now();
    let failed = join_all((0..50).map(|_| node.store.acquire(&ten))).await;
    assert!(failed.iter().all(Result::is_err));
    for _ in 0..1000 {
        assert!(node.store.acquire(&ten).await.is_err());
    }
    // If each waited for itself, this would be nine minutes; if the first fifty did so one by one, 25 seconds.
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    assert!(node.store.status().error.is_some());
    server.thaw();
    node.until("it is counted together again", async |store| {
        store.acquire(&ten).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn keys_go_when_nobody_uses_them() {
    let server = RedisServer::start();
    let node = Node::new(&server.url(), "k");
    for caller in 0..20 {
        let name = caller.to_string();
        let buckets = [
            bucket(Measure::RequestsPerSecond, 10, &name),
            bucket(Measure::Concurrency, 10, &name),
        ];
        assert!(granted(node.store.as_ref(), &wanted(buckets)).await);
    }
    node.stop.cancel();
    node.until("all keys are gone", async |_| {
        server.ask("DBSIZE").as_deref() == Some(":0")
    })
    .await;
}

#[tokio::test]
async fn redis_is_reached_by_tls_with_a_login_and_strangers_are_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Recipe {
        name: "An authority of one's own",
        authority: true,
        ..Recipe::default()
    }
    .make();
    let identity = Recipe {
        name: "localhost",
        issuer: Some(&authority),
        usage: Some(Usage::Server),
        ..Recipe::default()
    }
    .make();
    let files = identity.files(dir.path());
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().unwrap().display().to_string();
    let port = test_kit::redis::free_port().to_string();
    let server = RedisServer::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &path(&files.cert),
        "--tls-key-file",
        &path(&files.key),
        "--tls-ca-cert-file",
        &path(&files.cert),
        "--tls-auth-clients",
        "no",
    ]);
    let user = server.ask("ACL SETUSER gateway on >pass%word ~hexgate-t:* +@all");
    assert_eq!(user.as_deref(), Some("+OK"));
    let url = format!("rediss://gateway:pass%25word@localhost:{port}/2");
    let ten = wanted([bucket(Measure::RequestsPerMinute, 10, "x")]);
    let stranger = Node::new(&url, "hexgate-t");
    assert!(stranger.store.acquire(&ten).await.is_err());
    let wrong = Node::trusting(Some(authority.pem()), &url.replace("word", "w"), "hexgate-t");
    assert!(wrong.store.acquire(&ten).await.is_err());
    let node = Node::trusting(Some(authority.pem()), &url, "hexgate-t");
    node.until("it is reached", async |store| store.acquire(&ten).await.is_ok())
        .await;
    assert!(node.channel.check().await.is_ok());
    for refused in [stranger, wrong] {
        let error = refused.channel.check().await.unwrap_err();
        assert!(!error.contains("pass%word"), "{error}");
    }
}
