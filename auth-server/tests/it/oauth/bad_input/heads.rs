//! What can be wrong around the parameters: methods, media types, bodies that are not there, headers.

use http::Method;

use super::{
    Table,
    doors::{Desk, Door},
    patient,
    voices::{Expected, caught, is_sound},
};
use crate::app::{Reply, TestApp, base64};

const INVALID: &[&str] = &["invalid_request"];
/// Without a body there is neither a client nor anything it could want.
const NOTHING: &[&str] = &["invalid_request", "invalid_client", "none"];
const WHO: &[&str] = &["invalid_client", "invalid_request"];
const FORM: &str = "application/x-www-form-urlencoded";

/// Doors that take a form.
fn posted() -> impl Iterator<Item = Door> {
    Door::ALL.into_iter().filter(|door| !door.by_query())
}

async fn send(app: &TestApp, desk: &Desk<'_>, door: Door, headers: &[(&'static str, Vec<u8>)], body: &[u8]) -> Reply {
    let mut call = app.call(Method::POST, door.path());
    for (name, value) in desk.headers(door) {
        if !headers.iter().any(|(own, _)| *own == name) {
            call = call.header(name, &value);
        }
    }
    for (name, value) in headers {
        call = call.header_bytes(name, value);
    }
    call.body(body).send().await
}

type Headers = Vec<(&'static str, Vec<u8>)>;

fn kind(text: &str) -> Headers {
    vec![("content-type", text.as_bytes().to_vec())]
}

/// Bodies that are no form, or said to be none.
fn bodies(good: &str) -> Vec<(&'static str, Headers, &str, &'static [&'static str])> {
    const JSON: &str = r#"{"grant_type":"password"}"#;
    vec![
        ("no media type", Vec::new(), good, NOTHING),
        ("neither body nor media type", Vec::new(), "", NOTHING),
        ("an empty form", kind(FORM), "", NOTHING),
        ("separators alone", kind(FORM), "&&=&=&", NOTHING),
        ("JSON", kind("application/json"), JSON, INVALID),
        ("JSON as a form", kind(FORM), JSON, NOTHING),
        ("a form as JSON", kind("application/json"), good, INVALID),
        ("plain text", kind("text/plain"), good, INVALID),
        ("parts", kind("multipart/form-data; boundary=b"), "--b--", INVALID),
        ("nonsense", kind("\u{ff}/;=,"), good, INVALID),
        ("nearly the media type", kind(&format!("{FORM}x")), good, INVALID),
        (
            "two media types in one",
            kind(&format!("{FORM}, text/plain")),
            good,
            INVALID,
        ),
        (
            "two media types",
            [kind(FORM), kind("application/json")].concat(),
            good,
            INVALID,
        ),
    ]
}

#[tokio::test]
async fn a_body_of_another_kind_is_refused_wherever_parameters_are_posted() {
    let app = patient().start().await;
    let (desk, mut table) = (Desk::open(&app).await, Table::open());
    for door in posted() {
        let row = format!("{door:?}");
        let good = desk.good(door).await.encode();
        for (name, headers, body, codes) in bodies(&good) {
            // Authorization without parameters knows nobody to tell.
            let expected = match door {
                Door::AuthorizePost => Expected::OnPage(codes),
                _ => Expected::Refused(codes),
            };
            let reply = send(&app, &desk, door, &headers, body.as_bytes()).await;
            let outcome = door.voice().judge(&reply, &expected, false);
            table.note(&row, "body", name, outcome.and_then(|()| is_sound(&reply)));
        }
        for name in [
            format!("{FORM};charset=UTF-8"),
            "Application/X-WWW-Form-URLEncoded ; a=b".into(),
        ] {
            let good = desk.good(door).await.encode();
            let reply = send(&app, &desk, door, &kind(&name), good.as_bytes()).await;
            let outcome = door.voice().judge(&reply, &Expected::Accepted, true);
            table.note(&row, "body", &name, outcome);
        }
    }
    table.expect_none();
}

/// Paths of the protocol, and the methods that each takes.
const METHODS: [(&str, &[&str]); 15] = [
    ("/oauth2/authorize", &["GET", "HEAD", "POST"]),
    ("/oauth2/par", &["POST"]),
    ("/oauth2/token", &["POST"]),
    ("/oauth2/introspect", &["POST"]),
    ("/oauth2/revoke", &["POST"]),
    ("/oauth2/device_authorization", &["POST"]),
    (crate::app::BACKCHANNEL, &["POST"]),
    ("/userinfo", &["GET", "HEAD", "POST"]),
    ("/connect/register", &["POST"]),
    ("/connect/register/nobody", &["GET", "HEAD", "PUT", "DELETE"]),
    ("/connect/logout", &["GET", "HEAD", "POST"]),
    ("/events/poll", &["POST"]),
    ("/oauth2/jwks", &["GET", "HEAD"]),
    ("/.well-known/openid-configuration", &["GET", "HEAD"]),
    ("/.well-known/oauth-authorization-server", &["GET", "HEAD"]),
];

/// RFC 9110 §15.5.6.
#[tokio::test]
async fn another_method_is_405_and_the_right_ones_are_told() {
    let app = patient().start().await;
    let mut table = Table::open();
    for (path, allowed) in METHODS {
        for method in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW", "get",
        ] {
            for accept in ["*/*", "text/html"] {
                let verb = Method::from_bytes(method.as_bytes()).unwrap();
                let query = "?grant_type=client_credentials&token=x";
                let reply = app
                    .call(verb, &format!("{path}{query}"))
                    .header("accept", accept)
                    .send()
                    .await;
                let outcome = caught(|| {
                    assert!(reply.status < 500, "{}", reply.status);
                    if allowed.contains(&method) {
                        assert_ne!(reply.status, 405);
                        return;
                    }
                    assert_eq!(reply.status, 405);
                    assert_eq!(reply.header("cache-control"), Some("no-store"));
                    let told = reply.header("allow").unwrap_or_default();
                    let mut told: Vec<&str> = told.split(',').map(str::trim).collect();
                    told.sort_unstable();
                    let mut wanted = allowed.to_vec();
                    wanted.sort_unstable();
                    assert_eq!(told, wanted);
                });
                table.note(path, method, accept, outcome);
            }
        }
    }
    table.expect_none();
}

/// Values of an `Authorization` header that prove nothing.
fn credentials() -> Vec<(&'static str, Vec<u8>)> {
    let basic = |text: &[u8]| format!("Basic {}", base64(text)).into_bytes();
    vec![
        ("empty", b"".to_vec()),
        ("Basic alone", b"Basic".to_vec()),
        ("Basic and nothing", b"Basic ".to_vec()),
        ("no base64", b"Basic !!!!".to_vec()),
        ("base64 of another alphabet", b"Basic b3duOm93bi1zZWNyZXQ_-_".to_vec()),
        ("no colon", basic(b"own")),
        ("nobody", basic(b":")),
        ("nobody with a secret", basic(b":own-secret-77a1")),
        ("NUL in the name", basic(b"ow\0n:own-secret-77a1")),
        ("NUL in the secret", basic(b"own:own-secret\0-77a1")),
        ("an encoded NUL", basic(b"ow%00n:own-secret-77a1")),
        ("an encoded NUL in the secret", basic(b"own:own%00")),
        ("no UTF-8", basic(b"\xff\xfe:own-secret-77a1")),
        ("no UTF-8, encoded", basic(b"%ff%fe:own-secret-77a1")),
        ("a lone surrogate", basic(b"%ed%a0%80:x")),
        ("half an escape", basic(b"own%:own-secret-77a1%")),
        ("a bidi override", basic("\u{202e}own:x".as_bytes())),
        ("a long name", basic(&[&b"o".repeat(20_000)[..], b":x"].concat())),
        ("a long secret", basic(&[&b"own:"[..], &b"x".repeat(20_000)].concat())),
        ("bytes beyond ASCII", b"Basic \xff\xff".to_vec()),
        ("a scheme beyond ASCII", b"\xc3\xa9 x".to_vec()),
        ("another scheme", b"Negotiate YII=".to_vec()),
        ("Digest", b"Digest username=\"own\"".to_vec()),
        ("a bearer token", b"Bearer own-secret-77a1".to_vec()),
        ("DPoP without a token", b"DPoP ".to_vec()),
    ]
}

#[tokio::test]
async fn credentials_that_prove_nothing_are_refused_and_never_break_anything() {
    let app = patient().start().await;
    walk_credentials(&app).await;
}

#[tokio::test]
async fn credentials_that_prove_nothing_are_refused_and_never_break_anything_on_postgres() {
    let database = sql_test_kit::TestDatabase::postgres().await;
    let app = patient().database(&database.url).start().await;
    walk_credentials(&app).await;
}

async fn walk_credentials(app: &TestApp) {
    let (desk, mut table) = (Desk::open(app).await, Table::open());
    for door in posted().filter(|door| !matches!(door, Door::AuthorizePost | Door::Userinfo)) {
        let without = desk
            .good(door)
            .await
            .without("client_id")
            .without("client_secret")
            .encode();
        for (name, value) in credentials() {
            let kind = ("content-type", FORM.as_bytes().to_vec());
            let reply = send(
                app,
                &desk,
                door,
                &[kind.clone(), ("authorization", value.clone())],
                without.as_bytes(),
            )
            .await;
            let outcome = door.voice().judge(&reply, &Expected::Refused(WHO), false);
            table.note(&format!("{door:?}"), "Authorization", name, outcome);
            let twice = [kind, ("authorization", value.clone()), ("authorization", value)];
            let reply = send(app, &desk, door, &twice, without.as_bytes()).await;
            let outcome = door.voice().judge(&reply, &Expected::Refused(INVALID), false);
            table.note(&format!("{door:?}"), "Authorization twice", name, outcome);
        }
    }
    for (name, value) in credentials() {
        for method in [Method::GET, Method::POST] {
            let call = app.call(method, "/userinfo").header_bytes("authorization", &value);
            let reply = call.send().await;
            let codes = &["none", "invalid_token", "invalid_request"];
            let outcome = Door::Userinfo.voice().judge(&reply, &Expected::Refused(codes), false);
            table.note("Userinfo", "Authorization", name, outcome);
        }
        for (method, path) in [
            (Method::GET, "/connect/register/nobody"),
            (Method::DELETE, "/connect/register/nobody"),
            (Method::GET, "/connect/register/%00"),
            (Method::GET, "/connect/register/%ff"),
            (Method::DELETE, "/connect/register/a%00b"),
            (Method::GET, "/connect/register/%E2%80%AE"),
            (Method::GET, "/connect/register/hgd_%00"),
            (Method::DELETE, "/connect/register/hgd_%00"),
        ] {
            let call = app.call(method, path).header_bytes("authorization", &value);
            let reply = call.send().await;
            let outcome = caught(|| assert!([400, 401].contains(&reply.status), "{} {}", reply.status, reply.text()));
            table.note(path, "Authorization", name, outcome);
        }
    }
    table.expect_none();
}

/// Headers that anybody may send with any request.
fn oddities() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let long = |bytes: usize| b"x".repeat(bytes);
    vec![
        ("accept", "nonsense", b"\xff;q=\xfe,,,".to_vec()),
        ("accept", "long", long(30_000)),
        (
            "accept-language",
            "nonsense",
            b";;q=x,\xff,*;q=-1,zh;q=99999999999999999999".to_vec(),
        ),
        ("accept-language", "long", b"en,".repeat(10_000)),
        ("accept-language", "mark-up", b"\"><script>alert(1)</script>".to_vec()),
        ("cookie", "nonsense", b"=;;=\xff; hexgate_session".to_vec()),
        (
            "cookie",
            "a session that nobody has",
            b"hexgate_session=AAAAAAAAAAAAAAAAAAAAAA".to_vec(),
        ),
        ("cookie", "a session that cannot be", b"hexgate_session=%00%ff".to_vec()),
        (
            "cookie",
            "a device that cannot be",
            b"hexgate_device=%00%ff\xff; hexgate_device=".to_vec(),
        ),
        ("cookie", "many", b"a=b; ".repeat(5_000)),
        ("cookie", "long", [&b"hexgate_session="[..], &long(30_000)].concat()),
        ("origin", "nonsense", b"\xff".to_vec()),
        ("origin", "null", b"null".to_vec()),
        ("origin", "mark-up", b"https://\"><script>".to_vec()),
        ("access-control-request-headers", "nonsense", b"\xff,,\x80".to_vec()),
        ("user-agent", "bytes", b"\xff\xfe\x80".to_vec()),
        ("user-agent", "long", long(30_000)),
        ("referer", "nonsense", b"\xff".to_vec()),
        ("traceparent", "nonsense", b"00-\xff".to_vec()),
        ("traceparent", "long", long(30_000)),
        ("tracestate", "long", long(30_000)),
        ("x-request-id", "nonsense", b"\xff\xff".to_vec()),
        ("x-forwarded-for", "nonsense", b"::,\xff, 999.1.1.1".to_vec()),
        ("forwarded", "nonsense", b"for=\"_\xff".to_vec()),
        (
            "x-client-cert",
            "nonsense",
            b"-----BEGIN%20CERTIFICATE-----%ff".to_vec(),
        ),
        ("content-encoding", "gzip", b"gzip".to_vec()),
        ("transfer-encoding", "nonsense", b"identity, \xff".to_vec()),
        ("expect", "nonsense", b"200-maybe".to_vec()),
        ("range", "nonsense", b"bytes=9999999999999999999-".to_vec()),
        ("if-none-match", "nonsense", b"\"\xff".to_vec()),
        ("content-length", "wrong", b"-1".to_vec()),
        ("x-padding", "long", long(60_000)),
    ]
}

#[tokio::test]
async fn odd_headers_do_not_change_what_a_good_request_gets() {
    let app = patient().start().await;
    let (desk, mut table) = (Desk::open(&app).await, Table::open());
    for door in posted() {
        for (header, name, value) in oddities() {
            let good = desk.good(door).await.encode();
            let headers = [("content-type", FORM.as_bytes().to_vec()), (header, value)];
            let reply = send(&app, &desk, door, &headers, good.as_bytes()).await;
            let outcome = door
                .voice()
                .judge(&reply, &Expected::Accepted, true)
                .and_then(|()| is_sound(&reply));
            table.note(&format!("{door:?}"), header, name, outcome);
        }
    }
    for (header, name, value) in oddities() {
        for (path, _) in METHODS {
            let call = app.call(Method::GET, path).header_bytes(header, &value);
            let reply = call.send().await;
            let outcome = caught(|| assert!(reply.status < 500, "{} {}", reply.status, reply.text()));
            table.note(path, header, name, outcome);
        }
    }
    table.expect_none();
}
