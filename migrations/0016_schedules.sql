-- What runs by the clock, and every run of it (src/schedule).

create table schedules (
    id          {{ID}},
    name        text   not null,
    -- a cron expression, one space between its fields
    cron        text   not null,
    -- IANA, e.g. Europe/London
    zone        text   not null,
    -- plan, start, top-up (of a campaign), recheck-keys, inventory-sweep, report, prune
    verb        text   not null,
    campaign_id bigint,
    -- the two as people read them
    action      text   not null,
    -- coalesce, skip
    missed      text   not null,
    -- active, paused, removed
    state       text   not null,
    -- every firing up to this moment has been dealt with
    done_until  bigint not null,
    created_by  text   not null,
    created_at  bigint not null
) {{STRICT}};

create unique index schedules_name on schedules (name) where state <> 'removed';

create table schedule_runs (
    id           {{ID}},
    schedule_id  bigint not null,
    -- clock, hand
    origin       text   not null,
    -- null: the clock
    asked_by     text,
    -- running, succeeded, failed, interrupted, skipped
    state        text   not null,
    planned_for  bigint not null,
    -- earlier firings that this row stands for as well, and the first of them
    missed       bigint not null,
    missed_from  bigint,
    started_at   bigint,
    ended_at     bigint,
    -- what came of it, in a sentence
    result       text,
    -- lines
    log          text   not null,
    -- while it runs: by whom, and until when that is believed
    leased_by    text,
    leased_until bigint,
    -- a firing is one run, whichever node finds it
    unique (schedule_id, planned_for)
) {{STRICT}};

-- Runs of a schedule never overlap.
create unique index schedule_runs_running on schedule_runs (schedule_id) where state = 'running';
create index schedule_runs_of on schedule_runs (schedule_id, id);
create index schedule_runs_ended on schedule_runs (ended_at) where ended_at is not null;

-- Why a device is read: activation (its steps say so), silence (a sweep asked about it).
alter table reads add column cause text not null default 'activation';
