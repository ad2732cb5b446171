-- A campaign pins the policies it was approved with.

-- The set (policy_sets.id), whole.
alter table campaigns add column policy_set bigint;
-- The hash of what matters of it to this campaign (src/policy/compare.rs): while what is in force has another, nothing new is sent.
alter table campaigns add column policy_binding text;
