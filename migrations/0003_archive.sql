-- The archive: every message in and out is kept compressed, with its verdict, and found by request, device, kind and time.
-- Rows of the first schema stay as they are: their body is plain (encoding 0), without a digest, and their size is the body's.

-- SHA-256 of the canonical form that was verified: by it a kept message is read without its certificate. Null where there is
-- none: rows of the first schema, what was refused, an unsigned refusal.
alter table inbox add column digest {{BLOB}};
-- How the body is kept (src/gateway/archive.rs): 0 plain, 1 zstd with dictionary 1.
alter table inbox add column encoding bigint not null default 0;
-- Bytes as received; null: those of the body.
alter table inbox add column size bigint;
-- post (posted to our receiver) or reply (the answer to a POST of ours)
alter table inbox add column source text not null default 'post';
-- The device it is about, where it is one.
alter table inbox add column device_id bigint;
-- The counter of request_id, as 64 bits: what the index below needs of it.
alter table inbox add column request_counter bigint;
-- Alerts it stands for (ThrottledAlertCount).
alter table inbox add column stands_for bigint not null default 1;
-- Of a message that was refused: the word it is counted under. Its state is `rejected` until somebody looks.
alter table inbox add column reason text;
-- Of a message that goes on to another adapter: attempts so far, and when the next is due.
alter table inbox add column forward_attempts bigint not null default 0;
alter table inbox add column forward_after bigint;

-- A RequestID is two EUI-64s of 23 characters, each with a colon, and the counter; one of more than 18 digits is not ours.
update inbox set request_counter = cast(substr(request_id, 49) as bigint) where length(request_id) between 49 and 66;

create index inbox_by_request on inbox (request_counter, id) where request_counter is not null;
create index inbox_by_device on inbox (device_id) where device_id is not null;
create index inbox_by_time on inbox (received_at);
-- What a person or the forwarder has to look at: few. (Spelled with `or`: from one of its terms alone SQLite knows the condition.)
create index inbox_waiting on inbox (state, id)
    where state = 'unmatched' or state = 'failed' or state = 'rejected' or state = 'forwarding';
-- Nearly every message is of this one kind, and is found by the others' absence from this index.
create index inbox_rare on inbox (kind, id) where kind <> 'SMETS1CHFirmwareNotification';

-- Each posting of a request, and what came of it. The bytes posted are the first `prefix` bytes of the request's first posting,
-- then the body: a resend differs in its signature alone.
create table outbox_posts (
    originator bigint not null,
    counter    bigint not null,
    -- 1, 2, 3 ...: outbox.attempts when it was posted
    attempt    bigint not null,
    posted_at  bigint not null,
    prefix     bigint not null,
    encoding   bigint not null,
    -- bytes of the body before compression
    size       bigint not null,
    body       {{BLOB}} not null,
    -- null (under way, or its poster died), answered, refused (without a signature), unknown, rejected (by HTTP), not_sent
    outcome    text,
    note       text,
    ended_at   bigint,
    -- the reply, if one was read: inbox.id
    reply_id   bigint,
    primary key (originator, counter, attempt)
) {{STRICT}};
