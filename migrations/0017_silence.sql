-- What follows from silence (policies/steps.toml): a device that is silent past its deadline is asked which version it runs, and sent
-- again, a counted number of times, where that is not the image's.

-- The batch whose silence waits for this read to say what follows; null: nobody does.
alter table reads add column open_for bigint;
-- Of one that is waited for and was not asked yet: when it is given up.
alter table reads add column ask_by bigint;

create index reads_silent on reads (state, device_id) where open_for is not null;

-- How often it was queued again because it was silent and ran what it ran; a person's retry begins anew.
alter table targets add column retries bigint not null default 0;
-- Of what is queued: it is not sent before.
alter table targets add column not_before bigint;

-- How long each stage of an upgrade took, counted: the devices of a plan whose time falls into a bucket (src/campaign/latency.rs).
create table stage_latencies (
    plan_id bigint not null,
    -- delivered (from accepted), activated (from sent)
    stage   text   not null,
    bucket  bigint not null,
    devices bigint not null,
    primary key (plan_id, stage, bucket)
) {{CLUSTERED}};
