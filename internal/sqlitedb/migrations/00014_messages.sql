-- +goose Up

-- Deliveries to targets whose messages are bounded over all incidents: from their claim on, until
-- another claim for the target finds that they count no more. What came of them is in deliveries.
CREATE TABLE messages (
    target   INTEGER NOT NULL,
    incident INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (target, incident, sequence)
) WITHOUT ROWID;
