//! What the storage tests stand on: a private database, a catalog of strategies, ready rows.

use std::sync::Arc;

use resource_gateway::{
    adapters::{
        guarded::webhooks::{HttpWebhooks, WebhookRules},
        sql::{MIGRATIONS, SqlConfig},
    },
    application::change_config::ChangeConfig,
    domain::{
        ids::{
            AccessKeyId, ClientId, InterfaceName, ModelName, PriceName, RequestId, StrategyName, Subject, TenantId,
            VendorName,
        },
        interface::Capability,
        money::Currency,
        snapshot::{Need, OptionFacts, StrategyCatalog, StrategyFacts},
        usage::{UsageRecord, UsageState},
        vendor::PoolStrategy,
    },
};
use service_kit::{SystemClock, Timestamp};
use sql_kit::{Db, Options};
use sql_test_kit::TestDatabase;
use token_keys::MasterKey;

/// `sandbox` wants nothing, `openai` an address and perhaps a key, `signed` everything.
#[derive(Debug)]
pub(crate) struct Catalog;

impl StrategyCatalog for Catalog {
    fn find_strategy(&self, name: &StrategyName) -> Option<StrategyFacts> {
        use Need::{Optional, Required, Unused};
        let facts = |capabilities: &[Capability], [base_url, pool, app_id, secret_id, secret_key]: [Need; 5]| {
            Some(StrategyFacts {
                capabilities: capabilities.to_vec(),
                base_url,
                pool,
                app_id,
                secret_id,
                secret_key,
                options: vec![OptionFacts {
                    name: "region",
                    need: Need::Optional,
                    values: &[],
                }],
            })
        };
        match name.as_str() {
            "sandbox" => facts(&Capability::ALL, [Unused; 5]),
            "openai" => facts(
                &[Capability::Chat, Capability::Embeddings],
                [Required, Optional, Unused, Unused, Optional],
            ),
            "signed" => facts(&[Capability::Ocr], [Optional, Optional, Required, Required, Required]),
            _ => None,
        }
    }

    fn strategy_names(&self) -> Vec<&str> {
        vec!["openai", "sandbox", "signed"]
    }

    fn pool_strategies(&self) -> &[PoolStrategy] {
        &[PoolStrategy::Random, PoolStrategy::ConsistentHash]
    }
}

/// Nobody may be told of anything.
pub(crate) fn no_webhooks() -> Arc<HttpWebhooks> {
    Arc::new(HttpWebhooks::new(WebhookRules::new(&[], Vec::new()), None))
}

/// A migrated database with its master key.
pub(crate) struct World {
    pub(crate) db: Db,
    pub(crate) database: TestDatabase,
    pub(crate) config: SqlConfig,
}

impl World {
    pub(crate) fn change_config(&self) -> ChangeConfig {
        let (config, clock) = (Arc::new(self.config.clone()), Arc::new(SystemClock));
        ChangeConfig::new(config, Arc::new(Catalog), no_webhooks(), clock)
    }

    pub(crate) async fn sqlite() -> Self {
        Self::over(TestDatabase::sqlite()).await
    }

    pub(crate) async fn postgres() -> Self {
        Self::over(TestDatabase::postgres().await).await
    }

    pub(crate) async fn over(database: TestDatabase) -> Self {
        let db = Db::connect(&database.url, &Options::default()).await.unwrap();
        db.migrate(&MIGRATIONS).await.unwrap();
        let keys = tempfile::tempdir().unwrap();
        let config = Self::config_with(&db, &keys);
        Self { db, database, config }
    }

    /// The same tables under a master key from another folder.
    pub(crate) fn config_with(db: &Db, keys: &tempfile::TempDir) -> SqlConfig {
        let key = MasterKey::load_or_create(keys.path()).unwrap();
        SqlConfig::new(db.clone(), Arc::new(key))
    }
}

/// A record with every column filled.
pub(crate) fn full_record(id: &str) -> UsageRecord {
    UsageRecord {
        request_id: RequestId::new(id),
        time: Timestamp::from_micros(1_900_000_000_000_001),
        tenant: Some(TenantId::new("main")),
        client_id: ClientId::new("service"),
        sub: Subject::new("a \"quoted\" ' sub; 日本 \\"),
        interface: InterfaceName::new("chat"),
        capability: Capability::Chat,
        vendor: Some(VendorName::new("sandbox")),
        model: Some(ModelName::new("sandbox-chat")),
        state: UsageState::ClientGoneAfterFirstByte,
        stream: true,
        input_tokens: 11,
        output_tokens: 22,
        cached_input_tokens: Some(3),
        reasoning_tokens: Some(4),
        estimated: true,
        attempts: 2,
        duration_ms: 1234,
        first_byte_ms: Some(56),
        images: 5,
        audio_ms: 6789,
        characters: 77,
        cost: Some(1_234_567_890_123),
        currency: Some(Currency::parse("EUR").unwrap()),
        price: Some(PriceName::new("list-2030")),
        access_key: Some(AccessKeyId::new("ak")),
        node: None,
        charges: Vec::new(),
    }
}

/// A record with every optional column empty.
pub(crate) fn bare_record(id: &str) -> UsageRecord {
    UsageRecord {
        tenant: None,
        vendor: None,
        model: None,
        state: UsageState::Rejected,
        stream: false,
        cached_input_tokens: None,
        reasoning_tokens: None,
        estimated: false,
        attempts: 0,
        first_byte_ms: None,
        images: 0,
        audio_ms: 0,
        characters: 0,
        cost: None,
        currency: None,
        price: None,
        access_key: None,
        ..full_record(id)
    }
}
