import { TransactionPropagation } from '@mikro-orm/core';
import { CreateRequestContext } from '@mikro-orm/decorators/legacy';
import { defineConfig, MikroORM, type EntityManager } from '@mikro-orm/postgresql';
import { PoolDeadlockError, TransactionTimeoutError } from 'nestjs-db-context';

import { createTestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { startApp } from '../support/test-app.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const DEADLOCK_TIMEOUT_MS = 100;
const HALF = 0.5;

/** A service of an application that was taken over, which knows nothing of the session. */
class Journal {
  constructor(readonly orm: MikroORM) {}

  @CreateRequestContext()
  async write(text: string): Promise<void> {
    this.orm.em.persist(new Note(text));
    await this.orm.em.flush();
  }

  @CreateRequestContext()
  async change(text: string): Promise<void> {
    const note = await this.orm.em.findOneOrFail(Note, { text: 'there' });
    note.text = text;
    await this.orm.em.flush();
  }
}

describe('forks that requests wait for while they hold the whole pool', () => {
  const at = useWorld(
    () => startWorld({ poolMax: 3, deadlockTimeoutMs: DEADLOCK_TIMEOUT_MS, ...limits() }),
    { hasLateWork: true },
  );
  const orm = (): MikroORM => at.world.connection().orm;

  const ways: readonly (readonly [string, (text: string) => Promise<unknown>])[] = [
    ['a fork', (text) => orm().em.fork().insert(Note, { text })],
    ['the transaction of a fork', (text) => orm().em.fork().persist(new Note(text)).flush()],
    ['@CreateRequestContext()', (text) => new Journal(orm()).write(text)],
    [
      'getConnection()',
      (text) => orm().em.getConnection().execute(`insert into note (text) values ('${text}')`),
    ],
  ];

  it.each(ways)(
    'C3, F6: one that waits for %s is refused, and all others go on',
    async (_, wait) => {
      const all = deferred();
      let holders = 0;
      const outcomes = await Promise.allSettled(
        ['a', 'b', 'c'].map((name) =>
          at.run(async () => {
            await at.insert(`session ${name}`);
            if (++holders === 3) {
              all.resolve();
            }
            await all.promise;
            await wait(`fork ${name}`);
          }),
        ),
      );
      const refused = outcomes.filter((each) => each.status === 'rejected');
      expect(refused.map(({ reason }) => reason as unknown)).toEqual([
        expect.any(PoolDeadlockError),
      ]);
      expect(refused[0]!.reason).toMatchObject({
        code: 'POOL_DEADLOCK',
        connectionName: 'default',
        message: expect.stringMatching(
          /"default" \(pool of 3, .* dbContext\.run\(\), past its session \(a fork.*pool\.max/s,
        ),
      });
      expect(await at.world.savedTexts()).toHaveLength(4);
    },
  );

  it('C3, F6: of many more requests than connections few are refused, and none waits for long', async () => {
    const journal = new Journal(orm());
    const outcomes = await Promise.allSettled(
      Array.from({ length: 12 }, (_, index) =>
        at.run(async () => {
          await at.insert(`session ${index}`);
          await journal.write(`journal ${index}`);
        }),
      ),
    );
    const refused = outcomes.filter((each) => each.status === 'rejected');
    const saved = outcomes.length - refused.length;
    expect(refused.filter(({ reason }) => !(reason instanceof PoolDeadlockError))).toEqual([]);
    expect(saved).toBeGreaterThan(outcomes.length * HALF);
    expect(await at.world.savedTexts()).toHaveLength(2 * saved);
  });

  it('a fork waits for as long as another request needs, where no request waits for itself', async () => {
    const mayEnd = deferred();
    const held = ['a', 'b', 'c'].map((name) =>
      at.run(async () => {
        await at.insert(name);
        await mayEnd.promise;
      }),
    );
    await waitFor(() => at.world.pool().checkedOut === 3, { what: 'the pool to be in use' });
    const waiting = [
      at.run(() => orm().em.fork().insert(Note, { text: 'in a context' })),
      orm().em.fork().insert(Note, { text: 'in none' }),
    ];
    await waitFor(() => at.world.pool().waiting === 2, { what: 'the forks to wait' });
    // Several looks go by.
    await at.world.database.query('select pg_sleep(0.25)');
    mayEnd.resolve();
    await Promise.all([...held, ...waiting]);
    expect((await at.world.savedTexts()).toSorted()).toEqual([
      'a',
      'b',
      'c',
      'in a context',
      'in none',
    ]);
  });
});

it('the pool of an orm that was handed over is what it was before, once the application is closed', async () => {
  const database = await createTestDatabase();
  await database.query(NOTE_SCHEMA);
  const orm = await MikroORM.init(defineConfig({ clientUrl: database.url, entities: [Note] }));
  const connection = orm.em.getConnection() as unknown as { getNativeClient(): Promise<object> };
  const pool = await connection.getNativeClient();
  const apps = [
    await startApp({ connections: [{ orm }] }),
    await startApp({ connections: [{ orm }] }),
  ];
  for (const [index, app] of apps.entries()) {
    await app.dbContext.run(() => app.session().insert(Note, { text: `${index}` }));
  }
  await apps[0]!.close();
  expect(Object.hasOwn(pool, 'connect')).toBe(true);
  await apps[1]!.close();
  expect(Object.hasOwn(pool, 'connect')).toBe(false);
  expect(await orm.em.fork().count(Note)).toBe(2);
  await orm.close();
  await database.drop();
});

/** Short, so that what hangs does not hang for long. */
function limits(): { transactionTimeoutMs: number } {
  return { transactionTimeoutMs: 1_200 };
}

describe('a request that waits for a lock of its own session', () => {
  const log = new LogRecorder();
  const warnings = (): string[] =>
    log.ofLibrary('warn').filter((message) => message.includes('waits for itself'));
  const at = useWorld(
    async () => {
      const world = await startWorld(
        { deadlockTimeoutMs: DEADLOCK_TIMEOUT_MS, ...limits() },
        { watch: { contextOpenMs: 60_000, idleInTransactionMs: 60_000 } },
      );
      world.app.useLogger(log);
      return world;
    },
    { hasLateWork: true },
  );
  const orm = (): MikroORM => at.world.connection().orm;
  const touch = (em: EntityManager): Promise<number> =>
    em.nativeUpdate(Note, { text: { $in: ['there', 'session'] } }, { text: 'other' });

  beforeEach(async () => {
    log.lines.length = 0;
    await at.world.database.query(`insert into note (text) values ('there')`);
  });

  const ways: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['a fork', () => touch(orm().em.fork())],
    [
      'the transaction of a fork',
      () =>
        orm()
          .em.fork()
          .transactional((em) => touch(em)),
    ],
    ['@CreateRequestContext()', () => new Journal(orm()).change('other')],
    [
      'a lock of a fork',
      () => orm().em.fork().execute(`select * from note where text = 'there' for update`),
    ],
    ['runInNewContext()', () => at.dbContext.runInNewContext(() => touch(at.session))],
    [
      'requires_new',
      () =>
        at.session.transactional((em) => touch(em), {
          propagation: TransactionPropagation.REQUIRES_NEW,
        }),
    ],
  ];

  it.each(ways)('F6: by %s, is named early, and by the error in the end', async (way, wait) => {
    const origin = `POST /${way}`;
    const startedAt = performance.now();
    const request = at.dbContext.run(
      async () => {
        await at.session.nativeUpdate(Note, { text: 'there' }, { text: 'session' });
        await wait();
      },
      { name: origin },
    );
    const ended = request.then(
      () => undefined,
      (error: unknown) => error,
    );
    const warning = (): string | undefined =>
      warnings().find((each) => each.startsWith('The context of POST'));
    await waitFor(() => warning() !== undefined, { what: 'a warning' });
    const warnedAfterMs = performance.now() - startedAt;
    const error = await ended;
    expect(warnedAfterMs).toBeLessThan(limits().transactionTimeoutMs);
    expect(warning()).toMatch(
      / waits for itself .*"default".*note.*another connection of the same context.*session.*fork.*waits-for-itself/s,
    );
    expect(error).toBeInstanceOf(TransactionTimeoutError);
    expect(error).toMatchObject({
      code: 'TRANSACTION_TIMEOUT',
      message: expect.stringMatching(/"default" .*waited for itself.*note.*session.*fork/s),
    });
  });

  it('F6: a session that waits for the lock of a fork is named as well', async () => {
    const request = at.run(async () => {
      const fork = orm().em.fork();
      await fork.begin();
      await touch(fork);
      try {
        await at.session.nativeUpdate(Note, { text: 'there' }, { text: 'session' });
      } finally {
        await fork.rollback();
      }
    });
    await expect(request).rejects.toMatchObject({
      code: 'TRANSACTION_TIMEOUT',
      message: expect.stringContaining('waited for itself'),
    });
    expect(warnings()[0]).toMatch(/waits for itself/);
  });

  it('says nothing where one request waits for another, nor of a slow fork', async () => {
    const mayEnd = deferred();
    const holds = deferred();
    const holder = at.run(async () => {
      await touch(at.session);
      holds.resolve();
      await mayEnd.promise;
    });
    await holds.promise;
    const other = at.run(async () => {
      await at.session.count(Note);
      await orm().em.fork().execute('select pg_sleep(0.3)');
      await touch(orm().em.fork());
    });
    await at.world.database.query('select pg_sleep(0.8)');
    mayEnd.resolve();
    await Promise.all([holder, other]);
    expect(warnings()).toEqual([]);
  });
});
