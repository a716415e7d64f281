//! Usage: one record per request in every terminal state.

use serde::{Deserialize, Serialize, Serializer};
use service_kit::Timestamp;

use super::{
    ids::{
        AccessKeyId, BudgetName, ClientId, InterfaceName, ModelName, NodeId, PriceName, RequestId, Subject, TenantId,
        VendorName,
    },
    interface::Capability,
    money::{Currency, Nanos},
    price::{Consumed, Price},
};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageState {
    /// The caller got the whole answer.
    Completed,
    /// The vendor ended early after the caller had got a part: a cut stream, an error in mid-stream, a timeout between pieces.
    Incomplete,
    /// The vendor failed before the caller got anything of an answer.
    UpstreamError,
    /// The caller left before the first byte of the answer.
    ClientGoneBeforeFirstByte,
    /// The caller left in the middle of the answer.
    ClientGoneAfterFirstByte,
    /// Refused by the gateway: nothing was sent to a vendor.
    Rejected,
}

impl UsageState {
    pub const ALL: [Self; 6] = [
        Self::Completed,
        Self::Incomplete,
        Self::UpstreamError,
        Self::ClientGoneBeforeFirstByte,
        Self::ClientGoneAfterFirstByte,
        Self::Rejected,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::UpstreamError => "upstream_error",
            Self::ClientGoneBeforeFirstByte => "client_gone_before_first_byte",
            Self::ClientGoneAfterFirstByte => "client_gone_after_first_byte",
            Self::Rejected => "rejected",
        }
    }
}

/// What one request used. Names as in the table `usage_record` and in the usage API.
///
/// Journals written by an older version lack the newer members, so each of those has a default.
///
/// A record has exactly one owner (the guard that travels with the reply's body) and is unique by `request_id`: a second one of
/// the same id is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    pub request_id: RequestId,
    /// When the request arrived.
    pub time: Timestamp,
    pub tenant: Option<TenantId>,
    pub client_id: ClientId,
    pub sub: Subject,
    pub interface: InterfaceName,
    pub capability: Capability,
    /// The vendor and model of the last attempt; none when nothing was sent.
    pub vendor: Option<VendorName>,
    pub model: Option<ModelName>,
    pub state: UsageState,
    pub stream: bool,
    #[serde(serialize_with = "column")]
    pub input_tokens: u64,
    #[serde(serialize_with = "column")]
    pub output_tokens: u64,
    /// The part of `input_tokens` that the vendor read from its cache.
    #[serde(serialize_with = "optional_column")]
    pub cached_input_tokens: Option<u64>,
    /// The part of `output_tokens` that was reasoning.
    #[serde(serialize_with = "optional_column")]
    pub reasoning_tokens: Option<u64>,
    /// Whether the token counts are the gateway's own estimate, because the vendor sent none.
    pub estimated: bool,
    /// Calls that were sent to vendors.
    pub attempts: u32,
    #[serde(serialize_with = "column")]
    pub duration_ms: u64,
    /// None when the caller got no byte of an answer.
    #[serde(serialize_with = "optional_column")]
    pub first_byte_ms: Option<u64>,
    /// Pictures that were made or looked at.
    #[serde(default, serialize_with = "column", skip_serializing_if = "is_zero")]
    pub images: u64,
    /// Milliseconds of sound that were heard or spoken.
    #[serde(default, serialize_with = "column", skip_serializing_if = "is_zero")]
    pub audio_ms: u64,
    /// Characters, where those are what is paid for.
    #[serde(default, serialize_with = "column", skip_serializing_if = "is_zero")]
    pub characters: u64,
    /// Billionths of the currency's unit; none when no price is known for the call, which is not the same as free of charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// The price by which the cost was reckoned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceName>,
    /// The key that signed the request, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<AccessKeyId>,
    /// The node that took the call: whose leases its cost comes out of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The budgets that pay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<Charge>,
}

/// A budget's period that a call's cost is charged to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// See [`Budget::key`](super::budget::Budget::key).
    pub key: String,
    /// None for the allowance of a grant.
    pub budget: Option<BudgetName>,
    /// The beginning of the period.
    pub period: Timestamp,
}

impl UsageRecord {
    /// Reckons what the call cost: the one place for calls of every kind, plain and streamed.
    pub fn reckon(&mut self, price: Option<&Price>) {
        let Some(price) = price else { return };
        self.cost = Some(self.cost_by(price).0);
        self.currency = Some(price.currency);
        self.price = Some(price.name.clone());
    }

    fn cost_by(&self, price: &Price) -> Nanos {
        // What no vendor worked on, or a vendor failed at without telling of anything that it counted, costs nothing.
        let counted = (self.input_tokens | self.output_tokens | self.images | self.audio_ms | self.characters) != 0;
        let paid = match self.state {
            UsageState::Completed | UsageState::Incomplete | UsageState::ClientGoneAfterFirstByte => true,
            UsageState::ClientGoneBeforeFirstByte => self.attempts > 0,
            UsageState::UpstreamError => counted,
            UsageState::Rejected => false,
        };
        if !paid {
            return Nanos::ZERO;
        }
        price.rates.cost(&Consumed {
            input: self.input_tokens,
            output: self.output_tokens,
            cached_input: self.cached_input_tokens.unwrap_or(0),
            reasoning: self.reasoning_tokens.unwrap_or(0),
            characters: self.characters,
            images: self.images,
            audio_ms: self.audio_ms,
            calls: 1,
        })
    }
}

/// The largest number that a BIGINT holds. A vendor that claims more is not believed, and must not make the row unstorable.
const LARGEST: u64 = i64::MAX.unsigned_abs();

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn column<S: Serializer>(count: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64((*count).min(LARGEST))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn optional_column<S: Serializer>(count: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    count.map(|count| count.min(LARGEST)).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::price::{PriceTarget, Rates, Unit};

    fn record(state: UsageState, tokens: [u64; 2], attempts: u32) -> UsageRecord {
        let record = serde_json::json!({
            "request_id": "r", "time": 1, "tenant": null, "client_id": "c", "sub": "s", "interface": "i", "capability": "chat",
            "vendor": "v", "model": "m", "state": state, "stream": false, "input_tokens": tokens[0], "output_tokens": tokens[1],
            "cached_input_tokens": null, "reasoning_tokens": null, "estimated": false, "attempts": attempts, "duration_ms": 1,
            "first_byte_ms": null
        });
        serde_json::from_value(record).unwrap()
    }

    fn price() -> Price {
        Price {
            name: PriceName::new("list"),
            target: PriceTarget::Vendor(VendorName::new("v")),
            unit: Unit::Token,
            rates: Rates {
                input_per_million: Some(Nanos::parse("1").unwrap()),
                output_per_million: Some(Nanos::parse("10").unwrap()),
                per_call: Some(Nanos::parse("0.001").unwrap()),
                ..Rates::default()
            },
            currency: Currency::parse("EUR").unwrap(),
            valid_from: Timestamp::from_seconds(0),
        }
    }

    #[test]
    fn records_of_older_versions_are_read_and_new_members_are_written_only_when_they_say_something() {
        let old = record(UsageState::Completed, [1, 2], 1);
        assert_eq!((old.cost, old.images, old.charges.len()), (None, 0, 0));
        let text = serde_json::to_string(&old).unwrap();
        assert!(
            !text.contains("cost") && !text.contains("images") && !text.contains("charges"),
            "{text}"
        );
        let mut new = old;
        new.reckon(Some(&price()));
        new.images = 1;
        new.charges.push(Charge {
            key: "b".into(),
            budget: None,
            period: Timestamp::from_seconds(0),
        });
        let text = serde_json::to_string(&new).unwrap();
        assert_eq!(serde_json::from_str::<UsageRecord>(&text).unwrap(), new);
    }

    #[test]
    fn who_pays_for_what_depends_on_how_the_call_ended() {
        for (state, tokens, attempts, wanted) in [
            (UsageState::Completed, [100, 20], 1, 1_300_000),
            // Also when nothing was counted: the call itself has its price.
            (UsageState::Completed, [0, 0], 1, 1_000_000),
            (UsageState::Incomplete, [100, 20], 1, 1_300_000),
            (UsageState::ClientGoneAfterFirstByte, [100, 1], 1, 1_110_000),
            (UsageState::ClientGoneBeforeFirstByte, [100, 0], 1, 1_100_000),
            (UsageState::ClientGoneBeforeFirstByte, [0, 0], 0, 0),
            // A vendor that failed is paid only for what it says that it counted.
            (UsageState::UpstreamError, [0, 0], 2, 0),
            (UsageState::UpstreamError, [100, 0], 1, 1_100_000),
            (UsageState::Rejected, [0, 0], 0, 0),
        ] {
            let mut record = record(state, tokens, attempts);
            record.reckon(Some(&price()));
            assert_eq!(record.cost, Some(wanted), "{state:?} {tokens:?}");
            assert_eq!(
                (record.currency, record.price),
                (Some(price().currency), Some(price().name))
            );
        }
        let mut unpriced = record(UsageState::Completed, [100, 20], 1);
        unpriced.reckon(None);
        assert_eq!((unpriced.cost, unpriced.currency), (None, None), "unknown is not free");
    }

    #[test]
    fn a_stream_costs_what_the_same_answer_costs_in_one_piece() {
        let mut plain = record(UsageState::Completed, [11, 22], 1);
        let mut streamed = UsageRecord {
            stream: true,
            first_byte_ms: Some(1),
            ..plain.clone()
        };
        plain.reckon(Some(&price()));
        streamed.reckon(Some(&price()));
        assert_eq!(plain.cost, streamed.cost);
    }

    #[test]
    fn states_are_written_as_the_contract_says() {
        for state in UsageState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
