-- +goose Up

-- Producers that want to be told when an update is complete: planned or stopped, and
-- no delivery open.
CREATE TABLE callbacks (
    incident     INTEGER NOT NULL,
    sequence     INTEGER NOT NULL,
    url          TEXT NOT NULL,              -- '' once done
    looked       INTEGER NOT NULL DEFAULT 0, -- no row of a target below is open any more
    completed_at INTEGER,
    outcomes     TEXT NOT NULL DEFAULT '',   -- JSON, as of then: channel → outcome → deliveries
    -- telling it
    state        INTEGER NOT NULL DEFAULT 0, -- dispatcher.CallbackState, 0 waiting
    attempt      INTEGER NOT NULL DEFAULT 0,
    detail       TEXT NOT NULL DEFAULT '',
    due_at       INTEGER,                    -- NULL before and after
    done_at      INTEGER,
    PRIMARY KEY (incident, sequence)
) WITHOUT ROWID;
CREATE INDEX callbacks_incomplete ON callbacks (incident, sequence) WHERE completed_at IS NULL;
CREATE INDEX callbacks_due ON callbacks (due_at) WHERE due_at IS NOT NULL;
