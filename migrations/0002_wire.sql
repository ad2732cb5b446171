-- How the way to DCC is, as the node that does the work last saw it: one row at most. It is for people; the circuit itself
-- (src/gateway/circuit.rs) lives in memory, so that nothing a dead process left behind keeps a new one waiting.

create table dcc_link (
    -- 'dcc'
    name         text   not null primary key,
    -- untried (the node has posted nothing yet), up, down (nothing is posted until next_try_at)
    state        text   not null,
    -- since when it is so
    since        bigint not null,
    -- failures in a row that say DCC is down
    failures     bigint not null,
    last_error   text,
    next_try_at  bigint,
    -- when the row was last written
    seen_at      bigint not null
) {{STRICT}};
