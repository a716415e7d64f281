//! From names to addresses, and which of them may be used.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::domain::reach::is_public;

/// Addresses of one name that are tried: a stranger's name server shall not make us knock at a thousand doors.
const MAX_ADDRESSES: usize = 8;

/// Turns names into addresses. It may block.
pub trait HostLookup: Send + Sync + fmt::Debug {
    /// # Errors
    /// When the name does not exist or nobody answers.
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

impl HostLookup for SystemLookup {
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// Look-ups on threads that may wait, so many at the same time and no more: a name server that never answers holds its thread for
/// as long as the system is patient, even after the request has been given up.
#[derive(Debug, Clone)]
pub(super) struct Lookups {
    lookup: Arc<dyn HostLookup>,
    places: Arc<Semaphore>,
}

impl Lookups {
    pub(super) fn new(lookup: Arc<dyn HostLookup>, places: usize) -> Self {
        Self {
            lookup,
            places: Arc::new(Semaphore::new(places)),
        }
    }

    async fn find(self, name: Name) -> io::Result<Vec<IpAddr>> {
        let place = self.places.acquire_owned().await.map_err(io::Error::other)?;
        let found = tokio::task::spawn_blocking(move || {
            // Given back when the thread is free again, not when the caller has lost patience.
            let _place = place;
            self.lookup.lookup(name.as_str())
        });
        let mut found = found.await.map_err(io::Error::other)??;
        found.truncate(MAX_ADDRESSES);
        Ok(found)
    }
}

/// None of a name's addresses is public.
#[derive(Debug, thiserror::Error)]
#[error("the name has no public address")]
pub(super) struct NotPublic;

/// Resolves to public addresses only. The connection is made to what this has let through: there is no second look-up.
#[derive(Debug)]
pub(super) struct PublicOnly(pub(super) Lookups);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.clone().find(name);
        Box::pin(async move {
            let found = found.await?;
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
pub(super) struct AnyAddress(pub(super) Lookups);

impl Resolve for AnyAddress {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.clone().find(name);
        Box::pin(async move { Ok(addresses(found.await?)) })
    }
}

/// Port 0 stands for the URL's.
fn addresses(found: Vec<IpAddr>) -> Addrs {
    Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)))
}
