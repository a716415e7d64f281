//! Certificates of clients (RFC 8705), as a listener hands them over.

use std::sync::Arc;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, BigNumContext},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509Name, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use serde_json::{Value, json};
use service_kit::{Authorities, PeerCertificate};

use super::NOW;

const DAY: i64 = 24 * 60 * 60;

/// Somebody who vouches for certificates.
pub(crate) struct Authority {
    key: PKey<Private>,
    certificate: X509,
}

/// A certificate to be made: by default for a day around the tests' time.
pub(crate) struct Wanted<'a> {
    pub(crate) subject: &'a [(&'a str, &'a str)],
    pub(crate) san: fn(&mut SubjectAlternativeName),
    /// Days from the tests' time.
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self {
            subject: &[("CN", "client")],
            san: |_| {},
            from: -1,
            until: 1,
        }
    }
}

pub(crate) fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = key();
        let wanted = Wanted {
            subject: &[("CN", "authority")],
            until: 30,
            ..Wanted::default()
        };
        let certificate = made(&wanted, &key, None);
        Self { key, certificate }
    }

    /// A certificate of this authority, as the provider sees it that believes `authorities`.
    pub(crate) fn issue(&self, wanted: &Wanted<'_>, authorities: &Arc<Authorities>) -> PeerCertificate {
        shown(&made(wanted, &key(), Some(self)), Some(authorities))
    }

    /// As the provider's `mtls.ca`.
    pub(crate) fn believed(&self) -> Arc<Authorities> {
        let pem = self.certificate.to_pem().unwrap();
        Arc::new(Authorities::from_pem(&pem).unwrap())
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }
}

/// A certificate that nobody vouches for but its own key.
pub(crate) fn self_signed(key: &PKey<Private>, wanted: &Wanted<'_>) -> PeerCertificate {
    shown(&made(wanted, key, None), None)
}

fn shown(certificate: &X509, authorities: Option<&Arc<Authorities>>) -> PeerCertificate {
    PeerCertificate::from_der(&certificate.to_der().unwrap(), &[], authorities.cloned()).unwrap()
}

/// The public key as a JWK, with the certificate if there is one.
pub(crate) fn jwk(key: &PKey<Private>, certificate: Option<&PeerCertificate>) -> Value {
    let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
    let ec = key.ec_key().unwrap();
    let mut context = BigNumContext::new().unwrap();
    ec.public_key()
        .affine_coordinates(ec.group(), &mut x, &mut y, &mut context)
        .unwrap();
    let text = |number: &BigNum| URL_SAFE_NO_PAD.encode(number.to_vec_padded(32).unwrap());
    let mut jwk = json!({"kty": "EC", "crv": "P-256", "x": text(&x), "y": text(&y)});
    if let Some(certificate) = certificate {
        jwk["x5c"] = json!([STANDARD.encode(&certificate.der)]);
    }
    jwk
}

fn name(entries: &[(&str, &str)]) -> X509Name {
    let mut name: X509NameBuilder = X509Name::builder().unwrap();
    for (kind, value) in entries {
        name.append_entry_by_text(kind, value).unwrap();
    }
    name.build()
}

/// Without an issuer it signs itself.
fn made(wanted: &Wanted<'_>, key: &PKey<Private>, issuer: Option<&Authority>) -> X509 {
    let subject = name(wanted.subject);
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, openssl::bn::MsbOption::ONE, false).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    let issuer_name = issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name());
    builder.set_issuer_name(issuer_name).unwrap();
    let at = |days: i64| Asn1Time::from_unix(NOW + days * DAY).unwrap();
    builder.set_not_before(&at(wanted.from)).unwrap();
    builder.set_not_after(&at(wanted.until)).unwrap();
    builder.set_pubkey(key).unwrap();
    if issuer.is_none() {
        let authority = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(authority).unwrap();
    }
    let mut names = SubjectAlternativeName::new();
    (wanted.san)(&mut names);
    if let Ok(names) = names.build(&builder.x509v3_context(None, None)) {
        builder.append_extension(names).unwrap();
    }
    let signer = issuer.map_or(key, |issuer| &issuer.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    builder.build()
}
