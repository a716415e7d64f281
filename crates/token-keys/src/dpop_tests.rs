use proptest::prelude::*;
use serde_json::json;

use super::*;
use test_kit::{TestKey, with};

const NOW: i64 = 1_800_000_000;
const TOKEN: &str = "access-token";

fn uris() -> Vec<Htu> {
    [
        "https://server.example/oauth2/token",
        "https://mtls.server.example/oauth2/token",
    ]
    .iter()
    .map(|uri| Htu::parse(uri).unwrap())
    .collect()
}

fn verify(proof: &str) -> Result<DpopProof, ProofError> {
    verify_dpop_proof(
        proof,
        &ExpectedProof {
            method: "POST",
            uris: &uris(),
            now: NOW,
            window_seconds: 300,
            access_token: None,
            jkt: None,
        },
    )
}

fn claims() -> Value {
    json!({"jti": "a", "htm": "POST", "htu": "https://server.example/oauth2/token", "iat": NOW})
}

fn header(key: &TestKey) -> Value {
    json!({"typ": "dpop+jwt", "jwk": key.public()})
}

fn es256() -> TestKey {
    TestKey::new(SigningAlg::Es256)
}

/// A proof with other claims, or with null for less.
fn changed(more: Value) -> String {
    let key = es256();
    key.sign(header(&key), &with(&claims(), more))
}

/// A proof with another header.
fn headed(more: Value) -> String {
    let key = es256();
    let whole = with(&header(&key), json!({"alg": "ES256"}));
    key.sign_text(&with(&whole, more).to_string(), &claims().to_string())
}

#[test]
fn the_examples_of_rfc_9449_hold() {
    // §4.1, for the token endpoint.
    let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    let uri = [Htu::parse("https://server.example.com/token").unwrap()];
    let expected = ExpectedProof {
        method: "POST",
        uris: &uri,
        now: 1_562_262_616,
        window_seconds: 10,
        access_token: None,
        jkt: Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
    };
    let verified = verify_dpop_proof(proof, &expected).unwrap();
    assert_eq!(
        (verified.jti.as_str(), verified.iat),
        ("-BwC3ESc6acc2lTc", 1_562_262_616)
    );
    assert_eq!(verified.nonce, None);

    // §7.1, for a protected resource.
    let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    let uri = [Htu::parse("https://resource.example.org/protectedresource").unwrap()];
    let expected = ExpectedProof {
        method: "GET",
        uris: &uri,
        now: 1_562_262_618,
        access_token: Some("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"),
        ..expected
    };
    verify_dpop_proof(proof, &expected).unwrap();
    let stolen = ExpectedProof {
        access_token: Some("another"),
        ..expected
    };
    assert_eq!(verify_dpop_proof(proof, &stolen), Err(ProofError::AccessTokenHash));
}

#[test]
fn every_allowed_algorithm_proves_and_no_other_does() {
    let rsa = TestKey::new(SigningAlg::Ps256);
    for alg in SigningAlg::ALL {
        let key = match alg.as_str().get(..2) {
            Some("RS" | "PS") => rsa.by(*alg),
            _ => TestKey::new(*alg),
        };
        let proof = verify(&key.sign(header(&key), &claims()));
        match SigningAlg::DPOP.contains(alg) {
            true => assert_eq!(proof.unwrap().jkt.len(), 43),
            false => assert_eq!(proof, Err(ProofError::Algorithm), "{}", alg.as_str()),
        }
    }
}

#[test]
fn a_header_that_is_not_a_proofs_is_refused_with_its_reason() {
    let key = es256();
    let other = es256();
    for (proof, reason) in [
        (headed(json!({"typ": null})), ProofError::Typ),
        (headed(json!({"typ": "JWT"})), ProofError::Typ),
        (headed(json!({"typ": "DPoP+jwt"})), ProofError::Typ),
        (headed(json!({"typ": "application/dpop+jwt"})), ProofError::Typ),
        (headed(json!({"alg": null})), ProofError::Malformed),
        (headed(json!({"alg": 1})), ProofError::Malformed),
        (headed(json!({"alg": "none"})), ProofError::Algorithm),
        (headed(json!({"alg": "RS256"})), ProofError::Algorithm),
        (headed(json!({"alg": "HS256"})), ProofError::Algorithm),
        (headed(json!({"alg": "PS256"})), ProofError::KeyMisfit),
        (headed(json!({"alg": "ES384"})), ProofError::KeyMisfit),
        (headed(json!({"alg": "EdDSA"})), ProofError::KeyMisfit),
        (headed(json!({"crit": ["b64"], "b64": true})), ProofError::Malformed),
        (headed(json!({"jwk": null})), ProofError::NoKey),
        (headed(json!({"jwk": null, "kid": "a"})), ProofError::NoKey),
        (
            headed(json!({"jwk": null, "jku": "https://thief.example/jwks"})),
            ProofError::NoKey,
        ),
        (headed(json!({"jwk": null, "x5c": ["MIIB"]})), ProofError::NoKey),
        (headed(json!({"jwk": "text"})), ProofError::Key(KeyFault::NotAnObject)),
        (
            headed(json!({"jwk": {"kty": "oct", "k": "AAAA"}})),
            ProofError::Key(KeyFault::Symmetric),
        ),
        (
            headed(json!({"jwk": key.private()})),
            ProofError::Key(KeyFault::Private),
        ),
        (
            headed(json!({"jwk": key.public_with(json!({"k": "AAAA"}))})),
            ProofError::Key(KeyFault::Symmetric),
        ),
        (
            headed(json!({"jwk": key.public_with(json!({"p": "AAAA"}))})),
            ProofError::Key(KeyFault::Private),
        ),
        (
            headed(json!({"jwk": key.public_with(json!({"x": null}))})),
            ProofError::Key(KeyFault::Member("x")),
        ),
        (
            headed(json!({"jwk": key.public_with(json!({"y": 1}))})),
            ProofError::Key(KeyFault::Member("y")),
        ),
        (
            headed(json!({"jwk": key.public_with(json!({"crv": null}))})),
            ProofError::Key(KeyFault::Member("crv")),
        ),
        (
            headed(json!({"jwk": key.public_with(json!({"x": key.public()["y"]}))})),
            ProofError::Key(KeyFault::NotOnCurve),
        ),
        (
            headed(json!({"jwk": key.public_with(json!({"use": "enc"}))})),
            ProofError::KeyMisfit,
        ),
        (
            headed(json!({"jwk": key.public_with(json!({"alg": "ES384"}))})),
            ProofError::KeyMisfit,
        ),
        (headed(json!({"jwk": other.public()})), ProofError::BadSignature),
    ] {
        assert_eq!(verify(&proof).unwrap_err(), reason, "{proof}");
    }
    let twice = format!(
        r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{0},"jwk":{0}}}"#,
        key.public()
    );
    assert_eq!(
        verify(&key.sign_text(&twice, &claims().to_string())),
        Err(ProofError::Malformed)
    );
}

#[test]
fn claims_that_are_missing_or_wrong_are_named() {
    let id = |chars: usize| "ü".repeat(chars);
    for (more, reason) in [
        (json!({"jti": null}), ProofError::Claim("jti")),
        (json!({"jti": 1}), ProofError::Claim("jti")),
        (json!({"jti": ""}), ProofError::IdLength),
        (json!({"jti": id(257)}), ProofError::IdLength),
        (json!({"htm": null}), ProofError::Claim("htm")),
        (json!({"htm": ["POST"]}), ProofError::Claim("htm")),
        (json!({"htm": "GET"}), ProofError::Method),
        (json!({"htm": "post"}), ProofError::Method),
        (json!({"htu": null}), ProofError::Claim("htu")),
        (json!({"htu": {}}), ProofError::Claim("htu")),
        (json!({"htu": "https://server.example/userinfo"}), ProofError::Uri),
        (json!({"htu": "https://evil.example/oauth2/token"}), ProofError::Uri),
        (json!({"htu": "/oauth2/token"}), ProofError::Uri),
        (json!({"iat": null}), ProofError::Claim("iat")),
        (json!({"iat": NOW.to_string()}), ProofError::Claim("iat")),
        (json!({"iat": NOW - 301}), ProofError::TooOld),
        (json!({"iat": NOW - 3600}), ProofError::TooOld),
        (json!({"iat": NOW + 301}), ProofError::FromTheFuture),
        (json!({"iat": NOW + 3600}), ProofError::FromTheFuture),
        (json!({"iat": i64::MIN}), ProofError::TooOld),
        (json!({"iat": u64::MAX}), ProofError::FromTheFuture),
        (json!({"iat": 1e300}), ProofError::FromTheFuture),
        (json!({"nonce": 1}), ProofError::Claim("nonce")),
        (json!({"nonce": ""}), ProofError::IdLength),
        (json!({"nonce": id(257)}), ProofError::IdLength),
    ] {
        assert_eq!(verify(&changed(more.clone())).unwrap_err(), reason, "{more}");
    }
    let key = es256();
    for payload in ["[]", "", "{", r#"{"jti":"a","jti":"a"}"#] {
        let proof = key.sign_text(&with(&header(&key), json!({"alg": "ES256"})).to_string(), payload);
        assert_eq!(verify(&proof), Err(ProofError::Malformed), "{payload}");
    }
}

#[test]
fn what_may_differ_is_accepted() {
    for more in [
        json!({"iat": NOW - 10}),
        json!({"iat": NOW + 10}),
        json!({"iat": NOW - 300}),
        json!({"iat": NOW + 300}),
        json!({"iat": 1_799_999_990.75}),
        json!({"htu": "https://server.example/oauth2/token?a=b#c"}),
        json!({"htu": "HTTPS://SERVER.EXAMPLE:443/oauth2/token"}),
        json!({"htu": "https://mtls.server.example/oauth2/token"}),
        json!({"jti": "j".repeat(256), "nonce": "n".repeat(256)}),
        json!({"ath": "of-no-interest-here", "extra": {"a": [1]}}),
    ] {
        assert!(verify(&changed(more.clone())).is_ok(), "{more}");
    }
    let verified = verify(&changed(json!({"nonce": "n", "iat": NOW - 5}))).unwrap();
    assert_eq!((verified.nonce.as_deref(), verified.iat), (Some("n"), NOW - 5));
    let key = es256();
    let jwk = key.public_with(json!({"use": "sig", "alg": "ES256", "kid": "a", "key_ops": ["verify"], "ext": true}));
    let rich = verify(&key.sign(with(&header(&key), json!({"jwk": jwk})), &claims())).unwrap();
    let plain = verify(&key.sign(header(&key), &claims())).unwrap();
    assert_eq!(
        rich.jkt, plain.jkt,
        "the thumbprint is of the key, not of what is said about it"
    );
}

#[test]
fn a_token_wants_its_hash_and_its_key() {
    let key = es256();
    let uris = uris();
    let expected = ExpectedProof {
        method: "POST",
        uris: &uris,
        now: NOW,
        window_seconds: 300,
        access_token: Some(TOKEN),
        jkt: None,
    };
    let ath = URL_SAFE_NO_PAD.encode(Sha256::digest(TOKEN));
    let proof = |more: Value| key.sign(header(&key), &with(&claims(), more));
    let bound = verify_dpop_proof(&proof(json!({"ath": ath})), &expected).unwrap();
    for (more, reason) in [
        (json!({}), ProofError::Claim("ath")),
        (json!({"ath": 1}), ProofError::Claim("ath")),
        (json!({"ath": TOKEN}), ProofError::AccessTokenHash),
        (json!({"ath": format!("{ath}=")}), ProofError::AccessTokenHash),
    ] {
        assert_eq!(
            verify_dpop_proof(&proof(more.clone()), &expected),
            Err(reason),
            "{more}"
        );
    }
    let with_key = |jkt: &str, key: &TestKey| {
        let proof = key.sign(header(key), &with(&claims(), json!({"ath": ath})));
        verify_dpop_proof(
            &proof,
            &ExpectedProof {
                jkt: Some(jkt),
                ..expected
            },
        )
    };
    assert!(with_key(&bound.jkt, &key).is_ok());
    assert_eq!(with_key(&bound.jkt, &es256()), Err(ProofError::OtherKey));
    assert_eq!(with_key("", &key), Err(ProofError::OtherKey));
}

#[test]
fn a_changed_proof_does_not_hold() {
    let proof = changed(json!({}));
    let (signed, signature) = proof.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let payload = URL_SAFE_NO_PAD.encode(with(&claims(), json!({"jti": "b"})).to_string());
    for (forged, reason) in [
        (format!("{header}.{payload}.{signature}"), ProofError::BadSignature),
        (format!("{signed}."), ProofError::BadSignature),
        (format!("{signed}.{}", &signature[..80]), ProofError::BadSignature),
        (signed.to_owned(), ProofError::Malformed),
        (format!("{proof}, {proof}"), ProofError::Malformed),
        (format!("{proof}."), ProofError::Malformed),
        (format!("{proof}{}", "A".repeat(MAX_BYTES)), ProofError::TooLong),
        (String::new(), ProofError::Malformed),
    ] {
        assert_eq!(verify(&forged), Err(reason), "{forged}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}|[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,30}") {
        prop_assert!(verify(&text).is_err());
    }

    #[test]
    fn no_header_or_claims_panic(
        typ in "dpop\\+jwt|[a-z]{0,4}",
        kty in "EC|RSA|OKP|oct",
        crv in "P-256|P-384|P-521|Ed25519|X25519",
        x in "[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{0,90}",
        y in "[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{0,90}",
        alg in "ES256|ES384|ES512|PS256|EdDSA|none",
        iat in any::<f64>(),
    ) {
        let header = json!({"typ": typ, "alg": alg, "jwk": {"kty": kty, "crv": crv, "x": x, "y": y, "n": x, "e": y}});
        let claims = with(&claims(), json!({"iat": iat}));
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let proof = format!("{}.{}.{x}", encode(&header), encode(&claims));
        prop_assert!(verify(&proof).is_err());
    }
}
