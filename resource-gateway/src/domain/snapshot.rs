//! The configuration as one immutable value: validated whole, then published whole.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::Arc,
};

use super::{
    budget::{Budget, BudgetBook},
    call::Shape,
    config_row::{Row, RowId, RowKind},
    crowding::check_crowds,
    ids::{BudgetName, InterfaceName, StrategyName, VendorName},
    interface::{Capability, FieldRule, Interface},
    money::Currency,
    money_rules,
    price::{Price, PriceBook},
    raw,
    vendor::{Discovery, Pool, PoolStrategy, SecretKey, Vendor},
};

/// Counts the changes of the configuration. 0 is an installation to which nothing was ever applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// All rows as they stood at one revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigRows {
    pub revision: Revision,
    /// By name.
    pub vendors: Vec<Vendor>,
    /// By name.
    pub interfaces: Vec<Interface>,
    /// By name.
    pub prices: Vec<Price>,
    /// By name.
    pub budgets: Vec<Budget>,
    /// Rows that are there and say nothing to this version.
    pub unreadable: Vec<UnreadableRow>,
}

/// A stored row that does not read back: damaged, or written by a newer version with what this one does not know. Leaving out what
/// it demands would be wrong, so nothing is published while there is one; it can be replaced and removed.
#[derive(Debug, Clone, PartialEq)]
pub struct UnreadableRow {
    pub id: RowId,
    pub table: &'static str,
    pub column: &'static str,
    /// What can be read of it: whoever replaces the row need not know its secret.
    pub secret: SecretKey,
}

impl ConfigRows {
    pub fn find_unreadable(&self, id: &RowId) -> Option<&UnreadableRow> {
        self.unreadable.iter().find(|row| row.id == *id)
    }

    /// The row, as it stands.
    pub fn find(&self, id: &RowId) -> Option<Row> {
        let name = id.name.as_str();
        match id.kind {
            RowKind::Vendor => find(&self.vendors, |vendor| vendor.name.as_str() == name).map(Row::Vendor),
            RowKind::Interface => {
                find(&self.interfaces, |interface| interface.name.as_str() == name).map(Row::Interface)
            }
            RowKind::Price => find(&self.prices, |price| price.name.as_str() == name).map(Row::Price),
            RowKind::Budget => find(&self.budgets, |budget| budget.name.as_str() == name).map(Row::Budget),
        }
    }

    /// Every row of a kind, by name.
    pub fn of_kind(&self, kind: RowKind) -> Vec<Row> {
        match kind {
            RowKind::Vendor => self.vendors.iter().cloned().map(Row::Vendor).collect(),
            RowKind::Interface => self.interfaces.iter().cloned().map(Row::Interface).collect(),
            RowKind::Price => self.prices.iter().cloned().map(Row::Price).collect(),
            RowKind::Budget => self.budgets.iter().cloned().map(Row::Budget).collect(),
        }
    }

    /// Puts a row in the place of the one of its name, or beside the others.
    pub fn put(&mut self, row: Row) {
        self.remove(&row.id());
        match row {
            Row::Vendor(vendor) => self.vendors.push(vendor),
            Row::Interface(interface) => self.interfaces.push(interface),
            Row::Price(price) => self.prices.push(price),
            Row::Budget(budget) => self.budgets.push(budget),
        }
    }

    pub fn remove(&mut self, id: &RowId) {
        self.unreadable.retain(|row| row.id != *id);
        let name = id.name.as_str();
        match id.kind {
            RowKind::Vendor => self.vendors.retain(|vendor| vendor.name.as_str() != name),
            RowKind::Interface => self.interfaces.retain(|interface| interface.name.as_str() != name),
            RowKind::Price => self.prices.retain(|price| price.name.as_str() != name),
            RowKind::Budget => self.budgets.retain(|budget| budget.name.as_str() != name),
        }
    }
}

fn find<T: Clone>(rows: &[T], is_it: impl Fn(&T) -> bool) -> Option<T> {
    rows.iter().find(|row| is_it(row)).cloned()
}

/// What this version can do. The registry of strategies answers, so that validation and factory cannot disagree.
pub trait StrategyCatalog: Send + Sync + fmt::Debug {
    /// The facts of a strategy; `None` when there is none of that name.
    fn find_strategy(&self, name: &StrategyName) -> Option<StrategyFacts>;
    /// Every name, for error texts.
    fn strategy_names(&self) -> Vec<&str>;
    /// The ways of picking an address that this version really has.
    fn pool_strategies(&self) -> &[PoolStrategy];
}

/// What a strategy does and wants.
#[derive(Debug, Clone)]
pub struct StrategyFacts {
    pub capabilities: Vec<Capability>,
    pub base_url: Need,
    /// `Unused` for strategies that send nothing anywhere.
    pub pool: Need,
    pub app_id: Need,
    pub secret_id: Need,
    pub secret_key: Need,
    /// Options by name, with the values that there are; none: anything.
    pub options: Vec<OptionFacts>,
}

/// An option of a strategy.
#[derive(Debug, Clone, Copy)]
pub struct OptionFacts {
    pub name: &'static str,
    pub need: Need,
    /// The values that there are; empty: any text that a header can carry.
    pub values: &'static [&'static str],
}

/// Whether a strategy wants a setting. One that it would ignore is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Required,
    Optional,
    Unused,
}

/// The configuration at one revision. A request holds the `Arc` with which it began until its reply ended.
#[derive(Debug, Clone)]
pub struct Snapshot {
    revision: Revision,
    interfaces: BTreeMap<InterfaceName, Arc<Interface>>,
    vendors: BTreeMap<VendorName, Arc<Vendor>>,
    prices: PriceBook,
    budgets: BudgetBook,
    /// What tenants' budgets cannot see.
    blind: Vec<ConfigFault>,
    /// The same as budgets and interfaces, looked up by calls.
    blind_spots: HashSet<(BudgetName, InterfaceName)>,
}

impl Snapshot {
    /// Nothing configured: every interface is unknown.
    pub fn empty() -> Self {
        Self {
            revision: Revision(0),
            interfaces: BTreeMap::new(),
            vendors: BTreeMap::new(),
            prices: PriceBook::default(),
            budgets: BudgetBook::default(),
            blind: Vec::new(),
            blind_spots: HashSet::new(),
        }
    }

    /// Puts rows together if they make sense together.
    ///
    /// # Errors
    /// Every fault, not the first alone.
    pub fn build(rows: ConfigRows, catalog: &dyn StrategyCatalog) -> Result<Self, Vec<ConfigFault>> {
        let ConfigRows {
            revision,
            vendors,
            interfaces,
            prices,
            budgets,
            unreadable,
        } = rows;
        let vendors: BTreeMap<_, _> = vendors.into_iter().map(|v| (v.name.clone(), Arc::new(v))).collect();
        let interfaces: BTreeMap<_, _> = interfaces.into_iter().map(|i| (i.name.clone(), Arc::new(i))).collect();
        let mut faults = Vec::new();
        for vendor in vendors.values() {
            check_vendor(vendor, catalog, &mut faults);
        }
        for interface in interfaces.values() {
            check_interface(interface, &vendors, catalog, &mut faults);
        }
        money_rules::check_prices(&prices, &vendors, &interfaces, &mut faults);
        let prices = PriceBook::new(prices);
        money_rules::check_counts(&prices, &interfaces, &mut faults);
        let seen = money_rules::check_budgets(&budgets, &prices, &interfaces);
        faults.extend(seen.faults);
        check_crowds(&budgets, &mut faults);
        faults.retain(|fault| !fault.reason.rests_on(&unreadable));
        faults.extend(unreadable.iter().map(UnreadableRow::fault));
        if !faults.is_empty() {
            faults.extend(seen.blind);
            return Err(faults);
        }
        Ok(Self {
            revision,
            interfaces,
            vendors,
            prices,
            budgets: BudgetBook::new(budgets),
            blind: seen.blind,
            blind_spots: seen.blind_spots,
        })
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The interface of that name, disabled ones included.
    pub fn find_interface(&self, name: &str) -> Option<&Arc<Interface>> {
        self.interfaces.get(name)
    }

    /// The vendor of a route: there always is one.
    pub fn find_vendor(&self, name: &VendorName) -> Option<&Arc<Vendor>> {
        self.vendors.get(name)
    }

    pub fn prices(&self) -> &PriceBook {
        &self.prices
    }

    pub fn budgets(&self) -> &BudgetBook {
        &self.budgets
    }

    /// What budgets of tenants cannot see of the calls that they count: told to whoever writes them, and no reason to refuse what
    /// the operator does to interfaces and prices.
    pub fn blind_budgets(&self) -> &[ConfigFault] {
        &self.blind
    }

    /// Whether a budget cannot see what calls of an interface cost, so that it can pay for none.
    pub fn is_blind(&self, budget: &BudgetName, interface: &InterfaceName) -> bool {
        !self.blind_spots.is_empty() && self.blind_spots.contains(&(budget.clone(), interface.clone()))
    }

    /// By name.
    pub fn interfaces(&self) -> impl Iterator<Item = &Arc<Interface>> {
        self.interfaces.values()
    }

    /// By name.
    pub fn vendors(&self) -> impl Iterator<Item = &Arc<Vendor>> {
        self.vendors.values()
    }
}

/// One thing that is wrong with the configuration. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    pub subject: RowId,
    /// The place inside the subject, such as `routes[0].vendor`.
    pub path: String,
    pub reason: FaultReason,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultReason {
    #[error("unknown strategy {name:?}; this version has {known}")]
    UnknownStrategy { name: String, known: String },
    #[error("{name:?} is not in this version, which has {known}")]
    UnknownPoolStrategy { name: &'static str, known: String },
    #[error("says nothing: only the strategy consistent_hash has a key")]
    UnusedHashKey,
    #[error("repeats an earlier address; give that one a greater weight")]
    RepeatedAddress,
    #[error("a pool has at most {0} addresses")]
    TooManyAddresses(usize),
    #[error("strategy {0:?} needs it")]
    Needed(String),
    #[error("strategy {0:?} has no use for it")]
    Unneeded(String),
    #[error("must be one of {0}")]
    UnknownOption(String),
    #[error("does not open with this master key; apply it again, or bring back the key by which it was sealed")]
    UnreadableSecret,
    #[error("all weights are 0; disable the whole instead")]
    NoWeight,
    #[error("at least one route is needed")]
    NoRoute,
    #[error("unknown vendor {0:?}")]
    UnknownVendor(String),
    #[error("vendor {vendor:?} of strategy {strategy:?} does not do {capability:?}")]
    Unpaired {
        vendor: String,
        strategy: String,
        capability: &'static str,
    },
    #[error("repeats the vendor and model of an earlier route")]
    RepeatedRoute,
    #[error("{0:?} has a rule already")]
    RepeatedField(String),
    #[error("{0}")]
    ReservedField(&'static str),
    #[error("unknown interface {0:?}")]
    UnknownInterface(String),
    #[error("price {0:?} is for the same from the same time on")]
    RepeatedPrice(String),
    #[error(
        "the budget cannot see what calls of interface {interface:?} over vendor {vendor:?}, model {model:?}, cost: write a price for \
         them, of 0 if they are free"
    )]
    Unpriced {
        interface: String,
        vendor: String,
        model: String,
    },
    #[error("calls of interface {interface:?} may be priced by {price:?}, which is in {currency}")]
    OtherCurrency {
        interface: String,
        price: String,
        currency: Currency,
    },
    #[error("costs nothing at interface {interface:?}: of {capability:?} nothing is counted that it has a rate for")]
    CountsNothing {
        interface: String,
        capability: &'static str,
    },
    #[error("more than {0} budgets of money would count one call; limits alone are not counted")]
    Crowded(usize),
    #[error("more than {0} of the tenant's budgets of money would count one call; limits alone are not counted")]
    CrowdedTenant(usize),
    #[error(
        "is corrupt in {column} of {table}, or a newer version wrote it; replace or remove it, or bring it back to what this version knows"
    )]
    Unreadable { table: &'static str, column: &'static str },
    #[error("answers of {0:?} have no parts with scores")]
    NoScores(&'static str),
    #[error("is only for the capability {0:?}")]
    OtherCapability(&'static str),
    #[error("at least one route is needed: what is not listed is not passed on")]
    NothingAllowed,
    #[error("is not for the capability \"raw\": {0}")]
    NotForRaw(&'static str),
    #[error("interface {interface:?} has no raw route {route:?}")]
    UnknownRawRoute { interface: String, route: String },
    #[error("nothing of raw calls is counted but the calls, so per_call is their only rate")]
    NotPerCall,
    #[error(
        "the budget cannot see what calls of route {route:?} of interface {interface:?} over vendor {vendor:?} cost: write a price per \
         call for them, of 0 if they are free"
    )]
    UnpricedRoute {
        interface: String,
        route: String,
        vendor: String,
    },
}

impl FaultReason {
    /// Whether a budget does not see what it counts.
    pub fn is_blindness(&self) -> bool {
        matches!(
            self,
            Self::Unpriced { .. } | Self::UnpricedRoute { .. } | Self::OtherCurrency { .. } | Self::UnknownInterface(_)
        )
    }

    /// Whether something is only missing because it cannot be read, which is a fault of its own.
    fn rests_on(&self, unreadable: &[UnreadableRow]) -> bool {
        let is_there = |kind, name: Option<&str>| {
            let is_it = |row: &UnreadableRow| row.id.kind == kind && name.is_none_or(|name| row.id.name == name);
            unreadable.iter().any(is_it)
        };
        match self {
            Self::UnknownVendor(name) => is_there(RowKind::Vendor, Some(name)),
            Self::UnknownInterface(name) | Self::UnknownRawRoute { interface: name, .. } => {
                is_there(RowKind::Interface, Some(name))
            }
            Self::Unpriced { .. } | Self::UnpricedRoute { .. } => is_there(RowKind::Price, None),
            // Judged by what stands in the row itself.
            _ => false,
        }
    }
}

impl UnreadableRow {
    fn fault(&self) -> ConfigFault {
        let (table, column) = (self.table, self.column);
        ConfigFault {
            subject: self.id.clone(),
            path: String::new(),
            reason: FaultReason::Unreadable { table, column },
        }
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RowId { kind, name } = &self.subject;
        let gap = if self.path.is_empty() { "" } else { " " };
        write!(f, "{kind} {name:?}{gap}{}: {}", self.path, self.reason)
    }
}

fn check_vendor(vendor: &Vendor, catalog: &dyn StrategyCatalog, faults: &mut Vec<ConfigFault>) {
    let mut fault = |path: &str, reason: FaultReason| {
        faults.push(ConfigFault {
            subject: RowId::new(RowKind::Vendor, vendor.name.as_str()),
            path: path.to_owned(),
            reason,
        });
    };
    if matches!(vendor.credential.secret_key, SecretKey::Unreadable) {
        fault("secret_key", FaultReason::UnreadableSecret);
    }
    if let Some(strategy) = vendor.pool.strategy
        && !catalog.pool_strategies().contains(&strategy)
    {
        let known: Vec<_> = catalog.pool_strategies().iter().map(|s| s.as_str()).collect();
        let (name, known) = (strategy.as_str(), known.join(", "));
        fault("pool.strategy", FaultReason::UnknownPoolStrategy { name, known });
    }
    if vendor.pool.hash_key.is_some() && vendor.pool.strategy != Some(PoolStrategy::ConsistentHash) {
        fault("pool.hash_key", FaultReason::UnusedHashKey);
    }
    let addresses = &vendor.pool.addresses;
    if !addresses.is_empty() && addresses.iter().all(|address| address.weight == 0) {
        fault("pool.addresses", FaultReason::NoWeight);
    }
    if addresses.len() > Pool::MOST_ADDRESSES {
        fault("pool.addresses", FaultReason::TooManyAddresses(Pool::MOST_ADDRESSES));
    } else {
        // Compared as they are called: one may have the base URL's path, and another spell it out.
        let resolved = vendor.endpoints();
        for (at, address) in resolved.iter().enumerate() {
            if resolved.iter().take(at).any(|earlier| earlier.url == address.url) {
                fault(&format!("pool.addresses[{at}]"), FaultReason::RepeatedAddress);
            }
        }
    }
    let strategy = vendor.strategy.as_str().to_owned();
    let Some(facts) = catalog.find_strategy(&vendor.strategy) else {
        let known = catalog.strategy_names().join(", ");
        return fault("strategy", FaultReason::UnknownStrategy { name: strategy, known });
    };
    let key = !matches!(vendor.credential.secret_key, SecretKey::Absent);
    // The pool's addresses stand in for a base URL.
    let base = vendor.base_url.is_some() || (facts.base_url == Need::Required && !addresses.is_empty());
    // What is sent nowhere has neither names to look up nor health.
    let addressed = match facts.pool {
        Need::Unused => Need::Unused,
        Need::Required | Need::Optional => Need::Optional,
    };
    for (path, need, given) in [
        ("base_url", facts.base_url, base),
        ("pool.addresses", facts.pool, !addresses.is_empty()),
        ("pool.discovery", addressed, vendor.pool.discovery == Discovery::Dns),
        ("pool.health", addressed, vendor.pool.health.is_some()),
        ("app_id", facts.app_id, vendor.credential.app_id.is_some()),
        ("secret_id", facts.secret_id, vendor.credential.secret_id.is_some()),
        ("secret_key", facts.secret_key, key),
    ] {
        match (need, given) {
            (Need::Required, false) => fault(path, FaultReason::Needed(strategy.clone())),
            (Need::Unused, true) => fault(path, FaultReason::Unneeded(strategy.clone())),
            (Need::Required, true) | (Need::Optional, _) | (Need::Unused, false) => {}
        }
    }
    for option in &facts.options {
        let path = format!("options.{}", option.name);
        match vendor.options.get(option.name) {
            None if option.need == Need::Required => fault(&path, FaultReason::Needed(strategy.clone())),
            Some(value) if !option.values.is_empty() && !option.values.contains(&value.as_str()) => {
                fault(&path, FaultReason::UnknownOption(option.values.join(", ")));
            }
            None | Some(_) => {}
        }
    }
    for name in vendor.options.keys() {
        if !facts.options.iter().any(|option| option.name == name) {
            fault(&format!("options.{name}"), FaultReason::Unneeded(strategy.clone()));
        }
    }
}

fn check_interface(
    interface: &Interface,
    vendors: &BTreeMap<VendorName, Arc<Vendor>>,
    catalog: &dyn StrategyCatalog,
    faults: &mut Vec<ConfigFault>,
) {
    let mut fault = |path: String, reason: FaultReason| {
        faults.push(ConfigFault {
            subject: RowId::new(RowKind::Interface, interface.name.as_str()),
            path,
            reason,
        });
    };
    if interface.routes.is_empty() {
        fault("routes".to_owned(), FaultReason::NoRoute);
    } else if interface.routes.iter().all(|route| route.weight == 0) {
        fault("routes".to_owned(), FaultReason::NoWeight);
    }
    for (at, route) in interface.routes.iter().enumerate() {
        let mut earlier = interface.routes.iter().take(at);
        if earlier.any(|other| other.vendor == route.vendor && other.model == route.model) {
            fault(format!("routes[{at}]"), FaultReason::RepeatedRoute);
        }
        let path = format!("routes[{at}].vendor");
        let Some(vendor) = vendors.get(&route.vendor) else {
            fault(path, FaultReason::UnknownVendor(route.vendor.to_string()));
            continue;
        };
        // An unknown strategy is reported at its vendor.
        let facts = catalog.find_strategy(&vendor.strategy);
        if facts.is_some_and(|facts| !facts.capabilities.contains(&interface.capability)) {
            let reason = FaultReason::Unpaired {
                vendor: vendor.name.to_string(),
                strategy: vendor.strategy.to_string(),
                capability: interface.capability.as_str(),
            };
            fault(path, reason);
        }
    }
    let scored = Shape::of(interface.capability).is_some_and(|shape| shape.scored);
    if interface.policy.min_confidence.is_some() && !scored {
        let reason = FaultReason::NoScores(interface.capability.as_str());
        fault("min_confidence".to_owned(), reason);
    }
    if interface.policy.conversation.enabled.is_on() && !Shape::ruling(interface.capability).converses {
        let reason = FaultReason::OtherCapability(Capability::Chat.as_str());
        fault("conversation".to_owned(), reason);
    }
    raw::check_interface(interface, &mut fault);
    check_fields(interface, &mut fault);
}

fn check_fields(interface: &Interface, fault: &mut impl FnMut(String, FaultReason)) {
    let shape = Shape::ruling(interface.capability);
    for (at, rule) in interface.fields.iter().enumerate() {
        let path = format!("fields[{at}].name");
        let mut earlier = interface.fields.iter().take(at);
        if let Some(other) = earlier.find(|other| are_one_field(shape, rule, other)) {
            fault(path, FaultReason::RepeatedField(other.pointer.as_str().to_owned()));
        } else if let Some(reason) = shape.refuses(rule) {
            fault(path, FaultReason::ReservedField(reason));
        }
    }
}

/// Two rules about one field, under one name or two, could not both be obeyed.
fn are_one_field(shape: &Shape, one: &FieldRule, other: &FieldRule) -> bool {
    let synonyms = match (one.pointer.tokens(), other.pointer.tokens()) {
        ([one], [other]) => shape.synonyms_of(one).any(|synonym| synonym == other),
        _ => false,
    };
    one.pointer == other.pointer || synonyms
}
