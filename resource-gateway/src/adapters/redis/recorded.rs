//! Answers as bytes, sealed: whoever reads Redis does not read what callers were told, and whoever writes there cannot tell them
//! anything.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use token_keys::MasterKey;

use crate::domain::{ids::RequestId, recorded::Recorded};

/// Counts the forms in which answers were written; another one is not read.
const FORM: u8 = 1;

/// What stands before the pieces.
#[derive(Serialize, Deserialize)]
struct Label {
    stream: bool,
    status: u16,
    content_type: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    request_id: String,
    pieces: Vec<usize>,
}

/// Seals answers for the places where they are kept.
#[derive(Clone)]
pub(super) struct Sealed(Arc<MasterKey>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

impl Sealed {
    pub(super) fn new(master: Arc<MasterKey>) -> Self {
        Self(master)
    }

    /// `None` when it cannot be sealed.
    pub(super) fn seal(&self, place: &str, answer: &Recorded) -> Option<Vec<u8>> {
        self.0.seal(place, &write(answer)?).ok()
    }

    /// `None` for what was not sealed here, or not for this place.
    pub(super) fn open(&self, place: &str, sealed: &[u8]) -> Option<Recorded> {
        read(&self.0.unseal(place, sealed).ok()?)
    }
}

fn write(answer: &Recorded) -> Option<Vec<u8>> {
    let headers = answer.headers.iter();
    let label = Label {
        stream: answer.stream,
        status: answer.status.as_u16(),
        content_type: answer.content_type.as_bytes().to_vec(),
        headers: headers
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        request_id: answer.request_id.as_str().to_owned(),
        pieces: answer.pieces.iter().map(Bytes::len).collect(),
    };
    let label = serde_json::to_vec(&label).ok()?;
    let mut bytes = Vec::with_capacity(5 + label.len() + answer.weight());
    bytes.push(FORM);
    bytes.extend_from_slice(&u32::try_from(label.len()).ok()?.to_be_bytes());
    bytes.extend_from_slice(&label);
    for piece in &answer.pieces {
        bytes.extend_from_slice(piece);
    }
    Some(bytes)
}

fn read(bytes: &[u8]) -> Option<Recorded> {
    let ([FORM, length @ ..], rest) = bytes.split_first_chunk::<5>()? else {
        return None;
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (label, body) = rest.split_at_checked(length)?;
    let label: Label = serde_json::from_slice(label).ok()?;
    let mut body = Bytes::copy_from_slice(body);
    let mut pieces = Vec::with_capacity(label.pieces.len());
    for length in label.pieces {
        if length > body.len() {
            return None;
        }
        pieces.push(body.split_to(length));
    }
    let mut headers = HeaderMap::with_capacity(label.headers.len());
    for (name, value) in label.headers {
        headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
    }
    body.is_empty().then_some(Recorded {
        pieces,
        stream: label.stream,
        status: StatusCode::from_u16(label.status).ok()?,
        content_type: HeaderValue::try_from(label.content_type).ok()?,
        headers,
        request_id: RequestId::new(label.request_id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(pieces: &[Vec<u8>], stream: bool) -> Recorded {
        let mut headers = HeaderMap::new();
        headers.append("x-one", HeaderValue::from_static("a"));
        headers.append("x-one", HeaderValue::from_bytes(b"\xE9").unwrap());
        Recorded {
            pieces: pieces.iter().map(|piece| Bytes::from(piece.clone())).collect(),
            stream,
            status: StatusCode::NON_AUTHORITATIVE_INFORMATION,
            content_type: HeaderValue::from_static("audio/mpeg"),
            headers,
            request_id: RequestId::new("r-1"),
        }
    }

    proptest! {
        #[test]
        fn an_answer_reads_back_as_it_was(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5), stream in any::<bool>()) {
            let answer = answer(&pieces, stream);
            prop_assert_eq!(read(&write(&answer).unwrap()), Some(answer));
        }

        #[test]
        fn whatever_else_stands_there_is_no_answer(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(read(&bytes), None);
        }
    }

    #[test]
    fn a_part_of_an_answer_is_none() {
        let bytes = write(&answer(&[b"hello".to_vec(), b"world".to_vec()], true)).unwrap();
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), None, "{end}");
        }
        assert_eq!(read(&[&bytes[..], b"x"].concat()), None);
    }

    #[test]
    fn an_answer_opens_in_its_own_place_alone() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Sealed::new(Arc::new(MasterKey::load_or_create(dir.path()).unwrap()));
        let answer = answer(&[b"hello".to_vec()], false);
        let bytes = sealed.seal("a", &answer).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"hello"));
        assert_eq!(sealed.open("a", &bytes), Some(answer));
        assert_eq!(sealed.open("b", &bytes), None);
    }
}
