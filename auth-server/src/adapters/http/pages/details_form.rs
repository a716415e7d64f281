//! The part of the consent form in which a person narrows authorization details (RFC 9396): fields `rar-N-…` for the N-th call.

use std::collections::BTreeSet;

use oauth_wire::{AuthorizationDetails, Form};

use super::views::{CallLine, read_end};
use crate::domain::authorization_details::{CallChoice, NotAPart};

/// Every name of a field starts with it.
const PREFIX: &str = "rar-";

/// What was sent, for [`AuthorizationRequest::agreed`](crate::domain::authorization::AuthorizationRequest::agreed) to judge.
///
/// # Errors
/// [`NotAPart`] for a form that is not the one of this request.
pub(super) fn choices(form: &mut Form, asked: &AuthorizationDetails) -> Result<Vec<CallChoice>, NotAPart> {
    let mut choices = Vec::new();
    for (number, call) in asked.calls().enumerate() {
        let mut interfaces = BTreeSet::new();
        for (at, name) in call.interfaces.iter().enumerate() {
            match form.take(&CallLine::interface_field(number, at)) {
                None => {}
                Some(sent) if sent == *name => drop(interfaces.insert(sent)),
                Some(_) => return Err(NotAPart),
            }
        }
        let amount = form.take(&CallLine::amount_field(number));
        let amount = amount.map(|text| text.trim().to_owned());
        if amount.is_none() && call.max_cost.is_some() && !interfaces.is_empty() {
            // An emptied field is no limit at all, which nobody asked for.
            return Err(NotAPart);
        }
        let end = form.take(&CallLine::end_field(number));
        let expires_at = match end {
            None => None,
            Some(text) => Some(read_end(&text).ok_or(NotAPart)?),
        };
        choices.push(CallChoice {
            interfaces,
            amount,
            expires_at,
        });
    }
    match form.iter().any(|(name, _)| name.starts_with(PREFIX)) {
        true => Err(NotAPart),
        false => Ok(choices),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> AuthorizationDetails {
        let text = r#"[{"type": "ai_call", "interfaces": ["a", "b"], "max_cost": {"amount": "5", "currency": "EUR"}},
            {"type": "ai_call", "interfaces": ["c"], "expires_at": 2000000000}]"#;
        AuthorizationDetails::parse(text).unwrap()
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Vec<CallChoice>, NotAPart> {
        choices(&mut pairs.iter().copied().collect(), &asked())
    }

    #[test]
    fn the_fields_of_each_call_are_its_choice() {
        let read = read(&[
            ("csrf", "x"),
            ("rar-0-interface-1", "b"),
            ("rar-0-amount", " 2.50 "),
            ("rar-0-end", "2030-01-01T00:00"),
            ("rar-1-end", "2030-01-01T00:00:01"),
        ])
        .unwrap();
        assert_eq!(
            read,
            [
                CallChoice {
                    interfaces: ["b".to_owned()].into(),
                    amount: Some("2.50".into()),
                    expires_at: Some(1_893_456_000),
                },
                CallChoice {
                    interfaces: BTreeSet::new(),
                    amount: None,
                    expires_at: Some(1_893_456_001),
                },
            ]
        );
    }

    #[test]
    fn a_form_that_is_not_this_requests_is_refused() {
        for pair in [
            ("rar-0-interface-0", "b"),
            ("rar-0-interface-2", "c"),
            ("rar-2-interface-0", "a"),
            ("rar-0-currency", "USD"),
            ("rar-1-end", "tomorrow"),
            ("rar-1-end", "2030-01-01T00:00:00+02:00"),
            // Ticked, but the amount is gone.
            ("rar-0-interface-0", "a"),
        ] {
            assert_eq!(read(&[pair]), Err(NotAPart), "{pair:?}");
        }
    }
}
