//! Room for deliveries, of logouts and of the news that somebody has decided: so many at once, and of those only a few for one host.
//!
//! What has just happened goes before what failed earlier: hosts that never answer can fill the lane of repetitions, and nothing else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};

use crate::domain::ids::ClientId;

/// Deliveries at once. The way out has room for 32.
const FRESH: usize = 20;
const REPEATED: usize = 10;
const PER_HOST: usize = 4;
/// Repetitions of one client that are under way at once.
pub(crate) const PER_CLIENT: usize = 2;
/// Hosts that are remembered before those that nobody waits for are forgotten.
const HOSTS: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    Fresh,
    Repeated,
}

/// The room that there is.
#[derive(Debug)]
pub struct Lanes {
    fresh: Arc<Semaphore>,
    repeated: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// Repetitions under way, by client.
    under_way: Mutex<HashMap<ClientId, usize>>,
    /// Woken when one of those is over.
    freed: Notify,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            fresh: Arc::new(Semaphore::new(FRESH)),
            repeated: Arc::new(Semaphore::new(REPEATED)),
            hosts: Mutex::default(),
            under_way: Mutex::default(),
            freed: Notify::new(),
        }
    }
}

/// One delivery that was begun.
pub(crate) struct Entry {
    lanes: Arc<Lanes>,
    urgency: Urgency,
    client: ClientId,
}

/// The right to send, for as long as it is held.
pub(crate) struct Turn {
    _host: OwnedSemaphorePermit,
    _lane: OwnedSemaphorePermit,
}

impl Lanes {
    /// How many repetitions may be begun, and of whom none.
    pub(crate) fn room(&self) -> (usize, Vec<ClientId>) {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let begun: usize = under_way.values().sum();
        let full = under_way.iter().filter(|(_, count)| **count >= PER_CLIENT);
        (
            REPEATED.saturating_sub(begun),
            full.map(|(client, _)| client.clone()).collect(),
        )
    }

    /// Completes when a repetition was over since the last time, so that there is room for another.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    pub(crate) fn enter(self: &Arc<Self>, client: &ClientId, urgency: Urgency) -> Entry {
        if urgency == Urgency::Repeated {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            *under_way.entry(client.clone()).or_default() += 1;
        }
        Entry {
            lanes: Arc::clone(self),
            urgency,
            client: client.clone(),
        }
    }

    fn host(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= HOSTS {
            hosts.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        let turns = hosts
            .entry(host.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(PER_HOST)));
        Arc::clone(turns)
    }
}

impl Entry {
    /// Waits for a turn: first for one of the host's, so that nobody holds a place in the lane who could not use it.
    pub(crate) async fn turn(&self, host: &str) -> Result<Turn, AcquireError> {
        let lane = match self.urgency {
            Urgency::Fresh => &self.lanes.fresh,
            Urgency::Repeated => &self.lanes.repeated,
        };
        Ok(Turn {
            _host: self.lanes.host(host).acquire_owned().await?,
            _lane: Arc::clone(lane).acquire_owned().await?,
        })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.urgency == Urgency::Fresh {
            return;
        }
        let mut under_way = self.lanes.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = under_way.get_mut(&self.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                under_way.remove(&self.client);
            }
        }
        drop(under_way);
        self.lanes.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_slow_host_keeps_nobody_else_from_being_told() {
        let lanes = Arc::new(Lanes::default());
        let enter = || lanes.enter(&ClientId::new("slow"), Urgency::Fresh);
        let entries: Vec<Entry> = (0..FRESH + 5).map(|_| enter()).collect();
        let mut turns = Vec::new();
        for entry in &entries {
            turns.extend(entry.turn("https://slow.example").now_or_never());
        }
        assert_eq!(turns.len(), PER_HOST);
        assert!(enter().turn("https://other.example").now_or_never().is_some());
        turns.clear();
        assert!(enter().turn("https://slow.example").now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_failed_before_leaves_room_for_what_is_new() {
        let lanes = Arc::new(Lanes::default());
        let mut turns = Vec::new();
        for number in 0..REPEATED + 5 {
            let entry = lanes.enter(&ClientId::new(number.to_string()), Urgency::Repeated);
            turns.extend(entry.turn(&number.to_string()).now_or_never());
        }
        assert_eq!(turns.len(), REPEATED);
        let fresh = lanes.enter(&ClientId::new("new"), Urgency::Fresh);
        assert!(fresh.turn("https://new.example").now_or_never().is_some());
    }

    #[test]
    fn a_client_with_enough_under_way_is_left_out() {
        let lanes = Arc::new(Lanes::default());
        let slow = ClientId::new("slow");
        let entries: Vec<Entry> = (0..PER_CLIENT).map(|_| lanes.enter(&slow, Urgency::Repeated)).collect();
        let _other = lanes.enter(&ClientId::new("other"), Urgency::Repeated);
        assert_eq!(lanes.room(), (REPEATED - PER_CLIENT - 1, vec![slow]));
        assert!(lanes.freed().now_or_never().is_none());
        drop(entries);
        assert!(
            lanes.freed().now_or_never().is_some(),
            "whoever looks for more is woken"
        );
        assert_eq!(lanes.room(), (REPEATED - 1, vec![]));
    }

    #[test]
    fn hosts_that_nobody_waits_for_are_forgotten() {
        let lanes = Lanes::default();
        let kept = lanes.host("https://kept.example");
        for number in 0..HOSTS * 3 {
            lanes.host(&number.to_string());
        }
        assert!(lanes.hosts.lock().unwrap().len() <= HOSTS);
        assert!(Arc::ptr_eq(&kept, &lanes.host("https://kept.example")));
    }
}
