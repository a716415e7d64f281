use oauth_wire::ClientAuthMethod;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{application::policy::tests::policy, domain::client_auth::tests::client};

const NOW: Timestamp = Timestamp::from_seconds(1_900_000_000);

fn good() -> Value {
    json!({"iss": "c", "sub": "c", "aud": "https://op.example", "jti": "j", "exp": NOW.as_seconds() + 60})
}

fn judged(claims: Value) -> Result<SingleUseId, &'static str> {
    let Value::Object(claims) = claims else { return Err("") };
    let jwt = ForeignJwt {
        alg: "ES256",
        kid: None,
        typ: None,
        claims,
    };
    check(&jwt, &client(ClientAuthMethod::PrivateKeyJwt), &policy(), NOW)
}

#[test]
fn what_is_to_be_spent_names_the_client_and_outlives_the_assertion() {
    let spent = judged(good()).unwrap();
    assert_eq!(spent.namespace, SingleUseKind::ClientAssertion);
    assert_eq!(spent.id, "c j");
    assert_eq!(spent.expires_at, Timestamp::from_seconds(NOW.as_seconds() + 70));
}

#[test]
fn a_fraction_of_a_second_is_no_matter() {
    let mut claims = good();
    claims["exp"] = json!(1_900_000_060.9);
    assert_eq!(
        judged(claims).unwrap().expires_at,
        Timestamp::from_seconds(1_900_000_070)
    );
}

proptest! {
    /// Whatever stands in one of the claims, it is judged, and only the right text passes for one that must be a certain text.
    #[test]
    fn no_claim_panics(
        name in "iss|sub|aud|jti|exp|nbf|iat",
        value in prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,300}".prop_map(Value::from),
            proptest::collection::vec("\\PC{0,9}", 0..3).prop_map(Value::from),
        ],
    ) {
        let mut claims = good();
        claims[&name] = value.clone();
        let judged = judged(claims);
        if ["iss", "sub"].contains(&name.as_str()) {
            prop_assert_eq!(judged.is_ok(), value == "c");
        } else if name == "aud" {
            prop_assert_eq!(judged.is_ok(), value == "https://op.example");
        }
    }
}
