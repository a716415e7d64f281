-- What a call cost, in billionths of the currency's unit. NULL: no price was known, or a row from before there were prices.
ALTER TABLE usage_record ADD COLUMN cost BIGINT;
ALTER TABLE usage_record ADD COLUMN currency TEXT;
ALTER TABLE usage_record ADD COLUMN price TEXT;
ALTER TABLE usage_record ADD COLUMN access_key TEXT;
-- What else prices count.
ALTER TABLE usage_record ADD COLUMN images BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_record ADD COLUMN audio_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_record ADD COLUMN characters BIGINT NOT NULL DEFAULT 0;

CREATE INDEX usage_record_by_tenant ON usage_record (tenant, time, request_id);
