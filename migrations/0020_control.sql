-- What people take out of a campaign for good, and until when an approval lets new things be sent.

create table campaign_exclusions (
    campaign_id bigint not null,
    device_id   bigint not null,
    -- in the words of who took it out
    reason      text   not null,
    excluded_by text   not null,
    excluded_at bigint not null,
    primary key (campaign_id, device_id)
) {{CLUSTERED}};

-- Null: approved before approvals ended (rollout.toml, approval_valid).
alter table campaigns add column approved_until bigint;
