//! Removal of rows that nobody can use any more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use service_kit::Clock;

use crate::ports::store::{Housekeeping, StoreError};

/// Keeps house.
#[derive(Clone)]
pub struct KeepHouse {
    pub store: Arc<dyn Housekeeping>,
    pub clock: Arc<dyn Clock>,
    /// Ended rows are kept for this long.
    pub keep: Duration,
    /// Rows of each kind that are deleted at once.
    pub batch: u32,
    /// Between two batches, so that others get their turn.
    pub pause: Duration,
}

impl std::fmt::Debug for KeepHouse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeepHouse").finish_non_exhaustive()
    }
}

/// What was done.
#[derive(Debug, Default)]
pub struct Tidied {
    pub rows: u64,
    /// The kinds of rows that could not be deleted, each with its first error.
    pub failures: BTreeMap<&'static str, StoreError>,
}

impl KeepHouse {
    /// Removes everything that is over, batch by batch, however much it is. A kind that fails does not stop the others.
    pub async fn tidy(&self) -> Tidied {
        let mut tidied = Tidied::default();
        loop {
            let mut more = false;
            for swept in self.store.delete_expired(self.clock.now(), self.keep, self.batch).await {
                match swept.outcome {
                    Ok(rows) => {
                        tidied.rows += rows;
                        more |= rows > 0 && rows >= u64::from(self.batch);
                    }
                    Err(error) => {
                        tidied.failures.entry(swept.kind).or_insert(error);
                    }
                }
            }
            if !more {
                return tidied;
            }
            tokio::time::sleep(self.pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use service_kit::{SystemClock, Timestamp};

    use super::*;
    use crate::ports::store::Swept;

    /// A store with this many ended rows of one kind; another kind fails always.
    struct Rows(Mutex<u64>);

    #[async_trait]
    impl Housekeeping for Rows {
        async fn delete_expired(&self, _: Timestamp, _: Duration, limit: u32) -> Vec<Swept> {
            let mut left = self.0.lock().unwrap();
            let rows = (*left).min(u64::from(limit));
            *left -= rows;
            let failed = StoreError::Unavailable("gone".into());
            vec![
                Swept {
                    kind: "code",
                    outcome: Err(failed),
                },
                Swept {
                    kind: "session",
                    outcome: Ok(rows),
                },
            ]
        }
    }

    #[tokio::test]
    async fn full_batches_are_followed_by_another_and_a_failing_kind_stops_nobody() {
        for rows in [0, 1, 10, 25, 30] {
            let store = Arc::new(Rows(Mutex::new(rows)));
            let house = KeepHouse {
                store: store.clone(),
                clock: Arc::new(SystemClock),
                keep: Duration::ZERO,
                batch: 10,
                pause: Duration::ZERO,
            };
            let tidied = house.tidy().await;
            assert_eq!((tidied.rows, *store.0.lock().unwrap()), (rows, 0));
            assert_eq!(tidied.failures.keys().collect::<Vec<_>>(), [&"code"]);
        }
    }
}
