//! A form request with its client's authentication (RFC 6749 §2.3).

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use http::{HeaderMap, header};
use oauth_wire::{BasicCredentials, Form};
use secrecy::SecretString;

use super::{OAuthError, possession::Possession};
use crate::{
    adapters::http::{App, wire},
    application::{authenticate_client::PresentedClient, token_error::TokenError},
    domain::{client::Client, ids::ClientId},
};

/// The parameters that are left, and the client that was authenticated.
pub(crate) struct ClientRequest {
    pub(crate) client: Arc<Client>,
    pub(crate) form: Form,
    pub(crate) possession: Possession,
}

impl FromRequest<App> for ClientRequest {
    type Rejection = OAuthError;

    async fn from_request(request: Request, app: &App) -> Result<Self, OAuthError> {
        let basic = basic(request.headers())?;
        let possession = Possession::read(request.headers(), request.extensions())?;
        let mut form = wire::form(request).await?;
        let presented = presented(basic, &mut form)?;
        let client = app.authenticate_client.authenticate(presented).await?;
        Ok(Self {
            client,
            form,
            possession,
        })
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

fn presented(basic: Option<BasicCredentials>, form: &mut Form) -> Result<PresentedClient, TokenError> {
    let id = form.take("client_id").map(ClientId::new);
    let secret = form.take("client_secret").map(SecretString::from);
    if form.get("client_assertion").is_some() || form.get("client_assertion_type").is_some() {
        return Err(TokenError::InvalidClient);
    }
    match (basic, id, secret) {
        // RFC 6749 §2.3: one method per request.
        (Some(_), _, Some(_)) => Err(TokenError::InvalidRequest(
            "client credentials were sent in two ways at once".into(),
        )),
        (Some(basic), Some(id), None) if basic.client_id != id.as_str() => Err(TokenError::InvalidRequest(
            "client_id is not the one of the Authorization header".into(),
        )),
        (
            Some(BasicCredentials {
                client_id,
                client_secret,
            }),
            _,
            None,
        ) => {
            let client_id = ClientId::new(client_id);
            // An empty password is how some libraries send a public client through Basic.
            if client_secret.is_empty() {
                return Ok(PresentedClient::Public { client_id });
            }
            Ok(PresentedClient::Secret {
                client_id,
                secret: client_secret.into(),
            })
        }
        (None, Some(client_id), Some(secret)) => Ok(PresentedClient::Secret { client_id, secret }),
        (None, Some(client_id), None) => Ok(PresentedClient::Public { client_id }),
        (None, None, _) => Err(TokenError::InvalidClient),
    }
}
