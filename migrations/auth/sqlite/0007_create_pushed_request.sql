-- Authorization requests that clients have pushed (RFC 9126). digest is SHA-256 of the reference; the reference itself is nowhere.
-- A row goes when the request is answered, so that it is answered once. expires_at ends the reference; until ends_at somebody who
-- has followed it may still be signing in.
CREATE TABLE pushed_request (
    digest      BLOB    NOT NULL PRIMARY KEY,
    client_id   TEXT    NOT NULL,
    contents    TEXT    NOT NULL,
    expires_at  BIGINT  NOT NULL,
    ends_at     BIGINT  NOT NULL
);
CREATE INDEX pushed_request_by_end ON pushed_request (ends_at);

-- Claims that a person agreed to one by one (OpenID Connect Core §5.5), beyond those that the scope opens; a JSON array of names.
ALTER TABLE consent ADD COLUMN claims TEXT NOT NULL DEFAULT '[]';
