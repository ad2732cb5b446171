-- What an auditor asks: who imported a file that a dead process left half applied, and until when a registration ran when it was decided by.

-- Who imported the file, while the audit trail has no event of it yet.
alter table imports add column unaudited_by text;

-- The end that the registration had which the decision went by; null: open, or before this column was there.
alter table targets add column registration_to bigint;
alter table target_history add column registration_to bigint;

-- What the file said before the first message of DCC's that said otherwise: a decision as of an earlier moment goes by it. Null: as the row has it.
alter table sites add column firmware_before text;
alter table sites add column status_before text;
