-- What its caller calls a job's request (Idempotency-Key), and what the request was: digests. A job that ended without a result has let
-- go of its name.
ALTER TABLE job ADD COLUMN repeat_key TEXT;
ALTER TABLE job ADD COLUMN fingerprint TEXT;

CREATE UNIQUE INDEX job_repeat ON job (repeat_key);
