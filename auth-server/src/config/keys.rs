//! The master key and the signing keys.

use std::path::PathBuf;

use oauth_wire::SigningAlg;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

/// Where the master key is, and which keys sign for how long.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// Directory of `master.key`, which is created on the first start. All nodes and both services share it.
    pub dir: PathBuf,
    /// What tokens are signed with, the preferred algorithm first: clients may choose any of them, and what no client has a say in is signed
    /// with the first. RS256 must be among them.
    pub algorithms: Vec<String>,
    /// Seconds that a signing key stays published after its last signature.
    pub retirement_s: u64,
}

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
            retirement_s: 86_400,
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
        if self.retirement_s < longest_token_s {
            problems.push(Problem::new(
                "keys.retirement_s",
                "must not be shorter than tokens.max_access_token_ttl_s",
            ));
        }
    }

    /// The algorithms, in order.
    pub fn signing_algs(&self) -> Vec<SigningAlg> {
        let known = self.algorithms.iter().filter_map(|name| SigningAlg::from_wire(name));
        known.filter(|alg| SigningAlg::ISSUED.contains(alg)).collect()
    }
}
