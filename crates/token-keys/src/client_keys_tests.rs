use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{hash::MessageDigest, pkey::PKey, rsa::Rsa, sign::Signer};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use test_kit::TestKey;

fn keys(list: &[Value]) -> ClientKeys {
    ClientKeys::from_slice(json!({ "keys": list }).to_string().as_bytes()).unwrap()
}

fn es256() -> TestKey {
    TestKey::new(SigningAlg::Es256)
}

fn claims() -> Value {
    json!({"iss": "client", "exp": 1})
}

const ALL: &[SigningAlg] = SigningAlg::ALL;

#[test]
fn every_algorithm_verifies_with_and_without_kid_and_only_when_allowed() {
    let rsa = TestKey::new(SigningAlg::Rs256);
    for alg in ALL {
        let key = match alg.as_str().get(..2) {
            Some("RS" | "PS") => rsa.by(*alg),
            _ => TestKey::new(*alg),
        };
        let set = keys(&[key.public_with(json!({"kid": "k"}))]);
        let bare = keys(&[key.public()]);
        for header in [json!({"typ": "JWT"}), json!({"typ": "JWT", "kid": "k"})] {
            let token = key.sign(header.clone(), &claims());
            for set in [&set, &bare] {
                let jwt = set.verify(&token, &[*alg]).unwrap();
                assert_eq!((jwt.alg, &jwt.claims["iss"]), (alg.as_str(), &json!("client")));
                assert_eq!(jwt.kid.is_some(), header.get("kid").is_some());
                assert!(jwt.is_typ("jwt"));
                let others: Vec<SigningAlg> = ALL.iter().copied().filter(|other| other != alg).collect();
                assert_eq!(
                    set.verify(&token, &others).unwrap_err(),
                    VerifyError::AlgorithmNotAllowed
                );
                assert_eq!(set.verify(&token, &[]).unwrap_err(), VerifyError::AlgorithmNotAllowed);
            }
        }
    }
}

#[test]
fn an_unknown_key_is_told_from_a_bad_signature() {
    let (old, new, rsa) = (es256(), es256(), TestKey::new(SigningAlg::Rs256));
    let named = keys(&[
        old.public_with(json!({"kid": "old"})),
        rsa.public_with(json!({"kid": "rsa"})),
    ]);
    let reason = |set: &ClientKeys, header: Value| set.verify(&new.sign(header, &claims()), ALL).unwrap_err();
    assert_eq!(reason(&named, json!({"kid": "new"})), VerifyError::UnknownKey);
    assert_eq!(reason(&named, json!({"kid": "old"})), VerifyError::BadSignature);
    assert_eq!(reason(&named, json!({"kid": "rsa"})), VerifyError::AlgorithmNotAllowed);
    assert_eq!(reason(&named, json!({})), VerifyError::UnknownKey);
    assert_eq!(reason(&keys(&[]), json!({})), VerifyError::UnknownKey);
    // A set without kids: the token's kid rules none of its keys out.
    let bare = keys(&[old.public(), rsa.public()]);
    assert_eq!(reason(&bare, json!({"kid": "new"})), VerifyError::UnknownKey);
    assert!(bare.verify(&old.sign(json!({"kid": "x"}), &claims()), ALL).is_ok());
}

#[test]
fn keys_that_share_a_kid_are_all_tried_and_without_kid_every_fitting_one() {
    let (a, b, ed) = (es256(), es256(), TestKey::new(SigningAlg::EdDsa));
    let same = |key: &TestKey| key.public_with(json!({"kid": "same"}));
    let set = keys(&[same(&a), same(&ed), same(&b)]);
    for key in [&a, &b, &ed] {
        for header in [json!({"kid": "same"}), json!({})] {
            assert!(set.verify(&key.sign(header, &claims()), &[key.alg()]).is_ok());
        }
    }
}

#[test]
fn what_a_jwk_says_about_its_use_binds() {
    let key = es256();
    let token = key.sign(json!({}), &claims());
    for (members, good) in [
        (json!({"use": "sig", "alg": "ES256", "key_ops": ["verify"]}), true),
        (json!({"use": "enc"}), false),
        (json!({"alg": "ECDH-ES"}), false),
        (json!({"key_ops": ["deriveKey"]}), false),
        (json!({"x5c": ["AAAA"], "ext": true}), true),
    ] {
        let set = keys(&[key.public_with(members.clone())]);
        assert_eq!(set.verify(&token, ALL).is_ok(), good, "{members}");
        assert_eq!(set.can_verify(&[SigningAlg::Es256]), good, "{members}");
        assert!(!set.can_verify(&[SigningAlg::Ps256]) && !set.is_empty());
    }
    let rsa = TestKey::new(SigningAlg::Ps256);
    let pinned = keys(&[rsa.public_with(json!({"alg": "PS256"}))]);
    assert!(pinned.verify(&rsa.sign(json!({}), &claims()), ALL).is_ok());
    let other = rsa.by(SigningAlg::Rs256).sign(json!({}), &claims());
    assert!(pinned.verify(&other, ALL).is_err(), "PS256 keys sign nothing by RS256");
}

#[test]
fn unsound_keys_are_left_out_and_named() {
    let good = es256();
    let small = Rsa::generate(1024).unwrap();
    let small_jwk = json!({
        "kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(small.n().to_vec()),
    });
    let set = keys(&[
        good.public(),
        Value::Object(good.private()),
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        small_jwk,
        good.public_with(json!({"y": good.public()["x"]})),
        json!("text"),
        good.public_with(json!({"kid": 1})),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}),
    ]);
    assert_eq!(
        set.faults(),
        [
            (1, KeyFault::Private),
            (2, KeyFault::Symmetric),
            (3, KeyFault::RsaSize),
            (4, KeyFault::NotOnCurve),
            (5, KeyFault::NotAnObject),
            (6, KeyFault::Member("kid")),
            (7, KeyFault::UnknownType),
        ]
    );
    assert!(set.verify(&good.sign(json!({}), &claims()), ALL).is_ok());
    // What a 1024-bit key signed is not believed, although its signature holds.
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#),
        URL_SAFE_NO_PAD.encode("{}")
    );
    let key = PKey::from_rsa(small).unwrap();
    let signature = Signer::new(MessageDigest::sha256(), &key)
        .unwrap()
        .sign_oneshot_to_vec(signed.as_bytes())
        .unwrap();
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(set.verify(&token, ALL).unwrap_err(), VerifyError::UnknownKey);
}

#[test]
fn a_document_is_a_set_of_at_most_twenty_keys() {
    let key = es256().public();
    let many = |count: usize| json!({"keys": vec![key.clone(); count]}).to_string();
    assert!(ClientKeys::from_slice(many(20).as_bytes()).is_ok());
    assert!(matches!(
        ClientKeys::from_slice(many(21).as_bytes()),
        Err(JwksError::TooManyKeys(20))
    ));
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        assert!(
            matches!(ClientKeys::from_slice(text.as_bytes()), Err(JwksError::Malformed(_))),
            "{text}"
        );
    }
    assert!(keys(&[]).is_empty());
}

// The tokens that have fooled others: each is refused, whatever is allowed.

#[test]
fn a_public_key_is_never_a_secret_and_no_key_comes_with_the_token() {
    let rsa = TestKey::new(SigningAlg::Rs256);
    let thief = es256();
    let payload = URL_SAFE_NO_PAD.encode(claims().to_string());
    let set = keys(&[
        rsa.public_with(json!({"kid": "k"})),
        es256().public_with(json!({"kid": "e"})),
    ]);
    // The public key, in its usual forms, as the secret of an HMAC.
    let der = PKey::from_rsa(
        Rsa::from_public_components(
            openssl::bn::BigNum::from_slice(&URL_SAFE_NO_PAD.decode(rsa.public()["n"].as_str().unwrap()).unwrap())
                .unwrap(),
            openssl::bn::BigNum::from_u32(65537).unwrap(),
        )
        .unwrap(),
    )
    .unwrap();
    for secret in [
        der.public_key_to_pem().unwrap(),
        der.public_key_to_der().unwrap(),
        rsa.public().to_string().into_bytes(),
    ] {
        let signed = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"k"}"#));
        let mac = Signer::new(MessageDigest::sha256(), &PKey::hmac(&secret).unwrap())
            .unwrap()
            .sign_oneshot_to_vec(signed.as_bytes())
            .unwrap();
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac));
        assert_eq!(set.verify(&token, ALL).unwrap_err(), VerifyError::AlgorithmNotAllowed);
    }

    // A key that the token brings along.
    for header in [
        json!({"jwk": thief.public()}),
        json!({"jwk": thief.public(), "kid": "e"}),
        json!({"jku": "https://thief.example/jwks", "kid": "thief"}),
        json!({"x5u": "https://thief.example/cert"}),
        json!({"x5c": ["MIIB"], "kid": "e"}),
    ] {
        let reason = set.verify(&thief.sign(header.clone(), &claims()), ALL).unwrap_err();
        assert!(
            matches!(reason, VerifyError::UnknownKey | VerifyError::BadSignature),
            "{header}"
        );
    }
}

#[test]
fn malformed_tokens_are_refused() {
    let rsa = TestKey::new(SigningAlg::Rs256);
    let set = keys(&[rsa.public_with(json!({"kid": "k"}))]);
    let good = rsa.sign(json!({"kid": "k"}), &claims());
    assert!(set.verify(&good, ALL).is_ok());
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();

    for (token, wanted) in [
        (
            format!("{}.{payload}.", encode(r#"{"alg":"none"}"#)),
            VerifyError::AlgorithmNotAllowed,
        ),
        (
            format!("{}.{payload}.", encode(r#"{"alg":"nOnE","kid":"k"}"#)),
            VerifyError::AlgorithmNotAllowed,
        ),
        (
            format!("{}.{payload}.", encode(r#"{"alg":""}"#)),
            VerifyError::AlgorithmNotAllowed,
        ),
        (format!("{}.{payload}.", encode(r"{}")), VerifyError::Malformed),
        (
            format!("{}.{payload}.{signature}", encode(r#"{"alg":["RS256"]}"#)),
            VerifyError::Malformed,
        ),
        (
            rsa.sign(json!({"kid": "k", "crit": ["b64"], "b64": false}), &claims()),
            VerifyError::Malformed,
        ),
        (
            rsa.sign(json!({"kid": "k", "crit": []}), &claims()),
            VerifyError::Malformed,
        ),
        (rsa.sign(json!({"kid": 1}), &claims()), VerifyError::Malformed),
        (
            rsa.sign(json!({"kid": "k", "typ": 1}), &claims()),
            VerifyError::Malformed,
        ),
        (
            rsa.sign_text(r#"{"alg":"RS256","alg":"RS256","kid":"k"}"#, "{}"),
            VerifyError::Malformed,
        ),
        (
            rsa.sign_text(r#"{"alg":"RS256","kid":"k","kid":"k"}"#, "{}"),
            VerifyError::Malformed,
        ),
        (
            rsa.sign_text(r#"{"alg":"RS256","kid":"k"}"#, r#"{"iss":"a","iss":"b"}"#),
            VerifyError::Malformed,
        ),
        (
            rsa.sign_text(r#"{"alg":"RS256","kid":"k"}"#, "[]"),
            VerifyError::Malformed,
        ),
        (format!("{signed}."), VerifyError::BadSignature),
        (signed.to_owned(), VerifyError::Malformed),
        (format!("{header}..{signature}"), VerifyError::BadSignature),
        (format!("{good}.{signature}"), VerifyError::Malformed),
        (format!("{good}="), VerifyError::Malformed),
        (format!(" {good}"), VerifyError::Malformed),
        (
            format!("{signed}.{}", &signature[..signature.len() - 2]),
            VerifyError::BadSignature,
        ),
        (format!("{good}{}", "A".repeat(16 * 1024)), VerifyError::Malformed),
        (String::new(), VerifyError::Malformed),
        ("..".to_owned(), VerifyError::Malformed),
    ] {
        assert_eq!(set.verify(&token, ALL).unwrap_err(), wanted, "{token}");
    }
}

#[test]
fn claims_can_be_looked_at_before_they_are_believed() {
    let token = es256().sign(json!({}), &claims());
    assert_eq!(crate::peek_claims(&token).unwrap()["iss"], "client");
    assert_eq!(crate::peek_claims("a.b"), Err(VerifyError::Malformed));
}

proptest! {
    #[test]
    fn no_token_and_no_document_panics(
        text in "\\PC{0,80}|[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,30}|\\{\"keys\":\\[\\{\"kty\":\"(EC|RSA|OKP)\",\"(n|x|crv)\":\"[A-Za-z0-9_-]{0,9}\"\\}\\]\\}",
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        prop_assert!(keys(&[]).verify(&text, ALL).is_err());
        prop_assert!(crate::peek_claims(&text).is_err());
        for document in [text.as_bytes(), &bytes] {
            if let Ok(read) = ClientKeys::from_slice(document) {
                prop_assert!(read.is_empty());
            }
        }
    }
}
