//! What is done about addresses beside the calls: names are looked up, health is checked. One task, a bounded number of questions at
//! a time, and nothing that a call waits for.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use http::{Method, header};
use service_kit::{Clock, Tasks, Timestamp};
use tokio::time::Instant;

use super::{BoundPool, EndpointKey, Member, PoolStatus};
use crate::{
    application::{
        registry::{BoundVendor, BoundVendors, Registry},
        snapshots::Snapshots,
    },
    domain::vendor::HealthCheck,
    ports::{
        codec::Outgoing,
        resolver::Resolver,
        transport::{Deadlines, UpstreamBody},
    },
};

/// How often it is looked what is due.
const TICK: Duration = Duration::from_millis(200);
/// A look-up that takes longer found nothing.
const LOOK_UP_TIME: Duration = Duration::from_secs(5);
/// Questions under way at a time.
const MAX_JOBS: usize = 16;
/// An answer to a health check is read up to here, so that its connection can be used again.
const MAX_HEALTH_BYTES: usize = 64 * 1024;

/// Looks names up and checks health, until the process stops.
#[derive(Debug)]
pub struct KeepPools {
    pub snapshots: Arc<Snapshots>,
    pub registry: Arc<Registry>,
    pub resolver: Arc<dyn Resolver>,
    pub clock: Arc<dyn Clock>,
    /// How often names are looked up. What a record allows (its TTL) the system's resolver does not tell.
    pub look_up_every: Duration,
}

/// Something that is done again and again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Job {
    LookUp(Box<str>),
    Check(EndpointKey),
}

enum Done {
    LookedUp(Box<str>, Option<Vec<IpAddr>>),
    Checked(Arc<Member>, bool),
}

/// When what is due next; `None` while it is under way.
type Agenda = HashMap<Job, Option<Instant>>;

impl KeepPools {
    pub const LOOK_UP_EVERY: Duration = Duration::from_secs(5);

    pub async fn run(self: Arc<Self>, tasks: Tasks) {
        let mut agenda = Agenda::new();
        let mut jobs: FuturesUnordered<BoxFuture<'static, (Job, Duration, Done)>> = FuturesUnordered::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = tasks.stopping() => return,
                _ = ticks.tick() => {
                    let bound = self.registry.bind(&self.snapshots.current());
                    self.refresh(&bound);
                    for job in self.due(&bound, &mut agenda, MAX_JOBS.saturating_sub(jobs.len())) {
                        jobs.push(job);
                    }
                }
                Some((job, again, done)) = jobs.next() => {
                    // What is no longer configured was taken off the agenda.
                    if let Some(due) = agenda.get_mut(&job) {
                        *due = Some(Instant::now() + again);
                    }
                    self.take(done);
                }
            }
        }
    }

    /// For `/status`: the addresses of every vendor.
    pub fn status(&self, now: Timestamp) -> Vec<PoolStatus> {
        self.registry.status(&self.snapshots.current(), now)
    }

    fn refresh(&self, bound: &BoundVendors) {
        for vendor in bound.iter() {
            vendor.pool.refresh(self.registry.endpoints());
        }
    }

    /// Brings the agenda in line with the configuration and begins what is due, up to `room`.
    fn due(
        &self,
        bound: &Arc<BoundVendors>,
        agenda: &mut Agenda,
        mut room: usize,
    ) -> Vec<BoxFuture<'static, (Job, Duration, Done)>> {
        let mut begun = Vec::new();
        let mut wanted = Vec::new();
        let now = Instant::now();
        let mut begin = |job: &Job, agenda: &mut Agenda| {
            let due = agenda.entry(job.clone()).or_insert(Some(now));
            let begins = room > 0 && due.is_some_and(|due| due <= now);
            if begins {
                room -= 1;
                *due = None;
            }
            begins
        };
        for vendor in bound.iter() {
            let pool = &vendor.pool;
            for host in pool.hosts() {
                let job = Job::LookUp(host.into());
                if begin(&job, agenda) {
                    begun.push(self.look_up(job.clone(), host));
                }
                wanted.push(job);
            }
            let Some(health) = pool.health() else { continue };
            for member in pool.members.load().iter() {
                let job = Job::Check(pool.key_of(member));
                if begin(&job, agenda)
                    && let Some(request) = question(vendor, member, self.clock.now())
                {
                    begun.push(check(job.clone(), health, request, Arc::clone(member)));
                }
                wanted.push(job);
            }
        }
        if agenda.len() > wanted.len() {
            agenda.retain(|job, _| wanted.contains(job));
            let hosts: Vec<_> = wanted
                .into_iter()
                .filter_map(|job| match job {
                    Job::LookUp(host) => Some(host),
                    Job::Check(_) => None,
                })
                .collect();
            self.registry.endpoints().forget_records_except(&hosts);
        }
        begun
    }

    fn look_up(&self, job: Job, host: &str) -> BoxFuture<'static, (Job, Duration, Done)> {
        let resolver = Arc::clone(&self.resolver);
        let (host, again): (Box<str>, _) = (host.into(), self.look_up_every);
        Box::pin(async move {
            let found = tokio::time::timeout(LOOK_UP_TIME, resolver.resolve(&host)).await;
            (job, again, Done::LookedUp(host, found.ok().flatten()))
        })
    }

    fn take(&self, done: Done) {
        match done {
            // A name without records is a mistake of whoever keeps it, more likely than an order to stop: the last ones stay.
            Done::LookedUp(_, None) => {}
            Done::LookedUp(_, Some(found)) if found.is_empty() => {}
            Done::LookedUp(host, Some(found)) => {
                let endpoints = self.registry.endpoints();
                if endpoints.note_records(&host, found) {
                    tracing::info!(server.address = &*host, "a name stands for other addresses than before");
                    self.refresh(&self.registry.bind(&self.snapshots.current()));
                    endpoints.forget_unused();
                }
            }
            Done::Checked(member, passed) => {
                self.registry.endpoints().common.meters.checked(passed);
                member.endpoint.note_check(passed);
            }
        }
    }
}

impl BoundPool {
    fn key_of(&self, member: &Member) -> EndpointKey {
        EndpointKey {
            vendor: self.vendor.clone(),
            strategy: self.vendor_strategy.clone(),
            url: member.endpoint.url.clone(),
            address: member.endpoint.address,
        }
    }
}

/// Asks one address. It is asked with the vendor's credentials, which calls send there as well: many servers answer nobody else.
/// The request that asks an address whether it works, signed as calls are where that takes no token that is bought.
fn question(vendor: &BoundVendor, member: &Member, at: Timestamp) -> Option<Outgoing> {
    let mut headers = vendor.headers();
    headers.remove(header::CONTENT_TYPE);
    let mut request = Outgoing {
        method: Method::GET,
        uri: member.health_uri.clone()?,
        headers,
        body: Vec::new(),
        dialogue: None,
    };
    vendor.signer.sign(&mut request, at, None);
    Some(request)
}

fn check(
    job: Job,
    health: &HealthCheck,
    request: Outgoing,
    member: Arc<Member>,
) -> BoxFuture<'static, (Job, Duration, Done)> {
    let HealthCheck {
        interval,
        timeout,
        expect_status,
        ..
    } = *health;
    Box::pin(async move {
        let asked = tokio::time::timeout(timeout, ask(&member, request, timeout)).await;
        let passed = asked.is_ok_and(|status| status == Some(expect_status));
        (job, interval, Done::Checked(member, passed))
    })
}

async fn ask(member: &Member, question: Outgoing, timeout: Duration) -> Option<u16> {
    let request = question.within(Deadlines {
        connect: timeout,
        head: timeout,
    });
    let reply = member.transport().send(request).await.ok()?;
    let status = reply.status.as_u16();
    // What the body says is nobody's business; a body that does not end ends the connection.
    drain(reply.body).await;
    Some(status)
}

async fn drain(mut body: UpstreamBody) {
    let mut seen = 0;
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        seen += frame.data_ref().map_or(0, bytes::Bytes::len);
        if seen > MAX_HEALTH_BYTES {
            return;
        }
    }
}
