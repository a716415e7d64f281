//! A store that is away or holds nonsense says so, and never answers as if all were well.

use std::collections::BTreeSet;
use std::time::Duration;

use auth_server::adapters::sql::SqlStore;
use auth_server::domain::ciba::OpenLimits;
use auth_server::domain::decoupled::DecoupledKind;
use auth_server::domain::ids::{ClientId, CodeDigest, GrantId, KeyId, PushedDigest, SessionId, UserId, Username};
use auth_server::domain::logout::LogoutDelivery;
use auth_server::domain::registration::{InitialToken, TokenMac};
use auth_server::domain::session::Consent;
use auth_server::domain::signing_key::KeyStage;
use auth_server::domain::throttle::{ThrottleKey, ThrottlePolicy};
use auth_server::ports::decoupled::PingClaim;
use auth_server::ports::logout::LogoutClaim;
use auth_server::ports::store::{
    Clients, Codes, PageRequest, Renewal, RevocationCursor, SigningKeys, SingleUseId, SingleUseKind, StoreError,
    StoreResult,
};
use oauth_wire::Scope;
use sql_kit::{Db, Options, Sql, args, sql};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};

use super::decoupled::{ciba, denial, device, pace, permission};
use super::pushed::pushed;
use super::{NOON, World, client, code, family, grant, on_every_engine, password, session, tenant, user};

on_every_engine!(
    every_call_on_a_store_that_is_away_says_so,
    what_cannot_be_read_back_is_named,
    migrating_again_changes_nothing,
    nobody_is_found_by_a_name_with_a_nul,
);

fn unavailable<T: std::fmt::Debug>(call: &str, outcome: StoreResult<T>) {
    assert!(
        matches!(outcome, Err(StoreError::Unavailable(_))),
        "{call}: {outcome:?}"
    );
}

#[expect(clippy::too_many_lines, reason = "one line for each call that the ports have")]
async fn every_call_on_a_store_that_is_away_says_so(world: World) {
    let mut tx = world.begin().await;
    tx.redeem_code(&CodeDigest([1; 32]), NOON).await.unwrap();
    drop(tx);
    world.sql.close().await;
    let store = &world.store;
    let (user, web, sid, digest) = (
        UserId::new("u"),
        ClientId::new("web"),
        SessionId::new("s"),
        CodeDigest([1; 32]),
    );
    let name = Username::parse("alice").unwrap();
    let throttle = ThrottleKey::Account(tenant(), name.clone());
    let page = PageRequest { after: None, limit: 1 };
    unavailable("ping", store.ping().await);
    unavailable("begin", store.begin().await.map(|_| ()));
    unavailable("note_sector", store.note_sector(&user, "north.example").await);
    unavailable("find_client", store.find_client(&web).await);
    unavailable("list_clients", store.list_clients(page.clone()).await);
    unavailable("find_user", store.find_user(&user).await);
    unavailable("find_user_by_name", store.find_user_by_name(&tenant(), &name).await);
    unavailable("permissions_of", store.permissions_of(&user).await);
    unavailable("list_users", store.list_users(&tenant(), page).await);
    unavailable(
        "insert_session",
        store.insert_session(&session("s", "u"), &password()).await,
    );
    unavailable("find_live_session", store.find_live_session(&sid, NOON).await);
    unavailable("live_sessions_of", store.live_sessions_of(&user, NOON).await);
    unavailable(
        "renew_session",
        store.renew_session(&sid, &password(), NOON, NOON).await,
    );
    unavailable("touch_session", store.touch_session(&sid, NOON).await);
    unavailable("find_consent", store.find_consent(&user, &web).await);
    unavailable("consents_of", store.consents_of(&user).await);
    unavailable("insert_code", store.insert_code(&code(1, grant("g", "u", "web"))).await);
    let reference = PushedDigest([1; 32]);
    unavailable("insert_pushed_request", store.insert_pushed_request(&pushed(1)).await);
    unavailable("find_pushed_request", store.find_pushed_request(&reference).await);
    unavailable("take_pushed_request", store.take_pushed_request(&reference).await);
    unavailable("insert_decoupled", store.insert_decoupled(&device(1)).await);
    unavailable(
        "find_decoupled",
        store.find_decoupled(DecoupledKind::Device, &digest).await,
    );
    let limits = OpenLimits {
        per_client: 1,
        in_all: 1,
    };
    unavailable("insert_asking", store.insert_asking(&ciba(1, "bank"), limits).await);
    unavailable("waiting_for", store.waiting_for(DecoupledKind::Ciba, &user, NOON).await);
    let pings = PingClaim {
        now: NOON,
        until: NOON,
        limit: 1,
        per_client: 1,
        busy: &[],
    };
    unavailable("claim_pings", store.claim_pings(pings).await);
    unavailable("postpone_ping", store.postpone_ping(&digest, NOON).await);
    unavailable("finish_ping", store.finish_ping(&digest).await);
    unavailable("count_pings", store.count_pings(NOON).await);
    let user_code = device(1).user_code.unwrap();
    unavailable("find_by_user_code", store.find_by_user_code(&user_code, NOON).await);
    unavailable("note_poll", store.note_poll(&digest, NOON, pace()).await);
    unavailable("allow_decoupled", store.allow_decoupled(&permission(1, "g", "u")).await);
    unavailable("deny_decoupled", store.deny_decoupled(&denial(1, NOON)).await);
    unavailable("redeem_decoupled", store.redeem_decoupled(&digest, NOON).await);
    unavailable("find_code", store.find_code(&digest).await);
    unavailable("redeem_code", store.redeem_code(&digest, NOON).await);
    unavailable("find_family", store.find_family(&GrantId::new("g")).await);
    unavailable(
        "renew_family",
        store
            .renew_family(&GrantId::new("g"), Renewal::rotate(1, NOON, NOON))
            .await,
    );
    unavailable(
        "read_revocations",
        store.read_revocations(RevocationCursor::default(), NOON).await,
    );
    unavailable("list_keys", store.list_keys().await);
    let policy = ThrottlePolicy {
        limit: 1,
        window: Duration::from_mins(1),
    };
    unavailable("count_attempt", store.count_attempt(&throttle, policy, NOON).await);
    unavailable("forgive_attempt", store.forgive_attempt(&throttle).await);
    unavailable("clear_attempts", store.clear_attempts(&throttle).await);
    unavailable(
        "create_browser_session",
        store.create_browser_session("k", "", NOON).await,
    );
    unavailable("save_browser_session", store.save_browser_session("k", "", NOON).await);
    unavailable("load_browser_session", store.load_browser_session("k", NOON).await);
    unavailable("delete_browser_session", store.delete_browser_session("k").await);
    let proof = SingleUseId {
        namespace: SingleUseKind::DpopProof,
        id: "jti".into(),
        expires_at: NOON,
    };
    unavailable("spend", store.spend(&[proof]).await);
    let mac = TokenMac("mac".into());
    unavailable("find_registration", store.find_registration(&web).await);
    unavailable("note_use", store.note_use(&web, NOON, NOON).await);
    unavailable("unused_registrations", store.unused_registrations(NOON, 1).await);
    unavailable("find_initial_token", store.find_initial_token(&mac).await);
    unavailable("list_initial_tokens", store.list_initial_tokens().await);
    unavailable("delete_initial_token", store.delete_initial_token("t").await);
    let claim = LogoutClaim {
        now: NOON,
        until: NOON,
        limit: 1,
        per_client: 1,
        busy: &[],
    };
    unavailable("claim_logouts", store.claim_logouts(claim).await);
    let delivery = LogoutDelivery {
        sid,
        client: web,
        user,
        attempts: 1,
        queued_at: NOON,
        ends_at: NOON,
    };
    unavailable("postpone_logout", store.postpone_logout(&delivery, NOON).await);
    unavailable("finish_logout", store.finish_logout(&delivery).await);
    unavailable("count_logouts", store.count_logouts().await);
    unavailable("current_revision", store.current_revision().await);
    unavailable("save_consent", store.save_consent(&consent()).await);
    unavailable(
        "insert_initial_token",
        store.insert_initial_token(&initial_token()).await,
    );
    let swept = store.delete_expired(NOON, Duration::ZERO, 1).await;
    assert!(!swept.is_empty());
    for swept in swept {
        unavailable(swept.kind, swept.outcome);
    }
    unavailable("migrate", world.sql.migrate().await);
}

fn consent() -> Consent {
    Consent {
        user: UserId::new("u"),
        client: ClientId::new("web"),
        scope: Scope::default(),
        claims: BTreeSet::new(),
        granted_at: NOON,
    }
}

fn initial_token() -> InitialToken {
    InitialToken {
        id: "t".into(),
        mac: TokenMac("mac".into()),
        tenant: tenant(),
        uses_left: 1,
        created_at: NOON,
        expires_at: NOON,
    }
}

/// The list above is not left behind when a port grows.
#[test]
fn every_call_of_the_ports_is_tried_on_a_store_that_is_away() {
    let ports = [
        include_str!("../../../src/ports/store.rs"),
        include_str!("../../../src/ports/decoupled.rs"),
        include_str!("../../../src/ports/logout.rs"),
        include_str!("../../../src/ports/registrations.rs"),
    ];
    // However the lines are broken.
    let here: String = include_str!("faults.rs").split_whitespace().collect();
    let mut tried = 0;
    for port in ports.iter().flat_map(|text| text.split("pub trait ").skip(1)) {
        let name = port.split([':', ' ']).next().unwrap();
        // A transaction is on a connection that was there when it began.
        if name == "StoreTx" || name.ends_with("Writes") {
            continue;
        }
        let body = port.split("\n}").next().unwrap();
        for call in body
            .split("async fn ")
            .skip(1)
            .map(|rest| rest.split('(').next().unwrap())
        {
            assert!(here.contains(&format!("store.{call}(")), "{name}::{call}");
            tried += 1;
        }
    }
    assert!(tried > 60, "{tried}");
}

async fn what_cannot_be_read_back_is_named(world: World) {
    let mut tx = world.begin().await;
    tx.upsert_client(&client("web"), NOON).await.unwrap();
    tx.upsert_user(&user("u", "alice"), NOON).await.unwrap();
    tx.insert_family(&family(grant("g", "u", "web")), None).await.unwrap();
    tx.commit().await.unwrap();
    world.store.insert_code(&code(1, grant("g", "u", "web"))).await.unwrap();
    let db = Db::connect(&world.database.url, &Options::default()).await.unwrap();
    let spoil = async |sql: Sql| assert_eq!(db.execute(sql, args![]).await.unwrap(), 1);
    let (web, sub, grant, digest) = (
        ClientId::new("web"),
        UserId::new("u"),
        GrantId::new("g"),
        CodeDigest([1; 32]),
    );

    spoil(sql!("UPDATE client SET grant_types = 'secret'")).await;
    corrupt(world.store.find_client(&web).await, "client", "grant_types");
    spoil(sql!("UPDATE users SET status = 'secret'")).await;
    corrupt(world.store.find_user(&sub).await, "users", "status");
    spoil(sql!("UPDATE refresh_token SET scope = 'se\"cret'")).await;
    corrupt(world.store.find_family(&grant).await, "refresh_token", "scope");
    spoil(sql!("UPDATE authorization_code SET code_challenge = 'secret'")).await;
    corrupt(
        world.store.find_code(&digest).await,
        "authorization_code",
        "code_challenge",
    );
    db.close().await;
}

fn corrupt<T: std::fmt::Debug>(outcome: StoreResult<T>, wanted_table: &str, wanted_column: &str) {
    let error = outcome.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("cret"), "{error:?}");
    let named =
        matches!(error, StoreError::Corrupt { table, column } if (table, column) == (wanted_table, wanted_column));
    assert!(named, "{error:?}");
}

async fn nobody_is_found_by_a_name_with_a_nul(world: World) {
    let store = &world.store;
    assert_eq!(store.find_client(&ClientId::new("\0")).await.unwrap(), None);
    assert_eq!(store.find_user(&UserId::new("u\0")).await.unwrap(), None);
    assert_eq!(
        store.find_live_session(&SessionId::new("s\0"), NOON).await.unwrap(),
        None
    );
    assert_eq!(store.find_family(&GrantId::new("\0")).await.unwrap(), None);
    assert_eq!(store.load_browser_session("\0", NOON).await.unwrap(), None);
}

async fn migrating_again_changes_nothing(world: World) {
    let mut tx = world.begin().await;
    tx.upsert_client(&client("web"), NOON).await.unwrap();
    tx.commit().await.unwrap();
    let second = SqlStore::connect(&world.database.url, &Options::default())
        .await
        .unwrap();
    second.migrate().await.unwrap();
    world.sql.migrate().await.unwrap();
    assert_eq!(
        second.find_client(&ClientId::new("web")).await.unwrap(),
        Some(client("web"))
    );
    second.close().await;
}

#[tokio::test]
async fn a_file_that_another_process_keeps_locked_is_unavailable_for_writes_and_readable() {
    let world = World::sqlite().await;
    let options = Options {
        busy_timeout: Duration::from_millis(20),
        ..Options::default()
    };
    let store = SqlStore::connect(&world.database.url, &options).await.unwrap();
    let path = world.database.directory().unwrap().join("test.db");
    let mut other = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let code = code(1, grant("g", "u", "web"));
    unavailable("insert_code", store.insert_code(&code).await);
    assert_eq!(store.list_keys().await.unwrap(), []);
    other.execute("COMMIT").await.unwrap();
    store.insert_code(&code).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_unavailable_and_its_password_is_not_told() {
    let options = Options {
        acquire_timeout: Duration::from_millis(300),
        ..Options::default()
    };
    let error = SqlStore::connect("postgres://hexgate:hunter2@127.0.0.1:1/none", &options)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn a_failed_statement_ends_its_transaction() {
    let world = World::sqlite().await;
    world.sign_up(&["u"]).await;
    let mut tx = world.begin().await;
    tx.insert_family(&family(grant("g", "u", "web")), None).await.unwrap();
    tx.insert_family(&family(grant("g", "u", "web")), None)
        .await
        .unwrap_err();
    let after = tx
        .move_key(&KeyId::new("k"), KeyStage::Next, KeyStage::Current, NOON)
        .await;
    assert!(matches!(after, Err(StoreError::Failed(_))));
    assert!(tx.commit().await.is_err());
    assert!(world.store.find_family(&GrantId::new("g")).await.unwrap().is_none());
}
