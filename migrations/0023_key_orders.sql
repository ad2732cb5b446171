-- The cases of a cohort and of a team in order of what is due: a page of them is searched, not sorted.
create index key_cases_of_cohort_by_next on key_cases (cohort, (coalesce(next_attempt, 9223372036854775807)), id);
