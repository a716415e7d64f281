//! One contract over both engines: a job is run by one node at a time, ends once, and is its owner's alone.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::HeaderMap;
use resource_gateway::{
    adapters::sql::SqlJobs,
    domain::{
        call::Voice,
        caller::{Caller, Expected},
        ids::{ClientId, InterfaceName, JobId, NodeId, RequestId, Subject, TenantId},
        interface::Capability,
        job::{JobError, JobStatus, Owner, WebhookState},
    },
    ports::jobs::{JobEnd, JobRequest, JobResult, JobStore as _, NewJob, Repeat, Run, Submitted, Tidied, Told},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use service_kit::Timestamp;
use sql_kit::{Sql, args, sql};
use token_keys::MasterKey;

use crate::{storage::on_both, storage_world::World};

const SEALED: Sql = sql!("SELECT caller, request, webhook FROM job WHERE id = ?");
const SEALED_RESULT: Sql = sql!("SELECT result FROM job WHERE id = ?");
const MOVE_REQUEST: Sql = sql!("UPDATE job SET request = (SELECT request FROM job WHERE id = ?) WHERE id = ?");
type Bytea = Option<Vec<u8>>;
const HOUR: Duration = Duration::from_hours(1);

fn store(world: &World) -> SqlJobs {
    let keys = tempfile::tempdir().unwrap();
    let key = MasterKey::load_or_create(keys.path()).unwrap();
    SqlJobs::new(world.db.clone(), Arc::new(key))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_900_000_000 + seconds)
}

fn caller() -> Caller {
    let claims = json!({"iss": "i", "aud": "a", "sub": "alice", "client_id": "app", "jti": "j", "iat": 1, "exp": 99,
        "scope": "ai:chat ai:ocr:receipts", "tenant": "t1", "sid": "s", "ai_interfaces": ["chat"], "cnf": {"jkt": "k"},
        "via": ["v"], "authorization_details": [{"type": "ai_call", "interfaces": ["chat"], "expires_at": 77}]});
    let expected = Expected {
        issuer: "i".into(),
        audience: "a".into(),
        leeway: 0,
    };
    Caller::from_claims(claims.as_object().unwrap(), &expected, 1).unwrap()
}

fn owner() -> Owner {
    Owner::of(&caller())
}

fn request() -> JobRequest {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.append("x-twice", "1".parse().unwrap());
    headers.append("x-twice", "2".parse().unwrap());
    JobRequest {
        body: Bytes::from_static(b"a secret prompt \0\xff"),
        headers,
        traceparent: Some("00-1".into()),
    }
}

fn result() -> JobResult {
    let mut headers = HeaderMap::new();
    headers.insert("x-hexgate-filtered", "3".parse().unwrap());
    JobResult {
        body: Bytes::from_static(b"an answer \0\xff"),
        content_type: "audio/mpeg".into(),
        headers,
    }
}

fn error() -> JobError {
    JobError {
        status: 418,
        kind: "k".into(),
        code: Some("c".into()),
        message: "m".into(),
        param: None,
    }
}

async fn insert(store: &SqlJobs, id: &str, created: i64, webhook: Option<&str>) -> bool {
    submit(store, id, created, webhook, None).await == Submitted::Done
}

/// A name and a request are texts of a letter.
async fn submit(
    store: &SqlJobs,
    id: &str,
    created: i64,
    webhook: Option<&str>,
    repeat: Option<(&str, &str)>,
) -> Submitted {
    let caller = caller();
    let job = NewJob {
        id: JobId::new(id),
        owner: Owner::of(&caller),
        interface: InterfaceName::new("chat"),
        capability: Capability::Chat,
        voice: Voice::Anthropic,
        request_id: RequestId::new(format!("r-{id}")),
        created_at: at(created),
        retention: HOUR,
        most_waiting: 5,
        caller: &caller,
        request: &request(),
        webhook,
        repeat: repeat.map(|(key, fingerprint)| Repeat {
            key: key.into(),
            fingerprint: fingerprint.into(),
        }),
    };
    store.insert_job(&job).await.unwrap()
}

async fn claim(store: &SqlJobs, node: &str, now: i64) -> Option<Run> {
    let (node, until) = (NodeId::new(node), at(now) + Duration::from_secs(30));
    let claimed = store.claim_job(&node, at(now), until, 1).await.unwrap();
    claimed.map(|claimed| claimed.run)
}

async fn status(store: &SqlJobs, id: &str, now: i64) -> Option<JobStatus> {
    let job = store.find_job(&owner(), &JobId::new(id), at(now)).await.unwrap();
    job.map(|job| job.status)
}

async fn tidy(store: &SqlJobs, now: i64) -> Tidied {
    store.tidy_jobs(at(now), 1, &error(), 100).await.unwrap()
}

on_both!(
    a_job_is_run_as_it_was_asked_for_and_what_it_holds_is_sealed,
    of_many_nodes_one_runs_a_job,
    a_client_has_no_more_unfinished_jobs_than_it_may_have_however_many_it_asks_for_at_once,
    a_job_of_a_dead_node_is_run_once_more_and_then_fails,
    a_run_that_lost_its_job_cannot_end_it,
    jobs_are_their_owners_alone_and_listed_newest_first,
    what_nobody_waits_for_expires_and_what_is_old_goes,
    news_are_taken_by_one_and_end_once,
    news_of_a_client_that_is_being_told_enough_wait_behind_others,
    a_job_outlives_its_time_until_its_news_were_told,
    a_row_that_its_node_forgot_is_not_kept_alive_by_the_others,
    a_job_that_was_cancelled_before_it_ran_goes_soon,
    a_waiting_job_fails_with_its_callers_access,
    a_request_that_is_repeated_has_one_job_until_that_comes_to_nothing,
);

async fn a_job_is_run_as_it_was_asked_for_and_what_it_holds_is_sealed(world: World) {
    let store = store(&world);
    assert!(insert(&store, "job_1", 0, Some("https://hooks.example/secret-path")).await);
    let id = JobId::new("job_1");
    let waiting = store.find_job(&owner(), &id, at(0)).await.unwrap().unwrap();
    assert_eq!((waiting.status, waiting.runs), (JobStatus::Queued, 0));
    assert_eq!(waiting.voice, Voice::Anthropic);
    assert_eq!((waiting.created_at, waiting.expires_at), (at(0), at(3600)));
    assert_eq!(waiting.webhook.unwrap().state, WebhookState::Waiting);
    let row: (Vec<u8>, Vec<u8>, Vec<u8>) = world.db.one(SEALED, args!["job_1"]).await.unwrap();
    for (sealed, plain) in [(row.0, "alice"), (row.1, "secret"), (row.2, "secret")] {
        assert!(
            !sealed.windows(plain.len()).any(|part| part == plain.as_bytes()),
            "{plain}"
        );
    }
    let node = NodeId::new("n1");
    let claimed = store.claim_job(&node, at(1), at(31), 1).await.unwrap().unwrap();
    let (back, asked) = claimed.content.unwrap();
    let text = |caller: &Caller| serde_json::to_value(caller).unwrap();
    assert_eq!(text(&back), text(&caller()));
    assert_eq!((asked.body, asked.headers), (request().body, request().headers));
    assert_eq!(asked.traceparent, request().traceparent);
    assert_eq!(claimed.request_id, RequestId::new("r-job_1"));
    assert_eq!((claimed.run.number, claimed.voice), (1, Voice::Anthropic));
    let end = JobEnd::Succeeded(result());
    assert!(store.finish_job(&claimed.run, &end, at(2)).await.unwrap());
    let job = store.find_job(&owner(), &id, at(2)).await.unwrap().unwrap();
    assert_eq!(
        (job.status, job.started_at, job.finished_at),
        (JobStatus::Succeeded, Some(at(1)), Some(at(2)))
    );
    assert_eq!(job.result, Some(("audio/mpeg".to_owned(), 12)));
    assert_eq!(job.expires_at, at(2) + HOUR);
    let answer = store.find_result(&owner(), &id, at(2)).await.unwrap().unwrap();
    assert!(answer == result());
    let (sealed,): (Vec<u8>,) = world.db.one(SEALED_RESULT, args!["job_1"]).await.unwrap();
    assert!(!sealed.windows(6).any(|part| part == b"answer"));
    // Prompt and caller are not kept for longer than they are needed.
    let gone: (Bytea, Bytea, Bytea) = world.db.one(SEALED, args!["job_1"]).await.unwrap();
    assert!(gone.0.is_none() && gone.1.is_none() && gone.2.is_some());
    // What is sealed opens in its own row alone.
    insert(&store, "job_2", 3, None).await;
    insert(&store, "job_3", 4, None).await;
    world.db.execute(MOVE_REQUEST, args!["job_2", "job_3"]).await.unwrap();
    let good = store.claim_job(&node, at(5), at(35), 1).await.unwrap().unwrap();
    let moved = store.claim_job(&node, at(5), at(35), 1).await.unwrap().unwrap();
    assert!(good.content.is_ok() && moved.content.is_err());
}

async fn of_many_nodes_one_runs_a_job(world: World) {
    let store = store(&world);
    for number in 0..4 {
        insert(&store, &format!("job_{number}"), 0, None).await;
    }
    let names: Vec<_> = (0..16).map(|number| format!("n{number}")).collect();
    let claims = join_all(names.iter().map(|node| claim(&store, node, 1))).await;
    let mut ids: Vec<_> = claims.into_iter().flatten().map(|run| run.id.to_string()).collect();
    // A node that came too late at one row looks again; nobody gets what another has.
    while let Some(run) = claim(&store, "last", 1).await {
        ids.push(run.id.to_string());
    }
    ids.sort();
    assert_eq!(ids, ["job_0", "job_1", "job_2", "job_3"]);
}

async fn a_client_has_no_more_unfinished_jobs_than_it_may_have_however_many_it_asks_for_at_once(world: World) {
    let store = store(&world);
    let names: Vec<_> = (0..20).map(|number| format!("job_{number}")).collect();
    let passed = join_all(names.iter().map(|id| insert(&store, id, 0, None))).await;
    assert_eq!(passed.iter().filter(|passed| **passed).count(), 5);
    let run = claim(&store, "n1", 1).await.unwrap();
    // One that is running is unfinished.
    assert!(!insert(&store, "job_a", 1, None).await);
    let end = JobEnd::Failed(error());
    assert!(store.finish_job(&run, &end, at(2)).await.unwrap());
    assert!(insert(&store, "job_b", 2, None).await);
    assert!(!insert(&store, "job_c", 2, None).await);
}

async fn a_job_of_a_dead_node_is_run_once_more_and_then_fails(world: World) {
    let store = store(&world);
    insert(&store, "job_1", 0, None).await;
    assert_eq!(claim(&store, "n1", 0).await.unwrap().number, 1);
    assert_eq!(claim(&store, "n2", 29).await, None);
    // Who renews keeps it.
    let first = [(JobId::new("job_1"), 1)];
    let kept = store.renew_jobs(&NodeId::new("n1"), &first, at(50)).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(claim(&store, "n2", 49).await, None);
    let second = claim(&store, "n2", 50).await.unwrap();
    assert_eq!((second.number, second.node.as_str()), (2, "n2"));
    let left = store.renew_jobs(&NodeId::new("n1"), &first, at(90)).await.unwrap();
    assert!(left.is_empty());
    assert_eq!(claim(&store, "n3", 80).await, None);
    assert_eq!(tidy(&store, 79).await, Tidied::default());
    assert_eq!(tidy(&store, 80).await.lost, 1);
    let job = store
        .find_job(&owner(), &JobId::new("job_1"), at(80))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((job.status, job.error), (JobStatus::Failed, Some(error())));
}

async fn a_run_that_lost_its_job_cannot_end_it(world: World) {
    let store = store(&world);
    insert(&store, "job_1", 0, None).await;
    let end = JobEnd::Succeeded(result());
    let first = claim(&store, "n1", 0).await.unwrap();
    let second = claim(&store, "n2", 30).await.unwrap();
    assert!(!store.finish_job(&first, &end, at(31)).await.unwrap());
    assert!(!store.release_job(&first, at(31), true).await.unwrap());
    // Put off, the run does not count; handed back, it does.
    assert!(store.release_job(&second, at(40), true).await.unwrap());
    assert_eq!(claim(&store, "n2", 39).await, None);
    let again = claim(&store, "n2", 40).await.unwrap();
    assert_eq!(again.number, 2);
    assert!(store.release_job(&again, at(41), false).await.unwrap());
    let third = claim(&store, "n2", 41).await.unwrap();
    assert_eq!(third.number, 3);
    assert!(store.cancel_job(&owner(), &JobId::new("job_1"), at(42)).await.unwrap());
    assert!(!store.finish_job(&third, &end, at(43)).await.unwrap());
    assert!(!store.cancel_job(&owner(), &JobId::new("job_1"), at(43)).await.unwrap());
    assert_eq!(status(&store, "job_1", 43).await, Some(JobStatus::Cancelled));
    assert_eq!(claim(&store, "n2", 400).await, None);
}

async fn jobs_are_their_owners_alone_and_listed_newest_first(world: World) {
    let store = store(&world);
    for number in 1..=4 {
        insert(&store, &format!("job_{number}"), number, None).await;
    }
    let first = store.list_jobs(&owner(), None, 3, at(9)).await.unwrap();
    let ids: Vec<_> = first.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["job_4", "job_3", "job_2"]);
    let rest = store.list_jobs(&owner(), Some(&first[2].id), 3, at(9)).await.unwrap();
    assert_eq!(rest.len(), 1);
    let run = claim(&store, "n1", 9).await.unwrap();
    assert!(
        store
            .finish_job(&run, &JobEnd::Succeeded(result()), at(9))
            .await
            .unwrap()
    );
    for stranger in [
        Owner {
            tenant: None,
            ..owner()
        },
        Owner {
            tenant: Some(TenantId::new("t2")),
            ..owner()
        },
        Owner {
            client_id: ClientId::new("other"),
            ..owner()
        },
        Owner {
            sub: Subject::new("bob"),
            ..owner()
        },
    ] {
        assert_eq!(store.find_job(&stranger, &run.id, at(9)).await.unwrap(), None);
        assert!(store.find_result(&stranger, &run.id, at(9)).await.unwrap().is_none());
        assert!(!store.cancel_job(&stranger, &JobId::new("job_2"), at(9)).await.unwrap());
        assert!(store.list_jobs(&stranger, None, 3, at(9)).await.unwrap().is_empty());
    }
    assert!(store.find_result(&owner(), &run.id, at(9)).await.unwrap().is_some());
}

async fn what_nobody_waits_for_expires_and_what_is_old_goes(world: World) {
    let store = store(&world);
    insert(&store, "job_1", 0, None).await;
    insert(&store, "job_2", 10, None).await;
    let run = claim(&store, "n1", 10).await.unwrap();
    assert!(
        store
            .finish_job(&run, &JobEnd::Succeeded(result()), at(20))
            .await
            .unwrap()
    );
    assert_eq!(tidy(&store, 3600).await, Tidied::default());
    // It waited for an hour.
    assert_eq!(claim(&store, "n1", 3610).await, None);
    assert_eq!(
        tidy(&store, 3610).await,
        Tidied {
            expired: 1,
            ..Tidied::default()
        }
    );
    assert_eq!(status(&store, "job_2", 3610).await, Some(JobStatus::Expired));
    // A result is not shown after its time, removed or not.
    assert!(store.find_result(&owner(), &run.id, at(3619)).await.unwrap().is_some());
    assert!(store.find_result(&owner(), &run.id, at(3620)).await.unwrap().is_none());
    assert_eq!(status(&store, "job_1", 3620).await, None);
    assert!(store.list_jobs(&owner(), None, 9, at(3620)).await.unwrap().len() == 1);
    assert_eq!(
        tidy(&store, 3620).await,
        Tidied {
            removed: 1,
            ..Tidied::default()
        }
    );
    // Some at a time.
    for number in 3..=6 {
        insert(&store, &format!("job_{number}"), 3620, None).await;
    }
    let tidied = store.tidy_jobs(at(9000), 1, &error(), 3).await.unwrap();
    assert_eq!(
        tidied,
        Tidied {
            expired: 3,
            removed: 1,
            ..Tidied::default()
        }
    );
}

async fn news_are_taken_by_one_and_end_once(world: World) {
    let store = store(&world);
    insert(&store, "job_1", 0, Some("https://hooks.example/x")).await;
    insert(&store, "job_2", 0, None).await;
    assert!(store.claim_delivery(at(1), at(61), &[]).await.unwrap().is_none());
    for _ in 0..2 {
        let run = claim(&store, "n1", 1).await.unwrap();
        assert!(store.finish_job(&run, &JobEnd::Failed(error()), at(2)).await.unwrap());
    }
    let taken = join_all((0..8).map(|_| store.claim_delivery(at(3), at(63), &[]))).await;
    let mut taken: Vec<_> = taken.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(taken.len(), 1);
    let first = taken.remove(0);
    assert_eq!(
        (first.id.as_str(), first.owner, first.status),
        ("job_1", owner(), JobStatus::Failed)
    );
    assert_eq!((first.attempts, first.finished_at), (1, at(2)));
    assert_eq!(first.url.unwrap().expose_secret(), "https://hooks.example/x");
    // The node died with it: another tries, and the first one's word does not count any more.
    let id = JobId::new("job_1");
    let second = store.claim_delivery(at(63), at(123), &[]).await.unwrap().unwrap();
    assert_eq!(second.attempts, 2);
    assert!(!store.note_delivery(&id, 1, Told::Dead).await.unwrap());
    assert!(store.note_delivery(&id, 2, Told::Again(at(70))).await.unwrap());
    assert!(store.claim_delivery(at(69), at(129), &[]).await.unwrap().is_none());
    let third = store.claim_delivery(at(70), at(130), &[]).await.unwrap().unwrap();
    assert!(store.note_delivery(&id, third.attempts, Told::Delivered).await.unwrap());
    assert!(!store.note_delivery(&id, third.attempts, Told::Dead).await.unwrap());
    assert!(store.claim_delivery(at(999), at(1059), &[]).await.unwrap().is_none());
    let webhook = store.find_job(&owner(), &id, at(999)).await.unwrap().unwrap().webhook;
    assert_eq!(
        webhook.map(|webhook| (webhook.state, webhook.attempts)),
        Some((WebhookState::Delivered, 3))
    );
}

async fn a_waiting_job_fails_with_its_callers_access(world: World) {
    let store = store(&world);
    insert(&store, "job_1", 0, None).await;
    insert(&store, "job_2", 0, None).await;
    insert(&store, "job_3", 0, None).await;
    claim(&store, "n1", 1).await.unwrap();
    let page = store.waiting_callers(None, 1).await.unwrap();
    let callers: Vec<Value> = page.iter().map(|(_, caller)| json!(caller.as_ref().unwrap())).collect();
    assert_eq!((page[0].0.as_str(), &callers[0]), ("job_2", &json!(caller())));
    let next = store.waiting_callers(Some(&page[0].0), 9).await.unwrap();
    assert_eq!(next.len(), 1);
    assert!(store.fail_waiting(&page[0].0, &error(), at(2)).await.unwrap());
    assert!(!store.fail_waiting(&JobId::new("job_1"), &error(), at(2)).await.unwrap());
    assert_eq!(status(&store, "job_2", 2).await, Some(JobStatus::Failed));
    assert_eq!(status(&store, "job_1", 2).await, Some(JobStatus::Running));
}

async fn news_of_a_client_that_is_being_told_enough_wait_behind_others(world: World) {
    let store = store(&world);
    insert(&store, "job_1", 0, Some("https://slow.example/x")).await;
    let run = claim(&store, "n1", 1).await.unwrap();
    assert!(store.finish_job(&run, &JobEnd::Failed(error()), at(2)).await.unwrap());
    let owner = owner();
    let busy = [(owner.tenant.clone(), owner.client_id.clone())];
    assert!(store.claim_delivery(at(3), at(63), &busy).await.unwrap().is_none());
    let stranger = [(None, owner.client_id), (owner.tenant, ClientId::new("other"))];
    assert!(store.claim_delivery(at(3), at(63), &stranger).await.unwrap().is_some());
}

async fn a_job_outlives_its_time_until_its_news_were_told(world: World) {
    let store = store(&world);
    insert(&store, "job_1", 0, Some("https://hooks.example/x")).await;
    let run = claim(&store, "n1", 1).await.unwrap();
    assert!(store.finish_job(&run, &JobEnd::Failed(error()), at(2)).await.unwrap());
    assert_eq!(tidy(&store, 4000).await, Tidied::default());
    assert_eq!(
        status(&store, "job_1", 4000).await,
        None,
        "its time is over for its owner"
    );
    let news = store.claim_delivery(at(4000), at(4060), &[]).await.unwrap().unwrap();
    assert!(
        store
            .note_delivery(&news.id, news.attempts, Told::Delivered)
            .await
            .unwrap()
    );
    assert_eq!(tidy(&store, 4001).await.removed, 1);
}

async fn a_row_that_its_node_forgot_is_not_kept_alive_by_the_others(world: World) {
    let store = store(&world);
    insert(&store, "job_1", 0, None).await;
    insert(&store, "job_2", 0, None).await;
    // The answer to this claim got lost.
    let lost = claim(&store, "n1", 0).await.unwrap();
    let known = claim(&store, "n1", 0).await.unwrap();
    let runs = [(known.id.clone(), known.number)];
    let kept = store.renew_jobs(&NodeId::new("n1"), &runs, at(90)).await.unwrap();
    assert_eq!(kept, [known]);
    let again = claim(&store, "n2", 31).await.unwrap();
    assert_eq!((again.id, again.number), (lost.id, 2));
}

async fn a_job_that_was_cancelled_before_it_ran_goes_soon(world: World) {
    let store = store(&world);
    insert(&store, "job_1", 0, None).await;
    claim(&store, "n1", 0).await.unwrap();
    insert(&store, "job_2", 0, Some("https://hooks.example/x")).await;
    for id in ["job_1", "job_2"] {
        assert!(store.cancel_job(&owner(), &JobId::new(id), at(1)).await.unwrap());
    }
    assert_eq!(status(&store, "job_2", 300).await, Some(JobStatus::Cancelled));
    assert_eq!(tidy(&store, 301).await.removed, 1);
    assert_eq!(status(&store, "job_2", 301).await, None);
    assert_eq!(
        status(&store, "job_1", 301).await,
        Some(JobStatus::Cancelled),
        "it may have cost something"
    );
}

async fn a_request_that_is_repeated_has_one_job_until_that_comes_to_nothing(world: World) {
    let store = store(&world);
    let named =
        async |id: &str, created, fingerprint| submit(&store, id, created, None, Some(("k", fingerprint))).await;
    // Of many at once one is saved.
    let ids: Vec<String> = (1..=8).map(|number| format!("job_{number}")).collect();
    let racers = join_all(ids.iter().map(|id| named(id, 0, "f"))).await;
    let saved: Vec<_> = ids
        .iter()
        .zip(&racers)
        .filter(|(_, racer)| **racer == Submitted::Done)
        .collect();
    assert_eq!(saved.len(), 1, "{racers:?}");
    let first = JobId::new(saved[0].0.as_str());
    let again = racers.iter().filter(|racer| **racer == Submitted::Again(first.clone()));
    assert_eq!(again.count(), 7, "{racers:?}");
    assert_eq!(named("other", 0, "g").await, Submitted::OtherRequest);
    assert_eq!(
        submit(&store, "unlike", 0, None, Some(("l", "f"))).await,
        Submitted::Done,
        "another name is another request's"
    );
    // Running or done, it is the same job.
    let run = claim(&store, "n", 1).await.unwrap();
    assert_eq!(run.id, first);
    assert_eq!(named("x", 1, "f").await, Submitted::Again(first.clone()));
    assert!(
        store
            .finish_job(&run, &JobEnd::Succeeded(result()), at(2))
            .await
            .unwrap()
    );
    assert_eq!(named("x", 2, "f").await, Submitted::Again(first.clone()));
    // Once its result is gone the name is free, removed or not.
    assert_eq!(named("job_a", 3602, "g").await, Submitted::Done);
    // So it is when there will be none.
    assert!(
        store
            .cancel_job(&owner(), &JobId::new("job_a"), at(3603))
            .await
            .unwrap()
    );
    assert_eq!(named("job_b", 3604, "f").await, Submitted::Done);
    assert!(
        store
            .fail_waiting(&JobId::new("job_b"), &error(), at(3605))
            .await
            .unwrap()
    );
    assert_eq!(named("job_c", 3606, "f").await, Submitted::Done);
}
