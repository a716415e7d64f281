-- Backchannel authentication requests (CIBA) stand beside the devices'. binding_message is what the person compares. ping holds, sealed under
-- the master key, what a client that wants to be told is told with; ping_due_at is set when somebody has decided, and from then on whoever
-- moves it takes the row.
ALTER TABLE decoupled_request ADD COLUMN binding_message TEXT;
ALTER TABLE decoupled_request ADD COLUMN ping BYTEA;
ALTER TABLE decoupled_request ADD COLUMN ping_due_at BIGINT;
ALTER TABLE decoupled_request ADD COLUMN ping_attempts BIGINT NOT NULL DEFAULT 0;
CREATE INDEX decoupled_request_by_ping ON decoupled_request (ping_due_at) WHERE ping_due_at IS NOT NULL;
