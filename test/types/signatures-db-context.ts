// What tsc must accept, infer and refuse of DbContext; nothing here runs.
import type { EntityManager as CoreEntityManager } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { INestApplicationContext } from '@nestjs/common';
import { expectTypeOf } from 'expect-type';
import { DbContext, type RunAllResults, type TransactionClient } from 'nestjs-db-context';
import type { PoolClient } from 'pg';
import Cursor from 'pg-cursor';

import { Note } from '../support/note.entity.js';

export function found(app: INestApplicationContext): void {
  expectTypeOf(app.get(DbContext)).toEqualTypeOf<DbContext>();
}

export function runs(dbContext: DbContext): void {
  for (const run of ['run', 'runInNewContext'] as const) {
    expectTypeOf(dbContext[run](() => 1)).toEqualTypeOf<Promise<number>>();
    expectTypeOf(dbContext[run](async () => 'a')).toEqualTypeOf<Promise<string>>();
    expectTypeOf(dbContext[run](() => undefined)).toEqualTypeOf<Promise<undefined>>();
    // The policy is given what the callback resolves to.
    void dbContext[run](async () => ({ ok: true }), {
      commitOn: (result) => {
        expectTypeOf(result).toEqualTypeOf<{ ok: boolean }>();
        return result.ok;
      },
      retry: { attempts: 3, backoffMs: 0 },
    });
    // @ts-expect-error -- the policy answers with a boolean
    void dbContext[run](() => 1, { commitOn: () => 'yes' });
    // @ts-expect-error -- a context has no isolation level; its transactions do
    void dbContext[run](() => 1, { isolationLevel: 'serializable' });
    // @ts-expect-error -- a callback, not its result
    void dbContext[run](Promise.resolve(1));
  }
}

export function runsMany(dbContext: DbContext, work: readonly (() => Promise<number>)[]): void {
  expectTypeOf(dbContext.runAllInNewContexts([() => 1, async () => 'a'])).resolves.toEqualTypeOf<
    [number, string]
  >();
  expectTypeOf(dbContext.runAllInNewContexts(work)).resolves.toExtend<readonly number[]>();
  expectTypeOf(dbContext.runAllInNewContexts([])).resolves.toEqualTypeOf<[]>();
  expectTypeOf<RunAllResults<readonly [() => Promise<number>, () => string]>>().toEqualTypeOf<
    [number, string]
  >();
  // @ts-expect-error -- functions, so that they start when there is room, not promises that run
  void dbContext.runAllInNewContexts([Promise.resolve(1)]);
}

export function sessions(dbContext: DbContext): void {
  // The driver's, since its package is installed; test/package proves the core's where it is not.
  expectTypeOf(dbContext.session()).toEqualTypeOf<EntityManager>();
  expectTypeOf(dbContext.session<CoreEntityManager>()).toEqualTypeOf<CoreEntityManager>();
  expectTypeOf(dbContext.session('audit')).toEqualTypeOf<EntityManager>();
  expectTypeOf(dbContext.getSession()).toEqualTypeOf<EntityManager | undefined>();
  expectTypeOf(dbContext.popSession()).toEqualTypeOf<EntityManager | undefined>();
  // @ts-expect-error -- an EntityManager
  dbContext.session<Note>();
  // @ts-expect-error -- nothing to put where nothing was popped; look first
  dbContext.putSession(dbContext.popSession());
}

export function atomic(dbContext: DbContext): void {
  expectTypeOf(dbContext.atomic(async (session) => session.count(Note))).toEqualTypeOf<
    Promise<number>
  >();
  expectTypeOf(dbContext.atomic(() => 'sync')).toEqualTypeOf<Promise<string>>();
  // The session is that of the driver, or what the parameter says.
  void dbContext.atomic((session) => expectTypeOf(session).toEqualTypeOf<EntityManager>());
  expectTypeOf(
    dbContext.atomic(async (session: EntityManager) => session.createQueryBuilder(Note).getCount()),
  ).toEqualTypeOf<Promise<number>>();
  void dbContext.atomic(() => 1, {
    connection: 'audit',
    current: 'savepoint',
    isolationLevel: 'serializable',
    readOnly: true,
    retry: { attempts: 2 },
  });
  // @ts-expect-error -- a mode
  void dbContext.atomic(() => 1, { current: 'join' });
  // @ts-expect-error -- the parameter is an EntityManager
  void dbContext.atomic((note: Note) => note);

  // @ts-expect-error -- how often is no matter for a default
  void dbContext.atomic(() => 1, { retry: { backoffMs: 20 } });
}

export function withClient(dbContext: DbContext): void {
  expectTypeOf(dbContext.withClient(() => 1)).toEqualTypeOf<Promise<number>>();
  // The client is the part of pg's that most code needs, or what the parameter says.
  void dbContext.withClient((client) => expectTypeOf(client).toEqualTypeOf<TransactionClient>());
  expectTypeOf(
    dbContext.withClient(async (client: PoolClient) => (await client.query('select 1')).rowCount),
  ).toEqualTypeOf<Promise<number | null>>();
  expectTypeOf(
    dbContext.withClient(
      async (client) => (await client.query<{ a: number }>('select 1 as a')).rows,
    ),
  ).toEqualTypeOf<Promise<{ a: number }[]>>();
  // A cursor or a copy is returned as it is.
  void dbContext.withClient((client) =>
    expectTypeOf(client.query(new Cursor('select 1'))).toEqualTypeOf<Cursor>(),
  );
  // pg's client has all that a TransactionClient has.
  expectTypeOf<PoolClient>().toExtend<
    Pick<TransactionClient, 'escapeIdentifier' | 'escapeLiteral'>
  >();
  void dbContext.withClient(() => 1, { connection: 'audit' });
  // @ts-expect-error -- the transaction gives its client back
  void dbContext.withClient((client) => client.release());
  // @ts-expect-error -- as the options of the other methods, not the bare name
  void dbContext.withClient(() => 1, 'audit');
}

export function outsideTheContext(dbContext: DbContext): void {
  for (const open of ['newSession', 'newAtomicSession'] as const) {
    expectTypeOf(dbContext[open](async () => 1)).toEqualTypeOf<Promise<number>>();
    expectTypeOf(dbContext[open](() => 'sync')).toEqualTypeOf<Promise<string>>();
    void dbContext[open]((session) => expectTypeOf(session).toEqualTypeOf<EntityManager>());
    void dbContext[open]((session: EntityManager) => session.execute('select 1'), {
      connection: 'audit',
    });
    // @ts-expect-error -- there is no transaction that it could join
    void dbContext[open](() => 1, { current: 'append' });
  }
}

export function earlyEnds(dbContext: DbContext): void {
  for (const endAll of ['commitAll', 'rollbackAll', 'closeAll'] as const) {
    // @ts-expect-error -- all of them
    void dbContext[endAll]('audit');
  }
}

export function hooks(dbContext: DbContext): void {
  for (const hook of ['beforeCommit', 'onCommit', 'onRollback'] as const) {
    dbContext[hook](async () => undefined, { connection: 'audit' });
    // @ts-expect-error -- a hook is given nothing: what it needs it has when it is registered
    dbContext[hook]((session: EntityManager) => session.flush());
    // @ts-expect-error -- as the options of the other methods, not the bare name
    dbContext[hook](() => undefined, 'audit');
  }
}
