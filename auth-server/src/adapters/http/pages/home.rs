//! `/`: what this is, and the way to the account page.

use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{
    Browser, PageError,
    html::{PagePolicy, html, page},
    views::{HomePage, Person},
};
use crate::adapters::http::App;

pub(super) async fn get(State(app): State<App>, browser: Browser) -> Result<Response, PageError> {
    let user = match browser.session(&app).await? {
        Some(session) => app.account.person(&session.user).await?,
        None => None,
    };
    let shown = HomePage {
        page: page(&app, &browser, None),
        issuer: app.policy.issuer.clone(),
        user: user.map(|user| Person::new(user.claims.name.as_deref(), user.username.as_str())),
    };
    html(&app, StatusCode::OK, &shown, &PagePolicy::default())
}
