-- Sites that change hands while a campaign runs: what DCC's alerts say of a loss, and what a campaign gains.

-- A ChangeOfSupplier alert that said that a site is another supplier's. It ends the own registration that covers its day, until an
-- import says what holds from that day on. An alert never gives a site.
create table supply_notices (
    id          {{ID}},
    mpan        bigint not null,
    -- the device that the alert named
    device_id   bigint not null,
    -- the London day it came on: the alert itself has no date
    day         bigint not null,
    received_at bigint not null,
    -- the message (inbox.id)
    message_id  bigint not null,
    -- the import (imports.id) that said more; null while the notice stands
    answered_by bigint
) {{STRICT}};

create unique index supply_notices_standing on supply_notices (mpan, day) where answered_by is null;
create unique index supply_notices_by_message on supply_notices (message_id, mpan);

-- Sites that a campaign takes in after it was started.
create table top_ups (
    id          {{ID}},
    campaign_id bigint not null references campaigns (id),
    plan_id     bigint not null,
    -- proposed (waits for a second person), applying (its sites are being taken in), applied, void
    state       text   not null,
    -- a person, or `policy`
    asked_by    text   not null,
    asked_at    bigint not null,
    -- the sites found, and a hash over their Device IDs in order
    found       bigint not null,
    candidates  text   not null,
    -- JSON: {"REASON": n}, as they were found
    by_reason   text   not null,
    -- null: the approved plan allowed it
    approved_by text,
    approved_at bigint,
    -- the sites taken in, once it is applied
    taken       bigint not null,
    ended_at    bigint,
    note        text
) {{STRICT}};

create index top_ups_by_campaign on top_ups (campaign_id, id);
create unique index top_ups_proposed on top_ups (campaign_id) where state = 'proposed';

create table top_up_sites (
    top_up_id bigint not null references top_ups (id),
    device_id bigint not null,
    -- what was decided when it was to be taken in; null until then
    reason    text,
    primary key (top_up_id, device_id)
) {{CLUSTERED}};

create index top_up_sites_open on top_up_sites (top_up_id, device_id) where reason is null;
