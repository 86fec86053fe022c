-- +goose Up

-- Deliveries that processes may have died of: noted before they are sent, forgotten
-- with their result; and those that were given up for it.
CREATE TABLE suspects (
    incident  INTEGER NOT NULL,
    target    INTEGER NOT NULL,
    sequence  INTEGER NOT NULL,
    starts    INTEGER NOT NULL,           -- without an end
    parked_at INTEGER,                    -- NULL: not given up
    PRIMARY KEY (incident, target, sequence)
) WITHOUT ROWID;
