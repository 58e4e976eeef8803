-- What the version files come to on SQLite. Made by .ci/schema.py: do not edit.
-- digest: 92457ca06bc4fff6a838cd806fc5e813a3b7abb397e30df741afe46b40e0d974

CREATE TABLE campaign_schema_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT campaign_schema_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE campaigns (
    tenant TEXT DEFAULT '' NOT NULL,
    campaign_id TEXT DEFAULT '' NOT NULL,
    title TEXT DEFAULT '' NOT NULL,
    state BIGINT DEFAULT '0' NOT NULL,
    next_due BIGINT DEFAULT '0' NOT NULL,
    listed_due BIGINT DEFAULT '0' NOT NULL,
    room BIGINT DEFAULT '0' NOT NULL,
    create_time BIGINT DEFAULT '0' NOT NULL,
    revision BIGINT DEFAULT '0' NOT NULL,
    body BLOB,
    PRIMARY KEY (tenant, campaign_id)
);

CREATE TABLE campaign_agents (
    tenant TEXT DEFAULT '' NOT NULL,
    agent_id TEXT DEFAULT '' NOT NULL,
    campaign_id TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (tenant, campaign_id, agent_id)
);

CREATE TABLE campaign_labels (
    tenant TEXT DEFAULT '' NOT NULL,
    campaign_id TEXT DEFAULT '' NOT NULL,
    label TEXT DEFAULT '' NOT NULL,
    content TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (tenant, campaign_id, label)
);

CREATE TABLE campaign_signal_kinds (
    tenant TEXT DEFAULT '' NOT NULL,
    kind TEXT DEFAULT '' NOT NULL,
    campaign_id TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (tenant, kind, campaign_id)
);

CREATE TABLE signal_firings (
    tenant TEXT DEFAULT '' NOT NULL,
    campaign_id TEXT DEFAULT '' NOT NULL,
    cycle_id TEXT DEFAULT '' NOT NULL,
    trigger_key TEXT DEFAULT '' NOT NULL,
    dedupe_key TEXT DEFAULT '' NOT NULL,
    fire_time BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (tenant, campaign_id, cycle_id)
);

CREATE TABLE cycles (
    tenant TEXT DEFAULT '' NOT NULL,
    cycle_id TEXT DEFAULT '' NOT NULL,
    campaign_id TEXT DEFAULT '' NOT NULL,
    rotation_key TEXT DEFAULT '' NOT NULL,
    owner TEXT DEFAULT '' NOT NULL,
    scheduled_time BIGINT DEFAULT '0' NOT NULL,
    origin BIGINT DEFAULT '0' NOT NULL,
    state BIGINT DEFAULT '0' NOT NULL,
    due BIGINT DEFAULT '0' NOT NULL,
    priority BIGINT DEFAULT '0' NOT NULL,
    budget BIGINT DEFAULT '0' NOT NULL,
    look_at BIGINT DEFAULT '0' NOT NULL,
    start_time BIGINT DEFAULT '0' NOT NULL,
    end_time BIGINT DEFAULT '0' NOT NULL,
    revision BIGINT DEFAULT '0' NOT NULL,
    prepared BLOB,
    body BLOB,
    PRIMARY KEY (tenant, cycle_id)
);

CREATE TABLE cycle_turns (
    tenant TEXT DEFAULT '' NOT NULL,
    cycle_id TEXT DEFAULT '' NOT NULL,
    campaign_id TEXT DEFAULT '' NOT NULL,
    role TEXT DEFAULT '' NOT NULL,
    thread_id TEXT DEFAULT '' NOT NULL,
    place BIGINT DEFAULT '0' NOT NULL,
    cost BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (tenant, cycle_id, place)
);

CREATE TABLE cycle_gaps (
    tenant TEXT DEFAULT '' NOT NULL,
    campaign_id TEXT DEFAULT '' NOT NULL,
    schedule_version BIGINT DEFAULT '0' NOT NULL,
    start_time BIGINT DEFAULT '0' NOT NULL,
    end_time BIGINT DEFAULT '0' NOT NULL,
    outcome BIGINT DEFAULT '0' NOT NULL,
    times BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (tenant, campaign_id, schedule_version, start_time)
);

CREATE TABLE memories (
    tenant TEXT DEFAULT '' NOT NULL,
    memory_id TEXT DEFAULT '' NOT NULL,
    campaign_id TEXT DEFAULT '' NOT NULL,
    platform TEXT DEFAULT '' NOT NULL,
    thread_id TEXT DEFAULT '' NOT NULL,
    words TEXT DEFAULT '' NOT NULL,
    kind BIGINT DEFAULT '0' NOT NULL,
    pinned BIGINT DEFAULT '0' NOT NULL,
    importance BIGINT DEFAULT '0' NOT NULL,
    create_time BIGINT DEFAULT '0' NOT NULL,
    last_use_time BIGINT DEFAULT '0' NOT NULL,
    body BLOB,
    PRIMARY KEY (tenant, memory_id)
);

CREATE TABLE forgotten_memories (
    tenant TEXT DEFAULT '' NOT NULL,
    memory_id TEXT DEFAULT '' NOT NULL,
    campaign_id TEXT DEFAULT '' NOT NULL,
    forget_time BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (tenant, memory_id)
);

CREATE TABLE peer_messages (
    tenant TEXT DEFAULT '' NOT NULL,
    message_id TEXT DEFAULT '' NOT NULL,
    campaign_id TEXT DEFAULT '' NOT NULL,
    send_time BIGINT DEFAULT '0' NOT NULL,
    body BLOB, thread_id TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (tenant, message_id)
);

CREATE TABLE campaign_requests (
    tenant TEXT DEFAULT '' NOT NULL,
    principal TEXT DEFAULT '' NOT NULL,
    method TEXT DEFAULT '' NOT NULL,
    request_id TEXT DEFAULT '' NOT NULL,
    target TEXT DEFAULT '' NOT NULL,
    create_time BIGINT DEFAULT '0' NOT NULL,
    fingerprint BLOB,
    PRIMARY KEY (tenant, principal, method, request_id)
);

CREATE TABLE cycle_claims (
    name TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE cycle_rates (
    tenant TEXT DEFAULT '' NOT NULL,
    full_at BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (tenant)
);

CREATE INDEX campaigns_due ON campaigns (next_due, tenant, campaign_id, state) WHERE next_due > 0 AND state = 2;

CREATE INDEX campaigns_by_create_time ON campaigns (tenant, create_time, campaign_id);

CREATE INDEX campaigns_by_title ON campaigns (tenant, title, campaign_id);

CREATE INDEX campaigns_by_next_due ON campaigns (tenant, listed_due, campaign_id);

CREATE INDEX cycles_by_time ON cycles (tenant, campaign_id, scheduled_time, cycle_id);

CREATE INDEX cycles_open ON cycles (tenant, campaign_id, state) WHERE state < 3;

CREATE INDEX cycles_waiting ON cycles (due) WHERE state = 1;

CREATE INDEX cycles_queued ON cycles (tenant, priority DESC, due, cycle_id) WHERE state = 1;

CREATE INDEX cycles_at_work ON cycles (look_at) WHERE state = 2;

CREATE INDEX cycles_running ON cycles (tenant, campaign_id) WHERE state = 2;

CREATE INDEX cycles_beside ON cycles (tenant, campaign_id, scheduled_time) WHERE origin >= 3;

CREATE INDEX cycles_started ON cycles (tenant, campaign_id, start_time) WHERE start_time > 0;

CREATE INDEX cycles_ended ON cycles (tenant, campaign_id, end_time) WHERE end_time > 0;

CREATE INDEX cycle_turns_by_thread ON cycle_turns (tenant, thread_id) WHERE thread_id <> '';

CREATE INDEX cycle_turns_by_campaign ON cycle_turns (tenant, campaign_id);

CREATE INDEX memories_by_create_time ON memories (tenant, campaign_id, create_time, memory_id);

CREATE INDEX memories_by_thread ON memories (tenant, thread_id) WHERE thread_id <> '';

CREATE INDEX forgotten_by_campaign ON forgotten_memories (tenant, campaign_id);

CREATE INDEX peer_messages_by_time ON peer_messages (tenant, campaign_id, send_time);

CREATE INDEX peer_messages_by_thread ON peer_messages (tenant, thread_id) WHERE thread_id <> '';

CREATE INDEX campaign_requests_passing ON campaign_requests (create_time) WHERE method <> 'CreateCampaign';

INSERT INTO campaign_schema_version (version_num) VALUES ('0003');
