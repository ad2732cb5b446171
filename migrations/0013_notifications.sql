-- The outbox of notifications to the teams of our own MPIDs (policies/notify.toml).

-- What is to be told, written in the transaction of what it tells.
create table notifications (
    id          {{ID}},
    -- one word (src/policy/notify.rs)
    kind        text   not null,
    -- what it is about, e.g. campaign 7; of a case its device
    subject     text   not null,
    -- own: every own team; holder: the team of `mpid` alone
    audience    text   not null,
    -- the own MPID registered for the site when it happened; null with `holder`: nobody is told
    mpid        text,
    -- a team that is not told: what is told is that it cannot be reached
    but_not     text,
    -- what happened, and what to do
    sentence    text   not null,
    remedy      text   not null,
    -- JSON, names and whole numbers
    numbers     text   not null,
    happened_at bigint not null,
    -- null until its deliveries were made, of which there may be none
    spread_at   bigint
) {{STRICT}};

create index notifications_to_spread on notifications (id) where spread_at is null;

-- One notification for one team. Bytes and key never change, however often it is sent.
create table deliveries (
    id              {{ID}},
    notification_id bigint not null,
    team            text   not null,
    mpid            text   not null,
    -- the Idempotency-Key, 32 hex digits
    key             text   not null unique,
    -- the JSON that is posted
    body            text   not null,
    -- pending, delivered, given_up
    state           text   not null,
    -- made since it is pending
    attempts        bigint not null,
    -- 0: those behind it wait; 1: the receiver fails at it, and the next is tried; 2: the receiver says no to it
    aside           bigint not null,
    next_attempt    bigint not null,
    last_error      text,
    -- when it became pending: at first, or by `ppmid notify retry`
    pending_since   bigint not null,
    ended_at        bigint,
    unique (notification_id, team)
) {{STRICT}};

create index deliveries_pending on deliveries (team, id) where state = 'pending';
create index deliveries_ended on deliveries (ended_at) where ended_at is not null;
