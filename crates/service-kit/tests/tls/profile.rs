//! RFC 9325 (BCP 195) and FAPI 2.0 §5.2.1: what may be spoken.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use openssl::ssl::{SslSession, SslSessionCacheMode, SslVersion};
use service_kit::{ClientCertificates, TlsConfig};

use crate::world::{H1, H2, Server, Setup, ask, chat, connector, only};

async fn both() -> [Server; 2] {
    let (ec, rsa) = (
        Setup::default(),
        Setup {
            rsa: true,
            ..Setup::default()
        },
    );
    [ec.start().await, rsa.start().await]
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken() {
    for server in both().await {
        for (version, name) in [(SslVersion::TLS1_2, "TLSv1.2"), (SslVersion::TLS1_3, "TLSv1.3")] {
            let stream = server.shake(only(version)).await.unwrap();
            assert_eq!(stream.ssl().version_str(), name);
            assert!(ask(stream, &[]).await["address"].is_string());
        }
    }
}

#[tokio::test]
async fn older_versions_are_refused() {
    for server in both().await {
        for version in [SslVersion::TLS1, SslVersion::TLS1_1] {
            let error = server.shake(only(version)).await.unwrap_err().to_string();
            assert!(error.contains("protocol version"), "{error}");
        }
    }
}

#[tokio::test]
async fn only_forward_secret_aead_suites_are_spoken_in_tls_1_2() {
    let [ec, rsa] = both().await;
    for (server, suite, spoken) in [
        (&ec, "ECDHE-ECDSA-AES128-GCM-SHA256", true),
        (&ec, "ECDHE-ECDSA-AES256-GCM-SHA384", true),
        (&rsa, "ECDHE-RSA-AES128-GCM-SHA256", true),
        (&rsa, "ECDHE-RSA-AES256-GCM-SHA384", true),
        // CBC.
        (&ec, "ECDHE-ECDSA-AES128-SHA", false),
        (&ec, "ECDHE-ECDSA-AES256-SHA384", false),
        (&rsa, "ECDHE-RSA-AES128-SHA", false),
        (&rsa, "ECDHE-RSA-AES128-SHA256", false),
        // RSA key exchange: a stolen key opens what was recorded.
        (&rsa, "AES128-GCM-SHA256", false),
        (&rsa, "AES256-GCM-SHA384", false),
        (&rsa, "AES128-SHA", false),
        // RFC 9325 §4.1.
        (&rsa, "DHE-RSA-AES128-GCM-SHA256", false),
        // Good, but not in FAPI's list.
        (&ec, "ECDHE-ECDSA-CHACHA20-POLY1305", false),
        (&rsa, "ECDHE-RSA-CHACHA20-POLY1305", false),
        (&rsa, "ADH-AES128-GCM-SHA256", false),
    ] {
        let mut client = only(SslVersion::TLS1_2);
        client.set_cipher_list(suite).unwrap();
        match server.shake(client).await {
            Ok(stream) => {
                assert!(spoken, "{suite} is spoken");
                assert_eq!(stream.ssl().current_cipher().unwrap().name(), suite);
            }
            Err(error) => {
                assert!(!spoken, "{suite}: {error}");
                assert!(error.to_string().contains("handshake failure"), "{suite}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn the_server_chooses_the_suite() {
    for (server, first) in both()
        .await
        .iter()
        .zip(["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"])
    {
        let mut client = only(SslVersion::TLS1_2);
        let order = first.replace("AES128-GCM-SHA256", "AES256-GCM-SHA384") + ":" + first;
        client.set_cipher_list(&order).unwrap();
        let stream = server.shake(client).await.unwrap();
        assert_eq!(stream.ssl().current_cipher().unwrap().name(), first);
    }
}

#[tokio::test]
async fn the_protocol_is_agreed_in_the_handshake() {
    let server = Setup::default().start().await;
    for (offered, chosen) in [(H2, Some(&b"h2"[..])), (H1, Some(b"http/1.1")), (b"\x03foo", None)] {
        let mut client = connector();
        client.set_alpn_protos(offered).unwrap();
        let stream = server.shake(client).await.unwrap();
        assert_eq!(stream.ssl().selected_alpn_protocol(), chosen);
    }
}

/// Whether a client gets something to resume by, in the handshake or after it.
async fn gets_a_session(server: &Server, version: SslVersion) -> bool {
    let (sender, mut sessions) = tokio::sync::mpsc::unbounded_channel::<SslSession>();
    let mut client = only(version);
    client.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    client.set_new_session_callback(move |_, session| drop(sender.send(session)));
    let mut stream = server.shake(client).await.unwrap();
    chat(&mut stream).await;
    sessions.try_recv().is_ok()
}

#[tokio::test]
async fn sessions_are_resumed_only_where_nobody_is_asked_for_a_certificate() {
    for (client_certificates, expected) in [(ClientCertificates::Off, true), (ClientCertificates::Optional, false)] {
        let tls = TlsConfig {
            client_certificates,
            ..TlsConfig::default()
        };
        let setup = Setup {
            tls,
            ..Setup::default()
        };
        let server = setup.start().await;
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            assert_eq!(
                gets_a_session(&server, version).await,
                expected,
                "{client_certificates:?}"
            );
        }
    }
}

#[tokio::test]
async fn nobody_renegotiates() {
    let server = Setup::default().start().await;
    // The library has no binding for it; its own command has a key.
    let mut client = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &server.address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(b"R\n").unwrap();
    let output = tokio::task::spawn_blocking(move || client.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        told.contains("RENEGOTIATING") && told.contains("no renegotiation"),
        "{told}"
    );
    assert!(told.contains("Compression: NONE"), "{told}");
}
