import { writesRows } from '../../lib/postgresql/writes-rows.js';

describe('SQL that writes rows', () => {
  it.each([
    `insert into note (text) values ('a')`,
    '  UPDATE "note" SET text = 1',
    'delete from note',
    'merge into note using other on true when matched then do nothing',
    '/* of a tool */ delete from note',
    '-- of a tool\ninsert into note default values',
    'select 1; insert into note default values',
    'with a as (insert into note default values returning id) table a',
    'with a as (select 1), b as (delete from only note returning *) select * from b',
    'with a as (select 1) insert into note select * from a',
    'with a as (select 1) update "note" set text = 1',
    'with a as (update note n set text = 1 returning *) select * from a',
    'with a as (select 1) merge into note using a on true when matched then delete',
  ])('is %s', (sql) => {
    expect(writesRows(sql)).toBe(true);
  });

  it.each([
    '',
    'select 1',
    `select 'insert into note'`,
    `with x as (select 1) select 'delete from y' from x`,
    `with x as (select '(insert into y)') select $$(update z set a = 1)$$ from x`,
    'with x as (select 1 /* (delete from y) */) table x',
    'with x as (select * from note for update) select * from x',
    'with x as (select * from (values (1)) v(delete)) select "insert into" from x',
    'with x as (select v.update from v(update) where (delete) is null) table x',
    'select * from note for no key update',
    'select 1 as "update"; select $1',
    'explain select 1',
    'begin; select 1; commit',
    'create table insert_into (id int)',
  ])('is not %s', (sql) => {
    expect(writesRows(sql)).toBe(false);
  });
});
