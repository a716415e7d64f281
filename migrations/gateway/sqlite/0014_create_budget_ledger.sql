-- The truth about a budget's period. Amounts are billionths of the currency's unit; spent = folded + the sum of its charges,
-- held = the sum of its leases. Whoever changes charges or leases locks this row first.
CREATE TABLE budget_period (
    budget_key      TEXT    NOT NULL,
    period_start    BIGINT  NOT NULL,
    -- The budget's name; NULL for the allowance of a grant.
    budget          TEXT,
    spent           BIGINT  NOT NULL DEFAULT 0,
    held            BIGINT  NOT NULL DEFAULT 0,
    -- Charges that stand here no more because they are old.
    folded          BIGINT  NOT NULL DEFAULT 0,
    -- When a node that could not be served asked others to give back what they do not need.
    recalled_at     BIGINT  NOT NULL DEFAULT 0,
    updated_at      BIGINT  NOT NULL,
    PRIMARY KEY (budget_key, period_start)
);

CREATE INDEX budget_period_by_update ON budget_period (updated_at);

-- What a node (one life of a process) may spend of a period without asking.
CREATE TABLE budget_lease (
    node            TEXT    NOT NULL,
    budget_key      TEXT    NOT NULL,
    period_start    BIGINT  NOT NULL,
    held            BIGINT  NOT NULL,
    charged         BIGINT  NOT NULL,
    -- When the node last said that it lives. A dead node's leases go when its journal has been read to the end, or when nobody
    -- has heard of it for a long time.
    seen_at         BIGINT  NOT NULL,
    PRIMARY KEY (node, budget_key, period_start)
);

CREATE INDEX budget_lease_by_period ON budget_lease (budget_key, period_start);

-- What was charged, summed up over the requests whose records arrived together; that each counts once is up to usage_record.
CREATE TABLE budget_charge (
    budget_key      TEXT    NOT NULL,
    period_start    BIGINT  NOT NULL,
    -- One of them.
    request_id      TEXT    NOT NULL,
    requests        BIGINT  NOT NULL,
    amount          BIGINT  NOT NULL,
    -- Of the latest request.
    time            BIGINT  NOT NULL,
    PRIMARY KEY (budget_key, period_start, request_id)
);

CREATE INDEX budget_charge_by_time ON budget_charge (time);

-- Shares of budgets (in thousandths) that operators were told of: each once a period.
CREATE TABLE budget_notice (
    budget_key      TEXT    NOT NULL,
    period_start    BIGINT  NOT NULL,
    share           BIGINT  NOT NULL,
    budget          TEXT    NOT NULL,
    spent           BIGINT  NOT NULL,
    amount          BIGINT  NOT NULL,
    currency        TEXT    NOT NULL,
    time            BIGINT  NOT NULL,
    PRIMARY KEY (budget_key, period_start, share)
);
