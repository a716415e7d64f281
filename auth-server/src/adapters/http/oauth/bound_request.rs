//! A form request whose client proves possession of what its tokens or its code are bound to.

use std::{marker::PhantomData, sync::Arc};

use axum::extract::{FromRequest, Request};
use oauth_wire::{Confirmation, Form};

use super::{OAuthError, client_request::UnspentRequest, possession::Possession};
use crate::{
    adapters::http::App,
    application::{
        policy::TOKEN_PATH,
        sender_constraint::{Place, SenderError},
        token_error::TokenError,
        unspent::Unspent,
    },
    domain::client::Client,
};

/// An endpoint at which possession is proved by POST.
pub(crate) trait Endpoint {
    /// Below the issuer.
    const PATH: &'static str;
    const BINDS: Binds;
}

/// What is bound there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binds {
    Tokens,
    /// The code to come.
    Code,
}

/// RFC 6749 §3.2.
pub(crate) enum TokenEndpoint {}

/// RFC 9126 §2.
pub(crate) enum PushEndpoint {}

impl Endpoint for TokenEndpoint {
    const PATH: &'static str = TOKEN_PATH;
    const BINDS: Binds = Binds::Tokens;
}

impl Endpoint for PushEndpoint {
    const PATH: &'static str = "/oauth2/par";
    const BINDS: Binds = Binds::Code;
}

/// The parameters that are left, the client that was authenticated, and what it proved possession of.
pub(crate) struct BoundRequest<E> {
    pub(crate) client: Arc<Client>,
    pub(crate) form: Form,
    pub(crate) confirmation: Option<Confirmation>,
    /// To be spent before anything is answered but an error, and then as well.
    pub(crate) unspent: Unspent,
    endpoint: PhantomData<fn() -> E>,
}

impl<E: Endpoint> FromRequest<App> for BoundRequest<E> {
    type Rejection = OAuthError;

    async fn from_request(request: Request, app: &App) -> Result<Self, OAuthError> {
        let possession = Possession::read(request.headers(), request.extensions())?;
        let UnspentRequest { client, form, unspent } = UnspentRequest::from_request(request, app).await?;
        let (shown, place) = (
            possession.shown(),
            Place {
                method: "POST",
                path: E::PATH,
            },
        );
        let constraint = &app.sender_constraint;
        let authentication = unspent.clone();
        let proven = match E::BINDS {
            Binds::Tokens => constraint.of_request(&client, shown, place, unspent),
            Binds::Code => constraint.of_pushed_request(shown, place, unspent),
        };
        let (confirmation, unspent) = match proven {
            Ok(proven) => proven,
            // The client is to try again with the very same assertion.
            Err(error @ SenderError::Nonce { .. }) => return Err(TokenError::from(error).into()),
            Err(error) => {
                let shown = Unspent::new(app.single_use.clone(), authentication, None);
                shown.spend().await.map_err(TokenError::from)?;
                return Err(TokenError::from(error).into());
            }
        };
        Ok(Self {
            confirmation,
            unspent,
            client,
            form,
            endpoint: PhantomData,
        })
    }
}
