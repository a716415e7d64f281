//! Lifetimes and audiences of tokens.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

use crate::{application::policy::Lifetimes, domain::resource::ResourcePattern};

/// Lifetimes are in seconds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokensConfig {
    /// `aud` of tokens with an `ai:` scope: the gateway's `auth.audience`.
    pub gateway_audience: String,
    /// Identifiers of further resource servers, for which clients may ask by `resource` (RFC 8707): https URIs, or http on loopback. One that
    /// ends in `/*` stands for every identifier below its path. The provider itself and the gateway need not be listed.
    pub resources: Vec<String>,
    /// Authorization codes, 1 to 60 (FAPI 2.0 §5.3.2.1).
    pub code_ttl_s: u64,
    /// References to pushed authorization requests, 1 to 90. Who follows one in time may take longer to sign in.
    pub par_ttl_s: u64,
    /// Access tokens of clients that set no lifetime of their own.
    pub access_token_ttl_s: u64,
    /// Longest lifetime that a client may have for its access tokens. Revocations are remembered for as long.
    pub max_access_token_ttl_s: u64,
    /// ID tokens.
    pub id_token_ttl_s: u64,
    /// A refresh token that is not used for this long ends.
    pub refresh_idle_s: u64,
    /// Refresh tokens end after this long, used or not.
    pub refresh_absolute_s: u64,
    /// How long after a refresh the same client may ask for its lost reply again; 0 turns that off.
    pub lost_reply_window_s: u64,
    /// A browser session ends this long after the sign-in.
    pub session_ttl_s: u64,
}

const DAY: u64 = 24 * 60 * 60;

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            gateway_audience: "http://127.0.0.1:9100".into(),
            resources: Vec::new(),
            code_ttl_s: 60,
            par_ttl_s: 60,
            access_token_ttl_s: 600,
            max_access_token_ttl_s: 3600,
            id_token_ttl_s: 600,
            refresh_idle_s: 30 * DAY,
            refresh_absolute_s: 90 * DAY,
            lost_reply_window_s: 10,
            session_ttl_s: 12 * 60 * 60,
        }
    }
}

impl TokensConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        let mut between = |name: &str, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                problems.push(Problem::new(
                    format!("tokens.{name}"),
                    format!("must be {low} to {high} seconds"),
                ));
            }
        };
        between("code_ttl_s", self.code_ttl_s, 1, 60);
        between("par_ttl_s", self.par_ttl_s, 1, 90);
        between("max_access_token_ttl_s", self.max_access_token_ttl_s, 1, DAY);
        between(
            "access_token_ttl_s",
            self.access_token_ttl_s,
            1,
            self.max_access_token_ttl_s,
        );
        between("id_token_ttl_s", self.id_token_ttl_s, 1, DAY);
        between("refresh_absolute_s", self.refresh_absolute_s, 1, 3650 * DAY);
        between("refresh_idle_s", self.refresh_idle_s, 1, self.refresh_absolute_s);
        between("lost_reply_window_s", self.lost_reply_window_s, 0, 60);
        between("session_ttl_s", self.session_ttl_s, 60, 365 * DAY);
        for (at, text) in self.resources.iter().enumerate() {
            if let Err(error) = ResourcePattern::parse(text) {
                problems.push(Problem::new(format!("tokens.resources[{at}]"), error.to_string()));
            }
        }
        if self.gateway_audience.is_empty() {
            problems.push(Problem::new("tokens.gateway_audience", "must not be empty"));
        }
    }

    /// The resource servers that are listed; what cannot be read has been reported by then.
    pub fn resource_patterns(&self) -> Vec<ResourcePattern> {
        let read = self.resources.iter().map(|text| ResourcePattern::parse(text));
        read.filter_map(Result::ok).collect()
    }

    /// The same as durations.
    pub fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            code: Duration::from_secs(self.code_ttl_s),
            pushed_request: Duration::from_secs(self.par_ttl_s),
            access_token: Duration::from_secs(self.access_token_ttl_s),
            max_access_token: Duration::from_secs(self.max_access_token_ttl_s),
            id_token: Duration::from_secs(self.id_token_ttl_s),
            refresh_idle: Duration::from_secs(self.refresh_idle_s),
            refresh_absolute: Duration::from_secs(self.refresh_absolute_s),
            lost_reply_window: Duration::from_secs(self.lost_reply_window_s),
            session: Duration::from_secs(self.session_ttl_s),
        }
    }
}
