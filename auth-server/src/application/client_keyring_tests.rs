use oauth_wire::ClientAuthMethod;
use serde_json::json;
use test_kit::TestKey;

use super::*;
use crate::domain::client_auth::tests::client;

fn with_keys(method: ClientAuthMethod, keys: &Value) -> Client {
    let mut client = client(method);
    client.protocol.jwks = json!({ "keys": keys }).as_object().cloned();
    client
}

fn faults(method: ClientAuthMethod, keys: &Value) -> Vec<String> {
    let found = registration_faults(&with_keys(method, keys));
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn a_key_set_without_a_key_for_the_method_is_a_fault() {
    use ClientAuthMethod::{ClientSecretBasic, PrivateKeyJwt, SelfSignedTlsClientAuth};
    let key = TestKey::new(SigningAlg::Es256);
    let own = json!([key.public()]);
    let for_encryption = json!([key.public_with(json!({"use": "enc"}))]);
    for method in [PrivateKeyJwt, SelfSignedTlsClientAuth, ClientSecretBasic] {
        assert_eq!(faults(method, &own), [""; 0], "{}", method.as_str());
    }
    assert_eq!(faults(PrivateKeyJwt, &json!([])).len(), 1);
    assert_eq!(faults(PrivateKeyJwt, &for_encryption).len(), 1);
    assert_eq!(faults(SelfSignedTlsClientAuth, &json!([])).len(), 1);
    assert_eq!(faults(ClientSecretBasic, &json!([])), [""; 0]);
    let mut pinned = with_keys(PrivateKeyJwt, &own);
    pinned.protocol.token_endpoint_auth_signing_alg = Some("PS256".into());
    assert_eq!(registration_faults(&pinned).len(), 1);
}

#[test]
fn a_key_that_was_given_away_is_a_fault_and_an_unknown_one_is_not() {
    let key = TestKey::new(SigningAlg::Es256);
    let private = Value::Object(key.private());
    let found = faults(ClientAuthMethod::PrivateKeyJwt, &json!([key.public(), private]));
    assert!(matches!(found.as_slice(), [one] if one.starts_with("jwks: keys[1]")), "{found:?}");
    assert!(!found.concat().contains(key.private()["d"].as_str().unwrap()));
    let secret = json!({"kty": "oct", "k": "c2VjcmV0"});
    assert_eq!(faults(ClientAuthMethod::PrivateKeyJwt, &json!([key.public(), secret])).len(), 1);
    let unknown = json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"});
    assert_eq!(faults(ClientAuthMethod::PrivateKeyJwt, &json!([key.public(), unknown])), [""; 0]);
}
