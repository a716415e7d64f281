//! Applies a document: all of it or nothing, and nothing twice.

mod document;
mod table;

use std::{collections::HashMap, path::Path, sync::Arc};

pub use self::table::DocumentFault;
use self::{
    document::{Document, InterfaceEntry, SecretChange, SecretPlace, VendorEntry},
    table::Faults,
};
use crate::{
    domain::{
        ids::{InterfaceName, VendorName},
        interface::Interface,
        snapshot::{ConfigFault, FaultReason, FaultSubject, Revision, Snapshot, StrategyCatalog},
        vendor::Vendor,
    },
    ports::config_source::{ConfigRows, ConfigStore, SecretSource, StoreError},
};

/// The use case.
#[derive(Debug, Clone)]
pub struct ApplyDocument {
    store: Arc<dyn ConfigStore>,
    catalog: Arc<dyn StrategyCatalog>,
    secrets: Arc<dyn SecretSource>,
}

/// What applying came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The revision that now holds; counted up only when something changed.
    pub revision: Revision,
    /// Vendors and interfaces that are new or different.
    pub changed: Vec<String>,
    /// How many stood in the document as they stand in the database.
    pub unchanged: usize,
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// All that is wrong with the document, or with the stored rows if it were applied.
    #[error("the document is not valid:\n{}", list(.0))]
    Invalid(Vec<DocumentFault>),
    #[error("the configuration cannot be stored")]
    Store(#[from] StoreError),
}

fn list(faults: &[DocumentFault]) -> String {
    let lines: Vec<_> = faults.iter().map(|fault| format!("  {fault}")).collect();
    lines.join("\n")
}

impl ApplyDocument {
    pub fn new(store: Arc<dyn ConfigStore>, catalog: Arc<dyn StrategyCatalog>, secrets: Arc<dyn SecretSource>) -> Self {
        Self {
            store,
            catalog,
            secrets,
        }
    }

    /// Applies a TOML text. Vendors and interfaces in it replace those of the same name, others stay; a vendor's stored secret
    /// stays when the document names none. `base` is where relative paths in it begin: the document's folder.
    ///
    /// # Errors
    /// [`ApplyError`]; then nothing was written.
    pub async fn apply(&self, text: &str, base: &Path) -> Result<Applied, ApplyError> {
        let mut faults = Faults::default();
        let secrets = SecretPlace {
            source: self.secrets.as_ref(),
            base,
        };
        let mut document = document::read(text, &secrets, &mut faults);
        note_repeats(&mut document, &mut faults);
        let mut change = self.store.begin_change().await?;
        let stored = change.load_rows().await?;
        keep_secrets(&mut document, &stored);
        self.judge(&document, &stored, &mut faults);
        let faults = faults.into_vec();
        if !faults.is_empty() {
            return Err(ApplyError::Invalid(faults));
        }

        let vendors: Vec<&Vendor> = different(document.vendors.iter().map(|e| &e.vendor), &stored.vendors);
        let interfaces: Vec<&Interface> =
            different(document.interfaces.iter().map(|e| &e.interface), &stored.interfaces);
        let names = vendors.iter().map(|vendor| format!("vendor {}", vendor.name));
        let changed: Vec<String> = names
            .chain(interfaces.iter().map(|i| format!("interface {}", i.name)))
            .collect();
        let unchanged = document.vendors.len() + document.interfaces.len() - changed.len();
        let mut revision = stored.revision;
        if !changed.is_empty() {
            // Vendors first: routes refer to them.
            for vendor in vendors {
                change.put_vendor(vendor).await?;
            }
            for interface in interfaces {
                change.put_interface(interface).await?;
            }
            revision = change.commit().await?;
        }
        Ok(Applied {
            revision,
            changed,
            unchanged,
        })
    }

    /// Judges the rows as they would be, by the very code that judges a snapshot before it is published.
    fn judge(&self, document: &Document, stored: &ConfigRows, faults: &mut Faults) {
        let vendors = document.vendors.iter().map(|entry| entry.vendor.clone());
        let interfaces = document.interfaces.iter().map(|entry| entry.interface.clone());
        // Of two of one name the last one stays in a snapshot, so those of the document come last.
        let vendors = stored.vendors.iter().cloned().chain(vendors).collect();
        let interfaces = stored.interfaces.iter().cloned().chain(interfaces).collect();
        let Err(found) = Snapshot::build(stored.revision, vendors, interfaces, self.catalog.as_ref()) else {
            return;
        };
        let places = Places::of(document);
        for fault in found {
            let subject = places.find(&fault.subject);
            if is_misread(&fault, &subject, faults) {
                continue;
            }
            faults.add_unless_known(format!("{subject}.{}", fault.path), fault.reason.to_string());
        }
    }
}

/// Whether a fault only follows from a substitute for something that could not be read.
fn is_misread(fault: &ConfigFault, subject: &str, faults: &Faults) -> bool {
    matches!(fault.reason, FaultReason::Unpaired { .. }) && faults.mentions(&format!("{subject}.capability"))
}

/// Where a document speaks of what.
struct Places<'a> {
    vendors: HashMap<&'a VendorName, &'a str>,
    interfaces: HashMap<&'a InterfaceName, &'a str>,
}

impl<'a> Places<'a> {
    fn of(document: &'a Document) -> Self {
        let vendor = |entry: &'a VendorEntry| (&entry.vendor.name, entry.path.as_str());
        let interface = |entry: &'a InterfaceEntry| (&entry.interface.name, entry.path.as_str());
        Self {
            vendors: document.vendors.iter().map(vendor).collect(),
            interfaces: document.interfaces.iter().map(interface).collect(),
        }
    }

    fn find(&self, subject: &FaultSubject) -> String {
        let place = match subject {
            FaultSubject::Vendor(name) => self.vendors.get(name),
            FaultSubject::Interface(name) => self.interfaces.get(name),
        };
        place.map_or_else(|| format!("{subject} (stored earlier)"), |place| (*place).to_owned())
    }
}

/// Two entries of one name contradict each other. The second one gets a name that no entry can have, so that both are judged.
fn note_repeats(document: &mut Document, faults: &mut Faults) {
    let mut seen: HashMap<String, String> = HashMap::new();
    for entry in &mut document.vendors {
        if let Some(other) = seen.insert(entry.vendor.name.to_string(), entry.path.clone()) {
            let reason = format!("{:?} stands at {other} already", entry.vendor.name.as_str());
            faults.add(format!("{}.name", entry.path), reason);
            entry.vendor.name = VendorName::new(format!("?{}", entry.path));
        }
    }
    seen.clear();
    for entry in &mut document.interfaces {
        if let Some(other) = seen.insert(entry.interface.name.to_string(), entry.path.clone()) {
            let reason = format!("{:?} stands at {other} already", entry.interface.name.as_str());
            faults.add(format!("{}.name", entry.path), reason);
            entry.interface.name = InterfaceName::new(format!("?{}", entry.path));
        }
    }
}

/// A document that names no secret leaves the stored one.
fn keep_secrets(document: &mut Document, stored: &ConfigRows) {
    for entry in &mut document.vendors {
        let known = stored.vendors.iter().find(|vendor| vendor.name == entry.vendor.name);
        entry.vendor.credential.secret_key = match &entry.secret {
            SecretChange::Set(secret) => secret.clone(),
            SecretChange::Keep => known
                .map(|vendor| vendor.credential.secret_key.clone())
                .unwrap_or_default(),
        };
    }
}

fn different<'a, T: PartialEq>(wanted: impl Iterator<Item = &'a T>, stored: &[T]) -> Vec<&'a T> {
    wanted.filter(|wanted| !stored.contains(wanted)).collect()
}
