-- What people have authorised. These rows come and go with every sign-in, so they have no foreign keys: each would be
-- one more look-up on the hot path, and accounts and clients are never deleted from under them.

-- digest is SHA-256 of the code; the code itself is nowhere.
CREATE TABLE authorization_code (
    digest          BYTEA   NOT NULL PRIMARY KEY,
    grant_id        TEXT    NOT NULL,
    client_id       TEXT COLLATE "C" NOT NULL,
    tenant          TEXT    NOT NULL,
    user_sub        TEXT    NOT NULL,
    sid             TEXT,
    scope           TEXT    NOT NULL,
    auth_time       BIGINT  NOT NULL,
    amr             TEXT    NOT NULL,
    redirect_uri    TEXT    NOT NULL,
    code_challenge  TEXT,
    nonce           TEXT,
    issued_at       BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL,
    redeemed_at     BIGINT
);
CREATE INDEX authorization_code_by_user ON authorization_code (user_sub, client_id);
CREATE INDEX authorization_code_by_expiry ON authorization_code (expires_at);

-- One row per family; its tokens are (grant, generation) under a MAC and stand nowhere.
-- ends_at is the earliest of both limits and the revocation: one index finds whatever is over.
CREATE TABLE refresh_token (
    grant_id            TEXT    NOT NULL PRIMARY KEY,
    client_id           TEXT COLLATE "C" NOT NULL,
    tenant              TEXT    NOT NULL,
    user_sub            TEXT    NOT NULL,
    sid                 TEXT,
    scope               TEXT    NOT NULL,
    auth_time           BIGINT  NOT NULL,
    amr                 TEXT    NOT NULL,
    generation          BIGINT  NOT NULL,
    issued_at           BIGINT  NOT NULL,
    rotated_at          BIGINT  NOT NULL,
    idle_expires_at     BIGINT  NOT NULL,
    absolute_expires_at BIGINT  NOT NULL,
    revoked_at          BIGINT,
    ends_at             BIGINT  NOT NULL
);
CREATE INDEX refresh_token_by_user ON refresh_token (user_sub, client_id);
CREATE INDEX refresh_token_by_session ON refresh_token (sid);
CREATE INDEX refresh_token_by_end ON refresh_token (ends_at);

CREATE TABLE consent (
    user_sub    TEXT    NOT NULL,
    client_id   TEXT COLLATE "C" NOT NULL,
    scope       TEXT    NOT NULL,
    granted_at  BIGINT  NOT NULL,
    PRIMARY KEY (user_sub, client_id)
);

-- One sign-in in one browser. ends_at is expires_at, or earlier the moment at which the session was ended.
CREATE TABLE session (
    sid             TEXT    NOT NULL PRIMARY KEY,
    user_sub        TEXT    NOT NULL,
    tenant          TEXT    NOT NULL,
    auth_time       BIGINT  NOT NULL,
    last_seen_at    BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL,
    user_agent      TEXT    NOT NULL,
    address         TEXT    NOT NULL,
    ended_at        BIGINT,
    ends_at         BIGINT  NOT NULL
);
CREATE INDEX session_by_user ON session (user_sub, auth_time);
CREATE INDEX session_by_end ON session (ends_at);

-- What ends tokens before they expire; matters until the last of them has expired. event names kind, subject and cutoff, so
-- that what has ended is not announced again. position is the transaction: readers know which ones were not over when they
-- last looked, and so miss none that commits late, whatever the clocks of the recorders say.
CREATE TABLE revocation (
    position        BIGINT  NOT NULL DEFAULT CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT),
    id              TEXT    NOT NULL PRIMARY KEY,
    event           TEXT    NOT NULL UNIQUE,
    matters_until   BIGINT  NOT NULL,
    recorded_at     BIGINT  NOT NULL
);
CREATE INDEX revocation_by_position ON revocation (position);
CREATE INDEX revocation_by_end ON revocation (matters_until);
