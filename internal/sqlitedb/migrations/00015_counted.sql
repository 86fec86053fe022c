-- +goose Up

-- Messages that were taken, by hours since 1970 and by what they are counted on: a
-- channel ("smpp"), or one of its providers ("smpp:main").
CREATE TABLE counted (
    account  TEXT NOT NULL,
    hour     INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (account, hour)
) WITHOUT ROWID;
INSERT INTO counted SELECT substr(grp, 1, instr(grp || ':', ':') - 1), hour, sum(messages) FROM spent GROUP BY 1, 2;
DROP TABLE spent;
