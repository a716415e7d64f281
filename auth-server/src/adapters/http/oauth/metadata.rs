//! Metadata (OpenID Connect Discovery §3, RFC 8414 §2) and JWKS.

use std::future::ready;

use axum::{extract::State, response::Response};
use oauth_wire::{
    AuthorizationDetails, ClientAuthMethod, Display, GrantType, HmacAlg, JweAlg, JweEnc, MtlsEndpointAliases, Prompt,
    ProviderMetadata, ResponseMode, ResponseType, ai_scopes,
};

use crate::{
    adapters::http::{App, wire::cached_json},
    application::{
        issue::ACR_PASSWORD,
        policy::{ADMIN, BACKCHANNEL_PATH, Policy, TOKEN_PATH},
        register::RegistrationMode,
    },
    domain::{ciba::DeliveryMode, client_auth::SIGNING_ALGS, user::claim_names},
};

/// Long enough to spare requests, short enough for a new key to be known before it signs.
const FIVE_MINUTES: &str = "public, max-age=300";

pub(crate) fn get(State(app): State<App>) -> impl Future<Output = Response> {
    ready(cached_json(app.metadata.clone(), FIVE_MINUTES))
}

pub(crate) fn jwks(State(app): State<App>) -> impl Future<Output = Response> {
    ready(cached_json(app.keyring.document(), FIVE_MINUTES))
}

/// The document. What it lists is what the provider does, no more and no less.
#[expect(
    clippy::too_many_lines,
    reason = "one literal; cut in pieces, what is advertised would only be harder to see"
)]
pub(crate) fn document(policy: &Policy) -> ProviderMetadata {
    let issuer = policy.issuer.as_str();
    let url = |path: &str| format!("{issuer}{path}");
    let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let methods = policy.client_auth.methods();
    let methods: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
    // RFC 7662 §2.1: who asks about tokens has proved who it is.
    let confidential_methods: Vec<&str> = methods
        .iter()
        .copied()
        .filter(|method| *method != ClientAuthMethod::None.as_str())
        .collect();
    let assertion_algs: Vec<&str> = SIGNING_ALGS
        .iter()
        .map(|alg| alg.as_str())
        .chain(HmacAlg::ALL.iter().map(|alg| alg.as_str()))
        .collect();
    let signing_algs = || policy.signing_algs.iter().map(|one| one.as_str().to_owned()).collect();
    let encryption_algs = || JweAlg::ALL.iter().map(|one| one.as_str().to_owned()).collect();
    let encryption_encs = || JweEnc::ALL.iter().map(|one| one.as_str().to_owned()).collect();
    let protocol_claims = [
        "sub",
        "iss",
        "aud",
        "exp",
        "iat",
        "auth_time",
        "nonce",
        "acr",
        "amr",
        "sid",
        "at_hash",
    ];
    ProviderMetadata {
        issuer: issuer.to_owned(),
        authorization_endpoint: url("/oauth2/authorize"),
        token_endpoint: url(TOKEN_PATH),
        pushed_authorization_request_endpoint: url("/oauth2/par"),
        device_authorization_endpoint: url("/oauth2/device_authorization"),
        backchannel_authentication_endpoint: url(BACKCHANNEL_PATH),
        backchannel_token_delivery_modes_supported: DeliveryMode::ALL
            .iter()
            .map(|mode| mode.as_str().to_owned())
            .collect(),
        // People are asked on pages of ours, not on a telephone that a stranger could make ring: there is nothing to guard by a code.
        backchannel_user_code_parameter_supported: false,
        userinfo_endpoint: url("/userinfo"),
        jwks_uri: url("/oauth2/jwks"),
        introspection_endpoint: url("/oauth2/introspect"),
        revocation_endpoint: url("/oauth2/revoke"),
        end_session_endpoint: url("/connect/logout"),
        registration_endpoint: (policy.registration.mode != RegistrationMode::Off).then(|| url("/connect/register")),
        client_id_metadata_document_supported: policy.registration.metadata_documents,
        scopes_supported: texts(&["openid", "profile", "email", "phone", "address", "offline_access"])
            .into_iter()
            .chain(ai_scopes())
            .chain([ADMIN.to_owned()])
            .collect(),
        response_types_supported: ResponseType::ALL.iter().map(|one| one.as_str().to_owned()).collect(),
        response_modes_supported: ResponseMode::ALL.iter().map(|one| one.as_str().to_owned()).collect(),
        grant_types_supported: GrantType::ALL.iter().map(|one| one.as_str().to_owned()).collect(),
        subject_types_supported: texts(&["public", "pairwise"]),
        id_token_signing_alg_values_supported: signing_algs(),
        id_token_encryption_alg_values_supported: encryption_algs(),
        id_token_encryption_enc_values_supported: encryption_encs(),
        userinfo_signing_alg_values_supported: signing_algs(),
        userinfo_encryption_alg_values_supported: encryption_algs(),
        userinfo_encryption_enc_values_supported: encryption_encs(),
        introspection_signing_alg_values_supported: signing_algs(),
        introspection_encryption_alg_values_supported: encryption_algs(),
        introspection_encryption_enc_values_supported: encryption_encs(),
        authorization_signing_alg_values_supported: signing_algs(),
        authorization_encryption_alg_values_supported: encryption_algs(),
        authorization_encryption_enc_values_supported: encryption_encs(),
        token_endpoint_auth_methods_supported: texts(&methods),
        token_endpoint_auth_signing_alg_values_supported: texts(&assertion_algs),
        introspection_endpoint_auth_methods_supported: texts(&confidential_methods),
        introspection_endpoint_auth_signing_alg_values_supported: texts(&assertion_algs),
        revocation_endpoint_auth_methods_supported: texts(&methods),
        revocation_endpoint_auth_signing_alg_values_supported: texts(&assertion_algs),
        code_challenge_methods_supported: texts(&["S256"]),
        claims_supported: protocol_claims
            .into_iter()
            .chain(claim_names())
            .map(str::to_owned)
            .collect(),
        claim_types_supported: texts(&["normal"]),
        prompt_values_supported: Prompt::ALL.iter().map(|one| one.as_str().to_owned()).collect(),
        display_values_supported: Display::ALL.iter().map(|one| one.as_str().to_owned()).collect(),
        ui_locales_supported: texts(&["en", "zh"]),
        acr_values_supported: texts(&[ACR_PASSWORD]),
        authorization_response_iss_parameter_supported: true,
        require_pushed_authorization_requests: policy.require_pushed_authorization_requests,
        dpop_signing_alg_values_supported: oauth_wire::SigningAlg::DPOP
            .iter()
            .map(|one| one.as_str().to_owned())
            .collect(),
        tls_client_certificate_bound_access_tokens: policy.takes_certificates,
        authorization_details_types_supported: texts(&AuthorizationDetails::TYPES),
        claims_parameter_supported: true,
        request_parameter_supported: true,
        request_uri_parameter_supported: true,
        require_request_uri_registration: true,
        request_object_signing_alg_values_supported: SIGNING_ALGS.iter().map(|one| one.as_str().to_owned()).collect(),
        backchannel_logout_supported: true,
        backchannel_logout_session_supported: true,
        frontchannel_logout_supported: true,
        frontchannel_logout_session_supported: true,
        mtls_endpoint_aliases: policy.mtls_base_url.as_deref().map(mtls_aliases),
        service_documentation: None,
    }
}

/// The endpoints that clients call themselves, under the base URL at which certificates are asked for.
fn mtls_aliases(base_url: &str) -> MtlsEndpointAliases {
    let url = |path: &str| format!("{base_url}{path}");
    MtlsEndpointAliases {
        token_endpoint: url(TOKEN_PATH),
        pushed_authorization_request_endpoint: url("/oauth2/par"),
        device_authorization_endpoint: url("/oauth2/device_authorization"),
        backchannel_authentication_endpoint: url(BACKCHANNEL_PATH),
        userinfo_endpoint: url("/userinfo"),
        introspection_endpoint: url("/oauth2/introspect"),
        revocation_endpoint: url("/oauth2/revoke"),
    }
}
