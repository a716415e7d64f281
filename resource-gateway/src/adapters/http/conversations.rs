//! `/v1/conversations`: what callers have stored, and how they get rid of it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json, value::RawValue};
use service_kit::Timestamp;

use super::{AppState, caller, error::GatewayError, pages};
use crate::{
    domain::{
        caller::Caller, conversation::Conversation, fault::PublicError, ids::ConversationId, interface::Capability,
    },
    ports::conversations::StoredMessage,
};

type Refused = Box<Response>;

pub(super) async fn list(State(app): State<AppState>, request: Request) -> Response {
    let page = async {
        let (caller, head) = authenticate(&app, request).await?;
        let (limit, token) = pages::read(&head.uri).map_err(refuse)?;
        let before = match token {
            None => None,
            Some(token) => Some(place(&token).ok_or_else(|| refuse(pages::bad_token()))?),
        };
        let found = app.conversations.list(&caller, before, limit).await;
        let page = found.map_err(refuse)?;
        let next = page
            .next
            .map(|(time, id)| pages::token(&format!("{}.{id}", time.as_micros())));
        let items: Vec<Value> = page.items.iter().map(form).collect();
        Ok::<_, Refused>(respond(&json!({"items": items, "next_page_token": next})))
    };
    page.await.unwrap_or_else(|refused| *refused)
}

pub(super) async fn one(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Response {
    let page = async {
        let (caller, head) = authenticate(&app, request).await?;
        let (limit, token) = pages::read(&head.uri).map_err(refuse)?;
        let after = match token {
            None => 0,
            Some(token) => token.parse().map_err(|_| refuse(pages::bad_token()))?,
        };
        let found = app
            .conversations
            .load(&caller, &ConversationId::new(id), after, limit)
            .await;
        let (conversation, messages) = found.map_err(refuse)?;
        let last = messages.last().map(|message| message.number);
        let next = last.filter(|last| *last < conversation.length);
        let next = next.map(|next| pages::token(&next.to_string()));
        let mut shown = form(&conversation);
        if let Some(members) = shown.as_object_mut() {
            members.insert("items".to_owned(), messages.iter().map(message).collect());
            members.insert("next_page_token".to_owned(), next.into());
        }
        Ok::<_, Refused>(respond(&shown))
    };
    page.await.unwrap_or_else(|refused| *refused)
}

pub(super) async fn delete(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Response {
    let deleted = async {
        let (caller, _) = authenticate(&app, request).await?;
        let deleted = app.conversations.delete(&caller, &ConversationId::new(id)).await;
        deleted.map_err(refuse)
    };
    match deleted.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refused) => *refused,
    }
}

/// Whoever may chat may see what was said.
async fn authenticate(app: &AppState, request: Request) -> Result<(Arc<Caller>, Parts), Refused> {
    let head = request.into_parts().0;
    let caller = caller::authenticate(app, &head).await;
    let caller = caller.map_err(|away| Box::new(away.into_response()))?;
    let allowed = caller.check_capability(Capability::Chat);
    allowed.map_err(|denied| Box::new(caller::deny(app, &denied).into_response()))?;
    Ok((caller, head))
}

#[expect(clippy::unnecessary_box_returns, reason = "the shape of every refusal here")]
fn refuse(error: PublicError) -> Refused {
    Box::new(GatewayError(error).into_response())
}

fn place(token: &str) -> Option<(Timestamp, ConversationId)> {
    let (time, id) = token.split_once('.')?;
    Some((Timestamp::from_micros(time.parse().ok()?), ConversationId::new(id)))
}

fn form(conversation: &Conversation) -> Value {
    json!({
        "id": conversation.id,
        "object": "conversation",
        "model": conversation.interface,
        "created_at": conversation.created_at.to_rfc3339(),
        "changed_at": conversation.changed_at.to_rfc3339(),
        "messages": conversation.length,
    })
}

fn message(stored: &StoredMessage) -> Value {
    let body: Option<&RawValue> = serde_json::from_str(&stored.body).ok();
    json!({
        "number": stored.number,
        "time": stored.time.to_rfc3339(),
        "request_id": stored.request_id,
        "message": body,
    })
}

fn respond(body: &Value) -> Response {
    let mut response = Json(body).into_response();
    let headers = response.headers_mut();
    // What was said is for one caller, and nobody on the way keeps it.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
