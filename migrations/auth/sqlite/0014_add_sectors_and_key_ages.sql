-- Which sectors have been told a pairwise sub of which person: when the person's tokens end, each of them has to hear it under the name it knows.
CREATE TABLE subject_sector (
    user_sub  TEXT  NOT NULL,
    sector    TEXT  NOT NULL,
    PRIMARY KEY (user_sub, sector)
);

-- Since when a key signs; null for one that does not yet, and for those that began before this was written down.
ALTER TABLE signing_key ADD COLUMN activated_at BIGINT;
