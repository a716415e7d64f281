//! Configuration layering: defaults, then a TOML file, then the environment.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

/// Why configuration could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration file {path} cannot be read: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("configuration: {0}")]
    Value(String),
    /// Every problem at once, one `path: reason` a line.
    #[error("configuration:\n{}", .0.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
}

/// One wrong setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Problem {
    pub path: String,
    pub reason: String,
}

impl Problem {
    pub fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            reason: reason.into(),
        }
    }
}

/// A service's configuration.
pub trait Settings: DeserializeOwned {
    /// Prefix of environment variables, such as `AUTH` in `AUTH__DATABASE__URL`.
    const ENV_PREFIX: &'static str;
    /// Dotted keys that hold lists; in the environment their items are separated by commas.
    const LISTS: &'static [&'static str];

    /// Every problem that types alone cannot see.
    fn problems(&self) -> Vec<Problem>;
}

/// Reads defaults, `file`, and the process environment, and checks the result.
///
/// # Errors
/// [`ConfigError`] for an unreadable file, an unknown key, a value of the wrong type, or a failed check.
pub fn load<T: Settings>(file: Option<&Path>) -> Result<T, ConfigError> {
    layer(file, None)
}

/// `environment` stands in for the process environment in tests.
fn layer<T: Settings>(file: Option<&Path>, environment: Option<HashMap<String, String>>) -> Result<T, ConfigError> {
    let mut builder = config::Config::builder();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::File {
            path: path.to_owned(),
            reason: e.to_string(),
        })?;
        builder = builder.add_source(config::File::from_str(&text, config::FileFormat::Toml));
    }
    let mut variables = config::Environment::with_prefix(T::ENV_PREFIX)
        .prefix_separator("__")
        .separator("__")
        .try_parsing(true)
        .list_separator(",")
        .source(environment);
    for key in T::LISTS {
        variables = variables.with_list_parse_key(key);
    }
    let layered = builder
        .add_source(variables)
        .build()
        .map_err(|e| ConfigError::Value(e.to_string()))?;
    let settings: T = serde_path_to_error::deserialize(layered).map_err(|e| {
        let path = e.path().to_string();
        let reason = e.into_inner().to_string();
        ConfigError::Value(if path == "." {
            reason
        } else {
            format!("{path}: {reason}")
        })
    })?;
    match settings.problems() {
        problems if problems.is_empty() => Ok(settings),
        problems => Err(ConfigError::Invalid(problems)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Example {
        issuer: String,
        database: Database,
        hosts: Vec<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Database {
        url: String,
        max_connections: u32,
    }

    impl Default for Database {
        fn default() -> Self {
            Self {
                url: "sqlite://x".into(),
                max_connections: 4,
            }
        }
    }

    impl Settings for Example {
        const ENV_PREFIX: &'static str = "AUTH";
        const LISTS: &'static [&'static str] = &["hosts"];

        fn problems(&self) -> Vec<Problem> {
            if self.database.max_connections == 0 {
                return vec![Problem::new("database.max_connections", "must be at least 1")];
            }
            Vec::new()
        }
    }

    fn load_from<T: Settings>(file: Option<&Path>, environment: &[(&str, &str)]) -> Result<T, ConfigError> {
        layer(
            file,
            Some(
                environment
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
            ),
        )
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
        let file = file("issuer = 'from-file'\n[database]\nurl = 'from-file'");
        let env = &[("AUTH__DATABASE__URL", "from-env"), ("AUTH__HOSTS", "a,b")];
        let settings: Example = load_from(Some(file.path()), env).unwrap();
        assert_eq!(settings.issuer, "from-file");
        assert_eq!(settings.database.url, "from-env");
        assert_eq!(settings.database.max_connections, 4);
        assert_eq!(settings.hosts, ["a", "b"]);
    }

    #[test]
    fn an_unknown_key_is_named_wherever_it_stands() {
        let file = file("[database]\nurll = 'x'");
        let error = load_from::<Example>(Some(file.path()), &[]).unwrap_err().to_string();
        assert!(error.contains("urll"), "{error}");
        let error = load_from::<Example>(None, &[("AUTH__ISUER", "x")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("isuer"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        let env = &[("AUTH__DATABASE__MAX_CONNECTIONS", "many")];
        let error = load_from::<Example>(None, env).unwrap_err().to_string();
        assert!(error.contains("max_connections"), "{error}");
    }

    #[test]
    fn a_failed_check_names_its_path() {
        let env = &[("AUTH__DATABASE__MAX_CONNECTIONS", "0")];
        let error = load_from::<Example>(None, env).unwrap_err().to_string();
        assert!(
            error.contains("database.max_connections: must be at least 1"),
            "{error}"
        );
    }
}
