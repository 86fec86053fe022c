-- +goose Up

-- Times are microseconds since 1970, NULL where there is none.

CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
-- revision: grows with every change of a target that sending has to know of.
-- ping: written to see whether writing works.
INSERT INTO counters VALUES ('revision', 0), ('ping', 0);

CREATE TABLE workers (
    epoch         INTEGER PRIMARY KEY AUTOINCREMENT,
    worker        TEXT NOT NULL,
    registered_at INTEGER NOT NULL
);
CREATE INDEX workers_name ON workers (worker);

CREATE TABLE incidents (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    page        TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    -- of the latest update that was sent
    sequence    INTEGER NOT NULL,
    hash        BLOB NOT NULL,
    status      TEXT NOT NULL,
    impact      TEXT NOT NULL,
    affected    TEXT NOT NULL,           -- JSON list
    started_at  INTEGER,
    updated_at  INTEGER NOT NULL,
    -- over all updates so far
    highest     TEXT NOT NULL,
    components  TEXT NOT NULL,           -- JSON list
    whole       INTEGER NOT NULL,
    stopped     INTEGER NOT NULL DEFAULT 0 -- up to this sequence the fan-out was stopped
);
CREATE UNIQUE INDEX incidents_name ON incidents (page, incident_id);
CREATE INDEX incidents_page ON incidents (page);
CREATE INDEX incidents_page_status ON incidents (page, status);
CREATE INDEX incidents_status ON incidents (status);

CREATE TABLE updates (
    id          INTEGER PRIMARY KEY,
    incident    INTEGER NOT NULL,
    sequence    INTEGER,                 -- NULL: stale, kept and not sent
    update_id   TEXT,                    -- NULL: the producer gave none
    hash        BLOB NOT NULL,
    event       BLOB NOT NULL,           -- JSON
    private     INTEGER NOT NULL,
    test        INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    received_at INTEGER,
    accepted_at INTEGER NOT NULL,
    expires_at  INTEGER,
    -- the plan
    highest     TEXT NOT NULL,
    components  TEXT NOT NULL,
    whole       INTEGER NOT NULL,
    planning    INTEGER NOT NULL,        -- 1 until the plan is finished or stopped
    cursor      TEXT NOT NULL DEFAULT '',
    audience    INTEGER NOT NULL DEFAULT 0,
    planned_at  INTEGER,
    -- expiry: the last target looked at, and when nothing was left to close
    swept       INTEGER NOT NULL DEFAULT 0,
    swept_at    INTEGER
);
CREATE UNIQUE INDEX updates_name ON updates (incident, update_id);
CREATE UNIQUE INDEX updates_sequence ON updates (incident, sequence) WHERE sequence IS NOT NULL;
CREATE INDEX updates_planning ON updates (id) WHERE planning = 1;
CREATE INDEX updates_expiring ON updates (expires_at) WHERE swept_at IS NULL;

CREATE TABLE targets (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    incident     INTEGER NOT NULL,       -- 0, or the incident whose event brought it inline
    page         TEXT NOT NULL,
    external_id  TEXT NOT NULL,
    channel      TEXT NOT NULL,
    grp          TEXT NOT NULL,
    provider     TEXT NOT NULL,
    stripe       INTEGER NOT NULL,
    address      TEXT NOT NULL,
    locale       TEXT NOT NULL,
    format       TEXT NOT NULL,
    secrets      TEXT NOT NULL,          -- JSON list, '' for none
    components   TEXT NOT NULL,          -- JSON list, '' for all
    min_impact   TEXT NOT NULL,
    min_rank     INTEGER NOT NULL,
    private      INTEGER NOT NULL,
    every_update INTEGER NOT NULL,
    test         INTEGER NOT NULL,
    -- 0 active, 1 paused, 2 disabled, 3 unsubscribed, 4 deleted
    state        INTEGER NOT NULL,
    reason       TEXT NOT NULL DEFAULT '',  -- of disabling
    fails        INTEGER NOT NULL DEFAULT 0, -- updates in a row without success
    revision     INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX targets_external ON targets (page, external_id)
    WHERE incident = 0 AND external_id <> '' AND state <> 4;
CREATE UNIQUE INDEX targets_inline ON targets (incident, channel, address)
    WHERE incident <> 0 AND state <> 4;
CREATE INDEX targets_audience ON targets (incident, page, test, stripe, provider, id) WHERE state = 0;
CREATE INDEX targets_revision ON targets (revision) WHERE revision > 0;

CREATE TABLE target_components (
    target    INTEGER NOT NULL,
    component TEXT NOT NULL,
    PRIMARY KEY (target, component)
) WITHOUT ROWID;

-- How many targets of a provider were ever added, for their stripes.
CREATE TABLE stripes (
    incident INTEGER NOT NULL,
    page     TEXT NOT NULL,
    grp      TEXT NOT NULL,
    provider TEXT NOT NULL,
    targets  INTEGER NOT NULL,
    PRIMARY KEY (incident, page, grp, provider)
) WITHOUT ROWID;

CREATE TABLE batches (
    id           INTEGER PRIMARY KEY,
    incident     INTEGER NOT NULL,
    sequence     INTEGER NOT NULL,
    grp          TEXT NOT NULL,
    urgent       INTEGER NOT NULL,
    written_at   INTEGER,
    published_at INTEGER,
    -- the ledger's claim
    holder       INTEGER NOT NULL DEFAULT 0,
    lease_until  INTEGER,
    takes        INTEGER NOT NULL DEFAULT 0,
    -- the embedded queue's lease: 1 while received and not acked
    held         INTEGER NOT NULL DEFAULT 0,
    receives     INTEGER NOT NULL DEFAULT 0,
    payload      BLOB NOT NULL           -- queue.Batch; last, so that the rest is updated without it
);
CREATE INDEX batches_ready ON batches (grp, urgent DESC, id) WHERE held = 0;
CREATE INDEX batches_held ON batches (id) WHERE held = 1;
CREATE INDEX batches_unpublished ON batches (written_at) WHERE published_at IS NULL;
CREATE INDEX batches_unclaimed ON batches (published_at) WHERE published_at IS NOT NULL AND holder = 0;
CREATE INDEX batches_claimed ON batches (lease_until) WHERE holder <> 0;

CREATE TABLE deliveries (
    incident INTEGER NOT NULL,
    target   INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    outcome  INTEGER NOT NULL DEFAULT 0, -- dispatcher.Outcome, 0 open
    batch    INTEGER,                    -- NULL and open: waits
    attempt  INTEGER NOT NULL DEFAULT 0,
    class    INTEGER NOT NULL DEFAULT 0, -- channels.Class of the last attempt
    since    INTEGER,
    due_at   INTEGER,
    sent_at  INTEGER,
    done_at  INTEGER,
    detail   TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (incident, target, sequence)
) WITHOUT ROWID;
CREATE INDEX deliveries_waiting ON deliveries (due_at) WHERE outcome = 0 AND batch IS NULL;

-- What operators paused: a provider, or '' for all.
CREATE TABLE pauses (provider TEXT PRIMARY KEY) WITHOUT ROWID;

CREATE TABLE threads (
    incident INTEGER NOT NULL,
    target   INTEGER NOT NULL,
    handle   TEXT NOT NULL,
    PRIMARY KEY (incident, target)
) WITHOUT ROWID;

CREATE TABLE intake (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    body        BLOB NOT NULL,
    update_id   TEXT NOT NULL,
    source      TEXT NOT NULL,
    received_at INTEGER
);

CREATE TABLE intake_invalid (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    body        BLOB NOT NULL,
    update_id   TEXT NOT NULL,
    source      TEXT NOT NULL,
    received_at INTEGER,
    field       TEXT NOT NULL,
    reason      TEXT NOT NULL
);
