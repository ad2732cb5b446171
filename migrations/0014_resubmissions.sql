-- Due attempts of our own, where retry.toml says `resubmit = true`: sites whose key is missing, in batches of their own.

-- Its members were held for a missing key, and sent all the same: the rules KEYS_MISSING and KEYS_UNKNOWN are left out for them.
alter table batches add column resubmission {{BOOL}} not null default false;

-- A line of a re-run request, or, where it has a batch, a resubmission (its `run` is 0): of either a case has at most one that is open
-- (key_requests_open), and both are of one budget. A resubmission that reached no device leaves no line. Its `outcome` may also be
-- activated, silent (no news in time) or unsuccessful (DCC refused or dropped it, or the device failed).
alter table key_requests add column batch_id bigint;
-- Of a resubmission: when a person had asked for the attempt, so that it is due again where it reached no device.
alter table key_requests add column retry_at bigint;

create index key_requests_by_batch on key_requests (batch_id) where batch_id is not null;
create index key_requests_resubmitted on key_requests (id) where batch_id is not null and ended_at is null;

-- Of an attempt of the kind `resubmission` (its outcome: sent): the batch.
alter table key_attempts add column batch_id bigint;
