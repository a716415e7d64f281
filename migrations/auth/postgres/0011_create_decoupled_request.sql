-- What people decide on elsewhere than where the client runs: device codes (RFC 8628). digest is SHA-256 of the code that the client
-- polls with; the code itself is nowhere. The columns from user_sub on are filled in by whoever allows it.
CREATE TABLE decoupled_request (
    digest          BYTEA   NOT NULL PRIMARY KEY,
    kind            TEXT    NOT NULL,
    user_code       TEXT    UNIQUE,
    client_id       TEXT COLLATE "C" NOT NULL,
    tenant          TEXT    NOT NULL,
    scope           TEXT    NOT NULL,
    details         TEXT    NOT NULL,
    requested_at    BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL,
    interval_s      BIGINT  NOT NULL,
    next_poll_at    BIGINT  NOT NULL,
    state           TEXT    NOT NULL,
    user_sub        TEXT,
    grant_id        TEXT,
    auth_time       BIGINT,
    amr             TEXT
);
CREATE INDEX decoupled_request_by_user ON decoupled_request (user_sub, client_id);
CREATE INDEX decoupled_request_by_expiry ON decoupled_request (expires_at);
