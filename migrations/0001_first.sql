-- The first schema. Times are integer milliseconds UTC, days are integers since 1970-01-01 (Europe/London dates),
-- EUI-64s and MPANs are 64-bit integers. One text for both engines; {{TOKENS}} are expanded by src/db/dialect.rs.

-- ---------------------------------------------------------------- estate

create table sites (
    device_id           bigint not null primary key,
    mpan                bigint not null,
    cohort              text   not null,
    manufacturer        text   not null,
    model               text   not null,
    hardware_version    bigint not null,
    firmware_version    text   not null,
    device_status       text   not null,
    dmc                 text   not null,
    chf_device_id       bigint,
    gsme_device_id      bigint,
    region              text,
    migrated_on         bigint,
    as_at               bigint,
    -- when DCC last told us; an import older than this does not overwrite
    firmware_learned_at bigint,
    status_learned_at   bigint
) {{STRICT}};

create table registrations (
    mpan           bigint not null,
    effective_from bigint not null,
    supplier_mpid  text   not null,
    effective_to   bigint,
    -- true where a later switch ended the row, so that an older file cannot reopen it
    ended_by_switch {{BOOL}} not null,
    primary key (mpan, effective_from, supplier_mpid)
) {{CLUSTERED}};

create table key_results (
    device_id    bigint not null,
    attempted_at bigint not null,
    status       text   not null,
    detail       text,
    -- import, message (a DCC message whose disposition is needs_keys) or resolved (by an operator)
    source       text   not null,
    primary key (device_id, attempted_at)
) {{CLUSTERED}};

create table cpl_entries (
    cpl_entry_id            text   not null primary key,
    device_type             text   not null,
    manufacturer            text   not null,
    model                   text   not null,
    hardware_version        bigint not null,
    firmware_version        text   not null,
    manufacturer_image_hash text   not null,
    status                  text   not null,
    upgrade_from            text   not null
) {{STRICT}};

create table epcl_entries (
    dmc            text   not null,
    effective_from bigint not null,
    effective_to   bigint,
    cohort         text   not null,
    primary key (dmc, effective_from)
) {{CLUSTERED}};

create table exclusions (
    -- device or mpan
    subject_kind   text   not null,
    subject        bigint not null,
    reason         text   not null,
    effective_from bigint not null,
    effective_to   bigint,
    primary key (subject_kind, subject, reason, effective_from)
) {{CLUSTERED}};

-- Every import that took effect; `estate_version` is its greatest id, which tells a daemon that facts changed.
create table imports (
    id          {{ID}},
    kind        text   not null,
    -- staging (no effect yet), applying (will take effect, also after a crash), applied
    state       text   not null,
    file        text   not null,
    replace_all {{BOOL}} not null,
    started_at  bigint not null,
    ended_at    bigint,
    read_rows   bigint not null,
    inserted    bigint not null,
    updated     bigint not null,
    unchanged   bigint not null,
    -- registrations only: rows a later switch ended, rows a --replace file does not hold
    ended       bigint not null,
    removed     bigint not null,
    rejected    bigint not null,
    -- the next block of import_blocks that is to take effect
    cursor      bigint not null
) {{STRICT}};

-- The rows of a long import, in blocks that take effect one by one once the import is `applying`; gone when it is applied.
create table import_blocks (
    import_id bigint not null references imports (id),
    seq       bigint not null,
    body      {{BLOB}} not null,
    primary key (import_id, seq)
) {{STRICT}};

-- ---------------------------------------------------------------- images

create table images (
    image_id          text   not null primary key,
    size              bigint not null,
    firmware_version  text   not null,
    -- the DSSE envelope, as it was verified
    manifest          text   not null,
    added_at          bigint not null,
    added_by          text   not null,
    revoked_at        bigint,
    revoked_by        text,
    revoked_reason    text
) {{STRICT}};

-- ---------------------------------------------------------------- campaigns

create table campaigns (
    id              {{ID}},
    name            text   not null unique,
    image_id        text   not null,
    -- draft, planned, approved, started, paused, halted, aborted, finished
    state           text   not null,
    -- JSON: cohort, model, region, devices
    filter          text   not null,
    rollout         text   not null,
    batch_size      bigint not null,
    created_at      bigint not null,
    created_by      text   not null,
    -- the plan in force (plans.id); null until there is one
    plan_id         bigint,
    approved_at     bigint,
    approved_by     text,
    -- what the approval is bound to: image, candidates, waves, thresholds
    approved_hash   text,
    started_at      bigint,
    -- why it does not move: the contract's refusal code or the operator's reason
    stopped_code    text,
    stopped_reason  text,
    stopped_at      bigint,
    stopped_by      text,
    ended_at        bigint
) {{STRICT}};

create table plans (
    id             {{ID}},
    campaign_id    bigint not null references campaigns (id),
    -- building, ready, what_if, superseded
    state          text   not null,
    decided_at     bigint not null,
    created_at     bigint not null,
    created_by     text   not null,
    policy_hash    text   not null,
    candidate_hash text,
    sites          bigint not null,
    eligible       bigint not null,
    held           bigint not null,
    ineligible     bigint not null,
    -- JSON: {"REASON": n}
    by_reason      text   not null
) {{STRICT}};

create table targets (
    plan_id               bigint not null,
    device_id             bigint not null,
    -- held ineligible queued submitted accepted delivered activated verified failed expired cancelled
    state                 text   not null,
    reason                text   not null,
    -- the batch it is or was last in
    batch_id              bigint,
    attempts              bigint not null,
    -- the registration row that justified the decision (its key with the site's MPAN)
    registration_supplier text,
    registration_from     bigint,
    -- past this moment, silence is `expired`
    answer_by             bigint,
    -- what DCC last said of it
    detail                text,
    updated_at            bigint not null,
    -- moves by one with each transition: a stale writer changes nothing
    version               bigint not null,
    primary key (plan_id, device_id)
) {{CLUSTERED}};

create index targets_by_state on targets (plan_id, state, device_id);
create index targets_in_flight on targets (device_id) where state in ('queued', 'submitted', 'accepted', 'delivered');
create index targets_by_batch on targets (batch_id) where batch_id is not null;

create table batches (
    id           {{ID}},
    campaign_id  bigint not null references campaigns (id),
    plan_id      bigint not null,
    number       bigint not null,
    -- the Device IDs in the order of the request, 8 bytes each, big-endian: what a resend is rebuilt from
    members      {{BLOB}} not null,
    size         bigint not null,
    -- prepared, posting, unknown, accepted, refused, held, dissolved
    state        text   not null,
    note         text,
    created_at   bigint not null,
    updated_at   bigint not null,
    unique (campaign_id, number)
) {{STRICT}};

-- ---------------------------------------------------------------- the wire

create table request_counters (
    originator bigint not null primary key,
    value      bigint not null
) {{STRICT}};

create table outbox (
    counter           bigint not null primary key,
    originator        bigint not null,
    target            bigint not null,
    service_reference text   not null,
    batch_id          bigint,
    duis_version      text   not null,
    -- the DigestValue of the request: the same for every resend
    body_digest       text   not null,
    -- prepared (committed, not posted), posting, unknown (posted, no answer), answered, abandoned (never left), held
    state             text   not null,
    attempts          bigint not null,
    created_at        bigint not null,
    first_posted_at   bigint,
    last_posted_at    bigint,
    next_attempt_at   bigint not null,
    answered_at       bigint,
    response_code     text,
    last_error        text
) {{STRICT}};

create index outbox_open on outbox (next_attempt_at) where state in ('prepared', 'posting', 'unknown');
create index outbox_by_batch on outbox (batch_id);

create table inbox (
    id           {{ID}},
    received_at  bigint not null,
    -- ResponseID, or RequestID and the kind of message where there is none
    dedupe_key   text   not null unique,
    request_id   text,
    kind         text   not null,
    response_code text  not null,
    body         {{BLOB}} not null,
    -- new, settled, ignored (answers no request of ours), unmatched (waits for an operator), failed
    state        text   not null,
    note         text,
    settled_at   bigint
) {{STRICT}};

create index inbox_new on inbox (id) where state = 'new';

-- Who works: a holder whose lease has run out is taken to be dead.
create table leases (
    name    text   not null primary key,
    holder  text   not null,
    until   bigint not null
) {{STRICT}};

-- ---------------------------------------------------------------- missing keys

create table key_cases (
    id           {{ID}},
    device_id    bigint not null,
    -- retrying, investigating, resolved, closed
    state        text   not null,
    attempts     bigint not null,
    first_seen   bigint not null,
    last_attempt bigint,
    next_attempt bigint,
    last_error   text,
    incident     text,
    ended_at     bigint
) {{STRICT}};

create unique index key_cases_open on key_cases (device_id) where state in ('retrying', 'investigating');
create index key_cases_by_device on key_cases (device_id);
create index key_cases_by_state on key_cases (state, id);

-- ---------------------------------------------------------------- audit

create table audit_events (
    seq       bigint not null primary key,
    at        bigint not null,
    who       text   not null,
    action    text   not null,
    subject   text   not null,
    detail    text   not null,
    prev_hash text   not null,
    hash      text   not null
) {{STRICT}};
