//! `/admin/v1/{vendors,interfaces,…}`: configuration rows.

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Map, Value};

use super::{
    super::{AppState, request_body},
    Answer, Asked, MAX_BODY_BYTES,
    page::{self, Query},
    problem::Problem,
    refuse, settle, version,
};
use crate::{
    application::administer::Shown,
    domain::{
        audit::AuditAction,
        config_row::{RowId, RowKind},
        ids::check_name,
    },
};

pub(super) async fn list(State(app): State<AppState>, Path(plural): Path<String>, request: Request) -> Response {
    let answer: Answer = async {
        let asked = Asked::read(&app, request).await?;
        let kind = kind(&plural)?;
        let query = Query::read(&asked.head.uri, &[])?;
        let (after, limit) = (query.page_token()?, query.limit()?);
        let rows = app
            .administer
            .list(asked.by(), kind, after.as_deref(), limit as usize)
            .await
            .map_err(|error| Box::new(Problem::of(&app, error)))?;
        let items = rows.items.into_iter().map(Value::Object).collect();
        Ok(page::respond(items, rows.next.as_deref()))
    }
    .await;
    settle(answer)
}

pub(super) async fn load(
    State(app): State<AppState>,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Response {
    let answer: Answer = async {
        let asked = Asked::read(&app, request).await?;
        let id = row_id(path)?;
        let shown = app.administer.load(asked.by(), &id).await;
        Ok(show(
            StatusCode::OK,
            shown.map_err(|error| Box::new(Problem::of(&app, error)))?,
        ))
    }
    .await;
    settle(answer)
}

pub(super) async fn put(State(app): State<AppState>, Path(path): Path<(String, String)>, request: Request) -> Response {
    let answer: Answer = async {
        let mut asked = Asked::read(&app, request).await?;
        let id = row_id(path)?;
        let precondition = version::precondition(&asked.head.headers)?;
        let form = form(&mut asked).await?;
        let put = app
            .administer
            .put(asked.by(), &id, form, precondition.as_ref())
            .await
            .map_err(|error| Box::new(Problem::of(&app, error)))?;
        let (changed, shown) = put;
        // The next call to this node obeys already; the others look for news several times a second.
        app.snapshots.refresh().await;
        let created = changed
            .changed
            .iter()
            .any(|(_, action)| *action == AuditAction::Created);
        let status = if created { StatusCode::CREATED } else { StatusCode::OK };
        Ok(show(status, shown))
    }
    .await;
    settle(answer)
}

pub(super) async fn delete(
    State(app): State<AppState>,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Response {
    let answer: Answer = async {
        let asked = Asked::read(&app, request).await?;
        let id = row_id(path)?;
        let precondition = version::precondition(&asked.head.headers)?;
        app.administer
            .delete(asked.by(), &id, precondition.as_ref())
            .await
            .map_err(|error| Box::new(Problem::of_deletion(&app, error)))?;
        app.snapshots.refresh().await;
        Ok(StatusCode::NO_CONTENT.into_response())
    }
    .await;
    settle(answer)
}

fn kind(plural: &str) -> Result<RowKind, Box<Response>> {
    RowKind::by_plural(plural).ok_or_else(|| refuse(Problem::not_found(&format!("/admin/v1/{plural}"))))
}

fn row_id((plural, name): (String, String)) -> Result<RowId, Box<Response>> {
    let kind = kind(&plural)?;
    check_name(&name).map_err(|error| {
        let detail = format!("The name in the path cannot be one: {error}.");
        refuse(Problem::bad_request("invalid_name", detail))
    })?;
    Ok(RowId::new(kind, name))
}

/// The body as a JSON object, in which no member stands twice: of two the writer meant one, and nobody knows which.
pub(super) async fn form(asked: &mut Asked) -> Result<Map<String, Value>, Box<Response>> {
    request_body::check_json(&asked.head.headers).map_err(|_| {
        let detail = "The body must be JSON; say Content-Type: application/json.";
        refuse(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            detail,
        ))
    })?;
    let body = std::mem::take(&mut asked.body);
    let bytes = request_body::read(body, MAX_BODY_BYTES)
        .await
        .map_err(|error| Box::new(Problem::of_body(error)))?;
    token_keys::strict_json::object(&bytes).map_err(|error| {
        refuse(Problem::bad_request(
            "invalid_json",
            format!("The body is no JSON object: {error}."),
        ))
    })
}

fn show(status: StatusCode, shown: Shown) -> Response {
    let mut response = (status, Json(Value::Object(shown.form))).into_response();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, version::etag(shown.version));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
