//! Pages of callers' lists: `?limit=&page_token=`, answered with `items` and `next_page_token`.

use axum::http::Uri;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::domain::fault::PublicError;

const DEFAULT_LIMIT: u32 = 20;
const MOST: u32 = 100;

/// How many items are asked for, and what the token of an earlier page says. Each parameter stands there once at most, and there are
/// no others: what is not understood is not passed over.
pub(super) fn read(uri: &Uri) -> Result<(u32, Option<String>), PublicError> {
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

/// A place as a token.
pub(super) fn token(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

pub(super) fn bad_token() -> PublicError {
    PublicError::invalid(
        Some("page_token"),
        "invalid_page_token",
        "The page_token is not one of ours.",
    )
}
