//! The kinds of rows that make up the configuration.

use std::fmt;

use super::{
    budget::{Budget, Match},
    ids::TenantId,
    interface::Interface,
    price::Price,
    vendor::{SecretKey, Vendor},
};

/// A kind of configuration row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKind {
    Vendor,
    Interface,
    Price,
    Budget,
}

impl RowKind {
    /// In an order in which rows can be written: those that others refer to come first.
    pub const ALL: [Self; 4] = [Self::Vendor, Self::Interface, Self::Price, Self::Budget];

    /// The word in documents (`[[vendor]]`), permission codes (`vendor:write`) and audit rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vendor => "vendor",
            Self::Interface => "interface",
            Self::Price => "price",
            Self::Budget => "budget",
        }
    }

    /// Every word under which documents list rows of the kind.
    pub fn document_words(self) -> &'static [&'static str] {
        match self {
            Self::Vendor => &["vendor"],
            Self::Interface => &["interface"],
            Self::Price => &["price"],
            Self::Budget => &["budget", "quota"],
        }
    }

    /// The name in `/admin/v1/{plural}`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Vendor => "vendors",
            Self::Interface => "interfaces",
            Self::Price => "prices",
            Self::Budget => "budgets",
        }
    }

    /// Whether rows of the kind belong to tenants. The others are the installation's, whom all tenants share.
    pub fn has_tenant(self) -> bool {
        match self {
            Self::Vendor | Self::Interface | Self::Price => false,
            Self::Budget => true,
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    pub fn by_plural(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural() == word)
    }
}

impl fmt::Display for RowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which row: names are unique within their kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    pub kind: RowKind,
    pub name: String,
}

impl RowId {
    pub fn new(kind: RowKind, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { kind, name }
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A row of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    Vendor(Vendor),
    Interface(Interface),
    Price(Price),
    Budget(Budget),
}

impl Row {
    pub fn kind(&self) -> RowKind {
        match self {
            Self::Vendor(_) => RowKind::Vendor,
            Self::Interface(_) => RowKind::Interface,
            Self::Price(_) => RowKind::Price,
            Self::Budget(_) => RowKind::Budget,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Vendor(vendor) => vendor.name.as_str(),
            Self::Interface(interface) => interface.name.as_str(),
            Self::Price(price) => price.name.as_str(),
            Self::Budget(budget) => budget.name.as_str(),
        }
    }

    pub fn id(&self) -> RowId {
        RowId::new(self.kind(), self.name())
    }

    pub fn rename(&mut self, name: &str) {
        match self {
            Self::Vendor(vendor) => vendor.name = name.to_owned().into(),
            Self::Interface(interface) => interface.name = name.to_owned().into(),
            Self::Price(price) => price.name = name.to_owned().into(),
            Self::Budget(budget) => budget.name = name.to_owned().into(),
        }
    }

    /// The tenant that the row belongs to; `None`: the installation, whose rows all tenants share.
    pub fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Budget(budget) => match &budget.selector.tenant {
                Some(Match::Is(tenant)) => Some(TenantId::new(tenant.as_str())),
                Some(Match::Each) | None => None,
            },
            Self::Vendor(_) | Self::Interface(_) | Self::Price(_) => None,
        }
    }

    /// The row's secret, if its kind has one.
    pub fn secret_mut(&mut self) -> Option<&mut SecretKey> {
        match self {
            Self::Vendor(vendor) => Some(&mut vendor.credential.secret_key),
            Self::Interface(_) | Self::Price(_) | Self::Budget(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_word_and_one_path() {
        for kind in RowKind::ALL {
            assert_eq!(RowKind::parse(kind.as_str()), Some(kind));
            assert_eq!(RowKind::by_plural(kind.plural()), Some(kind));
            assert!(kind.document_words().contains(&kind.as_str()));
        }
    }
}
