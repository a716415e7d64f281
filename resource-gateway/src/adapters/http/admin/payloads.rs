//! `/admin/v1/payloads`: requests and answers of interfaces that log them.

use axum::extract::{Request, State};
use serde_json::{Value, json};

use super::{
    super::AppState,
    Answer, Asked,
    page::{self, place_token},
};
use crate::{
    application::list_payloads::{ListPayloads, PayloadFilter},
    ports::payload_log::StoredPayload,
};

const PARAMETERS: [&str; 5] = ["request_id", "interface", "client_id", "limit", "page_token"];

pub(super) async fn list(State(app): State<AppState>, request: Request) -> Answer {
    let asked = Asked::read(&app, request, &PARAMETERS).await?;
    let text = |name| asked.query.get(name).map(str::to_owned);
    let filter = PayloadFilter {
        request_id: text("request_id"),
        interface: text("interface"),
        client_id: text("client_id"),
    };
    let (before, limit) = (asked.query.page_place()?, asked.query.limit_to(ListPayloads::MOST)?);
    let page = app.list_payloads.list(asked.by(), filter, before, limit).await;
    let page = page.map_err(|error| asked.refuse(error))?;
    let next = page.next.map(|(time, id)| place_token(time, &id));
    Ok(page::respond(page.items.iter().map(form).collect(), next.as_deref()))
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
