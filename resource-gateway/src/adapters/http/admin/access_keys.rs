//! `/admin/v1/access-keys`: keys by which machines sign requests.

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use super::{
    super::AppState,
    Answer, Asked,
    page::{self, Query},
    problem::Problem,
    refuse, rows, settle, version,
};
use crate::{
    application::{
        access_keys::{Issued, KeyError, render_key},
        administer::AdministerError,
        change_config::ChangeError,
    },
    domain::{
        access_key::AccessKey,
        ids::{AccessKeyId, ClientId, TenantId},
    },
    ports::config_source::RowVersion,
};

pub(super) async fn list(State(app): State<AppState>, request: Request) -> Response {
    let answer: Answer = async {
        let asked = Asked::read(&app, request).await?;
        let query = Query::read(&asked.head.uri, &["tenant", "client_id"])?;
        let (after, limit) = (query.page_token()?.map(AccessKeyId::new), query.limit()?);
        let tenant = query.get("tenant").map(TenantId::new);
        let client_id = query.get("client_id").map(ClientId::new);
        let keys = app.access_keys.list(asked.by(), tenant, client_id, after, limit).await;
        let keys = keys.map_err(|error| Box::new(refused(&app, error)))?;
        let items = keys.items.iter().map(|key| Value::Object(render_key(key))).collect();
        Ok(page::respond(items, keys.next.as_ref().map(AccessKeyId::as_str)))
    }
    .await;
    settle(answer)
}

pub(super) async fn issue(State(app): State<AppState>, request: Request) -> Response {
    let answer: Answer = async {
        let mut asked = Asked::read(&app, request).await?;
        let form = rows::form(&mut asked).await?;
        let issued = app.access_keys.issue(asked.by(), form).await;
        let issued = issued.map_err(|error| Box::new(refused(&app, error)))?;
        let mut response = show_secret(StatusCode::CREATED, &issued);
        if let Ok(place) = HeaderValue::try_from(format!("/admin/v1/access-keys/{}", issued.key.id)) {
            response.headers_mut().insert(header::LOCATION, place);
        }
        Ok(response)
    }
    .await;
    settle(answer)
}

pub(super) async fn load(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Response {
    let answer: Answer = async {
        let asked = Asked::read(&app, request).await?;
        let key = app.access_keys.load(asked.by(), &AccessKeyId::new(id)).await;
        let key = key.map_err(|error| Box::new(refused(&app, error)))?;
        Ok(show(StatusCode::OK, &key, render_key(&key)))
    }
    .await;
    settle(answer)
}

pub(super) async fn put(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Response {
    let answer: Answer = async {
        let mut asked = Asked::read(&app, request).await?;
        let precondition = version::precondition(&asked.head.headers)?;
        let form = rows::form(&mut asked).await?;
        let id = AccessKeyId::new(id);
        let key = app
            .access_keys
            .replace(asked.by(), &id, &form, precondition.as_ref())
            .await;
        let key = key.map_err(|error| Box::new(refused(&app, error)))?;
        // The next call to this node obeys already.
        app.snapshots.refresh().await;
        Ok(show(StatusCode::OK, &key, render_key(&key)))
    }
    .await;
    settle(answer)
}

pub(super) async fn rotate(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Response {
    let answer: Answer = async {
        let mut asked = Asked::read(&app, request).await?;
        let precondition = version::precondition(&asked.head.headers)?;
        let form = rows::form(&mut asked).await?;
        let id = AccessKeyId::new(id);
        let issued = app
            .access_keys
            .rotate(asked.by(), &id, form, precondition.as_ref())
            .await;
        let issued = issued.map_err(|error| Box::new(refused(&app, error)))?;
        app.snapshots.refresh().await;
        Ok(show_secret(StatusCode::OK, &issued))
    }
    .await;
    settle(answer)
}

pub(super) async fn delete(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Response {
    let answer: Answer = async {
        let asked = Asked::read(&app, request).await?;
        let precondition = version::precondition(&asked.head.headers)?;
        let id = AccessKeyId::new(id);
        let deleted = app.access_keys.delete(asked.by(), &id, precondition.as_ref()).await;
        deleted.map_err(|error| Box::new(refused(&app, error)))?;
        app.snapshots.refresh().await;
        Ok(StatusCode::NO_CONTENT.into_response())
    }
    .await;
    settle(answer)
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

fn refused(app: &AppState, error: KeyError) -> Response {
    match error {
        KeyError::Denied(denied) => Problem::of(app, AdministerError::Denied(denied)),
        KeyError::Store(error) => Problem::of(app, AdministerError::Change(ChangeError::Store(error))),
        KeyError::Invalid(faults) => *refuse(Problem::invalid(StatusCode::UNPROCESSABLE_ENTITY, faults)),
        KeyError::Unknown => *refuse(Problem::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is no such access key.",
        )),
        KeyError::Conflict => *refuse(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition_failed",
            "The access key has changed meanwhile.",
        )),
        KeyError::Crypto => {
            tracing::error!("an id for an access key could not be minted");
            let detail = "The gateway could not do this; its log says why.";
            *refuse(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail))
        }
    }
}
