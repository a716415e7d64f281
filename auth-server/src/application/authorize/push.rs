//! Pushed authorization requests (RFC 9126): left with us by a client that has authenticated, then followed by reference.
//!
//! A reference works until it expires, so that a person may reload the page, and its request is answered once: the row goes in the very
//! transaction that saves the code.

use std::time::Duration;

use oauth_wire::{Confirmation, Form, OAuthErrorCode};
use sha2::{Digest, Sha256};

use super::{Authorize, AuthorizeError, page, validate::Entrance};
use crate::{
    application::{sender_constraint::SenderError, unspent::Unspent},
    domain::{
        authorization::{AuthorizationRequest, PushedRequest},
        client::Client,
        ids::PushedDigest,
    },
    ports::store::{StoreError, StoreResult},
};

/// What references begin with (RFC 9126 §2.2).
const REFERENCE_PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// What the client is answered.
#[derive(Debug)]
pub struct Pushed {
    pub request_uri: String,
    pub expires_in: Duration,
}

/// Why a request is not kept.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error(transparent)]
    Request(#[from] AuthorizeError),
    /// What it showed was used before.
    #[error(transparent)]
    Sender(#[from] SenderError),
    #[error("storage failed")]
    Store(#[from] StoreError),
}

/// Whether a `request_uri` is a reference of ours, rather than an address to fetch a request object from.
pub(super) fn is_reference(request_uri: &str) -> bool {
    request_uri.starts_with(REFERENCE_PREFIX)
}

fn digest(reference: &str) -> PushedDigest {
    PushedDigest(Sha256::digest(reference.as_bytes()).into())
}

fn dead(sentence: &str) -> AuthorizeError {
    page(OAuthErrorCode::InvalidRequestUri, sentence)
}

impl Authorize {
    /// Checks a request as the authorization endpoint does and keeps it. `proven` is what the push itself proved possession of; `unspent` is spent
    /// with the request that is kept.
    ///
    /// # Errors
    /// [`PushError`]; of [`AuthorizeError::Redirect`] only code and description are to be told.
    pub async fn push(
        &self,
        client: &Client,
        proven: Option<&Confirmation>,
        unspent: &Unspent,
        form: Form,
    ) -> Result<Pushed, PushError> {
        // RFC 9126 §2.1: a reference cannot be pushed.
        if form.get("request_uri").is_some() {
            return Err(page(
                OAuthErrorCode::InvalidRequest,
                "request_uri cannot be part of a pushed request",
            )
            .into());
        }
        let form = self.unpack(form, client, Entrance::Push).await?;
        let mut request = self.validate(form, client, Entrance::Push)?;
        bind(&mut request, proven)?;
        let request_uri = format!("{REFERENCE_PREFIX}{}", self.entropy.secret());
        let expires_in = self.policy.lifetimes.pushed_request;
        let pushed = PushedRequest {
            digest: digest(&request_uri),
            expires_at: request.received_at + expires_in,
            request,
        };
        if unspent.is_pending() {
            let mut tx = unspent.begin(&*self.transactions).await?;
            tx.insert_pushed_request(&pushed).await?;
            tx.commit().await?;
            unspent.committed();
        } else {
            self.pushed.insert_pushed_request(&pushed).await?;
        }
        Ok(Pushed {
            request_uri,
            expires_in,
        })
    }

    /// The request that a reference stands for. Whatever else stands beside it is not looked at (RFC 9101 §5).
    pub(super) async fn follow(
        &self,
        client: &Client,
        reference: &str,
    ) -> Result<AuthorizationRequest, AuthorizeError> {
        let digest = digest(reference);
        let Some(pushed) = self.pushed.find_pushed_request(&digest).await? else {
            return Err(dead("The request_uri is unknown, has expired or was used before."));
        };
        let now = self.clock.now();
        if now >= pushed.expires_at {
            return Err(dead("The request_uri is unknown, has expired or was used before."));
        }
        // RFC 9126 §2.2: bound to the client that pushed it.
        if pushed.request.client_id != client.client_id {
            return Err(dead("The request_uri was issued to another application."));
        }
        let request = AuthorizationRequest {
            // prompt=login and max_age count from when the person came.
            received_at: now,
            pushed: Some(digest),
            ..pushed.request
        };
        // The registration may have changed since it was checked.
        let fits = client.redirect_uri(&request.redirect_uri).is_some()
            && request.scope.is_subset(&client.scope)
            && client
                .check_details(&request.authorization_details, now.as_seconds())
                .is_ok();
        if !fits {
            return Err(dead(
                "The request_uri no longer fits the registration of the application.",
            ));
        }
        Ok(request)
    }

    /// Whether an answer to this request may be sent: of all answers to a pushed one, the first.
    pub(super) async fn claim(&self, request: &AuthorizationRequest) -> StoreResult<bool> {
        match &request.pushed {
            None => Ok(true),
            Some(digest) => self.pushed.take_pushed_request(digest).await,
        }
    }
}

/// Binds the code to the key of the push's DPoP proof (RFC 9449 §10.1). A certificate binds no code: RFC 8705 knows of none that is.
fn bind(request: &mut AuthorizationRequest, proven: Option<&Confirmation>) -> Result<(), AuthorizeError> {
    let Some(proven @ Confirmation::Jkt(_)) = proven else {
        return Ok(());
    };
    match &request.confirmation {
        // The two must name the same key when both are there.
        Some(asked) if asked != proven => Err(page(
            OAuthErrorCode::InvalidRequest,
            "dpop_jkt is not the thumbprint of the key in the DPoP header",
        )),
        Some(_) | None => {
            request.confirmation = Some(proven.clone());
            Ok(())
        }
    }
}
