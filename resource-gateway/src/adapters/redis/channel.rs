//! Questions to Redis that do not wait longer than a request can, and what is known of its failures.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use redis::{FromRedisValue, RedisError, RedisResult};

use super::{
    link::Link,
    lost::Lost,
    script::{Arguments, StoredScript},
};

/// How often what is lost is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// Every so many looks what is not lost is looked at as well, so that nobody has to find out by waiting.
const BEAT: u32 = 4;
/// After so many looks a cluster's connection is made anew.
const PATIENT_LOOKS: u32 = 20;
/// A connection may take this long when nobody waits for it.
const CONNECT: Duration = Duration::from_secs(3);

/// What a channel is for, and what it means when Redis does not answer.
#[derive(Debug)]
pub struct Purpose {
    /// The part that is looked at when no request tells of others.
    pub(super) home: &'static str,
    /// 1 while nothing is lost.
    pub(super) gauge: &'static str,
    pub(super) while_whole: &'static str,
    pub(super) while_lost: &'static str,
}

impl Purpose {
    pub const LIMITS: Self = Self {
        home: "limits",
        gauge: "gateway_limits_counted_together",
        while_whole: "1 while all limits are counted together with the other nodes",
        while_lost: "limits are counted by this node alone",
    };
    pub const NONCES: Self = Self {
        home: "nonces",
        gauge: "gateway_nonces_remembered_together",
        while_whole: "1 while nonces of signed requests are remembered together with the other nodes",
        while_lost: "requests that are signed by access keys are refused",
    };
    pub const ANSWERS: Self = Self {
        home: "answers",
        gauge: "gateway_answers_kept_together",
        while_whole: "1 while answers that are given again are kept together with the other nodes",
        while_lost: "requests with an Idempotency-Key are refused, and no answer comes from the cache",
    };
}

/// The way to Redis for one purpose.
pub struct Channel {
    link: Arc<Link>,
    /// What the keys begin with, so that several installations can share a Redis.
    prefix: String,
    home: Arc<str>,
    lost: Lost,
    probe: StoredScript,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("home", &self.home)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

impl Channel {
    pub fn new(link: Arc<Link>, prefix: String, purpose: &'static Purpose) -> Arc<Self> {
        Arc::new(Self {
            link,
            prefix,
            home: purpose.home.into(),
            lost: Lost::nothing(purpose),
            probe: StoredScript::new(include_str!("probe.lua")),
        })
    }

    /// Looks for what is lost, and whether anything is, until it is dropped.
    pub async fn watch(&self) {
        for round in 0u32.. {
            let mut parts = self.lost.all();
            if round % BEAT == 0 && !parts.contains(&self.home) {
                parts.push(Arc::clone(&self.home));
            }
            stream::iter(parts)
                .for_each_concurrent(8, |part| async move { self.look_at(&part, round).await })
                .await;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether Redis can be used: for `doctor`.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self) -> Result<(), String> {
        self.look_at(&self.home, 0).await;
        if let Some(reason) = self.lost.why(&self.home) {
            return Err(reason);
        }
        match self.policy().await.as_deref() {
            // What is evicted is a nonce that can be replayed, or a request that runs twice.
            Some(policy) if policy != "noeviction" => Err(format!("it forgets keys: maxmemory-policy is {policy}")),
            Some(_) | None => Ok(()),
        }
    }

    /// What the server does when its memory is full; `None` when it has all that the machine has, or does not say. The nodes of a cluster
    /// are not asked.
    async fn policy(&self) -> Option<String> {
        if self.is_cluster() {
            return None;
        }
        let mut connection = self.link.pool().await.ok()?.pick().ok()?;
        let text: String = connection.query(redis::cmd("INFO").arg("memory")).await.ok()?;
        let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        (of("maxmemory")? != "0").then(|| of("maxmemory_policy").map(str::to_owned))?
    }

    /// Why something does not answer, if anything does not. For `/status`.
    pub fn trouble(&self) -> Option<String> {
        self.lost.reason()
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.link.is_cluster()
    }

    pub(super) fn home(&self) -> &Arc<str> {
        &self.home
    }

    /// What the keys of a part begin with. In a cluster they lie on one node, because a script reaches no more: their common hash tag
    /// is what stands in braces.
    pub(super) fn head(&self, part: &str) -> String {
        head(&self.prefix, part, self.is_cluster())
    }

    /// Writes what nobody reads: whatever stands in the way of requests stands in the way of this, a replica included.
    async fn look_at(&self, part: &Arc<str>, round: u32) {
        let arguments = Arguments {
            keys: vec![format!("{}:probe", self.head(part))],
            ..Arguments::default()
        };
        let reason = match tokio::time::timeout(CONNECT, self.link.pool()).await {
            Err(_) => "no connection in time".to_owned(),
            Ok(Err(error)) => describe(&error),
            Ok(Ok(_)) => match self.ask_within::<i64>(&self.probe, &arguments).await {
                Ok(_) => return self.lost.found(part),
                Err(reason) => reason,
            },
        };
        self.lost.note(part, reason);
        // A cluster's connection looks for lost nodes by itself, and others still use it; it is made anew in case that all of
        // them have moved.
        if !self.is_cluster() || round % PATIENT_LOOKS == PATIENT_LOOKS - 1 {
            self.link.forget();
        }
    }

    /// Runs a script. When the connection turns out to be gone, it is run once more over a new one: a lost answer may then be
    /// counted twice, which lets fewer pass and never more. What is taken by name is taken once however often it is asked for. What
    /// gives something back is not repeated, and has no answer then.
    async fn ask<T: FromRedisValue>(&self, script: &StoredScript, arguments: &Arguments) -> RedisResult<Option<T>> {
        let pool = self.link.pool().await?;
        match script.run(&mut pool.pick()?, arguments).await {
            Err(error) if error.is_connection_dropped() && !self.is_cluster() => {
                let pool = self.link.replace(Some(&pool)).await?;
                if arguments.once {
                    return Ok(None);
                }
                script.run(&mut pool.pick()?, arguments).await.map(Some)
            }
            answer => answer.map(Some),
        }
    }

    async fn ask_within<T: FromRedisValue>(
        &self,
        script: &StoredScript,
        arguments: &Arguments,
    ) -> Result<Option<T>, String> {
        let patience = self.link.patience();
        match tokio::time::timeout(patience, Box::pin(self.ask(script, arguments))).await {
            Ok(answer) => answer.map_err(|error| describe(&error)),
            Err(_) => Err(format!("no answer within {} ms", patience.as_millis())),
        }
    }

    /// Runs a script within the time that a request can wait; not at all when the part is lost.
    pub(super) async fn ask_soon<T: FromRedisValue>(
        &self,
        part: &Arc<str>,
        script: &StoredScript,
        arguments: &Arguments,
    ) -> Result<T, String> {
        if let Some(reason) = self.why_lost(part) {
            return Err(reason);
        }
        match self.ask_within(script, arguments).await {
            Ok(answer) => answer.ok_or_else(|| "the answer was lost with its connection".to_owned()),
            Err(reason) => {
                self.lost.note(self.lane(part), reason.clone());
                Err(reason)
            }
        }
    }

    /// Why the part does not answer, if that is known already.
    pub(super) fn why_lost(&self, part: &Arc<str>) -> Option<String> {
        self.lost.why(self.lane(part))
    }

    /// What is lost together: a server as a whole, a cluster by its parts.
    fn lane<'p>(&'p self, part: &'p Arc<str>) -> &'p Arc<str> {
        if self.is_cluster() { part } else { &self.home }
    }
}

pub(super) fn head(prefix: &str, part: &str, cluster: bool) -> String {
    match cluster {
        true => format!("{{{prefix}:{part}}}"),
        false => prefix.to_owned(),
    }
}

/// Without the address: it is in the configuration, and names hosts.
fn describe(error: &RedisError) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.category()),
        None => error.to_string(),
    }
}
