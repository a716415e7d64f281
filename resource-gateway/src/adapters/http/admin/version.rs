//! Versions of rows as entity tags, and what writers say about them (RFC 9110 §8.8.3, §13.1).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Refused, problem::Problem};
use crate::{application::change_config::Precondition, ports::config_source::RowVersion};

/// The entity tag of a version.
pub(super) fn etag(version: RowVersion) -> HeaderValue {
    HeaderValue::try_from(format!("\"{}\"", version.0)).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// Whoever makes something new has seen no version of it.
pub(super) fn refuse_precondition(headers: &HeaderMap) -> Result<(), Refused> {
    match precondition(headers)? {
        None | Some(Precondition::Absent) => Ok(()),
        Some(Precondition::Exists | Precondition::OneOf(_)) => Err(malformed(
            "If-Match says something of a thing that is only made by this request",
        )),
    }
}

/// What a writer says about the row that it writes.
pub(super) fn precondition(headers: &HeaderMap) -> Result<Option<Precondition>, Refused> {
    let if_match = list(headers, &header::IF_MATCH)?;
    let if_none_match = list(headers, &header::IF_NONE_MATCH)?;
    match (if_match, if_none_match) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(malformed("If-Match and If-None-Match contradict each other")),
        (Some(tags), None) if tags == ["*"] => Ok(Some(Precondition::Exists)),
        (Some(tags), None) => {
            // RFC 9110 §13.1.1: weak tags never match; a tag that is no version of ours matches nothing.
            let versions = tags.iter().filter_map(|tag| version(tag)).collect();
            Ok(Some(Precondition::OneOf(versions)))
        }
        (None, Some(tags)) if tags == ["*"] => Ok(Some(Precondition::Absent)),
        (None, Some(_)) => Err(malformed("If-None-Match takes * alone here")),
    }
}

fn malformed(why: &str) -> Refused {
    Problem::bad_request("invalid_precondition", format!("{why}.")).into()
}

fn list(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Vec<String>>, Refused> {
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| malformed("an entity tag is not ASCII"))?;
        tags.extend(text.split(',').map(|tag| tag.trim().to_owned()));
    }
    Ok((!tags.is_empty()).then_some(tags))
}

fn version(tag: &str) -> Option<RowVersion> {
    let inner = tag.strip_prefix('"')?.strip_suffix('"')?;
    inner.parse().ok().map(RowVersion)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(HeaderName, &'static str)]) -> Result<Option<Precondition>, u16> {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        precondition(&headers).map_err(|refused| refused.0.status().as_u16())
    }

    #[test]
    fn tags_are_versions_and_nothing_else_matches() {
        let one_of = |versions: &[i64]| {
            let versions = versions.iter().copied().map(RowVersion).collect();
            Ok(Some(Precondition::OneOf(versions)))
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[(header::IF_MATCH, "\"7\"")]), one_of(&[7]));
        assert_eq!(read(&[(header::IF_MATCH, "\"7\", W/\"8\", \"x\", 9")]), one_of(&[7]));
        assert_eq!(read(&[(header::IF_MATCH, "*")]), Ok(Some(Precondition::Exists)));
        assert_eq!(read(&[(header::IF_NONE_MATCH, "*")]), Ok(Some(Precondition::Absent)));
        assert_eq!(read(&[(header::IF_NONE_MATCH, "\"7\"")]), Err(400));
        assert_eq!(read(&[(header::IF_MATCH, "*"), (header::IF_NONE_MATCH, "*")]), Err(400));
    }
}
