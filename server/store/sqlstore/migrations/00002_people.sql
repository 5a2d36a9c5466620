-- People, programs and what they may do. Times are microseconds since 1970 UTC
-- (0: none), flags 0 or 1, days are counted since 1970; lists and scopes are JSON.

-- +goose Up
CREATE TABLE person (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    display       TEXT NOT NULL,
    mail          TEXT NOT NULL,
    state         TEXT NOT NULL,
    why           TEXT NOT NULL,
    origin        TEXT NOT NULL,
    external      TEXT NOT NULL,
    break_glass   SMALLINT NOT NULL,
    created_at    BIGINT NOT NULL,
    enabled_at    BIGINT NOT NULL,
    signed_in_at  BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    -- What they prove themselves with; empty where there is none. A password set
    -- at 0 has to be replaced at the next sign-in.
    password      TEXT NOT NULL,
    password_at   BIGINT NOT NULL,
    totp          BYTEA,
    totp_step     BIGINT NOT NULL,
    webauthn_user BYTEA NOT NULL
);
CREATE UNIQUE INDEX person_name ON person (name) WHERE state <> 'erased';
CREATE UNIQUE INDEX person_handle ON person (webauthn_user);
CREATE UNIQUE INDEX person_external ON person (origin, external) WHERE external <> '';

CREATE TABLE person_old_password (
    person   TEXT NOT NULL REFERENCES person (id),
    at       BIGINT NOT NULL,
    password TEXT NOT NULL,
    PRIMARY KEY (person, at)
);

CREATE TABLE passkey (
    id         TEXT PRIMARY KEY,
    person     TEXT NOT NULL REFERENCES person (id),
    name       TEXT NOT NULL,
    credential BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL
);
CREATE INDEX passkey_person ON passkey (person);

CREATE TABLE recovery_code (
    person  TEXT NOT NULL REFERENCES person (id),
    hash    BYTEA NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (person, hash)
);

-- A sign-in of a person: in a browser, or of the command line. hash is what it is
-- found by: of the cookie, or of the part of a refresh token that stays; turn is
-- of the part that changes with each use. salt leads from the old cookie to the
-- new one, for a browser that missed the answer which brought it.
CREATE TABLE sign_in (
    id         TEXT PRIMARY KEY,
    hash       BYTEA NOT NULL,
    old_hash   BYTEA,
    turn       BYTEA,
    salt       BYTEA,
    person     TEXT NOT NULL REFERENCES person (id),
    kind       TEXT NOT NULL,
    stage      TEXT NOT NULL,
    methods    TEXT NOT NULL,
    strong     SMALLINT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    fresh_at   BIGINT NOT NULL,
    tries      SMALLINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL,
    source     TEXT NOT NULL,
    agent      TEXT NOT NULL,
    upstream   TEXT NOT NULL
);
CREATE UNIQUE INDEX sign_in_hash ON sign_in (hash);
CREATE INDEX sign_in_old_hash ON sign_in (old_hash) WHERE old_hash IS NOT NULL;
CREATE INDEX sign_in_person ON sign_in (person, created_at);
CREATE INDEX sign_in_expiry ON sign_in (expires_at);

CREATE TABLE person_place (
    person   TEXT NOT NULL REFERENCES person (id),
    place    TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at  BIGINT NOT NULL,
    PRIMARY KEY (person, place)
);

-- What a browser or a command line is in the middle of: a passkey's challenge, a
-- round trip to an identity provider, a one-time link, a device code (RFC 8628).
CREATE TABLE ceremony (
    hash       BYTEA PRIMARY KEY,
    kind       TEXT NOT NULL,
    person     TEXT NOT NULL,
    data       BYTEA NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX ceremony_expiry ON ceremony (expires_at);
CREATE INDEX ceremony_person ON ceremony (person, kind);

-- Ids that may be seen once: assertions, JWTs, one-time codes.
CREATE TABLE seen_once (
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX seen_once_expiry ON seen_once (expires_at);

CREATE TABLE role (
    name        TEXT PRIMARY KEY,
    description TEXT NOT NULL,
    permissions TEXT NOT NULL,
    updated_at  BIGINT NOT NULL,
    version     BIGINT NOT NULL
);

CREATE TABLE role_grant (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    role       TEXT NOT NULL,
    scope      TEXT NOT NULL,
    origin     TEXT NOT NULL,
    reason     TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX role_grant_subject ON role_grant (kind, subject);
CREATE INDEX role_grant_role ON role_grant (role);

-- The last day that a permission was used on.
CREATE TABLE permission_use (
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    permission TEXT NOT NULL,
    used_day   BIGINT NOT NULL,
    PRIMARY KEY (kind, subject, permission)
);

CREATE TABLE approval (
    id           TEXT PRIMARY KEY,
    action       TEXT NOT NULL,
    operation    TEXT NOT NULL,
    summary      TEXT NOT NULL,
    method       TEXT NOT NULL,
    path         TEXT NOT NULL,
    body         BYTEA,
    content_type TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    reason       TEXT NOT NULL,
    expires_at   BIGINT NOT NULL,
    state        TEXT NOT NULL,
    decided_by   TEXT NOT NULL,
    decided_at   BIGINT NOT NULL,
    comment      TEXT NOT NULL,
    outcome      TEXT NOT NULL
);
CREATE INDEX approval_state ON approval (state, requested_at);

CREATE TABLE api_client (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    owner       TEXT NOT NULL,
    disabled    SMALLINT NOT NULL,
    networks    TEXT NOT NULL,
    rate        BIGINT NOT NULL,
    jwks        TEXT NOT NULL,
    secret      BYTEA,
    created_at  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    used_day    BIGINT NOT NULL,
    version     BIGINT NOT NULL
);

CREATE TABLE api_key (
    id          TEXT PRIMARY KEY,
    client      TEXT NOT NULL REFERENCES api_client (id),
    hash        BYTEA NOT NULL,
    note        TEXT NOT NULL,
    permissions TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    expires_at  BIGINT NOT NULL,
    used_day    BIGINT NOT NULL,
    revoked_at  BIGINT NOT NULL
);
CREATE INDEX api_key_client ON api_key (client, created_at);

-- Signing keys of the authorization server, sealed; the newest signs.
CREATE TABLE token_key (
    id         TEXT PRIMARY KEY,
    sealed     BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Access tokens taken back before their end.
CREATE TABLE revoked_access_token (
    id         TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

-- People whom an identity provider keeps: what it said of them that is not in
-- person. removed_at: it deleted them; off: it was the provider that disabled them.
CREATE TABLE scim_person (
    person     TEXT PRIMARY KEY REFERENCES person (id),
    updated_at BIGINT NOT NULL,
    removed_at BIGINT NOT NULL,
    off        SMALLINT NOT NULL
);

-- Groups of an identity provider. folded is the name in the form in which two are
-- the same.
CREATE TABLE scim_group (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    folded     TEXT NOT NULL,
    external   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version    BIGINT NOT NULL
);
CREATE UNIQUE INDEX scim_group_folded ON scim_group (folded);

CREATE TABLE scim_member (
    scim_group TEXT NOT NULL REFERENCES scim_group (id),
    person     TEXT NOT NULL REFERENCES person (id),
    PRIMARY KEY (scim_group, person)
);
CREATE INDEX scim_member_person ON scim_member (person);

-- +goose Down
DROP TABLE scim_member;
DROP TABLE scim_group;
DROP TABLE scim_person;
DROP TABLE revoked_access_token;
DROP TABLE token_key;
DROP TABLE api_key;
DROP TABLE api_client;
DROP TABLE approval;
DROP TABLE permission_use;
DROP TABLE role_grant;
DROP TABLE role;
DROP TABLE seen_once;
DROP TABLE ceremony;
DROP TABLE person_place;
DROP TABLE sign_in;
DROP TABLE recovery_code;
DROP TABLE passkey;
DROP TABLE person_old_password;
DROP TABLE person;
