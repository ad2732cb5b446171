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
create index key_cases_by_cohort on key_cases (cohort, state, previous);
create index key_cases_in_order_of_next on key_cases ((coalesce(next_attempt, 9223372036854775807)), id);
create index key_cases_in_order_of_last on key_cases ((coalesce(last_attempt, 9223372036854775807)), id);
create index key_cases_in_order_of_attempts on key_cases (attempts, id);
create index key_cases_open_by_age on key_cases (first_seen) where state in ('retrying', 'investigating');
create index key_cases_resolved_by_time on key_cases (ended_at) where state = 'resolved';
