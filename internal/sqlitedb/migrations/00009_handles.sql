-- +goose Up

-- The days that names came on keep them together and in order of age, so that there is
-- one tree to write to instead of two. day is days since 1970.
CREATE TABLE handles_by_day (
    day       INTEGER NOT NULL,
    provider  TEXT NOT NULL,
    handle    TEXT NOT NULL,
    incident  INTEGER NOT NULL,
    target    INTEGER NOT NULL,
    sequence  INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0, -- 1 once a receipt said that it arrived
    PRIMARY KEY (day, provider, handle)
) WITHOUT ROWID;
INSERT INTO handles_by_day SELECT coalesce(at, 0) / 86400000000, provider, handle, incident, target, sequence, delivered
    FROM handles ORDER BY 1, 2, 3;
DROP TABLE handles;
ALTER TABLE handles_by_day RENAME TO handles;
