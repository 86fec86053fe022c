-- +goose Up

-- Which producer published an update, for the audit log. NULL: the engine decided it
-- itself, and the audit log has an entry of its own; or it is older than this column.
ALTER TABLE updates ADD COLUMN sender TEXT;
ALTER TABLE intake ADD COLUMN sender TEXT NOT NULL DEFAULT '';
