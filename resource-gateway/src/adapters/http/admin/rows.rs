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
    Answer, Asked, MAX_BODY_BYTES, Refused,
    page::{self, PAGE},
    problem::Problem,
    version,
};
use crate::{
    application::administer::{Put, Shown},
    domain::{
        config_row::{RowId, RowKind},
        ids::check_name,
    },
};

/// For every kind of row: `vendors`, `interfaces`, …
pub(super) const PATH: &str = "/admin/v1/{plural}";
pub(super) const PATH_OF_ONE: &str = "/admin/v1/{plural}/{name}";

pub(super) async fn list(State(app): State<AppState>, Path(plural): Path<String>, request: Request) -> Answer {
    let asked = Asked::read(&app, request, &PAGE).await?;
    let kind = kind(&plural)?;
    let (after, limit) = (asked.query.page_token()?, asked.query.limit()?);
    let rows = app.administer.list(asked.by(), kind, after.as_deref(), limit).await;
    let rows = rows.map_err(|error| asked.refuse(error))?;
    let items = rows.items.into_iter().map(Value::Object).collect();
    Ok(page::respond(items, rows.next.as_deref()))
}

pub(super) async fn load(State(app): State<AppState>, Path(path): Path<(String, String)>, request: Request) -> Answer {
    let asked = Asked::read(&app, request, &[]).await?;
    let id = row_id(path)?;
    let shown = app.administer.load(asked.by(), &id).await;
    let shown = shown.map_err(|error| asked.refuse(error))?;
    Ok(show(StatusCode::OK, shown))
}

pub(super) async fn put(State(app): State<AppState>, Path(path): Path<(String, String)>, request: Request) -> Answer {
    let mut asked = Asked::read(&app, request, &[]).await?;
    let id = row_id(path)?;
    let precondition = version::precondition(&asked.head.headers)?;
    let form = form(&mut asked).await?;
    let put = app.administer.put(asked.by(), &id, form, precondition.as_ref()).await;
    let (put, shown) = put.map_err(|error| asked.refuse(error))?;
    // The next call to this node obeys already; the others look for news several times a second.
    app.snapshots.refresh().await;
    let status = match put {
        Put::Created => StatusCode::CREATED,
        Put::Replaced => StatusCode::OK,
    };
    Ok(show(status, shown))
}

pub(super) async fn delete(
    State(app): State<AppState>,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Answer {
    let asked = Asked::read(&app, request, &[]).await?;
    let id = row_id(path)?;
    let precondition = version::precondition(&asked.head.headers)?;
    let deleted = app.administer.delete(asked.by(), &id, precondition.as_ref()).await;
    deleted.map_err(|error| Refused::from(Problem::of_deletion(&app, error)))?;
    app.snapshots.refresh().await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn kind(plural: &str) -> Result<RowKind, Refused> {
    RowKind::by_plural(plural).ok_or_else(|| Problem::not_found(&format!("/admin/v1/{plural}")).into())
}

fn row_id((plural, name): (String, String)) -> Result<RowId, Refused> {
    let kind = kind(&plural)?;
    check_name(&name).map_err(|error| {
        let detail = format!("The name in the path cannot be one: {error}.");
        Problem::bad_request("invalid_name", detail)
    })?;
    Ok(RowId::new(kind, name))
}

/// The body as a JSON object, in which no member stands twice: of two the writer meant one, and nobody knows which.
pub(super) async fn form(asked: &mut Asked) -> Result<Map<String, Value>, Refused> {
    request_body::check_json(&asked.head.headers).map_err(|_| {
        let detail = "The body must be JSON; say Content-Type: application/json.";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    })?;
    let body = std::mem::take(&mut asked.body);
    let bytes = request_body::read(body, MAX_BODY_BYTES)
        .await
        .map_err(|error| Refused::from(Problem::of_body(error)))?;
    let object = token_keys::strict_json::object(&bytes).map_err(|error| {
        let detail = format!("The body is no JSON object: {error}.");
        Problem::bad_request("invalid_json", detail)
    })?;
    Ok(object)
}

fn show(status: StatusCode, shown: Shown) -> Response {
    let mut response = (status, Json(Value::Object(shown.form))).into_response();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, version::etag(shown.version));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
