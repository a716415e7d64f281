//! After a session has ended in this browser: its applications are told, and the person goes where the relying party wants them.

use std::time::Duration;

use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{
    Browser, PageError,
    browser::{Farewell, PendingLogout},
    flow::with_query,
    html::{PagePolicy, html, page, see_other},
    query::PageQuery,
    views::{BackLink, LoggedOutPage, Onwards},
};
use crate::{
    adapters::http::App,
    application::sign_out::Ended,
    domain::{ids::ClientId, session::Session},
};

/// How long the person waits while applications are told. What takes longer goes on without them.
pub(super) const TELLING: Duration = Duration::from_secs(1);

/// Empties the browser of the session that has ended, and sends it on: over a page with the applications' frames where there are any.
pub(super) async fn leave(
    app: &App,
    browser: &Browser,
    session: &Session,
    ended: Ended,
    logout: &PendingLogout,
) -> Result<Response, PageError> {
    browser.clear().await?;
    let frames = app.sign_out.frames(&session.sid, &ended.clients).await?;
    ended.told.tried_within(TELLING).await;
    if frames.is_empty() {
        return afterwards(app, logout).await;
    }
    let farewell = Farewell {
        id: app.entropy.id(),
        frames,
        client: logout.client.clone(),
        onwards: destination(app, logout).await?,
        ui_locales: logout.ui_locales.clone(),
    };
    browser.keep_farewell(&farewell).await?;
    Ok(see_other(&app.path(&format!("/logged-out?request={}", farewell.id))))
}

/// Back to the relying party when it named a registered URI, else a page that says so.
pub(super) async fn afterwards(app: &App, logout: &PendingLogout) -> Result<Response, PageError> {
    if let Some(destination) = destination(app, logout).await? {
        return Ok(see_other(&destination));
    }
    let about = [
        ("client_id", logout.client.as_ref().map(ClientId::as_str)),
        ("ui_locales", logout.ui_locales.as_deref()),
    ];
    let mut about = about
        .iter()
        .filter_map(|(name, value)| Some((*name, (*value)?)))
        .peekable();
    Ok(see_other(&app.path(&match about.peek() {
        Some(_) => with_query("/logged-out", about),
        None => "/logged-out".to_owned(),
    })))
}

/// RP-Initiated Logout §3: the registered URI, with the `state` of the request if it had one.
async fn destination(app: &App, logout: &PendingLogout) -> Result<Option<String>, PageError> {
    let (Some(client), Some(uri)) = (&logout.client, &logout.redirect) else {
        return Ok(None);
    };
    let uri = app.sign_out.still_registered(client, uri).await?;
    Ok(uri.map(|uri| match &logout.state {
        Some(state) => with_query(uri.as_str(), [("state", state.as_str())].into_iter()),
        None => uri.as_str().to_owned(),
    }))
}

/// `/logged-out`: with the frames of applications that are to end their sessions (Front-Channel Logout §3), and with a way onwards: to where the relying
/// party wants the person, or else to the application's own site when it has registered one.
pub(super) async fn get(
    State(app): State<App>,
    browser: Browser,
    PageQuery(query): PageQuery,
) -> Result<Response, PageError> {
    let farewell = browser.farewell(query.get("request")).await?;
    let client = match &farewell {
        Some(farewell) => farewell.client.clone(),
        None => query.get("client_id").map(ClientId::new),
    };
    let client = match client {
        Some(id) => app.sign_out.client(&id).await?,
        None => None,
    };
    let locales = farewell.as_ref().map(|farewell| farewell.ui_locales.as_deref());
    let page = page(&app, &browser, locales.unwrap_or(query.get("ui_locales")));
    let Farewell { frames, onwards, .. } = farewell.unwrap_or_default();
    let mut policy = PagePolicy::default().framing(&frames);
    let onwards = match (&client, onwards) {
        (Some(client), Some(href)) => {
            let nonce = app.entropy.id();
            policy.script_nonce = Some(nonce.clone());
            Some(Onwards::new(&client.client_name, href, nonce))
        }
        _ => None,
    };
    let back = client.and_then(|client| BackLink::new(&client.client_name, client.links.client_uri.as_deref()?));
    let shown = LoggedOutPage {
        page,
        back,
        frames,
        onwards,
    };
    html(&app, StatusCode::OK, &shown, &policy)
}
