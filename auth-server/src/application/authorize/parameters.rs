//! The parameters that are judged once it is known whom to tell.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_wire::{
    AuthorizationDetails, CodeChallenge, Confirmation, Display, Form, GrantType, OAuthErrorCode, PkceError, Prompt,
    ResponseType, Scope,
};

use super::{Authorize, MAX_VALUE_BYTES, claims::AskedClaims};
use crate::{
    application::{
        policy::{OFFLINE_ACCESS, UNKNOWN_RESOURCE},
        token_details::DETAILS_NEED_SCOPE,
    },
    domain::{authorization_details::needs_scope, client::Client, ids::UserId},
};

/// What the parameters say.
pub(super) struct Checked {
    pub(super) scope: Scope,
    /// The request named no scope.
    pub(super) default_scope: bool,
    pub(super) challenge: Option<CodeChallenge>,
    pub(super) prompt: BTreeSet<Prompt>,
    pub(super) max_age: Option<u64>,
    pub(super) resources: Vec<String>,
    pub(super) authorization_details: AuthorizationDetails,
    pub(super) nonce: Option<String>,
    pub(super) hinted_user: Option<UserId>,
    pub(super) claims: AskedClaims,
    pub(super) confirmation: Option<Confirmation>,
}

impl Authorize {
    pub(super) fn parameters(
        &self,
        form: &mut Form,
        client: &Client,
    ) -> Result<Checked, (OAuthErrorCode, &'static str)> {
        use OAuthErrorCode as E;
        // OpenID Connect Core §7: ignoring it would drop what the client meant to be binding.
        if form.get("registration").is_some() {
            return Err((E::RegistrationNotSupported, "registration is not supported"));
        }
        response_type(form.take("response_type").as_deref(), client)?;
        let asked = form.take("scope");
        let scope = scope(asked.as_deref(), client)?;
        let resources = self.resources(form)?;
        let authorization_details = self.details(form, client, &scope)?;
        let challenge = challenge(form, client)?;
        let prompt = prompt(form.take("prompt").as_deref())?;
        let max_age = match form.take("max_age") {
            // OpenID Connect Registration §2.
            None => client.protocol.default_max_age,
            Some(text) => Some(seconds(&text).ok_or((E::InvalidRequest, "max_age is not a number of seconds"))?),
        };
        if form
            .take("display")
            .is_some_and(|text| Display::from_wire(&text).is_none())
        {
            return Err((E::InvalidRequest, "display is not one of page, popup, touch, wap"));
        }
        let nonce = form.take("nonce");
        if nonce.as_ref().is_some_and(|nonce| nonce.len() > MAX_VALUE_BYTES) {
            return Err((E::InvalidRequest, "nonce is too long"));
        }
        let hinted_user = match form.take("id_token_hint") {
            None => None,
            Some(hint) => Some(
                self.hinted(&hint, client)
                    .ok_or((E::InvalidRequest, "id_token_hint is not an ID token of this issuer"))?,
            ),
        };
        // OpenID Connect Core §3.1.2.1: acr_values, like the registration's default_acr_values, is a wish. There is one class, and tokens
        // tell it whatever was wished for.
        let _ = form.take("acr_values");
        Ok(Checked {
            claims: self.claims(form, client, &scope)?,
            scope,
            default_scope: asked.is_none(),
            challenge,
            prompt,
            resources,
            authorization_details,
            max_age,
            nonce,
            hinted_user,
            confirmation: dpop_jkt(form)?,
        })
    }

    /// RFC 8707 §2: a target that we issue no tokens for must not be passed over in silence.
    fn resources(&self, form: &mut Form) -> Result<Vec<String>, (OAuthErrorCode, &'static str)> {
        self.policy
            .known_resources(form.take_all("resource"))
            .ok_or((OAuthErrorCode::InvalidTarget, UNKNOWN_RESOURCE))
    }

    /// RFC 9396 §5.
    fn details(
        &self,
        form: &mut Form,
        client: &Client,
        scope: &Scope,
    ) -> Result<AuthorizationDetails, (OAuthErrorCode, &'static str)> {
        let Some(text) = form.take("authorization_details") else {
            return Ok(AuthorizationDetails::default());
        };
        let details = AuthorizationDetails::parse(&text).and_then(|details| {
            client.check_details(&details, self.clock.now().as_seconds())?;
            Ok(details)
        });
        let details = details.map_err(|fault| (OAuthErrorCode::InvalidAuthorizationDetails, fault.0))?;
        match needs_scope(&details, scope) {
            true => Err((OAuthErrorCode::InvalidScope, DETAILS_NEED_SCOPE)),
            false => Ok(details),
        }
    }

    /// The person that an ID token of ours names. It may have expired (OpenID Connect Core §3.1.2.1 does not ask that it is current). A
    /// pairwise client can only hint by the name that its own sector knows: otherwise two clients could find out by hints that they know the same
    /// person.
    fn hinted(&self, hint: &str, client: &Client) -> Option<UserId> {
        let token = self.keyring.verify(hint).ok()?;
        let is_ours = token.is_typ("JWT") && token.claims.get("iss")?.as_str()? == self.policy.issuer;
        self.subjects
            .known_to(client, token.claims.get("sub")?.as_str()?)
            .filter(|_| is_ours)
    }
}

/// Digits alone: the parser of numbers would take a sign before them.
fn seconds(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

fn response_type(asked: Option<&str>, client: &Client) -> Result<(), (OAuthErrorCode, &'static str)> {
    let Some(asked) = asked else {
        return Err((OAuthErrorCode::InvalidRequest, "response_type is missing"));
    };
    let Some(response_type) = ResponseType::from_wire(asked) else {
        return Err((
            OAuthErrorCode::UnsupportedResponseType,
            "response_type is not supported",
        ));
    };
    if !client.response_types.contains(&response_type) || !client.may_use(GrantType::AuthorizationCode) {
        return Err((
            OAuthErrorCode::UnauthorizedClient,
            "the client may not use this response_type",
        ));
    }
    Ok(())
}

fn scope(asked: Option<&str>, client: &Client) -> Result<Scope, (OAuthErrorCode, &'static str)> {
    let scope: Scope = asked.unwrap_or_default().parse().map_err(|_| {
        (
            OAuthErrorCode::InvalidScope,
            "scope holds a character that is not allowed",
        )
    })?;
    // RFC 6749 §3.3: without the parameter the pre-defined default: what the client is registered for, less what outlives the session.
    let scope = match scope.is_empty() {
        true => client.scope.clone().without(OFFLINE_ACCESS),
        false => scope,
    };
    if scope.is_empty() {
        return Err((OAuthErrorCode::InvalidScope, "scope is missing"));
    }
    if !scope.is_subset(&client.scope) {
        return Err((
            OAuthErrorCode::InvalidScope,
            "scope holds a value that the client is not registered for",
        ));
    }
    Ok(scope)
}

fn challenge(form: &mut Form, client: &Client) -> Result<Option<CodeChallenge>, (OAuthErrorCode, &'static str)> {
    let method = form.take("code_challenge_method");
    let Some(challenge) = form.take("code_challenge") else {
        // RFC 9700 §2.1.1: public clients always; others unless the operator relaxed it.
        return match client.require_pkce || client.is_public() {
            true => Err((
                OAuthErrorCode::InvalidRequest,
                "code_challenge is missing (PKCE is required)",
            )),
            false => Ok(None),
        };
    };
    CodeChallenge::parse(&challenge, method.as_deref())
        .map(Some)
        .map_err(|error| {
            let description = match error {
                PkceError::MethodNotS256 => "code_challenge_method must be S256",
                PkceError::MalformedChallenge | PkceError::MalformedVerifier => {
                    "code_challenge is not a SHA-256 digest in base64url"
                }
            };
            (OAuthErrorCode::InvalidRequest, description)
        })
}

/// The key that the code is to be bound to (RFC 9449 §10): an RFC 7638 thumbprint by SHA-256, in base64url.
fn dpop_jkt(form: &mut Form) -> Result<Option<Confirmation>, (OAuthErrorCode, &'static str)> {
    let Some(jkt) = form.take("dpop_jkt") else {
        return Ok(None);
    };
    let is_digest = URL_SAFE_NO_PAD.decode(&jkt).is_ok_and(|digest| digest.len() == 32);
    match is_digest {
        true => Ok(Some(Confirmation::Jkt(jkt))),
        false => Err((
            OAuthErrorCode::InvalidRequest,
            "dpop_jkt is not a SHA-256 thumbprint in base64url",
        )),
    }
}

fn prompt(asked: Option<&str>) -> Result<BTreeSet<Prompt>, (OAuthErrorCode, &'static str)> {
    let words = asked.unwrap_or_default().split(' ').filter(|word| !word.is_empty());
    let prompt: Option<BTreeSet<Prompt>> = words.map(Prompt::from_wire).collect();
    let Some(prompt) = prompt else {
        return Err((OAuthErrorCode::InvalidRequest, "prompt holds an unknown value"));
    };
    if prompt.contains(&Prompt::None) && prompt.len() > 1 {
        return Err((
            OAuthErrorCode::InvalidRequest,
            "prompt=none cannot be combined with another value",
        ));
    }
    Ok(prompt)
}
