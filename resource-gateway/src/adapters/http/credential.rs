//! Both kinds of credential, token and signature, end in one caller.

use std::sync::Arc;

use axum::http::{HeaderMap, Method, header, request::Parts};

use super::{
    AppState,
    caller::{TurnedAway, by_token},
    signed::{self, Target},
};
use crate::{
    application::access_keys::Signed,
    domain::{caller::Caller, signature::SCHEME},
};

/// A caller whose credential is good, as far as that can be told before the body was read.
#[derive(Debug)]
pub(super) struct Authenticated {
    caller: Arc<Caller>,
    /// A signed request has signed for its body, too.
    signed: Option<Signed>,
}

impl Authenticated {
    /// For what is checked before the body is read. Who acts for the caller uses [`Authenticated::with_body`].
    pub(super) fn before_body(&self) -> &Caller {
        &self.caller
    }

    /// The digest of the body that was signed for.
    pub(super) fn signed_digest(&self) -> Option<[u8; 32]> {
        self.signed.as_ref().map(|signed| signed.body_digest)
    }

    /// The caller, whose request has this body.
    pub(super) async fn with_body(self, app: &AppState, body: &[u8]) -> Result<Arc<Caller>, Box<TurnedAway>> {
        match self.signed {
            Some(signed) if !signed.is_for_body(signed::digest_of(body).await) => {
                Err(Box::new(signed::other_body(app)))
            }
            Some(_) | None => Ok(self.caller),
        }
    }
}

/// Where a credential is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) target: Target<'a>,
    /// Scheme and host as callers know them, without a trailing slash: DPoP proofs name them.
    pub(super) base: &'a str,
}

/// The caller of a request whose body is not looked at, or the answer that turns it away. A signed request must be one that has none.
pub(super) async fn authenticate(app: &AppState, head: &Parts) -> Result<Arc<Caller>, Box<TurnedAway>> {
    let Authenticated { caller, signed } = begin(app, head).await?;
    let bodyless = matches!(head.method, Method::GET | Method::HEAD | Method::DELETE);
    match signed {
        Some(signed) if !bodyless || !signed.is_for_no_body() => Err(Box::new(signed::unread_body(app))),
        Some(_) | None => Ok(caller),
    }
}

/// The caller that the request's credential stands for, before the body is read; or the answer that turns it away.
pub(super) async fn begin(app: &AppState, head: &Parts) -> Result<Authenticated, Box<TurnedAway>> {
    let place = Place {
        target: Target::of(head),
        base: &app.public_url,
    };
    begin_at(app, head, place).await
}

/// [`begin`] for a request that is, or was, made to `place`.
pub(super) async fn begin_at(app: &AppState, head: &Parts, place: Place<'_>) -> Result<Authenticated, Box<TurnedAway>> {
    if let Some(authorization) = signature(&head.headers) {
        let signed = signed::verify(app, head, authorization, place.target).await?;
        return Ok(Authenticated {
            caller: Arc::clone(&signed.caller),
            signed: Some(signed),
        });
    }
    let caller = by_token(app, head, place).await?;
    Ok(Authenticated { caller, signed: None })
}

/// The one `Authorization` header, if it is of the scheme of access keys.
fn signature(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    // More than one is refused with the tokens.
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let value = value.to_str().ok()?;
    let ours = value.get(..SCHEME.len())?.eq_ignore_ascii_case(SCHEME);
    let ends = matches!(value.as_bytes().get(SCHEME.len()), None | Some(b' '));
    (ours && ends).then_some(value)
}
