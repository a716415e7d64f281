//! The admin API: configuration rows, and what became of them.

mod access_keys;
mod audit;
mod csv;
mod openapi;
mod page;
mod payloads;
mod problem;
mod reference;
mod rows;
mod usage;
mod version;

use axum::{
    Router,
    extract::Request,
    http::request::Parts,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use service_kit::RequestContext;

use self::problem::Problem;
use super::{AppState, caller};
use crate::{
    application::administer::By,
    domain::{caller::Caller, ids::RequestId},
};

/// Rows are small; a body that is not is a mistake.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// All routes below `/admin`.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/admin/v1/audit-events", get(audit::list))
        .route("/admin/v1/payloads", get(payloads::list))
        .route("/admin/v1/usage", get(usage::list))
        .route("/admin/v1/usage/summary", get(usage::summary))
        .route("/admin/v1/budgets/{name}/status", get(usage::budget))
        .route("/admin/v1/access-keys", get(access_keys::list).post(access_keys::issue))
        .route(
            "/admin/v1/access-keys/{id}",
            get(access_keys::load).put(access_keys::put).delete(access_keys::delete),
        )
        .route("/admin/v1/access-keys/{id}/rotate", post(access_keys::rotate))
        .route("/admin/v1/{plural}", get(rows::list))
        .route(
            "/admin/v1/{plural}/{name}",
            get(rows::load).put(rows::put).delete(rows::delete),
        )
        .route("/admin/openapi.json", get(openapi::document))
        .route("/admin", get(openapi::page))
}

/// Whether an address is the admin API's, whose errors have a shape of their own.
pub(super) fn is_admin(path: &str) -> bool {
    path == "/admin" || path.starts_with("/admin/")
}

pub(super) fn not_found(path: &str) -> Response {
    Problem::not_found(path).into_response()
}

pub(super) fn wrong_method(method: &str, path: &str) -> Response {
    Problem::wrong_method(method, path).into_response()
}

/// An administrator's request: who sends it, and what.
struct Asked {
    caller: std::sync::Arc<Caller>,
    request_id: RequestId,
    head: Parts,
    body: axum::body::Body,
}

impl Asked {
    /// Authenticates before anything else is looked at.
    async fn read(app: &AppState, request: Request) -> Result<Self, Box<Response>> {
        let (head, body) = request.into_parts();
        let caller = caller::authenticate(app, &head)
            .await
            .map_err(|away| Box::new(Problem::of_turned_away(*away)))?;
        let context = head.extensions.get::<RequestContext>();
        let request_id = RequestId::new(context.map_or_else(|| "".into(), |context| context.request_id.clone()));
        Ok(Self {
            caller,
            request_id,
            head,
            body,
        })
    }

    fn by(&self) -> By<'_> {
        By {
            caller: &self.caller,
            request_id: &self.request_id,
        }
    }
}

/// Handlers answer either way.
type Answer = Result<Response, Box<Response>>;

#[expect(clippy::unnecessary_box_returns, reason = "the shape of every refusal here")]
fn refuse(problem: Problem) -> Box<Response> {
    Box::new(problem.into_response())
}

fn settle(answer: Answer) -> Response {
    answer.unwrap_or_else(|response| *response)
}
