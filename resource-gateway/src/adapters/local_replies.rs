//! Finished answers by idempotency key, in this process's memory.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use moka::{policy::EvictionPolicy, sync::Cache};

use crate::{
    domain::recorded::Recorded,
    ports::replies::{Beginning, Fingerprint, Replies, ReplyPlace},
};

const SHARDS: usize = 32;

/// Answers bounded by memory and time: the oldest make room. Requests under way are held apart and never make room; there
/// are no more of them than connections.
pub struct LocalReplies {
    under_way: Vec<Mutex<HashMap<ReplyPlace, Fingerprint>>>,
    finished: Cache<ReplyPlace, Finished>,
}

#[derive(Clone)]
struct Finished {
    request: Fingerprint,
    answer: Arc<Recorded>,
}

impl LocalReplies {
    /// Keeps answers of `max_bytes` for `ttl`.
    pub fn new(max_bytes: u64, ttl: Duration) -> Self {
        let finished = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, finished: &Finished| u32::try_from(finished.answer.weight()).unwrap_or(u32::MAX))
            .time_to_live(ttl)
            // Each answer is wanted once at most, and soon: by frequency, which is the default, a full cache would turn away all new
            // ones.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self {
            under_way: (0..SHARDS).map(|_| Mutex::default()).collect(),
            finished,
        }
    }

    fn shard(&self, place: &ReplyPlace) -> Option<MutexGuard<'_, HashMap<ReplyPlace, Fingerprint>>> {
        let at = place.first().map_or(0, |byte| usize::from(*byte) % SHARDS);
        let shard = self.under_way.get(at)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin_now(&self, place: ReplyPlace, request: Fingerprint) -> Beginning {
        let Some(mut under_way) = self.shard(&place) else {
            return Beginning::UnderWay;
        };
        // Under the shard's lock an answer is either finished or under way, never neither.
        if let Some(finished) = self.finished.get(&place) {
            return match finished.request == request {
                true => Beginning::Finished(finished.answer),
                false => Beginning::Another,
            };
        }
        match under_way.entry(place) {
            Entry::Occupied(other) if *other.get() != request => Beginning::Another,
            Entry::Occupied(_) => Beginning::UnderWay,
            Entry::Vacant(vacant) => {
                vacant.insert(request);
                Beginning::Begun
            }
        }
    }
}

#[async_trait]
impl Replies for LocalReplies {
    async fn begin(&self, place: ReplyPlace, request: Fingerprint) -> Beginning {
        self.begin_now(place, request)
    }

    fn finish(&self, place: ReplyPlace, request: Fingerprint, answer: Arc<Recorded>) {
        let under_way = self.shard(&place);
        self.finished.insert(place, Finished { request, answer });
        if let Some(mut under_way) = under_way {
            under_way.remove(&place);
        }
    }

    fn abandon(&self, place: ReplyPlace) {
        if let Some(mut under_way) = self.shard(&place) {
            under_way.remove(&place);
        }
    }
}

impl fmt::Debug for LocalReplies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalReplies")
            .field("finished", &self.finished.entry_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RequestId;
    use bytes::Bytes;
    use http::HeaderValue;

    fn answer(bytes: usize) -> Arc<Recorded> {
        Arc::new(Recorded {
            pieces: vec![Bytes::from(vec![b'x'; bytes])],
            stream: false,
            status: http::StatusCode::OK,
            content_type: HeaderValue::from_static("application/json"),
            headers: http::HeaderMap::new(),
            request_id: RequestId::new("r"),
        })
    }

    fn replies() -> LocalReplies {
        LocalReplies::new(1 << 20, Duration::from_secs(60))
    }

    #[test]
    fn a_key_belongs_to_one_request_until_it_is_given_back() {
        let replies = replies();
        let (place, one, other) = ([1; 32], [1; 32], [2; 32]);
        assert_eq!(replies.begin_now(place, one), Beginning::Begun);
        assert_eq!(replies.begin_now(place, one), Beginning::UnderWay);
        assert_eq!(replies.begin_now(place, other), Beginning::Another);
        assert_eq!(replies.begin_now([2; 32], one), Beginning::Begun);
        replies.abandon(place);
        assert_eq!(replies.begin_now(place, other), Beginning::Begun);
        replies.finish(place, other, answer(1));
        assert_eq!(replies.begin_now(place, other), Beginning::Finished(answer(1)));
        assert_eq!(replies.begin_now(place, one), Beginning::Another);
    }

    #[test]
    fn of_many_at_once_one_begins() {
        let replies = replies();
        for round in 0..50u8 {
            let begun: usize = std::thread::scope(|scope| {
                let begin = || usize::from(replies.begin_now([round; 32], [0; 32]) == Beginning::Begun);
                let racers: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).sum()
            });
            assert_eq!(begun, 1);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let replies = replies();
        for at in 0..64u8 {
            replies.begin_now([at; 32], [0; 32]);
            replies.finish([at; 32], [0; 32], answer(100_000));
        }
        replies.finished.run_pending_tasks();
        assert!(replies.finished.weighted_size() <= 1 << 20);
        assert!((1..=10).contains(&replies.finished.entry_count()));
        assert!(replies.under_way.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn the_newest_answers_are_kept_when_memory_is_full() {
        let replies = replies();
        for at in 0..64u8 {
            replies.begin_now([at; 32], [0; 32]);
            replies.finish([at; 32], [0; 32], answer(100_000));
            replies.finished.run_pending_tasks();
            let again = replies.begin_now([at; 32], [0; 32]);
            assert!(matches!(again, Beginning::Finished(_)), "{at}: {again:?}");
        }
        assert_eq!(
            replies.begin_now([0; 32], [0; 32]),
            Beginning::Begun,
            "the oldest made room"
        );
    }
}
