//! What only the store of one process can be asked; the rest is in the contract suite of both stores.

use std::sync::{
    Mutex,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use super::*;
use crate::{
    domain::{ids::Subject, limits::Measure},
    ports::rate_store::Who,
};

#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

fn bucket(measure: Measure, limit: u32, sub: &str) -> Bucket {
    Bucket {
        key: BucketKey {
            rule: "quota/q".into(),
            measure,
            who: Who {
                sub: Some(Subject::new(sub)),
                ..Who::default()
            },
        },
        limit,
        mode: Mode::Enforced,
        cost: 1,
    }
}

fn wanted(buckets: Vec<Bucket>) -> Wanted {
    Wanted {
        part: "all".into(),
        buckets,
    }
}

#[test]
fn an_idle_bucket_takes_no_room() {
    let clock = Arc::new(Hand::default());
    let store = LocalRates::new(clock.clone());
    for caller in 0..100 {
        let name = caller.to_string();
        let both = vec![
            bucket(Measure::RequestsPerSecond, 5, &name),
            bucket(Measure::Concurrency, 5, &name),
        ];
        let wanted = wanted(both);
        let verdict = store.take(&wanted);
        store.settle(Taken { wanted, verdict }, End::Used { tokens: 0 });
    }
    assert_eq!(store.len(), 100, "slots that came free are gone at once");
    clock.0.store(199_999, Ordering::SeqCst);
    store.sweep();
    assert_eq!(store.len(), 100);
    clock.0.store(200_000, Ordering::SeqCst);
    store.sweep();
    assert!(store.is_empty());
}

#[test]
fn the_number_of_buckets_is_bounded_and_the_fullest_stay() {
    let store = LocalRates::with_room_for(256, Arc::new(Hand::default()));
    let hot = wanted(vec![bucket(Measure::RequestsPerMinute, 2, "hot")]);
    assert!(store.take(&hot).granted && store.take(&hot).granted);
    for caller in 0..10_000 {
        let name = format!("flood-{caller}");
        assert!(
            store
                .take(&wanted(vec![bucket(Measure::RequestsPerMinute, 1000, &name)]))
                .granted
        );
    }
    assert!(store.len() <= 256, "{}", store.len());
    assert!(!store.take(&hot).granted, "a flood of others does not refill a bucket");
}

#[test]
fn many_threads_get_exactly_the_limit_and_lose_nothing_of_what_they_share() {
    let store = LocalRates::new(Arc::new(Hand::default()));
    let passed: Mutex<Vec<u64>> = Mutex::default();
    let together = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (store, passed, together) = (&store, &passed, &together);
            scope.spawn(move || {
                let mut own = 0;
                // Two buckets in different orders: whoever locked in the order of asking would hang here.
                let mut buckets = vec![
                    bucket(Measure::RequestsPerMinute, 1000, "shared"),
                    bucket(Measure::RequestsPerMinute, 400, &format!("own-{}", thread % 4)),
                ];
                if thread % 2 == 0 {
                    buckets.reverse();
                }
                let wanted = wanted(buckets);
                for _ in 0..1000 {
                    own += u64::from(store.take(&wanted).granted);
                }
                together.fetch_add(own, Ordering::SeqCst);
                passed.lock().unwrap().push(own);
            });
        }
    });
    assert_eq!(together.load(Ordering::SeqCst), 1000, "{passed:?}");
}
