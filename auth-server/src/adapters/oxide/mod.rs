//! The code grant judged by oxide-auth's state machine (RFC 6749 §4.1.3, RFC 7636 §4.6).
//!
//! oxide-auth runs on values that are already loaded and does no I/O. What it gets wrong on the wire (see the ADR) does not reach
//! it: its answer is one of our refusals. URIs are compared as our own strings first, since it normalises them.

use std::borrow::Cow;

use oxide_auth::{
    code_grant::{
        accesstoken::{AccessToken, Authorization, Input, Output, Request},
        extensions::Pkce,
    },
    primitives::grant::{Extensions, Grant, GrantExtension as _, Value},
};

use crate::{
    domain::grant::CodeGrant,
    ports::rules::{CodeRefusal, CodeRules, PresentedCode},
};

/// Adapter for [`CodeRules`].
#[derive(Debug, Clone, Copy, Default)]
pub struct OxideCodeRules;

/// The request as oxide-auth wants to see it.
struct Seen<'a> {
    presented: &'a PresentedCode<'a>,
    redirect_uri: &'a str,
}

impl Request for Seen<'_> {
    fn valid(&self) -> bool {
        true
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.presented.code.into())
    }

    fn authorization(&self) -> Authorization<'_> {
        // The client has been authenticated by then, by a method that this machine may not know.
        Authorization::None
    }

    fn client_id(&self) -> Option<Cow<'_, str>> {
        Some(self.presented.client.as_str().into())
    }

    fn redirect_uri(&self) -> Option<Cow<'_, str>> {
        Some(self.redirect_uri.into())
    }

    fn grant_type(&self) -> Option<Cow<'_, str>> {
        Some("authorization_code".into())
    }

    fn extension(&self, key: &str) -> Option<Cow<'_, str>> {
        (key == "code_verifier").then_some(self.presented.code_verifier?.expose().into())
    }
}

impl CodeRules for OxideCodeRules {
    fn check(&self, code: &CodeGrant, presented: &PresentedCode<'_>) -> Result<(), CodeRefusal> {
        if code.grant.client != *presented.client {
            return Err(CodeRefusal::OtherClient);
        }
        // RFC 6749 §4.1.3: identical, when sent at all. As strings, before a URL parser has changed either.
        if presented.redirect_uri.is_some_and(|sent| sent != code.redirect_uri) {
            return Err(CodeRefusal::OtherRedirectUri);
        }
        let pkce = Pkce::required();
        let saved = saved_grant(code, &pkce)?;
        // OAuth 2.1 dropped redirect_uri here; the machine wants one, so it gets the stored one.
        let mut machine = AccessToken::new(&Seen {
            presented,
            redirect_uri: &code.redirect_uri,
        });
        let Output::Authenticate { .. } = machine.advance(Input::None) else {
            return Err(CodeRefusal::Refused);
        };
        let Output::Recover { .. } = machine.advance(Input::Authenticated) else {
            return Err(CodeRefusal::Refused);
        };
        let Output::Extend { extensions } = machine.advance(Input::Recovered(Some(Box::new(saved)))) else {
            return Err(CodeRefusal::Refused);
        };
        verify_pkce(&pkce, extensions.remove(&pkce), presented)?;
        match machine.advance(Input::Extended {
            access_extensions: Extensions::new(),
        }) {
            Output::Issue { .. } => Ok(()),
            Output::Authenticate { .. }
            | Output::Recover { .. }
            | Output::Extend { .. }
            | Output::Ok(_)
            | Output::Err(_) => Err(CodeRefusal::Refused),
        }
    }
}

fn verify_pkce(pkce: &Pkce, saved: Option<Value>, presented: &PresentedCode<'_>) -> Result<(), CodeRefusal> {
    match (saved, presented.code_verifier) {
        (None, None) => Ok(()),
        // RFC 9700 §2.1.1: a verifier without a challenge is the mark of a downgrade.
        (None, Some(_)) => Err(CodeRefusal::VerifierUnexpected),
        (Some(_), None) => Err(CodeRefusal::VerifierMissing),
        (Some(challenge), Some(verifier)) => pkce
            .verify(Some(challenge), Some(verifier.expose().into()))
            .map_err(|()| CodeRefusal::VerifierMismatch),
    }
}

fn saved_grant(code: &CodeGrant, pkce: &Pkce) -> Result<Grant, CodeRefusal> {
    let mut extensions = Extensions::new();
    if let Some(challenge) = &code.code_challenge {
        let value = pkce
            .challenge(Some("S256".into()), Some(challenge.as_str().into()))
            .map_err(|()| CodeRefusal::Refused)?;
        if let Some(value) = value {
            extensions.set_raw(pkce.identifier().to_owned(), value);
        }
    }
    Ok(Grant {
        owner_id: code.grant.user.as_str().to_owned(),
        client_id: code.grant.client.as_str().to_owned(),
        scope: code.grant.scope.to_string().parse().map_err(|_| CodeRefusal::Refused)?,
        redirect_uri: code.redirect_uri.parse().map_err(|_| CodeRefusal::Refused)?,
        // Expiry is judged by our own clock in the statement that redeems the code; the machine's is the system clock.
        until: chrono::DateTime::<chrono::Utc>::MAX_UTC,
        extensions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        grant::{Grant as OurGrant, GrantDetails},
        ids::{ClientId, CodeDigest, GrantId, TenantId, UserId},
    };
    use oauth_wire::{CodeChallenge, CodeVerifier};
    use service_kit::Timestamp;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    fn code(redirect_uri: &str, challenge: bool) -> CodeGrant {
        let at = Timestamp::from_seconds(0);
        CodeGrant {
            digest: CodeDigest([0; 32]),
            grant: OurGrant {
                grant_id: GrantId::new("g"),
                client: ClientId::new("web"),
                tenant: TenantId::new("t"),
                user: UserId::new("u"),
                sid: None,
                scope: "openid profile".parse().unwrap(),
                auth_time: at,
                amr: vec![],
                details: GrantDetails::default(),
            },
            redirect_uri: redirect_uri.into(),
            code_challenge: challenge.then(|| CodeChallenge::of(&CodeVerifier::parse(VERIFIER).unwrap())),
            nonce: None,
            issued_at: at,
            expires_at: at,
            redeemed_at: None,
        }
    }

    fn check(
        code: &CodeGrant,
        client: &str,
        redirect_uri: Option<&str>,
        verifier: Option<&str>,
    ) -> Result<(), CodeRefusal> {
        let client = ClientId::new(client);
        let verifier = verifier.map(|v| CodeVerifier::parse(v).unwrap());
        let presented = PresentedCode {
            client: &client,
            code: "hgc_x",
            redirect_uri,
            code_verifier: verifier.as_ref(),
        };
        OxideCodeRules.check(code, &presented)
    }

    #[test]
    fn the_right_client_uri_and_verifier_pass() {
        for uri in [
            "https://app.example/cb",
            "https://app.example",
            "http://127.0.0.1:5000/cb",
            "com.example.app:/cb",
        ] {
            assert_eq!(
                check(&code(uri, true), "web", Some(uri), Some(VERIFIER)),
                Ok(()),
                "{uri}"
            );
            assert_eq!(check(&code(uri, true), "web", None, Some(VERIFIER)), Ok(()), "{uri}");
        }
        assert_eq!(check(&code("https://app.example/cb", false), "web", None, None), Ok(()));
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_own_refusal() {
        let uri = "https://app.example/cb";
        let other = "a".repeat(43);
        for (asked, wanted) in [
            (
                check(&code(uri, true), "spa", Some(uri), Some(VERIFIER)),
                CodeRefusal::OtherClient,
            ),
            (
                check(&code(uri, true), "web", Some("https://app.example/CB"), Some(VERIFIER)),
                CodeRefusal::OtherRedirectUri,
            ),
            (
                check(
                    &code("https://a.example", true),
                    "web",
                    Some("https://a.example/"),
                    Some(VERIFIER),
                ),
                CodeRefusal::OtherRedirectUri,
            ),
            (
                check(&code(uri, true), "web", Some(uri), None),
                CodeRefusal::VerifierMissing,
            ),
            (
                check(&code(uri, true), "web", Some(uri), Some(&other)),
                CodeRefusal::VerifierMismatch,
            ),
            (
                check(&code(uri, false), "web", Some(uri), Some(VERIFIER)),
                CodeRefusal::VerifierUnexpected,
            ),
        ] {
            assert_eq!(asked, Err(wanted));
        }
    }
}
