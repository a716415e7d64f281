//! Client certificates: what they say, and whether authorities vouch for them.

use std::{fmt, net::IpAddr, ops::Deref, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{
    error::ErrorStack,
    sha::sha256,
    stack::{Stack, StackRef},
    x509::{
        X509, X509PurposeId, X509StoreContext,
        store::X509StoreBuilder,
        verify::{X509VerifyFlags, X509VerifyParam},
    },
};

use super::{BadName, DistinguishedName};
use crate::Timestamp;

/// Largest certificate that is looked at, in bytes of DER. Those in use have one or two thousand.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;
/// Certificates of a chain, beside the first, that are looked at.
pub(super) const MAX_CHAIN: usize = 8;
/// Security level for what authorities vouch for, as OpenSSL counts: at least 112 bits, so no RSA below 2048 bits and no SHA-1.
const SECURITY_LEVEL: i32 = 2;

/// The certificate whose key the client has proved to hold, in this connection or towards a trusted proxy. A request extension,
/// cheap to clone. Anybody can make one: what it is worth follows from [`Certificate::verify`] or from its registration.
#[derive(Clone)]
pub struct PeerCertificate(Arc<Certificate>);

/// What a certificate says.
#[derive(Debug)]
pub struct Certificate {
    pub der: Vec<u8>,
    /// RFC 4514 string of the subject. To compare it with a registered one, use [`Certificate::subject`].
    pub subject_dn: String,
    pub san_dns: Vec<String>,
    pub san_uri: Vec<String>,
    pub san_ip: Vec<IpAddr>,
    pub san_email: Vec<String>,
    /// `x5t#S256`: SHA-256 over the DER encoding, base64url (RFC 8705 §3.1).
    pub thumbprint: String,
    subject: DistinguishedName,
    parsed: X509,
    chain: Vec<X509>,
    authorities: Option<Arc<Authorities>>,
}

/// Why bytes are not used as a certificate.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    #[error("the certificate is longer than {MAX_CERTIFICATE_BYTES} bytes")]
    TooLong,
    #[error("the certificate is not DER-encoded X.509")]
    Malformed,
    #[error("the certificate's subject {0}")]
    Subject(#[from] BadName),
}

impl PeerCertificate {
    /// Reads a certificate, with the rest of its chain as far as it came along.
    ///
    /// # Errors
    /// [`BadCertificate`] when it is too long or anything but one certificate in DER.
    pub fn from_der(
        der: &[u8],
        chain: &[Vec<u8>],
        authorities: Option<Arc<Authorities>>,
    ) -> Result<Self, BadCertificate> {
        let parsed = parse(der)?;
        let chain = chain.iter().take(MAX_CHAIN).map(|link| parse(link));
        Self::new(parsed, chain.collect::<Result<_, _>>()?, authorities)
    }

    /// What OpenSSL has parsed in a handshake.
    pub(super) fn from_handshake(
        leaf: X509,
        chain: Option<&StackRef<X509>>,
        authorities: Option<Arc<Authorities>>,
    ) -> Result<Self, BadCertificate> {
        let chain = chain.into_iter().flatten().take(MAX_CHAIN);
        Self::new(leaf, chain.map(ToOwned::to_owned).collect(), authorities)
    }

    fn new(parsed: X509, chain: Vec<X509>, authorities: Option<Arc<Authorities>>) -> Result<Self, BadCertificate> {
        let read = Certificate::read(parsed, chain, authorities);
        forget_errors();
        Ok(Self(Arc::new(read?)))
    }
}

impl Certificate {
    fn read(parsed: X509, chain: Vec<X509>, authorities: Option<Arc<Authorities>>) -> Result<Self, BadCertificate> {
        let malformed = |_: ErrorStack| BadCertificate::Malformed;
        let der = parsed.to_der().map_err(malformed)?;
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(BadCertificate::TooLong);
        }
        let subject = DistinguishedName::from_der(&parsed.subject_name().to_der().map_err(malformed)?)?;
        let names = parsed.subject_alt_names();
        let names = || names.iter().flatten();
        let owned = |text: &str| text.to_owned();
        Ok(Self {
            thumbprint: URL_SAFE_NO_PAD.encode(sha256(&der)),
            subject_dn: subject.to_string(),
            san_dns: names().filter_map(|name| name.dnsname().map(owned)).collect(),
            san_uri: names().filter_map(|name| name.uri().map(owned)).collect(),
            san_ip: names().filter_map(|name| ip_address(name.ipaddress()?)).collect(),
            san_email: names().filter_map(|name| name.email().map(owned)).collect(),
            der,
            subject,
            parsed,
            chain,
            authorities,
        })
    }

    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// The key as a DER `SubjectPublicKeyInfo`; `None` for a kind of key that OpenSSL does not know.
    pub fn public_key_der(&self) -> Option<Vec<u8>> {
        let der = self.parsed.public_key().and_then(|key| key.public_key_to_der());
        forget_errors();
        der.ok()
    }

    /// The rest of the chain as the client sent it, each in DER.
    pub fn chain(&self) -> impl Iterator<Item = Vec<u8>> {
        self.chain.iter().filter_map(|link| link.to_der().ok())
    }

    /// Whether a configured authority vouches for the certificate as a client's at that time: chain, validity periods of all of it,
    /// strength, key usage (RFC 8705 §2.1). Nobody is asked whether it was revoked.
    ///
    /// # Errors
    /// [`Unverified`] says why not.
    pub fn verify(&self, at: Timestamp) -> Result<(), Unverified> {
        let authorities = self.authorities.as_ref().ok_or(Unverified::NoAuthorities)?;
        let outcome = authorities.verify(&self.parsed, &self.chain, at);
        forget_errors();
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(Unverified::Refused(reason)),
            Err(_) => Err(Unverified::Refused("it cannot be checked")),
        }
    }
}

impl Deref for PeerCertificate {
    type Target = Certificate;

    fn deref(&self) -> &Certificate {
        &self.0
    }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificate")
            .field("subject_dn", &self.subject_dn)
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

/// OpenSSL reads a certificate from the front and forgives the rest, so encode it again and compare.
fn parse(der: &[u8]) -> Result<X509, BadCertificate> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(BadCertificate::TooLong);
    }
    let parsed = X509::from_der(der).map_err(|_| BadCertificate::Malformed)?;
    match parsed.to_der() {
        Ok(again) if again == der => Ok(parsed),
        Ok(_) | Err(_) => Err(BadCertificate::Malformed),
    }
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// OpenSSL keeps errors of a thread until somebody takes them. One that is left behind would be taken for an error of the next TLS
/// connection that this thread serves.
fn forget_errors() {
    drop(ErrorStack::get());
}

/// Why a certificate is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    #[error("no certificate authorities are configured")]
    NoAuthorities,
    #[error("{0}")]
    Refused(&'static str),
}

/// Certificate authorities whose word about clients is taken.
pub struct Authorities(Vec<X509>);

/// Why authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    #[error("certificate authorities cannot be read")]
    File(#[from] std::io::Error),
    #[error("certificate authorities are not PEM")]
    Pem(#[from] ErrorStack),
    #[error("the file of certificate authorities holds no certificate")]
    None,
}

impl Authorities {
    /// Reads a PEM bundle.
    ///
    /// # Errors
    /// [`AuthoritiesError`] when the file cannot be read or holds no certificate.
    pub fn load(file: &Path) -> Result<Self, AuthoritiesError> {
        Self::from_pem(&std::fs::read(file)?)
    }

    /// As [`Authorities::load`], from memory.
    ///
    /// # Errors
    /// The same.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AuthoritiesError> {
        let certificates = X509::stack_from_pem(pem)?;
        match certificates.is_empty() {
            true => Err(AuthoritiesError::None),
            false => Ok(Self(certificates)),
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn verify(&self, leaf: &X509, chain: &[X509], at: Timestamp) -> Result<Result<(), &'static str>, ErrorStack> {
        let mut terms = X509VerifyParam::new()?;
        terms.set_purpose(X509PurposeId::SSL_CLIENT)?;
        terms.set_time(at.as_seconds());
        terms.set_depth(i32::try_from(MAX_CHAIN).unwrap_or(i32::MAX));
        terms.set_auth_level(SECURITY_LEVEL);
        // Who is named is believed, a root or not: an authority below somebody else's root can be trusted alone.
        terms.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        let mut store = X509StoreBuilder::new()?;
        for authority in &self.0 {
            store.add_cert(authority.clone())?;
        }
        store.set_param(&terms)?;
        let mut links = Stack::new()?;
        for link in chain {
            links.push(link.clone())?;
        }
        X509StoreContext::new()?.init(&store.build(), leaf, &links, |context| {
            Ok(match context.verify_cert()? {
                true => Ok(()),
                false => Err(context.error().error_string()),
            })
        })
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorities").field("len", &self.len()).finish()
    }
}
