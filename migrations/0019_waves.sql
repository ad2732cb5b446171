-- Waves (policies/rollout.toml): who goes when is fixed with the plan; how a wave stands, and what was judged of it.

-- JSON: sizes that take the place of the preset's, by the wave's name; null: as the preset has them.
alter table campaigns add column waves text;
-- JSON: the seed and the waves with their sizes and thresholds, as src/campaign/waves/mod.rs says; null: everything goes at once.
alter table plans add column waves text;
-- 1, 2, ... of the plan's waves; null: the last of them, or the plan has none. It never changes, so that no transition pays for its index.
alter table targets add column wave bigint;
create index targets_by_wave on targets (plan_id, wave, device_id) where wave is not null;
-- The wave that the members of a batch are of; null: the plan has none, or it is of several (sent without their keys).
alter table batches add column wave bigint;

-- A wave that has begun.
create table waves (
    plan_id           bigint not null,
    -- 1, 2, ...
    number            bigint not null,
    opened_at         bigint not null,
    -- when nothing of it was queued for the first time: from then on it soaks
    all_sent_at       bigint,
    -- when the next began, or might have
    passed_at         bigint,
    -- go-on, wait, hold, halt, as it was judged last, and why
    verdict           text   not null,
    because           text   not null,
    judged_at         bigint not null,
    -- a person let it go on: who, why, and how many had answered and failed by then, which is not held against it again
    let_go_at         bigint,
    let_go_by         text,
    let_go_reason     text,
    forgiven_answered bigint not null,
    forgiven_failed   bigint not null,
    primary key (plan_id, number)
) {{STRICT}};

-- Each change of a verdict, with the numbers it went by. Nothing is ever updated here.
create table wave_verdicts (
    id      {{ID}},
    plan_id bigint not null,
    wave    bigint not null,
    at      bigint not null,
    verdict text   not null,
    because text   not null,
    -- JSON: src/campaign/health.rs, Numbers
    numbers text   not null
) {{STRICT}};

create index wave_verdicts_by_plan on wave_verdicts (plan_id, id);

-- One at a time takes room under a cap of devices in flight: a row is held until the transaction ends.
create table in_flight_turns (
    name text   not null primary key,
    turn bigint not null
) {{STRICT}};
