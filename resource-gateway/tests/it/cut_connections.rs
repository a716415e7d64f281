//! Redis behind a wire that is slow, or that is cut at the worst moment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resource_gateway::{
    adapters::redis::{Channel, Link, Purpose, RedisRates},
    domain::{ids::Subject, limits::Measure, redis_place::RedisPlace},
    ports::rate_store::{Bucket, BucketKey, End, Mode, RateStore as _, Taken, Verdict, Wanted, Who},
};
use service_kit::{SystemEntropy, Tasks};
use test_kit::redis::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const LEASE: Duration = Duration::from_millis(900);

/// What happens to a request on the wire.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    /// It arrives later than what is sent over other wires.
    Late(Duration),
    /// It arrives, and its answer does not.
    Unanswered,
}

/// Looks for the words in each request.
#[derive(Debug)]
struct Wire {
    words: Vec<u8>,
    mishap: Mishap,
    /// How often it happened.
    happened: AtomicU64,
}

impl Wire {
    /// The URL of a server behind it.
    async fn to(self: &Arc<Self>, server: &RedisServer, tasks: &Tasks) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, behind) = (listener.local_addr().unwrap().port(), server.port());
        let (this, stop) = (Arc::clone(self), tasks.stop_token());
        let serve = async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
                let this = Arc::clone(&this);
                let carry = async move { this.carry(near, far).await };
                #[expect(clippy::disallowed_methods, reason = "it ends with its connection")]
                tokio::spawn(carry);
            }
        };
        tasks.spawn(async move {
            stop.run_until_cancelled(serve).await;
        });
        format!("redis://127.0.0.1:{port}")
    }

    async fn carry(&self, mut near: TcpStream, mut far: TcpStream) {
        let (mut asked, mut answered) = (vec![0; 65536], vec![0; 65536]);
        let mut unanswered = false;
        loop {
            tokio::select! {
                count = near.read(&mut asked) => {
                    let Ok(count @ 1..) = count else { return };
                    let request = &asked[..count];
                    if request.windows(self.words.len()).any(|part| part == self.words) {
                        self.happened.fetch_add(1, Ordering::Relaxed);
                        match self.mishap {
                            Mishap::Late(delay) => tokio::time::sleep(delay).await,
                            Mishap::Unanswered => unanswered = true,
                        }
                    }
                    if far.write_all(request).await.is_err() {
                        return;
                    }
                }
                count = far.read(&mut answered) => {
                    let Ok(count @ 1..) = count else { return };
                    // Both ends see the connection go.
                    if unanswered || near.write_all(&answered[..count]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn start(url: &str, tasks: &Tasks) -> Arc<RedisRates> {
    let place = RedisPlace::parse(url).unwrap();
    let link = Arc::new(Link::new(place, None, Duration::from_secs(1)));
    let channel = Channel::new(link, "w".to_owned(), &Purpose::LIMITS);
    let store = Arc::new(RedisRates::new(Arc::clone(&channel), LEASE, &SystemEntropy));
    let (runs, stop) = (Arc::clone(&store), tasks.stop_token());
    tasks.spawn(async move { runs.run(stop).await });
    let stop = tasks.stop_token();
    tasks.spawn(async move {
        stop.run_until_cancelled(channel.watch()).await;
    });
    store
}

fn wanted(measure: Measure, limit: u32, cost: u64, sub: &str) -> Wanted {
    let who = Who {
        sub: Some(Subject::new(sub)),
        ..Who::default()
    };
    let key = BucketKey {
        rule: "quota/q".into(),
        measure,
        who,
    };
    let bucket = Bucket {
        key,
        limit,
        mode: Mode::Enforced,
        cost,
    };
    Wanted {
        part: "all".into(),
        buckets: vec![bucket],
    }
}

async fn take(store: &RedisRates, wanted: &Wanted) -> Verdict {
    store.acquire(wanted).await.unwrap()
}

#[tokio::test]
async fn tokens_are_given_back_once_though_the_answer_is_lost() {
    let (server, tasks) = (RedisServer::start(), Tasks::default());
    let wire = Arc::new(Wire {
        words: b"\r\n-15\r\n".to_vec(),
        mishap: Mishap::Unanswered,
        happened: AtomicU64::new(0),
    });
    let store = start(&wire.to(&server, &tasks).await, &tasks);
    let tokens = |cost| wanted(Measure::TokensPerMinute, 60, cost, "x");
    let remaining = async || take(&store, &tokens(0)).await.standings[0].remaining;
    // Others have used 41 of 60, and Redis knows the script by then.
    let verdict = take(&store, &tokens(40)).await;
    let taken = Taken {
        wanted: tokens(40),
        verdict,
    };
    store.settle(taken, End::Used { tokens: 41 });
    while remaining().await > 19 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let verdict = take(&store, &tokens(15)).await;
    assert!(verdict.granted);
    let taken = Taken {
        wanted: tokens(15),
        verdict,
    };
    store.settle(taken, End::Used { tokens: 0 });
    for _ in 0..300 {
        if store.status().lost_settlements > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let left = remaining().await;
    assert!((19..29).contains(&left), "{left}: of 60 some 41 were used");
    assert_eq!(wire.happened.load(Ordering::Relaxed), 1);
    assert_eq!(store.status().lost_settlements, 1);
    assert!(tasks.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_slot_that_is_renewed_while_its_request_ends_comes_free() {
    let (server, tasks) = (RedisServer::start(), Tasks::default());
    let renew = redis::Script::new(include_str!("../../src/adapters/redis/rates/renew.lua"));
    let wire = Arc::new(Wire {
        words: renew.get_hash().as_bytes().to_vec(),
        mishap: Mishap::Late(Duration::from_millis(200)),
        happened: AtomicU64::new(0),
    });
    let store = start(&wire.to(&server, &tasks).await, &tasks);
    // Of several connections the two of some must be different ones.
    let slots: Vec<_> = (0..8)
        .map(|sub| wanted(Measure::Concurrency, 1, 1, &format!("s{sub}")))
        .collect();
    let mut held = Vec::new();
    for wanted in &slots {
        let verdict = take(&store, wanted).await;
        assert!(verdict.granted);
        held.push(Taken {
            wanted: wanted.clone(),
            verdict,
        });
    }
    while wire.happened.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for taken in held {
        store.settle(taken, End::Used { tokens: 0 });
    }
    // Sooner than any lease ends by itself.
    tokio::time::sleep(LEASE / 2).await;
    for wanted in &slots {
        assert!(take(&store, wanted).await.granted, "{wanted:?}");
    }
    assert!(tasks.drain(Duration::from_secs(5)).await);
}
