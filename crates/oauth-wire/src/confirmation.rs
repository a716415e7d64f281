//! What a token is bound to (RFC 7800).

use serde::{Deserialize, Serialize};

/// The `cnf` claim: only who proves possession of this may use the token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Confirmation {
    /// RFC 7638 thumbprint of a DPoP key (RFC 9449 §6.1).
    #[serde(rename = "jkt")]
    Jkt(String),
    /// SHA-256 of a client certificate in DER, base64url (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256")]
    X5tS256(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_stand_in_cnf_as_their_rfcs_say() {
        for (confirmation, json) in [
            (Confirmation::Jkt("a".into()), r#"{"jkt":"a"}"#),
            (Confirmation::X5tS256("b".into()), r#"{"x5t#S256":"b"}"#),
        ] {
            assert_eq!(serde_json::to_string(&confirmation).unwrap(), json);
            assert_eq!(serde_json::from_str::<Confirmation>(json).unwrap(), confirmation);
        }
    }
}
