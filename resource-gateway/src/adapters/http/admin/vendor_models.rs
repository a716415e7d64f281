//! `/admin/v1/vendors/{name}/models`: which models a vendor has.

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::IntoResponse as _,
};
use serde_json::{Value, json};

use super::{super::AppState, Answer, Asked, Refused, problem::Problem};
use crate::application::vendor_models::ListError;

pub(super) async fn list(State(app): State<AppState>, Path(name): Path<String>, request: Request) -> Answer {
    let asked = Asked::read(&app, request, &[]).await?;
    let models = app.vendor_models.list(asked.by(), &name).await;
    let models = models.map_err(|error| refuse(&asked, error))?;
    let items: Vec<Value> = models.names.into_iter().map(|id| json!({"id": id})).collect();
    let mut response = Json(json!({"items": items, "truncated": models.truncated})).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn refuse(asked: &Asked, error: ListError) -> Refused {
    let problem = match error {
        ListError::Administer(error) => return asked.refuse(error),
        ListError::Unused => {
            let detail = "The vendor is disabled, or cannot be used as its row stands.";
            Problem::new(StatusCode::CONFLICT, "vendor_not_in_use", detail)
        }
        ListError::Unlisted => {
            let detail = "Vendors of this strategy cannot be asked for their models.";
            Problem::new(StatusCode::CONFLICT, "models_not_listed", detail)
        }
        ListError::Vendor(fault) => {
            let public = fault.to_public();
            // Whatever it refused, it refused the gateway and not this administrator.
            let status = if public.status == 504 {
                StatusCode::GATEWAY_TIMEOUT
            } else {
                StatusCode::BAD_GATEWAY
            };
            let told = fault.words.message.as_deref().unwrap_or(&public.message);
            Problem::new(status, "vendor_failed", format!("{}: {told}", fault.class.label()))
        }
    };
    problem.into()
}
