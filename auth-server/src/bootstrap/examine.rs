//! What `doctor` looks at.

use std::sync::Arc;

use token_keys::MasterKey;

use crate::{
    adapters::{outbound::GuardSettings, sql::SqlStore},
    application::{client_rules, keyring::Keyring, policy::Policy},
    config::Config,
    domain::{client::Client, client_auth::ClientFault},
    ports::store::{Clients as _, PageRequest, SigningKeys as _},
};

use super::{
    Ambient,
    foundation::{connect, guard_settings, policy},
};

/// Looks at an installation without changing it: what it says is what `doctor` tells, check by check.
pub async fn examine(config: &Config, ambient: &Ambient) -> Vec<(&'static str, anyhow::Result<String>)> {
    let master = MasterKey::load(&config.keys.dir).map_err(anyhow::Error::from);
    let mut told = vec![
        (
            "master key",
            master
                .as_ref()
                .map(|_| format!("loaded from {}", config.keys.dir.display()))
                .map_err(|error| anyhow::anyhow!("{error}")),
        ),
        ("outbound requests", guard_settings(config).map(|guard| told_of(&guard))),
    ];
    let store = match connect(config).await {
        Ok(store) => Arc::new(store),
        Err(error) => {
            told.push(("database", Err(error)));
            return told;
        }
    };
    let keys = store.list_keys().await;
    told.push((
        "database",
        match &keys {
            Ok(_) => Ok("answers, and has the schema".into()),
            Err(error) => Err(anyhow::anyhow!("{error}; run `auth-server migrate`")),
        },
    ));
    if let (Ok(keys), Ok(master)) = (keys, master) {
        let algs = config.keys.signing_algs();
        let opened = Keyring::load(store.clone(), ambient.clock.clone(), master, algs).await;
        told.push((
            "signing keys",
            match opened {
                Ok(_) if keys.is_empty() => Err(anyhow::anyhow!("there are none; run `auth-server migrate`")),
                Ok(_) => Ok(format!("{} stored, those in use open with this master key", keys.len())),
                Err(error) => Err(error.into()),
            },
        ));
    }
    let clients = match policy(config) {
        Ok(policy) => registrations(store.as_ref(), &policy).await,
        Err(error) => Err(error),
    };
    told.push(("clients", clients));
    store.close().await;
    told
}

fn told_of(guard: &GuardSettings) -> String {
    let hosts: Vec<String> = guard.allowed.iter().map(ToString::to_string).collect();
    let roots = match guard.roots.len() {
        0 => "the system's certificate authorities".to_owned(),
        extra => format!("the system's certificate authorities and {extra} more"),
    };
    match hosts.as_slice() {
        [] => format!("https at public addresses, {roots}"),
        hosts => format!("https at public addresses, anything at {}, {roots}", hosts.join(", ")),
    }
}

/// Which clients break the rules by which they would be registered today: what they ask for may fail.
async fn registrations(store: &SqlStore, policy: &Policy) -> anyhow::Result<String> {
    let (mut count, mut faults, mut after) = (0_usize, Vec::new(), None);
    loop {
        let page = store.list_clients(PageRequest { after, limit: 200 }).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.client_id.as_str().to_owned());
        count += page.len();
        let found = |client: &Client| {
            let told = |fault: ClientFault| format!("{} of {} {}", fault.member, client.client_id, fault.reason);
            client_rules::faults(client, policy)
                .into_iter()
                .map(told)
                .collect::<Vec<_>>()
        };
        faults.extend(page.iter().flat_map(found));
    }
    match faults.as_slice() {
        [] => Ok(format!("{count} registered, all by the rules")),
        [first, ..] => Err(anyhow::anyhow!(
            "{} faults in {count} registrations, such as: {first}",
            faults.len()
        )),
    }
}
