//! What a registration must say for its authentication method, and what the client may sign with.

use std::{fmt, net::IpAddr};

use oauth_wire::{ClientAuthMethod, HmacAlg, SigningAlg};
use service_kit::peer::DistinguishedName;
use url::Url;

use super::{client::Client, reach::MAX_URL_BYTES};

/// Longest subject or name that a certificate is registered by, in bytes.
const MAX_SUBJECT_BYTES: usize = 1024;

/// What is wrong with a registration: the member by its RFC name, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFault {
    pub member: &'static str,
    pub reason: String,
}

impl fmt::Display for ClientFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.member, self.reason)
    }
}

/// With what clients may sign that are registered for no certain algorithm: strongest first.
pub const SIGNING_ALGS: [SigningAlg; 10] = [
    SigningAlg::Ps256,
    SigningAlg::Es256,
    SigningAlg::EdDsa,
    SigningAlg::Rs256,
    SigningAlg::Ps384,
    SigningAlg::Ps512,
    SigningAlg::Es384,
    SigningAlg::Es512,
    SigningAlg::Rs384,
    SigningAlg::Rs512,
];

impl Client {
    /// Whether its tokens are bound to a key or certificate of the client's.
    pub fn is_sender_constrained(&self) -> bool {
        self.protocol.dpop_bound_access_tokens || self.protocol.tls_client_certificate_bound_access_tokens
    }

    /// Whether its refresh tokens stay what they are. Those of a client that authenticates, and whose tokens are bound, are of no use to anybody else,
    /// so that rotation would only lose them (FAPI 2.0 §5.3.2.1: no rotation; RFC 9700 §2.2.2 asks it of public clients).
    pub fn keeps_refresh_tokens(&self) -> bool {
        !self.is_public() && self.is_sender_constrained()
    }

    /// By which algorithms the client may sign requests and assertions. The registration decides, never a token's header: the
    /// algorithm that it names for the purpose, or else all that fit. Who keeps FAPI's rules, by name or by binding its tokens, does
    /// not get PKCS #1 v1.5 (FAPI 2.0 §5.4.1).
    pub fn signing_algs(&self, registered: Option<SigningAlg>) -> Vec<SigningAlg> {
        let all = match (self.protocol.security_profile, self.is_sender_constrained()) {
            (Some(_), _) => &super::security_profile::SecurityProfile::SIGNING_ALGS[..],
            (None, true) => &SigningAlg::DPOP[..],
            (None, false) => &SIGNING_ALGS[..],
        };
        match registered {
            Some(one) => all.iter().copied().filter(|alg| *alg == one).collect(),
            None => all.to_vec(),
        }
    }

    /// By which algorithms the client may sign its assertions (`token_endpoint_auth_signing_alg`); none unless its method is
    /// `private_key_jwt`.
    pub fn assertion_algs(&self) -> Vec<SigningAlg> {
        match &self.protocol.token_endpoint_auth_signing_alg {
            _ if self.token_endpoint_auth_method != ClientAuthMethod::PrivateKeyJwt => Vec::new(),
            None => self.signing_algs(None),
            Some(word) => SigningAlg::from_wire(word)
                .map(|alg| self.signing_algs(Some(alg)))
                .unwrap_or_default(),
        }
    }

    /// By which algorithms the client may sign assertions that are grants (RFC 7523 §2.1) about itself: those of its authentication if it
    /// signs for that as well, else all that fit.
    pub fn grant_algs(&self) -> Vec<SigningAlg> {
        match self.token_endpoint_auth_method {
            ClientAuthMethod::PrivateKeyJwt => self.assertion_algs(),
            _ => self.signing_algs(None),
        }
    }

    /// As [`Client::assertion_algs`], for `client_secret_jwt`.
    pub fn assertion_macs(&self) -> Vec<HmacAlg> {
        match &self.protocol.token_endpoint_auth_signing_alg {
            _ if self.token_endpoint_auth_method != ClientAuthMethod::ClientSecretJwt => Vec::new(),
            None => HmacAlg::ALL.to_vec(),
            Some(word) => HmacAlg::from_wire(word).into_iter().collect(),
        }
    }

    /// Fewest bytes of a secret that is used as a key (RFC 7518 §3.2).
    pub fn min_secret_bytes(&self) -> usize {
        match self.assertion_macs().as_slice() {
            [] => 1,
            [HmacAlg::Hs384] => 48,
            [HmacAlg::Hs512] => 64,
            [..] => 32,
        }
    }
}

/// What the registration lacks, or has too much of, for its method.
pub fn faults(client: &Client) -> Vec<ClientFault> {
    let mut faults = Faults::default();
    faults.keys(client);
    faults.signing_alg(client);
    faults.subjects(client);
    let mut faults = faults.0;
    if let Some(profile) = client.protocol.security_profile {
        faults.extend(profile.faults(client));
    }
    faults
}

#[derive(Default)]
struct Faults(Vec<ClientFault>);

impl Faults {
    fn add(&mut self, member: &'static str, reason: impl Into<String>) {
        self.0.push(ClientFault {
            member,
            reason: reason.into(),
        });
    }

    fn keys(&mut self, client: &Client) {
        let (method, protocol) = (client.token_endpoint_auth_method, &client.protocol);
        let needs_keys = matches!(
            method,
            ClientAuthMethod::PrivateKeyJwt | ClientAuthMethod::SelfSignedTlsClientAuth
        );
        match (&protocol.jwks, &protocol.jwks_uri) {
            // RFC 7591 §2.
            (Some(_), Some(_)) => self.add("jwks", "jwks and jwks_uri exclude each other"),
            (None, None) if needs_keys => self.add("jwks", format!("{} needs jwks or jwks_uri", method.as_str())),
            (_, Some(uri)) if !is_web_url(uri) => self.add("jwks_uri", "must be an http or https URL without fragment"),
            _ => {}
        }
    }

    fn signing_alg(&mut self, client: &Client) {
        const MEMBER: &str = "token_endpoint_auth_signing_alg";
        let Some(word) = &client.protocol.token_endpoint_auth_signing_alg else {
            return;
        };
        match client.token_endpoint_auth_method {
            ClientAuthMethod::PrivateKeyJwt if SigningAlg::from_wire(word).is_none() => {
                self.add(MEMBER, format!("must be {}", SigningAlg::listed(&SIGNING_ALGS)));
            }
            ClientAuthMethod::PrivateKeyJwt if client.assertion_algs().is_empty() => {
                let fitting = SigningAlg::listed(&client.signing_algs(None));
                self.add(MEMBER, format!("must be {fitting} for a client whose tokens are bound"));
            }
            ClientAuthMethod::ClientSecretJwt if HmacAlg::from_wire(word).is_none() => {
                self.add(MEMBER, "must be HS256, HS384 or HS512 for client_secret_jwt");
            }
            // For a method that signs nothing it says nothing: certified relying parties register one all the same. What is not advertised
            // is not kept even so.
            _ if SigningAlg::from_wire(word).is_none() && HmacAlg::from_wire(word).is_none() => {
                self.add(MEMBER, "is not supported");
            }
            _ => {}
        }
    }

    /// RFC 8705 §2.1.2.
    fn subjects(&mut self, client: &Client) {
        let method = client.token_endpoint_auth_method;
        let named: Vec<(&'static str, &str)> = certificate_subjects(client);
        match (method, named.as_slice()) {
            (ClientAuthMethod::TlsClientAuth, [(member, value)]) => {
                if let Some(reason) = subject_fault(member, value) {
                    self.add(member, reason);
                }
            }
            (ClientAuthMethod::TlsClientAuth, []) => self.add(
                "tls_client_auth_subject_dn",
                "tls_client_auth needs a subject: tls_client_auth_subject_dn, _san_dns, _san_uri, _san_ip or _san_email",
            ),
            (ClientAuthMethod::TlsClientAuth, [_, (second, _), ..]) => {
                self.add(second, "tls_client_auth has exactly one subject");
            }
            (_, [(first, _), ..]) => self.add(first, "belongs to tls_client_auth"),
            (_, []) => {}
        }
    }
}

/// By what a certificate of the client's is known, by member.
pub fn certificate_subjects(client: &Client) -> Vec<(&'static str, &str)> {
    let protocol = &client.protocol;
    [
        ("tls_client_auth_subject_dn", &protocol.tls_client_auth_subject_dn),
        ("tls_client_auth_san_dns", &protocol.tls_client_auth_san_dns),
        ("tls_client_auth_san_uri", &protocol.tls_client_auth_san_uri),
        ("tls_client_auth_san_ip", &protocol.tls_client_auth_san_ip),
        ("tls_client_auth_san_email", &protocol.tls_client_auth_san_email),
    ]
    .into_iter()
    .filter_map(|(member, value)| Some((member, value.as_deref()?)))
    .collect()
}

fn subject_fault(member: &str, value: &str) -> Option<&'static str> {
    if value.len() > MAX_SUBJECT_BYTES {
        return Some("must not be longer than 1024 bytes");
    }
    let is_host_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '*');
    match member {
        "tls_client_auth_san_dns" if value.is_empty() || !value.chars().all(is_host_character) => {
            Some("must be a DNS name")
        }
        "tls_client_auth_san_uri" if Url::parse(value).is_err() => Some("must be a URI"),
        "tls_client_auth_san_ip" if value.parse::<IpAddr>().is_err() => Some("must be an IP address"),
        "tls_client_auth_san_email" if !value.contains('@') => Some("must be an e-mail address"),
        "tls_client_auth_subject_dn" if value.parse::<DistinguishedName>().is_err() => {
            Some("must be a distinguished name (RFC 4514)")
        }
        _ => None,
    }
}

fn is_web_url(text: &str) -> bool {
    let is_web = |url: Url| matches!(url.scheme(), "https" | "http") && url.has_host() && url.fragment().is_none();
    text.len() <= MAX_URL_BYTES && Url::parse(text).is_ok_and(is_web)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use oauth_wire::{GrantType, Scope};
    use serde_json::Map;

    use super::*;
    use crate::domain::{
        client::{ClientLinks, ClientStatus},
        client_protocol::ClientProtocol,
        ids::{ClientId, TenantId},
    };

    /// A client that has what its method needs.
    pub(crate) fn client(method: ClientAuthMethod) -> Client {
        let needs_keys = matches!(
            method,
            ClientAuthMethod::PrivateKeyJwt | ClientAuthMethod::SelfSignedTlsClientAuth
        );
        let protocol = ClientProtocol {
            jwks: needs_keys.then(Map::new),
            tls_client_auth_san_dns: (method == ClientAuthMethod::TlsClientAuth).then(|| "c.example".into()),
            ..ClientProtocol::default()
        };
        Client {
            client_id: ClientId::new("c"),
            tenant: TenantId::new("default"),
            client_name: "c".into(),
            secrets: Vec::new(),
            token_endpoint_auth_method: method,
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            grant_types: [GrantType::ClientCredentials].into(),
            response_types: BTreeSet::new(),
            scope: Scope::default(),
            links: ClientLinks::default(),
            first_party: false,
            auto_approve: false,
            require_pkce: true,
            access_token_ttl: None,
            refresh_token_ttl: None,
            id_token_signed_response_alg: SigningAlg::Rs256,
            access_token_signing_alg: SigningAlg::Es256,
            ai_interfaces: None,
            permissions: BTreeSet::new(),
            status: ClientStatus::Active,
            protocol,
        }
    }

    fn members(method: ClientAuthMethod, change: impl FnOnce(&mut ClientProtocol)) -> Vec<&'static str> {
        let mut client = client(method);
        change(&mut client.protocol);
        faults(&client).into_iter().map(|fault| fault.member).collect()
    }

    #[test]
    fn a_client_that_has_what_its_method_needs_has_no_fault() {
        for method in ClientAuthMethod::ALL {
            assert_eq!(members(*method, |_| {}), [""; 0], "{}", method.as_str());
        }
    }

    #[test]
    fn keys_come_in_one_way_and_are_there_when_the_method_needs_them() {
        use ClientAuthMethod::{ClientSecretBasic, PrivateKeyJwt, SelfSignedTlsClientAuth};
        let uri = || Some("https://c.example/jwks".to_owned());
        for method in [PrivateKeyJwt, SelfSignedTlsClientAuth] {
            assert_eq!(members(method, |protocol| protocol.jwks = None), ["jwks"]);
            assert_eq!(members(method, |protocol| protocol.jwks_uri = uri()), ["jwks"]);
            let remote = |protocol: &mut ClientProtocol| (protocol.jwks, protocol.jwks_uri) = (None, uri());
            assert_eq!(members(method, remote), [""; 0]);
        }
        // For request objects and encryption other methods have keys as well.
        assert_eq!(
            members(ClientSecretBasic, |protocol| protocol.jwks_uri = uri()),
            [""; 0]
        );
        for bad in ["ftp://c.example/jwks", "c.example", "https://c.example/#x", ""] {
            let found = members(ClientSecretBasic, |protocol| protocol.jwks_uri = Some(bad.into()));
            assert_eq!(found, ["jwks_uri"], "{bad}");
        }
    }

    #[test]
    fn a_signing_algorithm_fits_its_method() {
        use ClientAuthMethod::{ClientSecretBasic, ClientSecretJwt, PrivateKeyJwt};
        for (method, word, good) in [
            (PrivateKeyJwt, "PS256", true),
            (PrivateKeyJwt, "RS256", true),
            (PrivateKeyJwt, "HS256", false),
            (PrivateKeyJwt, "none", false),
            (ClientSecretJwt, "HS512", true),
            (ClientSecretJwt, "RS256", false),
            // It says nothing about a method that signs nothing.
            (ClientSecretBasic, "PS256", true),
            (ClientSecretBasic, "HS256", true),
            (ClientSecretBasic, "none", false),
            (ClientSecretBasic, "\u{202e}652SP", false),
        ] {
            let found = members(method, |protocol| {
                protocol.token_endpoint_auth_signing_alg = Some(word.into());
            });
            assert_eq!(found.is_empty(), good, "{} {word}: {found:?}", method.as_str());
        }
    }

    #[test]
    fn tls_client_auth_has_exactly_one_sound_subject_and_others_have_none() {
        use ClientAuthMethod::{ClientSecretBasic, SelfSignedTlsClientAuth, TlsClientAuth};
        let without = |protocol: &mut ClientProtocol| protocol.tls_client_auth_san_dns = None;
        assert_eq!(members(TlsClientAuth, without), ["tls_client_auth_subject_dn"]);
        let two = |protocol: &mut ClientProtocol| protocol.tls_client_auth_san_ip = Some("192.0.2.1".into());
        assert_eq!(members(TlsClientAuth, two), ["tls_client_auth_san_ip"]);
        for method in [ClientSecretBasic, SelfSignedTlsClientAuth] {
            assert_eq!(members(method, two), ["tls_client_auth_san_ip"]);
        }
        let odd = |protocol: &mut ClientProtocol| protocol.tls_client_auth_san_dns = Some("c example".into());
        assert_eq!(members(TlsClientAuth, odd), ["tls_client_auth_san_dns"]);
    }

    #[test]
    fn the_registration_decides_what_a_client_signs_with() {
        let mut client = client(ClientAuthMethod::PrivateKeyJwt);
        assert!(client.assertion_algs().contains(&SigningAlg::Rs256));
        assert_eq!(client.assertion_macs(), []);
        client.protocol.token_endpoint_auth_signing_alg = Some("ES256".into());
        assert_eq!(client.assertion_algs(), [SigningAlg::Es256]);
        client.protocol.token_endpoint_auth_signing_alg = None;
        client.protocol.dpop_bound_access_tokens = true;
        assert!(!client.assertion_algs().iter().any(|alg| alg.as_str().starts_with("RS")));
        client.protocol.security_profile = Some(crate::domain::security_profile::SecurityProfile::Fapi2);
        assert_eq!(
            client.assertion_algs(),
            [SigningAlg::Ps256, SigningAlg::Es256, SigningAlg::EdDsa]
        );
        // A word from a time with other rules verifies nothing.
        client.protocol.token_endpoint_auth_signing_alg = Some("RS256".into());
        assert_eq!(client.assertion_algs(), []);
    }

    #[test]
    fn a_secret_is_as_long_as_the_hash_that_it_keys() {
        let mut client = client(ClientAuthMethod::ClientSecretJwt);
        let mut least = |alg: Option<&str>| {
            client.protocol.token_endpoint_auth_signing_alg = alg.map(str::to_owned);
            client.min_secret_bytes()
        };
        assert_eq!((least(None), least(Some("HS256"))), (32, 32));
        assert_eq!((least(Some("HS384")), least(Some("HS512"))), (48, 64));
    }
}
