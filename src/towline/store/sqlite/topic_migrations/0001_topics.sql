-- SPDX-License-Identifier: Apache-2.0
-- Durable topics of one gateway node. Times are int64 microseconds UTC.

CREATE TABLE schema_history (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_us INTEGER NOT NULL,
    towline TEXT NOT NULL
);

CREATE TABLE topic (
    no INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_us INTEGER NOT NULL
);

-- seq is the order of all topics together; a number is never used twice. deliveries: how often it was fetched, for what
-- was not acked within a second.
CREATE TABLE message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    topic INTEGER NOT NULL REFERENCES topic (no),
    node INTEGER NOT NULL,
    client_id TEXT NOT NULL,
    stored_us INTEGER NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    data BLOB NOT NULL
);
CREATE INDEX message_topic ON message (topic, seq);
