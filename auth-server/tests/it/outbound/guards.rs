//! Guarded clients for tests, and the name servers that they ask.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use auth_server::{
    adapters::outbound::{Crowd, ExtraRoots, GuardSettings, GuardedOutbound, HostLookup},
    bootstrap::{Ambient, Provider},
    config::Config,
    ports::outbound::{OutboundError, OutboundReply, Refusal},
};

use super::host::Host;

pub(crate) const CLIENT: &str = "client.example";
pub(crate) const NOT_PUBLIC: Result<OutboundReply, OutboundError> = Err(OutboundError::Refused(Refusal::NotPublic));
/// Long enough for any machine: no good exchange comes near it.
pub(crate) const PATIENT: Duration = Duration::from_secs(30);
/// Given to hosts that would take for ever.
pub(crate) const SHORT: Duration = Duration::from_millis(300);
/// A public address that is not assigned to anybody, so that nothing answers there.
pub(crate) const NOBODY: &str = "2000::1";

/// Name servers of a test: each name has a list of answers, of which the last one stays.
#[derive(Debug, Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<&'static str, Vec<Vec<IpAddr>>>>,
    asked: AtomicUsize,
}

impl Names {
    pub(crate) fn of(names: &[(&'static str, &[&[&str]])]) -> Arc<Self> {
        let read = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        let answers = names
            .iter()
            .map(|(name, answers)| (*name, answers.iter().map(read).collect()))
            .collect();
        Arc::new(Self {
            answers: Mutex::new(answers),
            ..Self::default()
        })
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl HostLookup for Names {
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut names = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match names.get_mut(host) {
            Some(answers) if answers.len() > 1 => Ok(answers.remove(0)),
            Some(answers) => Ok(answers[0].clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Every name is this machine.
#[derive(Debug)]
pub(crate) struct Here;

impl HostLookup for Here {
    fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

/// A guarded client that allows what is listed.
pub(crate) fn settings(allowed: &[&str]) -> GuardSettings {
    GuardSettings {
        roots: ExtraRoots::default(),
        allowed: allowed.iter().map(|host| host.parse().unwrap()).collect(),
        fetch_deadline: PATIENT,
        delivery_deadline: PATIENT,
        crowd: Crowd::default(),
        lookup: Arc::new(Here),
    }
}

/// The one that most tests use: plain text from 127.0.0.1 is allowed. Shared, for the system's certificates take a while to read.
pub(crate) fn client() -> &'static GuardedOutbound {
    static CLIENT: LazyLock<GuardedOutbound> = LazyLock::new(|| GuardedOutbound::new(settings(&["127.0.0.1"])));
    &CLIENT
}

pub(crate) fn impatient() -> GuardedOutbound {
    GuardedOutbound::new(GuardSettings {
        fetch_deadline: SHORT,
        delivery_deadline: SHORT,
        ..settings(&["127.0.0.1"])
    })
}

pub(crate) fn with_roots(pem: &[u8], host: &Host) -> GuardedOutbound {
    GuardedOutbound::new(GuardSettings {
        roots: ExtraRoots::from_pem(pem).unwrap(),
        ..settings(&[&format!("{CLIENT}:{}", host.port())])
    })
}

pub(crate) async fn start_error(extra_ca: &Path, keys: &Path) -> String {
    let mut config = Config::default();
    config.database.url = "sqlite::memory:".into();
    config.keys.dir = keys.to_owned();
    config.outbound.extra_ca = Some(extra_ca.to_owned());
    format!("{:#}", Provider::build(&config, Ambient::default()).await.unwrap_err())
}

/// A name server that holds on to those who ask for one name, until the test is over.
#[derive(Debug, Default)]
pub(crate) struct Stuck(pub(crate) tokio::sync::Mutex<()>);

impl HostLookup for Stuck {
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if host == "stuck.example" {
            drop(self.0.blocking_lock());
        }
        Here.lookup(host)
    }
}
