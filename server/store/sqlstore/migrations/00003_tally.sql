-- How many devices a party has revoked, quarantined or released without a second
-- person since a time in microseconds since 1970 UTC.

-- +goose Up
CREATE TABLE tally (
    who   TEXT PRIMARY KEY,
    since BIGINT NOT NULL,
    n     INTEGER NOT NULL
);

-- +goose Down
DROP TABLE tally;
