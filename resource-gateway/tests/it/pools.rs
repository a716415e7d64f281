//! Pools by themselves: names that change, addresses that warm up, many callers at once.

use std::{
    net::IpAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, http::HeaderMap, routing::get};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use resource_gateway::{
    adapters::{auth_schemes::Unsigned, dialects::openai::OpenAiChat, upstream::HyperTransport},
    application::{
        apply::ApplyDocument,
        change_config::ChangeConfig,
        pools::{KeepPools, Permit, Tried},
        registry::{Profile, Registry},
        snapshots::Snapshots,
    },
    domain::{
        balance::Dice,
        fault::{Fault, FaultClass},
        ids::{ModelName, VendorName},
        interface::Capability,
        snapshot::{Need, StrategyFacts},
    },
    ports::{
        resolver::Resolver,
        transport::{Deadlines, Transport, TransportError, UpstreamReply, UpstreamRequest},
    },
};
use serde_json::Value;
use service_kit::{BoundListener, Clock as _, SystemClock, Tasks};
use test_kit::certificates::self_signed;

use crate::{
    apply::NoSecrets,
    storage_world::{World, no_webhooks},
};

/// Sends nothing; knows to where it would.
#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn send(&self, _: UpstreamRequest) -> Result<UpstreamReply, TransportError> {
        Err(TransportError::Connect)
    }

    fn pinned(&self, _: IpAddr) -> Option<Arc<dyn Transport>> {
        Some(Arc::new(Self))
    }
}

#[derive(Debug, Default)]
struct Names {
    addresses: Mutex<Option<Vec<&'static str>>>,
    asked: AtomicUsize,
}

impl Names {
    fn set(&self, addresses: Option<&[&'static str]>) {
        *self.addresses.lock().unwrap() = addresses.map(<[_]>::to_vec);
    }
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, host: &str) -> Option<Vec<IpAddr>> {
        assert_eq!(host, "models.test");
        self.asked.fetch_add(1, Ordering::SeqCst);
        let known = self.addresses.lock().unwrap().clone()?;
        Some(known.iter().map(|address| address.parse().unwrap()).collect())
    }
}

/// A configuration in a database, and the vendors that follow from it.
struct Pools {
    world: World,
    registry: Arc<Registry>,
    snapshots: Arc<Snapshots>,
    model: ModelName,
}

impl Pools {
    async fn start() -> Self {
        let world = World::sqlite().await;
        let facts = StrategyFacts {
            capabilities: vec![Capability::Chat],
            base_url: Need::Optional,
            pool: Need::Optional,
            app_id: Need::Unused,
            secret_id: Need::Unused,
            options: Vec::new(),
            secret_key: Need::Optional,
        };
        let registry = Arc::new(Registry::new(vec![Profile {
            name: "openai",
            codecs: vec![(Capability::Chat, Arc::new(OpenAiChat))],
            instead: Vec::new(),
            scheme: Arc::new(Unsigned),
            transport: Arc::new(Nowhere),
            default_base_url: None,
            facts,
        }]));
        let (config, clock) = (Arc::new(world.config.clone()), Arc::new(SystemClock));
        let snapshots = Arc::new(Snapshots::new(config, registry.clone(), clock));
        let model = ModelName::new("m");
        Self {
            world,
            registry,
            snapshots,
            model,
        }
    }

    async fn apply(&self, pool: &str) {
        let (config, clock) = (Arc::new(self.world.config.clone()), Arc::new(SystemClock));
        let change = ChangeConfig::new(config, self.registry.clone(), no_webhooks(), clock);
        let text = format!("[[vendor]]\nname = \"v\"\nstrategy = \"openai\"\npool = {{ {pool} }}\n");
        let apply = ApplyDocument::new(change, Arc::new(NoSecrets));
        apply.apply(&text, Path::new(".")).await.unwrap();
        self.snapshots.refresh().await;
        self.registry.bind(&self.snapshots.current());
    }

    fn pick(&self, dice: &mut Dice) -> Option<Permit> {
        let bound = self.registry.bind(&self.snapshots.current());
        let pool = &bound.find(&VendorName::new("v")).unwrap().pool;
        let key = dice.roll();
        Some(pool.pick(key, &self.model, &Tried::default(), dice)?.permit)
    }

    fn endpoints(&self) -> Vec<Value> {
        let status = serde_json::to_value(self.registry.status(&self.snapshots.current(), SystemClock.now())).unwrap();
        let pool = status.as_array().unwrap().iter().find(|pool| pool["vendor"] == "v");
        pool.map(|pool| pool["endpoints"].as_array().unwrap().clone())
            .unwrap_or_default()
    }

    /// Calls under way by URL.
    fn inflight(&self) -> Vec<u64> {
        let inflight = |endpoint: &Value| endpoint["inflight"].as_u64().unwrap();
        self.endpoints().iter().map(inflight).collect()
    }
}

#[tokio::test]
async fn addresses_follow_the_name_and_those_that_stay_keep_what_is_known_of_them() {
    let pools = Pools::start().await;
    let names = Arc::new(Names::default());
    let tasks = Tasks::default();
    let keep = KeepPools {
        snapshots: pools.snapshots.clone(),
        registry: pools.registry.clone(),
        resolver: names.clone(),
        clock: Arc::new(SystemClock),
        look_up_every: Duration::from_millis(20),
    };
    tasks.spawn(Arc::new(keep).run(tasks.clone()));
    pools
        .apply("discovery = \"dns\", addresses = [{ url = \"http://models.test:8000/v1\" }]")
        .await;
    let addresses = || -> Vec<String> {
        let address = |endpoint: &Value| endpoint["address"].as_str().unwrap_or("by name").to_owned();
        pools.endpoints().iter().map(address).collect()
    };
    let until = async |wanted: &[&str]| {
        for _ in 0..500 {
            if addresses() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?} instead of {wanted:?}", addresses());
    };
    until(&["by name"]).await;
    names.set(Some(&["10.0.0.2", "10.0.0.1", "10.0.0.2"]));
    until(&["10.0.0.1", "10.0.0.2"]).await;
    let held: Vec<_> = (0..20).map(|seed| pools.pick(&mut Dice::new(seed)).unwrap()).collect();
    let before = pools.inflight();
    assert!(before.iter().all(|calls| *calls > 0) && before.iter().sum::<u64>() == 20);
    names.set(Some(&["10.0.0.2", "10.0.0.3"]));
    until(&["10.0.0.2", "10.0.0.3"]).await;
    assert_eq!(pools.inflight(), [before[1], 0]);
    for nothing in [None, Some(&[][..])] {
        names.set(nothing);
        // Whoever asks a second time has heeded the first answer.
        let asked = || names.asked.load(Ordering::SeqCst);
        let before = asked();
        while asked() < before + 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(
            addresses(),
            ["10.0.0.2", "10.0.0.3"],
            "nobody switches everything off by a name without records"
        );
    }
    // Another change of the configuration finds the records as they are.
    pools
        .apply("discovery = \"dns\", addresses = [{ url = \"http://models.test:8000/v2\" }]")
        .await;
    assert_eq!(addresses(), ["10.0.0.2", "10.0.0.3"]);
    drop(held);
    assert!(tasks.drain(Duration::from_secs(2)).await);
}

#[tokio::test]
async fn a_change_makes_vendors_ready_once_although_older_requests_still_ask_for_theirs() {
    let pools = Pools::start().await;
    pools.apply("addresses = [{ url = \"http://a.test\" }]").await;
    let before = pools.snapshots.current();
    let old = pools.registry.bind(&before);
    pools
        .apply("addresses = [{ url = \"http://a.test\", weight = 2 }]")
        .await;
    let after = pools.snapshots.current();
    let new = pools.registry.bind(&after);
    for _ in 0..3 {
        assert!(Arc::ptr_eq(&pools.registry.bind(&before), &old));
        assert!(Arc::ptr_eq(&pools.registry.bind(&after), &new));
    }
    let permit = pools.pick(&mut Dice::new(1)).unwrap();
    assert_eq!(pools.endpoints()[0]["weight"], 2);
    let name = VendorName::new("v");
    let of_old = old.find(&name).unwrap().pool.status(SystemClock.now());
    assert_eq!(
        (of_old.endpoints[0].weight, of_old.endpoints[0].inflight),
        (1, 1),
        "both see the same address"
    );
    drop(permit);
}

#[tokio::test]
async fn an_address_that_joins_gets_its_share_bit_by_bit() {
    let pools = Pools::start().await;
    let pool = "strategy = \"random\", slow_start_ms = 1000, addresses = [{ url = \"http://a.test\" }";
    pools.apply(&format!("{pool}]")).await;
    tokio::time::sleep(Duration::from_millis(1050)).await;
    pools.apply(&format!("{pool}, {{ url = \"http://b.test\" }}]")).await;
    let mut dice = Dice::new(1);
    let mut share = |calls: usize| {
        let _held: Vec<_> = (0..calls).map(|_| pools.pick(&mut dice).unwrap()).collect();
        pools.inflight()[1]
    };
    let early = share(400);
    assert!(early > 0 && early < 130, "{early} of 400");
    tokio::time::sleep(Duration::from_millis(1050)).await;
    let late = share(400);
    assert!((150..250).contains(&late), "{late} of 400");
}

#[tokio::test]
async fn many_callers_at_once_leave_nothing_behind() {
    let pools = Arc::new(Pools::start().await);
    let fault = Fault::of(FaultClass::ServerError);
    for strategy in [
        "round_robin",
        "weighted_round_robin",
        "random",
        "least_inflight",
        "p2c_ewma",
        "consistent_hash",
    ] {
        let urls: Vec<_> = (0..4)
            .map(|at| {
                format!(
                    "{{ url = \"http://n{at}.{}.test\", weight = {} }}",
                    strategy.replace('_', "-"),
                    at + 1
                )
            })
            .collect();
        let pool = format!(
            "strategy = \"{strategy}\", breaker = {{ consecutive_failures = 3, open_ms = 1, max_open_ms = 2 }}, addresses = [{}]",
            urls.join(", ")
        );
        pools.apply(&pool).await;
        let none = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (pools, fault, none) = (&pools, &fault, &none);
                scope.spawn(move || {
                    let mut dice = Dice::new(thread);
                    for _ in 0..2000 {
                        let Some(mut permit) = pools.pick(&mut dice) else {
                            none.fetch_add(1, Relaxed);
                            continue;
                        };
                        permit.answered();
                        match dice.below(3) {
                            0 => permit.succeed(),
                            1 => permit.fail(fault, None, &pools.model),
                            _ => {}
                        }
                    }
                });
            }
        });
        assert_eq!(pools.inflight(), [0; 4], "{strategy}");
        assert!(none.load(Relaxed) < 16_000, "{strategy}");
        // No probe is left behind that keeps an address closed for ever.
        std::thread::sleep(Duration::from_millis(5));
        let mut dice = Dice::new(9);
        let mut closed = || {
            if let Some(mut permit) = pools.pick(&mut dice) {
                permit.succeed();
            }
            pools.endpoints().iter().all(|endpoint| endpoint["breaker"] == "closed")
        };
        assert!((0..10_000).any(|_| closed()), "{strategy}: {:?}", pools.endpoints());
    }
}

#[tokio::test]
async fn a_pinned_connection_goes_to_its_address_and_speaks_to_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let identity = self_signed("models.test");
    let listener = BoundListener::bind(([127, 0, 0, 1], 0).into(), &identity.files(dir.path()))
        .await
        .unwrap();
    let port = listener.address().port();
    let router = Router::new().route(
        "/v1",
        get(async |headers: HeaderMap| headers["host"].to_str().unwrap().to_owned()),
    );
    let tasks = Tasks::default();
    tasks.spawn(listener.serve(router, tasks.clone(), Duration::from_secs(1)));
    let transport = HyperTransport::new(Some(identity.pem().as_bytes())).unwrap();
    let ask = async |transport: &dyn Transport, host: &str| -> Result<Bytes, TransportError> {
        let request = UpstreamRequest {
            method: http::Method::GET,
            uri: format!("https://{host}:{port}/v1").parse().unwrap(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            dialogue: None,
            deadlines: Deadlines {
                connect: Duration::from_secs(5),
                head: Duration::from_secs(5),
            },
        };
        let reply = transport.send(request).await?;
        Ok(reply.body.collect().await?.to_bytes())
    };
    let pinned = transport.pinned([127, 0, 0, 1].into()).unwrap();
    let host = ask(pinned.as_ref(), "models.test").await.unwrap();
    assert_eq!(host, format!("models.test:{port}"));
    let wrong_name = ask(pinned.as_ref(), "other.test").await;
    assert_eq!(
        wrong_name,
        Err(TransportError::Connect),
        "the certificate is judged by the name"
    );
    let elsewhere = transport.pinned([127, 0, 0, 2].into()).unwrap();
    assert_eq!(
        ask(elsewhere.as_ref(), "models.test").await,
        Err(TransportError::Connect)
    );
    assert_eq!(
        ask(&transport, "models.test").await,
        Err(TransportError::Connect),
        "nobody resolves it"
    );
    tasks.drain(Duration::from_secs(2)).await;
}
