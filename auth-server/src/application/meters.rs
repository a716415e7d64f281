//! What the provider counts for `/metrics`: fixed names, fixed labels.

use oauth_wire::GrantType;
use service_kit::telemetry::Counters;

/// Counters that are registered once, since every token goes by them.
#[derive(Debug)]
pub struct Meters {
    tokens: Counters,
}

impl Meters {
    #[expect(clippy::new_without_default, reason = "it registers names with the process")]
    pub fn new() -> Self {
        let grants: Vec<&'static str> = GrantType::ALL.iter().map(|grant| grant.as_str()).collect();
        Self {
            tokens: Counters::new(
                "tokens_issued_total",
                "Token responses, by grant type",
                "grant_type",
                &grants,
            ),
        }
    }

    pub fn tokens_issued(&self, grant: GrantType) {
        self.tokens.count(grant.as_str());
    }
}

/// An OAuth error, whoever was told: a client in JSON or by redirect, or a person on a page. `code` is one of the specifications' codes.
pub fn count_error(code: &'static str) {
    metrics::counter!("oauth_errors_total", "error" => code).increment(1);
}

/// An authorization response with a code.
pub fn count_code() {
    metrics::counter!("authorization_codes_total").increment(1);
}

/// An attempt to sign in with a password. `outcome` is a fixed word.
pub fn count_sign_in(outcome: &'static str) {
    metrics::counter!("sign_ins_total", "outcome" => outcome).increment(1);
}
