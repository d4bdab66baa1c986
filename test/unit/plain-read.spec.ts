import { isPlainRead } from '../../lib/postgresql/plain-read.js';

describe('a plain read', () => {
  it.each([
    'select 1',
    '  SELECT "a0".* FROM "account" AS "a0" WHERE "a0"."id" = 1 LIMIT 1',
    'select count(*) as "count" from "note" as "n0"',
    `select * from note where text in ('update', 'for', 'x; delete')`,
    `select * from note where text = 'it''s ; nextval('`,
    `select * from note where text = E'back\\'slash; delete'`,
    'select "for", "into", "nextval" from "update"',
    '(select 1) union (select 2)',
    'with "cte" as (select 1) select * from "cte"',
    'values (1), (2)',
    'table note',
    `select coalesce(lower("text"), '') from note order by length(text) desc`,
    'select sum(id) over (partition by text) from note',
    'select cast(id as numeric(10, 2)) from note',
    `select current_setting('app.tenant', true)`,
    'select "n0"."into", n0.text[1:2], id::text from note n0 where id <> all (array[1, 2])',
  ])('is %s', (sql) => {
    expect(isPlainRead(sql)).toBe(true);
  });

  it.each([
    ['', 'nothing'],
    ['insert into note (text) values (1)', 'a write'],
    ['update note set text = 1', 'a write'],
    ['select * from note for update', 'a lock'],
    ['select * from note for no key update skip locked', 'a lock'],
    ['select * into copy from note', 'a new table'],
    ['with gone as (delete from note returning *) select * from gone', 'a write inside'],
    [`select nextval('note_id_seq')`, 'a function that writes'],
    ['select pg_advisory_xact_lock(1)', 'a function that locks'],
    [`select set_config('a.b', 'c', false)`, 'a function that sets'],
    ['select my_function (1)', 'a function that nobody knows'],
    ['select app.lower(1)', 'one of another schema'],
    ['select app . lower (1)', 'one of another schema'],
    ['select "app".lower(1)', 'one of another schema'],
    ['select li\u212Ae(1)', 'a name with another K'],
    ['select u&"lower"', 'a name that is written in another way'],
    ['select "lower"(1)', 'a quoted function'],
    ['select größe(1)', 'a name beyond ASCII'],
    ['select 1; delete from note', 'two statements'],
    ['select 1;', 'a second, empty one'],
    ['select * from note where id = $1', 'a placeholder'],
    ['select $$nextval($$', 'a quoted text of another kind'],
    ['select 1 -- for update', 'a comment'],
    ['select lower/* */(1)', 'a comment'],
    [`select 'open`, 'a text that does not end'],
    ['declare c cursor for select 1', 'a cursor'],
    ['fetch forward 1 from c', 'a cursor'],
    ['explain analyze insert into note values (1)', 'an explanation'],
    ['savepoint a', 'a savepoint'],
    ['set local role a', 'a setting'],
    ['call a()', 'a procedure'],
    ['lock table note', 'a lock'],
    ['show all', 'what is not known'],
  ])('is not %s: %s', (sql) => {
    expect(isPlainRead(sql)).toBe(false);
  });
});
