-- +goose Up

-- How often a delivery was sent again as new: each time under another idempotency key.
ALTER TABLE deliveries ADD COLUMN edition INTEGER NOT NULL DEFAULT 0;

-- What operators had sent again. A row is there before the first delivery is touched.
CREATE TABLE resends (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    incident INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    name     TEXT,                        -- the request's own, NULL if it gave none
    choice   TEXT NOT NULL,               -- JSON: dispatcher.Choice
    as_new   INTEGER NOT NULL,
    asked_by TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    -- how far it is
    cursor   INTEGER NOT NULL DEFAULT 0,  -- the last target looked at
    resent   INTEGER NOT NULL DEFAULT 0,
    under_way INTEGER NOT NULL DEFAULT 0,
    absent   INTEGER NOT NULL DEFAULT 0,
    untold   TEXT NOT NULL DEFAULT '{}',  -- JSON: reason → deliveries
    ended    TEXT NOT NULL DEFAULT '',    -- why before its end, '' if it was not so
    done_at  INTEGER
);
CREATE UNIQUE INDEX resends_name ON resends (incident, name);
CREATE INDEX resends_incident ON resends (incident);
CREATE INDEX resends_unfinished ON resends (id) WHERE done_at IS NULL;
