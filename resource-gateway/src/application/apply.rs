//! Applies a document: all of it or nothing, and nothing twice.

use std::{path::Path, sync::Arc};

use super::{
    change_config::{ChangeConfig, ChangeError, Changed, Changes},
    documents::{Faults, SecretPlace, read_document},
};
use crate::{
    domain::{administrator::Reach, audit::Actor},
    ports::config_source::SecretSource,
};

/// The use case.
#[derive(Debug, Clone)]
pub struct ApplyDocument {
    config: ChangeConfig,
    secrets: Arc<dyn SecretSource>,
}

impl ApplyDocument {
    pub fn new(config: ChangeConfig, secrets: Arc<dyn SecretSource>) -> Self {
        Self { config, secrets }
    }

    /// Applies a TOML text. Rows in it replace those of the same name, others stay; a vendor's stored secret stays when the
    /// document names none. `base` is where relative paths in it begin: the document's folder.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing was written.
    pub async fn apply(&self, text: &str, base: &Path) -> Result<Changed, ChangeError> {
        let mut faults = Faults::default();
        let secrets = SecretPlace::Machine {
            source: self.secrets.as_ref(),
            base,
        };
        let entries = read_document(text, secrets, &mut faults);
        let changes = Changes {
            entries,
            faults,
            deletions: Vec::new(),
        };
        // Whoever applies documents has the database itself.
        self.config
            .change(changes, &Actor::command_line(), None, &Reach::Installation)
            .await
    }
}
