-- The ledger of missing keys: cases with their timetable and their people, every attempt, every re-run request, every event.

-- The device's case before this one: an episode that ended, and came again.
alter table key_cases add column previous bigint;
-- When this program took the case up: its age counts from here.
alter table key_cases add column opened_at bigint;
-- The site's, as it was when the case was last looked at; null where the site is not known.
alter table key_cases add column cohort text;
alter table key_cases add column assignee text;
alter table key_cases add column team text;
-- Of a closed case: one of closing_reasons in retry.toml.
alter table key_cases add column closed_reason text;
-- While it is retried: from then on it is a person's (src/keys/timetable.rs).
alter table key_cases add column gives_up_at bigint;
-- A person asked for an attempt now; null again once it is asked for.
alter table key_cases add column retry_at bigint;

update key_cases set opened_at = coalesce(last_attempt, first_seen);

create index key_cases_due on key_cases (next_attempt, id) where state in ('retrying', 'investigating');
create index key_cases_giving_up on key_cases (gives_up_at, id) where state = 'retrying';
create index key_cases_by_age on key_cases (first_seen, id);
create index key_cases_by_incident on key_cases (incident, id) where incident is not null;
create index key_cases_by_assignee on key_cases (assignee, id) where assignee is not null;

-- What was tried, and what came of it. Nothing is updated here but what an attempt came to.
create table key_attempts (
    case_id    bigint not null,
    at         bigint not null,
    -- requested (a re-run), result (of the tool, imported), message (DCC said so), hand
    kind       text   not null,
    -- updated, failed, investigating; of a requested re-run: asked
    outcome    text   not null,
    detail     text,
    -- the message of the inbox that said so
    message_id bigint,
    -- null: the engine, or DCC
    who        text,
    primary key (case_id, at, kind)
) {{CLUSTERED}};

-- A line of a re-run request: one file for DCC's service desk has one `run`.
create table key_requests (
    id           {{ID}},
    run          bigint not null,
    case_id      bigint not null,
    device_id    bigint not null,
    -- the rule of retry.toml that put it there
    rule         text   not null,
    requested_at bigint not null,
    requested_by text   not null,
    -- null while no result answers it
    ended_at     bigint,
    -- updated, failed, investigating (a result came), lapsed (none did in time), withdrawn (its case ended otherwise)
    outcome      text
) {{STRICT}};

create unique index key_requests_open on key_requests (case_id) where ended_at is null;
create index key_requests_by_run on key_requests (run, id);
create index key_requests_by_case on key_requests (case_id);
create index key_requests_by_time on key_requests (requested_at);

-- What people and the engine did to a case, and what was noted.
create table key_events (
    id      {{ID}},
    case_id bigint not null,
    at      bigint not null,
    who     text   not null,
    -- as src/keys/case.rs says
    kind    text   not null,
    text    text   not null
) {{STRICT}};

create index key_events_by_case on key_events (case_id, id);
create index key_events_by_time on key_events (kind, at);
