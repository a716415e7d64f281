//! Security profiles: rules that a client keeps as a whole, so that no single setting can be forgotten.

use oauth_wire::{ClientAuthMethod, GrantType, SigningAlg};
use serde::{Deserialize, Serialize};

use super::{client::Client, client_auth::ClientFault, client_protocol::AssertionAudience};

/// A profile that a client is registered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProfile {
    /// FAPI 2.0 Security Profile.
    Fapi2,
}

impl SecurityProfile {
    /// FAPI 2.0 §5.4.1.
    pub const SIGNING_ALGS: [SigningAlg; 3] = [SigningAlg::Ps256, SigningAlg::Es256, SigningAlg::EdDsa];

    /// How is signed what the registration names no algorithm for.
    pub fn default_signing_alg(self) -> SigningAlg {
        match self {
            Self::Fapi2 => SigningAlg::Ps256,
        }
    }

    /// Turns on what the profile demands and a registration may leave unsaid. What it says against the profile is left for
    /// [`SecurityProfile::faults`] to find.
    pub fn imply(self, client: &mut Client) {
        let method = client.token_endpoint_auth_method;
        let alg = self.default_signing_alg();
        let protocol = &mut client.protocol;
        // §5.3.2.2: authorization requests come by PAR alone.
        protocol.require_pushed_authorization_requests = true;
        // §5.3.2.1: tokens are bound to their sender, by the certificate where there is one anyway.
        if !protocol.dpop_bound_access_tokens && !protocol.tls_client_certificate_bound_access_tokens {
            match method.shows_certificate() {
                true => protocol.tls_client_certificate_bound_access_tokens = true,
                false => protocol.dpop_bound_access_tokens = true,
            }
        }
        // JARM §3: an absent one would mean RS256.
        protocol.authorization_signed_response_alg.get_or_insert(alg);
    }

    /// What the registration says against the profile.
    pub fn faults(self, client: &Client) -> Vec<ClientFault> {
        let mut faults = Vec::new();
        let mut add = |member, reason: String| faults.push(ClientFault { member, reason });
        let protocol = &client.protocol;
        // §5.3.2.1: confidential clients that prove possession of a key.
        let method = client.token_endpoint_auth_method;
        if method != ClientAuthMethod::PrivateKeyJwt && !method.shows_certificate() {
            add(
                "token_endpoint_auth_method",
                "fapi2 demands private_key_jwt, tls_client_auth or self_signed_tls_client_auth".into(),
            );
        }
        if client.may_use(GrantType::Password) {
            add("grant_types", "fapi2 forbids the password grant".into());
        }
        // §5.3.2.2: PKCE with S256, whatever else protects the client.
        if !client.require_pkce {
            add("require_pkce", "fapi2 demands PKCE".into());
        }
        if protocol.client_assertion_audience != AssertionAudience::Issuer {
            add(
                "client_assertion_audience",
                "fapi2 demands the issuer as the audience of assertions".into(),
            );
        }
        let registered = protocol.token_endpoint_auth_signing_alg.as_deref();
        let algs = [
            (
                "id_token_signed_response_alg",
                Some(client.id_token_signed_response_alg),
            ),
            ("access_token_signing_alg", Some(client.access_token_signing_alg)),
            (
                "token_endpoint_auth_signing_alg",
                registered.and_then(SigningAlg::from_wire),
            ),
            ("request_object_signing_alg", protocol.request_object_signing_alg),
            (
                "authorization_signed_response_alg",
                protocol.authorization_signed_response_alg,
            ),
            ("userinfo_signed_response_alg", protocol.userinfo_signed_response_alg),
            (
                "introspection_signed_response_alg",
                protocol.introspection_signed_response_alg,
            ),
            (
                "backchannel_authentication_request_signing_alg",
                protocol.backchannel_authentication_request_signing_alg,
            ),
        ];
        for (member, alg) in algs {
            if alg.is_some_and(|alg| !Self::SIGNING_ALGS.contains(&alg)) {
                add(
                    member,
                    format!("fapi2 demands {}", SigningAlg::listed(&Self::SIGNING_ALGS)),
                );
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client_auth::tests::client;

    const PROFILE: SecurityProfile = SecurityProfile::Fapi2;

    fn fapi_client() -> Client {
        let mut client = client(ClientAuthMethod::PrivateKeyJwt);
        client.id_token_signed_response_alg = SigningAlg::Ps256;
        PROFILE.imply(&mut client);
        client
    }

    fn members(change: impl FnOnce(&mut Client)) -> Vec<&'static str> {
        let mut client = fapi_client();
        change(&mut client);
        PROFILE.faults(&client).into_iter().map(|fault| fault.member).collect()
    }

    #[test]
    fn what_is_left_unsaid_follows_from_the_profile() {
        let client = fapi_client();
        assert!(client.protocol.require_pushed_authorization_requests);
        assert!(client.protocol.dpop_bound_access_tokens);
        assert!(!client.protocol.tls_client_certificate_bound_access_tokens);
        assert_eq!(
            client.protocol.authorization_signed_response_alg,
            Some(SigningAlg::Ps256)
        );
        assert_eq!(members(|_| {}), [""; 0]);
    }

    #[test]
    fn who_shows_a_certificate_or_says_so_has_its_tokens_bound_to_it() {
        for method in [
            ClientAuthMethod::TlsClientAuth,
            ClientAuthMethod::SelfSignedTlsClientAuth,
        ] {
            let mut client = client(method);
            PROFILE.imply(&mut client);
            assert!(client.protocol.tls_client_certificate_bound_access_tokens);
            assert!(!client.protocol.dpop_bound_access_tokens);
        }
        let mut client = client(ClientAuthMethod::PrivateKeyJwt);
        client.protocol.tls_client_certificate_bound_access_tokens = true;
        PROFILE.imply(&mut client);
        assert!(!client.protocol.dpop_bound_access_tokens);
    }

    #[test]
    fn applying_the_profile_twice_changes_nothing() {
        let once = fapi_client();
        let mut twice = once.clone();
        PROFILE.imply(&mut twice);
        assert_eq!(once, twice);
    }

    #[test]
    fn what_is_said_against_the_profile_is_named() {
        for method in [
            ClientAuthMethod::ClientSecretBasic,
            ClientAuthMethod::ClientSecretPost,
            ClientAuthMethod::ClientSecretJwt,
            ClientAuthMethod::None,
        ] {
            let found = members(|client| client.token_endpoint_auth_method = method);
            assert_eq!(found, ["token_endpoint_auth_method"], "{}", method.as_str());
        }
        assert_eq!(
            members(|client| client.grant_types.extend([GrantType::Password])),
            ["grant_types"]
        );
        assert_eq!(members(|client| client.require_pkce = false), ["require_pkce"]);
        assert_eq!(
            members(|client| client.protocol.client_assertion_audience = AssertionAudience::TokenEndpoint),
            ["client_assertion_audience"]
        );
        assert_eq!(
            members(|client| client.id_token_signed_response_alg = SigningAlg::Rs256),
            ["id_token_signed_response_alg"]
        );
        assert_eq!(
            members(|client| client.protocol.token_endpoint_auth_signing_alg = Some("RS256".into())),
            ["token_endpoint_auth_signing_alg"]
        );
        assert_eq!(
            members(|client| client.protocol.request_object_signing_alg = Some(SigningAlg::Ps384)),
            ["request_object_signing_alg"]
        );
    }
}
