//! The public listener's routes.

mod admin;
mod ai;
mod caller;
mod conversations;
mod credential;
mod error;
mod forward;
mod ingress;
mod jobs;
mod messages;
mod models;
mod pages;
mod panics;
mod raw;
mod request_body;
mod resource_metadata;
mod responses;
mod signed;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{Method, Uri},
    response::IntoResponse as _,
    routing::{any, get, post},
};
use service_kit::{Clock, Entropy, RequestContextLayer};

pub use admin::routes as admin_routes;
pub use ai::DOORS;
pub use resource_metadata::ResourceMetadata;

use crate::{
    application::{
        access_keys::{AdministerKeys, VerifySignature},
        administer::Administer,
        conversations::Conversations,
        invoke::Invoke,
        jobs::Jobs,
        list_models::ListModels,
        list_payloads::ListPayloads,
        meters::Meters,
        report_usage::ReportUsage,
        snapshots::Snapshots,
        vendor_models::ListVendorModels,
        verify_token::VerifyToken,
    },
    domain::interface::Capability,
};

/// What handlers work with.
#[derive(Debug)]
pub struct App {
    pub verify_token: VerifyToken,
    pub verify_signature: Arc<VerifySignature>,
    pub invoke: Invoke,
    pub jobs: Arc<Jobs>,
    pub list_models: ListModels,
    pub conversations: Arc<Conversations>,
    pub administer: Administer,
    pub list_payloads: ListPayloads,
    pub report_usage: ReportUsage,
    pub access_keys: AdministerKeys,
    pub vendor_models: ListVendorModels,
    pub snapshots: Arc<Snapshots>,
    pub meters: Arc<Meters>,
    pub metadata: ResourceMetadata,
    /// The URL under which callers reach the gateway, without a trailing slash: DPoP proofs name it.
    pub public_url: String,
    /// What this version can do.
    pub capabilities: Vec<Capability>,
    pub max_body_bytes: usize,
    pub clock: Arc<dyn Clock>,
    /// Seconds since the epoch.
    pub started: i64,
}

type AppState = Arc<App>;

/// All routes of the gateway.
pub fn router(app: AppState, entropy: Arc<dyn Entropy>) -> Router {
    let clock = app.clock.clone();
    let mut router = Router::new()
        .route("/v1/models", get(models::list))
        // Everything behind the slash, so that a name with slashes is unknown and not the path.
        .route("/v1/models/{*name}", get(models::one))
        .route("/ai/invoke/{capability}", post(ai::by_capability))
        .route(raw::DOOR, any(raw::call))
        .route("/v1/conversations", get(conversations::list))
        .route(
            "/v1/conversations/{id}",
            get(conversations::one).delete(conversations::delete),
        )
        .route("/auth/forward", any(forward::check))
        .route(resource_metadata::WELL_KNOWN, get(resource_metadata::get))
        .merge(jobs::router())
        .merge(messages::router())
        .merge(responses::router())
        .merge(admin::router());
    for (capability, path) in DOORS {
        router = router.route(path, ai::post_to(capability));
    }
    if app.metadata.path != resource_metadata::WELL_KNOWN {
        router = router.route(&app.metadata.path, get(resource_metadata::get));
    }
    router
        .fallback(|request: Request| async move {
            let (head, _) = request.into_parts();
            match head.uri.path() {
                path if admin::is_admin(path) => admin::not_found(path),
                path if messages::is_here(path) => messages::not_found(path, &head),
                path => error::not_found(path).into_response(),
            }
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            match admin::is_admin(uri.path()) {
                true => admin::wrong_method(method.as_str(), uri.path()),
                false => error::wrong_method(method.as_str(), uri.path()).into_response(),
            }
        })
        // Request id and access log around everything, panics included, since their replies need an id most.
        .layer((RequestContextLayer::new(entropy, clock), panics::CatchPanics))
        .with_state(app)
}
