//! How often a password or a code may be guessed.

use std::{net::IpAddr, time::Duration};

use service_kit::Timestamp;

use super::ids::{ClientId, TenantId, UserId, Username};

/// What attempts are counted by. Every door (sign-in page, password grant) counts on the same key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ThrottleKey {
    /// Attempts on an account from one network address, by browsers that never signed in to it. Who guesses wrong locks out their own address.
    Address(TenantId, Username, String),
    /// Attempts on an account from anywhere, by browsers that never signed in to it: a higher ceiling against guessing from many addresses.
    Account(TenantId, Username),
    /// Attempts on an account from a browser that signed in to it before, so that a stranger who exhausts the account's
    /// attempts cannot lock its owner out (OWASP device cookies).
    KnownDevice(TenantId, Username, String),
    /// Registrations of clients from one network address.
    Registration(String),
    /// Wrong secrets of a client from one network address. There is no counter of all addresses: by it a stranger could lock the client out.
    ClientSecret(ClientId, String),
    /// User codes typed at one network address (RFC 8628 §5.1).
    UserCodeAddress(String),
    /// User codes typed by somebody who is signed in, wherever.
    UserCodePerson(UserId),
    /// Device codes given to public clients at one network address.
    DeviceAddress(String),
    /// Backchannel authentication requests of one client.
    CibaClient(ClientId),
    /// Backchannel authentication requests of one client to one person.
    CibaPerson(ClientId, UserId),
    /// Hints of one client that lead to nobody.
    CibaUnknown(ClientId),
}

impl ThrottleKey {
    /// One text per key; kinds cannot collide.
    pub fn to_text(&self) -> String {
        match self {
            Self::Address(tenant, name, address) => format!("address/{tenant}/{}/{address}", name.as_str()),
            Self::Account(tenant, name) => format!("account/{tenant}/{}", name.as_str()),
            Self::KnownDevice(tenant, name, device) => format!("device/{tenant}/{}/{device}", name.as_str()),
            Self::Registration(address) => format!("registration/{address}"),
            // The address first: it holds no slash, while a client's id may be a URL.
            Self::ClientSecret(client, address) => format!("client/{address}/{client}"),
            Self::UserCodeAddress(address) => format!("user-code-address/{address}"),
            Self::UserCodePerson(user) => format!("user-code-person/{user}"),
            Self::DeviceAddress(address) => format!("device-address/{address}"),
            Self::CibaClient(client) => format!("ciba-client/{client}"),
            // Lengths first: both may hold slashes.
            Self::CibaPerson(client, user) => format!("ciba-person/{}/{user}/{client}", user.as_str().len()),
            Self::CibaUnknown(client) => format!("ciba-unknown/{client}"),
        }
    }
}

/// At most `limit` attempts in `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottlePolicy {
    pub limit: u32,
    pub window: Duration,
}

impl ThrottlePolicy {
    /// What an account bears from all addresses together.
    #[must_use]
    pub fn account_wide(self) -> Self {
        Self {
            limit: self.limit.saturating_mul(10),
            ..self
        }
    }
}

/// What counts as one address: all of an IPv4 address, the network half of an IPv6 one, of which a subscriber has as many as they like.
pub fn address_block(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => mapped.to_string(),
            None => address
                .segments()
                .into_iter()
                .take(4)
                .map(|segment| format!("{segment:x}"))
                .collect::<Vec<_>>()
                .join(":"),
        },
    }
}

/// Whether an attempt may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    Allowed,
    /// Refused until then.
    Blocked(Timestamp),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_subscriber_count_as_one() {
        let block = |text: &str| address_block(text.parse().unwrap());
        assert_eq!(block("192.0.2.7"), "192.0.2.7");
        assert_eq!(block("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(block("2001:db8:1:2::1"), block("2001:db8:1:2:ffff::9"));
        assert_ne!(block("2001:db8:1:2::1"), block("2001:db8:1:3::1"));
    }
}
