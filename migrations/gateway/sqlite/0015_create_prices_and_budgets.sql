-- Prices and budgets, each in its written form: JSON as over the admin API.
CREATE TABLE price (
    name    TEXT NOT NULL PRIMARY KEY,
    form    TEXT NOT NULL
);

CREATE TABLE budget (
    name    TEXT NOT NULL PRIMARY KEY,
    form    TEXT NOT NULL
);

CREATE INDEX budget_period_by_budget ON budget_period (budget, period_start, budget_key);
