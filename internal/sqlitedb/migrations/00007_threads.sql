-- +goose Up

-- Written with every message and never read.
DROP TABLE threads;
