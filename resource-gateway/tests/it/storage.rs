//! One contract over both engines: what goes in comes out, changes are atomic, usage stays single.

use resource_gateway::{
    adapters::sql::{SqlReports, SqlUsage},
    domain::{
        balance::HashKey,
        breaker::BreakerPolicy,
        confidence::Confidence,
        config_row::Row,
        conversation::ConversationPolicy,
        ids::{InterfaceName, ModelName, RawRouteName, StrategyName, VendorName},
        interface::{
            Capability, FieldAction, FieldRule, Interface, JsonPointer, LogPolicy, Policy, Route, Timeouts,
            WhenUnsupported,
        },
        job::JobPolicy,
        limits::Limits,
        raw::{PathPattern, RawPolicy, RawRoute},
        snapshot::Revision,
        usage::UsageRecord,
        vendor::{Address, BaseUrl, Credential, Discovery, HealthCheck, Pool, PoolStrategy, SecretKey, Switch, Vendor},
    },
    ports::{
        config_source::{ConfigSource as _, ConfigStore as _, StoreError},
        usage::{UsageBatch, UsageStore as _},
        usage_reports::{UsageFilter, UsageReports as _, UsageRow},
    },
};
use service_kit::SystemClock;
use sql_kit::{Sql, args, sql};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::storage_world::{World, bare_record, full_record};

const SEALED: Sql = sql!("SELECT secret_key FROM vendor WHERE name = ?");
const MOVE_SECRET: Sql =
    sql!("UPDATE vendor SET secret_key = (SELECT secret_key FROM vendor WHERE name = ?) WHERE name = ?");
const BREAK_CAPABILITY: Sql = sql!("UPDATE interface SET capability = 'sorcery' WHERE name = 'chat'");
const BREAK_ADDRESS: Sql = sql!("UPDATE pool_address SET url = 'nowhere' WHERE vendor = 'a'");
const COUNT: Sql = sql!("SELECT COUNT(*) FROM usage_record");
const DROP_USAGE: Sql = sql!("DROP TABLE usage_record");

fn vendor(name: &str) -> Vendor {
    let address = |url: &str, weight| Address {
        url: BaseUrl::parse(url).unwrap(),
        weight,
    };
    Vendor {
        name: VendorName::new(name),
        strategy: StrategyName::new("openai"),
        enabled: Switch::On,
        base_url: Some(BaseUrl::parse("https://api.test/v1").unwrap()),
        credential: Credential {
            app_id: Some("app".into()),
            secret_id: Some("id".into()),
            secret_key: SecretKey::Present("sk-very-secret".to_owned().into()),
        },
        options: BTreeMap::from([("region".to_owned(), "eu-north-1".to_owned())]),
        pool: Pool {
            strategy: Some(PoolStrategy::ConsistentHash),
            addresses: vec![address("http://10.0.0.2:8000", 3), address("http://10.0.0.1", 0)],
            hash_key: Some(HashKey::parse("header:x-team").unwrap()),
            discovery: Discovery::Dns,
            slow_start: Duration::from_secs(3),
            breaker: BreakerPolicy {
                failure_permille: 333,
                window: Duration::from_millis(1234),
                ..BreakerPolicy::default()
            },
            health: Some(Box::new(HealthCheck {
                path: "/health".into(),
                interval: Duration::from_secs(1),
                timeout: Duration::from_millis(200),
                expect_status: 204,
            })),
        },
    }
}

fn interface(name: &str) -> Interface {
    let rule = |pointer: &str, action| FieldRule {
        pointer: JsonPointer::parse(pointer).unwrap(),
        action,
        enabled: Switch::On,
    };
    let route = |vendor: &str, model: &str, weight, priority| Route {
        vendor: VendorName::new(vendor),
        model: ModelName::new(model),
        weight,
        priority,
    };
    Interface {
        name: InterfaceName::new(name),
        capability: Capability::Chat,
        enabled: Switch::Off,
        routes: vec![route("b", "m2", 2, 1), route("a", "m1", 1, 0)],
        fields: vec![
            rule("/temperature", FieldAction::Fill(serde_json::json!(0.25))),
            rule(
                "/metadata/team",
                FieldAction::Force(serde_json::json!({"a": [1, null, "x"]})),
            ),
            FieldRule {
                enabled: Switch::Off,
                ..rule("/user", FieldAction::Forbid)
            },
        ],
        timeouts: Timeouts {
            connect: Duration::from_millis(1),
            first_byte: Duration::from_millis(2),
            idle: Duration::from_millis(3),
            total: Duration::from_millis(4),
        },
        log: LogPolicy {
            metadata: Switch::Off,
            payload: Switch::On,
            image_base64: Switch::On,
        },
        policy: Policy {
            max_attempts: 7,
            when_unsupported: WhenUnsupported::Drop,
            limits: Limits {
                requests_per_minute: Some(60),
                concurrency: Some(4),
                shadow: Switch::On,
                ..Limits::default()
            },
            sticky: Some(HashKey::Session),
            hedge_after: Some(Duration::from_millis(750)),
            min_confidence: Some(Confidence::new(0.1).unwrap()),
            jobs: JobPolicy {
                enabled: Switch::On,
                retention_hours: 7,
                max_waiting_per_client: 8,
            },
            cache_ttl: Some(Duration::from_secs(90)),
            conversation: ConversationPolicy {
                enabled: Switch::On,
                max_messages: 3,
                max_context_tokens: 4000,
                retention_days: 5,
            },
            raw: Some(Arc::new(RawPolicy {
                allow: vec![RawRoute {
                    name: RawRouteName::new("make"),
                    methods: vec![axum::http::Method::POST, axum::http::Method::GET],
                    path: PathPattern::parse("/things/*/**").unwrap(),
                }],
                headers: vec![axum::http::HeaderName::from_static("x-tag")],
                response_headers: Vec::new(),
            })),
        },
    }
}

async fn put(world: &World, vendors: &[Vendor], interfaces: &[Interface]) -> Revision {
    let mut change = world.config.begin_change().await.unwrap();
    for vendor in vendors {
        change.put(&Row::Vendor(vendor.clone())).await.unwrap();
    }
    for interface in interfaces {
        change.put(&Row::Interface(interface.clone())).await.unwrap();
    }
    change.commit().await.unwrap()
}

/// One test per engine for each promise.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            use crate::storage_world::World;
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(World::sqlite().await).await; })+
        }
        mod postgres {
            use crate::storage_world::World;
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(World::postgres().await).await; })+
        }
    };
}

pub(crate) use on_both;

on_both!(
    what_is_put_comes_back_and_counts_the_revision_up,
    putting_again_replaces_the_whole,
    a_change_that_is_dropped_never_was,
    changes_at_once_come_one_after_the_other,
    a_secret_is_sealed_and_opens_only_in_its_row_and_with_its_key,
    a_row_that_makes_no_sense_is_named_and_hides_no_other,
    usage_comes_back_as_it_was_and_stays_single,
    a_batch_that_takes_statements_of_every_size_comes_back_as_it_was,
    records_of_an_older_version_are_taken,
    batches_that_overlap_do_not_block_each_other,
    an_empty_batch_tells_whether_usage_can_be_stored,
);

async fn what_is_put_comes_back_and_counts_the_revision_up(world: World) {
    assert_eq!(world.config.current_revision().await.unwrap(), Revision(0));
    let empty = world.config.load_rows().await.unwrap();
    assert!(empty.vendors.is_empty() && empty.interfaces.is_empty());

    let mut plain = vendor("b");
    plain.base_url = None;
    plain.credential = Credential::default();
    plain.pool = Pool::default();
    let revision = put(&world, &[vendor("a"), plain.clone()], &[interface("chat")]).await;

    assert_eq!(revision, Revision(1));
    let rows = world.config.load_rows().await.unwrap();
    assert_eq!(rows.revision, Revision(1));
    assert_eq!(rows.vendors, [vendor("a"), plain]);
    assert_eq!(rows.interfaces, [interface("chat")]);
}

async fn putting_again_replaces_the_whole(world: World) {
    put(&world, &[vendor("a"), vendor("b")], &[interface("chat")]).await;
    let mut less = interface("chat");
    less.routes.truncate(1);
    less.fields.clear();
    let mut poorer = vendor("a");
    poorer.credential = Credential::default();
    poorer.pool = Pool::default();
    put(&world, &[poorer.clone()], &[less.clone()]).await;
    let rows = world.config.load_rows().await.unwrap();
    assert_eq!(rows.revision, Revision(2));
    assert_eq!(rows.vendors, [poorer, vendor("b")]);
    assert_eq!(rows.interfaces, [less]);
}

async fn a_change_that_is_dropped_never_was(world: World) {
    let mut change = world.config.begin_change().await.unwrap();
    change.put(&Row::Vendor(vendor("a"))).await.unwrap();
    assert_eq!(change.load_rows().await.unwrap().vendors, [vendor("a")]);
    drop(change);
    let rows = world.config.load_rows().await.unwrap();
    assert_eq!((rows.revision, rows.vendors.len()), (Revision(0), 0));
}

async fn changes_at_once_come_one_after_the_other(world: World) {
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..8 {
        let config = world.config.clone();
        racers.spawn(async move {
            let mut change = config.begin_change().await.unwrap();
            // Reads its own beginning, not that of a racer.
            let before = change.load_rows().await.unwrap();
            change.put(&Row::Vendor(vendor(&format!("v{racer}")))).await.unwrap();
            let after = change.commit().await.unwrap();
            assert_eq!(after.0, before.revision.0 + 1);
            assert_eq!(before.vendors.len(), usize::try_from(before.revision.0).unwrap());
        });
    }
    while let Some(raced) = racers.join_next().await {
        raced.unwrap();
    }
    let rows = world.config.load_rows().await.unwrap();
    assert_eq!((rows.revision, rows.vendors.len()), (Revision(8), 8));
}

async fn a_secret_is_sealed_and_opens_only_in_its_row_and_with_its_key(world: World) {
    put(&world, &[vendor("a"), vendor("b")], &[]).await;
    let (sealed,): (Option<Vec<u8>>,) = world.db.one(SEALED, args!["a"]).await.unwrap();
    let sealed = sealed.unwrap();
    assert!(!sealed.windows(4).any(|bytes| bytes == b"very"));

    world.db.execute(MOVE_SECRET, args!["a", "b"]).await.unwrap();
    let secrets = |rows: &[Vendor]| -> Vec<bool> {
        rows.iter()
            .map(|vendor| vendor.credential.secret_key.present().is_some())
            .collect()
    };
    let rows = world.config.load_rows().await.unwrap();
    assert_eq!(secrets(&rows.vendors), [true, false], "a moved secret does not open");

    let others = tempfile::tempdir().unwrap();
    let stranger = World::config_with(&world.db, &others);
    let rows = stranger.load_rows().await.unwrap();
    assert_eq!(secrets(&rows.vendors), [false, false]);
    assert!(matches!(rows.vendors[0].credential.secret_key, SecretKey::Unreadable));
    // What cannot be read cannot be written back either.
    let mut change = stranger.begin_change().await.unwrap();
    let refused = change.put(&Row::Vendor(rows.vendors[0].clone())).await;
    assert!(matches!(
        refused,
        Err(StoreError::Corrupt {
            column: "secret_key",
            ..
        })
    ));
    assert!(!format!("{:?}", world.config).contains("very"));
}

async fn a_row_that_makes_no_sense_is_named_and_hides_no_other(world: World) {
    put(
        &world,
        &[vendor("a"), vendor("b")],
        &[interface("chat"), interface("other")],
    )
    .await;
    for sql in [BREAK_CAPABILITY, BREAK_ADDRESS] {
        world.db.execute(sql, args![]).await.unwrap();
    }
    let rows = world.config.load_rows().await.unwrap();
    assert_eq!(
        (rows.vendors, rows.interfaces),
        (vec![vendor("b")], vec![interface("other")])
    );
    let unreadable: Vec<_> = rows
        .unreadable
        .iter()
        .map(|row| (row.id.to_string(), row.table, row.column))
        .collect();
    assert_eq!(
        unreadable,
        [
            ("vendor a".to_owned(), "pool_address", "url"),
            ("interface chat".to_owned(), "interface", "capability")
        ]
    );
    // Whoever replaces the row need not know its secret.
    assert_eq!(rows.unreadable[0].secret, vendor("a").credential.secret_key);
}

/// The row that a record becomes.
fn row(record: &UsageRecord) -> UsageRow {
    let count = |number: u64| i64::try_from(number).unwrap();
    UsageRow {
        request_id: record.request_id.to_string(),
        time: record.time,
        tenant: record.tenant.as_ref().map(ToString::to_string),
        client_id: record.client_id.to_string(),
        sub: record.sub.to_string(),
        interface: record.interface.to_string(),
        capability: record.capability.as_str().to_owned(),
        vendor: record.vendor.as_ref().map(ToString::to_string),
        model: record.model.as_ref().map(ToString::to_string),
        state: record.state.as_str().to_owned(),
        stream: record.stream,
        input_tokens: count(record.input_tokens),
        output_tokens: count(record.output_tokens),
        cached_input_tokens: record.cached_input_tokens.map(count),
        reasoning_tokens: record.reasoning_tokens.map(count),
        estimated: record.estimated,
        attempts: i64::from(record.attempts),
        duration_ms: count(record.duration_ms),
        first_byte_ms: record.first_byte_ms.map(count),
        images: count(record.images),
        audio_ms: count(record.audio_ms),
        characters: count(record.characters),
        cost: record.cost,
        currency: record.currency.map(|currency| currency.to_string()),
        price: record.price.as_ref().map(ToString::to_string),
        access_key: record.access_key.as_ref().map(ToString::to_string),
    }
}

/// All that there are, as reports read them.
async fn all_usage(world: &World) -> Vec<UsageRow> {
    let reports = SqlReports::new(world.db.clone());
    let mut rows = reports.list_usage(&UsageFilter::default(), None, 100).await.unwrap();
    rows.sort_by(|a, b| a.request_id.cmp(&b.request_id));
    rows
}

fn batch(records: &[UsageRecord]) -> UsageBatch {
    let mut batch = UsageBatch::new();
    for record in records {
        batch.push(&serde_json::to_string(record).unwrap());
    }
    batch
}

async fn usage_comes_back_as_it_was_and_stays_single(world: World) {
    let usage = SqlUsage::new(world.db.clone(), Arc::new(SystemClock));
    let (a, b) = (full_record("a"), bare_record("b"));
    usage.insert_usage(&batch(&[b.clone(), a.clone()])).await.unwrap();
    let mut again = a.clone();
    again.output_tokens = 999;
    usage.insert_usage(&batch(&[again, full_record("c")])).await.unwrap();
    let rows = all_usage(&world).await;
    assert_eq!(rows, [row(&a), row(&b), row(&full_record("c"))]);
}

async fn a_batch_that_takes_statements_of_every_size_comes_back_as_it_was(world: World) {
    let records: Vec<_> = (0..32 + 16 + 2 * 4 + 3)
        .map(|at| match at % 3 {
            0 => bare_record(&format!("r{at:02}")),
            _ => full_record(&format!("r{at:02}")),
        })
        .collect();
    let usage = SqlUsage::new(world.db.clone(), Arc::new(SystemClock));
    usage.insert_usage(&batch(&records)).await.unwrap();
    let rows: Vec<_> = records.iter().map(row).collect();
    assert_eq!(all_usage(&world).await, rows);
}

/// A record as the journal of the first version holds it.
const OLD_RECORD: &str = r#"{"request_id":"old","time":1,"tenant":null,"client_id":"c","sub":"s","interface":"i","capability":"chat",
    "vendor":null,"model":null,"state":"completed","stream":false,"input_tokens":1,"output_tokens":2,"cached_input_tokens":null,
    "reasoning_tokens":null,"estimated":false,"attempts":1,"duration_ms":3,"first_byte_ms":4}"#;

async fn records_of_an_older_version_are_taken(world: World) {
    let mut batch = UsageBatch::new();
    batch.push(OLD_RECORD);
    SqlUsage::new(world.db.clone(), Arc::new(SystemClock))
        .insert_usage(&batch)
        .await
        .unwrap();
    let rows = all_usage(&world).await;
    let old: UsageRecord = serde_json::from_str(OLD_RECORD).unwrap();
    assert_eq!(rows, [row(&old)]);
    assert_eq!((rows[0].cost, rows[0].images), (None, 0));
}

async fn batches_that_overlap_do_not_block_each_other(world: World) {
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..4 {
        let usage = SqlUsage::new(world.db.clone(), Arc::new(SystemClock));
        racers.spawn(async move {
            let mut records: Vec<_> = (0..200).map(|at| full_record(&format!("r{at:03}"))).collect();
            if racer % 2 == 1 {
                records.reverse();
            }
            usage.insert_usage(&batch(&records)).await.unwrap();
        });
    }
    while let Some(raced) = racers.join_next().await {
        raced.unwrap();
    }
    let (count,): (i64,) = world.db.one(COUNT, args![]).await.unwrap();
    assert_eq!(count, 200);
}

async fn an_empty_batch_tells_whether_usage_can_be_stored(world: World) {
    let usage = SqlUsage::new(world.db.clone(), Arc::new(SystemClock));
    usage.insert_usage(&UsageBatch::new()).await.unwrap();
    world.db.execute(DROP_USAGE, args![]).await.unwrap();
    assert!(usage.insert_usage(&UsageBatch::new()).await.is_err());
}
