//! Certificate authorities: the system's, and those of the operator.

use std::{fmt, path::Path};

use native_tls::{Certificate, Protocol, TlsConnector};

/// Authorities to trust beside the system's.
#[derive(Clone, Default)]
pub struct ExtraRoots(Vec<Certificate>);

impl fmt::Debug for ExtraRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExtraRoots").field(&self.0.len()).finish()
    }
}

/// Why the file with them cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error("cannot be read: {0}")]
    File(#[from] std::io::Error),
    #[error("is not PEM: {0}")]
    Pem(#[from] native_tls::Error),
    #[error("has no certificate in it")]
    Empty,
}

impl ExtraRoots {
    /// Reads a PEM file with one certificate or several.
    ///
    /// # Errors
    /// [`RootsError`].
    pub fn load(path: &Path) -> Result<Self, RootsError> {
        Self::from_pem(&std::fs::read(path)?)
    }

    /// # Errors
    /// [`RootsError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, RootsError> {
        let certificates = Certificate::stack_from_pem(pem)?;
        match certificates.is_empty() {
            true => Err(RootsError::Empty),
            false => Ok(Self(certificates)),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// TLS 1.2 at least, certificates and names checked.
    pub(super) fn connector(&self) -> Result<TlsConnector, native_tls::Error> {
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(Protocol::Tlsv12));
        for certificate in &self.0 {
            builder.add_root_certificate(certificate.clone());
        }
        builder.build()
    }
}
