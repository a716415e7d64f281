//! What a usage row costs: the time that a call waits for it, and the time that the database needs behind it.
//!
//! `cargo run --release -p resource-gateway --example journal_cost [DATABASE_URL]`; without a URL a temporary SQLite file.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use resource_gateway::{
    adapters::{
        journal::{Journal, JournalOptions},
        sql::{MIGRATIONS, SqlUsage},
    },
    domain::{
        ids::{ClientId, InterfaceName, ModelName, RequestId, Subject, TenantId, VendorName},
        interface::Capability,
        usage::{UsageRecord, UsageState},
    },
    ports::usage::UsageSink as _,
};
use service_kit::{Entropy, SystemClock, SystemEntropy, Timestamp};
use sql_kit::{Db, Options};

const RECORDS: u32 = 50_000;
const WITHIN: Duration = Duration::from_secs(120);

fn record(entropy: &dyn Entropy) -> UsageRecord {
    UsageRecord {
        request_id: RequestId::new(entropy.id()),
        time: Timestamp::from_seconds(1_900_000_000),
        tenant: Some(TenantId::new("main")),
        client_id: ClientId::new("service"),
        sub: Subject::new("service"),
        interface: InterfaceName::new("chat"),
        capability: Capability::Chat,
        vendor: Some(VendorName::new("sandbox")),
        model: Some(ModelName::new("sandbox-chat")),
        state: UsageState::Completed,
        stream: true,
        input_tokens: 300,
        output_tokens: 500,
        cached_input_tokens: Some(0),
        reasoning_tokens: None,
        estimated: false,
        attempts: 1,
        duration_ms: 1234,
        first_byte_ms: Some(56),
        images: 0,
        audio_ms: 0,
        characters: 0,
        cost: None,
        currency: None,
        price: None,
        access_key: None,
        node: None,
        charges: Vec::new(),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let place = std::env::temp_dir().join(format!(
        "hexgate-journal-cost-{}",
        (&SystemEntropy as &dyn Entropy).id()
    ));
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| format!("sqlite://{}", place.join("usage.db").display()));
    let db = Db::connect(&url, &Options::default()).await?;
    db.migrate(&MIGRATIONS).await?;
    let options = JournalOptions {
        dir: place.join("usage"),
        ..JournalOptions::default()
    };
    let journal = Journal::open(
        options,
        Arc::new(SqlUsage::new(db.clone(), Arc::new(SystemClock))),
        &SystemEntropy,
    )?;
    let records: Vec<_> = (0..RECORDS).map(|_| record(&SystemEntropy)).collect();
    let began = Instant::now();
    for record in &records {
        journal.take(record)?;
        journal.flush();
    }
    report("a call waits", began.elapsed());
    let began = Instant::now();
    anyhow::ensure!(
        journal.finish(WITHIN).await,
        "the database did not take the rows in time"
    );
    report("the database needs", began.elapsed());
    db.close().await;
    std::fs::remove_dir_all(&place).context("temporary files")
}

#[expect(clippy::print_stdout, reason = "printing is its purpose")]
fn report(what: &str, spent: Duration) {
    println!("{what} {:?} per row", spent / RECORDS);
}
