-- Notices of budgets are told to a webhook as well: the row is the outbox. kept (nobody is to be told), pending, delivered or dead.
ALTER TABLE budget_notice ADD COLUMN state TEXT NOT NULL DEFAULT 'kept';
ALTER TABLE budget_notice ADD COLUMN attempts BIGINT NOT NULL DEFAULT 0;
-- When it is to be told (again); while an attempt is under way, until when that has time.
ALTER TABLE budget_notice ADD COLUMN due BIGINT;

CREATE INDEX budget_notice_due ON budget_notice (state, due);
