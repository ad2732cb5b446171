-- Every decision is evidence: what it went by, and what each device was before each change.

-- What moved the row here last: null is the plan itself; else as src/target/store/history.rs says.
alter table targets add column cause text;
-- Of what: a batch, a message of the inbox, a top-up, as the cause says.
alter table targets add column cause_ref bigint;
-- The policies it was decided by (policy_sets.id).
alter table targets add column policy_set bigint;
-- The entry of the Central Products List that it went by (cpl_facts.id).
alter table targets add column cpl_fact bigint;
-- The key result that it went by: its attempted_at.
alter table targets add column key_result_at bigint;
-- What the deciding rule went by, where it stands against the site.
alter table targets add column fact text;

alter table plans add column policy_set bigint;

-- Entries of the Central Products List as they were when something was decided by them.
create table cpl_facts (
    id         {{ID}},
    -- JSON, the keys of the cpl file
    entry      text   not null unique,
    first_used bigint not null
) {{STRICT}};

-- A target's row as it was before each change; the row in `targets` is the last of the story. Nothing is updated or deleted here but
-- with the whole plan.
create table target_history (
    plan_id               bigint not null,
    device_id             bigint not null,
    version               bigint not null,
    state                 text   not null,
    reason                text   not null,
    batch_id              bigint,
    attempts              bigint not null,
    registration_supplier text,
    registration_from     bigint,
    answer_by             bigint,
    detail                text,
    updated_at            bigint not null,
    cause                 text,
    cause_ref             bigint,
    policy_set            bigint,
    cpl_fact              bigint,
    key_result_at         bigint,
    fact                  text,
    primary key (plan_id, device_id, version)
) {{CLUSTERED}};
