//! The addresses of vendors while calls are made: which takes the next call, and what is known of each.
//!
//! Snapshots come and go; what was learned about an address stays as long as some snapshot lists it.

mod endpoint;
mod keys;
mod meters;
mod status;
mod upkeep;

use std::{
    cmp::Ordering as CmpOrdering,
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::Uri;

use self::endpoint::{Endpoint, EndpointKey};
pub use self::{
    endpoint::Permit,
    keys::key_of,
    meters::{BalanceMeters, Retry},
    status::{EndpointStatus, PoolStatus},
    upkeep::KeepPools,
};
use crate::{
    domain::{
        balance::{
            Dice, HashKey, Members, consistent_hash, hash_of, least_inflight, p2c_ewma, random, round_robin, share_of,
            weighted_round_robin,
        },
        ids::ModelName,
        interface::Capability,
        vendor::{Address, Discovery, HealthCheck, Pool, PoolStrategy, Vendor},
    },
    ports::transport::Transport,
};

/// Records of one name beyond this are not used.
const MAX_RECORDS: usize = 64;

/// What all pools share.
#[derive(Debug)]
pub struct Common {
    /// Times are counted from here.
    origin: tokio::time::Instant,
    pub meters: BalanceMeters,
}

impl Common {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// What is known of addresses, across snapshots. Asked when a snapshot is bound, not by calls.
#[derive(Debug)]
pub struct Endpoints {
    pub common: Arc<Common>,
    known: Mutex<Known>,
    /// Counts the changes of records, so that a pool that was put together meanwhile is put together again.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    endpoints: HashMap<EndpointKey, Arc<Endpoint>>,
    /// What hosts were last found to stand for.
    records: HashMap<Box<str>, Vec<IpAddr>>,
}

impl Default for Endpoints {
    fn default() -> Self {
        let common = Common {
            origin: tokio::time::Instant::now(),
            meters: BalanceMeters::new(),
        };
        Self {
            common: Arc::new(common),
            known: Mutex::default(),
            generation: AtomicU64::new(0),
        }
    }
}

impl Endpoints {
    fn change<R>(&self, change: impl FnOnce(&mut Known) -> R) -> R {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets what neither a snapshot nor a call holds any more.
    pub fn forget_unused(&self) {
        self.change(|known| known.endpoints.retain(|_, endpoint| Arc::strong_count(endpoint) > 1));
    }

    fn find(&self, key: EndpointKey, transport: &Arc<dyn Transport>) -> Arc<Endpoint> {
        self.change(|known| {
            let fresh = || Arc::new(Endpoint::new(&key, transport, Arc::clone(&self.common)));
            Arc::clone(known.endpoints.entry(key.clone()).or_insert_with(fresh))
        })
    }

    fn records(&self, host: &str) -> Option<Vec<IpAddr>> {
        self.change(|known| known.records.get(host).cloned())
    }

    /// Notes what a host stands for; tells whether that is news.
    fn note_records(&self, host: &str, mut found: Vec<IpAddr>) -> bool {
        found.sort_unstable();
        found.dedup();
        found.truncate(MAX_RECORDS);
        let news = self.change(|known| known.records.insert(host.into(), found.clone()) != Some(found));
        if news {
            self.generation.fetch_add(1, Relaxed);
        }
        news
    }

    fn forget_records_except(&self, hosts: &[Box<str>]) {
        self.change(|known| known.records.retain(|host, _| hosts.contains(host)));
    }
}

/// A vendor's addresses, ready to be called.
#[derive(Debug)]
pub struct BoundPool {
    strategy: PoolStrategy,
    pub hash_key: HashKey,
    settings: Pool,
    vendor: Box<str>,
    vendor_strategy: Box<str>,
    sources: Vec<Source>,
    transport: Arc<dyn Transport>,
    members: ArcSwap<Vec<Arc<Member>>>,
    /// The generation of records that the members were put together from.
    generation: AtomicU64,
    /// Counts the calls, for those strategies that go by turns.
    turn: AtomicU64,
    common: Arc<Common>,
}

/// An address as it is configured.
#[derive(Debug)]
pub struct Source {
    pub address: Address,
    pub uris: Arc<[(Capability, Uri)]>,
}

/// One address that takes calls.
#[derive(Debug)]
pub struct Member {
    weight: u32,
    uris: Arc<[(Capability, Uri)]>,
    health_uri: Option<Uri>,
    seed: u64,
    endpoint: Arc<Endpoint>,
}

impl Member {
    /// Where a call of that capability goes.
    pub fn uri(&self, capability: Capability) -> Option<Uri> {
        let mut uris = self.uris.iter();
        uris.find(|(known, _)| *known == capability).map(|(_, uri)| uri.clone())
    }

    pub fn transport(&self) -> &Arc<dyn Transport> {
        self.endpoint.transport()
    }
}

/// An address with permission for one call.
#[derive(Debug)]
pub struct Picked {
    pub member: Arc<Member>,
    pub permit: Permit,
}

/// Addresses that one request has tried at one vendor.
#[derive(Debug, Default)]
pub struct Tried(Vec<Arc<Member>>);

impl Tried {
    pub fn note(&mut self, member: &Arc<Member>) {
        self.0.push(Arc::clone(member));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn holds(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.0.iter().any(|member| Arc::ptr_eq(&member.endpoint, endpoint))
    }
}

impl BoundPool {
    pub fn new(vendor: &Vendor, sources: Vec<Source>, transport: Arc<dyn Transport>, endpoints: &Endpoints) -> Self {
        let pool = Self {
            strategy: vendor.pool.strategy.unwrap_or_default(),
            hash_key: vendor.pool.hash_key.clone().unwrap_or(HashKey::User),
            settings: vendor.pool.clone(),
            vendor: vendor.name.as_str().into(),
            vendor_strategy: vendor.strategy.as_str().into(),
            sources,
            transport,
            members: ArcSwap::default(),
            generation: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            common: Arc::clone(&endpoints.common),
        };
        pool.rebuild(endpoints);
        pool
    }

    /// Whether calls are told apart by a key.
    pub fn wants_key(&self) -> bool {
        self.strategy == PoolStrategy::ConsistentHash
    }

    fn health(&self) -> Option<&HealthCheck> {
        self.settings.health.as_deref()
    }

    pub fn meters(&self) -> &BalanceMeters {
        &self.common.meters
    }

    /// The hosts that have to be looked up.
    fn hosts(&self) -> impl Iterator<Item = &str> {
        let looked_up = self.settings.discovery == Discovery::Dns;
        let sources = self.sources.iter().filter(move |_| looked_up);
        // An address is its own only record.
        sources.filter_map(|source| source.address.url.as_url().domain())
    }

    /// Puts the members together again if names stand for other addresses since.
    fn refresh(&self, endpoints: &Endpoints) {
        let outdated = self.generation.load(Relaxed) != endpoints.generation.load(Relaxed);
        if outdated && self.hosts().next().is_some() {
            self.rebuild(endpoints);
        }
    }

    /// Puts the members together from what is known of their hosts.
    fn rebuild(&self, endpoints: &Endpoints) {
        // Read before the records: should they change meanwhile, the next look finds it outdated.
        let generation = endpoints.generation.load(Relaxed);
        let mut members = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let url = source.address.url.as_str();
            let host = source.address.url.as_url().host_str().unwrap_or_default();
            let records = match self.settings.discovery {
                Discovery::Static => None,
                Discovery::Dns => endpoints.records(host).filter(|records| !records.is_empty()),
            };
            // Before a name was looked up it is one address, like any.
            let addresses: Vec<Option<IpAddr>> =
                records.map_or_else(|| vec![None], |records| records.into_iter().map(Some).collect());
            for address in addresses {
                let key = EndpointKey {
                    vendor: self.vendor.clone(),
                    strategy: self.vendor_strategy.clone(),
                    url: url.into(),
                    address,
                };
                let seed = match address {
                    None => hash_of(&[url]),
                    Some(address) => hash_of(&[url, &address.to_string()]),
                };
                let endpoint = endpoints.find(key, &self.transport);
                if self.health().is_none() {
                    endpoint.forget_checks();
                }
                members.push(Arc::new(Member {
                    weight: source.address.weight,
                    uris: Arc::clone(&source.uris),
                    health_uri: self.health().and_then(|health| health_uri(&source.address, health)),
                    seed,
                    endpoint,
                }));
            }
        }
        self.members.store(Arc::new(members));
        self.generation.store(generation, Relaxed);
    }

    /// The address for the next call; `None` when none is to be asked now.
    pub fn pick(&self, key: u64, model: &ModelName, tried: &Tried, dice: &mut Dice) -> Option<Picked> {
        let members = self.members.load();
        let now = self.common.now();
        // An address that was free when it was looked at may have begun its probe since. Then another is picked.
        for _ in 0..=members.len() {
            let view = View {
                members: &members,
                strategy: self.strategy,
                slow_start: self.settings.slow_start,
                model,
                tried,
                now,
            };
            let member = members.get(self.choose(&view, key, dice)?)?;
            if let Some(permit) = member.endpoint.admit(now, self.settings.breaker) {
                let member = Arc::clone(member);
                return Some(Picked { member, permit });
            }
        }
        None
    }

    fn choose(&self, view: &View<'_>, key: u64, dice: &mut Dice) -> Option<usize> {
        if let [_] = view.members {
            return (view.share(0) > 0).then_some(0);
        }
        let turn = || self.turn.fetch_add(1, Relaxed);
        match self.strategy {
            PoolStrategy::RoundRobin => round_robin(view, turn(), dice),
            PoolStrategy::WeightedRoundRobin => weighted_round_robin(view, turn, dice),
            PoolStrategy::Random => random(view, dice),
            PoolStrategy::LeastInflight => least_inflight(view, dice),
            PoolStrategy::P2cEwma => p2c_ewma(view, dice),
            PoolStrategy::ConsistentHash => consistent_hash(view, key),
        }
    }

    /// When every address is to be left alone: how soon the first may be asked again, and which that is; one of them by chance when
    /// nobody knows.
    pub fn soonest(&self, model: &ModelName, dice: &mut Dice) -> Option<(Duration, Arc<Member>)> {
        let now = self.common.now();
        let members = self.members.load();
        let mut best: Option<(Duration, &Arc<Member>)> = None;
        let mut equals = 0;
        for member in members.iter().filter(|member| member.weight > 0) {
            let wait = member.endpoint.wait(now, model);
            match best.map_or(CmpOrdering::Less, |(least, _)| wait.cmp(&least)) {
                CmpOrdering::Less => equals = 1,
                CmpOrdering::Equal => {
                    equals += 1;
                    if dice.below(equals) > 0 {
                        continue;
                    }
                }
                CmpOrdering::Greater => continue,
            }
            best = Some((wait, member));
        }
        best.map(|(wait, member)| (wait, Arc::clone(member)))
    }

    /// Permission for an address that is to be left alone, because there is no other.
    pub fn last_resort(&self, member: Arc<Member>) -> Picked {
        let permit = member.endpoint.last_resort(self.settings.breaker);
        Picked { member, permit }
    }

    /// Permission for the same address once more, if it is the only one and takes calls.
    pub fn again(&self, member: &Arc<Member>) -> Option<Picked> {
        let permit = member.endpoint.admit(self.common.now(), self.settings.breaker)?;
        let member = Arc::clone(member);
        Some(Picked { member, permit })
    }

    /// Where a capability lies at the first address.
    pub fn first_uri(&self, capability: Capability) -> Option<Uri> {
        self.members.load().first().and_then(|member| member.uri(capability))
    }

    /// Whether there is one address and no other.
    pub fn is_single(&self) -> bool {
        self.members.load().iter().filter(|member| member.weight > 0).count() == 1
    }
}

/// Where the health of an address is asked.
fn health_uri(address: &Address, health: &HealthCheck) -> Option<Uri> {
    let origin = address.url.as_url().origin().ascii_serialization();
    format!("{origin}{}", health.path).parse().ok()
}

/// The members as a strategy sees them.
struct View<'a> {
    members: &'a [Arc<Member>],
    strategy: PoolStrategy,
    slow_start: Duration,
    model: &'a ModelName,
    tried: &'a Tried,
    now: Duration,
}

impl Members for View<'_> {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn share(&self, at: usize) -> u64 {
        let Some(member) = self.members.get(at) else { return 0 };
        let endpoint = &member.endpoint;
        if member.weight == 0 || !endpoint.is_open(self.now, self.model) || self.tried.holds(endpoint) {
            return 0;
        }
        let weight = match self.strategy {
            PoolStrategy::RoundRobin => 1,
            _ => member.weight,
        };
        if self.slow_start.is_zero() {
            return share_of(weight, Duration::MAX, Duration::ZERO);
        }
        share_of(weight, endpoint.age(self.now), self.slow_start)
    }

    fn inflight(&self, at: usize) -> u32 {
        self.members.get(at).map_or(0, |member| member.endpoint.inflight())
    }

    fn latency(&self, at: usize) -> Option<f64> {
        self.members.get(at)?.endpoint.latency(self.now)
    }

    fn seed(&self, at: usize) -> u64 {
        self.members.get(at).map_or(0, |member| member.seed)
    }
}
