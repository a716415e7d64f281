//! The tables `conversation` and `message`.

use std::sync::Arc;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use service_kit::Timestamp;
use sql_kit::{Arg, Db, args};
use sqlx::FromRow;
use token_keys::MasterKey;

use super::statements_conversations as sql;
use crate::{
    domain::{
        conversation::{Conversation, MessageHead, Owner, Role},
        ids::{ConversationId, InterfaceName},
    },
    ports::{
        config_source::{StoreError, StoreResult},
        conversations::{Added, Addition, ConversationStore, Held, Hold, Span, StoredMessage},
    },
};

/// Conversations and their messages, which are sealed on the way in and unsealed on the way out.
#[derive(Debug, Clone)]
pub struct SqlConversations {
    db: Db,
    keys: Arc<MasterKey>,
}

impl SqlConversations {
    pub fn new(db: Db, keys: Arc<MasterKey>) -> Self {
        Self { db, keys }
    }

    fn seal(&self, id: &str, number: i64, body: &str) -> StoreResult<String> {
        let sealed = self.keys.seal(&place(id, number), body.as_bytes());
        let sealed = sealed.map_err(|error| StoreError::Failed(Box::new(error)))?;
        Ok(STANDARD_NO_PAD.encode(sealed))
    }

    fn unseal(&self, id: &str, row: &MessageRow) -> StoreResult<Box<str>> {
        // Rows from before messages were sealed; what is sealed has no braces.
        if row.body.starts_with('{') {
            return Ok(row.body.as_str().into());
        }
        let sealed = STANDARD_NO_PAD.decode(&row.body).ok();
        let plain = sealed.and_then(|sealed| self.keys.unseal(&place(id, row.number), &sealed).ok());
        let body = plain.and_then(|plain| String::from_utf8(plain.to_vec()).ok());
        body.map(Into::into).ok_or_else(|| StoreError::Corrupt {
            table: "message",
            column: "body",
            row: format!("{id}/{}", row.number),
        })
    }

    fn messages(&self, id: &ConversationId, rows: Vec<MessageRow>) -> StoreResult<Vec<StoredMessage>> {
        let message = |row: MessageRow| {
            Ok(StoredMessage {
                number: count("message", "number", row.number)?,
                body: self.unseal(id.as_str(), &row)?,
                time: Timestamp::from_micros(row.time),
                request_id: row.request_id,
            })
        };
        rows.into_iter().map(message).collect()
    }
}

/// What a message is sealed for, so that it opens in no other place of this or another conversation.
fn place(id: &str, number: i64) -> String {
    format!("message/body/{id}/{number}")
}

#[derive(FromRow)]
struct ConversationRow {
    id: String,
    interface: String,
    created_at: i64,
    changed_at: i64,
    length: i64,
}

#[derive(FromRow)]
struct HeadRow {
    number: i64,
    role: String,
    bytes: i64,
    tokens: i64,
}

#[derive(FromRow)]
struct MessageRow {
    number: i64,
    body: String,
    time: i64,
    request_id: String,
}

fn count(table: &'static str, column: &'static str, number: i64) -> StoreResult<u64> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt {
        table,
        column,
        row: number.to_string(),
    })
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl ConversationRow {
    fn into_conversation(self) -> StoreResult<Conversation> {
        Ok(Conversation {
            id: ConversationId::new(self.id),
            interface: InterfaceName::new(self.interface),
            created_at: Timestamp::from_micros(self.created_at),
            changed_at: Timestamp::from_micros(self.changed_at),
            length: count("conversation", "length", self.length)?,
        })
    }
}

fn heads(rows: Vec<HeadRow>) -> StoreResult<Vec<MessageHead>> {
    let head = |row: HeadRow| {
        Ok(MessageHead {
            number: count("message", "number", row.number)?,
            role: Role::parse(&row.role),
            bytes: count("message", "bytes", row.bytes)?,
            tokens: count("message", "tokens", row.tokens)?,
        })
    };
    rows.into_iter().map(head).collect()
}

/// Columns `tenant` to `sub`.
fn owned(owner: &Owner) -> [Arg; 3] {
    args![owner.tenant_text(), owner.client_id.as_str(), owner.sub.as_str(),]
}

#[async_trait]
impl ConversationStore for SqlConversations {
    async fn begin(
        &self,
        conversation: &Conversation,
        owner: &Owner,
        hold: &Hold,
        (until, keep_until): (Timestamp, Timestamp),
    ) -> StoreResult<()> {
        let args = args![conversation.id.as_str()]
            .into_iter()
            .chain(owned(owner))
            .chain(args![
                conversation.interface.as_str(),
                conversation.created_at.as_micros(),
                conversation.changed_at.as_micros(),
                keep_until.as_micros(),
                number(conversation.length),
                &*hold.token,
                until.as_micros(),
            ]);
        self.db.execute(sql::INSERT, args).await?;
        Ok(())
    }

    async fn hold(
        &self,
        hold: &Hold,
        owner: &Owner,
        interface: &str,
        (now, until): (Timestamp, Timestamp),
    ) -> StoreResult<Held> {
        let id = hold.conversation.as_str();
        let args = args![&*hold.token, until.as_micros(), id]
            .into_iter()
            .chain(owned(owner))
            .chain(args![interface, now.as_micros(), now.as_micros()]);
        let mut tx = self.db.begin().await?;
        let won = tx.execute(sql::HOLD, args).await?;
        let args = args![id].into_iter().chain(owned(owner)).chain(args![now.as_micros()]);
        let row: Option<ConversationRow> = tx.optional(sql::FIND, args).await?;
        tx.commit().await?;
        Ok(match (won, row) {
            (_, None) => Held::Unknown,
            (1, Some(row)) => Held::Granted(row.into_conversation()?),
            (_, Some(row)) => Held::Refused(row.into_conversation()?),
        })
    }

    async fn add(&self, hold: &Hold, addition: &Addition<'_>) -> StoreResult<Added> {
        let id = hold.conversation.as_str();
        let first = addition.messages.first().map_or(1, |message| message.head.number);
        let mut tx = self.db.begin().await?;
        let args = args![
            number(addition.messages.len() as u64),
            addition.at.as_micros(),
            addition.keep_until.as_micros(),
            id,
            &*hold.token,
            number(first.saturating_sub(1)),
        ];
        if tx.execute(sql::GROW, args).await? != 1 {
            return Ok(Added::Lost);
        }
        for message in addition.messages {
            let head = message.head;
            let args = args![
                id,
                number(head.number),
                head.role.as_str(),
                self.seal(id, number(head.number), &message.body)?,
                number(head.bytes),
                number(head.tokens),
                addition.at.as_micros(),
                addition.request_id.as_str(),
            ];
            tx.execute(sql::INSERT_MESSAGE, args).await?;
        }
        tx.commit().await?;
        Ok(Added::Done)
    }

    async fn release(&self, hold: &Hold) -> StoreResult<()> {
        let args = || args![hold.conversation.as_str(), &*hold.token];
        let mut tx = self.db.begin().await?;
        tx.execute(sql::DELETE_EMPTY, args()).await?;
        tx.execute(sql::RELEASE, args()).await?;
        Ok(tx.commit().await?)
    }

    async fn newest(&self, id: &ConversationId, limit: u32) -> StoreResult<(Vec<MessageHead>, Vec<MessageHead>)> {
        let newest = self.db.all(sql::NEWEST, args![id.as_str(), limit]).await?;
        let system = self.db.all(sql::NEWEST_SYSTEM, args![id.as_str(), limit]).await?;
        Ok((heads(newest)?, heads(system)?))
    }

    async fn read(&self, id: &ConversationId, span: Span) -> StoreResult<Vec<StoredMessage>> {
        let args = args![id.as_str(), number(span.from), number(span.system_from)];
        self.messages(id, self.db.all(sql::READ, args).await?)
    }

    async fn list(
        &self,
        owner: &Owner,
        now: Timestamp,
        before: Option<(Timestamp, ConversationId)>,
        limit: u32,
    ) -> StoreResult<Vec<Conversation>> {
        let (time, id) = match &before {
            None => (i64::MAX, ""),
            Some((time, id)) => (time.as_micros(), id.as_str()),
        };
        let args = owned(owner)
            .into_iter()
            .chain(args![now.as_micros(), time, time, id, limit]);
        let rows: Vec<ConversationRow> = self.db.all(sql::LIST, args).await?;
        rows.into_iter().map(ConversationRow::into_conversation).collect()
    }

    async fn find(&self, id: &ConversationId, owner: &Owner, now: Timestamp) -> StoreResult<Option<Conversation>> {
        let args = args![id.as_str()]
            .into_iter()
            .chain(owned(owner))
            .chain(args![now.as_micros()]);
        let row: Option<ConversationRow> = self.db.optional(sql::FIND, args).await?;
        row.map(ConversationRow::into_conversation).transpose()
    }

    async fn page(&self, id: &ConversationId, after: u64, limit: u32, bytes: u64) -> StoreResult<Vec<StoredMessage>> {
        let args = args![id.as_str(), number(after), limit];
        let heads = heads(self.db.all(sql::SIZES_BEHIND, args).await?)?;
        let mut room = bytes;
        let mut last = None;
        for head in heads {
            let Some(left) = room.checked_sub(head.bytes) else {
                last = last.or(Some(head.number));
                break;
            };
            room = left;
            last = Some(head.number);
        }
        let Some(last) = last else {
            return Ok(Vec::new());
        };
        let args = args![id.as_str(), number(after), number(last)];
        self.messages(id, self.db.all(sql::BETWEEN, args).await?)
    }

    async fn delete(&self, id: &ConversationId, owner: &Owner) -> StoreResult<bool> {
        let args = args![id.as_str()].into_iter().chain(owned(owner));
        Ok(self.db.execute(sql::DELETE, args).await? > 0)
    }

    async fn forget(&self, now: Timestamp, limit: u32) -> StoreResult<u64> {
        let args = || args![now.as_micros(), limit];
        let messages = self.db.execute(sql::FORGET_MESSAGES, args()).await?;
        let conversations = self.db.execute(sql::FORGET_EMPTY, args()).await?;
        Ok(messages + conversations)
    }
}
