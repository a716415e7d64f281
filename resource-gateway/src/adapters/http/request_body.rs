//! Bodies of requests, up to the limit.

use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use service_kit::StalledBody;
use tokio::time::{Duration, timeout};

use super::error::{GatewayError, broken_body, slow_body, too_large, wrong_form, wrong_media_type};
use crate::domain::{
    call::{BodyForm, Shape},
    multipart::Boundary,
};

/// All of a body has to come in this time. The listener drops senders that stand still or drip; it lets slow ones take hours,
/// and by then the token that was checked before the body has long expired.
const BODY_TIME: Duration = Duration::from_mins(10);
/// A body over the limit is read on up to here before it is refused: a client that is cut off while it writes sees a broken
/// connection instead of the 413.
const DRAIN_BYTES: usize = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Refuses a body of another form than the capability's; gives the boundary of a form.
pub(super) fn check_media_type(shape: &Shape, headers: &HeaderMap) -> Result<Option<Boundary>, GatewayError> {
    let boundary = match &shape.body {
        BodyForm::Json(_) => return check_json(headers).map(|()| None),
        BodyForm::Multipart(_) => {
            let mut values = headers.get_all(header::CONTENT_TYPE).iter();
            let value = values.next().filter(|_| values.next().is_none());
            value.and_then(|value| Boundary::of_content_type(value.to_str().ok()?))
        }
    };
    boundary.map(Some).ok_or_else(wrong_form)
}

/// Refuses what does not claim to be JSON. A missing type is taken for JSON.
pub(super) fn check_json(headers: &HeaderMap) -> Result<(), GatewayError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let value = value.to_str().unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5
            && essence
                .get(essence.len() - 5..)
                .is_some_and(|end| end.eq_ignore_ascii_case("+json")));
    json.then_some(()).ok_or_else(wrong_media_type)
}

/// Reads a body: without a copy when it comes in one piece.
pub(super) async fn read(body: Body, limit: usize) -> Result<Bytes, GatewayError> {
    read_within(body, limit, BODY_TIME).await
}

async fn read_within(mut body: Body, limit: usize, time: Duration) -> Result<Bytes, GatewayError> {
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
    let rest = async {
        while let Some(piece) = next(&mut body).await? {
            length += piece.len();
            if length > limit {
                break;
            }
            whole.extend_from_slice(&piece);
        }
        Ok::<(), GatewayError>(())
    };
    timeout(time, rest).await.map_err(|_| slow_body())??;
    if length > limit {
        drop(whole);
        drain(body).await;
        return Err(too_large(limit));
    }
    Ok(whole.freeze())
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, GatewayError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error.into_inner().is::<StalledBody>() {
            true => slow_body(),
            false => broken_body(),
        })?;
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

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending};

    use axum::response::IntoResponse as _;
    use futures_util::{StreamExt as _, stream};
    use service_kit::{BodyTimeout, Limits};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    fn status(read: Result<Bytes, GatewayError>) -> u16 {
        read.unwrap_err().into_response().status().as_u16()
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let drip = stream::repeat(()).then(async |()| {
            tokio::time::sleep(SHORT / 10).await;
            Ok::<_, Infallible>("x")
        });
        assert_eq!(status(read_within(Body::from_stream(drip), 1 << 20, SHORT).await), 408);
    }

    #[tokio::test]
    async fn a_body_that_stands_still_is_told_from_one_that_breaks() {
        let still = stream::once(async { Ok::<_, Infallible>("x") }).chain(stream::once(pending()));
        let limits = Limits {
            body: SHORT,
            ..Limits::default()
        };
        let still = Body::new(BodyTimeout::new(Body::from_stream(still), &limits));
        assert_eq!(status(read(still, 1 << 20).await), 408);
        let broken = stream::iter([Ok("x"), Err(std::io::Error::other("cut"))]);
        assert_eq!(status(read(Body::from_stream(broken), 1 << 20).await), 400);
    }
}
