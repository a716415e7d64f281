-- Who there is: tenants and, in each, people with their units, roles, menus and dictionaries.
-- Times are microseconds since the epoch, UTC; sets and documents are JSON as text.

CREATE TABLE tenant (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    enabled     BOOLEAN NOT NULL,
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL
);

-- The tenant of rows that name none.
INSERT INTO tenant (id, name, enabled, created_at, updated_at) VALUES ('default', 'Default', TRUE, 0, 0);

-- A tree by parent. The parent is no foreign key, so that a document may list children before their parents.
CREATE TABLE org (
    tenant      TEXT    NOT NULL REFERENCES tenant (id),
    id          TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    parent      TEXT,
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE menu (
    tenant      TEXT    NOT NULL REFERENCES tenant (id),
    id          TEXT    NOT NULL,
    title       TEXT    NOT NULL,
    parent      TEXT,
    path        TEXT,
    permission  TEXT,
    position    BIGINT  NOT NULL,
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE role (
    tenant          TEXT    NOT NULL REFERENCES tenant (id),
    name            TEXT    NOT NULL,
    description     TEXT    NOT NULL,
    permissions     TEXT    NOT NULL,
    data_permission TEXT    NOT NULL,
    data_orgs       TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE role_menu (
    tenant  TEXT NOT NULL,
    role    TEXT NOT NULL,
    menu    TEXT NOT NULL,
    PRIMARY KEY (tenant, role, menu),
    FOREIGN KEY (tenant, role) REFERENCES role (tenant, name) ON DELETE CASCADE
);

-- live_name is the user name while the account is not deleted, so that a deleted account frees its name and keeps its sub.
CREATE TABLE users (
    sub             TEXT    NOT NULL PRIMARY KEY,
    tenant          TEXT    NOT NULL REFERENCES tenant (id),
    username        TEXT    NOT NULL,
    live_name       TEXT,
    password_hash   TEXT,
    org             TEXT,
    status          TEXT    NOT NULL,
    claims          TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    UNIQUE (tenant, live_name)
);

CREATE TABLE user_role (
    user_sub    TEXT NOT NULL REFERENCES users (sub) ON DELETE CASCADE,
    tenant      TEXT NOT NULL,
    role        TEXT NOT NULL,
    PRIMARY KEY (user_sub, role)
);

CREATE TABLE dictionary (
    tenant      TEXT    NOT NULL REFERENCES tenant (id),
    name        TEXT    NOT NULL,
    description TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE dictionary_item (
    tenant      TEXT    NOT NULL,
    dictionary  TEXT    NOT NULL,
    item_key    TEXT    NOT NULL,
    label       TEXT    NOT NULL,
    position    BIGINT  NOT NULL,
    PRIMARY KEY (tenant, dictionary, item_key),
    FOREIGN KEY (tenant, dictionary) REFERENCES dictionary (tenant, name) ON DELETE CASCADE
);

-- Moved by every change of configuration, so that nodes notice it.
CREATE TABLE revision (
    name    TEXT   NOT NULL PRIMARY KEY,
    value   BIGINT NOT NULL
);

INSERT INTO revision (name, value) VALUES ('configuration', 0);
