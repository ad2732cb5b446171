-- What a device is asked after its upgrade (policies/steps.toml): which version it runs.

-- One row for a device in a plan: where its read stands.
create table reads (
    plan_id        bigint not null,
    device_id      bigint not null,
    campaign_id    bigint not null,
    -- read-inventory (8.2), read-version (11.2)
    kind           text   not null,
    -- waiting, asked, accepted, agrees, differs, given-up (src/target/read.rs)
    state          text   not null,
    -- how long it may take from `first_asked_at` on
    within_millis  bigint not null,
    created_at     bigint not null,
    -- of one that waits or whose request DCC has: when it is to be asked, or asked again
    due_at         bigint not null,
    first_asked_at bigint,
    -- requests made
    asks           bigint not null,
    -- the counter of the last of them
    counter        bigint,
    -- the last version that an answer named, the status with it, and when
    answer_version text,
    answer_status  text,
    answered_at    bigint,
    note           text,
    -- moves by one with each change: a stale writer changes nothing
    version        bigint not null,
    primary key (plan_id, device_id)
) {{CLUSTERED}};

create index reads_due on reads (plan_id, due_at) where state in ('waiting', 'accepted');
create index reads_out on reads (plan_id) where state in ('asked', 'accepted');
-- With the state, so that SQLite takes it before the primary key, which begins with the plan too.
create index reads_open on reads (plan_id, state) where state in ('waiting', 'asked', 'accepted');
create index reads_begun on reads (first_asked_at) where state in ('waiting', 'asked', 'accepted') and first_asked_at is not null;
create index reads_by_device on reads (device_id);

-- Which read a request of ours is for. Nothing here is ever changed: the request itself is a row of the outbox.
create table read_requests (
    originator bigint not null,
    counter    bigint not null,
    target     bigint not null,
    plan_id    bigint not null,
    device_id  bigint not null,
    asked_at   bigint not null,
    primary key (originator, counter)
) {{CLUSTERED}};

create index read_requests_asked on read_requests (asked_at);
create index read_requests_of_device on read_requests (plan_id, device_id);
