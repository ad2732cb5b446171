-- What became of a message lies beside it: a message has most of a kilobyte, and to write it all again with each mark cost more than all else
-- that settling writes. A message's own row is not written again, but where one that was refused is verified later.

create table inbox_marks (
    -- inbox.id
    id         bigint not null primary key,
    -- as src/gateway/inbox/entry.rs says
    state      text   not null,
    note       text,
    settled_at bigint,
    -- what was read of it when it came (src/gateway/inbox/gist.rs), while it is new; null: settling reads its body
    gist       {{BLOB}}
) {{STRICT}};

insert into inbox_marks (id, state, note, settled_at) select id, state, note, settled_at from inbox order by id;

drop index inbox_new;
drop index inbox_waiting;
alter table inbox drop column state;
alter table inbox drop column note;
alter table inbox drop column settled_at;

create index inbox_new on inbox_marks (id) where state = 'new';
-- What a person or the forwarder has to look at: few. (Spelled with `or`: from one of its terms alone SQLite knows the condition.)
create index inbox_waiting on inbox_marks (state, id)
    where state = 'unmatched' or state = 'failed' or state = 'rejected' or state = 'forwarding';
