-- +goose Up

-- Feeds ask for the newest updates of a page.
ALTER TABLE updates ADD COLUMN page TEXT NOT NULL DEFAULT '';
UPDATE updates SET page = (SELECT page FROM incidents i WHERE i.id = incident);
CREATE INDEX updates_page ON updates (page) WHERE sequence IS NOT NULL;

-- Which feeds there are; of one name, the oldest target counts.
CREATE INDEX targets_feeds ON targets (page, address) WHERE channel = 'rss' AND incident = 0 AND state = 0;
