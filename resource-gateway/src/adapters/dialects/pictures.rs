//! Requests about pictures in the gateway's own shapes, for vendors that have others.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::{
    domain::{chat::data_url, fault::PublicError, json_object::JsonObject},
    ports::codec::{EncodeError, Fetched},
};

/// Members that are between the caller and the gateway.
const OURS: [&str; 4] = ["image", "compare_to", "model", "min_confidence"];

/// What somebody wants to know of a picture. Texts are borrowed from the request.
#[derive(Debug)]
pub(super) struct PictureRequest<'a> {
    pub(super) image: Picture<'a>,
    pub(super) compare_to: Option<Picture<'a>>,
    /// What nobody here knows: it is the vendor's.
    pub(super) options: Map<String, Value>,
}

/// Where a picture is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Picture<'a> {
    Base64(Cow<'a, str>),
    Url(Cow<'a, str>),
}

impl<'a> PictureRequest<'a> {
    /// Reads a body whose shape was checked before.
    ///
    /// # Errors
    /// It names a file: those are not kept here.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, PublicError> {
        let object = JsonObject::parse(body).map_err(|_| unreadable("image"))?;
        let member = |name: &str| object.members().iter().find(|member| member.name == name);
        let image = member("image").ok_or_else(|| unreadable("image"))?;
        let compare_to = member("compare_to").map(|other| picture("compare_to", other.value));
        let rest = object
            .members()
            .iter()
            .filter(|member| !OURS.contains(&member.name.as_ref()));
        let options = rest.map(|member| {
            let value = serde_json::from_str(member.value).map_err(|_| unreadable(&member.name))?;
            Ok((member.name.clone().into_owned(), value))
        });
        Ok(Self {
            image: picture("image", image.value)?,
            compare_to: compare_to.transpose()?,
            options: options.collect::<Result<_, PublicError>>()?,
        })
    }
}

impl Picture<'_> {
    /// The same with its bytes, for vendors that do not look behind URLs.
    ///
    /// # Errors
    /// They have to be fetched first.
    pub(super) fn brought(self, fetched: &[Fetched]) -> Result<Self, EncodeError> {
        match self {
            Self::Base64(data) => Ok(Self::Base64(data)),
            Self::Url(url) => match fetched.iter().find(|fetched| fetched.url == url.as_ref()) {
                Some(found) => Ok(Self::Base64(STANDARD.encode(&found.bytes).into())),
                None => Err(EncodeError::Fetch(vec![url.into_owned()])),
            },
        }
    }
}

fn picture<'a>(field: &str, value: &'a str) -> Result<Picture<'a>, PublicError> {
    let object = JsonObject::parse(value.as_bytes()).map_err(|_| unreadable(field))?;
    let source = |name: &str| object.members().iter().find(|member| member.name == name);
    if let Some(data) = source("base64") {
        let data = text(data.value).ok_or_else(|| unreadable(field))?;
        return Ok(Picture::Base64(data));
    }
    let Some(url) = source("url") else {
        let param = format!("{field}.file_id");
        let message = format!("The field '{param}' names a file, and the provider behind this model has none.");
        return Err(PublicError::invalid(Some(&param), "unsupported_by_provider", message));
    };
    of_url(text(url.value).ok_or_else(|| unreadable(field))?).ok_or_else(|| {
        let param = format!("{field}.url");
        let message = format!("The field '{param}' must be an http, https or data URL.");
        PublicError::invalid(Some(&param), "invalid_value", message)
    })
}

/// What a URL stands for: a data URL is the picture itself (RFC 2397).
pub(super) fn of_url(url: Cow<'_, str>) -> Option<Picture<'_>> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Some(Picture::Url(url));
    }
    let is_data = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    match url {
        _ if !is_data => None,
        Cow::Borrowed(url) => data_url(url).map(|(_, data)| Picture::Base64(data.into())),
        Cow::Owned(url) => data_url(&url).map(|(_, data)| Picture::Base64(data.to_owned().into())),
    }
}

/// A JSON string, borrowed if it holds no escapes.
fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).ok().map(Cow::Owned)
}

fn unreadable(field: &str) -> PublicError {
    let message = format!("The field '{field}' could not be read.");
    PublicError::invalid(Some(field), "invalid_value", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_picture_is_borrowed_and_what_is_unknown_is_the_vendors() {
        let body = br#"{"model":"m","image":{"base64":"iVBO/+=="},"compare_to":{"url":"https://a.test/x"},"min_confidence":0.5,"MaxFaceNum":2}"#;
        let request = PictureRequest::read(body).unwrap();
        assert!(matches!(&request.image, Picture::Base64(Cow::Borrowed("iVBO/+=="))));
        assert_eq!(request.compare_to, Some(Picture::Url("https://a.test/x".into())));
        assert_eq!(Value::Object(request.options), serde_json::json!({"MaxFaceNum": 2}));
    }

    #[test]
    fn escapes_and_data_urls_are_read() {
        let escaped = PictureRequest::read(br#"{"image":{"base64":"a\/b="}}"#).unwrap();
        assert_eq!(escaped.image, Picture::Base64("a/b=".into()));
        let data = PictureRequest::read(br#"{"image":{"url":"data:image/png;base64,eA=="}}"#).unwrap();
        assert_eq!(data.image, Picture::Base64("eA==".into()));
        for (body, param) in [
            (&br#"{"image":{"url":"ftp://a.test"}}"#[..], "image.url"),
            (br#"{"image":{"url":"data:image/png,x"}}"#, "image.url"),
            (br#"{"image":{"file_id":"f"}}"#, "image.file_id"),
            (
                br#"{"image":{"base64":"eA=="},"compare_to":{"file_id":"f"}}"#,
                "compare_to.file_id",
            ),
        ] {
            assert_eq!(PictureRequest::read(body).unwrap_err().param.as_deref(), Some(param));
        }
    }

    #[test]
    fn what_has_to_be_fetched_is_asked_for_once() {
        let url = || Picture::Url("https://a.test/x".into());
        assert_eq!(
            url().brought(&[]),
            Err(EncodeError::Fetch(vec!["https://a.test/x".to_owned()]))
        );
        let fetched = Fetched {
            url: "https://a.test/x".to_owned(),
            media_type: "image/png".to_owned(),
            bytes: Bytes::from_static(b"x"),
        };
        assert_eq!(url().brought(&[fetched]), Ok(Picture::Base64("eA==".into())));
    }
}
