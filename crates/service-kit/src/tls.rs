//! What TLS the public listeners speak, and whether they ask for client certificates.

use std::path::{Path, PathBuf};

use openssl::{
    error::ErrorStack,
    ssl::{
        AlpnError, SslAcceptor, SslFiletype, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode, SslVersion,
        select_next_proto,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ListenError;

/// TLS settings of a listener. Both files or neither.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file with the certificate chain, leaf first. With `key` it makes the public listener speak TLS 1.2 and 1.3.
    pub cert: Option<PathBuf>,
    /// PEM file with the private key.
    pub key: Option<PathBuf>,
    /// `optional` asks every client for a certificate and demands none (RFC 8705); `off` does not ask. A browser in which the
    /// user keeps personal certificates may then let them choose one, which a listener of its own for such clients avoids.
    /// Where clients are asked, sessions are not resumed, so that each connection proves its certificate anew.
    pub client_certificates: ClientCertificates,
}

/// Whether clients are asked for a certificate. None is ever demanded: that is the application's business.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    #[default]
    Optional,
    Off,
}

impl TlsConfig {
    /// Whether callers can show a certificate here.
    pub fn asks_for_certificates(&self) -> bool {
        self.cert.is_some() && self.client_certificates == ClientCertificates::Optional
    }

    /// The same server certificate, asking clients for theirs as told.
    #[must_use]
    pub fn asking(&self, client_certificates: ClientCertificates) -> Self {
        Self {
            client_certificates,
            ..self.clone()
        }
    }

    /// Whether a listener could be started with it.
    ///
    /// # Errors
    /// As [`crate::BoundListener::bind`]'s about TLS.
    pub fn check(&self) -> Result<(), ListenError> {
        self.acceptor().map(drop)
    }

    /// `None` when TLS is off.
    pub(crate) fn acceptor(&self) -> Result<Option<SslAcceptor>, ListenError> {
        match (&self.cert, &self.key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => match acceptor(cert, key, self.client_certificates) {
                Ok(acceptor) => Ok(Some(acceptor)),
                Err(source) => Err(ListenError::Tls {
                    cert: cert.clone(),
                    key: key.clone(),
                    source,
                }),
            },
            _ => Err(ListenError::HalfTls),
        }
    }

    pub fn is_on(&self) -> bool {
        self.cert.is_some() && self.key.is_some()
    }
}

/// Forward-secret AEAD suites for TLS 1.2: the ones that FAPI 2.0 §5.2.2 permits, less those with finite-field Diffie-Hellman,
/// which RFC 9325 §4.1 advises against. All suites of TLS 1.3 are of this kind.
const TLS12_SUITES: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";

/// No honest chain is longer; the handshake builds none that is.
const MAX_DEPTH: u32 = 8;

/// An acceptor for TLS 1.2 and 1.3 by RFC 9325 (BCP 195).
fn acceptor(cert: &Path, key: &Path, asked: ClientCertificates) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list(TLS12_SUITES)?;
    // RFC 9325 §3.3 and §3.5: neither compression nor renegotiation. The order of suites is ours.
    builder
        .set_options(SslOptions::NO_COMPRESSION | SslOptions::NO_RENEGOTIATION | SslOptions::CIPHER_SERVER_PREFERENCE);
    builder.set_certificate_chain_file(cert)?;
    builder.set_private_key_file(key, SslFiletype::PEM)?;
    builder.check_private_key()?;
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(b"\x02h2\x08http/1.1", offered).ok_or(AlpnError::NOACK)
    });
    match asked {
        ClientCertificates::Off => builder.set_verify(SslVerifyMode::NONE),
        ClientCertificates::Optional => {
            // The handshake proves possession of the key, whoever issued the certificate. What that is worth is judged where it is
            // used: a self-signed certificate is as good as its registration (RFC 8705 §2.2).
            builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
            builder.set_verify_depth(MAX_DEPTH);
            // A resumed session knows the certificate, but not the chain that came with it, and would outlive both.
            builder.set_options(SslOptions::NO_TICKET);
            builder.set_session_cache_mode(SslSessionCacheMode::OFF);
            builder.set_num_tickets(0)?;
        }
    }
    Ok(builder.build())
}
