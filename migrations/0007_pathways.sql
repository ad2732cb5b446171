-- What a plan's report says beside its counts (JSON, src/campaign/report.rs); null in plans made before.
alter table plans add column report text;
