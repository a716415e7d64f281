//! Which budgets a call counts against, and what each of them has to hold back for it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use service_kit::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::{
    application::budgets::{Bound, BudgetError, Demand},
    domain::{
        budget::{Budget, Firmness, Period, Selector, Spender},
        call::Call,
        caller::{Caller, Denied},
        crowding::MOST_COUNTING,
        fault::{ErrorKind, PublicError, RetryHints},
        ids::{AccessKeyId, RawRouteName, TenantId},
        interface::{Capability, Interface},
        money::{Currency, Nanos},
        price::{Consumed, Price, Sought},
        snapshot::Snapshot,
    },
    ports::budget::Account,
};

use super::InvokeError;

/// Tokens that an answer may have when the caller sets no bound. Held back until the call has ended; at the edge of a budget a
/// call goes on with less.
const UNBOUNDED_OUTPUT: u64 = 4096;
const MINUTE_MS: u64 = 60_000;
/// Longer keys do not fit an index; what is longer is kept by its digest.
const LONGEST_KEY: usize = 256;

/// What a call is about to cost.
struct Estimate {
    currency: Currency,
    least: Nanos,
    most: Nanos,
}

/// What every budget has to hold back. Empty, and nothing was done for it, when no budget knows the call.
///
/// # Errors
/// The token limits what calls cost, and what this one costs is not known, or not in that currency; or more budgets count it than can.
pub(super) fn demands(
    snapshot: &Snapshot,
    caller: &Caller,
    interface: &Interface,
    call: &Call,
    at: Timestamp,
) -> Result<Vec<Demand>, InvokeError> {
    let name = interface.name.as_str();
    let mut limits = caller.cost_limits(name, at.as_seconds()).peekable();
    if snapshot.budgets().is_empty() && limits.peek().is_none() {
        return Ok(Vec::new());
    }
    let spender = Spender {
        tenant: caller.tenant.as_ref().map(TenantId::as_str),
        client_id: caller.client_id.as_str(),
        sub: caller.sub.as_str(),
        access_key: caller.access_key.as_ref().map(AccessKeyId::as_str),
    };
    let bound = bound_of(interface.capability, call);
    let mut demands = Vec::new();
    let mut estimate = None;
    for budget in snapshot.budgets().matching(&spender, name) {
        let Some(money) = &budget.money else { continue };
        // None of them may be passed over, and the record names no more.
        if demands.len() >= MOST_COUNTING {
            return Err(crowded());
        }
        // A tenant's budget may not be able to see what this costs, and then it cannot pay for it.
        if snapshot.is_blind(&budget.name, &interface.name) {
            return Err(unpriced());
        }
        if estimate.is_none() {
            // Every other call that a budget counts has a price, or the configuration would not have been published.
            estimate = Some(estimated(snapshot, interface, call, at)?.ok_or_else(unpriced)?);
        }
        let Some(estimate) = &estimate else { continue };
        demands.push(Demand {
            account: Account {
                key: short(budget.key(&spender)),
                budget: Some(budget.name.clone()),
                period: money.period.start(at),
            },
            every: money.period,
            firmness: money.firmness,
            amount: money.amount,
            least: estimate.least,
            most: estimate.most,
            bound,
            shown: is_own(budget).then(|| budget.name.clone()),
        });
    }
    if limits.peek().is_some() {
        let estimate = match estimate {
            Some(estimate) => Some(estimate),
            None => estimated(snapshot, interface, call, at)?,
        };
        // What has no price is accounted for to nobody, so it uses up nothing of what was agreed.
        let Some(estimate) = estimate else { return Ok(demands) };
        // What a person agreed to in one currency cannot be held in another.
        let amount = limits
            .filter(|cost| cost.currency == estimate.currency.as_str())
            .filter_map(oauth_wire::Cost::micros)
            .max()
            .ok_or(InvokeError::Denied(Denied::Details))?;
        let nanos = i64::try_from(amount).ok().and_then(|micros| micros.checked_mul(1000));
        demands.push(Demand {
            account: Account {
                key: short(format!("grant:{}:{}", caller.grant(), estimate.currency)),
                budget: None,
                period: Period::Total.start(at),
            },
            every: Period::Total,
            firmness: Firmness::Hard,
            amount: Nanos(nanos.unwrap_or(i64::MAX)),
            least: estimate.least,
            most: estimate.most,
            bound,
            shown: None,
        });
    }
    Ok(demands)
}

/// Whether a call may be paid for by the second, so that somebody has to tell how many there were: of a transcription's formats one
/// alone does.
pub(super) fn is_timed(snapshot: &Snapshot, interface: &Interface, at: Timestamp) -> bool {
    let name = interface.name.as_str();
    interface.capability == Capability::Transcription
        && interface.routes.iter().any(|route| {
            let sought = Sought {
                interface: name,
                route: None,
                vendor: route.vendor.as_str(),
                model: route.model.as_str(),
            };
            let price = snapshot.prices().find(sought, at);
            price.is_some_and(|price| price.rates.per_second.is_some_and(|rate| !rate.is_zero()))
        })
}

/// What the call costs over the dearest of its routes; `None` when none of them has a price.
///
/// # Errors
/// They are priced in different currencies, so that no limit in one of them can be held.
fn estimated(
    snapshot: &Snapshot,
    interface: &Interface,
    call: &Call,
    at: Timestamp,
) -> Result<Option<Estimate>, InvokeError> {
    let mut whole: Option<Estimate> = None;
    for route in &interface.routes {
        let sought = Sought {
            interface: interface.name.as_str(),
            route: call.raw_route().map(RawRouteName::as_str),
            vendor: route.vendor.as_str(),
            model: route.model.as_str(),
        };
        let Some(price) = snapshot.prices().find(sought, at) else {
            continue;
        };
        let (least, most) = bounds(price, interface.capability, call);
        let sum = whole.get_or_insert(Estimate {
            currency: price.currency,
            least,
            most,
        });
        if sum.currency != price.currency {
            return Err(InvokeError::Denied(Denied::Details));
        }
        sum.least = sum.least.max(least);
        sum.most = sum.most.max(most);
    }
    Ok(whole)
}

fn bound_of(capability: Capability, call: &Call) -> Bound {
    match capability {
        Capability::Chat if call.asked_output == 0 => Bound::Assumed,
        // How long a recording is shows in the answer.
        Capability::Transcription | Capability::Speech => Bound::Assumed,
        Capability::Chat
        | Capability::Embeddings
        | Capability::Image
        | Capability::Ocr
        | Capability::Labels
        | Capability::Faces
        | Capability::Moderation
        | Capability::Rerank
        | Capability::Raw => Bound::Known,
    }
}

/// What a call costs at least, and what it may cost.
fn bounds(price: &Price, capability: Capability, call: &Call) -> (Nanos, Nanos) {
    let sure = Consumed {
        input: call.estimated_input,
        calls: 1,
        ..Consumed::default()
    };
    let output = match call.asked_output {
        0 if capability == Capability::Chat => UNBOUNDED_OUTPUT.saturating_mul(call.choices),
        asked => asked,
    };
    // What shows only in the answer is taken to be as much as vendors do in one call.
    let possible = match capability {
        Capability::Image => Consumed { images: 10, ..sure },
        Capability::Ocr | Capability::Labels | Capability::Faces => Consumed { images: 1, ..sure },
        Capability::Speech => Consumed {
            characters: 4096,
            audio_ms: 5 * MINUTE_MS,
            ..sure
        },
        Capability::Transcription => Consumed {
            audio_ms: 30 * MINUTE_MS,
            ..sure
        },
        Capability::Chat | Capability::Embeddings | Capability::Moderation | Capability::Rerank | Capability::Raw => {
            sure
        }
    };
    let (mut least, most) = (
        price.rates.cost(&sure),
        price.rates.cost(&Consumed { output, ..possible }),
    );
    // A call whose cost shows only later still needs something to be left.
    if least.is_zero() && price.rates.all().iter().flatten().any(|rate| !rate.is_zero()) {
        least = Nanos(1);
    }
    (least, most.max(least))
}

/// Whether the caller may be told of the budget by name: it is theirs, not one that they share with others.
fn is_own(budget: &Budget) -> bool {
    let Selector {
        client_id,
        sub,
        access_key,
        ..
    } = &budget.selector;
    client_id.is_some() || sub.is_some() || access_key.is_some()
}

fn short(key: String) -> String {
    if key.len() <= LONGEST_KEY {
        return key;
    }
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&key));
    let name: String = key.chars().take_while(|c| !matches!(c, '|')).take(80).collect();
    format!("{name}|sha256={digest}")
}

fn unpriced() -> InvokeError {
    let message = "What this call costs is not known, so no budget can pay for it.";
    PublicError::new(503, ErrorKind::Server, "price_unavailable", message).into()
}

fn crowded() -> InvokeError {
    let message = "More budgets count this call than one call can be charged to.";
    PublicError::new(503, ErrorKind::Server, "too_many_budgets", message).into()
}

/// What the caller is told.
pub(super) fn refusal(error: BudgetError) -> PublicError {
    match error {
        BudgetError::Exhausted(budget) => {
            let message = match budget {
                Some(name) => format!("You exceeded your current quota: the budget '{name}' is used up."),
                None => {
                    "You exceeded your current quota: a budget that this call counts against is used up.".to_owned()
                }
            };
            PublicError {
                hints: RetryHints {
                    // Waiting a little does not help; SDKs would try again after any other 429.
                    should_retry: Some("false".into()),
                    ..RetryHints::default()
                },
                ..PublicError::new(429, ErrorKind::Quota, "insufficient_quota", message)
            }
        }
        BudgetError::Unavailable => {
            let message = "The gateway cannot look into budgets now.";
            PublicError::new(503, ErrorKind::Server, "budget_unavailable", message)
        }
    }
}
