-- One schema for both databases: times are microseconds since 1970 UTC (0: none),
-- flags are 0 or 1, serials and key ids are lower-case hex.

-- +goose Up
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
-- The version of the newest control event; its row orders them.
INSERT INTO meta (name, value) VALUES ('change_version', '0');

CREATE TABLE zone (
    name           TEXT PRIMARY KEY,
    description    TEXT NOT NULL,
    production     SMALLINT NOT NULL,
    security_level SMALLINT NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    version        BIGINT NOT NULL
);

CREATE TABLE device_type (
    name           TEXT PRIMARY KEY,
    description    TEXT NOT NULL,
    profile        TEXT NOT NULL,
    key_algorithm  TEXT NOT NULL,
    stage          TEXT NOT NULL,
    stepped_back   BIGINT NOT NULL,
    validity       BIGINT NOT NULL,
    grace          BIGINT NOT NULL,
    approval       TEXT NOT NULL,
    anonymous      SMALLINT NOT NULL,
    server_keygen  SMALLINT NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    version        BIGINT NOT NULL
);

CREATE TABLE sign_off (
    id        TEXT PRIMARY KEY,
    type      TEXT NOT NULL REFERENCES device_type (name),
    stage     TEXT NOT NULL,
    signed_by TEXT NOT NULL,
    at        BIGINT NOT NULL,
    statement TEXT NOT NULL,
    evidence  TEXT NOT NULL
);
CREATE INDEX sign_off_type ON sign_off (type, at);

CREATE TABLE trust_anchor (
    type      TEXT NOT NULL REFERENCES device_type (name),
    id        TEXT NOT NULL,
    der       BYTEA NOT NULL,
    added_at  BIGINT NOT NULL,
    PRIMARY KEY (type, id)
);

CREATE TABLE device (
    id           TEXT PRIMARY KEY,
    type         TEXT NOT NULL,
    zone         TEXT NOT NULL,
    owner        TEXT NOT NULL,
    serial       TEXT NOT NULL,
    manufacturer TEXT NOT NULL,
    notes        TEXT NOT NULL,
    labels       TEXT NOT NULL,
    state        TEXT NOT NULL,
    maintenance  SMALLINT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    enrolled_at  BIGINT NOT NULL,
    seen_at      BIGINT NOT NULL,
    version      BIGINT NOT NULL
);
CREATE UNIQUE INDEX device_serial ON device (type, serial) WHERE serial <> '';
CREATE INDEX device_serial_alone ON device (serial, id) WHERE serial <> '';
CREATE INDEX device_type_id ON device (type, id);
CREATE INDEX device_zone_id ON device (zone, id);
CREATE INDEX device_state_id ON device (state, id);
CREATE INDEX device_owner_id ON device (owner, id) WHERE owner <> '';
CREATE INDEX device_type_state ON device (type, state, id);
CREATE INDEX device_zone_state ON device (zone, state, id);
CREATE INDEX device_zone_type ON device (zone, type, id);

CREATE TABLE device_label (
    name      TEXT NOT NULL,
    value     TEXT NOT NULL,
    device_id TEXT NOT NULL REFERENCES device (id),
    PRIMARY KEY (name, value, device_id)
);
CREATE INDEX device_label_device ON device_label (device_id);

CREATE TABLE token (
    id         TEXT PRIMARY KEY,
    hash       BYTEA NOT NULL,
    kind       TEXT NOT NULL,
    type       TEXT NOT NULL,
    zone       TEXT NOT NULL,
    device_id  TEXT NOT NULL,
    id_prefix  TEXT NOT NULL,
    labels     TEXT NOT NULL,
    approval   TEXT NOT NULL,
    quota      BIGINT NOT NULL,
    used       BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    note       TEXT NOT NULL,
    revoked_at BIGINT NOT NULL
);

CREATE TABLE waiting (
    id           TEXT PRIMARY KEY,
    device_id    TEXT NOT NULL,
    type         TEXT NOT NULL,
    zone         TEXT NOT NULL,
    key_id       TEXT NOT NULL,
    credential   TEXT NOT NULL,
    source       TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    decision     TEXT NOT NULL,
    decided_at   BIGINT NOT NULL,
    decided_by   TEXT NOT NULL,
    reason       TEXT NOT NULL
);
CREATE INDEX waiting_device ON waiting (device_id, requested_at);
CREATE INDEX waiting_decision ON waiting (decision, requested_at);
-- A device waits for one decision at a time.
CREATE UNIQUE INDEX waiting_open ON waiting (device_id) WHERE decision IN ('undecided', 'approved');

CREATE TABLE ca (
    id         TEXT PRIMARY KEY,
    role       TEXT NOT NULL,
    der        BYTEA NOT NULL,
    key_name   TEXT NOT NULL,
    status     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    not_after  BIGINT NOT NULL,
    crl_number BIGINT NOT NULL,
    crl        BYTEA,
    crl_until  BIGINT NOT NULL,
    crl_change BIGINT NOT NULL
);

-- The first holder of a key is its only holder, for ever.
CREATE TABLE public_key (
    id        TEXT PRIMARY KEY,
    principal TEXT NOT NULL
);

CREATE TABLE certificate (
    serial      TEXT PRIMARY KEY,
    principal   TEXT NOT NULL,
    profile     TEXT NOT NULL,
    key_id      TEXT NOT NULL,
    ca_id       TEXT NOT NULL,
    status      TEXT NOT NULL,
    reason      SMALLINT NOT NULL,
    not_before  BIGINT NOT NULL,
    not_after   BIGINT NOT NULL,
    reserved_at BIGINT NOT NULL,
    revoked_at  BIGINT NOT NULL,
    token_id    TEXT NOT NULL,
    waiting_id  TEXT NOT NULL,
    credential  TEXT NOT NULL,
    der         BYTEA
);
CREATE INDEX certificate_principal ON certificate (principal, not_after);
-- Indexes of times grow at one end and cost little; one of keys would not, so a
-- key's certificates are found through its holder.
CREATE INDEX certificate_expiry ON certificate (not_after);
CREATE INDEX certificate_revoked ON certificate (ca_id, not_after) WHERE status IN ('revoked', 'held');
CREATE INDEX certificate_reserved ON certificate (reserved_at) WHERE status = 'reserved';
CREATE INDEX certificate_newest ON certificate (reserved_at, serial);

CREATE TABLE api_token (
    id         TEXT PRIMARY KEY,
    hash       BYTEA NOT NULL,
    name       TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- What may be said to whom: each version is a whole policy, the newest is active.
CREATE TABLE policy_version (
    version    BIGINT PRIMARY KEY,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    message    TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    files      BYTEA NOT NULL
);

-- What apps without a certificate sign in with. used_day counts days since 1970.
CREATE TABLE app_token (
    id         TEXT PRIMARY KEY,
    app        TEXT NOT NULL,
    hash       BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_day   BIGINT NOT NULL,
    note       TEXT NOT NULL,
    revoked_at BIGINT NOT NULL
);
CREATE INDEX app_token_app ON app_token (app, created_at);

-- Control events: what every node has to learn, in order.
CREATE TABLE change (
    version BIGINT PRIMARY KEY,
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    at      BIGINT NOT NULL
);

CREATE TABLE lease (
    name    TEXT PRIMARY KEY,
    holder  TEXT NOT NULL,
    until   BIGINT NOT NULL
);

-- Events wait here, written by the transaction that made the change, until the
-- sequencer moves them into the log.
CREATE TABLE audit_outbox (
    id   TEXT PRIMARY KEY,
    leaf BYTEA NOT NULL
);

CREATE TABLE audit_entry (
    idx     BIGINT PRIMARY KEY,
    at      BIGINT NOT NULL,
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    subject TEXT NOT NULL,
    leaf    BYTEA NOT NULL
);
CREATE INDEX audit_entry_subject ON audit_entry (subject, idx);
CREATE INDEX audit_entry_actor ON audit_entry (actor, idx);
CREATE INDEX audit_entry_action ON audit_entry (action, idx);

CREATE TABLE audit_tile (
    level INTEGER NOT NULL,
    n     BIGINT NOT NULL,
    data  BYTEA NOT NULL,
    PRIMARY KEY (level, n)
);

CREATE TABLE audit_checkpoint (
    size   BIGINT PRIMARY KEY,
    signed TEXT NOT NULL,
    at     BIGINT NOT NULL
);

-- +goose Down
DROP TABLE audit_checkpoint;
DROP TABLE audit_tile;
DROP TABLE audit_entry;
DROP TABLE audit_outbox;
DROP TABLE lease;
DROP TABLE change;
DROP TABLE app_token;
DROP TABLE policy_version;
DROP TABLE api_token;
DROP TABLE certificate;
DROP TABLE public_key;
DROP TABLE ca;
DROP TABLE waiting;
DROP TABLE token;
DROP TABLE device_label;
DROP TABLE device;
DROP TABLE trust_anchor;
DROP TABLE sign_off;
DROP TABLE device_type;
DROP TABLE zone;
DROP TABLE meta;
