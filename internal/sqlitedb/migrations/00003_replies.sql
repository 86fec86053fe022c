-- +goose Up

-- What subscribers and peers say afterwards: that they want no more, and what became
-- of a message.

-- Who opted out: an address everywhere, or where page is not '' as an inline target
-- of that page.
CREATE TABLE suppressions (
    channel TEXT NOT NULL,
    address TEXT NOT NULL,
    page    TEXT NOT NULL,
    PRIMARY KEY (channel, address, page)
) WITHOUT ROWID;

-- Addresses that may opt out, as long as they have not. Webhooks have long ones and
-- no say in it.
CREATE INDEX targets_address ON targets (channel, address) WHERE channel IN ('smtp', 'smpp') AND state < 3;

-- Which delivery a peer's name for a message stands for, kept for a week.
CREATE TABLE handles (
    provider  TEXT NOT NULL,
    handle    TEXT NOT NULL,
    incident  INTEGER NOT NULL,
    target    INTEGER NOT NULL,
    sequence  INTEGER NOT NULL,
    at        INTEGER,                   -- when the peer had accepted the message
    delivered INTEGER NOT NULL DEFAULT 0, -- 1 once a receipt said that it arrived
    PRIMARY KEY (provider, handle)
) WITHOUT ROWID;
CREATE INDEX handles_at ON handles (at);
