//! The storage contract: what every store must do, run on SQLite and on PostgreSQL.
//!
//! A contract is a function over `Arc<dyn Store>`; [`on_every_engine!`] makes one test of it per engine.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod codes;
mod decoupled;
mod directory;
mod families;
mod faults;
mod housekeeping;
mod keys;
mod limits;
mod logouts;
mod people;
mod pushed;
mod registrations;
mod revocations;
mod schema;
mod sectors;
mod service;
mod sessions;
mod single_use;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use auth_server::adapters::sql::SqlStore;
use auth_server::domain::client::{Client, ClientLinks, ClientSecret, ClientStatus};
use auth_server::domain::client_protocol::ClientProtocol;
use auth_server::domain::directory::Role;
use auth_server::domain::grant::{CodeGrant, Grant, GrantDetails, RefreshFamily};
use auth_server::domain::ids::{ClientId, CodeDigest, GrantId, OrgId, RoleName, SessionId, TenantId, UserId, Username};
use auth_server::domain::session::Session;
use auth_server::domain::user::{Address, PasswordHash, StandardClaims, User, UserStatus};
use auth_server::ports::store::{Store, StoreTx};
use oauth_wire::{ClientAuthMethod, CodeChallenge, Confirmation, GrantType, RedirectUri, ResponseType, SigningAlg};
use service_kit::Timestamp;
use sql_kit::Options;
use sql_test_kit::TestDatabase;

/// A migrated store on a database of its own.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sql: SqlStore,
    pub(crate) database: TestDatabase,
}

impl World {
    async fn on(database: TestDatabase) -> Self {
        let sql = SqlStore::connect(&database.url, &Options::default()).await.unwrap();
        sql.migrate().await.unwrap();
        Self {
            store: Arc::new(sql.clone()),
            sql,
            database,
        }
    }

    pub(crate) async fn sqlite() -> Self {
        Self::on(TestDatabase::sqlite()).await
    }

    pub(crate) async fn postgres() -> Self {
        Self::on(TestDatabase::postgres().await).await
    }

    pub(crate) async fn begin(&self) -> Box<dyn StoreTx> {
        self.store.begin().await.unwrap()
    }

    /// Accounts as [`user`] makes them, each named like its sub.
    pub(crate) async fn sign_up(&self, subs: &[&str]) {
        let mut tx = self.begin().await;
        for sub in subs {
            tx.upsert_user(&user(sub, sub), NOON).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// Saves a session of somebody whose password has been verified.
    pub(crate) async fn open(&self, session: &Session) {
        assert!(self.store.insert_session(session, &password()).await.unwrap());
    }

    /// Deletes what is over, of every kind; how many rows.
    pub(crate) async fn sweep(&self, now: Timestamp, keep: Duration, limit: u32) -> u64 {
        let swept = self.store.delete_expired(now, keep, limit).await;
        swept.into_iter().map(|swept| swept.outcome.unwrap()).sum()
    }
}

/// Makes of each named contract one test per engine.
macro_rules! on_every_engine {
    ($($contract:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $contract() {
                super::$contract(crate::storage::World::sqlite().await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $contract() {
                super::$contract(crate::storage::World::postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_every_engine;

/// How many callers race for one row.
pub(crate) const RACERS: usize = 200;

/// Noon of some day, and moments around it.
pub(crate) const NOON: Timestamp = Timestamp::from_seconds(1_900_000_000);
pub(crate) const MICRO: Duration = Duration::from_micros(1);

pub(crate) fn minutes(count: u64) -> Duration {
    Duration::from_mins(count)
}

pub(crate) fn tenant() -> TenantId {
    TenantId::new("default")
}

pub(crate) fn names<T: Ord>(list: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    list.into_iter().collect()
}

/// A client with something in every field.
pub(crate) fn client(id: &str) -> Client {
    let uri = |text: &str| RedirectUri::parse(text).unwrap();
    Client {
        client_id: ClientId::new(id),
        tenant: tenant(),
        client_name: "Web ☂ 应用".into(),
        secrets: vec![
            ClientSecret {
                mac: "bWFj".into(),
                expires_at: Some(NOON),
                sealed: Some("c2VhbGVk".into()),
            },
            ClientSecret {
                mac: "Y2Ft".into(),
                expires_at: None,
                sealed: None,
            },
        ],
        token_endpoint_auth_method: ClientAuthMethod::ClientSecretBasic,
        redirect_uris: vec![uri("https://app.example/cb?x=1"), uri("http://127.0.0.1/cb")],
        post_logout_redirect_uris: vec![uri("https://app.example/bye")],
        grant_types: names([GrantType::AuthorizationCode, GrantType::RefreshToken]),
        response_types: names([ResponseType::Code]),
        scope: "openid profile ai:chat".parse().unwrap(),
        links: ClientLinks {
            logo_uri: Some("https://app.example/logo".into()),
            ..ClientLinks::default()
        },
        first_party: false,
        auto_approve: true,
        require_pkce: true,
        access_token_ttl: Some(Duration::from_mins(7)),
        refresh_token_ttl: None,
        id_token_signed_response_alg: SigningAlg::Rs256,
        access_token_signing_alg: SigningAlg::Es256,
        ai_interfaces: Some(names(["chat".to_owned(), "embed".to_owned()])),
        permissions: names(["token:introspect".to_owned()]),
        status: ClientStatus::Active,
        protocol: ClientProtocol {
            backchannel_logout_uri: Some("https://app.example/out".into()),
            ..ClientProtocol::default()
        },
    }
}

/// The password of everybody, as stored.
pub(crate) fn password() -> PasswordHash {
    PasswordHash("$argon2id$v=19$x".into())
}

/// An account with something in every field, last changed at [`NOON`].
pub(crate) fn user(sub: &str, name: &str) -> User {
    User {
        sub: UserId::new(sub),
        tenant: tenant(),
        username: Username::parse(name).unwrap(),
        password: Some(password()),
        org: Some(OrgId::new("head-office")),
        roles: names([RoleName::new("admin"), RoleName::new("auditor")]),
        status: UserStatus::Active,
        claims: StandardClaims {
            name: Some("Ælice \"O'Hara\"".into()),
            email_verified: Some(false),
            address: Some(Address {
                country: Some("NO".into()),
                ..Address::default()
            }),
            ..StandardClaims::default()
        },
        updated_at: NOON,
    }
}

pub(crate) fn role(name: &str) -> Role {
    Role {
        name: RoleName::new(name),
        tenant: tenant(),
        description: "may".into(),
        permissions: names(["client:read".to_owned(), "client:write".to_owned()]),
        menus: names(["clients".to_owned(), "users".to_owned()]),
        data_permission: auth_server::domain::directory::DataPermission::Custom,
        data_orgs: names([OrgId::new("a"), OrgId::new("b")]),
    }
}

pub(crate) fn session(sid: &str, user: &str) -> Session {
    Session {
        sid: SessionId::new(sid),
        user: UserId::new(user),
        tenant: tenant(),
        auth_time: NOON,
        last_seen_at: NOON,
        expires_at: NOON + minutes(60),
        user_agent: "Browser/1".into(),
        address: "192.0.2.1".into(),
    }
}

pub(crate) fn grant(id: &str, user: &str, client: &str) -> Grant {
    Grant {
        grant_id: GrantId::new(id),
        client: ClientId::new(client),
        tenant: tenant(),
        user: UserId::new(user),
        sid: Some(SessionId::new("s1")),
        scope: "openid profile".parse().unwrap(),
        auth_time: NOON,
        amr: vec!["pwd".into(), "otp".into()],
        details: GrantDetails {
            resources: vec!["https://api.example".into()],
            confirmation: Some(Confirmation::Jkt("thumbprint".into())),
            acr: Some("1".into()),
            ..GrantDetails::default()
        },
    }
}

/// A code that is good for a minute from [`NOON`].
pub(crate) fn code(byte: u8, grant: Grant) -> CodeGrant {
    CodeGrant {
        digest: CodeDigest([byte; 32]),
        grant,
        redirect_uri: "http://127.0.0.1:5123/cb".into(),
        code_challenge: Some(CodeChallenge::from_stored("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap()),
        nonce: Some("n-0S6".into()),
        issued_at: NOON,
        expires_at: NOON + minutes(1),
        redeemed_at: None,
    }
}

/// A family at generation 1 that idles out after 10 minutes and ends after 30.
pub(crate) fn family(grant: Grant) -> RefreshFamily {
    RefreshFamily {
        grant,
        generation: 1,
        issued_at: NOON,
        rotated_at: NOON,
        idle_expires_at: NOON + minutes(10),
        absolute_expires_at: NOON + minutes(30),
        revoked_at: None,
    }
}

/// Runs as many callers at once as [`RACERS`] says, all waiting for one signal; how many of them won.
pub(crate) async fn race<F>(caller: impl Fn() -> F) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let start = Arc::new(tokio::sync::Barrier::new(RACERS));
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..RACERS {
        let (start, run) = (Arc::clone(&start), caller());
        racers.spawn(async move {
            start.wait().await;
            run.await
        });
    }
    racers.join_all().await.into_iter().filter(|won| *won).count()
}
