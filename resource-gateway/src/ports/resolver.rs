//! Names of hosts.

use std::{fmt, net::IpAddr};

use async_trait::async_trait;

/// Looks names up.
#[async_trait]
pub trait Resolver: Send + Sync + fmt::Debug {
    /// Every address of a host, in any order. `None`: it could not be found out, which says nothing about the host.
    async fn resolve(&self, host: &str) -> Option<Vec<IpAddr>>;
}
