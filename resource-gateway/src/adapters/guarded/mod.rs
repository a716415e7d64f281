//! Places that callers, administrators and vendors name: asked as a stranger, and only where the operator lets anybody go.
//!
//! A name is resolved once for each connection, by us: addresses that are neither public nor listed are dropped before anything
//! connects. Connections are not kept, so that no name is looked up for one URL and used for another.

pub mod fetching;
pub mod webhooks;

use std::net::IpAddr;

use reqwest::{
    Certificate, Client, ClientBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect, retry,
};
use service_kit::Reach;
use url::{Host, Url};

/// The beginning of a client, which connects to what is in reach and to nothing else. `extra_ca` is PEM.
fn client(reach: Reach, extra_ca: Option<&[u8]>) -> Result<ClientBuilder, reqwest::Error> {
    let builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .user_agent(concat!("Hexgate/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .pool_max_idle_per_host(0)
        .dns_resolver(Guarded(reach));
    let extra = Certificate::from_pem_bundle(extra_ca.unwrap_or_default())?;
    Ok(extra.into_iter().fold(builder, ClientBuilder::add_root_certificate))
}

/// Resolves to what may be connected to.
#[derive(Debug, Clone)]
struct Guarded(Reach);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            let allowed = reach.resolve(name.as_str()).await?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// A URL that all parsers read alike.
fn parse(text: &str) -> Option<Url> {
    // RFC 3986 §2: nothing else is part of a URI; parsers disagree about the rest.
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    Url::parse(text).ok().filter(|_| plain)
}

/// The address that a URL names without a name: no resolver is asked about that.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}
