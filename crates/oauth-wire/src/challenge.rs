//! `WWW-Authenticate: Bearer` ([RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3), RFC 9728 §5.1).

use std::fmt::Write as _;

/// Error codes of RFC 6750 §3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BearerErrorCode {
    InvalidRequest,
    InvalidToken,
    InsufficientScope,
}

impl BearerErrorCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

/// A Bearer challenge. Without an error it only says that a token is wanted (RFC 6750 §3.1: no error code when the
/// request carried no credentials).
#[derive(Debug, Clone, Default)]
pub struct BearerChallenge<'a> {
    pub realm: Option<&'a str>,
    pub error: Option<(BearerErrorCode, &'a str)>,
    pub scope: Option<&'a str>,
    /// URL of the protected resource's metadata (RFC 9728 §5.1).
    pub resource_metadata: Option<&'a str>,
}

impl BearerChallenge<'_> {
    /// The header's value.
    pub fn to_header(&self) -> String {
        let mut header = String::from("Bearer");
        let mut separator = " ";
        let mut push = |name: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = write!(
                header,
                "{separator}{name}=\"{}\"",
                crate::error::legal_description(value)
            );
            separator = ", ";
        };
        if let Some(realm) = self.realm {
            push("realm", realm);
        }
        if let Some((code, description)) = self.error {
            push("error", code.as_str());
            push("error_description", description);
        }
        if let Some(scope) = self.scope {
            push("scope", scope);
        }
        if let Some(url) = self.resource_metadata {
            push("resource_metadata", url);
        }
        header
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
}
