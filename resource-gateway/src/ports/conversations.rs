//! Conversations at rest.

use std::fmt;

use async_trait::async_trait;
use service_kit::Timestamp;

use super::config_source::StoreResult;
use crate::domain::{
    conversation::{Conversation, MessageHead, Owner},
    ids::{ConversationId, RequestId},
};

/// The right of one request to add to a conversation, and of no other until it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub conversation: ConversationId,
    /// Unguessable: who holds.
    pub token: Box<str>,
}

/// What became of the wish to hold a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// The conversation as it stands, and as it stays while it is held.
    Granted(Conversation),
    /// Another request holds it, or it takes place at another interface.
    Refused(Conversation),
    /// There is none of that name for that owner.
    Unknown,
}

/// A message that is to be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct NewMessage {
    pub head: MessageHead,
    pub body: Box<str>,
}

/// A message as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredMessage {
    pub number: u64,
    pub body: Box<str>,
    pub time: Timestamp,
    pub request_id: String,
}

impl fmt::Debug for NewMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What people say is nobody's business in a log.
        f.debug_struct("NewMessage")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredMessage")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Messages and what goes with them into their conversation.
#[derive(Debug)]
pub struct Addition<'a> {
    /// Numbered from the conversation's length on.
    pub messages: &'a [NewMessage],
    pub request_id: &'a RequestId,
    pub at: Timestamp,
    /// The conversation is kept until then.
    pub keep_until: Timestamp,
}

/// Whether messages were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    Done,
    /// The hold is over, or the conversation was deleted. Nothing was added.
    Lost,
}

/// Which of a conversation's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// From this number on; those in front only if they are system messages.
    pub from: u64,
    /// System messages from this number on.
    pub system_from: u64,
}

/// Conversations and their messages. What is past its time is gone for every reader, removed or not.
#[async_trait]
pub trait ConversationStore: Send + Sync + fmt::Debug {
    /// Begins an empty conversation that is held until `until`. Lists do not show it before something was said.
    async fn begin(
        &self,
        conversation: &Conversation,
        owner: &Owner,
        hold: &Hold,
        (until, keep_until): (Timestamp, Timestamp),
    ) -> StoreResult<()>;
    /// Takes hold of a conversation at this interface. Of several at once one MUST win; a hold that is over counts no more.
    async fn hold(
        &self,
        hold: &Hold,
        owner: &Owner,
        interface: &str,
        (now, until): (Timestamp, Timestamp),
    ) -> StoreResult<Held>;
    /// Adds messages and gives the hold back, all or nothing.
    async fn add(&self, hold: &Hold, addition: &Addition<'_>) -> StoreResult<Added>;
    /// Gives a hold back; a conversation in which nothing was said goes.
    async fn release(&self, hold: &Hold) -> StoreResult<()>;

    /// The newest messages, and the newest system messages, the newest in front.
    async fn newest(&self, id: &ConversationId, limit: u32) -> StoreResult<(Vec<MessageHead>, Vec<MessageHead>)>;
    /// Messages in order.
    async fn read(&self, id: &ConversationId, span: Span) -> StoreResult<Vec<StoredMessage>>;

    /// An owner's conversations before a place, the newest first.
    async fn list(
        &self,
        owner: &Owner,
        now: Timestamp,
        before: Option<(Timestamp, ConversationId)>,
        limit: u32,
    ) -> StoreResult<Vec<Conversation>>;
    async fn find(&self, id: &ConversationId, owner: &Owner, now: Timestamp) -> StoreResult<Option<Conversation>>;
    /// Messages behind a number, in order: at most so many, and at most so many bytes, but one at least.
    async fn page(&self, id: &ConversationId, after: u64, limit: u32, bytes: u64) -> StoreResult<Vec<StoredMessage>>;
    /// Removes a conversation and all its messages; answers whether there was one.
    async fn delete(&self, id: &ConversationId, owner: &Owner) -> StoreResult<bool>;
    /// Removes some of what is past its time: answers how many rows went, at most `limit` messages and as many conversations.
    async fn forget(&self, now: Timestamp, limit: u32) -> StoreResult<u64>;
}
