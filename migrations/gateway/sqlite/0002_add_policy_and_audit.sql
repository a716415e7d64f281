-- Settings as JSON, in the same shape as in documents: a new one needs no migration.
ALTER TABLE vendor ADD COLUMN policy TEXT NOT NULL DEFAULT '{}';
ALTER TABLE interface ADD COLUMN policy TEXT NOT NULL DEFAULT '{}';

-- The revision that a row's last change made: the version by which writers recognise each other. Rows without one were never
-- changed since versions are counted.
CREATE TABLE config_version (
    kind        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    revision    BIGINT  NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Who changed which row. The forms before and after are JSON as in the admin API, without secrets.
CREATE TABLE audit_event (
    revision        BIGINT  NOT NULL,
    position        BIGINT  NOT NULL,
    time            BIGINT  NOT NULL,
    sub             TEXT,
    client_id       TEXT,
    tenant          TEXT,
    request_id      TEXT,
    action          TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    row_tenant      TEXT,
    before_form     TEXT,
    after_form      TEXT,
    secret_changed  BOOLEAN NOT NULL,
    PRIMARY KEY (revision, position)
);
