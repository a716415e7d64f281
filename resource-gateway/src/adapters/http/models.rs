//! `/v1/models`: what the caller may use.

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use super::{AppState, caller, error::GatewayError};
use crate::domain::interface::Interface;

pub(super) async fn list(State(app): State<AppState>, request: Request) -> Response {
    match caller::authenticate(&app, &request.into_parts().0).await {
        Err(away) => away.into_response(),
        Ok(caller) => {
            let models: Vec<Value> = app
                .list_models
                .list(&caller, app.clock.now().as_seconds())
                .iter()
                .map(|interface| model(interface, app.started))
                .collect();
            Json(json!({"object": "list", "data": models})).into_response()
        }
    }
}

pub(super) async fn one(State(app): State<AppState>, Path(name): Path<String>, request: Request) -> Response {
    match caller::authenticate(&app, &request.into_parts().0).await {
        Err(away) => away.into_response(),
        Ok(caller) => match app.list_models.load(&caller, &name, app.clock.now().as_seconds()) {
            Ok(interface) => Json(model(&interface, app.started)).into_response(),
            Err(error) => GatewayError(error).into_response(),
        },
    }
}

/// SDKs insist on `created`; interfaces have no such moment, so it is when this process began to serve.
fn model(interface: &Interface, created: i64) -> Value {
    json!({"id": interface.name, "object": "model", "created": created, "owned_by": "hexgate",
        "capability": interface.capability})
}
