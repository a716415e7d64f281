//! One contract each for what remembers nonces, idempotency keys and answers: in one process, and in Redis for all nodes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, StatusCode};
use resource_gateway::{
    adapters::{
        local_answers::LocalAnswers,
        local_nonces::LocalNonces,
        local_replies::LocalReplies,
        redis::{Channel, Link, Purpose, RedisAnswers, RedisNonces, RedisReplies, ReplyTimes},
    },
    domain::{
        ids::{AccessKeyId, RequestId},
        recorded::Recorded,
        redis_place::RedisPlace,
    },
    ports::{
        access_keys::{NonceMemory, SignedNonce, Spent},
        replies::{AnswerKey, Answers, Beginning, Replies},
    },
};
use service_kit::{Entropy, SystemClock, SystemEntropy};
use test_kit::redis::{RedisCluster, RedisSentinel, RedisServer};
use token_keys::MasterKey;
use tokio_util::sync::CancellationToken;

use crate::{rate_stores::given, stub_issuer::now};

/// Renewed every 100 ms.
const LEASE: Duration = Duration::from_millis(300);
const DAY: Duration = Duration::from_hours(24);
const SHARE: usize = 20;

/// What one gateway has of the shared memory, with what runs beside it.
struct Node {
    nonces: Arc<RedisNonces>,
    replies: Arc<RedisReplies>,
    answers: Arc<RedisAnswers>,
    stop: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Nodes of one installation.
struct Nodes {
    all: Vec<Node>,
    _keys: tempfile::TempDir,
}

impl Nodes {
    async fn start(url: &str, count: usize) -> Self {
        let (keys, prefix) = (tempfile::tempdir().unwrap(), (&SystemEntropy as &dyn Entropy).id());
        let master = Arc::new(MasterKey::load_or_create(keys.path()).unwrap());
        let all: Vec<_> = (0..count).map(|_| Node::start(url, &prefix, &master)).collect();
        let nodes = Self { all, _keys: keys };
        nodes.until_together().await;
        nodes
    }

    /// Until nonces that are signed now are remembered, everywhere and in every part.
    async fn until_together(&self) {
        for node in &self.all {
            until("nonces are remembered", async || {
                let spent = join_all((0..40).map(|at| {
                    let key = format!("warm-{at}");
                    async move { spend(node.nonces.as_ref(), &key, &fresh_nonce()).await }
                }));
                spent.await.iter().all(|spent| *spent == Spent::Fresh)
            })
            .await;
        }
    }

    fn nonces(&self) -> Vec<&dyn NonceMemory> {
        self.all.iter().map(|node| node.nonces.as_ref() as _).collect()
    }

    fn replies(&self) -> Vec<&dyn Replies> {
        self.all.iter().map(|node| node.replies.as_ref() as _).collect()
    }

    fn answers(&self) -> Vec<&dyn Answers> {
        self.all.iter().map(|node| node.answers.as_ref() as _).collect()
    }

    async fn keep_the_contracts(&self) {
        nonces_contract(&self.nonces()).await;
        replies_contract(&self.replies()).await;
        answers_contract(&self.answers()).await;
    }
}

impl Node {
    fn start(url: &str, prefix: &str, master: &Arc<MasterKey>) -> Self {
        // Longer than in service: what is tested is not how quick this machine is.
        let patience = Duration::from_millis(500);
        let link = || Arc::new(Link::new(RedisPlace::parse(url).unwrap(), None, patience));
        let channel = |purpose| Channel::new(link(), prefix.to_owned(), purpose);
        let (asked, kept) = (channel(&Purpose::NONCES), channel(&Purpose::ANSWERS));
        let times = ReplyTimes { ttl: DAY, lease: LEASE };
        let nonces = Arc::new(RedisNonces::new(asked.clone(), SHARE));
        let replies = Arc::new(RedisReplies::new(kept.clone(), master.clone(), times, &SystemEntropy));
        let answers = Arc::new(RedisAnswers::new(kept.clone(), master.clone(), 100_000));
        let stop = CancellationToken::new();
        let until = stop.clone();
        let (spending, replying, answering) = (nonces.clone(), replies.clone(), answers.clone());
        let beside = async move {
            let looks = async { tokio::join!(asked.watch(), kept.watch(), spending.run()) };
            tokio::join!(
                replying.run(until.clone()),
                answering.run(until.clone()),
                until.run_until_cancelled(looks)
            );
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with its node, or with the test's runtime"
        )]
        tokio::spawn(beside);
        Self {
            nonces,
            replies,
            answers,
            stop,
        }
    }
}

async fn until(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !probe().await {
        assert!(begin.elapsed() < Duration::from_secs(20), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn at<'n, T: ?Sized>(nodes: &[&'n T], place: usize) -> &'n T {
    nodes[place % nodes.len()]
}

fn fresh_nonce() -> String {
    (&SystemEntropy as &dyn Entropy).id()
}

async fn spend_signed_at(memory: &dyn NonceMemory, key: &str, nonce: &str, signed_at: i64) -> Spent {
    let nonce = SignedNonce {
        text: nonce,
        signed_at,
        until: signed_at + 300,
    };
    memory.spend(&AccessKeyId::new(key), nonce, now()).await
}

async fn spend(memory: &dyn NonceMemory, key: &str, nonce: &str) -> Spent {
    spend_signed_at(memory, key, nonce, now()).await
}

async fn nonces_contract(nodes: &[&dyn NonceMemory]) {
    for round in 0..6 {
        let nonce = fresh_nonce();
        assert_eq!(spend(at(nodes, round), "a", &nonce).await, Spent::Fresh);
        for other in 0..nodes.len() {
            assert_eq!(spend(at(nodes, other), "a", &nonce).await, Spent::Replayed);
        }
        assert_eq!(
            spend(at(nodes, round + 1), "b", &nonce).await,
            Spent::Fresh,
            "another key"
        );
    }
    let nonce = fresh_nonce();
    let racers = (0..64).map(|racer| spend(at(nodes, racer), "c", &nonce));
    let spent = join_all(racers).await;
    let fresh = spent.iter().filter(|spent| **spent == Spent::Fresh).count();
    assert_eq!(fresh, 1);
    assert!(
        spent
            .iter()
            .all(|spent| matches!(spent, Spent::Fresh | Spent::Replayed)),
        "{spent:?}"
    );
}

fn answer(text: &str) -> Arc<Recorded> {
    let mut headers = HeaderMap::new();
    headers.insert("x-hexgate-fields-forced", HeaderValue::from_static("/temperature"));
    Arc::new(Recorded {
        pieces: vec![
            Bytes::from(text.to_owned()),
            Bytes::from_static(b"\0\xFF"),
            Bytes::new(),
        ],
        stream: true,
        status: StatusCode::CREATED,
        content_type: HeaderValue::from_static("text/event-stream"),
        headers,
        request_id: RequestId::new("first"),
    })
}

/// A digest that nobody has had before.
fn digest() -> [u8; 32] {
    let mut digest = [0; 32];
    SystemEntropy.fill(&mut digest);
    digest
}

async fn replies_contract(nodes: &[&dyn Replies]) {
    let (one, another) = ([1; 32], [2; 32]);
    for round in 0..4 {
        let (here, there) = (at(nodes, round), at(nodes, round + 1));
        let place = digest();
        assert_eq!(here.begin(place, one).await, Beginning::Begun);
        for node in nodes {
            assert_eq!(node.begin(place, one).await, Beginning::UnderWay);
            assert_eq!(node.begin(place, another).await, Beginning::Another);
        }
        assert_eq!(there.begin(digest(), one).await, Beginning::Begun, "another key");
        here.abandon(place);
        until("the key is free", async || {
            there.begin(place, another).await == Beginning::Begun
        })
        .await;
        there.finish(place, another, answer("done"));
        let done = Beginning::Finished(answer("done"));
        until("the answer is known", async || here.begin(place, another).await == done).await;
        for node in nodes {
            assert_eq!(node.begin(place, another).await, done);
            assert_eq!(node.begin(place, one).await, Beginning::Another);
            // Of no request that is under way.
            node.abandon(place);
        }
        assert_eq!(there.begin(place, another).await, done);
    }
    let place = digest();
    let begun = join_all((0..64).map(|racer| at(nodes, racer).begin(place, one))).await;
    assert_eq!(begun.iter().filter(|begun| **begun == Beginning::Begun).count(), 1);
    assert_eq!(begun.iter().filter(|begun| **begun == Beginning::UnderWay).count(), 63);
}

async fn answers_contract(nodes: &[&dyn Answers]) {
    let key: AnswerKey = digest();
    for node in nodes {
        assert_eq!(node.find(&key).await, None);
        assert!(node.largest() >= 100_000);
    }
    nodes[0].keep(key, answer("short-lived"), Duration::from_millis(1500));
    for node in nodes {
        until("the answer is kept", async || node.find(&key).await.is_some()).await;
        let kept = node.find(&key).await.unwrap();
        assert_eq!(kept.answer, answer("short-lived"));
        assert!(kept.age <= Duration::from_secs(1), "{:?}", kept.age);
    }
    at(nodes, 1).keep(key, answer("newer"), Duration::from_millis(1500));
    until("the newer one is given", async || {
        let kept = nodes[0].find(&key).await;
        kept.is_some_and(|kept| kept.answer == answer("newer"))
    })
    .await;
    until("it is forgotten", async || nodes[0].find(&key).await.is_none()).await;
}

#[tokio::test]
async fn one_process_keeps_the_contracts() {
    let replies = LocalReplies::new(1 << 20, DAY);
    nonces_contract(&[&LocalNonces::new(10_000)]).await;
    replies_contract(&[&replies]).await;
    answers_contract(&[&LocalAnswers::new(1 << 20, Arc::new(SystemClock))]).await;
}

#[tokio::test]
async fn redis_keeps_the_contracts_for_three_nodes() {
    Nodes::start(&given(), 3).await.keep_the_contracts().await;
}

#[tokio::test]
async fn a_redis_behind_sentinels_keeps_the_contracts() {
    let servers = RedisSentinel::start();
    Nodes::start(&servers.url(), 2).await.keep_the_contracts().await;
}

#[tokio::test]
async fn a_cluster_keeps_the_contracts_and_loses_only_what_is_on_a_lost_node() {
    let mut cluster = RedisCluster::start();
    let nodes = Nodes::start(&cluster.url(), 2).await;
    nodes.keep_the_contracts().await;
    let (nonces, replies) = (nodes.nonces()[0], nodes.replies()[0]);
    cluster.nodes[1].kill();
    let lost = async || {
        let spent = join_all((0..40).map(|at| {
            let key = format!("key-{at}");
            async move { spend(nonces, &key, &fresh_nonce()).await }
        }));
        let spent = spent.await;
        spent.iter().filter(|spent| **spent == Spent::Unknown).count()
    };
    until("some keys cannot be told", async || (1..40).contains(&lost().await)).await;
    until("some requests can begin and others not", async || {
        let begun = join_all((0..40).map(|_| replies.begin(digest(), [0; 32]))).await;
        begun.contains(&Beginning::Begun) && begun.contains(&Beginning::Unknown)
    })
    .await;
    cluster.nodes[1].restart();
    until("all can be told again", async || lost().await == 0).await;
}

#[tokio::test]
async fn without_redis_nothing_is_let_in_that_could_be_a_repetition() {
    let mut server = RedisServer::start();
    let nodes = Nodes::start(&server.url(), 2).await;
    let (place, key, nonce) = (digest(), digest(), fresh_nonce());
    let node = &nodes.all[0];
    assert_eq!(spend(node.nonces.as_ref(), "a", &nonce).await, Spent::Fresh);
    assert_eq!(node.replies.begin(place, [0; 32]).await, Beginning::Begun);
    node.answers.keep(key, answer("kept"), DAY);
    server.kill();
    for node in &nodes.all {
        assert_eq!(spend(node.nonces.as_ref(), "a", &fresh_nonce()).await, Spent::Unknown);
        assert_eq!(node.replies.begin(digest(), [0; 32]).await, Beginning::Unknown);
        assert_eq!(node.answers.find(&key).await, None);
        assert!(node.nonces.trouble().is_some());
    }
    server.restart();
    nodes.until_together().await;
    until("keys are taken again", async || {
        node.replies.begin(digest(), [0; 32]).await == Beginning::Begun
    })
    .await;
    assert_eq!(node.nonces.trouble(), None);
}

#[tokio::test]
async fn nobody_waits_for_a_redis_that_does_not_answer() {
    let server = RedisServer::start();
    let nodes = Nodes::start(&server.url(), 1).await;
    let node = &nodes.all[0];
    server.freeze();
    assert_eq!(spend(node.nonces.as_ref(), "a", &fresh_nonce()).await, Spent::Unknown);
    assert_eq!(node.replies.begin(digest(), [0; 32]).await, Beginning::Unknown);
    let begin = Instant::now();
    for _ in 0..500 {
        assert_eq!(spend(node.nonces.as_ref(), "a", &fresh_nonce()).await, Spent::Unknown);
        assert_eq!(node.replies.begin(digest(), [0; 32]).await, Beginning::Unknown);
        assert_eq!(node.answers.find(&digest()).await, None);
    }
    // If each waited for itself, this would be twelve minutes.
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    server.thaw();
    nodes.until_together().await;
}

#[tokio::test]
async fn a_redis_that_forgot_refuses_what_was_signed_before() {
    let mut server = RedisServer::start();
    let nodes = Nodes::start(&server.url(), 1).await;
    let memory = nodes.nonces()[0];
    let (nonce, signed_at) = (fresh_nonce(), now());
    until("it remembers", async || {
        matches!(
            spend_signed_at(memory, "a", &nonce, signed_at).await,
            Spent::Fresh | Spent::Replayed
        )
    })
    .await;
    assert_eq!(spend_signed_at(memory, "a", &nonce, signed_at).await, Spent::Replayed);
    server.restart();
    until("it remembers anew", async || {
        spend(memory, "a", &fresh_nonce()).await == Spent::Fresh
    })
    .await;
    assert_eq!(spend_signed_at(memory, "a", &nonce, signed_at).await, Spent::Unknown);
}

#[tokio::test]
async fn clocks_that_differ_too_much_let_nothing_in() {
    let nodes = Nodes::start(&given(), 1).await;
    let node = &nodes.all[0];
    let (memory, nonce) = (node.nonces.as_ref(), fresh_nonce());
    // As a node would have it whose clock is wrong by so much: it takes the request for fresh.
    for off in [-400, 800] {
        assert_eq!(
            spend_signed_at(memory, "a", &nonce, now() + off).await,
            Spent::Unknown,
            "{off}"
        );
        assert!(node.nonces.trouble().unwrap().contains("clock"));
    }
    assert_eq!(spend(memory, "a", &nonce).await, Spent::Fresh);
    assert_eq!(node.nonces.trouble(), None);
}

#[tokio::test]
async fn one_key_cannot_fill_the_memory_and_nothing_is_forgotten_for_it() {
    let nodes = Nodes::start(&given(), 2).await;
    let memory = nodes.nonces();
    let nonces: Vec<_> = (0..SHARE).map(|_| fresh_nonce()).collect();
    for (place, nonce) in nonces.iter().enumerate() {
        assert_eq!(spend(at(&memory, place), "flood", nonce).await, Spent::Fresh);
    }
    assert_eq!(spend(memory[0], "flood", &fresh_nonce()).await, Spent::TooMany);
    assert_eq!(spend(memory[1], "other", &fresh_nonce()).await, Spent::Fresh);
    for nonce in &nonces {
        assert_eq!(spend(memory[1], "flood", nonce).await, Spent::Replayed);
    }
}

#[tokio::test]
async fn the_key_of_a_node_that_died_comes_free_and_that_of_a_living_one_does_not() {
    let nodes = Nodes::start(&given(), 3).await;
    let [living, dying, third] = nodes.all.as_slice() else {
        panic!()
    };
    let (lives, dies) = (digest(), digest());
    assert_eq!(living.replies.begin(lives, [0; 32]).await, Beginning::Begun);
    assert_eq!(dying.replies.begin(dies, [0; 32]).await, Beginning::Begun);
    dying.stop.cancel();
    until("the dead node's key is free", async || {
        third.replies.begin(dies, [0; 32]).await == Beginning::Begun
    })
    .await;
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(third.replies.begin(lives, [0; 32]).await, Beginning::UnderWay);
    // What the dead node might yet say of it changes nothing.
    dying.replies.finish(dies, [0; 32], answer("late"));
    dying.replies.abandon(dies);
    assert_eq!(living.replies.begin(dies, [0; 32]).await, Beginning::UnderWay);
}

#[tokio::test]
async fn a_key_that_nobody_waited_for_comes_free() {
    let server = RedisServer::start();
    let nodes = Nodes::start(&server.url(), 1).await;
    let (replies, place) = (nodes.replies()[0], digest());
    server.freeze();
    let left = tokio::time::timeout(Duration::from_millis(50), replies.begin(place, [0; 32])).await;
    assert!(left.is_err());
    server.thaw();
    until("the key is free", async || {
        replies.begin(place, [1; 32]).await == Beginning::Begun
    })
    .await;
}

#[tokio::test]
async fn what_redis_holds_can_be_neither_read_nor_forged_and_ends() {
    let server = RedisServer::start();
    let nodes = Nodes::start(&server.url(), 1).await;
    let node = &nodes.all[0];
    let (place, key) = (digest(), digest());
    assert_eq!(node.replies.begin(place, [0; 32]).await, Beginning::Begun);
    node.replies.finish(place, [0; 32], answer("a secret told once"));
    node.answers.keep(key, answer("a secret told once"), DAY);
    until("both are kept", async || {
        node.answers.find(&key).await.is_some() && node.replies.begin(place, [0; 32]).await != Beginning::UnderWay
    })
    .await;
    let find = |part: &str| {
        let script = format!("EVAL \"return redis.call('KEYS', '*:{part}:*')[1]\" 0");
        server.ask_text(&script)
    };
    for part in ["reply", "cache"] {
        let name = find(part);
        assert!(!name.is_empty(), "{part}");
        let script = format!(
            "EVAL \"return tostring(string.find(redis.call('HGET', KEYS[1], 'answer'), 'secret', 1, true)) .. redis.call('TTL', KEYS[1])\" 1 {name}"
        );
        let told = server.ask_text(&script);
        let left: u64 = told
            .strip_prefix("nil")
            .unwrap_or_else(|| panic!("{told}"))
            .parse()
            .unwrap();
        assert!((86_000..=86_400).contains(&left), "{told}");
        assert_eq!(server.ask(&format!("HSET {name} answer forged")).as_deref(), Some(":0"));
    }
    assert_eq!(node.answers.find(&key).await, None);
    assert_eq!(node.replies.begin(place, [0; 32]).await, Beginning::Unknown);
    let kept = server.ask("EVAL \"local n = 0 for _, k in ipairs(redis.call('KEYS', '*')) do if redis.call('TTL', k) < 0 then n = n + 1 end end return n\" 0");
    // Since when nonces are remembered: the one key that stays.
    assert_eq!(kept.as_deref(), Some(":1"));
}
