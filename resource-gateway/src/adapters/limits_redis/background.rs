//! What goes on beside the requests: their ends are told, leases renewed, and lost servers looked for.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::{RedisRates, describe, script::Arguments};

/// Calls on their way at once.
const AT_ONCE: usize = 64;
/// How often what is lost is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// Every so many looks what is not lost is looked at as well, so that nobody has to find out by waiting.
const BEAT: u32 = 4;
/// After so many looks a cluster's connection is made anew.
const PATIENT_LOOKS: u32 = 20;
/// At shutdown the last ends have this long.
const LAST: Duration = Duration::from_secs(2);
/// A connection may take this long when nobody waits for it.
const CONNECT: Duration = Duration::from_secs(3);

/// The end of a request, on its way to Redis.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) part: Arc<str>,
    pub(super) arguments: Arguments,
}

impl RedisRates {
    /// Does all of it until `stop`, and then tells the last ends.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(
            self.tell_ends(&stop),
            stop.run_until_cancelled(self.renew_leases()),
            stop.run_until_cancelled(self.look()),
        );
    }

    async fn tell_ends(&self, stop: &CancellationToken) {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut inbox) = inbox else { return };
        let mut batch = Vec::with_capacity(AT_ONCE);
        while stop
            .run_until_cancelled(inbox.recv_many(&mut batch, AT_ONCE))
            .await
            .is_some_and(|count| count > 0)
        {
            self.tell(std::mem::take(&mut batch)).await;
        }
        inbox.close();
        let rest = async {
            while inbox.recv_many(&mut batch, AT_ONCE).await > 0 {
                self.tell(std::mem::take(&mut batch)).await;
            }
        };
        if tokio::time::timeout(LAST, rest).await.is_err() {
            tracing::warn!("Redis was not told of all ends of requests; their slots come free when their leases end");
        }
    }

    async fn tell(&self, errands: Vec<Errand>) {
        stream::iter(errands)
            .for_each_concurrent(AT_ONCE, |errand| async move {
                let told = self.ask_soon(&errand.part, &self.settle, &errand.arguments).await;
                if told.is_err() {
                    self.lost_settlements.fetch_add(1, Ordering::Relaxed);
                }
            })
            .await;
    }

    async fn renew_leases(&self) {
        loop {
            tokio::time::sleep(self.leases.length() / 3).await;
            stream::iter(self.leases.due())
                .for_each_concurrent(AT_ONCE, |(lease, held)| async move {
                    // It may have ended in the meantime: then it must not come back.
                    if !self.leases.holds(lease) {
                        return;
                    }
                    let mut arguments = Arguments {
                        keys: held.keys,
                        ..Arguments::default()
                    };
                    arguments.push(self.leases.name(lease));
                    arguments.push(self.leases.length().as_millis());
                    // What is lost is looked for by others; the next round tries again, well before the lease ends.
                    let _ = self.ask_soon(&held.part, &self.renew, &arguments).await;
                    if !self.leases.holds(lease) {
                        // It ended while it was renewed, and its slots were freed over another connection, perhaps before they
                        // were entered again.
                        self.free(lease, &held.part, arguments.keys);
                    }
                })
                .await;
        }
    }

    /// Has slots freed that nobody holds any more.
    fn free(&self, lease: u64, part: &Arc<str>, keys: Vec<String>) {
        let mut arguments = Arguments::default();
        arguments.push(self.leases.name(lease));
        for _ in &keys {
            // Slots: neither limit nor period, and no units.
            for value in [0, 0, 0] {
                arguments.push(value);
            }
        }
        arguments.keys = keys;
        self.send(Errand {
            part: Arc::clone(part),
            arguments,
        });
    }

    async fn look(&self) {
        for round in 0u32.. {
            let mut parts = self.lost.all();
            if round % BEAT == 0 && !parts.contains(self.names.home()) {
                parts.push(Arc::clone(self.names.home()));
            }
            stream::iter(parts)
                .for_each_concurrent(8, |part| async move { self.look_at(&part, round).await })
                .await;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes from a bucket that nobody else has: whatever stands in the way of requests stands in the way of this.
    pub(super) async fn look_at(&self, part: &Arc<str>, round: u32) {
        let mut arguments = Arguments {
            keys: vec![self.names.probe(part)],
            ..Arguments::default()
        };
        arguments.push(self.leases.name(0));
        arguments.push(self.leases.length().as_millis());
        // A thousand in a millisecond: the bucket is always empty.
        for value in [1000, 100, 1, 1] {
            arguments.push(value);
        }
        let reason = match tokio::time::timeout(CONNECT, self.link.pool()).await {
            Err(_) => "no connection in time".to_owned(),
            Ok(Err(error)) => describe(&error),
            Ok(Ok(_)) => match tokio::time::timeout(self.patience, Box::pin(self.ask(&self.acquire, &arguments))).await
            {
                Ok(Ok(_)) => return self.lost.found(part),
                Ok(Err(error)) => describe(&error),
                Err(_) => format!("no answer within {} ms", self.patience.as_millis()),
            },
        };
        self.lost.note(part, reason);
        // A cluster's connection looks for lost nodes by itself, and others still use it; it is made anew in case that all of
        // them have moved.
        if !self.link.is_cluster() || round % PATIENT_LOOKS == PATIENT_LOOKS - 1 {
            self.link.forget();
        }
    }
}
