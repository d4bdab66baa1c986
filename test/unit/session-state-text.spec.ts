import { holdsCursor, remainsOf, setsSession } from '../../lib/postgresql/session-state-text.js';

describe('what a text leaves in the session of the server', () => {
  it.each([
    'select 1',
    'select temperature from reading',
    'select "temp" from "note"',
    `insert into "note" ("temp") values ('create temp table x')`,
    `select set_config('a.b', 'c', true)`,
    `select pg_catalog.set_config('a.b', 'it''s ) , false', TRUE ), set_config('a.c', lower('X'), true)`,
    'select pg_advisory_xact_lock(1)',
    'select pg_advisory_unlock(1)',
    `select * from pg_locks where locktype = 'advisory'`,
    'create temp table a on commit drop as select 1',
    'update plant set seed = 1',
    'insert into plant (seed) values (1) on conflict (seed) do update set seed = excluded.seed',
    `insert into note (text) values ('; set seed = 1')`,
    `select * from pg_replication_slots where slot_name = 'seed'`,
    'create temp table a (id int) on commit drop; create temporary table b (id int) ON COMMIT DROP',
  ])('F7: nothing: %s', (sql) => {
    expect(remainsOf(sql)).toBe('nothing');
  });

  it.each([
    `select set_config('a.b', 'c', false)`,
    `select "set_config"('a.b', 'c', false)`,
    `select SET_CONFIG('a.b', 'c', is_local) from t`,
    `select set_config('a.b', 'true', false), set_config('a.b', 'c', true)`,
    `select set_config('a.b', set_config('a.c', 'd', false), true)`,
    `select set_config('a.b', 'c', not true)`,
    `select set_config('a.b', 'c', (select true and false))`,
    `select set_config('a.b', 'c'`,
    `select set_config /* ( ,true) */ ('a.b', 'c', false)`,
    `select set_config -- (a,b,true)\n ('a.b', 'c', false)`,
    `select set_config('a.b', $$,true)$$, false)`,
    `select set_config('a.b', E'\\',true)', false)`,
    `update pg_settings set setting = '1 min' where name = 'statement_timeout'`,
    'select pg_advisory_lock(1)',
    'select pg_try_advisory_lock_shared(1)',
    'create temp table a (id int)',
    'CREATE OR REPLACE LOCAL TEMPORARY VIEW a AS SELECT 1',
    'create/* so that */temp -- it is\n table a (id int)',
    'select 1 into temp a',
    'create function pg_temp.f() returns int language sql return 1',
    'create temp table a on commit drop as select 1; create temp table b (id int)',
    `create temp table a (id text default 'on commit drop')`,
  ])('F7: what DISCARD ALL undoes: %s', (sql) => {
    expect(remainsOf(sql)).toBe('changed');
  });

  it.each([
    'select setseed(0.5)',
    `select dblink_connect('a', 'b')`,
    'set seed = 0.5',
    'SET SESSION Seed TO 0.5',
    'set local seed = 0.5',
    'set local /* for a while */ "seed" = 0.5',
    'select 1; set seed to 0.5',
    `select set_config('seed', '0.5', true)`,
    `update pg_settings set setting = '0.5' where name = 'seed'`,
    'do $$ begin set seed = 0.5; end $$',
    'do language plpgsql $x$ begin set local seed to 0.5; end $x$',
    `select pg_create_physical_replication_slot('a', true, true)`,
    `select pg_create_logical_replication_slot('a', 'test_decoding', temporary => true)`,
    `select pg_copy_physical_replication_slot('a', 'b', true)`,
    `select pg_replication_origin_session_setup('a')`,
    `select pg_backup_start('a')`,
  ])('F7: what ends with the connection: %s', (sql) => {
    expect(remainsOf(sql)).toBe('lasting');
  });

  it.each([
    [`set a.b = 'c'`, true],
    ['SET ROLE x', true],
    ['set session authorization x', true],
    ['set session characteristics as transaction read only', true],
    ['begin; set local a.b = 1; set a.b = 2', true],
    [`select 1; /* ; set local */ set a.b = 'set local'`, true],
    [`set local a.b = '; set x = 1'`, false],
    ['set /* not for long */ local a.b = 1', false],
    ['SET TRANSACTION READ ONLY', false],
    [`set local.x = '1'`, true],
    [`set transaction.x = '1'`, true],
    ['begin; set local a.b = 1; update t set x = 1', false],
    ['no such text', true],
  ])('F7: whether %j sets beyond its transaction: %p', (sql, isSet) => {
    expect(setsSession(sql)).toBe(isSet);
  });

  it.each([
    ['declare a cursor with hold for select 1', true],
    ['declare a cursor WITH /* on */ HOLD for select 1', true],
    [`declare a cursor for select 'with hold'`, false],
    ['declare db_context_cursor no scroll cursor with hold for select 1', false],
    ['declare db_context_cursor_mine cursor with hold for select 1', true],
  ])('F7: whether %j holds a cursor: %p', (sql, isHeld) => {
    expect(holdsCursor(sql)).toBe(isHeld);
  });

  it('F7: a text of megabytes is looked at once, and one that is suspect is not read through', () => {
    const startedAt = performance.now();
    expect(remainsOf(`insert into note values ('${"'' into temp,".repeat(800_000)}')`)).toBe(
      'changed',
    );
    expect(remainsOf(`insert into note values ('${'into '.repeat(2_000_000)}')`)).toBe('nothing');
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });
});
