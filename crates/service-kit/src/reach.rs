//! Which addresses may be connected to on somebody else's word: URLs of callers, of administrators, of vendors.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{Network, is_public};

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// What may be connected to: listed networks, and the public internet or not.
#[derive(Debug, Clone)]
pub struct Reach {
    networks: Arc<[Network]>,
    public: bool,
}

impl Reach {
    /// These networks, and public addresses if `public`.
    pub fn new(networks: Arc<[Network]>, public: bool) -> Self {
        Self { networks, public }
    }

    /// Whether public addresses are within.
    pub fn is_public(&self) -> bool {
        self.public
    }

    pub fn covers(&self, address: IpAddr) -> bool {
        (self.public && is_public(address)) || self.networks.iter().any(|network| network.contains(address))
    }

    /// The addresses of a name that may be connected to. What connects has to use these: the name may answer differently the next time.
    ///
    /// # Errors
    /// The name is unknown, or none of its addresses is within reach.
    pub async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        let allowed: Vec<SocketAddr> = found
            .take(MAX_ADDRESSES)
            .filter(|address| self.covers(address.ip()))
            .collect();
        match allowed.is_empty() {
            true => Err(io::Error::other("the name has no address that is allowed")),
            false => Ok(allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(networks: &[&str], public: bool) -> Reach {
        let networks: Vec<Network> = networks.iter().map(|network| network.parse().unwrap()).collect();
        Reach::new(networks.into(), public)
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_has_no_address() {
        assert!(reach(&[], true).resolve("localhost").await.is_err());
        assert!(reach(&["10.0.0.0/8"], true).resolve("localhost").await.is_err());
        assert!(reach(&["127.0.0.0/8", "::1"], false).resolve("localhost").await.is_ok());
    }

    #[test]
    fn public_addresses_are_within_only_where_that_is_said() {
        let address = |text: &str| text.parse().unwrap();
        assert!(reach(&[], true).covers(address("8.8.8.8")));
        assert!(!reach(&["10.0.0.0/8"], false).covers(address("8.8.8.8")));
        assert!(reach(&["10.0.0.0/8"], false).covers(address("10.1.2.3")));
        for inside in [
            "127.0.0.1",
            "169.254.169.254",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
        ] {
            assert!(!reach(&[], true).covers(address(inside)), "{inside}");
        }
    }
}
