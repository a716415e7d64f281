//! Settings of DPoP, the same for both services.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Problem;

/// DPoP (RFC 9449). Who sends a proof is bound to its key whatever these settings say.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DpopConfig {
    /// Whether proofs must hold a nonce that this service handed out: proofs made ahead of time are worth nothing then, at the price of
    /// one more round trip now and then.
    pub require_nonce: bool,
    /// Seconds by which a proof's `iat` may differ from our clock.
    pub window_s: u32,
    /// Seconds for which a nonce is handed out; it is good for as long again.
    pub nonce_s: u32,
}

impl Default for DpopConfig {
    fn default() -> Self {
        Self {
            require_nonce: false,
            window_s: 60,
            nonce_s: 300,
        }
    }
}

impl DpopConfig {
    pub fn problems(&self, problems: &mut Vec<Problem>) {
        if !(5..=600).contains(&self.window_s) {
            problems.push(Problem::new("dpop.window_s", "must be 5 to 600 seconds"));
        }
        if !(10..=86_400).contains(&self.nonce_s) {
            problems.push(Problem::new("dpop.nonce_s", "must be 10 to 86400 seconds"));
        }
    }

    /// How long a nonce is handed out.
    pub fn nonce_lifetime(&self) -> Duration {
        Duration::from_secs(self.nonce_s.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_at_their_edges() {
        let faults = |window_s, nonce_s| {
            let mut problems = Vec::new();
            DpopConfig {
                window_s,
                nonce_s,
                ..DpopConfig::default()
            }
            .problems(&mut problems);
            problems.len()
        };
        assert_eq!(faults(5, 10) + faults(600, 86_400), 0);
        assert_eq!(
            [faults(4, 10), faults(601, 10), faults(5, 9), faults(5, 86_401)],
            [1; 4]
        );
    }
}
