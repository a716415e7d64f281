use auth_server::domain::ids::{ClientId, TenantId};
use auth_server::domain::registration::{InitialToken, Registration, TokenMac};
use auth_server::ports::registrations::RegistrationEnd;
use oauth_wire::RedirectUri;
use service_kit::Timestamp;

use super::{MICRO, NOON, World, client, minutes, on_every_engine, race};

on_every_engine!(
    a_registration_is_found_and_its_use_is_noted_when_the_last_one_is_old,
    unused_registrations_come_longest_unused_first,
    of_200_parallel_callers_the_cap_lets_exactly_so_many_in,
    a_registration_ends_on_its_condition_alone_and_frees_its_place,
    an_initial_token_is_spent_as_often_as_it_may_be,
    of_200_parallel_callers_one_spends_the_last_use,
    the_tokens_of_a_disabled_tenant_are_not_found,
    initial_tokens_are_listed_oldest_first_deleted_and_swept,
    metadata_is_replaced_and_the_operators_part_stays,
    the_metadata_of_a_disabled_or_deleted_client_is_not_replaced,
    a_deleted_client_is_not_found,
);

fn mac(text: &str) -> TokenMac {
    TokenMac(text.into())
}

fn registration(id: &str, at: Timestamp) -> Registration {
    Registration {
        client: ClientId::new(id),
        access_token: mac("access"),
        registered_at: at,
        last_used_at: at,
    }
}

fn token(id: &str, uses: i64) -> InitialToken {
    InitialToken {
        id: id.into(),
        mac: mac(&format!("mac of {id}")),
        tenant: TenantId::new("default"),
        uses_left: uses,
        created_at: NOON,
        expires_at: NOON + minutes(10),
    }
}

impl World {
    /// Registers a client, if there are fewer than `cap`.
    async fn register(&self, id: &str, at: Timestamp, cap: u32) -> bool {
        let mut tx = self.begin().await;
        tx.upsert_client(&client(id), at).await.unwrap();
        let done = tx.insert_registration(&registration(id, at), cap).await.unwrap();
        if done {
            tx.commit().await.unwrap();
        }
        done
    }

    async fn end(&self, id: &str, when: RegistrationEnd) -> bool {
        let mut tx = self.begin().await;
        let ended = tx.end_registration(&ClientId::new(id), &when).await.unwrap();
        tx.commit().await.unwrap();
        ended
    }

    async fn spend(&self, mac: &TokenMac, at: Timestamp) -> bool {
        let mut tx = self.begin().await;
        let spent = tx.spend_initial_token(mac, at).await.unwrap();
        tx.commit().await.unwrap();
        spent
    }
}

async fn a_registration_is_found_and_its_use_is_noted_when_the_last_one_is_old(world: World) {
    assert!(world.register("a", NOON, 9).await);
    let id = ClientId::new("a");
    let found = world.store.find_registration(&id).await.unwrap();
    assert_eq!(found, Some(registration("a", NOON)));
    let used = async || world.store.find_registration(&id).await.unwrap().unwrap().last_used_at;
    let later = NOON + minutes(1);
    world.store.note_use(&id, later, NOON).await.unwrap();
    assert_eq!(used().await, NOON, "noted at that very moment already");
    world.store.note_use(&id, later, NOON + MICRO).await.unwrap();
    assert_eq!(used().await, later);
    world.store.note_use(&ClientId::new("b"), later, later).await.unwrap();
    assert_eq!(world.store.find_registration(&ClientId::new("b")).await.unwrap(), None);
}

async fn unused_registrations_come_longest_unused_first(world: World) {
    for (id, at) in [("c", NOON), ("b", NOON + MICRO), ("a", NOON + minutes(1))] {
        world.register(id, at, 9).await;
    }
    let unused = async |before: Timestamp, limit: u32| -> Vec<String> {
        let ids = world.store.unused_registrations(before, limit).await.unwrap();
        ids.iter().map(ToString::to_string).collect()
    };
    assert!(unused(NOON, 9).await.is_empty());
    assert_eq!(unused(NOON + minutes(1), 9).await, ["c", "b"]);
    assert_eq!(unused(NOON + minutes(2), 1).await, ["c"]);
}

async fn of_200_parallel_callers_the_cap_lets_exactly_so_many_in(world: World) {
    let numbers = std::sync::atomic::AtomicU32::new(0);
    let world = std::sync::Arc::new(world);
    let won = race(|| {
        let world = world.clone();
        let id = format!("c{}", numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        async move { world.register(&id, NOON, 7).await }
    })
    .await;
    assert_eq!(won, 7);
    let there = world.store.unused_registrations(NOON + MICRO, 99).await.unwrap();
    assert_eq!(there.len(), 7);
}

async fn a_registration_ends_on_its_condition_alone_and_frees_its_place(world: World) {
    for (right, wrong) in [
        (
            RegistrationEnd::Holder(mac("access")),
            RegistrationEnd::Holder(mac("other")),
        ),
        (
            RegistrationEnd::UnusedSince(NOON + MICRO),
            RegistrationEnd::UnusedSince(NOON),
        ),
        (RegistrationEnd::Adopted, RegistrationEnd::Holder(mac(""))),
    ] {
        assert!(world.register("a", NOON, 1).await, "{right:?}");
        assert!(!world.end("a", wrong).await);
        assert!(!world.register("b", NOON, 1).await, "{right:?}");
        assert!(world.end("a", right.clone()).await);
        assert!(!world.end("a", right).await, "it has ended");
    }
}

async fn an_initial_token_is_spent_as_often_as_it_may_be(world: World) {
    let token = token("t", 2);
    world.store.insert_initial_token(&token).await.unwrap();
    assert_eq!(
        world.store.find_initial_token(&token.mac).await.unwrap(),
        Some(token.clone())
    );
    assert!(!world.spend(&mac("other"), NOON).await);
    assert!(!world.spend(&token.mac, token.expires_at).await);
    assert!(world.spend(&token.mac, NOON).await);
    assert!(world.spend(&token.mac, token.expires_at - MICRO).await);
    assert!(!world.spend(&token.mac, NOON).await);
    let left = world.store.find_initial_token(&token.mac).await.unwrap().unwrap();
    assert!(left.uses_left == 0 && !left.is_usable(NOON));
}

async fn of_200_parallel_callers_one_spends_the_last_use(world: World) {
    let token = token("t", 1);
    world.store.insert_initial_token(&token).await.unwrap();
    let world = std::sync::Arc::new(world);
    let won = race(|| {
        let (world, mac) = (world.clone(), token.mac.clone());
        async move { world.spend(&mac, NOON).await }
    })
    .await;
    assert_eq!(won, 1);
}

async fn the_tokens_of_a_disabled_tenant_are_not_found(world: World) {
    let token = token("t", 1);
    world.store.insert_initial_token(&token).await.unwrap();
    let mut tx = world.begin().await;
    let tenant = auth_server::domain::directory::Tenant {
        id: token.tenant.clone(),
        name: "Default".into(),
        enabled: false,
    };
    tx.upsert_tenant(&tenant, NOON).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.store.find_initial_token(&token.mac).await.unwrap(), None);
}

async fn initial_tokens_are_listed_oldest_first_deleted_and_swept(world: World) {
    for (id, created) in [("b", NOON), ("a", NOON + MICRO), ("c", NOON + minutes(1))] {
        let token = InitialToken {
            created_at: created,
            expires_at: created + minutes(10),
            ..token(id, 1)
        };
        world.store.insert_initial_token(&token).await.unwrap();
    }
    let listed = async || -> Vec<String> {
        let tokens = world.store.list_initial_tokens().await.unwrap();
        tokens.into_iter().map(|token| token.id).collect()
    };
    assert_eq!(listed().await, ["b", "a", "c"]);
    assert!(world.store.delete_initial_token("a").await.unwrap());
    assert!(!world.store.delete_initial_token("a").await.unwrap());
    assert_eq!(
        world
            .sweep(NOON + minutes(10) + MICRO, std::time::Duration::ZERO, 9)
            .await,
        1
    );
    assert_eq!(listed().await, ["c"]);
}

async fn metadata_is_replaced_and_the_operators_part_stays(world: World) {
    world.register("a", NOON, 9).await;
    let before = client("a");
    let mut wanted = client("a");
    wanted.client_name = "Other".into();
    wanted.redirect_uris = vec![RedirectUri::parse("https://other.example/cb").unwrap()];
    wanted.protocol.contacts = vec!["ops@other.example".into()];
    wanted.scope = "openid".parse().unwrap();
    let mut asked = wanted.clone();
    // None of this is a client's to say.
    asked.first_party = true;
    asked.auto_approve = !before.auto_approve;
    asked.permissions.clear();
    asked.ai_interfaces = None;
    asked.secrets.clear();
    asked.access_token_ttl = None;
    asked.tenant = TenantId::new("other");
    let mut tx = world.begin().await;
    assert!(tx.replace_metadata(&asked, NOON).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(
        world.store.find_client(&ClientId::new("a")).await.unwrap(),
        Some(wanted)
    );
}

async fn the_metadata_of_a_disabled_or_deleted_client_is_not_replaced(world: World) {
    world.register("a", NOON, 9).await;
    let id = ClientId::new("a");
    let mut tx = world.begin().await;
    let disabled = auth_server::domain::client::ClientStatus::Disabled;
    tx.set_client_status(&id, disabled, NOON).await.unwrap();
    assert!(!tx.replace_metadata(&client("a"), NOON).await.unwrap());
    let active = auth_server::domain::client::ClientStatus::Active;
    tx.set_client_status(&id, active, NOON).await.unwrap();
    assert!(tx.replace_metadata(&client("a"), NOON).await.unwrap());
    tx.delete_client(&id, NOON).await.unwrap();
    assert!(!tx.replace_metadata(&client("a"), NOON).await.unwrap());
    assert!(!tx.replace_metadata(&client("b"), NOON).await.unwrap());
}

async fn a_deleted_client_is_not_found(world: World) {
    world.register("a", NOON, 9).await;
    let id = ClientId::new("a");
    let mut tx = world.begin().await;
    assert!(tx.delete_client(&id, NOON).await.unwrap());
    assert!(!tx.delete_client(&id, NOON).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(world.store.find_client(&id).await.unwrap(), None);
}
