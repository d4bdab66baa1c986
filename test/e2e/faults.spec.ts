import { AsyncResource } from 'node:async_hooks';

import {
  DriverException,
  EventType,
  UniqueConstraintViolationException,
  type TransactionEventType,
} from '@mikro-orm/core';
import { MikroORM, type EntityManager } from '@mikro-orm/postgresql';
import {
  AcquireTimeoutError,
  CommitOutcomeUnknownError,
  SavepointTimeoutError,
  SessionClosedError,
  TransactionAbortedError,
  TransactionTimeoutError,
  UnexpectedRollbackError,
} from 'nestjs-db-context';

import { clientOf } from '../support/client-of.js';
import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startApp } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const TIMES = 20;

let world: TestWorld;
let session: EntityManager;

const run = <T>(callback: () => Promise<T>): Promise<T> => world.dbContext.run(callback);
const insert = (text: string): Promise<unknown> => session.insert(Note, { text });
const pid = async (): Promise<number> => {
  const [row] = await session.execute<{ pid: number }[]>('select pg_backend_pid() as pid');
  return row!.pid;
};
const kill = (backend: number): Promise<unknown> =>
  world.database.query('select pg_terminate_backend($1, 5000)', [backend]);

async function start(
  limits: Parameters<typeof startWorld>[0],
  options?: Parameters<typeof startWorld>[1],
): Promise<void> {
  world = await startWorld({ poolMax: 5, ...limits }, options);
  session = world.session();
}

/** Runs a fault 20 times at once over a pool of 5. */
async function repeat(fault: (index: number) => Promise<unknown>): Promise<unknown[]> {
  const results = await Promise.allSettled(
    Array.from({ length: TIMES }, (_, index) => fault(index)),
  );
  return results.map((result) => (result.status === 'rejected' ? result.reason : undefined));
}

/** The error of the statement that met a fault, or the one for which a later statement was refused. */
function firstFailure(error: unknown): unknown {
  return error instanceof TransactionAbortedError ? error.cause : error;
}

/** No slot of the pool is lost, nothing is open on the server, and the next 5 get an answer. */
async function expectHealthy(): Promise<void> {
  await waitFor(async () => world.pool().checkedOut + world.pool().waiting === 0, {
    what: 'all connections to be back',
  });
  await world.serverIsIdle();
  const answers = await Promise.all(
    Array.from({ length: 5 }, () => run(() => session.execute('select 1 as one'))),
  );
  expect(answers).toEqual(Array.from({ length: 5 }, () => [{ one: 1 }]));
  expect(world.pool().checkedOut).toBe(0);
}

afterEach(() => world.close());

describe('F1: no fault costs a pool slot', () => {
  beforeEach(() => start({ acquireTimeoutMs: 10_000, drainTimeoutMs: 500, endTimeoutMs: 500 }));

  afterEach(async () => {
    await expectHealthy();
  });

  it('F1: the backend killed between two statements', async () => {
    const errors = await repeat((index) =>
      run(async () => {
        await insert(`${index}`);
        await kill(await pid());
        await insert(`${index}, again`);
      }),
    );
    // The end of the connection is seen before the second statement, or by it.
    const causes = errors.map((error) =>
      error instanceof TransactionAbortedError ? error.cause : error,
    );
    expect(causes).toEqual(errors.map(() => expect.objectContaining({ code: '57P01' })));
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F1, F4: the backend killed before COMMIT: rolled back, and the caller gets the error', async () => {
    const errors = await repeat((index) =>
      run(async () => {
        await insert(`${index}`);
        await kill(await pid());
      }),
    );
    for (const error of errors) {
      expect(
        error instanceof UnexpectedRollbackError || error instanceof CommitOutcomeUnknownError,
      ).toBe(true);
    }
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F1: the backend killed while a statement runs', async () => {
    const errors = await repeat(() =>
      run(async () => {
        const backend = await pid();
        const sleeping = session.execute('select pg_sleep(30)');
        sleeping.catch(() => undefined);
        await waitFor(
          async () =>
            (
              await world.database.query(
                `select 1 from pg_stat_activity where pid = $1 and query = 'select pg_sleep(30)' and state = 'active'`,
                [backend],
              )
            ).length === 1,
          { what: 'the statement to run' },
        );
        await kill(backend);
        await sleeping;
      }),
    );
    expect(errors).toEqual(
      errors.map(() =>
        expect.objectContaining({
          constructor: DriverException,
          code: '57P01',
          message: expect.stringContaining('terminating connection due to administrator command'),
        }),
      ),
    );
  });

  it('F1: BEGIN fails', async () => {
    const errors: unknown[] = [];
    for (let each = 0; each < TIMES; each++) {
      world.proxy.cutBefore(/^begin/);
      errors.push(await run(() => insert('never')).catch((error: unknown) => error));
    }
    expect(errors).toEqual(
      errors.map(() =>
        expect.objectContaining({
          constructor: DriverException,
          code: 'ECONNRESET',
          message: expect.stringContaining('read ECONNRESET'),
        }),
      ),
    );
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F1, F4: COMMIT fails with a server error: MikroORM’s class, nothing saved, client kept', async () => {
    const errors = await repeat((index) =>
      run(async () => {
        await session.execute('set constraints note_text_unique deferred');
        await insert(`${index}`);
        await insert(`${index}`);
      }),
    );
    for (const error of errors) {
      expect(error).toBeInstanceOf(UniqueConstraintViolationException);
    }
    expect(await world.savedTexts()).toEqual([]);
    expect(world.proxy.openConnections).toBe(5);
  });

  it('F1, F4: the link cut as COMMIT leaves: the outcome is unknown, and it is tried once', async () => {
    for (let each = 0; each < TIMES; each++) {
      world.proxy.cutBefore(/^commit/);
      await expect(run(() => insert(`${each}`))).rejects.toBeInstanceOf(CommitOutcomeUnknownError);
    }
    expect(world.proxy.log.filter((sql) => sql === 'commit')).toHaveLength(TIMES);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F1, F4: the answer to COMMIT lost: the outcome is unknown, although it is saved', async () => {
    for (let each = 0; each < TIMES; each++) {
      world.proxy.dropAnswerTo(/^commit/);
      await expect(run(() => insert(`${each}`))).rejects.toMatchObject({
        constructor: CommitOutcomeUnknownError,
        code: 'COMMIT_OUTCOME_UNKNOWN',
      });
    }
    expect(world.proxy.log.filter((sql) => sql === 'commit')).toHaveLength(TIMES);
    expect(await world.savedTexts()).toHaveLength(TIMES);
  });

  it('F1, F2: ROLLBACK fails: the client is destroyed, the caller gets its own error', async () => {
    for (let each = 0; each < TIMES; each++) {
      world.proxy.cutBefore(/^rollback/);
      await expect(
        run(async () => {
          await insert(`${each}`);
          throw new Error('the handler failed');
        }),
      ).rejects.toThrow('the handler failed');
      expect(world.pool()).toMatchObject({ checkedOut: 0, idle: 0 });
    }
    expect(await world.savedTexts()).toEqual([]);
  });

  it.each([
    ['idle_in_transaction_session_timeout', 'select 1', '25P03'],
    ['transaction_timeout', 'select 1', '25P04'],
    ['statement_timeout', 'select pg_sleep(30)', '57014'],
  ])('F1: %s on the server', async (setting, statement, code) => {
    const errors = await repeat(() =>
      run(async () => {
        const backend = await pid();
        await session.execute(`set local ${setting} = '50ms'`);
        if (setting === 'statement_timeout') {
          await session.execute(statement);
        }
        await waitFor(
          async () =>
            (await world.database.query('select 1 from pg_stat_activity where pid = $1', [backend]))
              .length === 0,
          { what: 'the server to end the session' },
        );
        await session.execute(statement);
      }),
    );
    expect(errors.map(firstFailure)).toEqual(errors.map(() => expect.objectContaining({ code })));
  });

  it.each([
    EventType.beforeTransactionStart,
    EventType.afterTransactionStart,
    EventType.beforeTransactionCommit,
  ] as const)('F1: a subscriber that throws in %s', async (event) => {
    const subscriber = failingSubscriber(event);
    const errors = await repeat((index) => run(() => insert(`${index}`)));
    subscriber.isFailing = false;
    for (const error of errors) {
      expect(error).toMatchObject({ message: 'the subscriber failed' });
    }
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F1, F4: a subscriber that throws after COMMIT is reported, and the commit stands', async () => {
    const subscriber = failingSubscriber(EventType.afterTransactionCommit);
    const errors = await repeat((index) => run(() => insert(`${index}`)));
    subscriber.isFailing = false;
    expect(errors).toEqual(errors.map(() => undefined));
    expect(await world.savedTexts()).toHaveLength(TIMES);
  });

  it('F1: the network cut in mid-transaction', async () => {
    for (let each = 0; each < TIMES; each++) {
      await expect(
        run(async () => {
          await insert(`${each}`);
          world.proxy.cut();
          await insert(`${each}, again`);
        }),
      ).rejects.toMatchObject({
        constructor: DriverException,
        code: 'ECONNRESET',
        message: expect.stringContaining('ECONNRESET'),
      });
    }
    expect(await world.savedTexts()).toEqual([]);
  });
});

describe('what never answers', () => {
  beforeEach(() =>
    start({
      acquireTimeoutMs: 5_000,
      drainTimeoutMs: 100,
      endTimeoutMs: 100,
      transactionTimeoutMs: 400,
    }),
  );

  it('F1, F6: a half-open link: statements fail at the limit of the transaction', async () => {
    for (let each = 0; each < TIMES / 5; each++) {
      const isFrozen = deferred();
      let begun = 0;
      const frozen = Array.from({ length: 5 }, () =>
        run(async () => {
          await session.execute('select 1');
          if (++begun === 5) {
            world.proxy.freeze();
            isFrozen.resolve();
          }
          await isFrozen.promise;
          await session.execute('select 2');
        }),
      );
      for (const outcome of await Promise.allSettled(frozen)) {
        expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(TransactionTimeoutError);
      }
      world.proxy.thaw();
      await expectHealthy();
    }
  });

  it('F1, F6: COMMIT without an answer: unknown at the limit', async () => {
    world.proxy.onStatement = (sql) => {
      if (sql === 'commit') {
        world.proxy.freeze();
      }
    };
    const error = await run(() => insert('who knows')).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(CommitOutcomeUnknownError);
    world.proxy.onStatement = undefined;
    world.proxy.thaw();
    await expectHealthy();
  });

  it('F1, F2, F6: ROLLBACK without an answer: the client is destroyed at the limit', async () => {
    await expect(
      run(async () => {
        await insert('undone');
        world.proxy.freeze();
        throw new Error('the handler failed');
      }),
    ).rejects.toThrow('the handler failed');
    expect(world.pool()).toMatchObject({ checkedOut: 0, idle: 0 });
    world.proxy.thaw();
    await expectHealthy();
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F1: handlers that hang do not hold their connections', async () => {
    const never = deferred();
    let begun = 0;
    const hanging = repeat((index) =>
      run(async () => {
        await insert(`${index}`);
        begun++;
        await never.promise;
      }),
    );
    await waitFor(async () => begun === TIMES, { what: 'all handlers to hang' });
    await expectHealthy();
    never.resolve();
    for (const error of await hanging) {
      expect(error).toBeInstanceOf(TransactionTimeoutError);
    }
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F6: a pool that is exhausted says so, and the late connection goes back', async () => {
    await world.close();
    await start({ poolMax: 1, acquireTimeoutMs: 100 });
    const isHeld = deferred();
    const release = deferred();
    const holder = run(async () => {
      await insert('held');
      isHeld.resolve();
      await release.promise;
    });
    await isHeld.promise;
    await expect(run(() => insert('waiting'))).rejects.toMatchObject({
      constructor: AcquireTimeoutError,
      code: 'ACQUIRE_TIMEOUT',
      timeoutMs: 100,
    });
    // swallowed, it still forbids the commit
    await expect(
      run(async () => {
        await insert('waiting').catch(() => undefined);
      }),
    ).rejects.toMatchObject({
      constructor: UnexpectedRollbackError,
      reason: 'failed-statement',
      cause: { code: 'ACQUIRE_TIMEOUT' },
    });
    release.resolve();
    await holder;
    await waitFor(async () => world.pool().checkedOut === 0, { what: 'the slot to be free' });
    expect(await world.savedTexts()).toEqual(['held']);
  });

  it('F1, F6: so does a pool that waits for ever, of an orm that was handed over', async () => {
    await world.close();
    await start({});
    const orm = await MikroORM.init({
      clientUrl: world.proxy.url,
      entities: [Note],
      ensureDatabase: false,
      pool: { min: 0, max: 1 },
    });
    const app = await startApp({ connections: [{ orm, acquireTimeoutMs: 1_000 }] });
    const isHeld = deferred();
    const release = deferred();
    const holder = app.dbContext.run(async () => {
      await app.session().execute('select 1');
      isHeld.resolve();
      await release.promise;
    });
    await isHeld.promise;
    await expect(app.dbContext.run(() => app.session().execute('select 2'))).rejects.toBeInstanceOf(
      AcquireTimeoutError,
    );
    release.resolve();
    await holder;
    // the connection comes to a caller that has given up, who has to pass it on
    await waitFor(() => app.pool().checkedOut + app.pool().waiting === 0, {
      what: 'the slot to be free',
    });
    await app.dbContext.run(() => app.session().execute('select 3'));
    await app.close();
    await orm.close();
  });

  it('F6: waiting for a nested transaction of a parallel branch has a limit', async () => {
    await world.close();
    await start({ savepointTimeoutMs: 50 });
    await expect(
      run(async () => {
        const outside = new AsyncResource('outside of the callback');
        await session.transactional(async () => {
          await outside.runInAsyncScope(() => insert('waits for the callback to end'));
        });
      }),
    ).rejects.toBeInstanceOf(SavepointTimeoutError);
    expect(await world.savedTexts()).toEqual([]);
  });
});

describe('F1: a client-side query timeout', () => {
  it('F1, F2: the connection is destroyed and the server stops', async () => {
    await start({ drainTimeoutMs: 500 });
    const { driverOptions } = world.connection().orm.config.getAll() as unknown as {
      driverOptions: Record<string, unknown>;
    };
    driverOptions['query_timeout'] = 100;
    const errors = await repeat(() => run(() => session.execute('select pg_sleep(30)')));
    expect(errors).toEqual(
      errors.map(() =>
        expect.objectContaining({
          constructor: DriverException,
          message: expect.stringContaining('Query read timeout'),
        }),
      ),
    );
    await expectHealthy();
  });
});

describe('F3: the end of a transaction is a gate', () => {
  beforeEach(() => start({ drainTimeoutMs: 2_000 }));

  it('F3: a branch that goes on after another failed writes nothing, anywhere', async () => {
    // The traps of a plain em.transactional(): the late row is autocommitted, or lands in the
    // transaction of the next user of the connection.
    const isAlive = { value: true };
    const others = Array.from({ length: 4 }, async () => {
      while (isAlive.value) {
        await run(() => session.execute('select pg_sleep(0.002)'));
      }
    });
    const late: Promise<unknown>[] = [];
    for (let each = 0; each < 80; each++) {
      await expect(
        run(async () => {
          const branch = session
            .execute('select pg_sleep(0.005)')
            .then(() => insert(`late ${each}`));
          late.push(branch);
          await Promise.all([branch, Promise.reject(new Error('the other branch'))]);
        }),
      ).rejects.toThrow('the other branch');
    }
    isAlive.value = false;
    await Promise.all(others);
    expect(await Promise.allSettled(late)).toEqual(
      Array.from({ length: 80 }, () => ({
        status: 'rejected',
        reason: expect.objectContaining({
          constructor: SessionClosedError,
          code: 'SESSION_CLOSED',
        }),
      })),
    );
    expect(await world.savedTexts()).toEqual([]);
    await expectHealthy();
  });

  it('F3: statements still running at COMMIT make it roll back and say so', async () => {
    let running: Promise<unknown> | undefined;
    await expect(
      run(async () => {
        await insert('awaited');
        running = insert('not awaited');
      }),
    ).rejects.toMatchObject({
      constructor: UnexpectedRollbackError,
      reason: 'unawaited-statements',
    });
    await Promise.allSettled([running]);
    expect(await world.savedTexts()).toEqual([]);
    await expectHealthy();
  });

  it('F3: a begin() that nobody awaited makes the commit roll back and say so', async () => {
    let beginning: Promise<unknown> | undefined;
    await expect(
      run(async () => {
        beginning = session.begin();
        beginning.catch(() => undefined);
      }),
    ).rejects.toMatchObject({ reason: 'unawaited-statements' });
    await Promise.allSettled([beginning]);
    await expectHealthy();
  });

  it('F3: a statement queued behind a running one is refused and never sent', async () => {
    const outcomes: Promise<PromiseSettledResult<unknown>[]>[] = [];
    await run(async () => {
      await insert('awaited');
      outcomes.push(
        Promise.allSettled([session.execute('select pg_sleep(0.05)'), insert('queued')]),
      );
    }).catch(() => undefined);
    const [running, queued] = await outcomes[0]!;
    expect(running).toMatchObject({ status: 'fulfilled' });
    expect((queued as PromiseRejectedResult).reason).toBeInstanceOf(SessionClosedError);
    expect(world.proxy.log.some((sql) => sql.includes('queued'))).toBe(false);
  });

  it('F3, F6: a statement that outlives the drain is cancelled on the server', async () => {
    await world.close();
    await start({ drainTimeoutMs: 50 });
    let running: Promise<unknown> | undefined;
    await expect(
      run(async () => {
        await insert('undone');
        running = session.execute('select pg_sleep(60)');
        running.catch(() => undefined);
        throw new Error('the handler failed');
      }),
    ).rejects.toThrow('the handler failed');
    await expect(running).rejects.toMatchObject({
      constructor: SessionClosedError,
      code: 'SESSION_CLOSED',
      message: expect.stringContaining('Await everything that uses the session'),
    });
    await expectHealthy();
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F3: a rollback while the connection is still being acquired leaves nothing behind', async () => {
    await world.close();
    await start({ poolMax: 1 });
    const isHeld = deferred();
    const release = deferred();
    const holder = run(async () => {
      await insert('held');
      isHeld.resolve();
      await release.promise;
    });
    await isHeld.promise;
    let waiting: Promise<unknown> | undefined;
    await expect(
      run(async () => {
        waiting = insert('too late');
        waiting.catch(() => undefined);
        throw new Error('the handler failed');
      }),
    ).rejects.toThrow('the handler failed');
    release.resolve();
    await holder;
    await expect(waiting).rejects.toBeInstanceOf(SessionClosedError);
    await waitFor(async () => world.pool().checkedOut === 0, { what: 'the slot to be free' });
    expect(await world.savedTexts()).toEqual(['held']);
  });
});

describe('F2: which clients go back', () => {
  beforeEach(() => start({ poolMax: 1 }));

  it('F2: one whose transaction the server ended goes back, also after a failed statement', async () => {
    const first = await run(pid);
    await run(async () => {
      await session.execute('select 1 / 0');
    }).catch(() => undefined);
    expect(await run(pid)).toBe(first);
  });

  it('F2: one in an unknown state does not', async () => {
    const first = await run(pid);
    world.proxy.cutBefore(/^rollback/);
    await run(async () => {
      await insert('a');
      throw new Error('undone');
    }).catch(() => undefined);
    expect(await run(pid)).not.toBe(first);
  });

  it('S6: a COMMIT that the server answers with ROLLBACK is an error', async () => {
    // A statement that fails past the session, so that only the answer to COMMIT shows it.
    await expect(
      run(async () => {
        await insert('lost');
        const client = await clientOf(session, world.connection());
        await client.query('select 1 / 0').catch(() => undefined);
      }),
    ).rejects.toMatchObject({ constructor: UnexpectedRollbackError, reason: 'server-rollback' });
    expect(world.proxy.log.at(-1)).toBe('commit');
    expect(await world.savedTexts()).toEqual([]);
  });
});

/** A subscriber that fails until it is switched off; MikroORM has no way to take one out again. */
function failingSubscriber(event: TransactionEventType): { isFailing: boolean } {
  const state = { isFailing: true };
  world
    .connection()
    .orm.em.getEventManager()
    .registerSubscriber({
      [event]: async () => {
        if (state.isFailing) {
          throw new Error('the subscriber failed');
        }
      },
    });
  return state;
}
