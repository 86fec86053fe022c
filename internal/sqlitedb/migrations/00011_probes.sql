-- +goose Up

-- The health of each service that is probed.
CREATE TABLE probes (
    service TEXT PRIMARY KEY,
    state   BLOB NOT NULL                -- JSON: probe.Service, and the change that waits
) WITHOUT ROWID;
