-- The server side of the session cookie, by a digest of the cookie's id.
CREATE TABLE browser_session (
    id          TEXT    NOT NULL PRIMARY KEY,
    contents    TEXT    NOT NULL,
    expires_at  BIGINT  NOT NULL
);
CREATE INDEX browser_session_by_expiry ON browser_session (expires_at);

-- Password attempts in the window that ends at ends_at.
CREATE TABLE login_throttle (
    id          TEXT    NOT NULL PRIMARY KEY,
    attempts    BIGINT  NOT NULL,
    ends_at     BIGINT  NOT NULL
);
CREATE INDEX login_throttle_by_end ON login_throttle (ends_at);
