-- What anomaly detection at DCC counts, and what it quarantined.

-- Each posting that left or may have left, as far as a threshold may still count it (policies/thresholds.toml): written in the transaction
-- that begins the attempt, before the bytes leave; taken out again where it is certain that nothing left. The bytes are in outbox_posts.
create table adt_ledger (
    originator        bigint not null,
    counter           bigint not null,
    attempt           bigint not null,
    service_reference text   not null,
    -- that the request names
    devices           bigint not null,
    posted_at         bigint not null,
    -- by then DCC had it, if it has it at all: until what came of it is known, when its poster is taken to be dead
    reached_by        bigint not null,
    primary key (originator, counter, attempt)
) {{STRICT}};

-- Read alone, whatever the day's number of reads is.
create index adt_ledger_by_time on adt_ledger (service_reference, reached_by, originator, counter, devices);

-- One at a time counts and posts a type of request: a row is held until the transaction ends.
create table adt_turns (
    service_reference text   not null primary key,
    turn              bigint not null
) {{STRICT}};

-- What was posted before this step, so that a threshold counts it too.
insert into adt_ledger (originator, counter, attempt, service_reference, devices, posted_at, reached_by)
select p.originator, p.counter, p.attempt, o.service_reference, coalesce(b.size, 1), p.posted_at, coalesce(p.ended_at, p.posted_at)
from outbox_posts p
join outbox o on o.originator = p.originator and o.counter = p.counter
left join batches b on b.id = o.batch_id
where p.outcome is null or p.outcome <> 'not_sent';

-- Each quarantine event that DCC told of, once.
create table quarantines (
    id                {{ID}},
    originator        bigint not null,
    counter           bigint not null,
    target            bigint not null,
    -- QuarantineEventRef
    event_ref         text   not null,
    -- the schema's: ADUserThresholdBreach, ADDCCThresholdBreach, ADAttributeLimitsBreach
    breach            text   not null,
    -- standing (a person must decide), processed, deleted; foreign: of another system under our User ID, listed only
    state             text   not null,
    -- null: of a request that is not in the outbox
    service_reference text,
    batch_id          bigint,
    -- inbox.id of the alert that told of it first
    message           bigint not null,
    told_at           bigint not null,
    decided_at        bigint,
    decided_by        text,
    reason            text,
    unique (originator, counter, event_ref)
) {{STRICT}};

create index quarantines_standing on quarantines (id) where state = 'standing';
