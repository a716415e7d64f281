-- Clients that registered themselves (RFC 7591). access_token is a keyed hash; last_used_at moves once a day at most.
CREATE TABLE client_registration (
    client_id       TEXT    NOT NULL PRIMARY KEY REFERENCES client (client_id),
    access_token    TEXT    NOT NULL,
    registered_at   BIGINT  NOT NULL,
    last_used_at    BIGINT  NOT NULL
);
CREATE INDEX client_registration_by_use ON client_registration (last_used_at, client_id);

-- Tokens by which clients may register; mac is a keyed hash.
CREATE TABLE initial_access_token (
    id              TEXT    NOT NULL PRIMARY KEY,
    mac             TEXT    NOT NULL UNIQUE,
    tenant          TEXT    NOT NULL REFERENCES tenant (id),
    uses_left       BIGINT  NOT NULL,
    created_at      BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL
);
CREATE INDEX initial_access_token_by_expiry ON initial_access_token (expires_at);

-- How many there are of what is capped: a row that is counted up or not, by one caller after another.
CREATE TABLE counter (
    name            TEXT    NOT NULL PRIMARY KEY,
    value           BIGINT  NOT NULL
);
INSERT INTO counter (name, value) VALUES ('client_registration', 0);
