-- Counts the changes of everything that makes up a configuration snapshot. Gateways poll it, changes lock it.
CREATE TABLE config_revision (
    name        TEXT    NOT NULL PRIMARY KEY,
    revision    BIGINT  NOT NULL
);

INSERT INTO config_revision (name, revision) VALUES ('gateway', 0);

-- Vendor accounts. secret_key is sealed by the master key.
CREATE TABLE vendor (
    name        TEXT    NOT NULL PRIMARY KEY,
    strategy    TEXT    NOT NULL,
    enabled     BOOLEAN NOT NULL,
    base_url    TEXT,
    app_id      TEXT,
    secret_id   TEXT,
    secret_key  BYTEA
);

-- How one of a vendor's addresses is picked; no row or no strategy means the default.
CREATE TABLE pool (
    vendor      TEXT    NOT NULL PRIMARY KEY REFERENCES vendor (name) ON DELETE CASCADE,
    strategy    TEXT
);

CREATE TABLE pool_address (
    vendor      TEXT    NOT NULL REFERENCES vendor (name) ON DELETE CASCADE,
    position    BIGINT  NOT NULL,
    url         TEXT    NOT NULL,
    weight      BIGINT  NOT NULL,
    PRIMARY KEY (vendor, position)
);

-- What callers name in "model". Times are in milliseconds.
CREATE TABLE interface (
    name            TEXT    NOT NULL PRIMARY KEY,
    capability      TEXT    NOT NULL,
    enabled         BOOLEAN NOT NULL,
    connect_ms      BIGINT  NOT NULL,
    first_byte_ms   BIGINT  NOT NULL,
    idle_ms         BIGINT  NOT NULL,
    total_ms        BIGINT  NOT NULL,
    log_metadata    BOOLEAN NOT NULL
);

CREATE TABLE interface_route (
    interface   TEXT    NOT NULL REFERENCES interface (name) ON DELETE CASCADE,
    position    BIGINT  NOT NULL,
    vendor      TEXT    NOT NULL REFERENCES vendor (name),
    model       TEXT    NOT NULL,
    weight      BIGINT  NOT NULL,
    priority    BIGINT  NOT NULL,
    PRIMARY KEY (interface, position)
);

-- name is a JSON pointer (RFC 6901), value a JSON text. A forbidden field has no value.
CREATE TABLE interface_field (
    interface       TEXT    NOT NULL REFERENCES interface (name) ON DELETE CASCADE,
    position        BIGINT  NOT NULL,
    name            TEXT    NOT NULL,
    value           TEXT,
    enabled         BOOLEAN NOT NULL,
    allow_override  BOOLEAN NOT NULL,
    forbidden       BOOLEAN NOT NULL,
    PRIMARY KEY (interface, position),
    UNIQUE (interface, name)
);

-- One row per request in every terminal state. Rows arrive from the usage journal, perhaps more than once: request_id
-- keeps them single. It sorts by bytes, as on the other engines.
CREATE TABLE usage_record (
    request_id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    time                BIGINT  NOT NULL,
    tenant              TEXT,
    client_id           TEXT    NOT NULL,
    sub                 TEXT    NOT NULL,
    interface           TEXT    NOT NULL,
    capability          TEXT    NOT NULL,
    vendor              TEXT,
    model               TEXT,
    state               TEXT    NOT NULL,
    stream              BOOLEAN NOT NULL,
    input_tokens        BIGINT  NOT NULL,
    output_tokens       BIGINT  NOT NULL,
    cached_input_tokens BIGINT,
    reasoning_tokens    BIGINT,
    estimated           BOOLEAN NOT NULL,
    attempts            BIGINT  NOT NULL,
    duration_ms         BIGINT  NOT NULL,
    first_byte_ms       BIGINT
);

CREATE INDEX usage_record_by_time ON usage_record (time, request_id);
