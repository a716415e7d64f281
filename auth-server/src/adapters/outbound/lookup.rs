//! From names to addresses, and which of them may be used.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::domain::reach::is_public;

/// Threads that ask the system's resolver at the same time. A name server that never answers holds one for as long as the system
/// waits, even after the request has been given up.
const LOOKUPS: usize = 32;

/// Turns names into addresses.
#[async_trait]
pub trait HostLookup: Send + Sync + fmt::Debug {
    /// # Errors
    /// When the name does not exist or nobody answers.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Debug)]
pub struct SystemLookup {
    slots: Arc<Semaphore>,
}

impl Default for SystemLookup {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }
}

#[async_trait]
impl HostLookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let slot = self.slots.clone().acquire_owned().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        let found = tokio::task::spawn_blocking(move || {
            // Given back when the thread is free again, not when the caller has lost patience.
            let _slot = slot;
            (host.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
        });
        let addresses = found.await.map_err(io::Error::other)??;
        Ok(addresses.into_iter().map(|address| address.ip()).collect())
    }
}

/// None of a name's addresses is public.
#[derive(Debug, thiserror::Error)]
#[error("the name has no public address")]
pub(super) struct NotPublic;

/// Resolves to public addresses only. The connection is made to what this has let through: there is no second look-up.
#[derive(Debug)]
pub(super) struct PublicOnly(pub(super) Arc<dyn HostLookup>);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.0.clone();
        Box::pin(async move {
            let found = lookup.lookup(name.as_str()).await?;
            let is_known = !found.is_empty();
            let public: Vec<IpAddr> = found.into_iter().filter(|address| is_public(*address)).collect();
            match public.is_empty() && is_known {
                true => Err(NotPublic.into()),
                false => Ok(addresses(public)),
            }
        })
    }
}

/// Resolves without a rule, for hosts that the operator has named.
#[derive(Debug)]
pub(super) struct AnyAddress(pub(super) Arc<dyn HostLookup>);

impl Resolve for AnyAddress {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.0.clone();
        Box::pin(async move { Ok(addresses(lookup.lookup(name.as_str()).await?)) })
    }
}

/// Port 0 stands for the URL's.
fn addresses(found: Vec<IpAddr>) -> Addrs {
    Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)))
}
