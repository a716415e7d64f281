//! The way from an authorization request to its response, over as many pages as it takes.

use axum::response::Response;
use http::StatusCode;
use oauth_wire::OAuthErrorCode;

use super::{
    Browser, PageError,
    browser::Pending,
    html::{PagePolicy, html, page, see_other},
    texts::Lang,
    views::{App as AppView, FormPostPage},
};
use crate::{
    adapters::http::App,
    application::{
        authorize::{Delivery, ErrorResponse, Outgoing, RespondError, Step},
        token_error::TokenError,
    },
    domain::{authorization::AuthorizationRequest, client::Client},
};

/// Starts with a valid request. When nothing is missing the browser's session is not written at all.
pub(crate) async fn begin(app: &App, browser: &Browser, request: AuthorizationRequest) -> Result<Response, PageError> {
    let session = browser.session(app).await?;
    match app.authorize.advance(&request, session.as_ref()).await? {
        Step::SignIn => {
            let id = browser.keep(app, request).await?;
            Ok(see_other(&app.path(&format!("/login?request={id}"))))
        }
        Step::Consent => {
            let id = browser.keep(app, request).await?;
            Ok(see_other(&app.path(&format!("/consent?request={id}"))))
        }
        Step::Respond(response) => deliver(app, browser, app.authorize.code_leaves(response).await?),
        Step::Refuse(error) => error_response(app, browser, error).await,
        Step::Gone => Err(gone()),
        Step::Answered => Err(answered()),
    }
}

/// Goes on with a request that was kept.
pub(super) async fn resume(app: &App, browser: &Browser, pending: &Pending) -> Result<Response, PageError> {
    let session = browser.session_after_sign_in(app).await?;
    let step = app.authorize.advance(&pending.request, session.as_ref()).await?;
    follow(app, browser, pending, step).await
}

/// Takes a kept request to its next step.
pub(super) async fn follow(app: &App, browser: &Browser, pending: &Pending, step: Step) -> Result<Response, PageError> {
    match step {
        Step::SignIn => return Ok(see_other(&app.path(&format!("/login?request={}", pending.id)))),
        Step::Consent => return Ok(see_other(&app.path(&format!("/consent?request={}", pending.id)))),
        Step::Respond(_) | Step::Refuse(_) | Step::Gone | Step::Answered => browser.forget(app, &pending.id).await?,
    }
    match step {
        Step::Respond(response) => deliver(app, browser, app.authorize.code_leaves(response).await?),
        Step::Refuse(error) => error_response(app, browser, error).await,
        Step::Answered => Err(answered()),
        Step::Gone | Step::SignIn | Step::Consent => Err(gone()),
    }
}

fn answered() -> PageError {
    PageError::oauth(
        OAuthErrorCode::InvalidRequestUri,
        "The request_uri is unknown, has expired or was used before.",
    )
}

fn gone() -> PageError {
    PageError::oauth(
        OAuthErrorCode::InvalidClient,
        "The client_id is not the one of a registered application.",
    )
}

/// Tells the client by its redirect URI why it gets no code (RFC 6749 §4.1.2.1).
pub(crate) async fn error_response(app: &App, browser: &Browser, error: ErrorResponse) -> Result<Response, PageError> {
    deliver(app, browser, app.authorize.error_leaves(error).await?)
}

impl From<RespondError> for PageError {
    fn from(error: RespondError) -> Self {
        match error {
            RespondError::Gone => gone(),
            RespondError::Sealing(TokenError::ClientOutOfReach) => Self::unavailable(),
            RespondError::Sealing(TokenError::InvalidRequest(_)) => Self::oauth(
                OAuthErrorCode::InvalidClient,
                "The application has no key that its answer could be encrypted to.",
            ),
            RespondError::Sealing(_) => Self::internal(&error),
            RespondError::Store(error) => error.into(),
        }
    }
}

/// Every authorization response leaves through here.
fn deliver(app: &App, browser: &Browser, response: Outgoing) -> Result<Response, PageError> {
    let Outgoing {
        redirect_uri,
        delivery,
        fields,
    } = response;
    match delivery {
        Delivery::Query => {
            let pairs = fields.iter().map(|(name, value)| (*name, value.as_str()));
            Ok(see_other(&with_query(&redirect_uri, pairs)))
        }
        Delivery::Form => {
            let nonce = app.entropy.id();
            let policy = PagePolicy {
                script_nonce: Some(nonce.clone()),
                ..PagePolicy::default().leading_to(&redirect_uri)
            };
            let shown = FormPostPage {
                page: page(app, browser, None),
                fields: fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
                redirect_host: host(&redirect_uri),
                action: redirect_uri,
                nonce,
            };
            html(app, StatusCode::OK, &shown, &policy)
        }
    }
}

/// Adds parameters to a URI and keeps the query that it has (RFC 6749 §3.1.2).
pub(super) fn with_query<'a>(uri: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let separator = match uri.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    format!("{uri}{separator}{query}")
}

/// The host of a redirect URI for people to read; the scheme when there is none.
pub(super) fn host(uri: &str) -> String {
    let Ok(url) = url::Url::parse(uri) else {
        return String::new();
    };
    url.host_str().map_or_else(|| url.scheme().to_owned(), str::to_owned)
}

/// A client as the pages show it, in the reader's language as far as it speaks that.
pub(super) fn view(app: &App, client: &Client, lang: Lang) -> AppView {
    let logo = || {
        let id: String = form_urlencoded::byte_serialize(client.client_id.as_str().as_bytes()).collect();
        app.path(&format!("/client-logo/{id}"))
    };
    let said = |member: &str| client.in_language(member, lang.primary());
    let links = &client.links;
    AppView::new(said("client_name").unwrap_or(&client.client_name))
        .logo(links.logo_uri.is_some().then(logo))
        .website(said("client_uri").or(links.client_uri.as_deref()))
        .policy(said("policy_uri").or(links.policy_uri.as_deref()))
        .terms(said("tos_uri").or(links.tos_uri.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_join_whatever_query_the_uri_has() {
        let add = |uri: &str| with_query(uri, [("a", "1 2"), ("b", "é")].into_iter());
        assert_eq!(add("https://x.example/cb"), "https://x.example/cb?a=1+2&b=%C3%A9");
        assert_eq!(
            add("https://x.example/cb?t=1"),
            "https://x.example/cb?t=1&a=1+2&b=%C3%A9"
        );
        assert_eq!(add("https://x.example/cb?"), "https://x.example/cb?a=1+2&b=%C3%A9");
    }
}
