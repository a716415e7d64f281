//! What prices and budgets must be to make sense beside vendors and interfaces. A budget that could not see what calls cost would be
//! no budget, so such a configuration is never published.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use service_kit::Timestamp;

use super::{
    budget::{Allowance, Budget, Match},
    config_row::{RowId, RowKind},
    ids::{BudgetName, InterfaceName, PriceName, RawRouteName, VendorName},
    interface::{Capability, Interface},
    money::Currency,
    price::{Price, PriceBook, PriceTarget, Rates, Sought},
    snapshot::{ConfigFault, FaultReason},
    vendor::Vendor,
};

/// Prices are for things that exist, and at each time one holds for each.
pub(super) fn check_prices(
    prices: &[Price],
    vendors: &BTreeMap<VendorName, Arc<Vendor>>,
    interfaces: &BTreeMap<InterfaceName, Arc<Interface>>,
    faults: &mut Vec<ConfigFault>,
) {
    let mut seen: HashMap<(&PriceTarget, Timestamp), &Price> = HashMap::new();
    for price in prices {
        let mut fault = |path: &str, reason: FaultReason| {
            faults.push(ConfigFault {
                subject: RowId::new(RowKind::Price, price.name.as_str()),
                path: path.to_owned(),
                reason,
            });
        };
        match &price.target {
            PriceTarget::Route(name, _) | PriceTarget::Interface(name) if !interfaces.contains_key(name) => {
                fault("interface", FaultReason::UnknownInterface(name.to_string()));
            }
            PriceTarget::Vendor(name) | PriceTarget::Model(name, _) if !vendors.contains_key(name) => {
                fault("vendor", FaultReason::UnknownVendor(name.to_string()));
            }
            PriceTarget::Route(name, route) if !has_route(interfaces.get(name), route) => {
                let (interface, route) = (name.to_string(), route.to_string());
                fault("route", FaultReason::UnknownRawRoute { interface, route });
            }
            PriceTarget::Route(name, _) | PriceTarget::Interface(name) => {
                let raw = interfaces
                    .get(name)
                    .is_some_and(|one| one.capability == Capability::Raw);
                let only_calls = Rates {
                    per_call: price.rates.per_call,
                    ..Rates::default()
                };
                if raw && price.rates != only_calls {
                    fault("per_call", FaultReason::NotPerCall);
                }
            }
            PriceTarget::Vendor(_) | PriceTarget::Model(..) => {}
        }
        if let Some(other) = seen.insert((&price.target, price.valid_from), price) {
            fault("valid_from", FaultReason::RepeatedPrice(other.name.to_string()));
        }
    }
}

/// What a price has rates for is counted where it holds: else calls would cost 0 without anybody having said so. A price of 0 says so.
pub(super) fn check_counts(
    prices: &PriceBook,
    interfaces: &BTreeMap<InterfaceName, Arc<Interface>>,
    faults: &mut Vec<ConfigFault>,
) {
    // Of raw calls nothing is counted but that they were made, and only prices for that hold for them.
    let counted = |interface: &&Arc<Interface>| interface.enabled.is_on() && interface.capability != Capability::Raw;
    for interface in interfaces.values().filter(counted) {
        let mut told: Vec<&PriceName> = Vec::new();
        for route in &interface.routes {
            let candidates = prices.candidates(Sought {
                interface: interface.name.as_str(),
                route: None,
                vendor: route.vendor.as_str(),
                model: route.model.as_str(),
            });
            for price in candidates {
                if !price.rates.is_free() && !counts(interface.capability, &price.rates) && !told.contains(&&price.name)
                {
                    told.push(&price.name);
                    faults.push(ConfigFault {
                        subject: RowId::new(RowKind::Price, price.name.as_str()),
                        path: "unit".to_owned(),
                        reason: FaultReason::CountsNothing {
                            interface: interface.name.to_string(),
                            capability: interface.capability.as_str(),
                        },
                    });
                }
                if price.valid_from <= Timestamp::from_seconds(0) {
                    break;
                }
            }
        }
    }
}

/// Whether any of the rates is for something that calls of the capability use.
fn counts(capability: Capability, rates: &Rates) -> bool {
    let (input, output) = (
        [rates.input_per_million, rates.cached_input_per_million],
        [rates.output_per_million, rates.reasoning_per_million],
    );
    let more = match capability {
        Capability::Chat => [output[0], output[1]],
        Capability::Embeddings | Capability::Moderation | Capability::Rerank | Capability::Raw => [None, None],
        Capability::Transcription => [output[0], rates.per_second],
        Capability::Speech => [rates.per_million_characters, None],
        Capability::Image | Capability::Ocr | Capability::Labels | Capability::Faces => [output[0], rates.per_image],
    };
    // Nobody counts the tokens of what is spoken.
    let input = match capability {
        Capability::Speech | Capability::Raw => [None, None],
        _ => input,
    };
    let known = [rates.per_call].into_iter().chain(input).chain(more);
    known.flatten().any(|rate| !rate.is_zero())
}

/// What budgets can see of the calls that they count.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Wrong with budgets of the installation.
    pub(super) faults: Vec<ConfigFault>,
    /// The same of tenants' budgets. The operator may change interfaces and prices without asking tenants, so these are no faults of
    /// the configuration: calls that such a budget counts and cannot see are refused one by one.
    pub(super) blind: Vec<ConfigFault>,
    pub(super) blind_spots: HashSet<(BudgetName, InterfaceName)>,
}

/// Every call that a budget counts has a price in the budget's currency, at whatever time it comes. Disabled interfaces have none.
pub(super) fn check_budgets(
    budgets: &[Budget],
    prices: &PriceBook,
    interfaces: &BTreeMap<InterfaceName, Arc<Interface>>,
) -> Seen {
    let mut seen = Seen::default();
    for budget in budgets {
        let is_tenants = matches!(budget.selector.tenant, Some(Match::Is(_)));
        let faults = if is_tenants { &mut seen.blind } else { &mut seen.faults };
        let mut fault = |path: &str, reason: FaultReason| {
            faults.push(ConfigFault {
                subject: RowId::new(RowKind::Budget, budget.name.as_str()),
                path: path.to_owned(),
                reason,
            });
        };
        if let Some(only) = &budget.interface
            && !interfaces.contains_key(only)
        {
            fault("interface", FaultReason::UnknownInterface(only.to_string()));
        }
        let Some(money) = &budget.money else { continue };
        for interface in interfaces.values().filter(|interface| interface.enabled.is_on()) {
            let counts = budget.interface.as_ref().is_none_or(|only| *only == interface.name);
            if counts && let Some(reason) = unseen(interface, money, prices) {
                fault("currency", reason);
                if is_tenants {
                    seen.blind_spots.insert((budget.name.clone(), interface.name.clone()));
                }
            }
        }
    }
    seen
}

fn has_route(interface: Option<&Arc<Interface>>, name: &RawRouteName) -> bool {
    let raw = interface.and_then(|interface| interface.policy.raw.as_ref());
    raw.is_some_and(|raw| raw.allow.iter().any(|route| route.name == *name))
}

/// Why a budget cannot see what calls of an interface cost.
fn unseen(interface: &Interface, money: &Allowance, prices: &PriceBook) -> Option<FaultReason> {
    let Some(raw) = &interface.policy.raw else {
        return unseen_over(interface, None, money, prices);
    };
    let mut routes = raw.allow.iter();
    routes.find_map(|route| unseen_over(interface, Some(&route.name), money, prices))
}

fn unseen_over(
    interface: &Interface,
    raw: Option<&RawRouteName>,
    money: &Allowance,
    prices: &PriceBook,
) -> Option<FaultReason> {
    for route in &interface.routes {
        let candidates = prices.candidates(Sought {
            interface: interface.name.as_str(),
            route: raw.map(RawRouteName::as_str),
            vendor: route.vendor.as_str(),
            model: route.model.as_str(),
        });
        let mut always = false;
        for price in candidates {
            // A place holder stands for a currency that could not be read, which is a fault already.
            let placed = [price.currency, money.currency].contains(&Currency::default());
            if price.currency != money.currency && !placed {
                return Some(FaultReason::OtherCurrency {
                    interface: interface.name.to_string(),
                    price: price.name.to_string(),
                    currency: price.currency,
                });
            }
            // What comes behind a price that holds at all times is never reached.
            always = price.valid_from <= Timestamp::from_seconds(0);
            if always {
                break;
            }
        }
        if !always {
            let (interface, vendor) = (interface.name.to_string(), route.vendor.to_string());
            return Some(match raw {
                Some(raw) => FaultReason::UnpricedRoute {
                    interface,
                    route: raw.to_string(),
                    vendor,
                },
                None => FaultReason::Unpriced {
                    interface,
                    vendor,
                    model: route.model.to_string(),
                },
            });
        }
    }
    None
}
