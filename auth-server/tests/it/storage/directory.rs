use auth_server::domain::directory::{Dictionary, DictionaryItem, Menu, Org, Role, Tenant};
use auth_server::domain::ids::{OrgId, RoleName, TenantId, UserId};
use auth_server::domain::user::User;
use auth_server::ports::store::Upserted;

use super::{NOON, World, client, names, on_every_engine, role, tenant, user};

on_every_engine!(
    permissions_come_from_roles_and_their_menus,
    a_document_applied_twice_changes_nothing_the_second_time,
    every_change_of_the_directory_is_noticed,
    every_change_of_a_dictionary_is_noticed,
    role_names_hold_those_of_the_same_transaction,
    the_revision_only_grows,
);

use Upserted::{Created, Unchanged, Updated};

async fn permissions_come_from_roles_and_their_menus(world: World) {
    let menu = |id: &str, permission: Option<&str>| Menu {
        permission: permission.map(str::to_owned),
        ..menu(id)
    };
    let mut tx = world.begin().await;
    tx.upsert_menu(&menu("clients", Some("client:list")), NOON)
        .await
        .unwrap();
    tx.upsert_menu(&menu("users", None), NOON).await.unwrap();
    tx.upsert_menu(&menu("elsewhere", Some("never")), NOON).await.unwrap();
    tx.upsert_role(&role("admin"), NOON).await.unwrap();
    let auditor = Role {
        permissions: names(["audit:read".to_owned()]),
        menus: names([]),
        ..role("auditor")
    };
    tx.upsert_role(&auditor, NOON).await.unwrap();
    tx.upsert_role(
        &Role {
            permissions: names(["never".to_owned()]),
            ..role("other")
        },
        NOON,
    )
    .await
    .unwrap();
    tx.upsert_user(&user("u1", "alice"), NOON).await.unwrap();
    tx.upsert_user(
        &User {
            roles: names([]),
            ..user("u2", "bob")
        },
        NOON,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let of = async |sub: &str| world.store.permissions_of(&UserId::new(sub)).await.unwrap();
    assert_eq!(
        of("u1").await,
        names(["audit:read", "client:list", "client:read", "client:write"].map(str::to_owned))
    );
    assert_eq!(of("u2").await, names([]));
    assert_eq!(of("none").await, names([]));
}

fn menu(id: &str) -> Menu {
    Menu {
        id: id.into(),
        tenant: tenant(),
        title: "Title".into(),
        parent: None,
        path: Some("/x".into()),
        permission: None,
        position: 3,
    }
}

fn org(id: &str) -> Org {
    Org {
        id: OrgId::new(id),
        tenant: tenant(),
        name: "Unit".into(),
        parent: Some(OrgId::new("root")),
    }
}

fn dictionary(items: &[(&str, &str, i64)]) -> Dictionary {
    let item = |(key, label, position): &(&str, &str, i64)| DictionaryItem {
        key: (*key).to_owned(),
        label: (*label).to_owned(),
        position: *position,
    };
    Dictionary {
        name: "colour".into(),
        tenant: tenant(),
        description: "Colours".into(),
        items: items.iter().map(item).collect(),
    }
}

async fn a_document_applied_twice_changes_nothing_the_second_time(world: World) {
    let colours = dictionary(&[("r", "Red", 1), ("g", "Green", 2)]);
    let new = Tenant {
        id: TenantId::new("t2"),
        name: "Two".into(),
        enabled: true,
    };
    for expected in [Created, Unchanged] {
        let mut tx = world.begin().await;
        assert_eq!(tx.upsert_tenant(&new, NOON).await.unwrap(), expected);
        assert_eq!(tx.upsert_org(&org("o"), NOON).await.unwrap(), expected);
        assert_eq!(tx.upsert_menu(&menu("clients"), NOON).await.unwrap(), expected);
        assert_eq!(tx.upsert_role(&role("admin"), NOON).await.unwrap(), expected);
        assert_eq!(tx.upsert_dictionary(&colours, NOON).await.unwrap(), expected);
        assert_eq!(tx.upsert_client(&client("web"), NOON).await.unwrap(), expected);
        assert_eq!(tx.upsert_user(&user("u1", "alice"), NOON).await.unwrap(), expected);
        tx.commit().await.unwrap();
    }
}

async fn every_change_of_the_directory_is_noticed(world: World) {
    let mut tx = world.begin().await;
    tx.upsert_org(&org("o"), NOON).await.unwrap();
    tx.upsert_menu(&menu("m"), NOON).await.unwrap();
    tx.upsert_role(&role("r"), NOON).await.unwrap();
    // The tenant of rows that name none is there from the start.
    let default = Tenant {
        id: tenant(),
        name: "Renamed".into(),
        enabled: false,
    };
    assert_eq!(tx.upsert_tenant(&default, NOON).await.unwrap(), Updated);
    for org in [
        Org {
            parent: None,
            ..org("o")
        },
        Org {
            name: "New".into(),
            ..org("o")
        },
    ] {
        assert_eq!(tx.upsert_org(&org, NOON).await.unwrap(), Updated, "{org:?}");
    }
    for menu in [
        Menu {
            path: None,
            ..menu("m")
        },
        Menu {
            permission: Some("p".into()),
            ..menu("m")
        },
        Menu {
            position: 4,
            ..menu("m")
        },
        Menu {
            parent: Some("up".into()),
            ..menu("m")
        },
    ] {
        assert_eq!(tx.upsert_menu(&menu, NOON).await.unwrap(), Updated, "{menu:?}");
    }
    for role in [
        Role {
            menus: names(["clients".to_owned()]),
            ..role("r")
        },
        Role {
            menus: names(["x".to_owned(), "y".to_owned()]),
            ..role("r")
        },
        Role {
            permissions: names([]),
            ..role("r")
        },
        Role {
            data_orgs: names([]),
            ..role("r")
        },
    ] {
        assert_eq!(tx.upsert_role(&role, NOON).await.unwrap(), Updated, "{role:?}");
    }
    tx.commit().await.unwrap();
}

async fn every_change_of_a_dictionary_is_noticed(world: World) {
    let mut tx = world.begin().await;
    let before = dictionary(&[("r", "Red", 1), ("g", "Green", 2)]);
    tx.upsert_dictionary(&before, NOON).await.unwrap();
    for items in [
        &[("r", "Red", 1), ("g", "Verde", 2)][..],
        &[("r", "Red", 1)],
        &[("r", "Red", 9)],
        &[],
        &[("b", "Blue", 1)],
    ] {
        assert_eq!(
            tx.upsert_dictionary(&dictionary(items), NOON).await.unwrap(),
            Updated,
            "{items:?}"
        );
        assert_eq!(
            tx.upsert_dictionary(&dictionary(items), NOON).await.unwrap(),
            Unchanged,
            "{items:?}"
        );
    }
    tx.commit().await.unwrap();
}

async fn role_names_hold_those_of_the_same_transaction(world: World) {
    let mut tx = world.begin().await;
    assert_eq!(tx.role_names(&tenant()).await.unwrap(), names([]));
    tx.upsert_role(&role("admin"), NOON).await.unwrap();
    assert_eq!(tx.role_names(&tenant()).await.unwrap(), names([RoleName::new("admin")]));
    assert_eq!(tx.role_names(&TenantId::new("other")).await.unwrap(), names([]));
}

async fn the_revision_only_grows(world: World) {
    let start = world.store.current_revision().await.unwrap();
    let winners = super::race(|| {
        let store = std::sync::Arc::clone(&world.store);
        async move {
            let mut tx = store.begin().await.unwrap();
            let mine = tx.bump_revision().await.unwrap();
            tx.commit().await.unwrap();
            mine > start
        }
    });
    assert_eq!(winners.await, super::RACERS);
    assert_eq!(world.store.current_revision().await.unwrap() - start, 200);
}
