//! Bound tokens: DPoP (RFC 9449 §7) and client certificates (RFC 8705 §3).

use oauth_wire::SigningAlg;
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::PKey,
    x509::{X509, X509NameBuilder},
};
use serde_json::{Value, json};
use service_kit::Network;
use test_kit::{TestKey, token_hash, with};

use crate::{
    running::{Answer, Running, chat},
    stub_issuer::{AUDIENCE, StubIssuer, now},
};

const PATH: &str = "/v1/chat/completions";

fn claims(token: &str, jti: &str) -> Value {
    json!({"jti": jti, "htm": "POST", "htu": format!("{AUDIENCE}{PATH}"), "iat": now(), "ath": token_hash(token)})
}

async fn call(world: &Running, scheme: &str, token: &str, proofs: &[&str]) -> Answer {
    let mut request = world
        .http
        .post(format!("{}{PATH}", world.url))
        .header("authorization", format!("{scheme} {token}"));
    for proof in proofs {
        request = request.header("dpop", *proof);
    }
    Answer::read(request.json(&chat("echo")).send().await.unwrap()).await
}

#[track_caller]
fn is_challenged(answer: &Answer, scheme: &str, code: &str) {
    answer.error(401);
    let challenges: Vec<&str> = answer
        .headers
        .get_all("www-authenticate")
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert_eq!(challenges.len(), 2, "{challenges:?}");
    let first = challenges.first().unwrap();
    assert!(first.starts_with(scheme), "{challenges:?}");
    assert!(first.contains(&format!("error=\"{code}\"")), "{challenges:?}");
}

#[tokio::test]
async fn a_bound_token_needs_a_proof_of_its_key_for_this_very_call() {
    let world = Running::start().await;
    let key = TestKey::new(SigningAlg::Es256);
    let token = world.issuer.token(&json!({"cnf": {"jkt": key.thumbprint()}}));
    let good = key.proof(&claims(&token, "1"));
    for scheme in ["DPoP", "dpop"] {
        let proof = key.proof(&claims(&token, scheme));
        assert_eq!(call(&world, scheme, &token, &[&proof]).await.status, 200);
    }
    call(&world, "DPoP", &token, &[&good]).await.ok();
    let change = |change: Value| key.proof(&with(&claims(&token, "2"), change));
    let other = TestKey::new(SigningAlg::EdDsa).proof(&claims(&token, "2"));
    for (what, scheme, proofs, code) in [
        ("no proof", "DPoP", vec![], "invalid_dpop_proof"),
        (
            "two proofs",
            "DPoP",
            vec![good.clone(), change(json!({}))],
            "invalid_dpop_proof",
        ),
        ("garbage", "DPoP", vec!["garbage".into()], "invalid_dpop_proof"),
        ("replayed", "DPoP", vec![good.clone()], "invalid_dpop_proof"),
        ("as a bearer token", "Bearer", vec![change(json!({}))], "invalid_token"),
        ("as a bearer token without a proof", "Bearer", vec![], "invalid_token"),
        ("another key", "DPoP", vec![other], "invalid_token"),
        (
            "another token's hash",
            "DPoP",
            vec![change(json!({"ath": token_hash("x")}))],
            "invalid_token",
        ),
        (
            "no hash",
            "DPoP",
            vec![change(json!({"ath": null}))],
            "invalid_dpop_proof",
        ),
        (
            "another method",
            "DPoP",
            vec![change(json!({"htm": "GET"}))],
            "invalid_dpop_proof",
        ),
        (
            "another path",
            "DPoP",
            vec![change(json!({"htu": format!("{AUDIENCE}/v1/embeddings")}))],
            "invalid_dpop_proof",
        ),
        (
            "the address behind the proxy",
            "DPoP",
            vec![change(json!({"htu": format!("{}{PATH}", world.url)}))],
            "invalid_dpop_proof",
        ),
        (
            "an hour old",
            "DPoP",
            vec![change(json!({"iat": now() - 3600}))],
            "invalid_dpop_proof",
        ),
        (
            "from the future",
            "DPoP",
            vec![change(json!({"iat": now() + 3600}))],
            "invalid_dpop_proof",
        ),
    ] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let answer = call(&world, scheme, &token, &proofs).await;
        assert_eq!(answer.status, 401, "{what}");
        is_challenged(&answer, "DPoP", code);
    }
}

#[tokio::test]
async fn tokens_that_are_not_bound_and_bindings_that_are_not_known() {
    let world = Running::start().await;
    let key = TestKey::new(SigningAlg::Es256);
    let plain = world.token();
    let proof = key.proof(&claims(&plain, "1"));
    // RFC 9449 §7.2: the scheme says what kind of token it is.
    is_challenged(
        &call(&world, "DPoP", &plain, &[&proof]).await,
        "Bearer",
        "invalid_token",
    );
    // Somebody who always sends a proof does no harm with a bearer token.
    assert_eq!(call(&world, "Bearer", &plain, &[&proof]).await.status, 200);
    for cnf in [
        json!({}),
        json!({"jwk": {}}),
        json!("x"),
        json!({"kid": "x"}),
        json!({"jkt": 1}),
        Value::Null,
    ] {
        let token = world.issuer.sign("at+jwt", &{
            let mut claims = world.issuer.claims();
            claims["cnf"] = cnf.clone();
            claims
        });
        is_challenged(&call(&world, "Bearer", &token, &[]).await, "Bearer", "invalid_token");
    }
}

#[tokio::test]
async fn nonces_are_asked_for_where_the_operator_wants_them() {
    let world = Running::start_with(StubIssuer::start().await, |config| config.dpop.require_nonce = true).await;
    let key = TestKey::new(SigningAlg::Es256);
    let token = world.issuer.token(&json!({"cnf": {"jkt": key.thumbprint()}}));
    let challenged = call(&world, "DPoP", &token, &[&key.proof(&claims(&token, "1"))]).await;
    is_challenged(&challenged, "DPoP", "use_dpop_nonce");
    let nonce = challenged.header("dpop-nonce");
    let proof = key.proof(&with(&claims(&token, "2"), json!({"nonce": nonce})));
    call(&world, "DPoP", &token, &[&proof]).await.ok();
    let made_up = key.proof(&with(&claims(&token, "3"), json!({"nonce": "made up"})));
    is_challenged(
        &call(&world, "DPoP", &token, &[&made_up]).await,
        "DPoP",
        "use_dpop_nonce",
    );
}

/// A self-signed certificate in PEM, percent-encoded as nginx does it, and its thumbprint.
fn certificate() -> (String, String) {
    let key = PKey::from_ec_key(EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap());
    let key = key.unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "caller").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder
        .set_serial_number(&BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    let pem = String::from_utf8(certificate.to_pem().unwrap()).unwrap();
    let encoded: String = url::form_urlencoded::byte_serialize(pem.as_bytes())
        .collect::<String>()
        .replace('+', "%20");
    let der = certificate.to_der().unwrap();
    (
        encoded,
        base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            openssl::sha::sha256(&der),
        ),
    )
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_certificate_needs_that_certificate_from_a_trusted_proxy() {
    let trusting = Running::start_with(StubIssuer::start().await, |config| {
        config.mtls.proxy_header = Some("x-client-cert".into());
        config.mtls.trusted_proxies = vec!["127.0.0.1/32".parse::<Network>().unwrap()];
    })
    .await;
    let (pem, thumbprint) = certificate();
    let (other, _) = certificate();
    let bound = json!({"cnf": {"x5t#S256": thumbprint}});
    let call = async |world: &Running, scheme: &str, certificate: Option<&str>| {
        let mut request = world
            .http
            .post(format!("{}{PATH}", world.url))
            .header("authorization", format!("{scheme} {}", world.issuer.token(&bound)));
        if let Some(pem) = certificate {
            request = request.header("x-client-cert", pem);
        }
        Answer::read(request.json(&chat("echo")).send().await.unwrap()).await
    };
    call(&trusting, "Bearer", Some(&pem)).await.ok();
    is_challenged(
        &call(&trusting, "Bearer", Some(&other)).await,
        "Bearer",
        "invalid_token",
    );
    is_challenged(&call(&trusting, "Bearer", None).await, "Bearer", "invalid_token");
    is_challenged(&call(&trusting, "DPoP", Some(&pem)).await, "Bearer", "invalid_token");
    // Who trusts nobody believes no header.
    let wary = Running::start().await;
    is_challenged(&call(&wary, "Bearer", Some(&pem)).await, "Bearer", "invalid_token");
    let document = trusting.get("/.well-known/oauth-protected-resource", "").await.ok();
    assert_eq!(document["tls_client_certificate_bound_access_tokens"], true);
    let document = wary.get("/.well-known/oauth-protected-resource", "").await.ok();
    assert_eq!(document["tls_client_certificate_bound_access_tokens"], false);
    assert!(
        document["dpop_signing_alg_values_supported"]
            .as_array()
            .unwrap()
            .contains(&json!("ES256"))
    );
}
