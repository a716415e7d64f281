//! Bodies of requests, up to the limit.

use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::time::{Duration, timeout};

use super::error::{GatewayError, broken_body, too_large, wrong_media_type};

/// A body over the limit is read on up to here before it is refused: a client that is cut off while it writes sees a broken
/// connection instead of the 413.
const DRAIN_BYTES: usize = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Refuses what does not claim to be JSON. A missing type is taken for JSON.
pub(super) fn check_json(headers: &HeaderMap) -> Result<(), GatewayError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = value
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5
            && essence
                .get(essence.len() - 5..)
                .is_some_and(|end| end.eq_ignore_ascii_case("+json")));
    json.then_some(()).ok_or_else(wrong_media_type)
}

/// Reads a body: without a copy when it comes in one piece.
pub(super) async fn read(mut body: Body, limit: usize) -> Result<Bytes, GatewayError> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        drain(body).await;
        return Err(too_large(limit));
    }
    let Some(first) = next(&mut body).await? else {
        return Ok(Bytes::new());
    };
    let mut whole = BytesMut::new();
    let mut length = first.len();
    if length <= limit && body.is_end_stream() {
        return Ok(first);
    }
    whole.reserve(usize::try_from(announced).unwrap_or(0).max(length));
    whole.extend_from_slice(&first);
    while let Some(piece) = next(&mut body).await? {
        length += piece.len();
        if length > limit {
            break;
        }
        whole.extend_from_slice(&piece);
    }
    if length > limit {
        drop(whole);
        drain(body).await;
        return Err(too_large(limit));
    }
    Ok(whole.freeze())
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, GatewayError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| broken_body())?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

async fn drain(mut body: Body) {
    let mut drained = 0;
    let all = async {
        while let Ok(Some(piece)) = next(&mut body).await {
            drained += piece.len();
            if drained > DRAIN_BYTES {
                break;
            }
        }
    };
    // Whoever is slower than that gets the broken connection.
    let _ = timeout(DRAIN_TIME, all).await;
}
