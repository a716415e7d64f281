//! The listener against real sockets: who stalls is dropped, who is merely slow is served.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the lints spare test functions, but not what they share"
)]

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, StatusCode},
    response::sse::{Event, Sse},
    routing::{get, post},
};
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::PKey,
    ssl::{SslConnector, SslMethod, SslVerifyMode},
    x509::{X509, X509NameBuilder},
};
use service_kit::{BoundListener, Limits, RequestContextLayer, SystemEntropy, Tasks, TlsConfig};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};

/// Nothing here takes so long; what does hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(60);

/// Limits that nothing runs into.
const GENEROUS: Limits = Limits {
    head: LONG,
    idle: LONG,
    write: LONG,
    body: LONG,
    body_rate: 1,
    connections: 100,
    connections_per_address: 100,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

struct Server {
    address: SocketAddr,
    tasks: Tasks,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Server {
    async fn start(limits: Limits) -> Self {
        Self::serve(routes(), limits, &TlsConfig::default()).await
    }

    async fn serve(router: Router, limits: Limits, tls: &TlsConfig) -> Self {
        let listener = BoundListener::bind(([127, 0, 0, 1], 0).into(), tls).await.unwrap();
        let (address, tasks) = (listener.address(), Tasks::default());
        tasks.spawn(listener.with_limits(limits).serve(router, tasks.clone(), LONG));
        Self { address, tasks }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
        .route(
            "/late",
            get(|| async {
                tokio::time::sleep(SHORT * 3).await;
                "late"
            }),
        )
        .route("/events", get(|| async { Sse::new(events()) }))
        .route("/panic", get(panicking))
        .layer(RequestContextLayer::new(
            Arc::new(SystemEntropy),
            Arc::new(service_kit::SystemClock),
        ))
}

async fn panicking() -> &'static str {
    panic!("a test wants it")
}

/// Longer in all than every short limit.
fn events() -> impl futures_util::Stream<Item = Result<Event, Infallible>> {
    stream::iter(0..10).then(|count| async move {
        tokio::time::sleep(SHORT / 2).await;
        Ok(Event::default().data(count.to_string()))
    })
}

/// Reads one response with a `content-length`.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    let reading = async {
        loop {
            let whole = String::from_utf8_lossy(&text).into_owned();
            if let Some((head, body)) = whole.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    return whole;
                }
            }
            assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "hung up after {whole:?}");
        }
    };
    timeout(PATIENCE, reading).await.unwrap()
}

/// What comes until the server hangs up; a reset is a hang-up too.
async fn until_hung_up(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut text))
        .await
        .expect("the server should hang up")
        .ok();
    String::from_utf8_lossy(&text).into_owned()
}

/// Asks for what is not there, with a body that nobody wants, and waits for the answer before it sends the body.
async fn refused_before_the_body(stream: &mut TcpStream, length: usize) {
    let head = format!("POST /nothing HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    let refused = ask(stream, head.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    answer(stream).await
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_first_head_is_dropped() {
    let server = Server::start(Limits {
        head: SHORT,
        ..GENEROUS
    })
    .await;
    for beginning in [
        &b""[..],
        b"P",
        b"PRI * HTTP/2",
        b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ",
    ] {
        let began = Instant::now();
        let mut stream = server.connect().await;
        stream.write_all(beginning).await.unwrap();
        until_hung_up(&mut stream).await;
        assert!(began.elapsed() >= SHORT, "{beginning:?} was dropped too early");
    }
}

#[tokio::test]
async fn what_answers_leave_behind_is_saved_before_any_byte_of_them_is_written() {
    let (left, saved) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let leaving = Arc::clone(&left);
    let router = Router::new().route(
        "/",
        get(|| async move {
            leaving.fetch_add(1, Ordering::SeqCst);
            "hello"
        }),
    );
    let listener = BoundListener::bind(([127, 0, 0, 1], 0).into(), &TlsConfig::default())
        .await
        .unwrap();
    let saving = Arc::clone(&saved);
    let listener = listener.before_writes(move || saving.store(left.load(Ordering::SeqCst), Ordering::SeqCst));
    let (address, tasks) = (listener.address(), Tasks::default());
    tasks.spawn(listener.serve(router, tasks.clone(), LONG));
    let server = Server { address, tasks };
    let mut client = server.connect().await;
    for count in 1..=3 {
        assert!(ask(&mut client, GET).await.ends_with("hello"));
        assert_eq!(saved.load(Ordering::SeqCst), count);
    }
}

#[tokio::test]
async fn a_connection_stays_when_a_request_is_refused_before_its_body_came() {
    let server = Server::start(GENEROUS).await;
    let mut stream = server.connect().await;
    for length in [5, 64 << 10] {
        refused_before_the_body(&mut stream, length).await;
        stream.write_all(&vec![b'x'; length]).await.unwrap();
        assert!(ask(&mut stream, GET).await.ends_with("hello"), "after {length} bytes");
    }
}

#[tokio::test]
async fn a_refused_request_may_not_send_on_for_ever() {
    let server = Server::start(Limits {
        body: SHORT,
        ..GENEROUS
    })
    .await;
    let mut too_much = server.connect().await;
    refused_before_the_body(&mut too_much, 1 << 30).await;
    // It may well be reset while it sends.
    let _ = too_much.write_all(&vec![b'x'; 1 << 20]).await;
    until_hung_up(&mut too_much).await;
    let mut too_late = server.connect().await;
    refused_before_the_body(&mut too_late, 5).await;
    until_hung_up(&mut too_late).await;
}

#[tokio::test]
async fn a_head_that_drips_is_dropped() {
    let server = Server::start(Limits {
        head: SHORT,
        ..GENEROUS
    })
    .await;
    let (mut reading, mut writing) = server.connect().await.into_split();
    let dripping = async move {
        writing.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    tokio::join!(dripping, until_hung_up(&mut reading));
}

#[tokio::test]
async fn a_later_head_on_a_kept_connection_has_the_same_limit() {
    let server = Server::start(Limits {
        head: SHORT,
        ..GENEROUS
    })
    .await;
    let mut stream = server.connect().await;
    ask(&mut stream, GET).await;
    stream.write_all(b"GET").await.unwrap();
    assert_eq!(until_hung_up(&mut stream).await, "");
}

#[tokio::test]
async fn a_client_may_pause_between_requests_for_longer_than_a_head_may_take() {
    let server = Server::start(Limits {
        head: SHORT,
        body: SHORT,
        write: SHORT,
        ..GENEROUS
    })
    .await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        assert!(ask(&mut stream, GET).await.ends_with("hello"));
        tokio::time::sleep(SHORT * 2).await;
    }
    // Two in one packet.
    stream.write_all(&[GET, GET].concat()).await.unwrap();
    let mut both = answer(&mut stream).await;
    while both.matches("hello").count() < 2 {
        both += &answer(&mut stream).await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_slow_handler_is_not_idle() {
    let server = Server::start(Limits {
        head: SHORT,
        idle: SHORT,
        ..GENEROUS
    })
    .await;
    let mut stream = server.connect().await;
    let late = ask(&mut stream, b"GET /late HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(late.ends_with("late"));
    let began = Instant::now();
    assert_eq!(until_hung_up(&mut stream).await, "");
    assert!(began.elapsed() >= SHORT / 2, "closed before it was idle");
}

#[tokio::test]
async fn a_body_that_stalls_or_drips_is_refused() {
    let server = Server::start(Limits {
        body: SHORT,
        body_rate: 500,
        ..GENEROUS
    })
    .await;
    for pace in [LONG, SHORT / 10] {
        let (mut reading, mut writing) = server.connect().await.into_split();
        let head = b"POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n";
        writing.write_all(head).await.unwrap();
        let dripping = async {
            while writing.write_all(b"x").await.is_ok() {
                tokio::time::sleep(pace).await;
            }
        };
        let refusal = tokio::select! {
            refusal = until_hung_up(&mut reading) => refusal,
            () = dripping => String::new(),
        };
        // The reset that follows may overtake the answer to a client that still writes.
        assert!(refusal.is_empty() || refusal.starts_with("HTTP/1.1 400"), "{refusal}");
    }
}

#[tokio::test]
async fn an_upload_may_be_slow_as_long_as_it_moves() {
    let body = Duration::from_secs(1);
    let server = Server::start(Limits {
        head: SHORT,
        body,
        body_rate: 500,
        idle: SHORT,
        write: SHORT,
        ..GENEROUS
    })
    .await;
    let mut stream = server.connect().await;
    let head = b"POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 6000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    for _ in 0..15 {
        stream.write_all(&[b'x'; 400]).await.unwrap();
        tokio::time::sleep(body / 10).await;
    }
    assert!(answer(&mut stream).await.ends_with("6000"));
}

#[tokio::test]
async fn a_stream_may_be_longer_than_every_limit() {
    let limits = Limits {
        head: SHORT,
        idle: SHORT,
        write: SHORT,
        body: SHORT,
        ..GENEROUS
    };
    let server = Server::start(limits).await;
    let mut stream = server.connect().await;
    let request = b"GET /events HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let events = until_hung_up(&mut stream).await;
    assert!(events.contains("data: 9"), "{events}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    struct Dropped(Option<oneshot::Sender<()>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.take().map(|dropped| dropped.send(()));
        }
    }
    let (dropped, was_dropped) = oneshot::channel();
    let guard = Arc::new(Mutex::new(Some(Dropped(Some(dropped)))));
    let endless = get(move || async move {
        let guard = guard.lock().unwrap().take();
        Body::from_stream(stream::repeat_with(move || {
            let _ = &guard;
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 16384]))
        }))
    });
    let limits = Limits {
        write: SHORT,
        ..GENEROUS
    };
    let server = Server::serve(Router::new().route("/", endless), limits, &TlsConfig::default()).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    timeout(PATIENCE, was_dropped).await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_over_the_cap_wait_for_a_place() {
    let server = Server::start(Limits {
        connections: 1,
        ..GENEROUS
    })
    .await;
    let mut first = server.connect().await;
    ask(&mut first, GET).await;
    let mut second = server.connect().await;
    second.write_all(GET).await.unwrap();
    let early = timeout(SHORT, second.read(&mut [0; 16])).await;
    assert!(early.is_err(), "answered while the first held the only place");
    drop(first);
    assert!(answer(&mut second).await.ends_with("hello"));
}

#[tokio::test]
async fn shutdown_does_not_wait_for_clients_that_say_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for tls in [TlsConfig::default(), certificate(directory.path())] {
        let server = Server::serve(routes(), GENEROUS, &tls).await;
        let _silent = server.connect().await;
        // Once another connection is served, the silent one has been accepted.
        if tls.cert.is_none() {
            ask(&mut server.connect().await, GET).await;
        } else {
            ask(&mut shake_hands(server.connect().await, b"\x08http/1.1").await, GET).await;
        }
        assert!(server.tasks.drain(PATIENCE).await);
    }
}

#[tokio::test]
async fn a_panicking_handler_is_answered_and_its_connection_lives_on() {
    let server = Server::start(GENEROUS).await;
    let mut stream = server.connect().await;
    let failure = ask(&mut stream, b"GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(failure.starts_with("HTTP/1.1 500"), "{failure}");
    assert!(failure.contains("\r\nx-request-id: "), "{failure}");
    assert!(ask(&mut stream, GET).await.ends_with("hello"));
}

#[tokio::test]
async fn http2_keeps_quiet_connections_and_says_goodbye_to_idle_ones() {
    let idle = Duration::from_secs(1);
    let server = Server::start(Limits {
        head: SHORT,
        idle,
        write: SHORT,
        ..GENEROUS
    })
    .await;
    let stream = TokioIo::new(server.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    let (ended, has_ended) = oneshot::channel();
    server.tasks.spawn(async move {
        let _ = ended.send(connection.await);
    });
    for _ in 0..2 {
        let request = Request::get("http://a/").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
        // Longer than a head may take.
        tokio::time::sleep(SHORT * 2).await;
    }
    timeout(PATIENCE, has_ended)
        .await
        .unwrap()
        .unwrap()
        .expect("a GOAWAY and no broken connection");
}

#[tokio::test]
async fn http2_bodies_that_stall_are_refused_one_by_one() {
    let server = Server::start(Limits {
        body: SHORT,
        ..GENEROUS
    })
    .await;
    let stream = TokioIo::new(server.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    server.tasks.spawn(async move {
        let _ = connection.await;
    });
    let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let stalled = Request::post("http://a/length").body(never).unwrap();
    let refusal = timeout(PATIENCE, sender.send_request(stalled)).await.unwrap().unwrap();
    assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
    let whole = Request::post("http://a/length")
        .body(Body::new(Full::new(Bytes::from_static(b"four"))))
        .unwrap();
    let answer = sender.send_request(whole).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "4");
}

type Tls = tokio_openssl::SslStream<TcpStream>;

async fn shake_hands(stream: TcpStream, protocols: &[u8]) -> Tls {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_alpn_protos(protocols).unwrap();
    let ssl = connector.build().configure().unwrap().into_ssl("localhost").unwrap();
    let mut stream = Tls::new(ssl, stream).unwrap();
    Pin::new(&mut stream).connect().await.unwrap();
    stream
}

/// A certificate for an hour.
fn certificate(directory: &Path) -> TlsConfig {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "localhost").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let write = |name: &str, pem: Vec<u8>| -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    TlsConfig {
        cert: Some(write("cert.pem", builder.build().to_pem().unwrap())),
        key: Some(write("key.pem", key.private_key_to_pem_pkcs8().unwrap())),
        ..TlsConfig::default()
    }
}

#[tokio::test]
async fn tls_connections_have_the_same_limits() {
    let directory = tempfile::tempdir().unwrap();
    let tls = certificate(directory.path());
    let head = Duration::from_secs(1);
    let server = Server::serve(routes(), Limits { head, ..GENEROUS }, &tls).await;

    let mut silent = server.connect().await;
    let mut shaken = shake_hands(server.connect().await, b"\x08http/1.1").await;
    let mut half = shake_hands(server.connect().await, b"\x08http/1.1").await;
    half.write_all(b"GET / HT").await.unwrap();
    tokio::join!(
        until_hung_up(&mut silent),
        until_hung_up(&mut shaken),
        until_hung_up(&mut half)
    );

    let mut normal = shake_hands(server.connect().await, b"\x08http/1.1").await;
    assert!(ask(&mut normal, GET).await.ends_with("hello"));
    tokio::time::sleep(head * 3 / 2).await;
    assert!(ask(&mut normal, GET).await.ends_with("hello"));
    let events = b"GET /events HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    normal.write_all(events).await.unwrap();
    assert!(until_hung_up(&mut normal).await.contains("data: 9"));

    let stream = shake_hands(server.connect().await, b"\x02h2\x08http/1.1").await;
    assert_eq!(stream.ssl().selected_alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    server.tasks.spawn(async move {
        let _ = connection.await;
    });
    let request = Request::get("https://a/").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
