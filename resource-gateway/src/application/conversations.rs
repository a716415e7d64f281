//! Stored conversations: what of them goes along with a request, who may add to them, and what their owners do with them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use service_kit::{Clock, Entropy, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::page::Page;
use crate::{
    domain::{
        call::weigh_message,
        caller::Caller,
        conversation::{
            Asked, Conversation, ConversationPolicy, MOST_MESSAGES, MessageHead, Own, Owner, Role, Room, choose,
        },
        fault::{ErrorKind, PublicError},
        ids::{ConversationId, RequestId},
        interface::Interface,
    },
    ports::{
        config_source::{StoreError, StoreResult},
        conversations::{Added, Addition, ConversationStore, Held, Hold, NewMessage, Span, StoredMessage},
    },
};

/// The member of a request that names a conversation.
const CONVERSATION_ID: &str = "conversation_id";
const DAY: Duration = Duration::from_hours(24);
/// After the last moment at which an answer may end, it has this long to be stored.
const STORING_TIME: Duration = Duration::from_secs(30);
/// Holds that wait to be given back. One for which there is no room ends by itself.
const MAX_RELEASES: usize = 4096;
/// Rows that one step of forgetting removes: short enough for nobody to wait behind it.
const FORGET_AT_ONCE: u32 = 500;
/// How often it is looked whether there is something to forget.
const FORGET_INTERVAL: Duration = Duration::from_mins(5);
/// A page of messages is not longer.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;

/// The use cases about conversations.
#[derive(Debug)]
pub struct Conversations {
    store: Arc<dyn ConversationStore>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// What a request may hold, earlier messages included.
    max_bytes: u64,
    releases: mpsc::Sender<Hold>,
    /// Taken by the task that gives holds back.
    released: Mutex<Option<mpsc::Receiver<Hold>>>,
}

/// A request's place in a conversation: nobody else adds to it meanwhile. Dropped before something was added, it is given back.
#[derive(Debug)]
pub struct Turn {
    conversations: Arc<Conversations>,
    hold: Option<Hold>,
    length: u64,
    own: Vec<Box<str>>,
    policy: ConversationPolicy,
    request_id: RequestId,
}

/// A request that continues a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Continuation<'a> {
    pub caller: &'a Caller,
    pub interface: &'a Interface,
    pub request_id: &'a RequestId,
}

impl Conversations {
    pub fn new(
        store: Arc<dyn ConversationStore>,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
        max_bytes: usize,
    ) -> Self {
        let (releases, released) = mpsc::channel(MAX_RELEASES);
        Self {
            store,
            clock,
            entropy,
            max_bytes: max_bytes as u64,
            releases,
            released: Mutex::new(Some(released)),
        }
    }

    /// Takes a turn in the conversation that a request names; answers it with the earlier messages that go along.
    ///
    /// # Errors
    /// There is no such conversation for this caller here, another request has its turn, or the database is away: then nothing is
    /// asked of a vendor, since an answer that does not know what was said before would be a wrong one.
    pub async fn join(
        self: &Arc<Self>,
        asked: &Asked,
        request: Continuation<'_>,
        own: Vec<Box<str>>,
    ) -> Result<(Turn, Vec<Box<str>>), PublicError> {
        let policy = request.interface.policy.conversation;
        if !policy.enabled.is_on() {
            return Err(PublicError::invalid(
                Some(CONVERSATION_ID),
                "conversations_not_offered",
                "This model stores no conversations; leave conversation_id out.",
            ));
        }
        let now = self.clock.now();
        let until = now + request.interface.timeouts.total + STORING_TIME;
        let owner = Owner::of(request.caller);
        let id = match asked {
            Asked::New => ConversationId::new(format!("conv_{}", self.entropy.id())),
            Asked::Earlier(id) => id.clone(),
        };
        // Whole before anything is asked: a caller that leaves while the database answers leaves its place as well.
        let mut turn = Turn {
            conversations: Arc::clone(self),
            hold: Some(self.new_hold(&id)),
            length: 0,
            own,
            policy,
            request_id: request.request_id.clone(),
        };
        match asked {
            Asked::New => self.begin(&turn, &owner, request.interface, (now, until)).await?,
            Asked::Earlier(_) => self.resume(&mut turn, &owner, request.interface, (now, until)).await?,
        }
        if turn.length.saturating_add(turn.own.len() as u64) >= MOST_MESSAGES {
            let message = format!("The conversation has its {MOST_MESSAGES} messages; begin a new one.");
            return Err(PublicError::invalid(
                Some(CONVERSATION_ID),
                "conversation_full",
                message,
            ));
        }
        let earlier = match turn.length {
            0 => Vec::new(),
            _ => self.earlier(&turn).await?,
        };
        Ok((turn, earlier))
    }

    async fn begin(
        &self,
        turn: &Turn,
        owner: &Owner,
        interface: &Interface,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<(), PublicError> {
        let Some(hold) = &turn.hold else { return Ok(()) };
        let conversation = Conversation {
            id: hold.conversation.clone(),
            interface: interface.name.clone(),
            created_at: now,
            changed_at: now,
            length: 0,
        };
        // What stays empty goes with its hold; what is said first sets how long the conversation is kept.
        let begun = self.store.begin(&conversation, owner, hold, (until, until)).await;
        begun.map_err(|error| unavailable(&error))
    }

    async fn resume(
        &self,
        turn: &mut Turn,
        owner: &Owner,
        interface: &Interface,
        times: (Timestamp, Timestamp),
    ) -> Result<(), PublicError> {
        let Some(hold) = &turn.hold else { return Ok(()) };
        let held = self.store.hold(hold, owner, interface.name.as_str(), times).await;
        let held = held.map_err(|error| unavailable(&error))?;
        if let Held::Granted(conversation) = held {
            turn.length = conversation.length;
            return Ok(());
        }
        // Nothing was taken, so there is nothing to give back.
        turn.hold = None;
        Err(match held {
            Held::Granted(_) | Held::Unknown => not_found(),
            Held::Refused(conversation) if conversation.interface != interface.name => PublicError::invalid(
                Some(CONVERSATION_ID),
                "other_conversation",
                "The conversation takes place with another model.",
            ),
            Held::Refused(_) => {
                let message = "Another request of this conversation is not answered yet. Try again when it is.";
                let mut error = PublicError::new(409, ErrorKind::InvalidRequest, "conversation_busy", message);
                error.param = Some(CONVERSATION_ID.into());
                error.hints.retry_after = Some("1".into());
                error
            }
        })
    }

    fn new_hold(&self, conversation: &ConversationId) -> Hold {
        Hold {
            conversation: conversation.clone(),
            token: self.entropy.id().into(),
        }
    }

    /// The earlier messages that go along.
    async fn earlier(&self, turn: &Turn) -> Result<Vec<Box<str>>, PublicError> {
        let Some(hold) = &turn.hold else { return Ok(Vec::new()) };
        let id = &hold.conversation;
        let read = async {
            let (newest, system) = self.store.newest(id, turn.policy.max_messages).await?;
            let numbers = choose(&newest, &system, turn.own(), Room::of(&turn.policy, self.max_bytes));
            let Some(first) = numbers.first().copied() else {
                return Ok(Vec::new());
            };
            let is_system = |number: &u64| system.iter().any(|head| head.number == *number);
            let spoken = numbers.iter().copied().find(|number| !is_system(number));
            let span = Span {
                from: spoken.unwrap_or(u64::MAX),
                system_from: first,
            };
            let messages = self.store.read(id, span).await?;
            let chosen = messages.into_iter().filter(|message| numbers.contains(&message.number));
            StoreResult::Ok(chosen.map(|message| message.body).collect())
        };
        read.await.map_err(|error| unavailable(&error))
    }

    /// An owner's conversations, the newest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn list(
        &self,
        caller: &Caller,
        before: Option<(Timestamp, ConversationId)>,
        limit: u32,
    ) -> Result<Page<Conversation, (Timestamp, ConversationId)>, PublicError> {
        let (owner, more) = (Owner::of(caller), limit.saturating_add(1));
        let found = self.store.list(&owner, self.clock.now(), before, more).await;
        let found = found.map_err(|error| unavailable(&error))?;
        Ok(Page::cut(found, limit, |last| (last.created_at, last.id.clone())))
    }

    /// A conversation with a page of its messages, those behind a number.
    ///
    /// # Errors
    /// 404, or the database is away.
    pub async fn load(
        &self,
        caller: &Caller,
        id: &ConversationId,
        after: u64,
        limit: u32,
    ) -> Result<(Conversation, Vec<StoredMessage>), PublicError> {
        let owner = Owner::of(caller);
        let found = self.store.find(id, &owner, self.clock.now()).await;
        let found = found.map_err(|error| unavailable(&error))?;
        let conversation = found.filter(|found| found.length > 0).ok_or_else(not_found)?;
        let messages = self.store.page(id, after, limit, PAGE_BYTES).await;
        Ok((conversation, messages.map_err(|error| unavailable(&error))?))
    }

    /// Removes a conversation with all that was said in it.
    ///
    /// # Errors
    /// 404, or the database is away.
    pub async fn delete(&self, caller: &Caller, id: &ConversationId) -> Result<(), PublicError> {
        match self.store.delete(id, &Owner::of(caller)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(not_found()),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Gives holds back and removes what is past its time, until `stop`.
    pub async fn follow(&self, stop: CancellationToken) {
        let receiver = self.released.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = receiver else { return };
        let mut forget = tokio::time::interval(FORGET_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = forget.tick() => self.forget().await,
                hold = receiver.recv() => match hold {
                    Some(hold) => self.release(&hold).await,
                    None => break,
                },
            }
        }
        while let Ok(hold) = receiver.try_recv() {
            self.release(&hold).await;
        }
    }

    async fn release(&self, hold: &Hold) {
        if let Err(error) = self.store.release(hold).await {
            tracing::warn!(%error, conversation.id = %hold.conversation, "a conversation stays held until its time is over");
        }
    }

    /// Removes what is past its time, some rows at a time.
    pub async fn forget(&self) {
        loop {
            match self.store.forget(self.clock.now(), FORGET_AT_ONCE).await {
                Ok(0) => return,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return tracing::warn!(%error, "old conversations could not be removed"),
            }
        }
    }
}

impl Turn {
    /// The conversation's id.
    pub fn id(&self) -> &str {
        self.hold.as_ref().map_or("", |hold| hold.conversation.as_str())
    }

    fn own(&self) -> Own {
        Own {
            messages: self.own.len() as u64,
            tokens: self.own.iter().map(|message| weigh_message(message)).sum(),
            bytes: self.own.iter().map(|message| message.len() as u64).sum(),
        }
    }

    /// Stores what the caller said and what was answered. The turn is over.
    ///
    /// # Errors
    /// The conversation could not take it, so the caller must not believe that it did.
    pub async fn finish(mut self, answer: Option<String>) -> Result<(), PublicError> {
        let Some(answer) = answer else {
            let message = "The answer was given, but it is too long or too strange to be stored in the conversation.";
            return Err(PublicError::new(502, ErrorKind::Upstream, "answer_not_stored", message));
        };
        let said = std::mem::take(&mut self.own).into_iter().chain([answer.into()]);
        let messages: Vec<_> = (self.length + 1..)
            .zip(said)
            .map(|(number, body)| message(number, body))
            .collect();
        let Some(hold) = &self.hold else { return Ok(()) };
        let now = self.conversations.clock.now();
        let addition = Addition {
            messages: &messages,
            request_id: &self.request_id,
            at: now,
            keep_until: keep_until(now, &self.policy),
        };
        let added = self.conversations.store.add(hold, &addition).await;
        match added.map_err(|error| unavailable(&error))? {
            Added::Done => {
                self.hold = None;
                Ok(())
            }
            Added::Lost => {
                self.hold = None;
                let message = "The conversation was deleted before the answer could be stored in it.";
                Err(PublicError::new(
                    409,
                    ErrorKind::InvalidRequest,
                    "conversation_gone",
                    message,
                ))
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take()
            && self.conversations.releases.try_send(hold).is_err()
        {
            tracing::warn!("a conversation stays held until its time is over");
        }
    }
}

fn message(number: u64, body: Box<str>) -> NewMessage {
    NewMessage {
        head: MessageHead {
            number,
            role: Role::of(&body),
            bytes: body.len() as u64,
            tokens: weigh_message(&body),
        },
        body,
    }
}

fn keep_until(now: Timestamp, policy: &ConversationPolicy) -> Timestamp {
    now + DAY * policy.retention_days
}

fn not_found() -> PublicError {
    let error = PublicError::new(
        404,
        ErrorKind::InvalidRequest,
        "conversation_not_found",
        "There is no such conversation.",
    );
    PublicError {
        param: Some(CONVERSATION_ID.into()),
        ..error
    }
}

fn unavailable(error: &StoreError) -> PublicError {
    tracing::error!(%error, source = ?std::error::Error::source(error).map(ToString::to_string), "conversations cannot be used");
    let message = "Conversations cannot be read or stored now.";
    let mut error = PublicError::new(503, ErrorKind::Server, "conversations_unavailable", message);
    error.hints.retry_after = Some("1".into());
    error
}
