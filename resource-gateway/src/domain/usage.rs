//! Usage: one record per request in every terminal state.

use serde::{Deserialize, Serialize, Serializer};
use service_kit::Timestamp;

use super::{
    ids::{ClientId, InterfaceName, ModelName, RequestId, Subject, TenantId, VendorName},
    interface::Capability,
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
}

/// The largest number that a BIGINT holds. A vendor that claims more is not believed, and must not make the row unstorable.
const LARGEST: u64 = i64::MAX.unsigned_abs();

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn column<S: Serializer>(count: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64((*count).min(LARGEST))
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn optional_column<S: Serializer>(count: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    count.map(|count| count.min(LARGEST)).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_written_as_the_contract_says() {
        for state in UsageState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
