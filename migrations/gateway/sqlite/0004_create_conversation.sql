-- Stored conversations. An empty tenant is none. held_by names the one request that may add messages, until held_until at the latest;
-- length counts messages. Whatever is past keep_until is treated as gone.
CREATE TABLE conversation (
    id          TEXT    NOT NULL PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    client_id   TEXT    NOT NULL,
    sub         TEXT    NOT NULL,
    interface   TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL,
    changed_at  BIGINT  NOT NULL,
    keep_until  BIGINT  NOT NULL,
    length      BIGINT  NOT NULL,
    held_by     TEXT,
    held_until  BIGINT  NOT NULL
);

CREATE INDEX conversation_by_owner ON conversation (tenant, client_id, sub, created_at, id);
CREATE INDEX conversation_by_end ON conversation (keep_until);

-- Messages are added at the end and never changed. body is the message as JSON, tokens an estimate.
CREATE TABLE message (
    conversation    TEXT    NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
    number          BIGINT  NOT NULL,
    role            TEXT    NOT NULL,
    body            TEXT    NOT NULL,
    bytes           BIGINT  NOT NULL,
    tokens          BIGINT  NOT NULL,
    time            BIGINT  NOT NULL,
    request_id      TEXT    NOT NULL,
    PRIMARY KEY (conversation, number)
);
