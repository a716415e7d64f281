//! Certificates among a client's keys (RFC 8705 §2.2.2).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{error::ErrorStack, x509::X509};
use serde_json::{Map, Value};

use super::ClientKeys;
use crate::public_key::PublicKey;

impl ClientKeys {
    /// Whether the client registered this certificate (DER): one that stands in `x5c` is compared as a whole, where a JWK has none the
    /// key alone counts. Nothing is said about its validity: who vouches for a self-signed certificate is its registration.
    pub fn has_certificate(&self, der: &[u8]) -> bool {
        let Ok(shown) = X509::from_der(der) else {
            forget_errors();
            return false;
        };
        let signing = self.keys.iter().filter(|key| key.usage.as_deref() != Some("enc"));
        let found = signing.into_iter().any(|key| match &key.certificate {
            Certificate::This(registered) => registered == der,
            Certificate::OfTheKey => key.key.is_key_of(&shown),
            Certificate::Unreadable => false,
        });
        forget_errors();
        found
    }
}

/// Which certificate a JWK stands for.
#[derive(Debug, Clone)]
pub(super) enum Certificate {
    /// Any of its key: it has no `x5c`.
    OfTheKey,
    /// The first of its `x5c`, in DER.
    This(Vec<u8>),
    /// None: its `x5c` is no certificate, or one of another key, which RFC 7517 §4.7 forbids. The key may sign all the same.
    Unreadable,
}

impl Certificate {
    pub(super) fn of_jwk(jwk: &Map<String, Value>, key: &PublicKey) -> Self {
        let Some(chain) = jwk.get("x5c") else {
            return Self::OfTheKey;
        };
        let first = chain.as_array().and_then(|chain| chain.first()).and_then(Value::as_str);
        let der = first.and_then(|text| STANDARD.decode(text).ok());
        let is_of_key = |der: &Vec<u8>| X509::from_der(der).is_ok_and(|certificate| key.is_key_of(&certificate));
        let sound = der.filter(is_of_key);
        forget_errors();
        sound.map_or(Self::Unreadable, Self::This)
    }
}

/// OpenSSL keeps a thread's errors until somebody takes them; left behind they would be taken for those of a later TLS connection.
fn forget_errors() {
    drop(ErrorStack::get());
}

#[cfg(test)]
mod tests {
    use openssl::{
        asn1::Asn1Time,
        bn::BigNum,
        ec::{EcGroup, EcKey},
        hash::MessageDigest,
        nid::Nid,
        pkey::{PKey, Private},
        x509::X509Name,
    };
    use serde_json::json;

    use super::*;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    fn key() -> PKey<Private> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    }

    fn certificate(key: &PKey<Private>, serial: u32) -> Vec<u8> {
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_text("CN", "client").unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(key).unwrap();
        let serial = BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.sign(key, MessageDigest::sha256()).unwrap();
        builder.build().to_der().unwrap()
    }

    fn jwk(key: &PKey<Private>) -> Value {
        let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        let ec = key.ec_key().unwrap();
        let mut context = openssl::bn::BigNumContext::new().unwrap();
        ec.public_key()
            .affine_coordinates(ec.group(), &mut x, &mut y, &mut context)
            .unwrap();
        let text = |number: &BigNum| URL_SAFE_NO_PAD.encode(number.to_vec_padded(32).unwrap());
        json!({"kty": "EC", "crv": "P-256", "x": text(&x), "y": text(&y)})
    }

    fn keys(jwks: &[Value]) -> ClientKeys {
        ClientKeys::from_document(json!({"keys": jwks}).as_object().unwrap()).unwrap()
    }

    #[test]
    fn a_registered_key_vouches_for_every_certificate_of_it_and_for_no_other() {
        let (own, other) = (key(), key());
        let keys = keys(&[jwk(&own)]);
        assert!(keys.has_certificate(&certificate(&own, 1)));
        assert!(keys.has_certificate(&certificate(&own, 2)));
        assert!(!keys.has_certificate(&certificate(&other, 1)));
        assert!(!keys.has_certificate(b"no certificate"));
    }

    #[test]
    fn a_registered_certificate_is_that_one_alone() {
        let own = key();
        let registered = certificate(&own, 1);
        let mut jwk = jwk(&own);
        jwk["x5c"] = json!([STANDARD.encode(&registered)]);
        let keys = keys(&[jwk]);
        assert!(keys.has_certificate(&registered));
        assert!(!keys.has_certificate(&certificate(&own, 2)));
    }

    #[test]
    fn a_key_for_encryption_vouches_for_nobody() {
        let own = key();
        let mut jwk = jwk(&own);
        jwk["use"] = "enc".into();
        assert!(!keys(&[jwk]).has_certificate(&certificate(&own, 1)));
    }

    #[test]
    fn a_jwk_with_a_broken_chain_or_somebody_elses_vouches_for_nobody() {
        let (own, other) = (key(), key());
        for x5c in [
            json!([STANDARD.encode(certificate(&other, 1))]),
            json!([URL_SAFE_NO_PAD.encode(b"\xff\xfe")]),
            json!([]),
            json!("x"),
            Value::Null,
        ] {
            let mut jwk = jwk(&own);
            jwk["x5c"] = x5c.clone();
            let keys = keys(&[jwk]);
            assert!(!keys.has_certificate(&certificate(&own, 1)), "{x5c}");
            assert!(!keys.has_certificate(&certificate(&other, 1)), "{x5c}");
            assert!(keys.can_verify(&[oauth_wire::SigningAlg::Es256]), "{x5c}");
        }
    }
}
