-- What the protocols beyond the basics need to know, as JSON with the names of their specifications.
ALTER TABLE client ADD COLUMN protocol TEXT NOT NULL DEFAULT '{}';
ALTER TABLE authorization_code ADD COLUMN details TEXT NOT NULL DEFAULT '{}';
ALTER TABLE refresh_token ADD COLUMN details TEXT NOT NULL DEFAULT '{}';

-- What was used and must not be used again: ids of assertions, proofs and request objects. id is SHA-256 over namespace and id.
CREATE TABLE single_use (
    id          BLOB    NOT NULL PRIMARY KEY,
    expires_at  BIGINT  NOT NULL
);
CREATE INDEX single_use_by_expiry ON single_use (expires_at);
