//! `/admin/v1/access-keys`: keys by which machines sign requests.

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use super::{super::AppState, Answer, Asked, page, rows, version};
use crate::{
    application::access_keys::{Issued, render_key},
    domain::{
        access_key::AccessKey,
        ids::{AccessKeyId, ClientId, TenantId},
    },
    ports::config_source::RowVersion,
};

const PARAMETERS: [&str; 4] = ["tenant", "client_id", "limit", "page_token"];

pub(super) async fn list(State(app): State<AppState>, request: Request) -> Answer {
    let asked = Asked::read(&app, request, &PARAMETERS).await?;
    let query = &asked.query;
    let (after, limit) = (query.page_token()?.map(AccessKeyId::new), query.limit()?);
    let tenant = query.get("tenant").map(TenantId::new);
    let client_id = query.get("client_id").map(ClientId::new);
    let keys = app.access_keys.list(asked.by(), tenant, client_id, after, limit).await;
    let keys = keys.map_err(|error| asked.refuse(error))?;
    let items = keys.items.iter().map(|key| Value::Object(render_key(key))).collect();
    Ok(page::respond(items, keys.next.as_ref().map(AccessKeyId::as_str)))
}

pub(super) async fn issue(State(app): State<AppState>, request: Request) -> Answer {
    let mut asked = Asked::read(&app, request, &[]).await?;
    version::refuse_precondition(&asked.head.headers)?;
    let form = rows::form(&mut asked).await?;
    let issued = app.access_keys.issue(asked.by(), form).await;
    let issued = issued.map_err(|error| asked.refuse(error))?;
    let mut response = show_secret(StatusCode::CREATED, &issued);
    if let Ok(place) = HeaderValue::try_from(format!("/admin/v1/access-keys/{}", issued.key.id)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

pub(super) async fn load(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Answer {
    let asked = Asked::read(&app, request, &[]).await?;
    let key = app.access_keys.load(asked.by(), &AccessKeyId::new(id)).await;
    let key = key.map_err(|error| asked.refuse(error))?;
    Ok(show(StatusCode::OK, &key, render_key(&key)))
}

pub(super) async fn put(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Answer {
    let mut asked = Asked::read(&app, request, &[]).await?;
    let precondition = version::precondition(&asked.head.headers)?;
    let form = rows::form(&mut asked).await?;
    let (id, precondition) = (AccessKeyId::new(id), precondition.as_ref());
    let key = app.access_keys.replace(asked.by(), &id, form, precondition).await;
    let key = key.map_err(|error| asked.refuse(error))?;
    // The next call to this node obeys already.
    app.snapshots.refresh().await;
    Ok(show(StatusCode::OK, &key, render_key(&key)))
}

pub(super) async fn rotate(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Answer {
    let mut asked = Asked::read(&app, request, &[]).await?;
    let precondition = version::precondition(&asked.head.headers)?;
    let form = rows::form(&mut asked).await?;
    let (id, precondition) = (AccessKeyId::new(id), precondition.as_ref());
    let issued = app.access_keys.rotate(asked.by(), &id, form, precondition).await;
    let issued = issued.map_err(|error| asked.refuse(error))?;
    app.snapshots.refresh().await;
    Ok(show_secret(StatusCode::OK, &issued))
}

pub(super) async fn delete(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Answer {
    let asked = Asked::read(&app, request, &[]).await?;
    let precondition = version::precondition(&asked.head.headers)?;
    let id = AccessKeyId::new(id);
    let deleted = app.access_keys.delete(asked.by(), &id, precondition.as_ref()).await;
    deleted.map_err(|error| asked.refuse(error))?;
    app.snapshots.refresh().await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The one answer that holds a secret.
fn show_secret(status: StatusCode, issued: &Issued) -> Response {
    let mut form = render_key(&issued.key);
    form.insert("secret".to_owned(), issued.secret.expose_secret().into());
    show(status, &issued.key, form)
}

fn show(status: StatusCode, key: &AccessKey, form: Map<String, Value>) -> Response {
    let mut response = (status, Json(Value::Object(form))).into_response();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, version::etag(RowVersion(key.version)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
