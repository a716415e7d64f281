//! Rich authorization requests (RFC 9396).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Longest `authorization_details` that is read, in bytes.
const MAX_BYTES: usize = 8 * 1024;
/// Most members of the array.
const MAX_DETAILS: usize = 16;
/// Most interfaces, in all members together: a person has to read them.
const MAX_INTERFACES: usize = 64;
/// Longest name of an interface.
const MAX_NAME: usize = 128;
/// 9999-12-31T23:59:59Z: what comes later has no date that people could be shown.
const END_OF_TIME: i64 = 253_402_300_799;

/// `authorization_details`: everything that was asked for or granted, in the order of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuthorizationDetails(pub Vec<AuthorizationDetail>);

/// One member, told apart by `type`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AuthorizationDetail {
    AiCall(AiCall),
}

/// Calls of AI interfaces, within limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AiCall {
    /// Names of the gateway's interfaces that may be called.
    pub interfaces: BTreeSet<String>,
    /// What all calls together may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Cost>,
    /// Seconds since the epoch, from which on nothing may be called any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Decimal, such as `5.00`.
    pub amount: String,
    /// ISO 4217.
    pub currency: String,
}

/// Why `authorization_details` is refused (RFC 9396 §5), in words for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DetailsFault(pub &'static str);

impl AuthorizationDetails {
    /// Every `type` that is known.
    pub const TYPES: [&'static str; 1] = ["ai_call"];

    /// Reads the parameter: a JSON array of known types with known members and sound values, and not too much of it. Whether
    /// times have passed depends on the clock; see [`AiCall::has_ended`].
    ///
    /// ```
    /// use oauth_wire::AuthorizationDetails;
    /// let text = r#"[{"type": "ai_call", "interfaces": ["chat"], "max_cost": {"amount": "5.00", "currency": "EUR"}}]"#;
    /// assert_eq!(AuthorizationDetails::parse(text)?.0.len(), 1);
    /// # Ok::<(), oauth_wire::DetailsFault>(())
    /// ```
    ///
    /// # Errors
    /// [`DetailsFault`].
    pub fn parse(text: &str) -> Result<Self, DetailsFault> {
        let refuse = |reason| Err(DetailsFault(reason));
        if text.len() > MAX_BYTES {
            return refuse("authorization_details has more than 8192 bytes");
        }
        // Unknown types and unknown members are refused by serde (RFC 9396 §5), members that come twice as well.
        let Ok(details) = serde_json::from_str::<Self>(text) else {
            return refuse(
                "authorization_details must be a JSON array of objects of type ai_call with interfaces and, if wanted, max_cost and expires_at",
            );
        };
        if details.is_empty() {
            return refuse("authorization_details is empty");
        }
        if details.0.len() > MAX_DETAILS {
            return refuse("authorization_details has more than 16 members");
        }
        if details.calls().map(|call| call.interfaces.len()).sum::<usize>() > MAX_INTERFACES {
            return refuse("authorization_details names more than 64 interfaces");
        }
        details.calls().try_for_each(AiCall::check)?;
        Ok(details)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members of type `ai_call`.
    pub fn calls(&self) -> impl Iterator<Item = &AiCall> {
        self.0.iter().map(|AuthorizationDetail::AiCall(call)| call)
    }
}

impl FromIterator<AiCall> for AuthorizationDetails {
    fn from_iter<I: IntoIterator<Item = AiCall>>(calls: I) -> Self {
        Self(calls.into_iter().map(AuthorizationDetail::AiCall).collect())
    }
}

impl AuthorizationDetail {
    /// `type`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::AiCall(_) => "ai_call",
        }
    }
}

impl AiCall {
    /// Whether the time of these calls is over.
    pub fn has_ended(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    fn check(&self) -> Result<(), DetailsFault> {
        let refuse = |reason| Err(DetailsFault(reason));
        if self.interfaces.is_empty() {
            return refuse("interfaces of an ai_call is empty");
        }
        // Names that look alike and are not, or that cannot be seen, must not get past a person.
        let is_name =
            |name: &String| (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        if !self.interfaces.iter().all(is_name) {
            return refuse("an interface of an ai_call must have 1 to 128 visible ASCII characters");
        }
        if let Some(cost) = &self.max_cost {
            if cost.micros().is_none_or(|micros| micros == 0) {
                return refuse("amount must be a positive decimal with up to 12 digits before and 6 after the point");
            }
            if cost.currency.len() != 3 || !cost.currency.bytes().all(|b| b.is_ascii_uppercase()) {
                return refuse("currency must be three capital letters (ISO 4217)");
            }
        }
        match self.expires_at.is_some_and(|end| end > END_OF_TIME) {
            true => refuse("expires_at is too far in the future"),
            false => Ok(()),
        }
    }
}

impl Cost {
    /// The amount in millionths; `None` when it is not a plain decimal: digits, then at most one point and up to 6 digits.
    pub fn micros(&self) -> Option<u64> {
        let (whole, fraction) = match self.amount.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (self.amount.as_str(), ""),
        };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let leads_with_zero = whole.len() > 1 && whole.starts_with('0');
        if !(1..=12).contains(&whole.len())
            || leads_with_zero
            || fraction.len() > 6
            || !digits(whole)
            || !digits(fraction)
        {
            return None;
        }
        let whole: u64 = whole.parse().ok()?;
        let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
        whole.checked_mul(1_000_000)?.checked_add(fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn call(changes: &Value) -> Value {
        let mut call = json!({"type": "ai_call", "interfaces": ["chat"]});
        for (name, value) in changes.as_object().unwrap() {
            call[name] = value.clone();
        }
        call
    }

    fn cost(amount: &str, currency: &str) -> Value {
        json!({"max_cost": {"amount": amount, "currency": currency}})
    }

    fn is_read(details: &Value) -> bool {
        AuthorizationDetails::parse(&details.to_string()).is_ok()
    }

    #[test]
    fn sound_details_are_read_and_written_as_they_were() {
        for details in [
            json!([call(&json!({}))]),
            json!([call(&cost("5.00", "EUR")), call(&json!({"expires_at": 1}))]),
            json!([call(&cost("0.000001", "CNY"))]),
            json!([call(&cost("999999999999", "JPY"))]),
            json!([call(&json!({"expires_at": END_OF_TIME}))]),
            json!([call(&json!({"interfaces": ["x".repeat(128)]}))]),
        ] {
            let read = AuthorizationDetails::parse(&details.to_string()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), details);
        }
    }

    #[test]
    fn what_is_not_sound_is_refused() {
        for call in [
            json!({"interfaces": []}),
            json!({"interfaces": [""]}),
            json!({"interfaces": [1]}),
            json!({"interfaces": "chat"}),
            json!({"interfaces": null}),
            json!({"interfaces": ["x".repeat(129)]}),
            json!({"interfaces": ["ch\u{430}t"]}),
            json!({"interfaces": ["a b"]}),
            json!({"type": "payment"}),
            json!({"type": 1}),
            json!({"locations": ["https://x.example"]}),
            json!({"expires_at": "tomorrow"}),
            json!({"expires_at": 1.5}),
            json!({"expires_at": END_OF_TIME + 1}),
            json!({"max_cost": "5 EUR"}),
            json!({"max_cost": {"amount": "5"}}),
            json!({"max_cost": {"amount": "5", "currency": "EUR", "tax": "1"}}),
            json!({"max_cost": {"amount": 5, "currency": "EUR"}}),
        ]
        .iter()
        .chain(
            [
                "0",
                "0.00",
                "-1",
                "+1",
                "1e3",
                ".5",
                "5.",
                "1,5",
                "05",
                "1.0000001",
                "1000000000000",
                "",
                " 1",
                "٣",
            ]
            .map(|a| cost(a, "EUR"))
            .iter(),
        )
        .chain(
            ["eur", "EU", "EURO", "E1R", ""]
                .map(|currency| cost("1", currency))
                .iter(),
        ) {
            assert!(!is_read(&json!([self::call(call)])), "{call}");
        }
    }

    #[test]
    fn only_a_short_array_of_objects_is_read() {
        let many = |count: usize| Value::Array(vec![call(&json!({})); count]);
        assert!(is_read(&many(16)) && !is_read(&many(17)) && !is_read(&many(0)));
        let names = |count: usize| (0..count).map(|n| format!("i{n}")).collect::<Vec<_>>();
        assert!(is_read(&json!([call(&json!({"interfaces": names(64)}))])));
        assert!(!is_read(&json!([call(&json!({"interfaces": names(65)}))])));
        let twice = json!([
            call(&json!({"interfaces": names(33)})),
            call(&json!({"interfaces": names(32)}))
        ]);
        assert!(!is_read(&twice));
        for text in [
            "",
            "null",
            "{}",
            "[null]",
            "[[]]",
            "[\"ai_call\"]",
            r#"{"type":"ai_call","interfaces":["chat"]}"#,
            r#"[{"interfaces":["chat"]}]"#,
            r#"[{"type":"ai_call","interfaces":["chat"]}] x"#,
            r#"[{"type":"ai_call","interfaces":["chat"],"interfaces":["embed"]}]"#,
        ] {
            assert!(AuthorizationDetails::parse(text).is_err(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(4000), "]".repeat(4000));
        assert!(AuthorizationDetails::parse(&deep).is_err());
        let padded = format!("{}[{}]", " ".repeat(MAX_BYTES), call(&json!({})));
        assert!(AuthorizationDetails::parse(&padded).is_err());
    }

    #[test]
    fn amounts_are_compared_by_value() {
        let micros = |amount: &str| {
            Cost {
                amount: amount.into(),
                currency: "EUR".into(),
            }
            .micros()
        };
        assert_eq!(micros("5"), micros("5.000000"));
        assert_eq!(micros("0.10"), Some(100_000));
        assert!(micros("4.999999") < micros("5"));
    }

    #[test]
    fn the_end_is_the_first_second_in_which_nothing_goes() {
        let call = AiCall {
            interfaces: BTreeSet::new(),
            max_cost: None,
            expires_at: Some(10),
        };
        assert!(!call.has_ended(9) && call.has_ended(10));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}|[\\[\\]{}\":,a-z_0-9. ]{0,80}") {
            let _ = AuthorizationDetails::parse(&text);
        }

        #[test]
        fn no_amount_panics(amount in "\\PC{0,30}|[0-9.]{0,30}") {
            let _ = Cost { amount, currency: "EUR".into() }.micros();
        }

        #[test]
        fn what_was_read_is_read_again(names in proptest::collection::btree_set("[!-~]{1,20}", 1..8), whole in 1u64..1_000_000, end in proptest::option::of(1i64..END_OF_TIME)) {
            let call = AiCall { interfaces: names, max_cost: Some(Cost { amount: whole.to_string(), currency: "EUR".into() }), expires_at: end };
            let details: AuthorizationDetails = [call].into_iter().collect();
            let text = serde_json::to_string(&details).unwrap();
            prop_assert_eq!(AuthorizationDetails::parse(&text).unwrap(), details);
        }
    }
}
