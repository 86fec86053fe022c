-- +goose Up

-- A delivery's key is one integer: the id of its update and, in the lower 32 bits, its
-- target. SQLite compares that ten times as fast as (incident, target, sequence) field
-- by field, and what is written and settled together lies together.
CREATE TABLE deliveries_by_id (
    id       INTEGER PRIMARY KEY,
    outcome  INTEGER NOT NULL DEFAULT 0, -- dispatcher.Outcome, 0 open
    batch    INTEGER,                    -- NULL and open: waits
    attempt  INTEGER NOT NULL DEFAULT 0,
    class    INTEGER NOT NULL DEFAULT 0, -- channels.Class of the last attempt
    since    INTEGER,
    due_at   INTEGER,
    sent_at  INTEGER,
    done_at  INTEGER,
    detail   TEXT NOT NULL DEFAULT '',
    edition  INTEGER NOT NULL DEFAULT 0  -- how often it was sent again as new
);
INSERT INTO deliveries_by_id SELECT (u.id << 32) + d.target, d.outcome, d.batch, d.attempt, d.class, d.since, d.due_at,
    d.sent_at, d.done_at, d.detail, d.edition
    FROM deliveries d CROSS JOIN updates u ON u.incident = d.incident AND u.sequence = d.sequence;
DROP TABLE deliveries;
ALTER TABLE deliveries_by_id RENAME TO deliveries;
CREATE INDEX deliveries_waiting ON deliveries (due_at) WHERE outcome = 0 AND batch IS NULL;

-- Which earlier updates of an incident may have open rows: those with batches, and
-- those of which some row waited at some time.
ALTER TABLE updates ADD COLUMN waited INTEGER NOT NULL DEFAULT 0;
UPDATE updates SET waited = 1 WHERE id IN (SELECT id >> 32 FROM deliveries WHERE outcome = 0 AND batch IS NULL);
CREATE INDEX batches_update ON batches (incident, sequence);
