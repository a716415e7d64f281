//! Pages of lists: `?limit=&page_token=`.

use axum::{
    Json,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{problem::Problem, refuse};

const DEFAULT_LIMIT: u32 = 50;
const MOST: u32 = 500;

/// The query of a list. Each parameter may come once; unknown ones are refused, since a filter that is not understood would show
/// too much.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Box<Response>> {
        let query = uri.query().unwrap_or_default();
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let name = name.into_owned();
            if parameters.iter().any(|(other, _)| *other == name) {
                let detail = format!("The parameter {:?} stands there twice.", shown(&name));
                return Err(refuse(Problem::bad_request("invalid_query", detail)));
            }
            if !["limit", "page_token"].contains(&name.as_str()) && !known.contains(&name.as_str()) {
                let detail = format!(
                    "There is no parameter {:?}; there are limit, page_token{}{}.",
                    shown(&name),
                    if known.is_empty() { "" } else { ", " },
                    known.join(", ")
                );
                return Err(refuse(Problem::bad_request("invalid_query", detail)));
            }
            parameters.push((name, value.into_owned()));
        }
        Ok(Self(parameters))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn limit(&self) -> Result<u32, Box<Response>> {
        let Some(text) = self.get("limit") else {
            return Ok(DEFAULT_LIMIT);
        };
        let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
        limit.ok_or_else(|| {
            let detail = format!("limit must be a whole number from 1 to {MOST}.");
            refuse(Problem::bad_request("invalid_query", detail))
        })
    }

    /// What a token of an earlier page says.
    pub(super) fn page_token(&self) -> Result<Option<String>, Box<Response>> {
        let Some(token) = self.get("page_token").filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        let bytes = URL_SAFE_NO_PAD.decode(token).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.map(Some).ok_or_else(bad_token)
    }
}

#[expect(clippy::unnecessary_box_returns, reason = "the shape of every refusal here")]
pub(super) fn bad_token() -> Box<Response> {
    refuse(Problem::bad_request(
        "invalid_page_token",
        "The page_token is not one of ours.",
    ))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// A place as a token.
pub(super) fn token(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

/// `{"items": […], "next_page_token": …}`; the last page has no token.
pub(super) fn respond(items: Vec<Value>, next: Option<&str>) -> Response {
    let next = next.map(token);
    let mut response = Json(json!({"items": items, "next_page_token": next})).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
