-- +goose Up

-- Where the lifecycle of each (page, group) stands.
CREATE TABLE cases (
    id     INTEGER PRIMARY KEY,
    page   TEXT NOT NULL,
    grp    TEXT NOT NULL,
    due_at INTEGER,                      -- NULL: waits for no time
    state  BLOB NOT NULL                 -- JSON: lifecycle.Case
);
CREATE UNIQUE INDEX cases_name ON cases (page, grp);
CREATE INDEX cases_due ON cases (due_at) WHERE due_at IS NOT NULL;

-- Events that are decided and not yet in the intake.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    page        TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    update_id   TEXT NOT NULL,
    source      TEXT NOT NULL,
    decided_at  INTEGER NOT NULL,
    body        BLOB NOT NULL            -- JSON: incident.Event
);

-- Who or what changed an incident.
CREATE TABLE audit (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    page        TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    number      INTEGER NOT NULL,        -- of the update, 0 if there was none
    update_id   TEXT NOT NULL,
    source      TEXT NOT NULL,
    actor       TEXT NOT NULL,
    action      TEXT NOT NULL,
    cause       TEXT NOT NULL,
    status      TEXT NOT NULL,
    impact      TEXT NOT NULL
);
CREATE INDEX audit_incident ON audit (page, incident_id);
CREATE INDEX audit_at ON audit (at);
