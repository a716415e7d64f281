//! Rich authorization requests (RFC 9396): what a client may ask for, what a person makes of it, and what is less than what.

use std::collections::BTreeSet;

use oauth_wire::{AI_SCOPE, AiCall, AuthorizationDetail, AuthorizationDetails, Cost, DetailsFault, Scope};

use super::{authorization::AuthorizationRequest, client::Client};

/// What a person leaves of one `ai_call`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallChoice {
    /// None of them: the call is left out.
    pub interfaces: BTreeSet<String>,
    /// In the currency of the request; `None`: no more is said than the request says.
    pub amount: Option<String>,
    /// Seconds since the epoch; `None`: as the request says.
    pub expires_at: Option<i64>,
}

/// A person's choice is not part of what was asked for, or nothing is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the choice is not part of the request")]
pub struct NotAPart;

impl Client {
    /// Whether the client may ask for these details at `now` (seconds), for itself or for others (RFC 9396 §5).
    ///
    /// # Errors
    /// [`DetailsFault`].
    pub fn check_details(&self, details: &AuthorizationDetails, now: i64) -> Result<(), DetailsFault> {
        let registered = &self.protocol.authorization_details_types;
        let mut types = details.0.iter().map(AuthorizationDetail::type_name);
        if !registered.is_empty() && !types.all(|name| registered.contains(name)) {
            return Err(DetailsFault(
                "the client is not registered for this type of authorization_details",
            ));
        }
        if details.calls().any(|call| call.has_ended(now)) {
            return Err(DetailsFault("expires_at is in the past"));
        }
        let mine = self.ai_interfaces.as_ref();
        match details
            .calls()
            .all(|call| mine.is_none_or(|mine| call.interfaces.is_subset(mine)))
        {
            true => Ok(()),
            false => Err(DetailsFault(
                "an ai_call names an interface that the client may not use",
            )),
        }
    }
}

/// Details narrow what scopes open; without a scope for the gateway there would be nothing to narrow.
pub fn needs_scope(details: &AuthorizationDetails, scope: &Scope) -> bool {
    !details.is_empty() && !scope.iter().any(|token| token.starts_with(AI_SCOPE))
}

/// Those whose time is not over at `now` (seconds).
pub fn live(details: &AuthorizationDetails, now: i64) -> AuthorizationDetails {
    details.calls().filter(|call| !call.has_ended(now)).cloned().collect()
}

/// The second from which on the details permit nothing; `None` when one of them has no end, or there are none.
pub fn end(details: &AuthorizationDetails) -> Option<i64> {
    let ends: Option<Vec<i64>> = details.calls().map(|call| call.expires_at).collect();
    ends?.into_iter().max()
}

/// Whether `asked` permits nothing that `granted` does not. Each member needs one of its own that covers it, or two halves could
/// each spend the whole of a cost.
pub fn is_part(asked: &AuthorizationDetails, granted: &AuthorizationDetails) -> bool {
    let asked: Vec<&AiCall> = asked.calls().collect();
    let granted: Vec<&AiCall> = granted.calls().collect();
    let mut taken_by: Vec<Option<usize>> = vec![None; granted.len()];
    (0..asked.len()).all(|at| place(at, &asked, &granted, &mut taken_by, &mut vec![false; granted.len()]))
}

/// Finds a granted call for the asked one, and moves others on for it where they have another (Kuhn's matching).
fn place(
    at: usize,
    asked: &[&AiCall],
    granted: &[&AiCall],
    taken_by: &mut Vec<Option<usize>>,
    seen: &mut Vec<bool>,
) -> bool {
    let Some(call) = asked.get(at) else { return false };
    for (slot, whole) in granted.iter().enumerate() {
        if seen.get(slot) != Some(&false) || !covers(whole, call) {
            continue;
        }
        if let Some(seen) = seen.get_mut(slot) {
            *seen = true;
        }
        let holder = taken_by.get(slot).copied().flatten();
        if holder.is_none_or(|other| place(other, asked, granted, taken_by, seen)) {
            if let Some(taken) = taken_by.get_mut(slot) {
                *taken = Some(at);
            }
            return true;
        }
    }
    false
}

fn covers(whole: &AiCall, part: &AiCall) -> bool {
    let cost = match (&whole.max_cost, &part.max_cost) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(whole), Some(part)) => whole.currency == part.currency && part.micros() <= whole.micros(),
    };
    let time = match (whole.expires_at, part.expires_at) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(whole), Some(part)) => part <= whole,
    };
    cost && time && part.interfaces.is_subset(&whole.interfaces)
}

/// What a person leaves of a request at `now` (seconds): one choice for each call, in order. Nothing that they send can add to it.
///
/// # Errors
/// [`NotAPart`].
pub fn narrow(
    asked: &AuthorizationDetails,
    choices: &[CallChoice],
    now: i64,
) -> Result<AuthorizationDetails, NotAPart> {
    if asked.0.len() != choices.len() {
        return Err(NotAPart);
    }
    let mut left = Vec::new();
    for (call, choice) in asked.calls().zip(choices) {
        if choice.interfaces.is_empty() {
            continue;
        }
        let max_cost = match (&call.max_cost, &choice.amount) {
            (None, None) => None,
            (None, Some(_)) => return Err(NotAPart),
            (Some(cost), None) => Some(cost.clone()),
            (Some(cost), Some(amount)) => Some(Cost {
                amount: amount.clone(),
                currency: cost.currency.clone(),
            }),
        };
        let chosen = AiCall {
            interfaces: choice.interfaces.clone(),
            max_cost,
            expires_at: choice.expires_at.or(call.expires_at),
        };
        let is_money = |cost: &Cost| cost.micros().is_some_and(|micros| micros > 0);
        if !covers(call, &chosen) || !chosen.max_cost.as_ref().is_none_or(is_money) || chosen.has_ended(now) {
            return Err(NotAPart);
        }
        left.push(chosen);
    }
    match left.is_empty() {
        true => Err(NotAPart),
        false => Ok(left.into_iter().collect()),
    }
}

impl AuthorizationRequest {
    /// The request with what the person, who is answering it right now, leaves of its details.
    ///
    /// # Errors
    /// [`NotAPart`].
    pub fn agreed(&self, choices: &[CallChoice], now: i64) -> Result<Self, NotAPart> {
        if self.authorization_details.is_empty() {
            return Ok(self.clone());
        }
        Ok(Self {
            authorization_details: narrow(&self.authorization_details, choices, now)?,
            details_agreed: true,
            ..self.clone()
        })
    }

    /// Whether somebody has to agree to details. They are asked for every request: what was agreed to once says nothing of what
    /// another limit would be.
    pub fn has_details_to_consent(&self, client: &Client) -> bool {
        !self.authorization_details.is_empty() && !self.details_agreed && !client.auto_approve
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1000;

    fn call(interfaces: &str, cost: Option<(&str, &str)>, expires_at: Option<i64>) -> AiCall {
        AiCall {
            interfaces: interfaces.split_whitespace().map(str::to_owned).collect(),
            max_cost: cost.map(|(amount, currency)| Cost {
                amount: amount.into(),
                currency: currency.into(),
            }),
            expires_at,
        }
    }

    fn choice(interfaces: &str, amount: Option<&str>, expires_at: Option<i64>) -> CallChoice {
        CallChoice {
            interfaces: interfaces.split_whitespace().map(str::to_owned).collect(),
            amount: amount.map(str::to_owned),
            expires_at,
        }
    }

    fn details<const N: usize>(calls: [AiCall; N]) -> AuthorizationDetails {
        calls.into_iter().collect()
    }

    #[test]
    fn a_part_has_fewer_interfaces_less_money_and_less_time() {
        let whole = details([call("a b", Some(("5.00", "EUR")), Some(2000))]);
        for (part, wanted) in [
            (call("a b", Some(("5", "EUR")), Some(2000)), true),
            (call("a", Some(("4.999999", "EUR")), Some(1999)), true),
            (call("c", Some(("5", "EUR")), Some(2000)), false),
            (call("a b c", Some(("5", "EUR")), Some(2000)), false),
            (call("a", Some(("5.000001", "EUR")), Some(2000)), false),
            (call("a", Some(("5", "USD")), Some(2000)), false),
            (call("a", None, Some(2000)), false),
            (call("a", Some(("5", "EUR")), Some(2001)), false),
            (call("a", Some(("5", "EUR")), None), false),
        ] {
            assert_eq!(is_part(&details([part.clone()]), &whole), wanted, "{part:?}");
        }
        let unlimited = details([call("a", None, None)]);
        assert!(is_part(&details([call("a", Some(("5", "USD")), Some(1))]), &unlimited));
    }

    #[test]
    fn one_limit_is_not_spent_twice_whatever_the_order() {
        let whole = details([call("a b", None, None), call("a", None, None)]);
        assert!(is_part(
            &details([call("a", None, None), call("b", None, None)]),
            &whole
        ));
        assert!(is_part(
            &details([call("a", None, None), call("a", None, None)]),
            &whole
        ));
        assert!(!is_part(
            &details([call("b", None, None), call("b", None, None)]),
            &whole
        ));
        assert!(!is_part(
            &details([call("a", None, None), call("a", None, None), call("a", None, None)]),
            &whole
        ));
    }

    #[test]
    fn a_person_leaves_a_part_and_nothing_else() {
        let asked = details([call("a b", Some(("5.00", "EUR")), Some(2000)), call("c", None, None)]);
        let leave = |first, second| narrow(&asked, &[first, second], NOW);
        assert_eq!(
            leave(choice("a b", None, None), choice("c", None, None)),
            Ok(asked.clone())
        );
        assert_eq!(
            leave(choice("b", Some("1"), Some(1500)), choice("", None, None)),
            Ok(details([call("b", Some(("1", "EUR")), Some(1500))]))
        );
        assert_eq!(
            leave(choice("", Some("x"), None), choice("c", None, Some(1001))),
            Ok(details([call("c", None, Some(1001))]))
        );
        let none = || choice("", None, None);
        for (first, second) in [
            (none(), none()),
            (choice("a c", None, None), none()),
            (choice("a", Some("5.01"), None), none()),
            (choice("a", Some("0"), None), none()),
            (choice("a", Some("1e1"), None), none()),
            (choice("a", Some("much"), None), none()),
            (choice("a", None, Some(2001)), none()),
            (choice("a", None, Some(NOW)), none()),
            (none(), choice("c", Some("1"), None)),
        ] {
            assert_eq!(
                leave(first.clone(), second.clone()),
                Err(NotAPart),
                "{first:?} {second:?}"
            );
        }
        assert_eq!(narrow(&asked, &[choice("a", None, None)], NOW), Err(NotAPart));
    }

    #[test]
    fn details_end_when_the_last_of_them_does() {
        assert_eq!(end(&details([])), None);
        assert_eq!(
            end(&details([call("a", None, Some(5)), call("b", None, Some(9))])),
            Some(9)
        );
        assert_eq!(end(&details([call("a", None, Some(5)), call("b", None, None)])), None);
        let left = live(
            &details([call("a", None, Some(NOW)), call("b", None, Some(NOW + 1))]),
            NOW,
        );
        assert_eq!(left, details([call("b", None, Some(NOW + 1))]));
    }

    fn any_call() -> impl Strategy<Value = AiCall> {
        let names = proptest::collection::btree_set("[a-c]", 1..4);
        let cost = proptest::option::of((1u8..4, prop_oneof![Just("EUR"), Just("USD")]));
        (names, cost, proptest::option::of(1001i64..1004)).prop_map(|(interfaces, cost, expires_at)| AiCall {
            interfaces,
            max_cost: cost.map(|(amount, currency)| Cost {
                amount: amount.to_string(),
                currency: currency.into(),
            }),
            expires_at,
        })
    }

    proptest! {
        #[test]
        fn whatever_a_person_sends_the_grant_is_a_part_of_the_request(
            asked in proptest::collection::vec(any_call(), 1..4),
            chosen in proptest::collection::vec((proptest::collection::btree_set("[a-d]", 0..4), proptest::option::of("[0-4.]{1,3}"), proptest::option::of(998i64..1006)), 1..4),
        ) {
            let asked: AuthorizationDetails = asked.into_iter().collect();
            let choices: Vec<CallChoice> = chosen
                .into_iter()
                .map(|(interfaces, amount, expires_at)| CallChoice { interfaces, amount, expires_at })
                .collect();
            if let Ok(left) = narrow(&asked, &choices, NOW) {
                prop_assert!(is_part(&left, &asked));
                prop_assert!(!left.is_empty() && left == live(&left, NOW));
            }
        }
    }
}
