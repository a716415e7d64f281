//! One contract over both engines: conversations grow at the end, by one request at a time, and end with their time.

use std::{sync::Arc, time::Duration};

use resource_gateway::{
    adapters::sql::SqlConversations,
    domain::{
        conversation::{Conversation, MessageHead, Owner, Role},
        ids::{ClientId, ConversationId, InterfaceName, RequestId, Subject, TenantId},
    },
    ports::{
        config_source::StoreError,
        conversations::{Added, Addition, ConversationStore as _, Held, Hold, NewMessage, Span},
    },
};
use service_kit::Timestamp;
use sql_kit::{Sql, args, sql};
use token_keys::MasterKey;

use crate::{storage::on_both, storage_world::World};

fn store(world: &World) -> SqlConversations {
    let keys = tempfile::tempdir().unwrap();
    let key = MasterKey::load_or_create(keys.path()).unwrap();
    SqlConversations::new(world.db.clone(), Arc::new(key))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_900_000_000 + seconds)
}

fn owner(sub: &str) -> Owner {
    Owner {
        tenant: Some(TenantId::new("t")),
        client_id: ClientId::new("app"),
        sub: Subject::new(sub),
    }
}

fn hold(id: &str, token: &str) -> Hold {
    Hold {
        conversation: ConversationId::new(id),
        token: token.into(),
    }
}

fn conversation(id: &str, second: i64) -> Conversation {
    Conversation {
        id: ConversationId::new(id),
        interface: InterfaceName::new("chat"),
        created_at: at(second),
        changed_at: at(second),
        length: 0,
    }
}

fn message(number: u64, role: Role, body: &str) -> NewMessage {
    NewMessage {
        head: MessageHead {
            number,
            role,
            bytes: body.len() as u64,
            tokens: number * 10,
        },
        body: body.into(),
    }
}

async fn add(store: &SqlConversations, hold: &Hold, messages: &[NewMessage], second: i64) -> Added {
    let request_id = RequestId::new("r1");
    let addition = Addition {
        messages,
        request_id: &request_id,
        at: at(second),
        keep_until: at(second + 100),
    };
    store.add(hold, &addition).await.unwrap()
}

/// A conversation of so many messages.
async fn told(store: &SqlConversations, id: &str, second: i64, count: u64) {
    let held = hold(id, "begin");
    let times = (at(second + 10), at(second + 100));
    store
        .begin(&conversation(id, second), &owner("alice"), &held, times)
        .await
        .unwrap();
    let role = |number| if number == 1 { Role::System } else { Role::Other };
    let messages: Vec<_> = (1..=count)
        .map(|number| message(number, role(number), "{\"x\":\"日本\"}"))
        .collect();
    assert_eq!(add(store, &held, &messages, second).await, Added::Done);
}

on_both!(
    a_conversation_grows_at_its_end_and_is_read_as_it_was_written,
    of_many_requests_one_gets_the_turn,
    lists_show_an_owners_own_and_only_what_lives,
    what_is_past_its_time_goes_in_steps,
    what_was_said_is_sealed_for_its_place,
);

async fn a_conversation_grows_at_its_end_and_is_read_as_it_was_written(world: World) {
    let store = store(&world);
    told(&store, "a", 0, 3).await;
    let id = ConversationId::new("a");
    let next = hold("a", "next");
    let held = store
        .hold(&next, &owner("alice"), "chat", (at(1), at(20)))
        .await
        .unwrap();
    assert_eq!(
        held,
        Held::Granted(Conversation {
            length: 3,
            ..conversation("a", 0)
        })
    );
    let wrong = [message(6, Role::Other, "{}")];
    assert_eq!(add(&store, &next, &wrong, 2).await, Added::Lost, "no gaps");
    let more = [message(4, Role::Tool, "{\"t\":1}"), message(5, Role::Other, "{}")];
    assert_eq!(
        add(&store, &hold("a", "begin"), &more, 2).await,
        Added::Lost,
        "an old hold counts no more"
    );
    assert_eq!(add(&store, &next, &more, 2).await, Added::Done);
    assert_eq!(add(&store, &next, &more, 2).await, Added::Lost, "it was given back");
    let (newest, system) = store.newest(&id, 2).await.unwrap();
    assert_eq!(newest, [more[1].head, more[0].head]);
    assert_eq!(system, [message(1, Role::System, "{\"x\":\"日本\"}").head]);
    let numbers = async |from, system_from| {
        let span = Span { from, system_from };
        let found = store.read(&id, span).await.unwrap();
        found.iter().map(|message| message.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(4, 1).await, [1, 4, 5]);
    assert_eq!(numbers(4, 2).await, [4, 5]);
    assert_eq!(numbers(u64::MAX, 1).await, [1]);
    let page = store.page(&id, 2, 10, 1 << 20).await.unwrap();
    let texts: Vec<_> = page.iter().map(|message| &*message.body).collect();
    assert_eq!(texts, ["{\"x\":\"日本\"}", "{\"t\":1}", "{}"]);
    assert_eq!((page[1].time, page[1].request_id.as_str()), (at(2), "r1"));
    assert_eq!(store.page(&id, 0, 2, 1 << 20).await.unwrap().len(), 2);
    assert_eq!(store.page(&id, 0, 10, 1).await.unwrap().len(), 1, "one at least");
    assert_eq!(store.page(&id, 0, 10, 30).await.unwrap().len(), 2);
    let found = store.find(&id, &owner("alice"), at(3)).await.unwrap().unwrap();
    assert_eq!((found.length, found.changed_at), (5, at(2)));
}

async fn of_many_requests_one_gets_the_turn(world: World) {
    let store = Arc::new(store(&world));
    told(&store, "a", 0, 1).await;
    let racers = (0..8).map(|racer| {
        let store = Arc::clone(&store);
        async move {
            let hold = hold("a", &format!("racer-{racer}"));
            let held = store
                .hold(&hold, &owner("alice"), "chat", (at(1), at(20)))
                .await
                .unwrap();
            (hold, held)
        }
    });
    let held = futures_util::future::join_all(racers).await;
    let won: Vec<_> = held
        .iter()
        .filter(|(_, held)| matches!(held, Held::Granted(_)))
        .collect();
    assert_eq!(won.len(), 1);
    assert!(held.iter().all(|(_, held)| *held != Held::Unknown));
    let other = hold("a", "other");
    let again = async |interface: &str, second| {
        store
            .hold(&other, &owner("alice"), interface, (at(second), at(40)))
            .await
            .unwrap()
    };
    assert!(matches!(again("chat", 19).await, Held::Refused(_)));
    // Given back by somebody who does not hold it, it stays held.
    store.release(&other).await.unwrap();
    assert!(matches!(again("chat", 19).await, Held::Refused(_)));
    assert!(matches!(again("elsewhere", 20).await, Held::Refused(_)));
    assert!(
        matches!(again("chat", 20).await, Held::Granted(_)),
        "a hold that is over counts no more"
    );
    store.release(&other).await.unwrap();
    assert!(matches!(again("chat", 21).await, Held::Granted(_)));
    let stranger = store
        .hold(&other, &owner("bob"), "chat", (at(90), at(91)))
        .await
        .unwrap();
    assert_eq!(stranger, Held::Unknown);
    // In which nothing was said goes with its hold.
    let empty = hold("b", "x");
    store
        .begin(&conversation("b", 0), &owner("alice"), &empty, (at(10), at(100)))
        .await
        .unwrap();
    assert!(
        store
            .find(&empty.conversation, &owner("alice"), at(1))
            .await
            .unwrap()
            .is_some()
    );
    store.release(&empty).await.unwrap();
    assert!(
        store
            .find(&empty.conversation, &owner("alice"), at(1))
            .await
            .unwrap()
            .is_none()
    );
}

async fn lists_show_an_owners_own_and_only_what_lives(world: World) {
    let store = store(&world);
    for (id, second) in [("a", 0), ("b", 1), ("c", 1), ("d", 2)] {
        told(&store, id, second, 1).await;
    }
    let empty = conversation("e", 3);
    store
        .begin(&empty, &owner("alice"), &hold("e", "x"), (at(10), at(103)))
        .await
        .unwrap();
    let ids = async |owner: &Owner, second, before: Option<(i64, &str)>, limit| {
        let before = before.map(|(second, id)| (at(second), ConversationId::new(id)));
        let found = store.list(owner, at(second), before, limit).await.unwrap();
        found
            .iter()
            .map(|found| found.id.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    let alice = owner("alice");
    assert_eq!(ids(&alice, 5, None, 10).await, ["d", "c", "b", "a"]);
    assert_eq!(ids(&alice, 5, None, 2).await, ["d", "c"]);
    assert_eq!(ids(&alice, 5, Some((1, "c")), 10).await, ["b", "a"]);
    assert_eq!(ids(&alice, 101, None, 10).await, ["d"], "the others' time is over");
    let nobody = [
        owner("bob"),
        Owner {
            client_id: ClientId::new("web"),
            ..owner("alice")
        },
        Owner {
            tenant: None,
            ..owner("alice")
        },
    ];
    for other in nobody {
        assert_eq!(ids(&other, 5, None, 10).await, Vec::<String>::new());
        let id = ConversationId::new("a");
        assert_eq!(store.find(&id, &other, at(5)).await.unwrap(), None);
        assert!(!store.delete(&id, &other).await.unwrap());
    }
    let id = ConversationId::new("a");
    assert!(store.delete(&id, &alice).await.unwrap());
    assert!(!store.delete(&id, &alice).await.unwrap());
    assert!(
        store.page(&id, 0, 10, 100).await.unwrap().is_empty(),
        "the messages went along"
    );
}

async fn what_is_past_its_time_goes_in_steps(world: World) {
    let store = store(&world);
    told(&store, "old", 0, 7).await;
    told(&store, "young", 50, 2).await;
    assert_eq!(store.forget(at(99), 3).await.unwrap(), 0);
    let old = ConversationId::new("old");
    let now = at(100);
    assert_eq!(
        store.find(&old, &owner("alice"), now).await.unwrap(),
        None,
        "gone before it is removed"
    );
    let late = store
        .hold(
            &hold("old", "x"),
            &owner("alice"),
            "chat",
            (now, now + Duration::from_secs(9)),
        )
        .await
        .unwrap();
    assert_eq!(late, Held::Unknown);
    let mut steps = Vec::new();
    loop {
        match store.forget(now, 3).await.unwrap() {
            0 => break,
            gone => steps.push(gone),
        }
    }
    assert_eq!(steps, [3, 3, 2], "seven messages, and the conversation with the last");
    assert_eq!(
        store
            .page(&ConversationId::new("young"), 0, 9, 1000)
            .await
            .unwrap()
            .len(),
        2
    );
}

async fn what_was_said_is_sealed_for_its_place(world: World) {
    const BODIES: Sql = sql!("SELECT body FROM message WHERE conversation = ? ORDER BY number");
    const MOVE: Sql = sql!(
        "UPDATE message SET body = (SELECT body FROM message WHERE conversation = 'a' AND number = 1) WHERE conversation = ? AND number = 2"
    );
    const PLAIN: Sql = sql!("UPDATE message SET body = '{\"old\":1}' WHERE conversation = ? AND number = 2");
    let store = store(&world);
    for id in ["a", "b"] {
        told(&store, id, 0, 2).await;
    }
    let bodies: Vec<(String,)> = world.db.all(BODIES, args!["a"]).await.unwrap();
    assert_eq!(bodies.len(), 2);
    for (body,) in &bodies {
        assert!(!body.contains(['{', '"']) && !body.contains("\u{65e5}"), "{body}");
    }
    assert_ne!(bodies[0], bodies[1], "the same words do not look the same");
    let page = async |id: &str| store.page(&ConversationId::new(id), 1, 9, 1 << 20).await;
    let text = async |id: &str| page(id).await.unwrap()[0].body.clone();
    assert_eq!(&*text("a").await, "{\"x\":\"\u{65e5}\u{672c}\"}");
    // Neither in another place of its conversation nor in another conversation does it open.
    for id in ["a", "b"] {
        world.db.execute(MOVE, args![id]).await.unwrap();
        assert!(
            matches!(page(id).await, Err(StoreError::Corrupt { table: "message", .. })),
            "{id}"
        );
    }
    // What was stored before messages were sealed is still read.
    world.db.execute(PLAIN, args!["a"]).await.unwrap();
    assert_eq!(&*text("a").await, "{\"old\":1}");
}
