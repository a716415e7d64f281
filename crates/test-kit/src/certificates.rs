//! Certificates made on the spot.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(clippy::missing_panics_doc, reason = "the same")]

use std::path::{Path, PathBuf};

use openssl::{
    asn1::{Asn1Object, Asn1OctetString, Asn1Time},
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::Rsa,
    x509::{
        X509, X509Extension, X509NameBuilder,
        extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName},
    },
};
use service_kit::{Clock as _, SystemClock, Timestamp, TlsConfig};

/// A certificate and its key.
#[derive(Debug)]
pub struct Identity {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// What is to be made; by default a leaf with no extensions, signed by itself, valid a day before and after now.
#[derive(Debug, Default)]
pub struct Recipe<'a> {
    /// The `CN` of the subject, whose `O` is always the same.
    pub name: &'a str,
    pub issuer: Option<&'a Identity>,
    /// An RSA key of so many bits; an EC key otherwise.
    pub rsa: Option<u32>,
    pub authority: bool,
    pub usage: Option<Usage>,
    /// The test's clock, if it is not the machine's.
    pub now: Option<Timestamp>,
    /// From when until when, in days from now.
    pub days: Option<(i64, i64)>,
    pub alternative_names: bool,
    /// Contents of a subject alternative name extension that is no such thing.
    pub broken_names: Option<&'a str>,
}

/// Extended key usage.
#[derive(Debug, Clone, Copy)]
pub enum Usage {
    Client,
    Server,
}

/// A P-256 key.
pub fn ec_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

impl Recipe<'_> {
    /// Makes it.
    pub fn make(&self) -> Identity {
        let key = match self.rsa {
            Some(bits) => PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(),
            None => ec_key(),
        };
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("O", "Bank, Söhne").unwrap();
        name.append_entry_by_text("CN", self.name).unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(64, MsbOption::MAYBE_ZERO, false).unwrap();
        builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&name).unwrap();
        let issuer = self.issuer.map_or(&*name, |issuer| issuer.certificate.subject_name());
        builder.set_issuer_name(issuer).unwrap();
        let (from, until) = self.days.unwrap_or((-1, 1));
        builder.set_not_before(&days_from(self.now, from)).unwrap();
        builder.set_not_after(&days_from(self.now, until)).unwrap();
        builder.set_pubkey(&key).unwrap();
        if self.authority {
            let constraints = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(constraints).unwrap();
            builder
                .append_extension(KeyUsage::new().critical().key_cert_sign().build().unwrap())
                .unwrap();
        }
        if let Some(usage) = self.usage {
            let mut purpose = ExtendedKeyUsage::new();
            match usage {
                Usage::Client => purpose.client_auth(),
                Usage::Server => purpose.server_auth(),
            };
            builder.append_extension(purpose.build().unwrap()).unwrap();
        }
        if self.alternative_names {
            let names = SubjectAlternativeName::new()
                .dns("client.example")
                .dns("other.example")
                .uri("urn:client:1")
                .ip("192.0.2.1")
                .ip("2001:db8::1")
                .email("ops@client.example")
                .build(&builder.x509v3_context(None, None))
                .unwrap();
            builder.append_extension(names).unwrap();
        }
        if let Some(contents) = self.broken_names {
            let contents = Asn1OctetString::new_from_bytes(contents.as_bytes()).unwrap();
            let kind = Asn1Object::from_str("2.5.29.17").unwrap();
            let extension = X509Extension::new_from_der(&kind, false, &contents).unwrap();
            builder.append_extension(extension).unwrap();
        }
        let signer = self.issuer.map_or(&key, |issuer| &issuer.key);
        builder.sign(signer, MessageDigest::sha256()).unwrap();
        Identity {
            certificate: builder.build(),
            key,
        }
    }
}

fn days_from(now: Option<Timestamp>, days: i64) -> Asn1Time {
    let now = now.unwrap_or_else(|| SystemClock.now());
    Asn1Time::from_unix(now.as_seconds() + days * 86_400).unwrap()
}

/// The simplest: a name and a key of its own.
pub fn self_signed(name: &str) -> Identity {
    Recipe {
        name,
        ..Recipe::default()
    }
    .make()
}

/// A certificate that carries so many bytes of nothing.
pub fn long(bytes: usize) -> Identity {
    let padding = "x".repeat(bytes);
    Recipe {
        name: "Long",
        broken_names: Some(&padding),
        ..Recipe::default()
    }
    .make()
}

impl Identity {
    /// The certificate, PEM.
    pub fn pem(&self) -> String {
        String::from_utf8(self.certificate.to_pem().unwrap()).unwrap()
    }

    /// The certificate, DER.
    pub fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    /// Written down as a server's.
    pub fn files(&self, directory: &Path) -> TlsConfig {
        let write = |name: &str, pem: Vec<u8>| -> PathBuf {
            let path = directory.join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        TlsConfig {
            cert: Some(write("cert.pem", self.certificate.to_pem().unwrap())),
            key: Some(write("key.pem", self.key.private_key_to_pem_pkcs8().unwrap())),
            ..TlsConfig::default()
        }
    }
}
