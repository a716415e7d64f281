//! Every address of the provider.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use service_kit::RequestContextLayer;
use tower::ServiceBuilder;
use tower_sessions::{SessionManagerLayer, cookie::SameSite};

use super::{
    App,
    cors::AllowAnyOrigin,
    oauth,
    pages::{self, assets},
    session_store::PortSessionStore,
    wire::MAX_FORM_BYTES,
};
use crate::application::policy::{BACKCHANNEL_PATH, TOKEN_PATH};

/// The router of the public listener.
pub(crate) fn router(app: App) -> Router {
    // Applications in browsers call these from other origins, without cookies.
    let open = Router::new()
        .route("/.well-known/openid-configuration", get(oauth::metadata::get))
        .route("/.well-known/oauth-authorization-server", get(oauth::metadata::get))
        .route("/oauth2/jwks", get(oauth::metadata::jwks))
        .route(TOKEN_PATH, post(oauth::token::post))
        .route("/oauth2/par", post(oauth::par::post))
        .route("/oauth2/device_authorization", post(oauth::device::post))
        .route("/oauth2/revoke", post(oauth::revoke::post))
        .route("/connect/register", post(oauth::register::post))
        .route(
            "/connect/register/{client_id}",
            get(oauth::register::get)
                .put(oauth::register::put)
                .delete(oauth::register::delete),
        )
        .route("/userinfo", get(oauth::userinfo::any).post(oauth::userinfo::any))
        .method_not_allowed_fallback(pages::method_not_allowed)
        .layer(AllowAnyOrigin);
    // Servers call these; browsers have no business here.
    let back_channel = Router::new()
        .route("/oauth2/introspect", post(oauth::introspect::post))
        .route(BACKCHANNEL_PATH, post(oauth::backchannel::post))
        .route("/events/poll", post(oauth::events::post))
        .method_not_allowed_fallback(pages::method_not_allowed);
    let browser = Router::new()
        .route(
            "/oauth2/authorize",
            get(oauth::authorize::any).post(oauth::authorize::any),
        )
        .merge(pages::router())
        .method_not_allowed_fallback(pages::method_not_allowed)
        // Errors of the handlers above become pages in the reader's language.
        .layer(from_fn_with_state(app.clone(), pages::render_errors))
        // The cookie and what the server keeps under it.
        .layer(sessions(&app))
        .layer(from_fn_with_state(app.clone(), pages::render_unsaved));
    // Pictures on the pages; they know no session.
    let pictures = Router::new().route("/client-logo/{client_id}", get(pages::client_logo::get));
    let all = open
        .merge(back_channel)
        .merge(browser)
        .merge(pictures)
        .merge(assets::router());
    let mounted = match app.base_path.as_str() {
        "" => all,
        path => insertion_forms(path).merge(Router::new().nest(path, all)),
    };
    mounted
        .fallback(pages::not_found)
        .layer(
            // As one layer: each that a router is given costs a boxed future per request.
            ServiceBuilder::new()
                // Outermost, so that every reply carries its id, panics and rejections included.
                .layer(RequestContextLayer::new(app.entropy.clone(), app.clock.clone()))
                // Forms are small; more is refused before it is read.
                .layer(DefaultBodyLimit::max(MAX_FORM_BYTES)),
        )
        .with_state(app)
}

/// RFC 8414 §3.1: for an issuer with a path the well-known name comes before the path.
fn insertion_forms(path: &str) -> Router<App> {
    Router::new()
        .route(
            &format!("/.well-known/oauth-authorization-server{path}"),
            get(oauth::metadata::get),
        )
        .route(
            &format!("/.well-known/openid-configuration{path}"),
            get(oauth::metadata::get),
        )
        .layer(AllowAnyOrigin)
}

fn sessions(app: &App) -> SessionManagerLayer<PortSessionStore> {
    let store = PortSessionStore {
        sessions: app.browser_sessions.clone(),
        clock: app.clock.clone(),
    };
    let path = if app.secure || app.base_path.is_empty() {
        "/".to_owned()
    } else {
        app.base_path.clone()
    };
    SessionManagerLayer::new(store)
        .with_name(app.cookie_name(pages::SESSION_COOKIE))
        .with_secure(app.secure)
        // Lax: sent when a relying party's redirect arrives, withheld from cross-site posts and frames.
        .with_same_site(SameSite::Lax)
        .with_path(path)
        .with_expiry(pages::inactivity(pages::STRANGER_SESSION))
}
