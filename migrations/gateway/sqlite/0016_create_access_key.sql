-- Keys by which machines sign requests. Secrets are sealed by the master key; times are in microseconds.
CREATE TABLE access_key (
    id              TEXT    NOT NULL PRIMARY KEY,
    client_id       TEXT    NOT NULL,
    tenant          TEXT,
    sub             TEXT,
    -- JSON arrays of texts. No interfaces: all that the scopes allow.
    scopes          TEXT    NOT NULL,
    interfaces      TEXT,
    ip_allow        TEXT    NOT NULL,
    enabled         BOOLEAN NOT NULL,
    secret          BLOB    NOT NULL,
    previous_secret BLOB,
    previous_until  BIGINT,
    created_at      BIGINT  NOT NULL,
    rotated_at      BIGINT,
    changed_at      BIGINT  NOT NULL,
    last_used_at    BIGINT,
    version         BIGINT  NOT NULL
);

CREATE INDEX access_key_client ON access_key (client_id, id);
CREATE INDEX access_key_tenant ON access_key (tenant, id);
CREATE INDEX access_key_sub ON access_key (sub);
