use josekit::{
    jwe::{
        ECDH_ES, ECDH_ES_A128KW, ECDH_ES_A256KW, JweDecrypter, JweHeader, RSA_OAEP, RSA_OAEP_256, deserialize_compact,
    },
    jwk::{
        Jwk,
        alg::{ec::EcCurve, ecx::EcxCurve},
    },
};
use proptest::prelude::*;

use super::*;
use crate::ClientKeys;
use test_kit::with;

/// A client's private key, and a reader that nobody here wrote.
struct Reader(Jwk);

impl Reader {
    fn rsa() -> Self {
        Self(Jwk::generate_rsa_key(2048).unwrap())
    }

    fn ec(curve: EcCurve) -> Self {
        Self(Jwk::generate_ec_key(curve).unwrap())
    }

    fn x25519() -> Self {
        Self(Jwk::generate_ecx_key(EcxCurve::X25519).unwrap())
    }

    fn public(&self, more: Value) -> Value {
        let public = with(
            &Value::Object(self.0.as_ref().clone()),
            json!({"d": null, "p": null, "q": null, "dp": null, "dq": null, "qi": null}),
        );
        with(&public, more)
    }

    fn decrypter(&self, alg: JweAlg) -> Box<dyn JweDecrypter> {
        match alg {
            JweAlg::RsaOaep => Box::new(RSA_OAEP.decrypter_from_jwk(&self.0).unwrap()),
            JweAlg::RsaOaep256 => Box::new(RSA_OAEP_256.decrypter_from_jwk(&self.0).unwrap()),
            JweAlg::EcdhEs => Box::new(ECDH_ES.decrypter_from_jwk(&self.0).unwrap()),
            JweAlg::EcdhEsA128Kw => Box::new(ECDH_ES_A128KW.decrypter_from_jwk(&self.0).unwrap()),
            JweAlg::EcdhEsA256Kw => Box::new(ECDH_ES_A256KW.decrypter_from_jwk(&self.0).unwrap()),
        }
    }

    fn read(&self, alg: JweAlg, token: &str) -> Option<(Vec<u8>, JweHeader)> {
        deserialize_compact(token, &*self.decrypter(alg)).ok()
    }
}

fn keys(list: &[Value]) -> ClientKeys {
    ClientKeys::from_slice(json!({ "keys": list }).to_string().as_bytes()).unwrap()
}

fn fitting(alg: JweAlg) -> Vec<Reader> {
    match alg {
        JweAlg::RsaOaep | JweAlg::RsaOaep256 => vec![Reader::rsa()],
        _ => vec![
            Reader::ec(EcCurve::P256),
            Reader::ec(EcCurve::P384),
            Reader::ec(EcCurve::P521),
            Reader::x25519(),
        ],
    }
}

#[test]
fn the_key_derivation_of_rfc_7518_appendix_c_holds() {
    let agreed = [
        158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49, 110, 163, 218, 128, 106,
        72, 246, 218, 167, 121, 140, 254, 144, 196,
    ];
    let derived = concat_kdf(&agreed, "A128GCM", [b"Alice", b"Bob"], 16);
    assert_eq!(URL_SAFE_NO_PAD.encode(&*derived), "VqqN6vgjbSBcIijNcacQGg");
}

#[test]
fn what_is_encrypted_is_read_by_another_implementation() {
    for alg in JweAlg::ALL {
        for reader in fitting(*alg) {
            let set = keys(&[reader.public(json!({"kid": "k", "use": "enc"}))]);
            for enc in JweEnc::ALL {
                let token = set.encrypt(b"payload", Some("JWT"), *alg, *enc).unwrap();
                assert_eq!(token.split('.').count(), 5);
                let (payload, header) = reader.read(*alg, &token).unwrap();
                assert_eq!(payload, b"payload");
                assert_eq!(header.claim("alg").unwrap(), alg.as_str());
                assert_eq!(header.content_encryption(), Some(enc.as_str()));
                assert_eq!((header.content_type(), header.key_id()), (Some("JWT"), Some("k")));
                // Nothing is used twice.
                let again = set.encrypt(b"payload", Some("JWT"), *alg, *enc).unwrap();
                let parts = |token: &str| token.split('.').skip(2).map(str::to_owned).collect::<Vec<_>>();
                assert!(
                    parts(&token)
                        .iter()
                        .zip(parts(&again))
                        .all(|(one, other)| *one != other)
                );
            }
        }
    }
}

#[test]
fn a_token_that_was_changed_anywhere_is_not_read() {
    for (alg, enc) in [
        (JweAlg::EcdhEs, JweEnc::A128CbcHs256),
        (JweAlg::EcdhEsA256Kw, JweEnc::A256CbcHs512),
        (JweAlg::EcdhEsA128Kw, JweEnc::A256Gcm),
    ] {
        let reader = Reader::ec(EcCurve::P256);
        let token = keys(&[reader.public(json!({}))])
            .encrypt(b"payload", None, alg, enc)
            .unwrap();
        let (payload, header) = reader.read(alg, &token).unwrap();
        assert_eq!(
            (payload.as_slice(), header.content_type(), header.key_id()),
            (&b"payload"[..], None, None)
        );
        for at in 0..5 {
            let mut parts: Vec<Vec<u8>> = token
                .split('.')
                .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
                .collect();
            let Some(octet) = parts[at].last_mut() else { continue };
            *octet ^= 1;
            let changed: Vec<String> = parts.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
            assert!(reader.read(alg, &changed.join(".")).is_none(), "part {at}");
        }
        assert!(Reader::ec(EcCurve::P256).read(alg, &token).is_none(), "another key");
    }
}

#[test]
fn the_key_is_the_one_that_is_meant_for_it() {
    let (rsa, ec, other) = (Reader::rsa(), Reader::ec(EcCurve::P256), Reader::ec(EcCurve::P256));
    for (list, alg, kid) in [
        (
            vec![rsa.public(json!({"kid": "r", "use": "sig"}))],
            JweAlg::RsaOaep256,
            None,
        ),
        (
            vec![rsa.public(json!({"kid": "r", "alg": "RS256"}))],
            JweAlg::RsaOaep256,
            None,
        ),
        (
            vec![rsa.public(json!({"kid": "r", "alg": "RSA-OAEP"}))],
            JweAlg::RsaOaep256,
            None,
        ),
        (
            vec![rsa.public(json!({"kid": "r", "key_ops": ["verify"]}))],
            JweAlg::RsaOaep256,
            None,
        ),
        (
            vec![rsa.public(json!({"kid": "r", "key_ops": ["wrapKey"]}))],
            JweAlg::RsaOaep256,
            Some("r"),
        ),
        (vec![rsa.public(json!({"kid": "r"}))], JweAlg::EcdhEs, None),
        (vec![ec.public(json!({"kid": "e"}))], JweAlg::RsaOaep, None),
        (
            vec![ec.public(json!({"kid": "e", "key_ops": ["deriveKey"]}))],
            JweAlg::EcdhEs,
            Some("e"),
        ),
        (
            vec![rsa.public(json!({"kid": "r"})), ec.public(json!({"kid": "e"}))],
            JweAlg::EcdhEsA256Kw,
            Some("e"),
        ),
        (
            vec![
                ec.public(json!({"kid": "e"})),
                other.public(json!({"kid": "enc", "use": "enc"})),
            ],
            JweAlg::EcdhEs,
            Some("enc"),
        ),
        (
            vec![json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})],
            JweAlg::EcdhEs,
            None,
        ),
    ] {
        let set = keys(&list);
        assert_eq!(set.can_encrypt(alg), kid.is_some(), "{list:?}");
        match set.encrypt(b"x", None, alg, JweEnc::A128Gcm) {
            Ok(token) => assert_eq!(test_kit::header(&token)["kid"].as_str(), kid),
            Err(error) => {
                assert!(matches!(error, EncryptError::NoKey(name) if name == alg.as_str()));
                assert_eq!(kid, None, "{list:?}");
            }
        }
    }
}

#[test]
fn an_x25519_key_of_low_order_gets_nothing() {
    let set = keys(&[json!({"kty": "OKP", "crv": "X25519", "x": URL_SAFE_NO_PAD.encode([0; 32])})]);
    assert!(matches!(
        set.encrypt(b"x", None, JweAlg::EcdhEs, JweEnc::A128Gcm),
        Err(EncryptError::OpenSsl(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_payload_comes_back(
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        alg in proptest::sample::select(&[JweAlg::EcdhEs, JweAlg::EcdhEsA128Kw, JweAlg::EcdhEsA256Kw][..]),
        enc in proptest::sample::select(JweEnc::ALL),
        cty in proptest::option::of("\\PC{0,8}"),
    ) {
        let reader = Reader::ec(EcCurve::P256);
        let set = keys(&[reader.public(json!({}))]);
        let token = set.encrypt(&payload, cty.as_deref(), alg, enc).unwrap();
        let (read, header) = reader.read(alg, &token).unwrap();
        prop_assert_eq!(read, payload);
        prop_assert_eq!(header.content_type(), cty.as_deref());
    }
}
