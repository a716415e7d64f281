//! Prices: what a call costs, and which price holds for it.

use std::{collections::HashMap, sync::Arc};

use service_kit::Timestamp;

use super::{
    ids::{InterfaceName, ModelName, PriceName, RawRouteName, VendorName},
    money::{Currency, Nanos},
};

/// No single call costs more than that (ten million units). A vendor that counts wrongly must not make sums overflow.
pub const MOST: Nanos = Nanos(10_000_000_000_000_000);

/// Millionths: the finest share of a rate that is counted.
const SHARES: i128 = 1_000_000;

/// A row of the price table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    pub name: PriceName,
    pub target: PriceTarget,
    /// What the price is mainly for; that rate is there.
    pub unit: Unit,
    pub rates: Rates,
    pub currency: Currency,
    /// Holds for requests that arrive from then on.
    pub valid_from: Timestamp,
}

/// What a price is for. More specific ones go first, in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PriceTarget {
    /// Calls of one route of an interface whose calls are passed on.
    Route(InterfaceName, RawRouteName),
    /// Every call of an interface, whoever serves it.
    Interface(InterfaceName),
    /// A vendor's model, whatever the interface.
    Model(VendorName, ModelName),
    /// Everything else of a vendor.
    Vendor(VendorName),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    Token,
    Character,
    Image,
    Second,
    Call,
}

impl Unit {
    pub const ALL: [Self; 5] = [Self::Token, Self::Character, Self::Image, Self::Second, Self::Call];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Character => "character",
            Self::Image => "image",
            Self::Second => "second",
            Self::Call => "call",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.as_str() == text)
    }
}

/// What each unit costs; what is absent costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates {
    pub input_per_million: Option<Nanos>,
    pub output_per_million: Option<Nanos>,
    /// Of input that the vendor read from its cache; without it that costs as much as other input.
    pub cached_input_per_million: Option<Nanos>,
    /// Of output that was reasoning; without it that costs as much as other output.
    pub reasoning_per_million: Option<Nanos>,
    pub per_million_characters: Option<Nanos>,
    pub per_image: Option<Nanos>,
    pub per_second: Option<Nanos>,
    pub per_call: Option<Nanos>,
}

impl Rates {
    /// Every rate with its name in documents.
    pub const NAMES: [&'static str; 8] = [
        "input_per_million",
        "output_per_million",
        "cached_input_per_million",
        "reasoning_per_million",
        "per_million_characters",
        "per_image",
        "per_second",
        "per_call",
    ];

    /// The rates in the order of [`Rates::NAMES`].
    pub fn all(&self) -> [Option<Nanos>; 8] {
        [
            self.input_per_million,
            self.output_per_million,
            self.cached_input_per_million,
            self.reasoning_per_million,
            self.per_million_characters,
            self.per_image,
            self.per_second,
            self.per_call,
        ]
    }

    /// From the order of [`Rates::NAMES`].
    pub fn from_all(rates: [Option<Nanos>; 8]) -> Self {
        let [input, output, cached_input, reasoning, characters, image, second, call] = rates;
        Self {
            input_per_million: input,
            output_per_million: output,
            cached_input_per_million: cached_input,
            reasoning_per_million: reasoning,
            per_million_characters: characters,
            per_image: image,
            per_second: second,
            per_call: call,
        }
    }

    /// Whether the price says what the unit costs.
    pub fn names(&self, unit: Unit) -> bool {
        match unit {
            Unit::Token => self.input_per_million.is_some() || self.output_per_million.is_some(),
            Unit::Character => self.per_million_characters.is_some(),
            Unit::Image => self.per_image.is_some(),
            Unit::Second => self.per_second.is_some(),
            Unit::Call => self.per_call.is_some(),
        }
    }

    /// Whether nothing costs anything.
    pub fn is_free(&self) -> bool {
        self.all().iter().flatten().all(|rate| rate.is_zero())
    }

    /// The first unit that the price names.
    pub fn main_unit(&self) -> Option<Unit> {
        Unit::ALL.into_iter().find(|unit| self.names(*unit))
    }
}

/// What a call used, by what prices count. Tokens from a cache are a part of the input, reasoning a part of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Consumed {
    pub input: u64,
    pub output: u64,
    pub cached_input: u64,
    pub reasoning: u64,
    pub characters: u64,
    pub images: u64,
    pub audio_ms: u64,
    /// 1 for a call that is paid for, else 0.
    pub calls: u64,
}

impl Rates {
    /// What a call costs. Rounded once, at the end, half a billionth up.
    pub fn cost(&self, used: &Consumed) -> Nanos {
        self.cost_exactly(used).unwrap_or(MOST).min(MOST)
    }

    /// `None` when the numbers are beyond all reason.
    fn cost_exactly(&self, used: &Consumed) -> Option<Nanos> {
        let input = self.input_per_million.unwrap_or_default();
        let output = self.output_per_million.unwrap_or_default();
        let cached = used.cached_input.min(used.input);
        let reasoning = used.reasoning.min(used.output);
        let none = Nanos::ZERO;
        // Each count with its rate, and how many shares of the rate one of it costs.
        let parts = [
            (used.input - cached, input, 1),
            (cached, self.cached_input_per_million.unwrap_or(input), 1),
            (used.output - reasoning, output, 1),
            (reasoning, self.reasoning_per_million.unwrap_or(output), 1),
            (used.characters, self.per_million_characters.unwrap_or(none), 1),
            (used.images, self.per_image.unwrap_or(none), SHARES),
            (used.audio_ms, self.per_second.unwrap_or(none), SHARES / 1000),
            (used.calls, self.per_call.unwrap_or(none), SHARES),
        ];
        let mut shares = SHARES / 2;
        for (count, rate, each) in parts {
            let part = i128::from(count).checked_mul(i128::from(rate.0))?.checked_mul(each)?;
            shares = shares.checked_add(part)?;
        }
        i64::try_from(shares / SHARES).ok().map(Nanos)
    }
}

/// A call as prices see it.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    pub interface: &'a str,
    /// Of a raw call, of which nothing but the call is counted: prices that do not say what that costs are none for it.
    pub route: Option<&'a str>,
    pub vendor: &'a str,
    pub model: &'a str,
}

/// All prices, by what they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriceBook {
    routes: HashMap<InterfaceName, HashMap<RawRouteName, Series>>,
    interfaces: HashMap<InterfaceName, Series>,
    models: HashMap<VendorName, HashMap<ModelName, Series>>,
    vendors: HashMap<VendorName, Series>,
}

/// Prices for one thing, the newest in front.
type Series = Vec<Arc<Price>>;

impl PriceBook {
    pub fn new(prices: impl IntoIterator<Item = Price>) -> Self {
        let mut book = Self::default();
        for price in prices {
            let price = Arc::new(price);
            let series = match &price.target {
                PriceTarget::Route(interface, route) => {
                    let routes = book.routes.entry(interface.clone()).or_default();
                    routes.entry(route.clone()).or_default()
                }
                PriceTarget::Interface(name) => book.interfaces.entry(name.clone()).or_default(),
                PriceTarget::Model(vendor, model) => {
                    let models = book.models.entry(vendor.clone()).or_default();
                    models.entry(model.clone()).or_default()
                }
                PriceTarget::Vendor(vendor) => book.vendors.entry(vendor.clone()).or_default(),
            };
            let at = series.partition_point(|other| other.valid_from > price.valid_from);
            series.insert(at, price);
        }
        book
    }

    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.interfaces.is_empty() && self.models.is_empty() && self.vendors.is_empty()
    }

    /// Every price that a call could ever have, the most specific and newest in front.
    pub fn candidates<'b>(&'b self, sought: Sought<'_>) -> impl Iterator<Item = &'b Arc<Price>> + use<'b> {
        let Sought {
            interface,
            route,
            vendor,
            model,
        } = sought;
        let series = [
            route.and_then(|route| self.routes.get(interface)?.get(route)),
            self.interfaces.get(interface),
            self.models.get(vendor).and_then(|models| models.get(model)),
            self.vendors.get(vendor),
        ];
        let raw = route.is_some();
        let prices = series.into_iter().flatten().flatten();
        prices.filter(move |price| !raw || price.rates.per_call.is_some())
    }

    /// The price of a call that arrives at `at`: the most specific one, and of those the newest that is not in the future.
    pub fn find(&self, sought: Sought<'_>, at: Timestamp) -> Option<&Arc<Price>> {
        self.candidates(sought).find(|price| price.valid_from <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn price(name: &str, target: PriceTarget, from: i64) -> Price {
        Price {
            name: PriceName::new(name),
            target,
            unit: Unit::Token,
            rates: Rates::default(),
            currency: Currency::parse("EUR").unwrap(),
            valid_from: Timestamp::from_seconds(from),
        }
    }

    fn nanos(text: &str) -> Nanos {
        Nanos::parse(text).unwrap()
    }

    #[test]
    fn the_most_specific_price_that_holds_is_chosen() {
        let interface = |name: &str| PriceTarget::Interface(InterfaceName::new(name));
        let model = |name: &str| PriceTarget::Model(VendorName::new("v"), ModelName::new(name));
        let vendor = PriceTarget::Vendor(VendorName::new("v"));
        let book = PriceBook::new([
            price("vendor", vendor, 0),
            price("model-new", model("m"), 200),
            price("model-old", model("m"), 0),
            price("model-newest", model("m"), 300),
            price("chat-later", interface("chat"), 250),
        ]);
        let chosen = |interface: &str, vendor: &str, model: &str, at| {
            let sought = Sought {
                interface,
                route: None,
                vendor,
                model,
            };
            let found = book.find(sought, Timestamp::from_seconds(at));
            found.map_or("none", |price| price.name.as_str()).to_owned()
        };
        for (interface, vendor, model, at, wanted) in [
            ("x", "v", "m", 0, "model-old"),
            ("x", "v", "m", 199, "model-old"),
            ("x", "v", "m", 200, "model-new"),
            ("x", "v", "m", 1000, "model-newest"),
            ("x", "v", "other", 0, "vendor"),
            ("x", "w", "m", 1000, "none"),
            ("x", "v", "m", -1, "none"),
            // An interface's price goes before the vendor's as soon as it holds.
            ("chat", "v", "m", 249, "model-new"),
            ("chat", "v", "m", 250, "chat-later"),
            ("chat", "w", "m", 250, "chat-later"),
        ] {
            assert_eq!(
                chosen(interface, vendor, model, at),
                wanted,
                "{interface} {vendor} {model} {at}"
            );
        }
    }

    #[test]
    fn a_raw_call_has_the_price_of_its_route_or_one_that_counts_calls() {
        let per_call = |name: &str, target| Price {
            rates: Rates {
                per_call: Some(nanos("1")),
                ..Rates::default()
            },
            ..price(name, target, 0)
        };
        let (files, put) = (InterfaceName::new("files"), RawRouteName::new("put"));
        let vendor = PriceTarget::Vendor(VendorName::new("v"));
        let tokens = price(
            "tokens",
            PriceTarget::Model(VendorName::new("v"), ModelName::new("m")),
            0,
        );
        let book = PriceBook::new([
            per_call("route", PriceTarget::Route(files.clone(), put)),
            per_call("interface", PriceTarget::Interface(files)),
            per_call("vendor", vendor),
            tokens,
        ]);
        let chosen = |interface, route| {
            let sought = Sought {
                interface,
                route,
                vendor: "v",
                model: "m",
            };
            let found = book.find(sought, Timestamp::from_seconds(1));
            found.map_or("none", |price| price.name.as_str()).to_owned()
        };
        assert_eq!(chosen("files", Some("put")), "route");
        assert_eq!(chosen("files", Some("get")), "interface");
        assert_eq!(
            chosen("other", Some("put")),
            "vendor",
            "one for tokens alone says nothing of calls"
        );
        assert_eq!(chosen("other", None), "tokens");
    }

    #[test]
    fn parts_are_priced_once_and_the_sum_is_rounded_once() {
        let rates = Rates {
            input_per_million: Some(nanos("3")),
            output_per_million: Some(nanos("15")),
            cached_input_per_million: Some(nanos("0.3")),
            ..Rates::default()
        };
        let cost = |input, output, cached_input, reasoning| {
            let used = Consumed {
                input,
                output,
                cached_input,
                reasoning,
                ..Consumed::default()
            };
            rates.cost(&used).to_string()
        };
        assert_eq!(cost(1_000_000, 0, 0, 0), "3");
        assert_eq!(cost(11, 22, 3, 0), "0.0003549");
        assert_eq!(cost(11, 22, 3, 22), "0.0003549", "reasoning has no rate of its own");
        assert_eq!(cost(5, 0, 9, 0), "0.0000015", "no more was cached than there was");
        let fine = Rates {
            input_per_million: Some(Nanos(400_000)),
            output_per_million: Some(Nanos(100_000)),
            ..Rates::default()
        };
        let used = |input, output| Consumed {
            input,
            output,
            ..Consumed::default()
        };
        // 0.4 and 0.1 of a billionth: each part alone would be rounded down to nothing.
        assert_eq!(fine.cost(&used(1, 0)), Nanos(0));
        assert_eq!(fine.cost(&used(1, 1)), Nanos(1));
    }

    #[test]
    fn everything_that_is_counted_has_its_rate() {
        let rates = Rates {
            per_million_characters: Some(nanos("16")),
            per_image: Some(nanos("0.04")),
            per_second: Some(nanos("0.006")),
            per_call: Some(nanos("0.001")),
            reasoning_per_million: Some(nanos("1")),
            ..Rates::default()
        };
        let none = Consumed::default();
        for (used, wanted) in [
            (
                Consumed {
                    characters: 250,
                    ..none
                },
                "0.004",
            ),
            (Consumed { images: 3, ..none }, "0.12"),
            (Consumed { audio_ms: 1500, ..none }, "0.009"),
            (Consumed { calls: 1, ..none }, "0.001"),
            (
                Consumed {
                    output: 10,
                    reasoning: 1,
                    ..none
                },
                "0.000001",
            ),
            (none, "0"),
        ] {
            assert_eq!(rates.cost(&used).to_string(), wanted, "{used:?}");
        }
    }

    #[test]
    fn an_absurd_count_costs_no_more_than_the_most() {
        let rates = Rates {
            per_image: Some(Nanos::LARGEST),
            ..Rates::default()
        };
        let used = Consumed {
            images: u64::MAX,
            ..Consumed::default()
        };
        assert_eq!(rates.cost(&used), MOST);
    }

    proptest! {
        #[test]
        fn more_never_costs_less(
            rates in proptest::array::uniform8(proptest::option::of(0_i64..1_000_000_000_000)),
            input in 0_u64..1_000_000_000,
            output in 0_u64..1_000_000_000,
            images in 0_u64..1000,
            audio_ms in 0_u64..10_000_000,
        ) {
            let rates = Rates::from_all(rates.map(|rate| rate.map(Nanos)));
            let used = Consumed { input, output, images, audio_ms, calls: 1, ..Consumed::default() };
            let cost = rates.cost(&used);
            for more in [
                Consumed { input: input + 1, ..used },
                Consumed { output: output + 1, ..used },
                Consumed { images: images + 1, ..used },
                Consumed { audio_ms: audio_ms + 1, ..used },
            ] {
                prop_assert!(rates.cost(&more) >= cost);
            }
            // No part is lost and none is counted twice: apart, the parts cost the same up to their rounding.
            let parts = [
                Consumed { input, ..Consumed::default() },
                Consumed { output, ..Consumed::default() },
                Consumed { images, ..Consumed::default() },
                Consumed { audio_ms, ..Consumed::default() },
                Consumed { calls: 1, ..Consumed::default() },
            ];
            let apart: i64 = parts.iter().map(|part| rates.cost(part).0).sum();
            prop_assert!((apart - cost.0).abs() <= 3 || cost == MOST);
        }
    }
}
