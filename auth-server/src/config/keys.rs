//! The master key and the signing keys.

use std::{path::PathBuf, time::Duration};

use oauth_wire::SigningAlg;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

use crate::application::keyring::KeySchedule;

/// Where the master key is, and which keys sign for how long.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// Directory of `master.key`, which is created on the first start. All nodes and both services share it.
    pub dir: PathBuf,
    /// What tokens are signed with, the preferred algorithm first: clients may choose any of them, and what no client has a say in is signed
    /// with the first. RS256 must be among them.
    pub algorithms: Vec<String>,
    /// Seconds that a signing key signs before the next one takes its place; 0: until `auth-server keys rotate`. Not shorter than the two below.
    pub rotate_every_s: u64,
    /// Seconds that the next signing key is published before a rotation by schedule lets it sign, at least 300: the JWKS may be kept for as long.
    pub publish_ahead_s: u64,
    /// Seconds that a signing key stays published after its last signature.
    pub retirement_s: u64,
}

const DAY: u64 = 24 * 60 * 60;
/// How long the JWKS may be kept by those who read it.
const JWKS_LIFETIME_S: u64 = 300;

impl Default for KeysConfig {
    fn default() -> Self {
        // Quick to make and small first; RS256 is what clients get that do not choose, wherever it stands.
        let algorithms = [
            SigningAlg::Es256,
            SigningAlg::Ps256,
            SigningAlg::EdDsa,
            SigningAlg::Rs256,
        ];
        Self {
            dir: "keys".into(),
            algorithms: algorithms.map(|alg| alg.as_str().to_owned()).into(),
            rotate_every_s: 90 * DAY,
            publish_ahead_s: DAY,
            retirement_s: DAY,
        }
    }
}

impl KeysConfig {
    pub(super) fn problems(&self, longest_token_s: u64, problems: &mut Vec<Problem>) {
        let algs = self.signing_algs();
        for (at, name) in self.algorithms.iter().enumerate() {
            let path = || format!("keys.algorithms[{at}]");
            match SigningAlg::from_wire(name).filter(|alg| SigningAlg::ISSUED.contains(alg)) {
                None => {
                    let reason = format!("must be {}", SigningAlg::listed(&SigningAlg::ISSUED));
                    problems.push(Problem::new(path(), reason));
                }
                Some(_) if self.algorithms.iter().take(at).any(|before| before == name) => {
                    problems.push(Problem::new(path(), "stands twice"));
                }
                Some(_) => {}
            }
        }
        // OpenID Connect Core §15.1, Discovery §3.
        if !algs.contains(&SigningAlg::Rs256) {
            problems.push(Problem::new("keys.algorithms", "must hold RS256"));
        }
        if self.publish_ahead_s < JWKS_LIFETIME_S {
            let reason = format!("must be at least {JWKS_LIFETIME_S} seconds");
            problems.push(Problem::new("keys.publish_ahead_s", reason));
        }
        let shortest = self.publish_ahead_s.max(self.retirement_s);
        if self.rotate_every_s > 0 && self.rotate_every_s < shortest {
            problems.push(Problem::new(
                "keys.rotate_every_s",
                "must be 0, or not shorter than keys.publish_ahead_s and keys.retirement_s",
            ));
        }
        if self.retirement_s < longest_token_s {
            problems.push(Problem::new(
                "keys.retirement_s",
                "must not be shorter than tokens.max_access_token_ttl_s",
            ));
        }
    }

    /// When keys are exchanged.
    pub fn schedule(&self) -> KeySchedule {
        KeySchedule {
            every: (self.rotate_every_s > 0).then_some(Duration::from_secs(self.rotate_every_s)),
            publish_ahead: Duration::from_secs(self.publish_ahead_s),
            retirement: Duration::from_secs(self.retirement_s),
        }
    }

    /// The algorithms, in order.
    pub fn signing_algs(&self) -> Vec<SigningAlg> {
        let known = self.algorithms.iter().filter_map(|name| SigningAlg::from_wire(name));
        known.filter(|alg| SigningAlg::ISSUED.contains(alg)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blamed(change: impl FnOnce(&mut KeysConfig)) -> Vec<String> {
        let mut keys = KeysConfig::default();
        change(&mut keys);
        let mut problems = Vec::new();
        keys.problems(3600, &mut problems);
        problems.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn the_algorithms_are_ones_that_we_sign_with_each_once_rs256_among_them() {
        let algorithms = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            blamed(|keys| keys.algorithms = names)
        };
        assert_eq!(algorithms(&["RS256"]), [""; 0]);
        assert_eq!(algorithms(&["EdDSA", "RS256", "ES256"]), [""; 0]);
        assert_eq!(algorithms(&[]), ["keys.algorithms"]);
        assert_eq!(algorithms(&["ES256"]), ["keys.algorithms"]);
        assert_eq!(
            algorithms(&["RS256", "RS256", "ES384", "none", "HS256"]),
            [
                "keys.algorithms[1]",
                "keys.algorithms[2]",
                "keys.algorithms[3]",
                "keys.algorithms[4]"
            ]
        );
    }

    #[test]
    fn keys_are_known_before_they_sign_and_after_they_signed() {
        assert_eq!(blamed(|keys| keys.rotate_every_s = 0), [""; 0]);
        assert_eq!(blamed(|keys| keys.rotate_every_s = DAY - 1), ["keys.rotate_every_s"]);
        assert_eq!(blamed(|keys| keys.publish_ahead_s = 299), ["keys.publish_ahead_s"]);
        assert_eq!(blamed(|keys| keys.retirement_s = 3599), ["keys.retirement_s"]);
    }
}
