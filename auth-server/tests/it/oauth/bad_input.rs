//! Bad input at every endpoint: each parameter that it knows, hurt in every way, must be answered with the error of the RFC, in the form of the
//! endpoint; never with a failure of ours, and never with an error in the log.
//!
//! What is expected follows from a rule over what [`doors`] declares of a parameter, not from a table of cells.

mod doors;
mod heads;
mod hurts;
mod log;
mod pages;
mod registration;
pub(super) mod voices;

use doors::{Desk, Door, Parameter, Values};
use hurts::{Hurt, What, hurts};
use log::Errors;
use sql_test_kit::TestDatabase;
use voices::{Expected, echoes, is_sound};

use crate::app::{Builder, Fields, Reply, STATE, TestApp};

const INVALID_REQUEST: &[&str] = &["invalid_request"];

/// A provider that counts nobody's mistakes: there are thousands of them here.
pub(super) fn patient() -> Builder {
    TestApp::builder().document(doors::DOCUMENT).config(|config| {
        config.client_auth.max_failures = 1_000_000;
        config.login.max_attempts = 1_000_000;
        config.device.max_requests = u32::MAX;
        config.ciba.max_requests = u32::MAX;
        config.ciba.max_requests_per_person = u32::MAX;
        config.ciba.max_unknown = u32::MAX;
        config.ciba.max_open = u32::MAX;
        config.ciba.max_open_in_all = u32::MAX;
        config.registration.max_attempts = u32::MAX;
        config.registration.mode = auth_server::config::RegistrationModeSetting::Open;
    })
}

/// Every cell that is not as expected.
pub(super) struct Table {
    cells: usize,
    failures: Vec<String>,
    errors: Errors,
}

impl Table {
    pub(super) fn open() -> Self {
        Self {
            cells: 0,
            failures: Vec::new(),
            errors: Errors::listen(),
        }
    }

    pub(super) fn note(&mut self, row: &str, parameter: &str, hurt: &str, outcome: Result<(), String>) {
        self.cells += 1;
        let logged = self.errors.take();
        let outcome = outcome.and_then(|()| match logged.is_empty() {
            true => Ok(()),
            false => Err(format!("logged as an error: {logged:?}")),
        });
        if let Err(why) = outcome {
            let why: String = why.chars().take(320).collect();
            self.failures.push(format!(
                "{row:<20} | {parameter:<22} | {hurt:<40} | {}",
                why.replace('\n', " ")
            ));
        }
    }

    #[track_caller]
    pub(super) fn expect_none(self) {
        assert!(
            self.failures.is_empty(),
            "{} of {} cells:\n{}",
            self.failures.len(),
            self.cells,
            self.failures.join("\n")
        );
    }
}

/// The rule.
fn expected(door: Door, parameter: &Parameter, hurt: &Hurt, good: &str) -> Expected {
    let refused = |codes| match parameter.on_page && matches!(door, Door::Authorize | Door::AuthorizePost) {
        true => Expected::OnPage(codes),
        false => Expected::Refused(codes),
    };
    match hurt.what {
        // RFC 6749 §3.1: a parameter without a value is treated as if it were not there.
        What::Missing | What::Empty if parameter.missing.is_empty() => Expected::Accepted,
        What::Missing | What::Empty => refused(parameter.missing),
        What::Doubled if parameter.is_repeatable => match parameter.values {
            Values::Only(codes, _) => Expected::Either(codes),
            Values::Text(_) | Values::Lookup => Expected::Accepted,
        },
        // Nothing of such a request is believed, so nobody is redirected.
        What::Doubled | What::NotUtf8 | What::Nul | What::TooLarge => Expected::OnPage(INVALID_REQUEST),
        What::Foreign => {
            let text = hurt.text.as_deref().unwrap_or_default();
            match parameter.values {
                Values::Only(_, is_as_good) if text == good || is_as_good(text, good) => Expected::Accepted,
                Values::Only(codes, _) => refused(codes),
                Values::Text(Some(limit)) if text.len() > limit => refused(INVALID_REQUEST),
                Values::Text(_) | Values::Lookup => Expected::Accepted,
            }
        }
    }
}

/// The good request with one parameter hurt.
fn encoded(good: &Fields, name: &str, hurt: &Hurt) -> Vec<u8> {
    let mut encoded = good.clone().without(name).encode().into_bytes();
    for value in &hurt.wire {
        if !encoded.is_empty() {
            encoded.push(b'&');
        }
        encoded.extend_from_slice(name.as_bytes());
        encoded.push(b'=');
        encoded.extend_from_slice(value);
    }
    encoded
}

/// Judges one answer.
fn judge(
    app: &TestApp,
    door: Door,
    parameter: &Parameter,
    hurt: &Hurt,
    reply: &Reply,
    good: &str,
) -> Result<(), String> {
    let expected = expected(door, parameter, hurt, good);
    door.voice().judge(reply, &expected, parameter.name != "state")?;
    is_sound(reply)?;
    if matches!(parameter.values, Values::Lookup) && reply.status == 200 && door == Door::Introspect {
        let is_inactive = reply.body.as_ref() == br#"{"active":false}"#;
        if !is_inactive {
            return Err(format!("a token that nobody issued is told: {}", reply.text()));
        }
    }
    let state = match parameter.name {
        "state" => hurt.text.as_deref().filter(|text| !text.is_empty()),
        _ => Some(STATE),
    };
    echoes(reply, state, &app.issuer)
}

async fn walk(app: &TestApp, door: Door, table: &mut Table) {
    let desk = Desk::open(app).await;
    let mut good = desk.good(door).await;
    for parameter in door.parameters() {
        let sample = good.get(parameter.name).unwrap_or(parameter.sample).to_owned();
        let limit = match parameter.values {
            Values::Text(limit) => limit,
            Values::Only(..) | Values::Lookup => None,
        };
        for hurt in hurts(&sample, limit, !door.by_query()) {
            // What is meant is the value of now: the last one may be spent.
            let value = good.get(parameter.name).unwrap_or(parameter.sample).to_owned();
            let encoded = encoded(&good, parameter.name, &hurt);
            // What cannot stand in an address at all is refused before anything of ours sees it.
            if door.by_query() && http::Uri::try_from([b"/?", encoded.as_slice()].concat()).is_err() {
                continue;
            }
            let reply = desk.send(door, &encoded).await;
            let outcome = judge(app, door, &parameter, &hurt, &reply, &value);
            table.note(&format!("{door:?}"), parameter.name, &hurt.name, outcome);
            if reply.status < 300 && door.is_spent_by_success() {
                good = desk.good(door).await;
            }
        }
    }
    // The good request was good all the while: each refusal above came from what was hurt.
    let reply = desk.send(door, good.encode().as_bytes()).await;
    let outcome = door.voice().judge(&reply, &Expected::Accepted, true);
    table.note(&format!("{door:?}"), "-", "not hurt", outcome);
}

async fn walk_every_door(app: &TestApp) {
    let mut table = Table::open();
    for door in Door::ALL {
        walk(app, door, &mut table).await;
    }
    table.expect_none();
}

#[tokio::test]
async fn every_parameter_hurt_in_every_way_gets_the_error_of_its_rfc_on_sqlite() {
    walk_every_door(&patient().start().await).await;
}

#[tokio::test]
async fn every_parameter_hurt_in_every_way_gets_the_error_of_its_rfc_on_postgres() {
    let database = TestDatabase::postgres().await;
    walk_every_door(&patient().database(&database.url).start().await).await;
}
