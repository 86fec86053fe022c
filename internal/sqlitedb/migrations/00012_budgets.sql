-- +goose Up

-- What the providers of a group with a budget took, by hours since 1970.
CREATE TABLE spent (
    grp      TEXT NOT NULL,
    hour     INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (grp, hour)
) WITHOUT ROWID;
