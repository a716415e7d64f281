//! `WWW-Authenticate` of a protected resource: `Bearer` ([RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3), RFC 9728
//! §5.1) and `DPoP` ([RFC 9449 §7.1](https://www.rfc-editor.org/rfc/rfc9449#section-7.1)).

use std::fmt::Write as _;

use crate::jose::SigningAlg;

/// Error codes of RFC 6750 §3.1, and those that RFC 9449 and RFC 9470 add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BearerErrorCode {
    InvalidRequest,
    InvalidToken,
    InsufficientScope,
    /// RFC 9470 §3: the token is good, but the person must sign in again, or by stronger means.
    InsufficientUserAuthentication,
    /// RFC 9449 §7.1. With [`DpopChallenge`] only.
    InvalidDpopProof,
    /// RFC 9449 §9: the proof must hold the nonce that goes out in `DPoP-Nonce`. With [`DpopChallenge`] only.
    UseDpopNonce,
}

impl BearerErrorCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InsufficientUserAuthentication => "insufficient_user_authentication",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
        }
    }
}

/// What a sign-in must be like to be enough (RFC 9470 §3); goes with [`BearerErrorCode::InsufficientUserAuthentication`].
#[derive(Debug, Clone, Copy, Default)]
pub struct StepUp<'a> {
    /// Space-separated, in order of preference.
    pub acr_values: Option<&'a str>,
    /// Seconds since the last active sign-in.
    pub max_age: Option<u64>,
}

/// A Bearer challenge. Without an error it only says that a token is wanted (RFC 6750 §3.1: no error code when the
/// request carried no credentials).
#[derive(Debug, Clone, Default)]
pub struct BearerChallenge<'a> {
    pub realm: Option<&'a str>,
    pub error: Option<(BearerErrorCode, &'a str)>,
    pub scope: Option<&'a str>,
    /// What a new sign-in must be like (RFC 9470 §3).
    pub step_up: StepUp<'a>,
    /// URL of the protected resource's metadata (RFC 9728 §5.1).
    pub resource_metadata: Option<&'a str>,
}

impl BearerChallenge<'_> {
    /// The header's value.
    pub fn to_header(&self) -> String {
        let mut parameters = Parameters::of("Bearer");
        self.write(&mut parameters);
        parameters.header
    }

    fn write(&self, parameters: &mut Parameters) {
        if let Some(realm) = self.realm {
            parameters.push("realm", realm);
        }
        if let Some((code, description)) = self.error {
            parameters.push("error", code.as_str());
            parameters.push("error_description", description);
        }
        if let Some(scope) = self.scope {
            parameters.push("scope", scope);
        }
        if let Some(acr_values) = self.step_up.acr_values {
            parameters.push("acr_values", acr_values);
        }
        if let Some(max_age) = self.step_up.max_age {
            parameters.push("max_age", &max_age.to_string());
        }
        if let Some(url) = self.resource_metadata {
            parameters.push("resource_metadata", url);
        }
    }
}

/// A DPoP challenge (RFC 9449 §7.1): the parameters of a Bearer challenge, and the algorithms that a proof may be signed with. A
/// resource that takes both kinds of token sends both challenges, each in a header of its own.
#[derive(Debug, Clone)]
pub struct DpopChallenge<'a> {
    pub algs: &'a [SigningAlg],
    pub common: BearerChallenge<'a>,
}

impl DpopChallenge<'_> {
    /// The header's value.
    pub fn to_header(&self) -> String {
        let mut parameters = Parameters::of("DPoP");
        self.common.write(&mut parameters);
        let algs: Vec<&str> = self.algs.iter().map(|alg| alg.as_str()).collect();
        parameters.push("algs", &algs.join(" "));
        parameters.header
    }
}

/// How an access token is presented in an `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenScheme {
    /// RFC 6750 §2.1.
    Bearer,
    /// RFC 9449 §7.1.
    Dpop,
}

impl TokenScheme {
    /// The scheme and the token of an `Authorization` header, if it is of one of ours. The token may be empty.
    pub fn read(header: &str) -> Option<(Self, &str)> {
        let (scheme, token) = header.split_once(' ')?;
        // RFC 9110 §11.1: the scheme's name knows no case.
        let scheme = match scheme {
            bearer if bearer.eq_ignore_ascii_case("Bearer") => Self::Bearer,
            dpop if dpop.eq_ignore_ascii_case("DPoP") => Self::Dpop,
            _ => return None,
        };
        Some((scheme, token.trim()))
    }
}

/// The challenges of a resource that takes tokens of both kinds (RFC 9449 §7.1).
#[derive(Debug, Clone, Default)]
pub struct TokenChallenges<'a> {
    /// What both say; its `error` is the fault below.
    pub common: BearerChallenge<'a>,
    /// What went wrong, and in the challenge of which scheme it stands.
    pub fault: Option<(TokenScheme, BearerErrorCode, &'a str)>,
}

impl TokenChallenges<'_> {
    /// The values of both headers. The one that says what is wrong comes first, for clients that read one only.
    pub fn to_headers(&self) -> [String; 2] {
        let of = |scheme| BearerChallenge {
            error: self
                .fault
                .filter(|(concerned, ..)| *concerned == scheme)
                .map(|(_, code, text)| (code, text)),
            ..self.common.clone()
        };
        let bearer = of(TokenScheme::Bearer).to_header();
        let dpop = DpopChallenge {
            algs: &SigningAlg::DPOP,
            common: of(TokenScheme::Dpop),
        }
        .to_header();
        match self.fault {
            Some((TokenScheme::Dpop, ..)) => [dpop, bearer],
            Some((TokenScheme::Bearer, ..)) | None => [bearer, dpop],
        }
    }
}

struct Parameters {
    header: String,
    separator: &'static str,
}

impl Parameters {
    fn of(scheme: &str) -> Self {
        Self {
            header: scheme.to_owned(),
            separator: " ",
        }
    }

    fn push(&mut self, name: &str, value: &str) {
        // Writing to a String cannot fail.
        let _ = write!(
            self.header,
            "{}{name}=\"{}\"",
            self.separator,
            crate::error::legal_description(value)
        );
        self.separator = ", ";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_challenge_reads_as_the_rfc_shows_it() {
        let challenge = BearerChallenge {
            realm: Some("hexgate"),
            error: Some((BearerErrorCode::InvalidToken, "the access token \"expired\"\r\n")),
            scope: Some("ai:chat"),
            step_up: StepUp::default(),
            resource_metadata: Some("https://gateway.example/.well-known/oauth-protected-resource"),
        };
        assert_eq!(
            challenge.to_header(),
            "Bearer realm=\"hexgate\", error=\"invalid_token\", error_description=\"the access token 'expired'??\", \
             scope=\"ai:chat\", resource_metadata=\"https://gateway.example/.well-known/oauth-protected-resource\""
        );
    }

    #[test]
    fn without_credentials_no_error_is_named() {
        assert_eq!(BearerChallenge::default().to_header(), "Bearer");
    }

    #[test]
    fn a_dpop_challenge_names_the_algorithms_for_proofs() {
        let mut challenge = DpopChallenge {
            algs: &[SigningAlg::Ps256, SigningAlg::Es256],
            common: BearerChallenge::default(),
        };
        assert_eq!(challenge.to_header(), "DPoP algs=\"PS256 ES256\"");
        challenge.common.error = Some((BearerErrorCode::UseDpopNonce, "the proof needs a fresh nonce"));
        assert_eq!(
            challenge.to_header(),
            "DPoP error=\"use_dpop_nonce\", error_description=\"the proof needs a fresh nonce\", algs=\"PS256 ES256\""
        );
    }

    #[test]
    fn a_step_up_challenge_says_what_is_missing() {
        let challenge = BearerChallenge {
            error: Some((BearerErrorCode::InsufficientUserAuthentication, "sign in again")),
            step_up: StepUp {
                acr_values: Some("2 1"),
                max_age: Some(300),
            },
            ..BearerChallenge::default()
        };
        assert_eq!(
            challenge.to_header(),
            "Bearer error=\"insufficient_user_authentication\", error_description=\"sign in again\", acr_values=\"2 1\", \
             max_age=\"300\""
        );
    }
}
