import { cursorRefusal } from '../../lib/postgresql/cursor-query.js';

describe('a cursor', () => {
  it.each([
    'select 1',
    'SELECT * FROM note;',
    'select 1 ; ; -- the end',
    '((select 1))',
    'values (1)',
    'table note',
    '-- update\n/* into */ select 1',
    `select 'insert into', e'\\' update', $$ delete from $$, "merge" from "into"`,
    'select update, delete, n.insert, count(merge) from n',
    'select 1 as into, x.into from x',
    'select (1) update',
    'select * from (select 1) delete where delete.x > 1',
    'with update as (select 1), delete as (select 2) select * from update, delete',
    'with recursive merge as (select 1) select * from merge',
    'with a as (select 1) select (1) update from a',
    'with a (update) as materialized (select 1) table a',
    'select trim(delete from text) from note',
    'select * from note for update',
    'select * from note for no key update of note skip locked',
    'select * from f() with ordinality',
  ])('can be had for %j', (sql) => {
    expect(cursorRefusal(sql, false)).toBeUndefined();
  });

  it.each([
    ['', 'no-query'],
    ['-- select', 'no-query'],
    ['()', 'no-query'],
    ['insert into note values (1) returning id', 'no-query'],
    ['update note set text = 1 returning id', 'no-query'],
    ['show all', 'no-query'],
    ['explain select 1', 'no-query'],
    ['"select" 1', 'no-query'],
    ['select 1; select 2', 'several-statements'],
    ['select 1; /* */ "x"', 'several-statements'],
    ['select * into other from note', 'writes'],
    ['with a as (insert into note values (1) returning *) select * from a', 'writes'],
    ['with a as (delete from note returning *) select * from a', 'writes'],
    ['with a as not materialized (update "note" set x = 1) select 1', 'writes'],
    ['with a as (select 1) delete from note returning *', 'writes'],
    ['with a as (select 1), b as (select 2) update note set x = 1 returning *', 'writes'],
    ['select * from (with a as (delete from note returning *) table a) b', 'writes'],
  ])('cannot be had for %j: %s', (sql, reason) => {
    expect(cursorRefusal(sql, false)).toBe(reason);
  });

  it.each([
    'select * from note for update',
    'select * from note for no key update',
    'select * from note for share nowait',
    'select * from note for key share',
  ])('that is held locks no rows: %j', (sql) => {
    expect(cursorRefusal(sql, true)).toBe('locks-rows');
  });
});
