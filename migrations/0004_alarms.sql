-- What a person must know or do, and the policies that decided anything, kept as they were.

create table alarms (
    id            {{ID}},
    -- what it is about, one word (src/alarm): with `subject` it is raised once while it stands
    kind          text   not null,
    -- e.g. campaign 7
    subject       text   not null,
    campaign_id   bigint,
    -- what happened, with its numbers, and what to do
    sentence      text   not null,
    remedy        text   not null,
    raised_at     bigint not null,
    -- null while it stands
    ended_at      bigint,
    ended_by      text,
    ended_reason  text
) {{STRICT}};

create unique index alarms_standing on alarms (kind, subject) where ended_at is null;
create index alarms_by_campaign on alarms (campaign_id) where campaign_id is not null;

-- Every set of policy files by which something was decided, by its hash (policy::PolicySet::hash).
create table policy_sets (
    id         {{ID}},
    hash       text   not null unique,
    first_used bigint not null,
    -- JSON, zstd: [{"name", "text", "origin"}], in the order in which they are hashed
    files      {{BLOB}} not null
) {{STRICT}};
