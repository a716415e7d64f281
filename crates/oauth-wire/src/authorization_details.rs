//! Rich authorization requests (RFC 9396).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// `authorization_details`: everything that was asked for or granted, in the order of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuthorizationDetails(pub Vec<AuthorizationDetail>);

impl AuthorizationDetails {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

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
