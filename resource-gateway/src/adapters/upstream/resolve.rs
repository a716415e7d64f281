//! Where connections go: to what the host's name stands for, or to one address that was chosen before.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use async_trait::async_trait;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service;

use crate::ports::resolver::Resolver;

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> Option<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await;
        let found = found.map_err(|error| tracing::debug!(%error, server.address = host, "a name was not resolved"));
        Some(found.ok()?.map(|address| address.ip()).collect())
    }
}

/// Answers the connector's question for addresses.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    names: GaiResolver,
    fixed: Option<IpAddr>,
}

impl Destination {
    pub(super) fn by_name() -> Self {
        Self {
            names: GaiResolver::new(),
            fixed: None,
        }
    }

    pub(super) fn fixed(address: IpAddr) -> Self {
        Self {
            fixed: Some(address),
            ..Self::by_name()
        }
    }
}

impl Service<Name> for Destination {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.names.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if let Some(address) = self.fixed {
            // The port is the URL's; the connector fills it in.
            let found = vec![SocketAddr::new(address, 0)].into_iter();
            return Box::pin(std::future::ready(Ok(found)));
        }
        let found = self.names.call(name);
        Box::pin(async move { Ok(found.await?.collect::<Vec<_>>().into_iter()) })
    }
}
