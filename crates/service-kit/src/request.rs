//! Request id, W3C trace context, counts and the log line: one slim layer that both services put outermost.

use std::{
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures_util::future::{CatchUnwind, FutureExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::{Clock, Entropy};

/// The reply header that names a request.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Who this request is, for logs, usage rows and upstream calls. A request extension.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// Always minted here: usage rows are unique by it, so a caller must not choose it.
    pub request_id: Arc<str>,
    pub trace: TraceContext,
}

/// Trace id of the caller's trace (or a new one) and a span id of our own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    sampled: bool,
}

impl TraceContext {
    /// Reads `traceparent` (version 00, W3C Trace Context §3.2.2) and takes `span_id` as our own span's id.
    pub fn from_header(header: &str, span_id: [u8; 8]) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version.len() != 2 || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace_id: [u8; 16] = from_hex(trace)?;
        let parent: [u8; 8] = from_hex(parent)?;
        let [flags] = from_hex::<1>(flags)?;
        (trace_id != [0; 16] && parent != [0; 8]).then_some(Self {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
        })
    }

    /// The header to send upstream.
    pub fn to_header(&self) -> String {
        // Once per request, so not by way of a formatter.
        let mut header =
            String::with_capacity("00--".len() + 2 * (self.trace_id.len() + self.span_id.len()) + "-01".len());
        header.push_str("00-");
        header.extend(hex_digits(&self.trace_id));
        header.push('-');
        header.extend(hex_digits(&self.span_id));
        header.push_str(if self.sampled { "-01" } else { "-00" });
        header
    }

    pub fn trace_id(&self) -> String {
        hex(&self.trace_id)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_header())
    }
}

fn hex(bytes: &[u8]) -> String {
    hex_digits(bytes).collect()
}

fn hex_digits(bytes: &[u8]) -> impl Iterator<Item = char> {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(move |byte| [digit(byte >> 4), digit(byte & 15)])
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (slot, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *slot = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

/// Requests by method and class of status.
const REQUESTS: &str = "http_requests_total";
/// Time from the request's head to the response's.
const DURATION: &str = "http_request_duration_seconds";
/// The last name stands for methods that no route has.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "other"];
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// What is counted of every request. Registered once: a look-up by name would cost more than all the rest of the layer.
struct Meters {
    requests: [[Counter; CLASSES.len()]; METHODS.len()],
    duration: Histogram,
}

impl Meters {
    fn register() -> Self {
        describe_counter!(REQUESTS, "Requests answered, by method and class of status");
        describe_histogram!(
            DURATION,
            Unit::Seconds,
            "Time from a request's head to its response's head; streams go on after that"
        );
        Self {
            requests: METHODS
                .map(|method| CLASSES.map(|class| counter!(REQUESTS, "method" => method, "status_class" => class))),
            duration: histogram!(DURATION),
        }
    }

    fn record(&self, method: &Method, status: StatusCode, took: Duration) {
        let name = method.as_str();
        let row = METHODS
            .iter()
            .position(|known| *known == name)
            .unwrap_or(METHODS.len() - 1);
        // No final response is 1xx.
        let column = usize::from(status.as_u16() / 100).saturating_sub(2);
        if let Some(counter) = self.requests.get(row).and_then(|classes| classes.get(column)) {
            counter.increment(1);
        }
        self.duration.record(took);
    }
}

/// Gives every request a [`RequestContext`], every reply `x-request-id`, the log one line and the metrics one count per request. A
/// handler that panics is answered 500; the connection's other requests go on. One layer does all of it, since each costs a boxed
/// future per request.
#[derive(Clone)]
pub struct RequestContextLayer {
    shared: Arc<Shared>,
}

struct Shared {
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    meters: Meters,
}

impl fmt::Debug for RequestContextLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContextLayer").finish_non_exhaustive()
    }
}

impl RequestContextLayer {
    /// Counts nothing when it is made before [`crate::telemetry::start_metrics`].
    pub fn new(entropy: Arc<dyn Entropy>, clock: Arc<dyn Clock>) -> Self {
        let meters = Meters::register();
        Self {
            shared: Arc::new(Shared { entropy, clock, meters }),
        }
    }

    fn context(&self, headers: &HeaderMap) -> RequestContext {
        let mut random = [0u8; 40];
        self.shared.entropy.fill(&mut random);
        // Milliseconds first, then 80 random bits: ids of one time stand together in an index, which then touches few pages.
        let millis = self.shared.clock.now().as_micros() / 1000;
        if let [_, _, millis @ ..] = millis.to_be_bytes()
            && let Some(start) = random.first_chunk_mut()
        {
            *start = millis;
        }
        let [id @ .., _, _, _, _, _, _, _, _] = &random;
        let (request_id, rest) = id.split_at(16);
        let trace_id: [u8; 16] = rest.try_into().unwrap_or([1; 16]);
        let span_id: [u8; 8] = random.last_chunk().copied().unwrap_or([1; 8]);
        let incoming = headers.get(TRACEPARENT).and_then(|h| h.to_str().ok());
        let trace = incoming
            .and_then(|header| TraceContext::from_header(header, span_id))
            .unwrap_or(TraceContext {
                trace_id,
                span_id,
                sampled: false,
            });
        let id = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, request_id);
        RequestContext {
            request_id: id.into(),
            trace,
        }
    }
}

impl<S> Layer<S> for RequestContextLayer {
    type Service = RequestContextService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestContextService {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`RequestContextLayer`].
#[derive(Debug, Clone)]
pub struct RequestContextService<S> {
    inner: S,
    layer: RequestContextLayer,
}

impl<S, B, R> Service<Request<B>> for RequestContextService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = RequestFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let context = self.layer.context(request.headers());
        request.extensions_mut().insert(context.clone());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let inner = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        RequestFuture {
            inner,
            context,
            method,
            uri,
            began: Instant::now(),
            shared: self.layer.shared.clone(),
        }
    }
}

pin_project! {
    /// See [`RequestContextLayer`].
    pub struct RequestFuture<F> {
        #[pin]
        inner: CatchUnwind<AssertUnwindSafe<F>>,
        context: RequestContext,
        method: Method,
        uri: Uri,
        began: Instant,
        shared: Arc<Shared>,
    }
}

impl<F> fmt::Debug for RequestFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestFuture")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl<F, R, E> Future for RequestFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = if let Ok(answered) = ready!(this.inner.poll(cx)) {
            answered?
        } else {
            // The panic hook has logged where; the caller gets the request id.
            let mut response = Response::new(R::default());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        };
        if let Ok(id) = HeaderValue::from_str(&this.context.request_id) {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        let took = this.began.elapsed();
        this.shared.meters.record(this.method, response.status(), took);
        log(this.context, this.method, this.uri, response.status().as_u16(), took);
        Poll::Ready(Ok(response))
    }
}

/// One line per request: successes at `debug`, failures where somebody looks.
fn log(context: &RequestContext, method: &Method, uri: &Uri, status: u16, took: Duration) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                request.id = %context.request_id,
                trace.id = %context.trace.trace_id(),
                http.method = %method,
                // The path alone: queries carry codes, states and hints.
                http.path = uri.path(),
                http.status = status,
                duration_ms = took.as_secs_f64() * 1000.0,
                "request answered"
            )
        };
    }
    match status {
        500.. => line!(warn),
        400.. => line!(info),
        _ => line!(debug),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_trace_is_carried_on_under_our_own_span() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceContext::from_header(header, [7; 8]).unwrap();
        assert_eq!(
            trace.to_header(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0707070707070707-01"
        );
    }

    #[test]
    fn a_malformed_traceparent_is_not_carried_on() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(TraceContext::from_header(bad, [7; 8]), None, "{bad}");
        }
    }

    #[derive(Debug)]
    struct FixedAt(crate::Timestamp);

    impl Clock for FixedAt {
        fn now(&self) -> crate::Timestamp {
            self.0
        }
    }

    #[test]
    fn request_ids_begin_with_their_time_and_never_repeat() {
        use base64::Engine as _;
        let clock = Arc::new(FixedAt(crate::Timestamp::from_micros(1_790_000_000_123_999)));
        let layer = RequestContextLayer::new(Arc::new(crate::SystemEntropy), clock);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let id = layer.context(&HeaderMap::new()).request_id;
            let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&*id).unwrap();
            assert_eq!(bytes.len(), 16);
            assert_eq!(bytes[..6], 1_790_000_000_123_u64.to_be_bytes()[2..]);
            assert!(seen.insert(id), "an id came twice");
        }
    }

    #[tokio::test]
    async fn requests_are_counted_by_method_and_class_of_status() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new()
            .set_buckets(&[1.0])
            .unwrap()
            .build_recorder();
        let layer = metrics::with_local_recorder(&recorder, || {
            RequestContextLayer::new(Arc::new(crate::SystemEntropy), Arc::new(crate::SystemClock))
        });
        let answer = |status: u16| {
            layer.layer(tower::service_fn(move |_: Request<()>| async move {
                Response::builder().status(status).body(())
            }))
        };
        for (method, status) in [("GET", 200), ("GET", 204), ("POST", 401), ("BREW", 503)] {
            let request = Request::builder().method(method).body(()).unwrap();
            answer(status).call(request).await.unwrap();
        }
        let page = recorder.handle().render();
        for line in [
            r#"http_requests_total{method="GET",status_class="2xx"} 2"#,
            r#"http_requests_total{method="POST",status_class="4xx"} 1"#,
            r#"http_requests_total{method="other",status_class="5xx"} 1"#,
            r#"http_request_duration_seconds_bucket{le="1"} 4"#,
            "http_request_duration_seconds_count 4",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }
}
