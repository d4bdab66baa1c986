import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Post } from '@nestjs/common';
import {
  DbContext,
  InvalidTransactionStateError,
  SessionClosedError,
  TransactionTimeoutError,
  UnexpectedRollbackError,
  type TransactionClient,
} from 'nestjs-db-context';
import Cursor from 'pg-cursor';
import { from as copyFrom } from 'pg-copy-streams';
import QueryStream from 'pg-query-stream';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const insertInto = (client: TransactionClient, text: string): Promise<unknown> =>
  client.query('insert into note (text) values ($1)', [text]);

const never = (): Promise<never> => new Promise(() => undefined);

/** What is thrown where the client was still at work as the callback returned. */
const STILL_AT_WORK = {
  constructor: InvalidTransactionStateError,
  code: 'INVALID_TRANSACTION_STATE',
  connectionName: 'default',
  message: expect.stringContaining(
    'the callback of withClient() has returned, and its client was still at work',
  ),
};

describe('what would wait for the callback of withClient() for ever', () => {
  const at = useWorld();

  const waits: readonly (readonly [string, (em: EntityManager) => Promise<unknown>])[] = [
    ['a query', (em) => em.find(Note, {})],
    ['a native query', (em) => em.execute('select 1')],
    ['Kysely', (em) => em.getKysely<{ note: object }>().selectFrom('note').execute()],
    ['a flush with changes', (em) => em.persist(new Note('never')).flush()],
    ['a nested transaction', (em) => em.transactional(() => Promise.resolve())],
    ['a stream', async (em) => em.stream(Note, {}).next()],
    ['a second withClient()', () => at.dbContext.withClient(() => 1)],
  ];

  it.each(waits)('F3: %s of the session is refused in it', async (_, wait) => {
    await at.run(async () => {
      await at.dbContext.withClient(async (client) => {
        await insertInto(client, 'by pg');
        await expect(wait(at.session)).rejects.toMatchObject({
          constructor: InvalidTransactionStateError,
          message: expect.stringContaining(
            'a statement of the session was asked for in the callback of withClient()',
          ),
        });
        at.session.clear();
      });
      // What was refused was not sent, so that a rollback is what makes the session usable again.
      await at.session.rollback();
      await at.insert('after');
    });
    expect(await at.world.savedTexts()).toEqual(['after']);
  });

  const ends: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['session.commit', () => at.session.commit()],
    ['session.rollback', () => at.session.rollback()],
    ['dbContext.commit', () => at.dbContext.commit()],
    ['dbContext.rollback', () => at.dbContext.rollback()],
    ['dbContext.close', () => at.dbContext.close()],
    ['dbContext.commitAll', () => at.dbContext.commitAll()],
    ['dbContext.rollbackAll', () => at.dbContext.rollbackAll()],
    ['dbContext.closeAll', () => at.dbContext.closeAll()],
    ['dbContext.atomic', () => at.dbContext.atomic(() => 1)],
  ];

  it.each(ends)('C1: %s() is refused in it, and the transaction goes on', async (name, end) => {
    const verb = name.split('.')[1]!;
    await at.run(() =>
      at.dbContext.withClient(async (client) => {
        await insertInto(client, 'before');
        await expect(end()).rejects.toMatchObject({
          constructor: InvalidTransactionStateError,
          message: expect.stringContaining(
            `${verb}() was asked for in the callback of withClient()`,
          ),
        });
        await insertInto(client, 'after');
      }),
    );
    expect(await at.world.savedTexts()).toEqual(['before', 'after']);
  });

  it('F5: also where a parallel branch waits to set a savepoint', async () => {
    const hasClient = deferred();
    await at.run(async () => {
      const lent = at.dbContext.withClient(async () => {
        hasClient.resolve();
        await waitFor(() => branchHasAsked, { what: 'the branch to ask for its savepoint' });
        await expect(at.session.find(Note, {})).rejects.toMatchObject({
          code: 'INVALID_TRANSACTION_STATE',
        });
      });
      let branchHasAsked = false;
      await hasClient.promise;
      const branch = at.session.transactional((em) => em.insert(Note, { text: 'of the branch' }));
      await new Promise((resolve) => setImmediate(resolve));
      branchHasAsked = true;
      await Promise.all([lent, branch]);
    });
    expect(await at.world.savedTexts()).toEqual(['of the branch']);
  });

  it('C3: a new context in it has a connection of its own', async () => {
    await at.run(() =>
      at.dbContext.withClient(async (client) => {
        await insertInto(client, 'outer');
        await at.dbContext.runInNewContext(async () => {
          await at.insert('inner');
          await at.dbContext.withClient((own) => insertInto(own, 'inner, by pg'));
        });
        expect(await at.world.savedTexts()).toEqual(['inner', 'inner, by pg']);
      }),
    );
    expect((await at.world.savedTexts()).toSorted()).toEqual(['inner', 'inner, by pg', 'outer']);
  });

  it('S3: code of the callback that goes on after it uses the session as any other', async () => {
    const isOver = deferred();
    await at.run(async () => {
      let late!: Promise<unknown>;
      await at.dbContext.withClient(() => {
        late = isOver.promise.then(() => at.insert('late'));
      });
      isOver.resolve();
      await late;
    });
    expect(await at.world.savedTexts()).toEqual(['late']);
  });
});

describe('a client that is still at work as the callback of withClient() returns', () => {
  const at = useWorld(() => startWorld({ drainTimeoutMs: 300 }), { hasLateWork: true });

  const left: readonly (readonly [string, (client: TransactionClient) => unknown])[] = [
    ['a query that nobody awaits', (client) => void client.query('select pg_sleep(0.05)')],
    [
      'several queries that nobody awaits',
      (client) => {
        void insertInto(client, 'a');
        void insertInto(client, 'b');
      },
    ],
    [
      'COPY FROM STDIN that nobody ends',
      (client) => void client.query(copyFrom('copy note (text) from stdin')).write('half\n'),
    ],
    [
      'a cursor that nobody closes',
      async (client) => {
        const cursor = client.query(new Cursor('select generate_series(1, 100)'));
        await cursor.read(10);
      },
    ],
  ];

  it.each(left)('F1: %s breaks the transaction, and says how to fix it', async (_, leave) => {
    const request = at.run(async () => {
      await at.insert('before');
      const lent = at.dbContext.withClient(async (client) => {
        await leave(client);
      });
      await expect(lent).rejects.toMatchObject(STILL_AT_WORK);
      await expect(at.insert('after')).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED' });
    });
    await expect(request).rejects.toMatchObject(STILL_AT_WORK);
    expect(await at.world.savedTexts()).toEqual([]);
    await at.run(() => at.insert('the next request'));
    expect(await at.world.savedTexts()).toEqual(['the next request']);
  });

  it('F4: the error of the callback is the one that is thrown', async () => {
    const own = new Error('of the application');
    const request = at.run(() =>
      at.dbContext.withClient((client) => {
        client.query(copyFrom('copy note (text) from stdin')).write('half\n');
        throw own;
      }),
    );
    await expect(request).rejects.toBe(own);
  });

  it('F4: after an error of the callback its queries are waited for, and the savepoint undoes them', async () => {
    await at.run(async () => {
      const nested = at.session.transactional(() =>
        at.dbContext.withClient(async (client) => {
          await Promise.all([client.query('select 1 / 0'), insertInto(client, 'never')]);
        }),
      );
      await expect(nested).rejects.toMatchObject({ code: '22012' });
      await at.insert('after');
    });
    expect(await at.world.savedTexts()).toEqual(['after']);
  });
});

describe('withClient() and the end of its transaction', () => {
  const at = useWorld(() => startWorld({ drainTimeoutMs: 300, transactionTimeoutMs: 500 }), {
    hasLateWork: true,
  });

  it('F3: one that nobody awaits refuses the commit, and its client sends nothing more', async () => {
    const hasClient = deferred();
    const isSettled = deferred();
    let late!: Promise<unknown>;
    const request = at.run(async () => {
      late = at.dbContext.withClient(async (client) => {
        await insertInto(client, 'lost');
        hasClient.resolve();
        await isSettled.promise;
        await insertInto(client, 'late');
      });
      late.catch(() => undefined);
      await hasClient.promise;
    });
    await expect(request).rejects.toMatchObject({
      constructor: UnexpectedRollbackError,
      reason: 'unawaited-statements',
    });
    isSettled.resolve();
    await expect(late).rejects.toMatchObject({ constructor: UnexpectedRollbackError });
    expect(at.world.proxy.log.filter((sql) => sql.startsWith('insert'))).toHaveLength(1);
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F3: the gate that shuts while it waits for its turn refuses it', async () => {
    let called = false;
    let lent!: Promise<unknown>;
    const request = at.run(async () => {
      void at.session.execute('select pg_sleep(0.05)').catch(() => undefined);
      await waitFor(() => at.world.proxy.log.some((sql) => sql.includes('pg_sleep')), {
        what: 'the statement before it to be sent',
      });
      lent = at.dbContext.withClient(() => {
        called = true;
      });
      lent.catch(() => undefined);
    });
    await expect(request).rejects.toMatchObject({ reason: 'unawaited-statements' });
    await expect(lent).rejects.toMatchObject({ constructor: SessionClosedError });
    expect(called).toBe(false);
  });

  it('F3: a savepoint is not released while the client of its code is lent, which then sends nothing', async () => {
    const hasClient = deferred();
    await at.run(async () => {
      await at.insert('before');
      let lent!: Promise<unknown>;
      const nested = at.session.transactional(async () => {
        lent = at.dbContext.withClient(async (client) => {
          await insertInto(client, 'never');
          hasClient.resolve();
          const isRefused = (): Promise<boolean> =>
            client.query('select 1').then(
              () => false,
              (error: unknown) => error instanceof SessionClosedError,
            );
          await waitFor(isRefused, { what: 'the savepoint to be shut' });
        });
        await hasClient.promise;
      });
      await expect(nested).rejects.toMatchObject({ reason: 'unawaited-statements' });
      await lent;
    });
    expect(await at.world.savedTexts()).toEqual(['before']);
  });

  it('F6: transactionTimeoutMs ends a callback that hangs', async () => {
    const request = at.run(() =>
      at.dbContext.withClient(async (client) => {
        await insertInto(client, 'lost');
        await never();
      }),
    );
    await expect(request).rejects.toMatchObject({ constructor: TransactionTimeoutError });
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F6: transactionTimeoutMs cancels what the server runs for it', async () => {
    const request = at.run(() =>
      at.dbContext.withClient((client) => client.query('select pg_sleep(60)')),
    );
    await expect(request).rejects.toMatchObject({ constructor: TransactionTimeoutError });
    await waitFor(
      async () =>
        (
          await at.world.database.query(
            "select 1 from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active' and pid <> pg_backend_pid()",
          )
        ).length === 0,
      { what: 'the statement to be cancelled' },
    );
  });

  it('F6: transactionTimeoutMs ends a copy that nobody ends', async () => {
    const request = at.run(() =>
      at.dbContext.withClient(async (client) => {
        client.query(copyFrom('copy note (text) from stdin')).write('half\n');
        await never();
      }),
    );
    await expect(request).rejects.toMatchObject({ constructor: TransactionTimeoutError });
    expect(await at.world.savedTexts()).toEqual([]);
  });

  const pidOf = async (client: TransactionClient): Promise<number> =>
    (await client.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]!.pid;
  const kill = async (pid: number): Promise<unknown> =>
    at.world.database.query('select pg_terminate_backend($1)', [pid]);
  const losses: readonly (readonly [string, (client: TransactionClient) => Promise<unknown>])[] = [
    ['a killed backend', async (client) => kill(await pidOf(client))],
    ['a COMMIT as SQL', (client) => client.query('commit')],
  ];
  it.each(losses)(
    'F6: after %s, transactionTimeoutMs ends a callback that hangs',
    async (_, lose) => {
      const request = at.run(() =>
        at.dbContext.withClient(async (client) => {
          await lose(client);
          await never();
        }),
      );
      await expect(request).rejects.toMatchObject({
        code: expect.stringMatching(/^(UNEXPECTED_ROLLBACK|INVALID_TRANSACTION_STATE)$/),
      });
    },
  );

  it.each([1, 5, 9, 20])(
    'F6: a stream of pg-query-stream whose backend is killed at row %i ends with an error',
    async (row) => {
      const request = at.run(() =>
        at.dbContext.withClient(async (client) => {
          const pid = await pidOf(client);
          const sql = 'select * from generate_series(1, 100000)';
          let read = 0;
          for await (const _ of client.query(new QueryStream(sql, [], { batchSize: 10 }))) {
            if (++read === row) {
              await kill(pid);
            }
          }
        }),
      );
      await expect(request).rejects.toMatchObject({
        message: expect.stringMatching(/terminating connection|Connection terminated|ECONNRESET/),
      });
    },
  );

  it('F6: cursors whose backend is killed fail, and close', async () => {
    const request = at.run(() =>
      at.dbContext.withClient(async (client) => {
        const pid = await pidOf(client);
        const cursor = client.query(new Cursor('select * from generate_series(1, 100000)'));
        await cursor.read(1);
        await kill(pid);
        const failures = await Promise.allSettled([cursor.read(1), cursor.read(1)]);
        expect(failures.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
        await cursor.close();
      }),
    );
    await expect(request).rejects.toMatchObject({ reason: 'connection-lost' });
  });

  it('F6: a statement with a signal that fires while the client is lent is never sent', async () => {
    const controller = new AbortController();
    const hasClient = deferred();
    const release = deferred();
    await at.run(async () => {
      const lent = at.dbContext.withClient(async (client) => {
        hasClient.resolve();
        await release.promise;
        await insertInto(client, 'by pg');
      });
      await hasClient.promise;
      const found = at.session.find(Note, {}, { signal: controller.signal });
      controller.abort(new Error('left'));
      release.resolve();
      await expect(found).rejects.toThrow('left');
      await lent;
    });
    expect(await at.world.savedTexts()).toEqual(['by pg']);
    expect(at.world.proxy.log.filter((sql) => sql.startsWith('select'))).toEqual([]);
  });
});

describe('withClient() in requests', () => {
  const hasClient = { current: deferred() };
  let ended: Promise<unknown>;

  @Controller()
  class HangingController {
    constructor(private readonly dbContext: DbContext) {}

    @Post('hang')
    hang(): Promise<unknown> {
      const lent = this.dbContext.withClient(async (client) => {
        await insertInto(client, 'lost');
        hasClient.current.resolve();
        return never();
      });
      ended = lent.catch((error: unknown) => error);
      return lent;
    }
  }

  const at = useWorld(
    () =>
      startWorld(
        { drainTimeoutMs: 300 },
        {
          controllers: [HangingController],
          contextTimeoutMs: 300,
          onDisconnect: 'rollback',
        },
      ),
    { hasLateWork: true },
  );

  it('F6: contextTimeoutMs ends it, and answers the request', async () => {
    const response = await at.world.fetch('/hang', { method: 'POST' });
    expect(response.status).toBe(503);
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F1: a client that leaves ends it, and that is the reason that it is given', async () => {
    hasClient.current = deferred();
    const controller = new AbortController();
    const left = at.world.fetch('/hang', { method: 'POST', signal: controller.signal });
    await hasClient.current.promise;
    controller.abort();
    await expect(left).rejects.toMatchObject({ name: 'AbortError' });
    await waitFor(() => at.world.pool().checkedOut === 0, { what: 'its connection to be back' });
    expect(await ended).toMatchObject({
      constructor: UnexpectedRollbackError,
      reason: 'context-ended',
      message: expect.stringContaining('the client went away'),
    });
    expect(await at.world.savedTexts()).toEqual([]);
  });
});

describe('withClient() and pools that run dry', () => {
  const at = useWorld(
    () => startWorld({ poolMax: 1, acquireTimeoutMs: 5_000, deadlockTimeoutMs: 50 }),
    { hasLateWork: true },
  );

  it('C3: a callback that waits for a further connection is found out as any holder of one', async () => {
    const request = at.run(() =>
      at.dbContext.withClient(() => at.dbContext.runInNewContext(() => at.insert('never'))),
    );
    await expect(request).rejects.toMatchObject({ code: 'POOL_DEADLOCK' });
  });
});
