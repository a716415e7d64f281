//! Secrets from the process's environment and from files.

use std::{fs, path::Path};

use secrecy::SecretString;

use crate::ports::config_source::SecretSource;

/// Longer files are no secrets.
const LONGEST: u64 = 64 * 1024;

/// The machine that `apply` runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct MachineSecrets;

impl SecretSource for MachineSecrets {
    fn find_variable(&self, name: &str) -> Option<SecretString> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the adapter behind the SecretSource port"
        )]
        std::env::var(name).ok().map(SecretString::from)
    }

    fn read_file(&self, path: &Path) -> Result<SecretString, String> {
        let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
        if length > LONGEST {
            return Err(format!("it has {length} bytes, at most {LONGEST} are read"));
        }
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}
