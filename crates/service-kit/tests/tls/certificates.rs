//! Certificates made on the spot.

use std::path::{Path, PathBuf};

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::Rsa,
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName},
    },
};
use service_kit::TlsConfig;

pub(crate) struct Identity {
    pub(crate) certificate: X509,
    pub(crate) key: PKey<Private>,
}

/// What is to be made; by default a leaf for an hour, with no extensions, signed by itself.
#[derive(Default)]
pub(crate) struct Recipe<'a> {
    pub(crate) name: &'a str,
    pub(crate) issuer: Option<&'a Identity>,
    pub(crate) rsa: Option<u32>,
    pub(crate) authority: bool,
    pub(crate) usage: Option<Usage>,
    pub(crate) days: Option<(i64, i64)>,
    pub(crate) alternative_names: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum Usage {
    Client,
    Server,
}

pub(crate) fn ec_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

impl Recipe<'_> {
    pub(crate) fn make(&self) -> Identity {
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
        builder.set_not_before(&days_from_now(from)).unwrap();
        builder.set_not_after(&days_from_now(until)).unwrap();
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
        let signer = self.issuer.map_or(&key, |issuer| &issuer.key);
        builder.sign(signer, MessageDigest::sha256()).unwrap();
        Identity {
            certificate: builder.build(),
            key,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "OpenSSL's handshake knows no other clock")]
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

fn days_from_now(days: i64) -> Asn1Time {
    Asn1Time::from_unix(now() + days * 86_400).unwrap()
}

pub(crate) fn self_signed(name: &str) -> Identity {
    Recipe {
        name,
        ..Recipe::default()
    }
    .make()
}

/// Longer than `bytes`.
pub(crate) fn long(bytes: usize) -> Identity {
    let key = ec_key();
    let mut name = X509NameBuilder::new().unwrap();
    for _ in 0..bytes / 60 {
        name.append_entry_by_text("OU", &"x".repeat(60)).unwrap();
    }
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name.build()).unwrap();
    builder.set_not_before(&days_from_now(-1)).unwrap();
    builder.set_not_after(&days_from_now(1)).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    Identity {
        certificate: builder.build(),
        key,
    }
}

impl Identity {
    pub(crate) fn pem(&self) -> String {
        String::from_utf8(self.certificate.to_pem().unwrap()).unwrap()
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    /// Written down as a server's.
    pub(crate) fn files(&self, directory: &Path) -> TlsConfig {
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
