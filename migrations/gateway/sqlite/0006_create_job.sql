-- Calls that are run later. Requests, results, callers and webhook addresses are sealed by the master key; times are in microseconds.
CREATE TABLE job (
    -- Begins with the time, so that the order of ids is the order of jobs.
    id               TEXT    NOT NULL PRIMARY KEY,
    -- Empty: none.
    tenant           TEXT    NOT NULL,
    client_id        TEXT    NOT NULL,
    sub              TEXT    NOT NULL,
    interface        TEXT    NOT NULL,
    capability       TEXT    NOT NULL,
    request_id       TEXT    NOT NULL,
    status           TEXT    NOT NULL,
    created_at       BIGINT  NOT NULL,
    started_at       BIGINT,
    finished_at      BIGINT,
    -- A job that has not run by then does not run any more.
    expires_at       BIGINT  NOT NULL,
    -- For so long its result is kept.
    retention        BIGINT  NOT NULL,
    -- When there is something to do about it: a waiting one may run, a running one's lease ends, a finished one is removed.
    due_at           BIGINT  NOT NULL,
    -- The process that runs it.
    node             TEXT,
    runs             BIGINT  NOT NULL,
    -- Runs whose process died.
    lost             BIGINT  NOT NULL,
    caller           BLOB,
    request          BLOB,
    result           BLOB,
    result_type      TEXT,
    result_bytes     BIGINT,
    -- JSON.
    error            TEXT,
    webhook          BLOB,
    -- waiting, pending, delivered or dead; none without a webhook.
    webhook_state    TEXT,
    webhook_attempts BIGINT  NOT NULL,
    webhook_due      BIGINT
);

CREATE INDEX job_due ON job (status, due_at);
CREATE INDEX job_owner ON job (client_id, sub, tenant, id);
CREATE INDEX job_waiting ON job (client_id, interface, status);
CREATE INDEX job_webhook ON job (webhook_state, webhook_due);

-- Rows that submissions hold one after the other while they count: each client has one of a few.
CREATE TABLE job_gate (
    gate  BIGINT NOT NULL PRIMARY KEY,
    turns BIGINT NOT NULL
);
