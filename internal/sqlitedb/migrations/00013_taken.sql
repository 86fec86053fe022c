-- +goose Up

-- Signed requests that were taken, for as long as they could come again.
CREATE TABLE taken (
    at     INTEGER NOT NULL,             -- the time that is signed
    source TEXT NOT NULL,
    print  BLOB NOT NULL,                -- caller.fingerprint
    PRIMARY KEY (at, source, print)
) WITHOUT ROWID;
