-- The format of a job's request (see the doors of chat): its result and its failure are in the same.
ALTER TABLE job ADD COLUMN voice TEXT NOT NULL DEFAULT 'openai';
