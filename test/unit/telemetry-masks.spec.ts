import { SyntaxErrorException, UniqueConstraintViolationException } from '@mikro-orm/core';
import { TransactionAbortedError, UnexpectedRollbackError } from 'nestjs-db-context';

import { errorInfoOf } from '../../lib/telemetry/error-info.js';
import { maskedSql } from '../../lib/telemetry/masked-sql.js';

describe('what events show of a statement', () => {
  it.each([
    ["select 'a''b', E'it\\'s', $$x$$, U&'d'", 'select ?, ?, ?, ?'],
    ['select 1, 1.5, .5, 1e10, 0x1F, -2', 'select ?, ?, .?, ?, ?, -?'],
    ['select "a 1" from t1 where id = $1', 'select "a 1" from t1 where id = $1'],
    ['select 1 -- secret\n, 2 /* secret */', 'select ? \n, ?'],
    ["insert into t values ('secret", 'insert into t values (?'],
    ['limit 5)', 'limit ?)'],
    ['set local app.user to secret', 'set local app.user to ?'],
    ['alter role app set app.key to secret', 'alter role app set app.key to ?'],
    [
      'ALTER DATABASE shop SET app.key = secret; select 1',
      'ALTER DATABASE shop SET app.key = ?; select ?',
    ],
    [
      'create function f() returns int set app.key = secret',
      'create function f() returns int set app.key = ?',
    ],
    // Each form of SET in the grammar of PostgreSQL, see `VariableSetStmt` in its gram.y.
    ['SET app.user = secret, "another"', 'SET app.user = ?, ?'],
    ['set session app.user to default', 'set session app.user to ?'],
    ['set local "app.user" = on', 'set local "app.user" = ?'],
    ['set local app.user /* = */ to /* secret */ secret', 'set local app.user  to  ?'],
    ['set time zone secret', 'set time zone ?'],
    ['SET LOCAL TIME ZONE "Secret/City"', 'SET LOCAL TIME ZONE ?'],
    ["set session time zone 'Secret/City'", 'set session time zone ?'],
    ['set time zone -7', 'set time zone -?'],
    ['set names secret', 'set names ?'],
    ["set local names 'secret'", 'set local names ?'],
    ['set role secret', 'set role ?'],
    ['set local role "secret"', 'set local role ?'],
    ['set session role secret', 'set session role ?'],
    ['set role to secret', 'set role to ?'],
    ['set role = secret', 'set role = ?'],
    ['set session authorization secret', 'set session authorization ?'],
    ['SET SESSION SESSION AUTHORIZATION "secret"', 'SET SESSION SESSION AUTHORIZATION ?'],
    ['set local session authorization secret', 'set local session authorization ?'],
    ["set schema 'secret'", 'set schema ?'],
    ["set catalog 'secret'", 'set catalog ?'],
    ["set transaction snapshot 'secret'", 'set transaction snapshot ?'],
    ['begin; set role secret; select a', 'begin; set role ?; select a'],
    ['alter system set app.key = secret', 'alter system set app.key = ?'],
    ['alter role app set role secret', 'alter role app set role ?'],
    [
      'alter user app in database shop set time zone secret',
      'alter user app in database shop set time zone ?',
    ],
    ['alter function f() set role = secret', 'alter function f() set role = ?'],
    // These forms have no value.
    [
      'set transaction isolation level serializable, read only',
      'set transaction isolation level serializable, read only',
    ],
    [
      'set session characteristics as transaction read write',
      'set session characteristics as transaction read write',
    ],
    ['set constraints role, names deferred', 'set constraints role, names deferred'],
    ['set xml option document', 'set xml option document'],
    ['set local app.user from current', 'set local app.user from current'],
    ['alter table a set schema b', 'alter table a set schema b'],
    // These are names, which stay everywhere.
    ['update note set text = other', 'update note set text = other'],
    ['alter table a rename column b to c', 'alter table a rename column b to c'],
    ['alter table a alter b set default now()', 'alter table a alter b set default now()'],
    // With `standard_conforming_strings = off` the text goes on behind such a quote.
    [String.raw`select 1, 'it\'s secret', 'x'`, 'select ?, ?'],
    [String.raw`select 'a\''secret' or 'b'`, 'select ?'],
    [String.raw`select 'a\\', 'b'`, 'select ?, ?'],
  ])('O1: has no value: %s', (sql, masked) => {
    expect(maskedSql(sql)).toBe(masked);
  });
});

describe('what events show of an error', () => {
  const refused = (code: string, message: string): Error =>
    Object.assign(new Error(message), { code, severity: 'ERROR', detail: 'Key (a)=(secret)' });

  it('O1: has no value that the server quotes', () => {
    const error = refused('22P02', 'invalid input syntax for type integer: "a "secret""');
    expect(errorInfoOf(error)).toEqual({
      name: 'Error',
      code: '22P02',
      message: 'invalid input syntax for type integer: "?"',
    });
  });

  it('O1: has no text of the statement, which MikroORM puts before the message', () => {
    const server = refused('42601', 'syntax error at or near "secret"');
    const error = new SyntaxErrorException(
      Object.assign(new Error(`select 'secret' x - ${server.message}`), { cause: server }),
    );
    expect(errorInfoOf(error).message).not.toContain('secret');
  });

  it('O1: has no text of the statement where an error of the library quotes that of MikroORM', () => {
    const server = refused('23505', 'duplicate key value violates unique constraint "note_key"');
    const cause = new UniqueConstraintViolationException(
      Object.assign(new Error(`insert into note values ('secret') - ${server.message}`), {
        cause: server,
      }),
    );
    const { message } = errorInfoOf(new UnexpectedRollbackError('default', 'failed-flush', cause));
    expect(message).toMatch(/\(duplicate key value violates unique constraint "note_key"\)\.$/);
  });

  it('O1: has no value where an error of the library quotes it', () => {
    const error = new TransactionAbortedError('default', refused('22P02', 'no integer: "secret"'));
    expect(errorInfoOf(error)).toMatchObject({ code: 'TRANSACTION_ABORTED' });
    expect(errorInfoOf(error).message).not.toContain('secret');
  });
});
