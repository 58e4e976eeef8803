-- What the version files come to on SQLite. Made by .ci/schema.py: do not edit.
-- digest: b069ab5e6153f53e95359d3f45643ca645762a6a141d37a9ece40542e3ad4366

CREATE TABLE runtime_schema_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT runtime_schema_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE threads (
    tenant TEXT DEFAULT '' NOT NULL,
    thread_id TEXT DEFAULT '' NOT NULL,
    title TEXT DEFAULT '' NOT NULL,
    labels TEXT DEFAULT '' NOT NULL,
    agent_id TEXT DEFAULT '' NOT NULL,
    model TEXT DEFAULT '' NOT NULL,
    instructions TEXT DEFAULT '' NOT NULL,
    context_json TEXT DEFAULT '' NOT NULL,
    lane_run_id TEXT DEFAULT '' NOT NULL,
    forked_from_thread_id TEXT DEFAULT '' NOT NULL,
    pinned BIGINT DEFAULT '0' NOT NULL,
    status BIGINT DEFAULT '0' NOT NULL,
    revision BIGINT DEFAULT '0' NOT NULL,
    context_version BIGINT DEFAULT '0' NOT NULL,
    title_is_manual BIGINT DEFAULT '0' NOT NULL,
    last_sequence BIGINT DEFAULT '0' NOT NULL,
    published_sequence BIGINT DEFAULT '0' NOT NULL,
    first_sequence BIGINT DEFAULT '0' NOT NULL,
    create_time BIGINT DEFAULT '0' NOT NULL,
    update_time BIGINT DEFAULT '0' NOT NULL,
    head_hash BLOB,
    PRIMARY KEY (tenant, thread_id)
);

CREATE TABLE events (
    tenant TEXT DEFAULT '' NOT NULL,
    thread_id TEXT DEFAULT '' NOT NULL,
    run_id TEXT DEFAULT '' NOT NULL,
    sequence BIGINT DEFAULT '0' NOT NULL,
    kind BIGINT DEFAULT '0' NOT NULL,
    commit_time BIGINT DEFAULT '0' NOT NULL,
    redacted BIGINT DEFAULT '0' NOT NULL,
    payload BLOB,
    digest BLOB,
    hash BLOB,
    PRIMARY KEY (tenant, thread_id, sequence)
)
 WITHOUT ROWID
;

CREATE TABLE runs (
    tenant TEXT DEFAULT '' NOT NULL,
    run_id TEXT DEFAULT '' NOT NULL,
    thread_id TEXT DEFAULT '' NOT NULL,
    request_id TEXT DEFAULT '' NOT NULL,
    principal TEXT DEFAULT '' NOT NULL,
    acted_by TEXT DEFAULT '' NOT NULL,
    agent_id TEXT DEFAULT '' NOT NULL,
    model TEXT DEFAULT '' NOT NULL,
    trigger_reference TEXT DEFAULT '' NOT NULL,
    labels TEXT DEFAULT '' NOT NULL,
    limits TEXT DEFAULT '' NOT NULL,
    owner TEXT DEFAULT '' NOT NULL,
    root_run_id TEXT DEFAULT '' NOT NULL,
    parent_run_id TEXT DEFAULT '' NOT NULL,
    retry_of_run_id TEXT DEFAULT '' NOT NULL,
    superseded_by_run_id TEXT DEFAULT '' NOT NULL,
    failure_message TEXT DEFAULT '' NOT NULL,
    tools_digest TEXT DEFAULT '' NOT NULL,
    state BIGINT DEFAULT '0' NOT NULL,
    agent_version BIGINT DEFAULT '0' NOT NULL,
    mode BIGINT DEFAULT '0' NOT NULL,
    trigger_kind BIGINT DEFAULT '0' NOT NULL,
    "cascade" BIGINT DEFAULT '0' NOT NULL,
    depth BIGINT DEFAULT '0' NOT NULL,
    attempt BIGINT DEFAULT '0' NOT NULL,
    fence BIGINT DEFAULT '0' NOT NULL,
    append_number BIGINT DEFAULT '0' NOT NULL,
    queue_rank BIGINT DEFAULT '0' NOT NULL,
    request_sequence BIGINT DEFAULT '0' NOT NULL,
    input_tokens BIGINT DEFAULT '0' NOT NULL,
    output_tokens BIGINT DEFAULT '0' NOT NULL,
    cached_input_tokens BIGINT DEFAULT '0' NOT NULL,
    reasoning_tokens BIGINT DEFAULT '0' NOT NULL,
    model_calls BIGINT DEFAULT '0' NOT NULL,
    tool_calls BIGINT DEFAULT '0' NOT NULL,
    cost BIGINT DEFAULT '0' NOT NULL,
    reserved_tokens BIGINT DEFAULT '0' NOT NULL,
    reserved_cost BIGINT DEFAULT '0' NOT NULL,
    granted_tokens BIGINT DEFAULT '0' NOT NULL,
    granted_cost BIGINT DEFAULT '0' NOT NULL,
    failure_reason BIGINT DEFAULT '0' NOT NULL,
    cancel_cause BIGINT DEFAULT '0' NOT NULL,
    cancel_sequence BIGINT DEFAULT '0' NOT NULL,
    cancel_time BIGINT DEFAULT '0' NOT NULL,
    create_time BIGINT DEFAULT '0' NOT NULL,
    start_time BIGINT DEFAULT '0' NOT NULL,
    end_time BIGINT DEFAULT '0' NOT NULL,
    not_before BIGINT DEFAULT '0' NOT NULL,
    result BLOB,
    PRIMARY KEY (tenant, run_id)
);

CREATE TABLE requests (
    tenant TEXT DEFAULT '' NOT NULL,
    principal TEXT DEFAULT '' NOT NULL,
    method TEXT DEFAULT '' NOT NULL,
    request_id TEXT DEFAULT '' NOT NULL,
    run_id TEXT DEFAULT '' NOT NULL,
    thread_id TEXT DEFAULT '' NOT NULL,
    create_time BIGINT DEFAULT '0' NOT NULL,
    cancelled BIGINT DEFAULT '0' NOT NULL,
    fingerprint BLOB,
    response BLOB,
    PRIMARY KEY (tenant, principal, method, request_id)
);

CREATE TABLE inputs (
    tenant TEXT DEFAULT '' NOT NULL,
    input_id TEXT DEFAULT '' NOT NULL,
    thread_id TEXT DEFAULT '' NOT NULL,
    run_id TEXT DEFAULT '' NOT NULL,
    winner TEXT DEFAULT '' NOT NULL,
    kind BIGINT DEFAULT '0' NOT NULL,
    state BIGINT DEFAULT '0' NOT NULL,
    expire_time BIGINT DEFAULT '0' NOT NULL,
    create_time BIGINT DEFAULT '0' NOT NULL,
    resolve_time BIGINT DEFAULT '0' NOT NULL,
    body BLOB,
    answer_fingerprint BLOB,
    PRIMARY KEY (tenant, input_id)
);

CREATE TABLE workers (
    worker_id TEXT DEFAULT '' NOT NULL,
    address TEXT DEFAULT '' NOT NULL,
    lease_until BIGINT DEFAULT '0' NOT NULL,
    start_time BIGINT DEFAULT '0' NOT NULL,
    fold_version BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (worker_id)
);

CREATE TABLE snapshots (
    tenant TEXT DEFAULT '' NOT NULL,
    thread_id TEXT DEFAULT '' NOT NULL,
    sequence BIGINT DEFAULT '0' NOT NULL,
    fold_version BIGINT DEFAULT '0' NOT NULL,
    hash BLOB,
    body BLOB,
    PRIMARY KEY (tenant, thread_id, sequence)
);

CREATE TABLE tombstones (
    tenant TEXT DEFAULT '' NOT NULL,
    thread_id TEXT DEFAULT '' NOT NULL,
    last_sequence BIGINT DEFAULT '0' NOT NULL,
    delete_time BIGINT DEFAULT '0' NOT NULL,
    purged BIGINT DEFAULT '0' NOT NULL,
    published BIGINT DEFAULT '0' NOT NULL,
    last_hash BLOB,
    PRIMARY KEY (tenant, thread_id)
);

CREATE TABLE agents (
    tenant TEXT DEFAULT '' NOT NULL,
    agent_id TEXT DEFAULT '' NOT NULL,
    version BIGINT DEFAULT '0' NOT NULL,
    archived BIGINT DEFAULT '0' NOT NULL,
    revision BIGINT DEFAULT '0' NOT NULL,
    create_time BIGINT DEFAULT '0' NOT NULL,
    spec BLOB,
    PRIMARY KEY (tenant, agent_id, version)
);

CREATE TABLE tool_providers (
    tenant TEXT DEFAULT '' NOT NULL,
    provider_id TEXT DEFAULT '' NOT NULL,
    revision BIGINT DEFAULT '0' NOT NULL,
    create_time BIGINT DEFAULT '0' NOT NULL,
    body BLOB,
    PRIMARY KEY (tenant, provider_id)
);

CREATE TABLE secrets (
    name TEXT DEFAULT '' NOT NULL,
    value BLOB,
    PRIMARY KEY (name)
);

CREATE TABLE relay_shards (
    shard BIGINT DEFAULT '0' NOT NULL,
    owner TEXT DEFAULT '' NOT NULL,
    fence BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (shard)
);

CREATE TABLE relay_workers (
    worker_id TEXT DEFAULT '' NOT NULL, stream BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (worker_id)
);

CREATE TABLE relay_stream (
    number BIGINT DEFAULT '0' NOT NULL,
    created BIGINT DEFAULT '0' NOT NULL,
    sequence BIGINT DEFAULT '0' NOT NULL,
    message_id TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (number)
);

CREATE TABLE log_epoch (
    number BIGINT DEFAULT '0' NOT NULL,
    epoch BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (number)
);

CREATE INDEX threads_by_update ON threads (tenant, status, update_time);

CREATE INDEX events_marks ON events (tenant, thread_id, kind, sequence, run_id) WHERE kind IN (14, 15, 16, 17, 18, 21, 22, 24, 25, 29);

CREATE INDEX runs_by_thread ON runs (tenant, thread_id, queue_rank);

CREATE INDEX runs_by_parent ON runs (tenant, parent_run_id) WHERE parent_run_id <> '';

CREATE INDEX runs_by_create_time ON runs (tenant, create_time);

CREATE INDEX runs_by_end_time ON runs (tenant, end_time) WHERE end_time > 0;

CREATE INDEX runs_queued ON runs (create_time, queue_rank) WHERE state = 1;

CREATE INDEX runs_owned ON runs (owner) WHERE state = 2;

CREATE UNIQUE INDEX runs_one_active ON runs (tenant, thread_id) WHERE state IN (2, 3);

CREATE INDEX requests_by_create_time ON requests (create_time);

CREATE INDEX requests_by_thread ON requests (tenant, thread_id) WHERE thread_id <> '';

CREATE INDEX inputs_by_run ON inputs (tenant, run_id, state);

CREATE INDEX inputs_by_create_time ON inputs (tenant, state, create_time);

CREATE INDEX inputs_by_thread ON inputs (tenant, thread_id);

CREATE INDEX inputs_open ON inputs (expire_time) WHERE state = 2;

CREATE INDEX tombstones_open ON tombstones (delete_time) WHERE purged = 0 OR published = 0;

CREATE INDEX threads_unpublished ON threads (tenant, thread_id) WHERE published_sequence < last_sequence;

CREATE INDEX requests_passing ON requests (create_time) WHERE run_id = '' AND method NOT IN ('CreateThread', 'ForkThread');

INSERT INTO runtime_schema_version (version_num) VALUES ('0004');
