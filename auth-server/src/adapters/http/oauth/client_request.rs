//! A form request with its client's authentication (RFC 6749 §2.3).

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use http::{HeaderMap, header};
use oauth_wire::{BasicCredentials, Form, JWT_BEARER_ASSERTION};
use secrecy::SecretString;
use service_kit::{PeerAddress, PeerCertificate};

use super::OAuthError;
use crate::{
    adapters::http::{App, wire},
    application::{
        authenticate_client::{Authenticated, Presented, Proof},
        token_error::{ASSERTION_REPLAYED, TokenError},
    },
    domain::{client::Client, ids::ClientId},
    ports::store::SingleUseId,
};

/// The parameters that are left, and the client that was authenticated.
pub(crate) struct ClientRequest {
    pub(crate) client: Arc<Client>,
    pub(crate) form: Form,
}

impl FromRequest<App> for ClientRequest {
    type Rejection = OAuthError;

    async fn from_request(request: Request, app: &App) -> Result<Self, OAuthError> {
        let UnspentRequest { client, form, unspent } = UnspentRequest::from_request(request, app).await?;
        if !app.single_use.spend(&unspent).await? {
            return Err(TokenError::InvalidAssertion(ASSERTION_REPLAYED).into());
        }
        Ok(Self { client, form })
    }
}

/// As [`ClientRequest`], but what the client has used to authenticate is still to be spent, with success, before anything is done for
/// it (RFC 7523 §3): together with something else.
pub(super) struct UnspentRequest {
    pub(super) client: Arc<Client>,
    pub(super) form: Form,
    pub(super) unspent: Vec<SingleUseId>,
}

impl FromRequest<App> for UnspentRequest {
    type Rejection = OAuthError;

    async fn from_request(request: Request, app: &App) -> Result<Self, OAuthError> {
        let basic = basic(request.headers())?;
        let extensions = request.extensions();
        let address = extensions.get::<PeerAddress>().map(|PeerAddress(peer)| peer.ip());
        let certificate = extensions.get::<PeerCertificate>().cloned();
        let mut form = wire::form(request).await?;
        let (client_id, proof) = proof(basic, &mut form)?;
        let presented = Presented {
            client_id,
            proof,
            certificate,
            address,
        };
        let authenticated = app.authenticate_client.authenticate(presented).await;
        let Authenticated { client, unspent } =
            authenticated.map_err(|error| OAuthError::at(error, app.clock.now()))?;
        Ok(Self { client, form, unspent })
    }
}

pub(super) fn basic(headers: &HeaderMap) -> Result<Option<BasicCredentials>, OAuthError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(TokenError::InvalidRequest("two Authorization headers were sent".into()).into());
    }
    let Some(text) = first.map(|value| value.to_str()) else {
        return Ok(None);
    };
    let parsed = text.ok().and_then(BasicCredentials::from_header);
    match parsed {
        None => Ok(None),
        Some(Ok(credentials)) => Ok(Some(credentials)),
        // Malformed credentials are failed authentication, not a malformed request: the client learns to try Basic.
        Some(Err(_)) => Err(TokenError::InvalidClient.into()),
    }
}

/// Who the request says that it is, and how it means to prove that: by one method (RFC 6749 §2.3).
fn proof(basic: Option<BasicCredentials>, form: &mut Form) -> Result<(Option<ClientId>, Proof), TokenError> {
    let invalid = |reason: &str| TokenError::InvalidRequest(reason.into());
    let id = form.take("client_id").map(ClientId::new);
    let secret = form.take("client_secret").map(SecretString::from);
    let assertion = assertion(form)?;
    if let Some(basic) = &basic
        && id.as_ref().is_some_and(|id| id.as_str() != basic.client_id)
    {
        return Err(invalid("client_id is not the one of the Authorization header"));
    }
    match (basic, secret, assertion) {
        (None, None, None) => Ok((id, Proof::None)),
        (None, None, Some(assertion)) => Ok((id, Proof::Assertion(assertion))),
        (None, Some(secret), None) => Ok((id, Proof::Secret(secret))),
        (Some(basic), None, None) => {
            let id = Some(ClientId::new(basic.client_id));
            // An empty password is how some libraries send a public client through Basic.
            Ok(match basic.client_secret.is_empty() {
                true => (id, Proof::None),
                false => (id, Proof::Secret(basic.client_secret.into())),
            })
        }
        _ => Err(invalid("client credentials were sent in more than one way")),
    }
}

/// `client_assertion` (RFC 7521 §4.2).
fn assertion(form: &mut Form) -> Result<Option<SecretString>, TokenError> {
    match (form.take("client_assertion"), form.take("client_assertion_type")) {
        (None, None) => Ok(None),
        (Some(assertion), Some(kind)) if kind == JWT_BEARER_ASSERTION => Ok(Some(assertion.into())),
        // An authentication method that nobody here knows (RFC 6749 §5.2).
        (Some(_), Some(_)) => Err(TokenError::InvalidClient),
        (Some(_), None) | (None, Some(_)) => Err(TokenError::InvalidRequest(
            "client_assertion and client_assertion_type belong together".into(),
        )),
    }
}
