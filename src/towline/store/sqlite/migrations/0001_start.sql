-- SPDX-License-Identifier: Apache-2.0
-- Times are int64 microseconds UTC. Every table and index names the workgroup, except the database's own books.
-- "device" is devices.no where rows are many, the id (a UUID) where they are few.

CREATE TABLE schema_history (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_us INTEGER NOT NULL,
    towline TEXT NOT NULL
);

CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES ('message_id', 0), ('stored_us', 0);

-- "Messages up to message_id were stored at stored_us or before": bounds for retention.
CREATE TABLE mark (stored_us INTEGER PRIMARY KEY, message_id INTEGER NOT NULL);

CREATE TABLE workgroup (
    workgroup TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created_us INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE device (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    workgroup TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    grp TEXT NOT NULL,
    public_key BLOB NOT NULL,
    created_us INTEGER NOT NULL,
    facts TEXT NOT NULL,
    flags TEXT NOT NULL DEFAULT '[]',
    revoked_us INTEGER,
    sort TEXT NOT NULL,
    search TEXT NOT NULL,
    UNIQUE (workgroup, id),
    UNIQUE (workgroup, public_key)
);
CREATE INDEX device_sort ON device (workgroup, sort, id);

-- What is numbered goes piece by piece after its device.
CREATE TABLE deleted_device (
    workgroup TEXT NOT NULL,
    device INTEGER NOT NULL,
    PRIMARY KEY (workgroup, device)
) WITHOUT ROWID;

CREATE TABLE presence (
    workgroup TEXT NOT NULL,
    device_id TEXT NOT NULL,
    state TEXT NOT NULL,
    since_us INTEGER NOT NULL,
    cause TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '',
    conn TEXT NOT NULL DEFAULT '',
    node TEXT NOT NULL DEFAULT '',
    counter INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (workgroup, device_id)
) WITHOUT ROWID;
CREATE INDEX presence_node ON presence (node, workgroup) WHERE node <> '';
CREATE INDEX presence_state ON presence (state, workgroup);

CREATE TABLE lane (
    workgroup TEXT NOT NULL,
    device INTEGER NOT NULL,
    spool_id TEXT NOT NULL,
    lane TEXT NOT NULL,
    seq INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    PRIMARY KEY (workgroup, device, spool_id, lane)
) WITHOUT ROWID;

CREATE TABLE lane_gap (
    id INTEGER PRIMARY KEY,
    workgroup TEXT NOT NULL,
    device INTEGER NOT NULL,
    spool_id TEXT NOT NULL,
    lane TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    cause TEXT NOT NULL,
    time_us INTEGER NOT NULL
);
CREATE INDEX lane_gap_device ON lane_gap (workgroup, device);

CREATE TABLE lane_drop (
    workgroup TEXT NOT NULL,
    device INTEGER NOT NULL,
    kind TEXT NOT NULL,
    count INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    PRIMARY KEY (workgroup, device, kind)
) WITHOUT ROWID;

CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    workgroup TEXT NOT NULL,
    device INTEGER NOT NULL,
    kind TEXT NOT NULL,
    tbl TEXT NOT NULL,
    source TEXT NOT NULL,
    field TEXT NOT NULL,
    UNIQUE (workgroup, device, kind, tbl, source, field)
);

-- Records, many in a row. id: the lowest message_id; last_id: the highest; stored_us: of the last one stored.
-- form: 1 plain, 2 columns (towline.store.codec).
CREATE TABLE block (
    id INTEGER PRIMARY KEY,
    workgroup TEXT NOT NULL,
    device INTEGER NOT NULL,
    kind TEXT NOT NULL,
    form INTEGER NOT NULL,
    min_us INTEGER NOT NULL,
    max_us INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    stored_us INTEGER NOT NULL,
    readings INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX block_time ON block (workgroup, device, kind, form, max_us);

CREATE TABLE state (
    workgroup TEXT NOT NULL,
    device_id TEXT NOT NULL,
    app_guid TEXT NOT NULL,
    tbl TEXT NOT NULL,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    time_us INTEGER NOT NULL,
    PRIMARY KEY (workgroup, device_id, app_guid, source, name)
) WITHOUT ROWID;

CREATE TABLE declaration (
    workgroup TEXT NOT NULL,
    device_id TEXT NOT NULL,
    app_guid TEXT NOT NULL,
    app_name TEXT NOT NULL,
    version TEXT NOT NULL,
    display_name TEXT NOT NULL,
    declaration BLOB NOT NULL,
    declared_us INTEGER NOT NULL,
    PRIMARY KEY (workgroup, device_id, app_guid)
) WITHOUT ROWID;
CREATE INDEX declaration_plugin ON declaration (workgroup, app_guid);

CREATE TABLE plugin_presence (
    workgroup TEXT NOT NULL,
    device_id TEXT NOT NULL,
    app_guid TEXT NOT NULL,
    app_name TEXT NOT NULL,
    online INTEGER NOT NULL,
    since_us INTEGER NOT NULL,
    cause TEXT NOT NULL,
    PRIMARY KEY (workgroup, device_id, app_guid)
) WITHOUT ROWID;

CREATE TABLE alert (
    message_id INTEGER PRIMARY KEY,
    workgroup TEXT NOT NULL,
    device_id TEXT NOT NULL,
    app_guid TEXT NOT NULL,
    tbl TEXT NOT NULL,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    action TEXT NOT NULL,
    message TEXT NOT NULL,
    time_us INTEGER NOT NULL,
    stored_us INTEGER NOT NULL
);
CREATE INDEX alert_device ON alert (workgroup, device_id);

CREATE TABLE credential (
    workgroup TEXT NOT NULL,
    app_guid TEXT NOT NULL,
    name TEXT NOT NULL,
    platform TEXT NOT NULL,
    architecture TEXT NOT NULL,
    sealed_key BLOB NOT NULL,
    created_us INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    revoked_us INTEGER,
    PRIMARY KEY (workgroup, app_guid)
) WITHOUT ROWID;

CREATE TABLE command (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    workgroup TEXT NOT NULL,
    id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    app_guid TEXT NOT NULL,
    module TEXT NOT NULL,
    name TEXT NOT NULL,
    params TEXT NOT NULL,
    state TEXT NOT NULL,
    user_id TEXT NOT NULL,
    user_name TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    sent_us INTEGER,
    final_us INTEGER,
    result TEXT,
    late_result TEXT,
    idempotency_key TEXT,
    UNIQUE (workgroup, id)
);
CREATE UNIQUE INDEX command_once ON command (workgroup, device_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX command_device ON command (workgroup, device_id);
CREATE INDEX command_workgroup ON command (workgroup);
CREATE INDEX command_due ON command (state, expires_us, workgroup);

CREATE TABLE command_step (
    workgroup TEXT NOT NULL,
    command INTEGER NOT NULL,
    n INTEGER NOT NULL,
    step TEXT NOT NULL,
    time_us INTEGER NOT NULL,
    stored_us INTEGER NOT NULL,
    note TEXT NOT NULL,
    applied INTEGER NOT NULL,
    PRIMARY KEY (workgroup, command, n)
) WITHOUT ROWID;

CREATE TABLE user (
    workgroup TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    sort TEXT NOT NULL,
    display_name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    privileges TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    disabled_us INTEGER,
    last_login_us INTEGER,
    password_us INTEGER NOT NULL,
    PRIMARY KEY (workgroup, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX user_name ON user (sort, workgroup);

CREATE TABLE token (
    jti TEXT NOT NULL,
    workgroup TEXT NOT NULL,
    kind TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    privileges TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    revoked_us INTEGER,
    last_used_us INTEGER,
    PRIMARY KEY (jti, workgroup)
) WITHOUT ROWID;
CREATE INDEX token_user ON token (workgroup, user_id);
CREATE INDEX token_expiry ON token (expires_us, workgroup);

CREATE TABLE enrolment (
    token_hash BLOB NOT NULL,
    workgroup TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT,
    created_us INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_us INTEGER NOT NULL,
    revoked_us INTEGER,
    redeemed_us INTEGER,
    device_id TEXT,
    public_key BLOB,
    PRIMARY KEY (token_hash, workgroup)
) WITHOUT ROWID;
CREATE UNIQUE INDEX enrolment_id ON enrolment (workgroup, id);

CREATE TABLE setting (
    workgroup TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    version INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    PRIMARY KEY (workgroup, key)
) WITHOUT ROWID;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    workgroup TEXT NOT NULL,
    time_us INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    user_name TEXT NOT NULL,
    action TEXT NOT NULL,
    entity TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    detail TEXT NOT NULL,
    address TEXT NOT NULL
);
CREATE INDEX audit_workgroup ON audit (workgroup);
CREATE INDEX audit_entity ON audit (workgroup, entity, entity_id);

CREATE TABLE lease (
    name TEXT NOT NULL,
    workgroup TEXT NOT NULL,
    owner TEXT NOT NULL,
    expires_us INTEGER NOT NULL,
    PRIMARY KEY (workgroup, name)
) WITHOUT ROWID;
