//! A page's own query: read as strictly as every other form, with an error that is a page.

use axum::extract::FromRequestParts;
use http::request::Parts;
use oauth_wire::Form;

use super::PageError;
use crate::adapters::http::App;

/// The parameters of a page's address.
pub(super) struct PageQuery(pub(super) Form);

impl FromRequestParts<App> for PageQuery {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, PageError> {
        let parsed = Form::parse(parts.uri.query().unwrap_or_default().as_bytes());
        parsed
            .map(Self)
            .map_err(|error| PageError::invalid_request(format!("The request is not valid: {error}.")))
    }
}
