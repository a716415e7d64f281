use auth_server::domain::client::{Client, ClientStatus};
use auth_server::domain::directory::Tenant;
use auth_server::domain::ids::{ClientId, RoleName, TenantId, UserId, Username};
use auth_server::domain::user::{PasswordHash, StandardClaims, User, UserStatus};
use auth_server::ports::store::{PageRequest, StoreError, Upserted};

use super::{MICRO, NOON, World, client, names, on_every_engine, tenant, user};

on_every_engine!(
    a_client_reads_back_as_it_was_saved,
    a_client_can_be_disabled,
    clients_are_listed_page_by_page,
    an_account_reads_back_as_it_was_saved,
    every_change_of_an_account_is_noticed,
    a_user_name_belongs_to_one_live_account_of_a_tenant,
    status_and_password_of_an_account_change,
    accounts_are_listed_page_by_page_without_deleted_ones,
    an_uncommitted_directory_is_not_seen,
    nobody_and_nothing_of_a_disabled_tenant_is_active,
    secrets_are_replaced_alone,
);

use Upserted::{Created, Unchanged, Updated};

async fn save_client(world: &World, client: &Client) -> Upserted {
    let mut tx = world.begin().await;
    let outcome = tx.upsert_client(client, NOON).await.unwrap();
    tx.commit().await.unwrap();
    outcome
}

async fn save_user(world: &World, user: &User) -> Upserted {
    let mut tx = world.begin().await;
    let outcome = tx.upsert_user(user, user.updated_at).await.unwrap();
    tx.commit().await.unwrap();
    outcome
}

async fn find(world: &World, sub: &str) -> User {
    world.store.find_user(&UserId::new(sub)).await.unwrap().unwrap()
}

async fn a_client_reads_back_as_it_was_saved(world: World) {
    let full = client("web");
    let bare = Client {
        secrets: vec![],
        redirect_uris: vec![],
        access_token_ttl: None,
        refresh_token_ttl: Some(super::minutes(3)),
        ai_interfaces: None,
        permissions: names([]),
        status: ClientStatus::Disabled,
        ..client("machine")
    };
    for client in [full, bare] {
        assert_eq!(save_client(&world, &client).await, Created);
        assert_eq!(save_client(&world, &client).await, Unchanged);
        assert_eq!(world.store.find_client(&client.client_id).await.unwrap(), Some(client));
    }
    assert_eq!(world.store.find_client(&ClientId::new("none")).await.unwrap(), None);
    // An empty set of interfaces is not the same as no set.
    let none = Client {
        ai_interfaces: Some(names([])),
        ..client("web")
    };
    assert_eq!(save_client(&world, &none).await, Updated);
    let null = Client {
        ai_interfaces: None,
        ..client("web")
    };
    assert_eq!(save_client(&world, &null).await, Updated);
    assert_eq!(world.store.find_client(&null.client_id).await.unwrap(), Some(null));
}

async fn a_client_can_be_disabled(world: World) {
    save_client(&world, &client("web")).await;
    let mut tx = world.begin().await;
    assert!(
        tx.set_client_status(&ClientId::new("web"), ClientStatus::Disabled, NOON)
            .await
            .unwrap()
    );
    assert!(
        !tx.set_client_status(&ClientId::new("none"), ClientStatus::Disabled, NOON)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    let found = world.store.find_client(&ClientId::new("web")).await.unwrap().unwrap();
    assert_eq!(
        found,
        Client {
            status: ClientStatus::Disabled,
            ..client("web")
        }
    );
}

async fn clients_are_listed_page_by_page(world: World) {
    // By bytes on every engine, not by a language's order.
    let ids = ["Zoo", "_x", "a", "a-b", "ab", "é"];
    for id in ids {
        save_client(&world, &client(id)).await;
    }
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = world
            .store
            .list_clients(PageRequest {
                after: after.take(),
                limit: 4,
            })
            .await
            .unwrap();
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        after = Some(last.client_id.as_str().to_owned());
        found.extend(page.into_iter().map(|client| client.client_id.as_str().to_owned()));
    }
    assert_eq!(found, ids);
}

async fn an_account_reads_back_as_it_was_saved(world: World) {
    let bare = User {
        password: None,
        org: None,
        roles: names([]),
        status: UserStatus::Locked,
        claims: StandardClaims::default(),
        ..user("u2", "bob")
    };
    for user in [user("u1", "alice"), bare] {
        assert_eq!(save_user(&world, &user).await, Created);
        assert_eq!(
            save_user(
                &world,
                &User {
                    updated_at: NOON + MICRO,
                    ..user.clone()
                }
            )
            .await,
            Unchanged
        );
        assert_eq!(world.store.find_user(&user.sub).await.unwrap(), Some(user.clone()));
        assert_eq!(
            world.store.find_user_by_name(&tenant(), &user.username).await.unwrap(),
            Some(user)
        );
    }
    assert_eq!(world.store.find_user(&UserId::new("none")).await.unwrap(), None);
    let name = Username::parse("none").unwrap();
    assert_eq!(world.store.find_user_by_name(&tenant(), &name).await.unwrap(), None);
    let alice = Username::parse("alice").unwrap();
    assert_eq!(
        world
            .store
            .find_user_by_name(&TenantId::new("other"), &alice)
            .await
            .unwrap(),
        None
    );
}

async fn every_change_of_an_account_is_noticed(world: World) {
    let first = user("u1", "alice");
    save_user(&world, &first).await;
    let changes = [
        User {
            password: None,
            ..first.clone()
        },
        User {
            org: None,
            ..first.clone()
        },
        User {
            roles: names([RoleName::new("auditor")]),
            ..first.clone()
        },
        User {
            roles: names(["a", "b", "c"].map(RoleName::new)),
            ..first.clone()
        },
        User {
            status: UserStatus::Locked,
            ..first.clone()
        },
        User {
            claims: StandardClaims::default(),
            ..first.clone()
        },
        User {
            username: Username::parse("alicia").unwrap(),
            ..first.clone()
        },
        first,
    ];
    for (minute, change) in (1..).zip(changes) {
        let change = User {
            updated_at: NOON + super::minutes(minute),
            ..change
        };
        assert_eq!(save_user(&world, &change).await, Updated, "{change:?}");
        assert_eq!(find(&world, "u1").await, change);
    }
}

async fn a_user_name_belongs_to_one_live_account_of_a_tenant(world: World) {
    save_user(&world, &user("u1", "alice")).await;
    let mut tx = world.begin().await;
    let taken = tx.upsert_user(&user("u2", "alice"), NOON).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
    drop(tx);

    let mut tx = world.begin().await;
    let other = Tenant {
        id: TenantId::new("other"),
        name: "Other".into(),
        enabled: true,
    };
    tx.upsert_tenant(&other, NOON).await.unwrap();
    let elsewhere = User {
        tenant: other.id.clone(),
        ..user("u3", "alice")
    };
    assert_eq!(tx.upsert_user(&elsewhere, NOON).await.unwrap(), Created);
    assert!(
        tx.set_user_status(&UserId::new("u1"), UserStatus::Deleted, NOON)
            .await
            .unwrap()
    );
    assert_eq!(tx.upsert_user(&user("u2", "alice"), NOON).await.unwrap(), Created);
    tx.commit().await.unwrap();

    // The deleted account keeps its sub, the name is the new one's.
    assert_eq!(find(&world, "u1").await.status, UserStatus::Deleted);
    let alice = Username::parse("alice").unwrap();
    assert_eq!(
        world
            .store
            .find_user_by_name(&tenant(), &alice)
            .await
            .unwrap()
            .unwrap()
            .sub,
        UserId::new("u2")
    );
    assert_eq!(
        world
            .store
            .find_user_by_name(&other.id, &alice)
            .await
            .unwrap()
            .unwrap()
            .sub,
        UserId::new("u3")
    );

    // And it does not come back while somebody else has its name.
    let mut tx = world.begin().await;
    let back = tx.set_user_status(&UserId::new("u1"), UserStatus::Active, NOON).await;
    assert!(matches!(back, Err(StoreError::Conflict(_))), "{back:?}");
}

async fn status_and_password_of_an_account_change(world: World) {
    save_user(&world, &user("u1", "alice")).await;
    let (sub, none, hash) = (UserId::new("u1"), UserId::new("none"), PasswordHash("new".into()));
    let at = NOON + MICRO;
    let mut tx = world.begin().await;
    assert!(tx.set_user_status(&sub, UserStatus::Locked, at).await.unwrap());
    assert!(!tx.set_user_status(&none, UserStatus::Locked, at).await.unwrap());
    assert!(!tx.set_user_status(&none, UserStatus::Deleted, at).await.unwrap());
    assert!(tx.set_password(&sub, &hash, at).await.unwrap());
    assert!(!tx.set_password(&none, &hash, at).await.unwrap());
    tx.commit().await.unwrap();
    let expected = User {
        status: UserStatus::Locked,
        password: Some(hash),
        updated_at: at,
        ..user("u1", "alice")
    };
    assert_eq!(find(&world, "u1").await, expected);
}

async fn accounts_are_listed_page_by_page_without_deleted_ones(world: World) {
    for (n, name) in ["dora", "alice", "carl", "bob"].into_iter().enumerate() {
        save_user(&world, &user(&format!("u{n}"), name)).await;
    }
    save_user(
        &world,
        &User {
            status: UserStatus::Deleted,
            ..user("u9", "bert")
        },
    )
    .await;
    let names_after = async |after: Option<&str>, limit| -> Vec<String> {
        let page = PageRequest {
            after: after.map(str::to_owned),
            limit,
        };
        let users = world.store.list_users(&tenant(), page).await.unwrap();
        users
            .into_iter()
            .map(|user| user.username.as_str().to_owned())
            .collect()
    };
    assert_eq!(names_after(None, 3).await, ["alice", "bob", "carl"]);
    assert_eq!(names_after(Some("carl"), 3).await, ["dora"]);
    assert_eq!(names_after(Some("dora"), 3).await, [""; 0]);
    assert_eq!(names_after(None, 0).await, [""; 0]);
}

async fn an_uncommitted_directory_is_not_seen(world: World) {
    let mut tx = world.begin().await;
    tx.upsert_client(&client("web"), NOON).await.unwrap();
    tx.upsert_user(&user("u1", "alice"), NOON).await.unwrap();
    assert_eq!(world.store.find_client(&ClientId::new("web")).await.unwrap(), None);
    drop(tx);
    assert_eq!(world.store.find_user(&UserId::new("u1")).await.unwrap(), None);
    assert_eq!(
        world
            .store
            .list_clients(PageRequest { after: None, limit: 10 })
            .await
            .unwrap(),
        []
    );
}

async fn nobody_and_nothing_of_a_disabled_tenant_is_active(world: World) {
    save_client(&world, &client("web")).await;
    save_user(&world, &user("u1", "alice")).await;
    world.open(&super::session("s1", "u1")).await;
    let alice = Username::parse("alice").unwrap();
    for enabled in [false, true] {
        let mut tx = world.begin().await;
        let tenant = Tenant {
            id: tenant(),
            name: "Default".into(),
            enabled,
        };
        assert_eq!(tx.upsert_tenant(&tenant, NOON).await.unwrap(), Updated);
        tx.commit().await.unwrap();
        let found = world.store.find_client(&ClientId::new("web")).await.unwrap().unwrap();
        assert_eq!(found.is_active(), enabled);
        assert_eq!(find(&world, "u1").await.is_active(), enabled);
        let by_name = world
            .store
            .find_user_by_name(&tenant.id, &alice)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(by_name.is_active(), enabled);
        let sid = auth_server::domain::ids::SessionId::new("s1");
        assert_eq!(
            world.store.find_live_session(&sid, NOON).await.unwrap().is_some(),
            enabled
        );
        assert_eq!(
            world
                .store
                .live_sessions_of(&UserId::new("u1"), NOON)
                .await
                .unwrap()
                .len(),
            usize::from(enabled)
        );
        let hash = super::password();
        let sid = format!("s2-{enabled}");
        assert_eq!(
            world
                .store
                .insert_session(&super::session(&sid, "u1"), &hash)
                .await
                .unwrap(),
            enabled
        );
        let mut tx = world.begin().await;
        let family = super::family(super::grant(&sid, "u1", "web"));
        assert_eq!(tx.insert_family(&family, None).await.unwrap(), enabled);
        drop(tx);
        // An operator still sees what each is by itself, and so does the next document.
        let page = PageRequest { after: None, limit: 9 };
        let clients = world.store.list_clients(page.clone()).await.unwrap();
        assert_eq!(clients, [client("web")]);
        let users = world.store.list_users(&tenant.id, page).await.unwrap();
        assert_eq!(users, [user("u1", "alice")]);
        assert_eq!(save_client(&world, &client("web")).await, Unchanged);
        assert_eq!(save_user(&world, &user("u1", "alice")).await, Unchanged);
    }
    let mut tx = world.begin().await;
    tx.set_user_status(&UserId::new("u1"), UserStatus::Deleted, NOON)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(find(&world, "u1").await.status, UserStatus::Deleted);
}

async fn secrets_are_replaced_alone(world: World) {
    save_client(&world, &client("web")).await;
    let mut tx = world.begin().await;
    let id = ClientId::new("web");
    let secrets: Vec<_> = client("web").secrets.into_iter().take(1).collect();
    tx.set_client_status(&id, ClientStatus::Disabled, NOON).await.unwrap();
    assert!(tx.set_client_secrets(&id, &secrets, NOON).await.unwrap());
    assert!(!tx.set_client_secrets(&ClientId::new("none"), &[], NOON).await.unwrap());
    tx.commit().await.unwrap();
    let found = world.store.find_client(&id).await.unwrap().unwrap();
    let expected = Client {
        secrets,
        status: ClientStatus::Disabled,
        ..client("web")
    };
    assert_eq!(found, expected);
}
