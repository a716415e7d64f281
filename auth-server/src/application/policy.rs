//! The provider's own settings, as the use cases need them.

use std::{net::IpAddr, sync::Arc, time::Duration};

use oauth_wire::{AI_SCOPE, ClientAuthMethod, Scope, SigningAlg};
use service_kit::{DpopConfig, Network};

use crate::{
    application::{assertion_issuers::AssertionIssuer, register::RegistrationPolicy},
    domain::{ciba::OpenLimits, client::Client, ids::ClientId, resource::Resources, throttle::ThrottlePolicy},
};

/// Everything that is the same for every request.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The issuer identifier, without a trailing slash; compared byte for byte everywhere.
    pub issuer: String,
    /// Base URL of the endpoints for clients with certificates (RFC 8705 §5), without a trailing slash, when they have one.
    pub mtls_base_url: Option<String>,
    /// Whether clients can show certificates.
    pub takes_certificates: bool,
    /// `aud` of tokens for the gateway.
    pub gateway_audience: String,
    /// What is signed with, the preferred one first. RS256 is among them, as OpenID Connect Core §15.1 asks.
    pub signing_algs: Vec<SigningAlg>,
    /// Every resource that tokens are issued for.
    pub resources: Resources,
    pub lifetimes: Lifetimes,
    /// Whether every client must push its authorization requests (RFC 9126 §5); one alone may be told to by its registration.
    pub require_pushed_authorization_requests: bool,
    pub login: LoginPolicy,
    pub registration: RegistrationPolicy,
    pub dpop: DpopConfig,
    pub client_auth: ClientAuthPolicy,
    pub device: DevicePolicy,
    /// Whose word about people is taken (RFC 7521 §3).
    pub assertion_issuers: Arc<[AssertionIssuer]>,
    pub ciba: CibaPolicy,
}

/// How long things live.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    pub code: Duration,
    /// How long the reference to a pushed authorization request works.
    pub pushed_request: Duration,
    pub access_token: Duration,
    /// No client's access tokens live longer; revocations are remembered for as long.
    pub max_access_token: Duration,
    pub id_token: Duration,
    pub refresh_idle: Duration,
    pub refresh_absolute: Duration,
    /// How long the reply to a refresh may be asked for again.
    pub lost_reply_window: Duration,
    pub session: Duration,
}

/// Guessing limits.
#[derive(Debug, Clone)]
pub struct LoginPolicy {
    pub throttle: ThrottlePolicy,
    /// User names that are never throttled, for conformance suites and load tests.
    pub throttle_exempt: Vec<String>,
}

/// How clients prove who they are.
#[derive(Debug, Clone)]
pub struct ClientAuthPolicy {
    /// Wrong secrets of a client from one address.
    pub throttle: ThrottlePolicy,
    /// Clients whose wrong secrets nobody counts.
    pub exempt_clients: Vec<ClientId>,
    /// Where nobody counts wrong secrets.
    pub exempt_networks: Vec<Network>,
    /// How far ahead the `exp` of an assertion may lie: its `jti` is remembered for as long.
    pub max_assertion_lifetime: Duration,
    pub certificates: Certificates,
}

/// Which client certificates can reach the provider and be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificates {
    /// Nobody asks for any.
    None,
    /// Those that a client has registered itself: there are no authorities to vouch for others.
    Registered,
    /// Those as well that an authority vouches for.
    Vouched,
}

impl ClientAuthPolicy {
    pub fn is_exempt(&self, client: &ClientId, address: Option<IpAddr>) -> bool {
        let from_exempt = |address| self.exempt_networks.iter().any(|network| network.contains(address));
        self.exempt_clients.contains(client) || address.is_some_and(from_exempt)
    }

    /// What a client can authenticate by, here and now.
    pub fn methods(&self) -> Vec<ClientAuthMethod> {
        let works = |method: &ClientAuthMethod| match method {
            ClientAuthMethod::TlsClientAuth => self.certificates == Certificates::Vouched,
            ClientAuthMethod::SelfSignedTlsClientAuth => self.certificates != Certificates::None,
            ClientAuthMethod::ClientSecretBasic
            | ClientAuthMethod::ClientSecretPost
            | ClientAuthMethod::ClientSecretJwt
            | ClientAuthMethod::PrivateKeyJwt
            | ClientAuthMethod::None => true,
        };
        ClientAuthMethod::ALL.iter().copied().filter(works).collect()
    }
}

/// Path of the token endpoint below the issuer.
pub const TOKEN_PATH: &str = "/oauth2/token";

/// Where clients authenticate, below the issuer.
pub const CLIENT_PATHS: [&str; 6] = [
    TOKEN_PATH,
    "/oauth2/par",
    "/oauth2/device_authorization",
    BACKCHANNEL_PATH,
    "/oauth2/introspect",
    "/oauth2/revoke",
];

/// The device grant's times and limits.
#[derive(Debug, Clone, Copy)]
pub struct DevicePolicy {
    /// Of both codes.
    pub lifetime: Duration,
    /// Between two polls.
    pub interval: Duration,
    /// Wrong user codes of one person, or of one address.
    pub attempts: ThrottlePolicy,
    /// Device codes of public clients at one address.
    pub requests: ThrottlePolicy,
}

/// Path of the backchannel authentication endpoint below the issuer.
pub const BACKCHANNEL_PATH: &str = "/oauth2/backchannel_authentication";

/// The times and limits of backchannel authentication.
#[derive(Debug, Clone, Copy)]
pub struct CibaPolicy {
    /// Of a request that names no `requested_expiry`.
    pub lifetime: Duration,
    /// No request waits longer.
    pub max_lifetime: Duration,
    /// Between two polls.
    pub interval: Duration,
    /// Requests that wait for a person at once.
    pub open: OpenLimits,
    /// Requests of one client.
    pub requests: ThrottlePolicy,
    /// Requests of one client to one person.
    pub per_person: ThrottlePolicy,
    /// Hints of one client that lead to nobody.
    pub unknown: ThrottlePolicy,
}

/// Scopes that have a meaning to the provider itself.
pub const OPENID: &str = "openid";
pub const OFFLINE_ACCESS: &str = "offline_access";
pub const ADMIN: &str = "admin";

/// Resources that one request may name.
const MAX_RESOURCES: usize = 16;
/// What a client is told that asks for another one.
pub const UNKNOWN_RESOURCE: &str = "resource is not one that tokens are issued for";

impl Policy {
    pub fn access_token_ttl(&self, client: &Client) -> Duration {
        client
            .access_token_ttl
            .unwrap_or(self.lifetimes.access_token)
            .min(self.lifetimes.max_access_token)
    }

    /// What is signed with where no client has a say in it.
    pub fn preferred_alg(&self) -> SigningAlg {
        self.signing_algs.first().copied().unwrap_or(SigningAlg::Rs256)
    }

    pub fn refresh_idle(&self, client: &Client) -> Duration {
        client
            .refresh_token_ttl
            .unwrap_or(self.lifetimes.refresh_idle)
            .min(self.lifetimes.refresh_absolute)
    }

    /// Whether `url` is that of an endpoint at which clients authenticate, with or without certificates (RFC 8705 §5).
    pub fn is_client_endpoint(&self, url: &str) -> bool {
        let bases = [Some(&self.issuer), self.mtls_base_url.as_ref()];
        bases
            .into_iter()
            .flatten()
            .filter_map(|base| url.strip_prefix(base.as_str()))
            .any(|path| CLIENT_PATHS.contains(&path))
    }

    /// The identifiers by which tokens name the resources that a client asks for (RFC 8707), each once; `None` when one of them is not
    /// known, or when there are too many.
    pub fn known_resources(&self, asked: Vec<String>) -> Option<Vec<String>> {
        if asked.len() > MAX_RESOURCES {
            return None;
        }
        let mut known = Vec::with_capacity(asked.len());
        for resource in asked {
            let canonical = self.resources.canonical(&resource)?;
            if !known.contains(&canonical) {
                known.push(canonical);
            }
        }
        Some(known)
    }

    /// Whom a token with this scope is for: the gateway when it opens an AI capability, the provider itself (userinfo, admin
    /// API) when it opens those or nothing else. Resources that were asked for (RFC 8707) take the place of both, but for userinfo,
    /// which `openid` always opens.
    pub fn audience<'a>(&'a self, scope: &Scope, resources: &'a [String]) -> Vec<&'a str> {
        let mut audience = Vec::with_capacity(2 + resources.len());
        if !resources.is_empty() {
            audience.extend(resources.iter().map(String::as_str));
            if scope.contains(OPENID) && !audience.contains(&self.issuer.as_str()) {
                audience.push(self.issuer.as_str());
            }
            return audience;
        }
        if scope.iter().any(|token| token.starts_with(AI_SCOPE)) {
            audience.push(self.gateway_audience.as_str());
        }
        if audience.is_empty() || scope.contains(OPENID) || scope.contains(ADMIN) {
            audience.push(self.issuer.as_str());
        }
        audience
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::application::register;

    pub(crate) fn policy() -> Policy {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Policy {
            issuer: "https://op.example".into(),
            mtls_base_url: None,
            takes_certificates: false,
            gateway_audience: "https://gateway.example".into(),
            signing_algs: SigningAlg::ISSUED.into(),
            resources: Resources::new(
                ["https://op.example".into(), "https://gateway.example".into()],
                Vec::new(),
            ),
            lifetimes: Lifetimes {
                code: minutes(1),
                pushed_request: minutes(1),
                access_token: minutes(10),
                max_access_token: minutes(60),
                id_token: minutes(10),
                refresh_idle: minutes(30),
                refresh_absolute: minutes(90),
                lost_reply_window: Duration::from_secs(10),
                session: minutes(60),
            },
            require_pushed_authorization_requests: false,
            login: LoginPolicy {
                throttle: ThrottlePolicy {
                    limit: 10,
                    window: minutes(15),
                },
                throttle_exempt: Vec::new(),
            },
            registration: register::tests::policy(),
            dpop: DpopConfig::default(),
            client_auth: ClientAuthPolicy {
                throttle: ThrottlePolicy {
                    limit: 3,
                    window: minutes(5),
                },
                exempt_clients: Vec::new(),
                exempt_networks: Vec::new(),
                max_assertion_lifetime: minutes(60),
                certificates: Certificates::None,
            },
            device: DevicePolicy {
                lifetime: minutes(10),
                interval: Duration::from_secs(5),
                attempts: ThrottlePolicy {
                    limit: 10,
                    window: minutes(10),
                },
                requests: ThrottlePolicy {
                    limit: 200,
                    window: minutes(10),
                },
            },
            assertion_issuers: Arc::default(),
            ciba: CibaPolicy {
                lifetime: minutes(5),
                max_lifetime: minutes(15),
                interval: Duration::from_secs(5),
                open: OpenLimits {
                    per_client: 2,
                    in_all: 10,
                },
                requests: ThrottlePolicy {
                    limit: 600,
                    window: minutes(10),
                },
                per_person: ThrottlePolicy {
                    limit: 10,
                    window: minutes(10),
                },
                unknown: ThrottlePolicy {
                    limit: 50,
                    window: minutes(10),
                },
            },
        }
    }

    #[test]
    fn the_audience_follows_from_the_scope() {
        let policy = policy();
        let audience = |scope: &str| policy.audience(&scope.parse().unwrap(), &[]);
        assert_eq!(audience("ai:chat"), ["https://gateway.example"]);
        assert_eq!(
            audience("openid ai:chat:support"),
            ["https://gateway.example", "https://op.example"]
        );
        assert_eq!(audience("openid profile"), ["https://op.example"]);
        assert_eq!(audience("reports:read"), ["https://op.example"]);
        let asked = ["https://api.example".to_owned()];
        let audience = |scope: &str| policy.audience(&scope.parse().unwrap(), &asked);
        assert_eq!(audience("ai:chat"), ["https://api.example"]);
        assert_eq!(
            audience("openid ai:chat"),
            ["https://api.example", "https://op.example"]
        );
    }
}
