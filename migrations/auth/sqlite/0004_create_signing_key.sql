-- slot is 'ES256/current' and the like for a key that must be the only one at its stage, null for a retiring one.
CREATE TABLE signing_key (
    kid             TEXT    NOT NULL PRIMARY KEY,
    alg             TEXT    NOT NULL,
    stage           TEXT    NOT NULL,
    slot            TEXT    UNIQUE,
    public_jwk      TEXT    NOT NULL,
    sealed_private  BLOB    NOT NULL,
    created_at      BIGINT  NOT NULL,
    retire_at       BIGINT
);
