//! Nobody takes all places of a listener: connections are counted by who opened them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::peer::neighbourhood;

/// The log hears of refusals so often and no oftener, however many there are.
const SILENCE: Duration = Duration::from_secs(10);

/// Open connections by neighbourhood: an IPv4 address, or a /64 of IPv6. Never more entries than connections.
#[derive(Debug)]
pub(crate) struct Neighbours {
    most: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    open: HashMap<IpAddr, usize>,
    told: Option<Instant>,
}

/// One counted connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Neighbour {
    address: IpAddr,
    all: Arc<Neighbours>,
}

impl Neighbours {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let counts = Mutex::default();
        Arc::new(Self { most, counts })
    }

    /// `None` when the neighbourhood has as many connections as it may have.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Neighbour> {
        let address = neighbourhood(address);
        let mut counts = self.lock();
        let open = counts.open.entry(address).or_default();
        if *open >= self.most {
            if counts.told.is_none_or(|at| at.elapsed() >= SILENCE) {
                counts.told = Some(Instant::now());
                tracing::warn!(peer = %address, most = self.most, "an address has as many connections open as it may");
            }
            return None;
        }
        *open += 1;
        drop(counts);
        Some(Neighbour {
            address,
            all: self.clone(),
        })
    }

    /// A panic while counting is impossible, so a poisoned lock is as good as another.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let mut counts = self.all.lock();
        if let Some(open) = counts.open.get_mut(&self.address) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                counts.open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_of_an_address_is_given_and_one_more_is_not() {
        let neighbours = Neighbours::new(2);
        let admit = |text: &str| neighbours.admit(text.parse().unwrap());
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("::ffff:192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
        let _other = admit("192.0.2.2").unwrap();
        drop(first);
        let _third = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
    }

    #[test]
    fn a_whole_ipv6_subnet_counts_as_one_address() {
        let neighbours = Neighbours::new(1);
        let admit = |text: &str| neighbours.admit(text.parse().unwrap());
        let _first = admit("2001:db8:0:1::1").unwrap();
        assert!(admit("2001:db8:0:1:ffff:ffff:ffff:ffff").is_none());
        assert!(admit("2001:db8:0:2::1").is_some());
    }

    #[test]
    fn who_has_left_is_forgotten() {
        let neighbours = Neighbours::new(1);
        for last in 0..=255 {
            drop(neighbours.admit(IpAddr::from([192, 0, 2, last])));
        }
        assert!(neighbours.lock().open.is_empty());
    }
}
