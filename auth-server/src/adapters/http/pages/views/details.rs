//! Authorization details (RFC 9396) in words and fields.

use oauth_wire::AiCall;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{super::texts::Texts, parts::name, words::Moment};

/// One `ai_call` on the consent page.
#[derive(Debug, Clone)]
pub(crate) struct CallLine {
    /// Of all calls, from 0: ids and names of fields tell by it to which they belong.
    pub(crate) number: usize,
    pub(crate) interfaces: Vec<InterfaceBox>,
    pub(crate) cost: Option<CostField>,
    pub(crate) end: Option<Moment>,
    /// The same end as fields of type `datetime-local` write it.
    pub(crate) end_value: String,
}

/// An interface that can be left out.
#[derive(Debug, Clone)]
pub(crate) struct InterfaceBox {
    pub(crate) field: String,
    /// As it was asked for.
    pub(crate) value: String,
    /// For people.
    pub(crate) label: String,
}

/// The most that calls may cost.
#[derive(Debug, Clone)]
pub(crate) struct CostField {
    pub(crate) amount: String,
    pub(crate) currency: String,
}

impl CallLine {
    pub(crate) fn new(texts: &Texts, number: usize, call: &AiCall) -> Self {
        let interfaces = call.interfaces.iter().enumerate();
        Self {
            number,
            interfaces: interfaces
                .map(|(at, interface)| InterfaceBox {
                    field: Self::interface_field(number, at),
                    value: interface.clone(),
                    label: name(interface),
                })
                .collect(),
            cost: call.max_cost.as_ref().map(|cost| CostField {
                amount: cost.amount.clone(),
                currency: name(&cost.currency),
            }),
            end: call.expires_at.map(|at| Moment::on(texts, at)),
            end_value: call.expires_at.map(local).unwrap_or_default(),
        }
    }

    pub(crate) fn interface_field(number: usize, at: usize) -> String {
        format!("rar-{number}-interface-{at}")
    }

    pub(crate) fn amount_field(number: usize) -> String {
        format!("rar-{number}-amount")
    }

    pub(crate) fn end_field(number: usize) -> String {
        format!("rar-{number}-end")
    }
}

impl CostField {
    pub(super) fn shown(&self) -> String {
        format!("{} {}", name(&self.amount), self.currency)
    }
}

/// Seconds since the epoch as the value of a field of type `datetime-local`, which has no time zone; here it is UTC.
fn local(at: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(at).ok();
    let text = moment.and_then(|moment| moment.format(&Rfc3339).ok());
    text.map(|text| text.trim_end_matches('Z').to_owned())
        .unwrap_or_default()
}

/// Reads the value of a field of type `datetime-local` as UTC. Browsers leave the seconds out when they are zero.
pub(crate) fn read_end(text: &str) -> Option<i64> {
    let whole = match text.len() {
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => return None,
    };
    let moment = OffsetDateTime::parse(&whole, &Rfc3339).ok()?;
    Some(moment.unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_comes_back_as_it_was_shown() {
        for at in [0, 1_893_456_000, 1_900_000_001, 253_402_300_799] {
            assert_eq!(read_end(&local(at)), Some(at));
        }
        assert_eq!(read_end("2030-01-01T00:00"), Some(1_893_456_000));
        for wrong in [
            "",
            "2030-01-01",
            "2030-13-01T00:00",
            "2030-01-01T00:00:00Z",
            "日本日本日a",
            "2030-01-01T24:00:00",
        ] {
            assert_eq!(read_end(wrong), None, "{wrong}");
        }
    }
}
