//! The written form of configuration rows: TOML in documents, JSON over the admin API, JSON in `policy` columns. One reader and
//! one renderer for each kind of row, so that what is written anywhere is read back the same everywhere.

mod balance;
mod budget;
mod confidence;
mod conversation;
mod interface;
mod jobs;
mod limits;
mod options;
mod place;
mod policy;
mod price;
mod raw;
mod table;
mod toml;
mod vendor;

use secrecy::SecretString;
use serde_json::{Map, Value};

pub use self::{
    interface::{log_policy, read_log_policy},
    limits::{limits, read_limits},
    place::Place,
    policy::{
        interface_policy, pool_policy, read_interface_policy, read_pool_policy, read_vendor_policy, vendor_policy,
    },
    price::read_time,
    table::{DocumentFault, Faults, Table},
    toml::read_document,
};
use crate::{
    domain::{
        config_row::{Row, RowKind},
        vendor::SecretKey,
    },
    ports::config_source::SecretSource,
};

/// What a text says about a row's secret.
#[derive(Debug)]
pub enum SecretChange {
    /// Nothing: what is stored stays.
    Keep,
    Set(SecretKey),
}

/// A row as it was read: as far as it can be read, with substitutes in the wrong places, so that the rest can be judged, too.
#[derive(Debug)]
pub struct Entry {
    /// As in faults: `vendor[0]`; the root for the body of an admin request.
    pub place: Place,
    /// Its secret is in `secret`.
    pub row: Row,
    pub secret: SecretChange,
}

impl Entry {
    fn without_secret(place: Place, row: Row) -> Self {
        let secret = SecretChange::Keep;
        Self { place, row, secret }
    }

    /// The place of a part, such as `routes[0].vendor`.
    pub fn at(&self, part: &str) -> Place {
        self.place.below(part)
    }
}

/// Where secrets come from that a text only points at.
#[derive(Debug, Clone, Copy)]
pub enum SecretPlace<'a> {
    /// The machine on which a document is applied; relative paths begin at `base`, the document's folder.
    Machine {
        source: &'a dyn SecretSource,
        base: &'a std::path::Path,
    },
    /// Nowhere: over HTTP nobody gets to read the gateway's files and variables, not even into a secret that is then sent to an
    /// address of the reader's choice.
    Nowhere,
}

impl SecretPlace<'_> {
    fn find_variable(&self, name: &str) -> Result<SecretString, String> {
        match self {
            Self::Machine { source, .. } => source
                .find_variable(name)
                .ok_or_else(|| "names an environment variable that is not set".to_owned()),
            Self::Nowhere => Err(LOCAL_ONLY.to_owned()),
        }
    }

    fn read_file(&self, path: &str) -> Result<SecretString, String> {
        match self {
            Self::Machine { source, base } => source
                .read_file(&base.join(path))
                .map_err(|why| format!("names a file that cannot be read: {why}")),
            Self::Nowhere => Err(LOCAL_ONLY.to_owned()),
        }
    }
}

const LOCAL_ONLY: &str = "is for documents that are applied on the gateway's own machine; send secret_key instead";

/// Reads one row of a kind: an entry of a document, or the body of an admin request. `substitute` names it when its name cannot
/// be read.
pub fn read_row(kind: RowKind, table: Table, substitute: &str, secrets: SecretPlace<'_>, faults: &mut Faults) -> Entry {
    match kind {
        RowKind::Vendor => vendor::read(table, substitute, secrets, faults),
        RowKind::Interface => interface::read(table, substitute, faults),
        RowKind::Price => price::read(table, substitute, faults),
        RowKind::Budget => budget::read(table, substitute, faults),
    }
}

/// A row in its written form, secrets left out.
pub fn render(row: &Row) -> Map<String, Value> {
    match row {
        Row::Vendor(vendor) => vendor::render(vendor),
        Row::Interface(interface) => interface::render(interface),
        Row::Price(price) => price::render(price),
        Row::Budget(budget) => budget::render(budget),
    }
}

/// The entry's name, or the substitute, which no entry can have.
fn name(table: &mut Table, substitute: &str, faults: &mut Faults) -> String {
    let name = table.required_text("name", faults).unwrap_or_default();
    if name.is_empty() {
        return substitute.to_owned();
    }
    if let Err(error) = crate::domain::ids::check_name(&name) {
        faults.add(table.at("name"), error.to_string());
        return substitute.to_owned();
    }
    name
}
