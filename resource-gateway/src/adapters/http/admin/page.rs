//! Pages of lists: `?limit=&page_token=`.

use axum::{
    Json,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use service_kit::Timestamp;

use super::{Refused, problem::Problem};

const DEFAULT_LIMIT: u32 = 50;
const MOST: u32 = 500;

/// The parameters of every list.
pub(super) const PAGE: [&str; 2] = ["limit", "page_token"];

/// A request's query. Each parameter may come once; unknown ones are refused, since a filter that is not understood would show too
/// much.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Refused> {
        let query = uri.query().unwrap_or_default();
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let name = name.into_owned();
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(invalid(format!("The parameter {:?} stands there twice.", shown(&name))));
            }
            if !known.contains(&name.as_str()) {
                let known = match known {
                    [] => "none".to_owned(),
                    known => known.join(", "),
                };
                let name = shown(&name);
                return Err(invalid(format!(
                    "There is no parameter {name:?} here; there are {known}."
                )));
            }
            parameters.push((name, value.into_owned()));
        }
        Ok(Self(parameters))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn limit(&self) -> Result<u32, Refused> {
        self.limit_to(MOST)
    }

    /// A limit for lists of long items.
    pub(super) fn limit_to(&self, most: u32) -> Result<u32, Refused> {
        let Some(text) = self.get("limit") else {
            return Ok(DEFAULT_LIMIT.min(most));
        };
        let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| invalid(format!("limit must be a whole number from 1 to {most}.")))
    }

    /// What a token of an earlier page says.
    pub(super) fn page_token(&self) -> Result<Option<String>, Refused> {
        let Some(token) = self.get("page_token").filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        let bytes = URL_SAFE_NO_PAD.decode(token).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.map(Some).ok_or_else(bad_token)
    }

    /// The same for lists in the order of time, whose places are a time and an id.
    pub(super) fn page_place(&self) -> Result<Option<(Timestamp, String)>, Refused> {
        let place = |token: String| {
            let (time, id) = token.split_once('.')?;
            Some((Timestamp::from_micros(time.parse().ok()?), id.to_owned()))
        };
        let token = self.page_token()?;
        token.map(|token| place(token).ok_or_else(bad_token)).transpose()
    }
}

pub(super) fn place_token(time: Timestamp, id: &str) -> String {
    format!("{}.{id}", time.as_micros())
}

pub(super) fn invalid(detail: impl Into<String>) -> Refused {
    Problem::bad_request("invalid_query", detail).into()
}

pub(super) fn bad_token() -> Refused {
    Problem::bad_request("invalid_page_token", "The page_token is not one of ours.").into()
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
