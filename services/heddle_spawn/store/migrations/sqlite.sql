-- What the version files come to on SQLite. Made by .ci/schema.py: do not edit.
-- digest: 6e614223b32bb6d6cf63776cb47dc6de0be28e69966519417c86c56ad058dd67

CREATE TABLE spawn_schema_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT spawn_schema_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE spawns (
    tenant TEXT DEFAULT '' NOT NULL,
    spawn_id TEXT DEFAULT '' NOT NULL,
    family TEXT DEFAULT '' NOT NULL,
    spawn_key TEXT DEFAULT '' NOT NULL,
    group_id TEXT DEFAULT '' NOT NULL,
    agent_id TEXT DEFAULT '' NOT NULL,
    token TEXT DEFAULT '' NOT NULL,
    parent_run_id TEXT DEFAULT '' NOT NULL,
    parent_thread_id TEXT DEFAULT '' NOT NULL,
    root_run_id TEXT DEFAULT '' NOT NULL,
    run_id TEXT DEFAULT '' NOT NULL,
    thread_id TEXT DEFAULT '' NOT NULL,
    allowed_tools TEXT DEFAULT '' NOT NULL,
    granted TEXT DEFAULT '' NOT NULL,
    state BIGINT DEFAULT '0' NOT NULL,
    stop BIGINT DEFAULT '0' NOT NULL,
    told BIGINT DEFAULT '0' NOT NULL,
    stage BIGINT DEFAULT '0' NOT NULL,
    place BIGINT DEFAULT '0' NOT NULL,
    depth BIGINT DEFAULT '0' NOT NULL,
    seen_sequence BIGINT DEFAULT '0' NOT NULL,
    due BIGINT DEFAULT '0' NOT NULL,
    tries BIGINT DEFAULT '0' NOT NULL,
    revision BIGINT DEFAULT '0' NOT NULL,
    create_time BIGINT DEFAULT '0' NOT NULL,
    end_time BIGINT DEFAULT '0' NOT NULL,
    deadline_at BIGINT DEFAULT '0' NOT NULL,
    fingerprint BLOB,
    turn BLOB,
    body BLOB,
    PRIMARY KEY (tenant, spawn_id)
);

CREATE TABLE spawn_groups (
    tenant TEXT DEFAULT '' NOT NULL,
    group_id TEXT DEFAULT '' NOT NULL,
    family TEXT DEFAULT '' NOT NULL,
    group_key TEXT DEFAULT '' NOT NULL,
    token TEXT DEFAULT '' NOT NULL,
    principal TEXT DEFAULT '' NOT NULL,
    acted_by TEXT DEFAULT '' NOT NULL,
    parent_run_id TEXT DEFAULT '' NOT NULL,
    parent_thread_id TEXT DEFAULT '' NOT NULL,
    root_run_id TEXT DEFAULT '' NOT NULL,
    input_id TEXT DEFAULT '' NOT NULL,
    progress TEXT DEFAULT '' NOT NULL,
    state BIGINT DEFAULT '0' NOT NULL,
    stop BIGINT DEFAULT '0' NOT NULL,
    told BIGINT DEFAULT '0' NOT NULL,
    current_stage BIGINT DEFAULT '0' NOT NULL,
    depth BIGINT DEFAULT '0' NOT NULL,
    due BIGINT DEFAULT '0' NOT NULL,
    tries BIGINT DEFAULT '0' NOT NULL,
    revision BIGINT DEFAULT '0' NOT NULL,
    create_time BIGINT DEFAULT '0' NOT NULL,
    end_time BIGINT DEFAULT '0' NOT NULL,
    deadline_at BIGINT DEFAULT '0' NOT NULL,
    fingerprint BLOB,
    spec BLOB,
    PRIMARY KEY (tenant, group_id)
);

CREATE TABLE spawn_requests (
    tenant TEXT DEFAULT '' NOT NULL,
    principal TEXT DEFAULT '' NOT NULL,
    method TEXT DEFAULT '' NOT NULL,
    request_id TEXT DEFAULT '' NOT NULL,
    target TEXT DEFAULT '' NOT NULL,
    create_time BIGINT DEFAULT '0' NOT NULL,
    fingerprint BLOB,
    PRIMARY KEY (tenant, principal, method, request_id)
);

CREATE UNIQUE INDEX spawns_by_key ON spawns (tenant, family, spawn_key);

CREATE INDEX spawns_by_group ON spawns (tenant, group_id, stage, place) WHERE group_id <> '';

CREATE INDEX spawns_by_parent ON spawns (tenant, parent_run_id) WHERE parent_run_id <> '';

CREATE INDEX spawns_by_root ON spawns (tenant, root_run_id, depth);

CREATE INDEX spawns_by_thread ON spawns (tenant, thread_id) WHERE thread_id <> '';

CREATE INDEX spawns_by_parent_thread ON spawns (tenant, parent_thread_id) WHERE parent_thread_id <> '';

CREATE INDEX spawns_by_create_time ON spawns (tenant, create_time);

CREATE INDEX spawns_by_end_time ON spawns (tenant, end_time);

CREATE INDEX spawns_due ON spawns (due) WHERE due > 0;

CREATE UNIQUE INDEX spawn_groups_by_key ON spawn_groups (tenant, family, group_key);

CREATE INDEX spawn_groups_by_root ON spawn_groups (tenant, root_run_id, create_time);

CREATE INDEX spawn_groups_due ON spawn_groups (due) WHERE due > 0;

CREATE INDEX spawn_requests_by_create_time ON spawn_requests (create_time);

INSERT INTO spawn_schema_version (version_num) VALUES ('0002');
