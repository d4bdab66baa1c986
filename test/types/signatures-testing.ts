// What tsc must accept, infer and refuse of `nestjs-db-context/testing`; nothing here runs.
import type { EntityManager as CoreEntityManager } from '@mikro-orm/core';
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import type { INestApplication, INestApplicationContext, ValueProvider } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { TestingModule } from '@nestjs/testing';
import { expectTypeOf } from 'expect-type';
import type { DbContext, DriverEntityManager } from 'nestjs-db-context';
import {
  captureOnCommit,
  createWorkerDatabase,
  expectCommitted,
  expectNoOpenConnections,
  expectRolledBack,
  expectStatements,
  openRollbackSession,
  openTestContext,
  provideTestDbContext,
  provideTestRepository,
  provideTestSession,
  templateOf,
  recordContexts,
  recordStatements,
  OutsideTestError,
  TestDbContext,
  TestTransaction,
  useTestTransaction,
  type CaptureOptions,
  type ConcurrentTestTransactions,
  type CurrentTestTransaction,
  type EndedContext,
  type ExpectedStatements,
  type OutsideMode,
  type OutsideTestReason,
  type RecordedStatement,
  type RecordOptions,
  type RollbackSession,
  type TemplateOptions,
  type TestAnswer,
  type TestCall,
  type TestContext,
  type TestSessions,
  type TestTarget,
  type TestTransactionOptions,
  type UseTestTransactionOptions,
  type WorkerDatabase,
  type WorkerDatabaseOptions,
} from 'nestjs-db-context/testing';

import { Note } from '../support/note.entity.js';

declare const app: INestApplication;

export function targets(): void {
  expectTypeOf<INestApplication>().toExtend<TestTarget>();
  expectTypeOf<INestApplicationContext>().toExtend<TestTarget>();
  expectTypeOf<TestingModule>().toExtend<TestTarget>();
  // @ts-expect-error -- the application itself, not what makes it
  expectNoOpenConnections(() => app);
}

export async function sharedTransactions(): Promise<void> {
  const options: TestTransactionOptions = { connections: ['audit'] };
  const db = await TestTransaction.begin(app, options);
  expectTypeOf(db).toEqualTypeOf<TestTransaction>();
  expectTypeOf(db.session()).toEqualTypeOf<EntityManager>();
  expectTypeOf(db.session('audit')).toEqualTypeOf<EntityManager>();
  // @ts-expect-error -- begun with begin()
  void new TestTransaction(new Map());
  // @ts-expect-error -- a list of names
  await TestTransaction.begin(app, { connections: 'audit' });

  const runner = { beforeAll, afterAll, beforeEach, afterEach };
  const hooks: UseTestTransactionOptions = { ...runner, connections: ['audit'] };
  const current = useTestTransaction(() => app, hooks);
  expectTypeOf(current).toEqualTypeOf<CurrentTestTransaction>();
  expectTypeOf(current.session()).toEqualTypeOf<EntityManager>();
  // @ts-expect-error -- a function, since beforeAll() may make the application later
  useTestTransaction(app);
  // @ts-expect-error -- ended by the hook
  void current.end();

  useTestTransaction(() => app, { outside: 'hold', committing: ['audit'] });
  expectTypeOf<UseTestTransactionOptions['outside']>().toEqualTypeOf<OutsideMode | undefined>();
  // @ts-expect-error -- none of the three
  useTestTransaction(() => app, { outside: 'ignore' });
  expectTypeOf(new OutsideTestError('audit', 'left-out').reason).toEqualTypeOf<OutsideTestReason>();
}

export async function concurrentTests(fastify: NestFastifyApplication): Promise<void> {
  const tests = useTestTransaction(() => app, { concurrent: true, test: it.concurrent });
  expectTypeOf(tests).toEqualTypeOf<ConcurrentTestTransactions>();
  expectTypeOf(tests.session()).toEqualTypeOf<EntityManager>();
  expectTypeOf(tests.token).toEqualTypeOf<string>();
  expectTypeOf(tests.headers()).toEqualTypeOf<Readonly<Record<string, string>>>();
  expectTypeOf(tests.run(() => 1)).toEqualTypeOf<number>();
  expectTypeOf(tests.allow('token', async () => 'done')).toEqualTypeOf<Promise<string>>();
  tests.test('a test', () => undefined, 1_000);
  tests.test('with an option', { timeout: 1_000, retry: 1 }, () => undefined);
  tests.test.only('alone', () => undefined);
  tests.test.skip('left out', () => undefined);
  tests.test.todo('to be written');
  tests.test.each([[1, 'a'] as const])('pairs', (n, letter) => {
    expectTypeOf(n).toEqualTypeOf<1>();
    expectTypeOf(letter).toEqualTypeOf<'a'>();
  });
  tests.test.each(['a'])('one', (letter) => expectTypeOf(letter).toEqualTypeOf<string>());
  expectTypeOf(tests.request(app).get('/')).toEqualTypeOf<TestCall>();
  expectTypeOf(await tests.request(app).get('/').expect(200)).toEqualTypeOf<TestAnswer>();
  expectTypeOf(tests.request(fastify).inject).toEqualTypeOf<NestFastifyApplication['inject']>();
  // @ts-expect-error -- only Fastify has it
  tests.request(app).inject('/');
  // @ts-expect-error -- tests that take turns have no header
  useTestTransaction(() => app).headers();
}

export async function contexts(): Promise<void> {
  await using context = openTestContext(app);
  expectTypeOf(context).toEqualTypeOf<TestContext>();
  expectTypeOf(context.session('audit')).toEqualTypeOf<EntityManager>();

  await using own = openRollbackSession<EntityManager>(app, 'audit');
  expectTypeOf(own).toEqualTypeOf<RollbackSession<EntityManager>>();
  expectTypeOf(own.session).toEqualTypeOf<EntityManager>();
  expectTypeOf(openRollbackSession(app).session).toEqualTypeOf<CoreEntityManager>();
  // @ts-expect-error -- an entity manager
  openRollbackSession<string>(app);
}

export async function records(): Promise<void> {
  const capture: CaptureOptions = { execute: true };
  expectTypeOf(await captureOnCommit(app, () => 1, capture)).toEqualTypeOf<
    (() => Promise<unknown>)[]
  >();
  expectTypeOf(await recordContexts(app, async () => 1)).toEqualTypeOf<readonly EndedContext[]>();
  expectTypeOf(expectCommitted(app, () => undefined)).toEqualTypeOf<Promise<void>>();
  expectTypeOf(expectRolledBack(app, () => undefined)).toEqualTypeOf<Promise<void>>();

  const options: RecordOptions = { connections: ['audit'], withTransactions: true };
  expectTypeOf(await recordStatements(app, () => 1, options)).toEqualTypeOf<
    readonly RecordedStatement[]
  >();
  const all: readonly ExpectedStatements[] = [3, { atMost: 3 }, ['select', /^insert/]];
  expectTypeOf(await expectStatements(app, all[0]!, async () => 'a')).toEqualTypeOf<string>();
  // @ts-expect-error -- one of the forms above
  await expectStatements(app, { atLeast: 3 }, () => 1);
  // @ts-expect-error -- work to do, not what it has begun
  await expectCommitted(app, Promise.resolve());
}

export async function workerDatabases(): Promise<void> {
  const template: TemplateOptions = {
    name: 'shop',
    prepare: async (url) => {
      expectTypeOf(url).toEqualTypeOf<string>();
    },
    version: '1',
  };
  const options: WorkerDatabaseOptions = {
    serverUrl: 'postgres://localhost/postgres',
    template,
    workerId: 1,
    reuse: true,
    prepareTimeoutMs: 1_000,
  };
  const derived = templateOf(defineConfig({ entities: [Note], dbName: 'shop' }), {
    migrations: { path: './sql', up: (url: string) => url },
    seed: (em) => expectTypeOf(em).toEqualTypeOf<DriverEntityManager>(),
    dependsOn: { rows: [1] },
  });
  expectTypeOf(derived).toEqualTypeOf<TemplateOptions>();
  // @ts-expect-error -- the only name of a migrator
  templateOf({ entities: [Note] }, { migrations: 'knex' });
  await using database = await createWorkerDatabase(options);
  expectTypeOf(database).toEqualTypeOf<WorkerDatabase>();
  // @ts-expect-error -- a template is needed
  await createWorkerDatabase({ serverUrl: 'postgres://localhost/postgres' });
  // @ts-expect-error -- and what fills it
  await createWorkerDatabase({ serverUrl: '', template: { name: 'shop' } });
}

export async function doubles(): Promise<void> {
  const fake = { persist: (): void => undefined };
  expectTypeOf(provideTestSession(fake, 'audit')).toEqualTypeOf<ValueProvider<typeof fake>>();
  expectTypeOf(provideTestRepository(Note, fake)).toEqualTypeOf<ValueProvider<typeof fake>>();
  expectTypeOf(provideTestDbContext()).toEqualTypeOf<ValueProvider<TestDbContext>>();
  // @ts-expect-error -- of which entity?
  provideTestRepository(fake);
  // @ts-expect-error -- an object
  provideTestSession(undefined);
  // @ts-expect-error -- by the name of its connection
  provideTestDbContext({ default: undefined });

  const sessions: TestSessions = { default: fake, audit: {} };
  const dbContext = new TestDbContext(sessions);
  expectTypeOf(dbContext).toExtend<DbContext>();
  expectTypeOf(dbContext.run(() => 1)).toEqualTypeOf<Promise<number>>();
  expectTypeOf(dbContext.runAllInNewContexts([() => 1, async () => 'a'])).resolves.toEqualTypeOf<
    [number, string]
  >();
  expectTypeOf(await dbContext.atomic((own: EntityManager) => own)).toEqualTypeOf<EntityManager>();
}
