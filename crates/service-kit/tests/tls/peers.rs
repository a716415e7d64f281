//! What handlers see of the client, on the connection and behind proxies.

use std::{net::Ipv4Addr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{hash::MessageDigest, ssl::SslVersion};
use serde_json::{Value, json};
use service_kit::{Authorities, ClientCertificates, PeerRules, ProxyConfig, TlsConfig};

use test_kit::certificates::{Identity, Recipe, Usage, ec_key, long, self_signed};

use crate::world::{H2, Server, Setup, ask_by_http2, connector, only, showing};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// In `127.0.1.0/24`, whose inhabitants are trusted here.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 7);

fn thumbprint(identity: &Identity) -> String {
    URL_SAFE_NO_PAD.encode(identity.certificate.digest(MessageDigest::sha256()).unwrap())
}

fn percent(pem: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    pem.bytes().map(escape).collect()
}

fn byte_sequence(identity: &Identity) -> String {
    format!(":{}:", STANDARD.encode(identity.der()))
}

async fn start(rules: PeerRules) -> Server {
    let setup = Setup {
        rules,
        ..Setup::default()
    };
    setup.start().await
}

fn trusting(authority: &Identity) -> PeerRules {
    PeerRules {
        authorities: Some(Arc::new(Authorities::from_pem(authority.pem().as_bytes()).unwrap())),
        ..PeerRules::default()
    }
}

fn proxied(header: &'static str) -> PeerRules {
    let networks = vec!["127.0.1.0/24".parse().unwrap()];
    PeerRules {
        proxy: ProxyConfig {
            trusted: networks.clone(),
            ..ProxyConfig::default()
        },
        certificate_header: Some(http::HeaderName::from_static(header)),
        certificate_proxies: networks,
        authorities: None,
    }
}

#[tokio::test]
async fn a_certificate_is_seen_in_both_versions_of_tls_and_of_http() {
    let server = start(PeerRules::default()).await;
    let client = Recipe {
        name: "Alice",
        alternative_names: true,
        ..Recipe::default()
    }
    .make();
    let expected = json!({
        "subject_dn": "CN=Alice,O=Bank\\, Söhne",
        "thumbprint": thumbprint(&client),
        "dns": ["client.example", "other.example"],
        "uri": ["urn:client:1"],
        "ip": ["192.0.2.1", "2001:db8::1"],
        "email": ["ops@client.example"],
        "chain": 0,
        "verified": "no certificate authorities are configured",
    });
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let seen = server.seen(showing(only(version), &client, &[]), &[]).await;
        assert_eq!(seen, json!({"address": "127.0.0.1", "certificate": expected}));
        let mut by_http2 = showing(only(version), &client, &[]);
        by_http2.set_alpn_protos(H2).unwrap();
        let stream = server.shake(by_http2).await.unwrap();
        assert_eq!(ask_by_http2(stream).await["certificate"], expected);
    }
}

#[tokio::test]
async fn who_shows_no_certificate_is_served_without() {
    let server = start(PeerRules::default()).await;
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        assert_eq!(server.seen(only(version), &[]).await["certificate"], Value::Null);
    }
}

#[tokio::test]
async fn nobody_is_asked_where_certificates_are_off() {
    let tls = TlsConfig {
        client_certificates: ClientCertificates::Off,
        ..TlsConfig::default()
    };
    let server = Setup {
        tls,
        ..Setup::default()
    }
    .start()
    .await;
    let client = self_signed("Alice");
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let seen = server.seen(showing(only(version), &client, &[]), &[]).await;
        assert_eq!(seen["certificate"], Value::Null);
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_worth_nothing() {
    let server = start(PeerRules::default()).await;
    let (client, other) = (self_signed("Alice"), ec_key());
    let mut thief = only(SslVersion::TLS1_2);
    thief.set_certificate(&client.certificate).unwrap();
    // OpenSSL's client does not set up such a pair, so it does not even come to a handshake.
    assert!(thief.set_private_key(&other).is_err() || server.shake(thief).await.is_err());
}

fn authority(name: &str, issuer: Option<&Identity>) -> Identity {
    Recipe {
        name,
        issuer,
        authority: true,
        days: Some((-10, 10)),
        ..Recipe::default()
    }
    .make()
}

fn client_of(issuer: &Identity) -> Recipe<'_> {
    Recipe {
        name: "Alice",
        issuer: Some(issuer),
        usage: Some(Usage::Client),
        ..Recipe::default()
    }
}

#[tokio::test]
async fn authorities_vouch_for_their_clients_and_for_nobody_else() {
    let root = authority("Root", None);
    let middle = authority("Middle", Some(&root));
    let stranger = authority("Root", None);
    let server = start(trusting(&root)).await;
    let plain = client_of(&root);
    for (recipe, chain, verified) in [
        (client_of(&root), &[][..], None),
        (
            Recipe {
                usage: None,
                ..client_of(&root)
            },
            &[],
            None,
        ),
        (client_of(&middle), &[&middle], None),
        (
            Recipe {
                rsa: Some(2048),
                ..client_of(&root)
            },
            &[],
            None,
        ),
        (client_of(&middle), &[], Some("unable to get local issuer certificate")),
        (
            Recipe {
                days: Some((-3, -1)),
                ..client_of(&root)
            },
            &[],
            Some("certificate has expired"),
        ),
        (
            Recipe {
                days: Some((1, 3)),
                ..client_of(&root)
            },
            &[],
            Some("certificate is not yet valid"),
        ),
        (client_of(&stranger), &[], Some("certificate signature failure")),
        (
            client_of(&stranger),
            &[&stranger],
            Some("certificate signature failure"),
        ),
        (
            Recipe {
                issuer: None,
                ..client_of(&root)
            },
            &[],
            Some("self-signed certificate"),
        ),
        (
            Recipe {
                usage: Some(Usage::Server),
                ..plain
            },
            &[],
            Some("unsuitable certificate purpose"),
        ),
        (
            Recipe {
                rsa: Some(1024),
                ..client_of(&root)
            },
            &[],
            Some("EE certificate key too weak"),
        ),
    ] {
        let client = recipe.make();
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let seen = server.seen(showing(only(version), &client, chain), &[]).await;
            let certificate = &seen["certificate"];
            assert_eq!(certificate["verified"].as_str(), verified);
            assert_eq!(certificate["thumbprint"], thumbprint(&client), "{verified:?}");
        }
    }
}

#[tokio::test]
async fn an_authority_below_somebody_elses_root_can_be_trusted_alone() {
    let root = authority("Root", None);
    let middle = authority("Middle", Some(&root));
    let server = start(trusting(&middle)).await;
    for (issuer, trusted) in [(&middle, true), (&root, false)] {
        let client = client_of(issuer).make();
        let seen = server.seen(showing(connector(), &client, &[]), &[]).await;
        assert_eq!(seen["certificate"]["verified"].is_null(), trusted);
    }
}

#[tokio::test]
async fn a_leaf_does_not_vouch_for_another() {
    let root = authority("Root", None);
    let leaf = client_of(&root).make();
    let forged = Recipe {
        name: "Mallory",
        ..client_of(&leaf)
    };
    let forged = forged.make();
    let server = start(trusting(&root)).await;
    let seen = server.seen(showing(connector(), &forged, &[&leaf]), &[]).await;
    assert_eq!(seen["certificate"]["verified"], "invalid CA certificate");
}

#[tokio::test]
async fn a_certificate_that_is_too_long_is_not_looked_at() {
    let server = start(PeerRules::default()).await;
    let name = "x".repeat(60);
    let mut client = self_signed(&name);
    let seen = server.seen(showing(connector(), &client, &[]), &[]).await;
    assert!(seen["certificate"].is_object());
    client = long(service_kit::peer::MAX_CERTIFICATE_BYTES);
    let seen = server.seen(showing(connector(), &client, &[]), &[]).await;
    assert_eq!(seen["certificate"], Value::Null);
}

#[tokio::test]
async fn a_header_from_a_trusted_proxy_is_believed_in_either_form() {
    let server = start(proxied("x-client-cert")).await;
    let client = self_signed("Alice");
    for value in [percent(&client.pem()), byte_sequence(&client)] {
        let seen = server.seen_from(PROXY, connector(), &[("x-client-cert", &value)]).await;
        assert_eq!(seen["certificate"]["thumbprint"], thumbprint(&client));
    }
}

#[tokio::test]
async fn a_header_from_anybody_else_is_ignored() {
    let (client, victim) = (self_signed("Mallory"), self_signed("Alice"));
    let value = byte_sequence(&victim);
    let header = [("x-client-cert", value.as_str())];
    let server = start(proxied("x-client-cert")).await;
    let seen = server.seen_from(HERE, connector(), &header).await;
    assert_eq!(seen["certificate"], Value::Null);
    // Nor does it take the place of the connection's own.
    let seen = server
        .seen_from(HERE, showing(connector(), &client, &[]), &header)
        .await;
    assert_eq!(seen["certificate"]["thumbprint"], thumbprint(&client));
    // With nobody on the list it is never believed; without a name there is no such header.
    for rules in [
        PeerRules {
            certificate_proxies: Vec::new(),
            ..proxied("x-client-cert")
        },
        PeerRules {
            certificate_header: None,
            ..proxied("x-client-cert")
        },
    ] {
        let server = start(rules).await;
        let seen = server.seen_from(PROXY, connector(), &header).await;
        assert_eq!(seen["certificate"], Value::Null);
    }
}

#[tokio::test]
async fn a_proxys_own_certificate_is_not_its_clients() {
    let server = start(proxied("client-cert")).await;
    let (proxy, client) = (self_signed("Proxy"), self_signed("Alice"));
    let value = byte_sequence(&client);
    let seen = server
        .seen_from(PROXY, showing(connector(), &proxy, &[]), &[("client-cert", &value)])
        .await;
    assert_eq!(seen["certificate"]["thumbprint"], thumbprint(&client));
    for absent in [&[][..], &[("client-cert", "")]] {
        let seen = server.seen_from(PROXY, showing(connector(), &proxy, &[]), absent).await;
        assert_eq!(seen["certificate"], Value::Null);
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_read_is_no_certificate() {
    let server = start(proxied("x-client-cert")).await;
    let (client, other) = (self_signed("Alice"), self_signed("Bob"));
    let (pem, good) = (client.pem(), byte_sequence(&client));
    let mut trailing = client.der();
    trailing.push(0);
    for value in [
        "x".to_owned(),
        ":".to_owned(),
        "::".to_owned(),
        ":!!!!:".to_owned(),
        "%".to_owned(),
        "%2".to_owned(),
        "%zz".to_owned(),
        good.trim_end_matches(':').to_owned(),
        format!("{good};a=1"),
        format!("{good}, {}", byte_sequence(&other)),
        format!(":{}:", STANDARD.encode(trailing)),
        format!(":{}:", STANDARD.encode(vec![0x30; 20_000])),
        percent(&format!("{pem}{}", other.pem())),
        percent(&pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE")),
        percent(&pem.replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1)),
        "A".repeat(60_000),
    ] {
        let seen = server.seen_from(PROXY, connector(), &[("x-client-cert", &value)]).await;
        assert_eq!(seen["certificate"], Value::Null, "{value}");
    }
    // A proxy that appends would let its clients choose.
    let twice = [("x-client-cert", good.as_str()), ("x-client-cert", &good)];
    assert_eq!(
        server.seen_from(PROXY, connector(), &twice).await["certificate"],
        Value::Null
    );
    let seen = server.seen_from(PROXY, connector(), &twice[..1]).await;
    assert_eq!(seen["certificate"]["thumbprint"], thumbprint(&client));
}

#[tokio::test]
async fn a_proxy_may_hand_over_the_chain_too() {
    let root = authority("Root", None);
    let middle = authority("Middle", Some(&root));
    let client = client_of(&middle).make();
    let rules = PeerRules {
        authorities: trusting(&root).authorities,
        ..proxied("client-cert")
    };
    let server = start(rules).await;
    let (leaf, link) = (byte_sequence(&client), byte_sequence(&middle));
    let alone = [("client-cert", leaf.as_str())];
    let seen = server.seen_from(PROXY, connector(), &alone).await;
    assert_eq!(
        seen["certificate"]["verified"],
        "unable to get local issuer certificate"
    );
    let whole = [
        ("client-cert", leaf.as_str()),
        ("client-cert-chain", &format!("{link} , {}", byte_sequence(&root))),
    ];
    let seen = server.seen_from(PROXY, connector(), &whole).await;
    assert_eq!(seen["certificate"]["verified"], Value::Null);
    assert_eq!(seen["certificate"]["chain"], 2);
}

#[tokio::test]
async fn the_list_of_proxies_ends_where_it_says() {
    let setup = Setup {
        plain: true,
        rules: proxied("x-client-cert"),
        ..Setup::default()
    };
    let server = setup.start().await;
    let client = byte_sequence(&self_signed("Alice"));
    let headers = [("x-client-cert", client.as_str()), ("x-forwarded-for", "192.0.2.1")];
    for (source, trusted) in [
        ([127, 0, 0, 255], false),
        ([127, 0, 1, 0], true),
        ([127, 0, 1, 255], true),
        ([127, 0, 2, 0], false),
    ] {
        let source = Ipv4Addr::from(source);
        let seen = server.seen_in_the_open(source, &headers).await;
        assert_eq!(seen["certificate"].is_object(), trusted, "{source}");
        let address = if trusted {
            "192.0.2.1".to_owned()
        } else {
            source.to_string()
        };
        assert_eq!(seen["address"], address);
    }
}

#[tokio::test]
async fn a_trusted_proxy_that_names_nobody_is_the_client_itself() {
    let setup = Setup {
        plain: true,
        rules: proxied("x-client-cert"),
        ..Setup::default()
    };
    let server = setup.start().await;
    for headers in [
        &[][..],
        &[("x-forwarded-for", "unknown")],
        &[("forwarded", "for=192.0.2.1")],
    ] {
        let seen = server.seen_in_the_open(PROXY, headers).await;
        assert_eq!(seen["address"], PROXY.to_string());
    }
    let seen = server
        .seen_in_the_open(PROXY, &[("x-forwarded-for", "203.0.113.5, 192.0.2.1, 127.0.1.9")])
        .await;
    assert_eq!(seen["address"], "192.0.2.1");
}
