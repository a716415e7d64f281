//! `/v1/conversations`: what callers have stored, and how they get rid of it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json, value::RawValue};
use service_kit::Timestamp;

use super::{AppState, caller, error::GatewayError};
use crate::{
    domain::{
        caller::Caller, conversation::Conversation, fault::PublicError, ids::ConversationId, interface::Capability,
    },
    ports::conversations::StoredMessage,
};

const DEFAULT_LIMIT: u32 = 20;
const MOST: u32 = 100;

type Refused = Box<Response>;

pub(super) async fn list(State(app): State<AppState>, request: Request) -> Response {
    let page = async {
        let (caller, head) = authenticate(&app, request).await?;
        let (limit, token) = read_query(&head.uri).map_err(refuse)?;
        let before = match token {
            None => None,
            Some(token) => Some(place(&token).ok_or_else(|| refuse(bad_token()))?),
        };
        let found = app.conversations.list(&caller, before, limit + 1).await;
        let mut found = found.map_err(refuse)?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next = found
            .last()
            .filter(|_| more)
            .map(|last| URL_SAFE_NO_PAD.encode(format!("{}.{}", last.created_at.as_micros(), last.id)));
        let items: Vec<Value> = found.iter().map(form).collect();
        Ok::<_, Refused>(respond(&json!({"items": items, "next_page_token": next})))
    };
    page.await.unwrap_or_else(|refused| *refused)
}

pub(super) async fn one(State(app): State<AppState>, Path(id): Path<String>, request: Request) -> Response {
    let page = async {
        let (caller, head) = authenticate(&app, request).await?;
        let (limit, token) = read_query(&head.uri).map_err(refuse)?;
        let after = match token {
            None => 0,
            Some(token) => token.parse().map_err(|_| refuse(bad_token()))?,
        };
        let found = app
            .conversations
            .load(&caller, &ConversationId::new(id), after, limit)
            .await;
        let (conversation, messages) = found.map_err(refuse)?;
        let last = messages.last().map(|message| message.number);
        let next = last.filter(|last| *last < conversation.length);
        let next = next.map(|next| URL_SAFE_NO_PAD.encode(next.to_string()));
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
    caller.check_capability(Capability::Chat).map_err(|denied| {
        app.meters.refused(crate::application::meters::Refusal::Scope);
        Box::new(caller::deny(app, &denied).into_response())
    })?;
    Ok((caller, head))
}

#[expect(clippy::unnecessary_box_returns, reason = "the shape of every refusal here")]
fn refuse(error: PublicError) -> Refused {
    Box::new(GatewayError(error).into_response())
}

fn bad_token() -> PublicError {
    PublicError::invalid(
        Some("page_token"),
        "invalid_page_token",
        "The page_token is not one of ours.",
    )
}

/// `limit` and `page_token`, each once at most; nothing else.
fn read_query(uri: &Uri) -> Result<(u32, Option<String>), PublicError> {
    let wrong = |name: &str, why: &str| {
        let name: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
        PublicError::invalid(Some(&name), "invalid_query", format!("The parameter '{name}' {why}."))
    };
    let (mut limit, mut token) = (None, None);
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let place = match &*name {
            "limit" => &mut limit,
            "page_token" => &mut token,
            _ => return Err(wrong(&name, "is unknown; there are limit and page_token")),
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(wrong(&name, "stands there twice"));
        }
    }
    let limit = match limit {
        None => DEFAULT_LIMIT,
        Some(text) => {
            let number = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
            number.ok_or_else(|| wrong("limit", "must be a whole number from 1 to 100"))?
        }
    };
    let token = token.filter(|token| !token.is_empty());
    let decode = |token: String| {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok();
        bytes
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(bad_token)
    };
    Ok((limit, token.map(decode).transpose()?))
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
