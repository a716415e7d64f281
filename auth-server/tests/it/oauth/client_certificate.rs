//! `tls_client_auth` and `self_signed_tls_client_auth` (RFC 8705 §2).

use std::sync::Arc;

use http::Method;
use openssl::x509::extension::SubjectAlternativeName;
use serde_json::{Value, json};
use service_kit::{Authorities, PeerCertificate};
use test_kit::with;

use crate::app::{
    Fields, Reply, SERVICE, SPA, Signatory, TestApp,
    certificates::{Authority, Wanted, jwk, key, self_signed},
    clients, fields, proof,
};

const ENDPOINTS: [&str; 4] = ["/oauth2/token", "/oauth2/par", "/oauth2/introspect", "/oauth2/revoke"];

/// The request of a client that has authenticated; it is told nothing but whether it has.
fn wish(id: &str) -> Fields {
    fields([("client_id", id), ("token", "x"), ("grant_type", "client_credentials")])
}

async fn ask(app: &TestApp, path: &str, form: &Fields, certificate: Option<&PeerCertificate>) -> Reply {
    let call = app.call(Method::POST, path).form(form);
    match certificate {
        Some(shown) => call.extension(shown.clone()).send().await,
        None => call.send().await,
    }
}

async fn expect_served(app: &TestApp, id: &str, certificate: &PeerCertificate) {
    for path in ENDPOINTS {
        let reply = ask(app, path, &wish(id), Some(certificate)).await;
        assert!(matches!(reply.status, 200 | 400), "{id} at {path}: {}", reply.text());
        assert!(
            !reply.text().contains("invalid_client"),
            "{id} at {path}: {}",
            reply.text()
        );
    }
    ask(app, "/oauth2/token", &wish(id), Some(certificate))
        .await
        .expect_tokens();
}

async fn expect_refused(app: &TestApp, id: &str, certificate: Option<&PeerCertificate>) {
    for path in ENDPOINTS {
        let reply = ask(app, path, &wish(id), certificate).await;
        reply.expect_oauth_error(401, "invalid_client");
    }
}

fn registration(id: &str, more: Value) -> Value {
    let machine = json!({
        "client_id": id, "grant_types": ["client_credentials"], "response_types": [], "scope": "ai:chat",
        "token_endpoint_auth_method": "tls_client_auth",
    });
    with(&machine, more)
}

async fn app_with(registrations: &[Value]) -> TestApp {
    TestApp::builder().document(&clients(registrations)).start().await
}

const SUBJECT: &[(&str, &str)] = &[("C", "DE"), ("O", "Example, Inc."), ("OU", "A"), ("CN", "client one")];

fn names(san: &mut SubjectAlternativeName) {
    san.dns("Client.example");
    san.uri("https://client.example/id");
    san.ip("192.0.2.7");
    san.email("ops@client.example");
}

/// Somebody believed, and certificates of theirs.
struct Vouched {
    authority: Authority,
    believed: Arc<Authorities>,
}

impl Vouched {
    fn new() -> Self {
        let authority = Authority::new();
        let believed = authority.believed();
        Self { authority, believed }
    }

    fn issue(&self, wanted: &Wanted<'_>) -> PeerCertificate {
        self.authority.issue(wanted, &self.believed)
    }
}

#[tokio::test]
async fn a_certificate_of_a_believed_authority_proves_the_subject_that_is_registered() {
    let vouched = Vouched::new();
    let own = vouched.issue(&Wanted {
        subject: SUBJECT,
        san: names,
        ..Wanted::default()
    });
    let other = vouched.issue(&Wanted {
        subject: &[("C", "DE"), ("O", "Example, Inc."), ("OU", "A"), ("CN", "client two")],
        san: |san| {
            san.dns("client.example.evil.example");
            san.uri("https://client.example/id/");
            san.ip("192.0.2.8");
            san.email("Ops@client.example");
        },
        ..Wanted::default()
    });
    let bare = vouched.issue(&Wanted::default());
    let subjects = [
        // RFC 4514, as openssl prints it, and in other words.
        (
            "dn-1",
            json!({"tls_client_auth_subject_dn": "CN=client one,OU=A,O=Example\\, Inc.,C=DE"}),
        ),
        (
            "dn-2",
            json!({"tls_client_auth_subject_dn": "2.5.4.3=client one, organizationalUnitName=A, O=Example\\2C Inc., C=DE"}),
        ),
        ("dns", json!({"tls_client_auth_san_dns": "client.EXAMPLE"})),
        ("uri", json!({"tls_client_auth_san_uri": "https://client.example/id"})),
        ("ip", json!({"tls_client_auth_san_ip": "192.0.2.7"})),
        ("email", json!({"tls_client_auth_san_email": "ops@client.example"})),
    ];
    let registrations = subjects.clone().map(|(id, subject)| registration(id, subject));
    let app = app_with(&registrations).await;
    for (id, _) in &subjects {
        expect_served(&app, id, &own).await;
        expect_refused(&app, id, Some(&other)).await;
        expect_refused(&app, id, Some(&bare)).await;
        expect_refused(&app, id, None).await;
    }
}

#[tokio::test]
async fn parts_of_a_name_in_another_order_are_another_name() {
    let vouched = Vouched::new();
    let own = vouched.issue(&Wanted {
        subject: SUBJECT,
        ..Wanted::default()
    });
    let subjects = [
        "C=DE,O=Example\\, Inc.,OU=A,CN=client one",
        "CN=client one,OU=A,O=Example\\, Inc.",
        "CN=client one",
        "CN=client one,OU=A,O=Example\\, Inc.,C=DE,C=DE",
        "CN=client one+OU=A,O=Example\\, Inc.,C=DE",
    ];
    for dn in subjects {
        let app = app_with(&[registration("dn", json!({"tls_client_auth_subject_dn": dn}))]).await;
        expect_refused(&app, "dn", Some(&own)).await;
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_believed_vouches_for_proves_nothing() {
    let (vouched, stranger) = (Vouched::new(), Authority::new());
    let app = app_with(&[registration(
        "dns",
        json!({"tls_client_auth_san_dns": "client.example"}),
    )])
    .await;
    let wanted = |from, until| Wanted {
        san: names,
        from,
        until,
        ..Wanted::default()
    };
    expect_served(&app, "dns", &vouched.issue(&wanted(-1, 1))).await;
    let forged = [
        stranger.issue(&wanted(-1, 1), &vouched.believed),
        self_signed(&key(), &wanted(-1, 1)),
        vouched.issue(&wanted(-3, -1)),
        vouched.issue(&wanted(1, 3)),
    ];
    for certificate in &forged {
        expect_refused(&app, "dns", Some(certificate)).await;
    }
}

#[tokio::test]
async fn a_certificate_ends_with_its_time() {
    let vouched = Vouched::new();
    let app = app_with(&[registration(
        "dns",
        json!({"tls_client_auth_san_dns": "client.example"}),
    )])
    .await;
    let own = vouched.issue(&Wanted {
        san: names,
        ..Wanted::default()
    });
    expect_served(&app, "dns", &own).await;
    app.advance(24 * 60 * 60 + 1);
    expect_refused(&app, "dns", Some(&own)).await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_believed_if_it_or_its_key_is_registered() {
    let (bare_key, chain_key) = (key(), key());
    let first = self_signed(&chain_key, &Wanted::default());
    let method = json!({"token_endpoint_auth_method": "self_signed_tls_client_auth"});
    let with_keys = |id, keys: Value| registration(id, with(&method, json!({"jwks": {"keys": keys}})));
    let app = app_with(&[
        with_keys("key", json!([jwk(&bare_key, None)])),
        with_keys("certificate", json!([jwk(&chain_key, Some(&first))])),
    ])
    .await;
    // Any certificate of the registered key, however old: its registration vouches for it.
    let expired = Wanted {
        from: -9,
        until: -8,
        ..Wanted::default()
    };
    for wanted in [Wanted::default(), expired] {
        expect_served(&app, "key", &self_signed(&bare_key, &wanted)).await;
    }
    // The registered certificate, and no other of its key.
    expect_served(&app, "certificate", &first).await;
    expect_refused(&app, "certificate", Some(&self_signed(&chain_key, &Wanted::default()))).await;
    let (foreign, none) = (self_signed(&key(), &Wanted::default()), None);
    for id in ["key", "certificate"] {
        expect_refused(&app, id, Some(&foreign)).await;
        expect_refused(&app, id, none).await;
    }
    expect_refused(&app, "key", Some(&first)).await;
}

#[tokio::test]
async fn a_certificate_that_was_renewed_at_the_jwks_uri_is_looked_for_there() {
    const URL: &str = "https://client.example/jwks.json";
    let registered = registration(
        "remote",
        json!({"token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks_uri": URL}),
    );
    let app = app_with(&[registered]).await;
    let (old, new) = (key(), key());
    let (first, second) = (
        self_signed(&old, &Wanted::default()),
        self_signed(&new, &Wanted::default()),
    );
    // Nobody has compared it yet, so nobody says that it is a wrong one.
    for path in ENDPOINTS {
        let away = ask(&app, path, &wish("remote"), Some(&first)).await;
        away.expect_oauth_error(503, "temporarily_unavailable");
    }
    app.advance(5);
    app.hosts.put_json(URL, &json!({"keys": [jwk(&old, Some(&first))]}));
    expect_served(&app, "remote", &first).await;
    app.hosts.put_json(URL, &json!({"keys": [jwk(&new, Some(&second))]}));
    app.advance(11);
    expect_served(&app, "remote", &second).await;
    expect_refused(&app, "remote", Some(&first)).await;
}

#[tokio::test]
async fn a_certificate_replaces_no_other_proof_and_disturbs_none() {
    let vouched = Vouched::new();
    let keyed = Signatory::with_key("keyed", oauth_wire::SigningAlg::Es256);
    let app = app_with(&[
        registration("dns", json!({"tls_client_auth_san_dns": "client.example"})),
        keyed.registration(json!({})),
    ])
    .await;
    let own = vouched.issue(&Wanted {
        san: names,
        ..Wanted::default()
    });
    for id in [SERVICE.id, keyed.id, "no-such-client"] {
        expect_refused(&app, id, Some(&own)).await;
    }
    // Tokens may be bound to a certificate that proves nothing about the client.
    let signed = wish(keyed.id).plus(&proof(&keyed.assertion(&app)));
    ask(&app, "/oauth2/token", &signed, Some(&own)).await.expect_tokens();
    let secret = wish(SERVICE.id).with("client_secret", SERVICE.secret.unwrap());
    ask(&app, "/oauth2/token", &secret, Some(&own)).await.expect_tokens();
    let public = ask(&app, "/oauth2/revoke", &wish(SPA.id), Some(&own)).await;
    public.expect_status(200);
    // And who is registered for a certificate has no other way.
    let secret = wish("dns").with("client_secret", "x");
    let reply = ask(&app, "/oauth2/token", &secret, Some(&own)).await;
    reply.expect_oauth_error(401, "invalid_client");
    let nameless = wish("dns").without("client_id");
    let reply = ask(&app, "/oauth2/token", &nameless, Some(&own)).await;
    reply.expect_oauth_error(401, "invalid_client");
    let call = app.call(Method::POST, "/oauth2/token").basic("dns", "x").extension(own);
    let reply = call.form(&wish("dns").without("client_id")).send().await;
    reply.expect_oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn the_methods_are_advertised_where_certificates_can_arrive_and_be_believed() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, Authority::new().pem()).unwrap();
    for (by_proxy, with_ca, expected) in [
        (false, false, [false, false]),
        (false, true, [false, false]),
        (true, false, [false, true]),
        (true, true, [true, true]),
    ] {
        let app = TestApp::builder()
            .config(|config| {
                config.mtls.ca = with_ca.then(|| ca.clone());
                if by_proxy {
                    config.mtls.proxy_header = Some("client-cert".into());
                    config.mtls.trusted_proxies = vec!["192.0.2.1".parse().unwrap()];
                }
            })
            .start()
            .await;
        let metadata = app.metadata().await;
        for endpoint in ["token", "introspection", "revocation"] {
            let name = format!("{endpoint}_endpoint_auth_methods_supported");
            let listed = metadata[name.as_str()].as_array().unwrap();
            let found =
                ["tls_client_auth", "self_signed_tls_client_auth"].map(|method| listed.contains(&json!(method)));
            assert_eq!(found, expected, "{name}");
        }
    }
}
