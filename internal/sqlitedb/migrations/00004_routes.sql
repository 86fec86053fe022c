-- +goose Up

-- Who served the targets of a channel with named providers when they were last brought
-- in line with the configuration. grp and provider are '' while that is under way;
-- without a provider they keep the last one, and served is 0.
CREATE TABLE routes (
    channel  TEXT PRIMARY KEY,
    grp      TEXT NOT NULL,
    provider TEXT NOT NULL,
    served   INTEGER NOT NULL
) WITHOUT ROWID;
