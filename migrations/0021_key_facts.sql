-- The incident team's queries among a million sites: what is asked of a site lies beside its case, and each order has an index.

-- The site's, as it was loaded last; null where it is not known. Believed only while key_facts says that every case has them.
alter table key_cases add column model text;
alter table key_cases add column region text;
-- Who held its supply on the day they were copied, and the day on which that may be another; null: none that is known.
alter table key_cases add column supplier text;
alter table key_cases add column supplier_until bigint;

-- One row, with id 1: how far the figures and the facts of sites have been brought up to date (src/keys/store/facts.rs).
create table key_facts (
    id           bigint not null primary key,
    -- the last import of sites or registrations that the cases know
    sites_import bigint not null,
    copied_on    bigint not null,
    -- the last import of keys that is counted, and how many sites the transitional tool handled by it
    keys_import  bigint not null,
    handled      bigint not null
) {{STRICT}};

-- With the number: the latest case of a device is one step, whatever is known of the table.
drop index key_cases_by_device;
create index key_cases_by_device on key_cases (device_id, id);
create index key_cases_supplier_until on key_cases (supplier_until) where supplier_until is not null;
create index key_cases_by_supplier on key_cases (supplier, id);
create index key_cases_by_region on key_cases (region, id);
create index key_cases_by_cohort on key_cases (cohort, state, previous);
-- The case before it on the same device; of cases from before there was such a column it is worked out here.
update key_cases set previous = (select max(x.id) from key_cases x where x.device_id = key_cases.device_id and x.id < key_cases.id)
    where previous is null;
create index key_cases_followed on key_cases (previous) where previous is not null;
create index key_cases_in_order_of_next on key_cases ((coalesce(next_attempt, 9223372036854775807)), id);
create index key_cases_in_order_of_last on key_cases ((coalesce(last_attempt, 9223372036854775807)), id);
create index key_cases_in_order_of_attempts on key_cases (attempts, id);
-- Of each state the cases in order of what is due, and with the ages that are counted.
create index key_cases_of_state_by_next on key_cases (state, (coalesce(next_attempt, 9223372036854775807)), id);
drop index key_cases_by_state;
create index key_cases_by_state on key_cases (state, first_seen, ended_at);

-- PostgreSQL looks for a piece of text with capitals folded; SQLite's LIKE sees none, and computes these only where they are asked for.
alter table key_cases add column error_folded text generated always as (lower(last_error)) {{GENERATED}};
alter table key_events add column text_folded text generated always as (lower(text)) {{GENERATED}};
