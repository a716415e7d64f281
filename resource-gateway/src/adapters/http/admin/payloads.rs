//! `/admin/v1/payloads`: requests and answers of interfaces that log them.

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};
use service_kit::Timestamp;

use super::{
    super::AppState,
    Answer, Asked,
    page::{self, Query, bad_token},
    problem::Problem,
    settle,
};
use crate::{
    application::administer::AdministerError,
    ports::payload_log::{PayloadQuery, StoredPayload},
};

/// Texts are long; a page of many would be megabytes.
const MOST: u32 = 50;

pub(super) async fn list(State(app): State<AppState>, request: Request) -> Response {
    let answer: Answer = async {
        let refuse = |error: AdministerError| Box::new(Problem::of(&app, error));
        let asked = Asked::read(&app, request).await?;
        let administrator = app.administer.admit(asked.by(), "payload:read").map_err(refuse)?;
        let query = Query::read(&asked.head.uri, &["request_id", "interface", "client_id"])?;
        let before = match query.page_token()? {
            None => None,
            Some(token) => Some(place(&token).ok_or_else(bad_token)?),
        };
        let limit = query.limit()?.min(MOST);
        let text = |name| query.get(name).map(str::to_owned);
        let query = PayloadQuery {
            tenant: administrator.only_tenant().cloned(),
            request_id: text("request_id"),
            interface: text("interface"),
            client_id: text("client_id"),
            before,
            limit: limit + 1,
        };
        let rows = app.payloads.list_payloads(&query).await;
        let mut rows = rows.map_err(|error| refuse(error.into()))?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more);
        let next = next.map(|row| format!("{}.{}", row.time.as_micros(), row.request_id));
        Ok(page::respond(rows.iter().map(form).collect(), next.as_deref()))
    }
    .await;
    settle(answer)
}

fn place(token: &str) -> Option<(Timestamp, String)> {
    let (time, id) = token.split_once('.')?;
    Some((Timestamp::from_micros(time.parse().ok()?), id.to_owned()))
}

fn form(row: &StoredPayload) -> Value {
    json!({
        "request_id": row.request_id,
        "time": row.time.to_rfc3339(),
        "tenant": row.tenant,
        "client_id": row.client_id,
        "sub": row.sub,
        "interface": row.interface,
        "state": row.state,
        "request": row.request,
        "request_bytes": row.request_bytes,
        "request_cut": row.request_cut,
        "reply": row.reply,
        "reply_bytes": row.reply_bytes,
        "reply_cut": row.reply_cut,
    })
}
