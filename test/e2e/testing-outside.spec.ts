import type { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';
import {
  OutsideTestError,
  TestTransaction,
  useTestTransaction,
  type CurrentTestTransaction,
  type UseTestTransactionOptions,
} from 'nestjs-db-context/testing';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { RunnerHooks } from '../support/runner-hooks.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';

@Controller('notes')
class NotesController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('audit') private readonly audit: EntityManager,
  ) {}

  @Post()
  add(@Body() { text }: { text: string }): void {
    this.session.persist(new Note(text));
  }

  @Post('audited')
  addAudited(@Body() { text }: { text: string }): void {
    this.session.persist(new Note(text));
    this.audit.persist(new Note(`audit of ${text}`));
  }
}

describe('from the beforeAll() to the afterAll() of useTestTransaction()', () => {
  let database: TestDatabase;
  let app: TestApp;
  let hooks: RunnerHooks;
  /** How the pools hand out clients while no test transaction is on. */
  const ownConnects: unknown[] = [];
  const connects = (): Promise<unknown[]> =>
    Promise.all(
      ['default', 'audit'].map(async (name) => (await app.connection(name).pool()).connect),
    );

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await startApp({
      connections: [
        noteConnection(database.url, { acquireTimeoutMs: 500 }),
        noteConnection(database.url, { name: 'audit', acquireTimeoutMs: 500 }),
      ],
      controllers: [NotesController],
    });
    ownConnects.push(...(await connects()));
  });
  afterAll(async () => {
    await app.close();
    await database.drop();
  });
  beforeEach(() => {
    hooks = new RunnerHooks();
  });
  afterEach(async () => {
    for (const name of ['default', 'audit']) {
      expect(app.pool(name)).toMatchObject({ checkedOut: 0, waiting: 0 });
    }
    expect(await connects()).toEqual(ownConnects);
    await database.query('truncate note');
  });

  const use = (options: UseTestTransactionOptions = {}): CurrentTestTransaction =>
    useTestTransaction(() => app.app, { ...hooks.options, ...options });
  const insert = (text: string, name?: string): Promise<unknown> =>
    app.dbContext.run(() => app.session(name).insert(Note, { text }));
  const post = (path: string, text: string): Promise<Response> =>
    app.fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ text }),
    });
  const saved = async (): Promise<string[]> =>
    (await database.query<{ text: string }>('select text from note order by text')).map(
      ({ text }) => text,
    );
  /** What a runner shows where the `afterAll()` of the kit fails. */
  const endOfBlock = (): Promise<unknown> => hooks.run('afterAll').catch((error: unknown) => error);
  const noTest = expect.objectContaining({
    name: 'OutsideTestError',
    code: 'OUTSIDE_TEST',
    reason: 'no-test',
    connectionName: 'default',
    message: expect.stringContaining('while no test was running'),
  });

  it('T1: a body that starts before beforeEach(), as those of it.concurrent, commits nothing', async () => {
    use();
    await hooks.run('beforeAll');
    const answers = await Promise.all(['a', 'b', 'c'].map((text) => post('/notes', text)));
    const direct = await insert('d').catch((error: unknown) => error);

    expect(await saved()).toEqual([]);
    expect(answers.map(({ status }) => status)).toEqual([500, 500, 500]);
    expect(direct).toEqual(noTest);
    expect(direct).toBeInstanceOf(OutsideTestError);
    expect(await endOfBlock()).toEqual(noTest);
  });

  it('T1: a background job between two tests commits nothing, and the block fails', async () => {
    const db = use();
    await hooks.run('beforeAll');
    const jobs: unknown[] = [];
    for (let test = 1; test <= 3; test++) {
      await hooks.runTest(async () => {
        await insert(`test ${test}`);
        expect(await db.session().count(Note)).toBe(1);
      });
      jobs.push(await insert('job').catch((error: unknown) => error));
    }

    expect(await saved()).toEqual([]);
    expect(jobs).toEqual([noTest, noTest, noTest]);
    expect(await endOfBlock()).toMatchObject({
      name: 'OutsideTestError',
      message: expect.stringContaining('3 times'),
    });
  });

  it('T1: neither does a statement that is in no context, or past MikroORM', async () => {
    use();
    await hooks.run('beforeAll');
    const { orm } = app.connection();
    const late = new Promise((resolve) => {
      setTimeout(() => resolve(orm.em.fork().insert(Note, { text: 'timer' })), 1);
    }).catch((error: unknown) => error);
    const pool = (await app.connection().pool()) as unknown as {
      query(sql: string): Promise<unknown>;
    };
    const raw = await pool
      .query(`insert into note (text) values ('raw')`)
      .catch((error: unknown) => error);

    expect([await late, raw]).toEqual([noTest, noTest]);
    expect(await saved()).toEqual([]);
    expect(await endOfBlock()).toEqual(noTest);
  });

  it('T1: a connection that was left out commits nothing, in a test and between two', async () => {
    const db = use({ connections: ['default'] });
    await hooks.run('beforeAll');
    await hooks.runTest(async () => {
      expect((await post('/notes/audited', 'a')).status).toBe(500);
      await expect(insert('a', 'audit')).rejects.toMatchObject({
        name: 'OutsideTestError',
        reason: 'left-out',
        connectionName: 'audit',
        message: expect.stringContaining(`committing: ['audit']`),
      });
      expect((await post('/notes', 'b')).status).toBe(201);
      expect(await db.session().count(Note)).toBe(1);
    });
    await hooks.run('afterAll');
    expect(await saved()).toEqual([]);

    const begun = await TestTransaction.begin(app.app, { connections: ['default'] });
    await expect(insert('a', 'audit')).rejects.toMatchObject({ reason: 'left-out' });
    const watching = use();
    await hooks.run('beforeAll');
    await begun.end();
    // A second call ends no watch but its own.
    await begun.end();
    await expect(insert('a', 'audit')).rejects.toMatchObject({ reason: 'no-test' });
    expect(() => watching.session()).toThrow('outside of a test');
    expect(await endOfBlock()).toMatchObject({ reason: 'no-test', connectionName: 'audit' });
    expect(await saved()).toEqual([]);
  });

  it('T1: one that is named as committing does commit', async () => {
    const db = use({ committing: ['audit'] });
    await hooks.run('beforeAll');
    await hooks.runTest(async () => {
      expect((await post('/notes/audited', 'a')).status).toBe(201);
      expect(await db.session().find(Note, {})).toMatchObject([
        { text: 'a' },
        { text: 'audit of a' },
      ]);
      expect(() => db.session('audit')).toThrow('There is no connection "audit"');
    });
    await insert('between', 'audit');
    await hooks.run('afterAll');
    expect(await saved()).toEqual(['audit of a', 'between']);
  });

  it('T1: what commits in no test does so where outside: commit asks for it', async () => {
    use({ outside: 'commit' });
    await hooks.run('beforeAll');
    await insert('before');
    await hooks.runTest(() => insert('in a test'));
    await insert('after');
    await hooks.run('afterAll');
    expect(await saved()).toEqual(['after', 'before']);
  });

  it('T1: outside: hold keeps a job waiting until the next test, or until its limit', async () => {
    const db = use({ outside: 'hold' });
    await hooks.run('beforeAll');
    const job = insert('held');
    const raw = app.connection().orm.em.fork().insert(Note, { text: 'held as well' });
    await hooks.runTest(async () => {
      await Promise.all([job, raw]);
      expect(await db.session().count(Note)).toBe(2);
    });
    const last = insert('nobody comes').catch((error: unknown) => error);
    expect(await last).toMatchObject({
      name: 'OutsideTestError',
      reason: 'no-test',
      message: expect.stringContaining('waited 500 ms'),
    });
    const pool = await app.connection().pool();
    const left = pool.connect().catch((error: unknown) => error);
    await hooks.run('afterAll');
    expect(await left).toMatchObject({ name: 'OutsideTestError', reason: 'no-test' });
    expect(await saved()).toEqual([]);
  });

  it('T1: work that comes while a test begins waits for it', async () => {
    const db = use();
    await hooks.run('beforeAll');
    const begins = hooks.run('beforeEach');
    const early = insert('early');
    await Promise.all([begins, early]);
    expect(await db.session().count(Note)).toBe(1);
    await hooks.run('afterEach');
    await hooks.run('afterAll');
    expect(await saved()).toEqual([]);
  });

  it('T1: between the tests of a block a job is refused, and its set-up and hooks are not', async () => {
    const db = use();
    db.beforeAll(async (session) => {
      session.create(Note, { text: 'of the block' });
      expect((await post('/notes', 'by a request')).status).toBe(201);
    });
    await hooks.run('beforeAll');
    expect(await insert('job').catch((error: unknown) => error)).toEqual(noTest);
    expect(await db.session().count(Note)).toBe(2);
    for (const text of ['one', 'two']) {
      const begins = hooks.run('beforeEach');
      await Promise.all([begins, insert(text)]);
      expect(await db.session().count(Note)).toBe(3);
      await hooks.run('afterEach');
      expect(await insert('job').catch((error: unknown) => error)).toEqual(noTest);
    }
    expect(await endOfBlock()).toMatchObject({
      name: 'OutsideTestError',
      message: expect.stringContaining('3 times'),
    });
    expect(await saved()).toEqual([]);
  });

  it('T1: outside: hold makes it a part of the next test of the block, outside: commit of the block', async () => {
    const held = use({ outside: 'hold' });
    held.beforeAll((session) => void session.create(Note, { text: 'of the block' }));
    await hooks.run('beforeAll');
    const job = insert('held');
    await hooks.runTest(async () => {
      await job;
      expect(await held.session().count(Note)).toBe(2);
    });
    await hooks.runTest(async () => {
      expect(await held.session().count(Note)).toBe(1);
    });
    await hooks.run('afterAll');

    hooks = new RunnerHooks();
    const committed = use({ outside: 'commit' });
    committed.beforeAll((session) => void session.create(Note, { text: 'of the block' }));
    await hooks.run('beforeAll');
    await insert('between');
    await hooks.runTest(async () => {
      expect(await committed.session().count(Note)).toBe(2);
    });
    await hooks.run('afterAll');
    expect(await saved()).toEqual([]);
  });

  it('an application that is made later is watched from its first test on', async () => {
    let later: TestApp | undefined;
    useTestTransaction(() => later!.app, hooks.options);
    await hooks.run('beforeAll');
    later = app;
    await hooks.runTest(() => insert('in a test'));
    await expect(insert('after')).rejects.toMatchObject({ name: 'OutsideTestError' });
    expect(await endOfBlock()).toEqual(noTest);
    expect(await saved()).toEqual([]);
  });

  it('refuses options that contradict one another', () => {
    const concurrent = useTestTransaction(() => app.app, { ...hooks.options, concurrent: true });
    expect(() => concurrent.beforeAll(() => undefined)).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining('{ concurrent: true } each test has its own'),
      }),
    );
    const options: [UseTestTransactionOptions, string][] = [
      [{ connections: ['audit'], committing: ['audit'] }, 'both in connections and in committing'],
      [{ concurrent: true, outside: 'hold' }, 'leave outside away'],
      [{ outside: 'comit' as never }, `'refuse', 'hold' or 'commit'`],
    ];
    for (const [given, message] of options) {
      expect(() => use(given)).toThrow(
        expect.objectContaining({
          code: 'INVALID_OPTIONS',
          message: expect.stringContaining(message),
        }),
      );
    }
  });
});
