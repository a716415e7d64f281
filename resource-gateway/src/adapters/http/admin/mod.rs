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
mod vendor_models;
mod version;

use axum::{
    Router,
    extract::Request,
    http::request::Parts,
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use service_kit::RequestContext;

use self::{page::Query, problem::Problem};
use super::{AppState, caller};
use crate::{
    application::administer::{AdministerError, By},
    domain::{caller::Caller, config_row::RowKind, ids::RequestId},
};

/// Rows are small; a body that is not is a mistake.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// One operation.
struct Route {
    method: MethodFilter,
    path: &'static str,
    handler: fn(MethodFilter) -> MethodRouter<AppState>,
}

const fn route(method: MethodFilter, path: &'static str, handler: fn(MethodFilter) -> MethodRouter<AppState>) -> Route {
    Route { method, path, handler }
}

/// Everything below `/admin`. The description of the API is compared with it.
const ROUTES: [Route; 19] = {
    use MethodFilter as M;
    [
        route(M::GET, "/admin/v1/audit-events", |m| on(m, audit::list)),
        route(M::GET, "/admin/v1/payloads", |m| on(m, payloads::list)),
        route(M::GET, "/admin/v1/usage", |m| on(m, usage::list)),
        route(M::GET, "/admin/v1/usage/summary", |m| on(m, usage::summary)),
        route(M::GET, "/admin/v1/budgets/{name}/status", |m| on(m, usage::budget)),
        route(M::GET, "/admin/v1/budgets/{name}/webhook-secret", |m| {
            on(m, usage::notice_secret)
        }),
        route(M::GET, "/admin/v1/vendors/{name}/models", |m| {
            on(m, vendor_models::list)
        }),
        route(M::GET, "/admin/v1/access-keys", |m| on(m, access_keys::list)),
        route(M::POST, "/admin/v1/access-keys", |m| on(m, access_keys::issue)),
        route(M::GET, "/admin/v1/access-keys/{id}", |m| on(m, access_keys::load)),
        route(M::PUT, "/admin/v1/access-keys/{id}", |m| on(m, access_keys::put)),
        route(M::DELETE, "/admin/v1/access-keys/{id}", |m| on(m, access_keys::delete)),
        route(M::POST, "/admin/v1/access-keys/{id}/rotate", |m| {
            on(m, access_keys::rotate)
        }),
        route(M::GET, rows::PATH, |m| on(m, rows::list)),
        route(M::GET, rows::PATH_OF_ONE, |m| on(m, rows::load)),
        route(M::PUT, rows::PATH_OF_ONE, |m| on(m, rows::put)),
        route(M::DELETE, rows::PATH_OF_ONE, |m| on(m, rows::delete)),
        route(M::GET, openapi::DOCUMENT_PATH, |m| on(m, openapi::document)),
        route(M::GET, openapi::PAGE_PATH, |m| on(m, openapi::page)),
    ]
};

/// Every operation: its method and path, those of rows once for each kind.
pub fn routes() -> Vec<(String, String)> {
    let methods = [
        (MethodFilter::GET, "GET"),
        (MethodFilter::POST, "POST"),
        (MethodFilter::PUT, "PUT"),
        (MethodFilter::DELETE, "DELETE"),
    ];
    let name = |filter: MethodFilter| {
        let known = methods.iter().find(|(known, _)| *known == filter);
        known.map_or("", |(_, name)| name).to_owned()
    };
    let of_kinds = |path: &'static str| {
        let kinds = if path.contains("{plural}") {
            &RowKind::ALL[..]
        } else {
            &RowKind::ALL[..1]
        };
        kinds.iter().map(move |kind| path.replace("{plural}", kind.plural()))
    };
    ROUTES
        .iter()
        .flat_map(|route| of_kinds(route.path).map(|path| (name(route.method), path)))
        .collect()
}

pub(super) fn router() -> Router<AppState> {
    let mut router = Router::new();
    for Route { method, path, handler } in &ROUTES {
        router = router.route(path, handler(*method));
    }
    router
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
    app: AppState,
    caller: std::sync::Arc<Caller>,
    request_id: RequestId,
    query: Query,
    head: Parts,
    body: axum::body::Body,
}

impl Asked {
    /// Authenticates before anything else is looked at. The query may have the parameters `known` and no others: what is not
    /// understood is not passed over.
    async fn read(app: &AppState, request: Request, known: &[&str]) -> Result<Self, Refused> {
        let (head, body) = request.into_parts();
        let caller = caller::authenticate(app, &head)
            .await
            .map_err(|away| Refused::from(Problem::of_turned_away(*away)))?;
        let context = head.extensions.get::<RequestContext>();
        let request_id = RequestId::new(context.map_or_else(|| "".into(), |context| context.request_id.clone()));
        Ok(Self {
            app: AppState::clone(app),
            caller,
            request_id,
            query: Query::read(&head.uri, known)?,
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

    /// What a use case said, as an answer.
    fn refuse(&self, error: impl Into<AdministerError>) -> Refused {
        Problem::of(&self.app, error.into()).into()
    }
}

/// An answer that is none of the things asked for.
#[derive(Debug)]
struct Refused(Box<Response>);

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        problem.into_response().into()
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// Handlers answer either way.
type Answer = Result<Response, Refused>;
