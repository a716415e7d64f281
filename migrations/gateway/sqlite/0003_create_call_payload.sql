-- Requests and answers of interfaces that log payloads: cut to a number of bytes, data and secrets replaced.
CREATE TABLE call_payload (
    request_id      TEXT    NOT NULL PRIMARY KEY,
    time            BIGINT  NOT NULL,
    tenant          TEXT,
    client_id       TEXT    NOT NULL,
    sub             TEXT    NOT NULL,
    interface       TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    request         TEXT    NOT NULL,
    request_bytes   BIGINT  NOT NULL,
    request_cut     BOOLEAN NOT NULL,
    reply           TEXT    NOT NULL,
    reply_bytes     BIGINT  NOT NULL,
    reply_cut       BOOLEAN NOT NULL
);

CREATE INDEX call_payload_by_time ON call_payload (time, request_id);
