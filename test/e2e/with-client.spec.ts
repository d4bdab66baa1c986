import type { EntityManager } from '@mikro-orm/postgresql';
import {
  InvalidTransactionStateError,
  SessionClosedError,
  TransactionAbortedError,
  UnexpectedRollbackError,
  type TransactionClient,
} from 'nestjs-db-context';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { fail, useWorld } from '../support/use-world.js';

const insertInto = (client: TransactionClient, text: string): Promise<unknown> =>
  client.query('insert into note (text) values ($1)', [text]);

const xidOf = async (client: TransactionClient): Promise<string> => {
  const { rows } = await client.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
  return rows[0]!.xid;
};

describe('withClient() gives pg itself in the transaction of the session', () => {
  const at = useWorld();

  it('L3: it begins the transaction where nothing has begun, and is committed with it', async () => {
    const result = await at.run(() =>
      at.dbContext.withClient(async (client) => {
        await insertInto(client, 'by pg');
        return 'what the callback returns';
      }),
    );
    expect(result).toBe('what the callback returns');
    expect(await at.world.savedTexts()).toEqual(['by pg']);
    expect(at.world.proxy.log).toEqual(['begin', 'insert into note (text) values ($1)', 'commit']);
  });

  it('L3: it joins the transaction that has begun, and what follows goes on in it', async () => {
    const seen = await at.run(async () => {
      await at.insert('before');
      const before = await at.xid();
      const [inside, count] = await at.dbContext.withClient(async (client) => [
        await xidOf(client),
        (await client.query('select * from note')).rowCount,
      ]);
      return { before, inside, count, after: await at.xid() };
    });
    expect(seen).toEqual({
      before: seen.before,
      inside: seen.before,
      count: 1,
      after: seen.before,
    });
  });

  it('S2: what it wrote is undone with the context', async () => {
    const request = at.run(async () => {
      await at.dbContext.withClient((client) => insertInto(client, 'undone'));
      fail();
    });
    await expect(request).rejects.toThrow(new Error('undo'));
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('C6: inside of a nested transaction it belongs to the savepoint', async () => {
    await at.run(async () => {
      await at.dbContext.withClient((client) => insertInto(client, 'kept'));
      await at.session
        .transactional(async () => {
          await at.dbContext.withClient((client) => insertInto(client, 'undone'));
          fail();
        })
        .catch(() => undefined);
      await at.session.transactional(() =>
        at.dbContext.withClient((client) => insertInto(client, 'kept as well')),
      );
    });
    expect(await at.world.savedTexts()).toEqual(['kept', 'kept as well']);
  });

  it('C6: inside of requires_new it belongs to that transaction', async () => {
    const request = at.run(async () => {
      const outer = await at.xid();
      const inner = await at.session.transactional(
        () =>
          at.dbContext.withClient(async (client) => {
            await insertInto(client, 'of the inner one');
            return xidOf(client);
          }),
        { propagation: 'requires_new' as never },
      );
      expect(inner).not.toBe(outer);
      await at.dbContext.withClient((client) => insertInto(client, 'of the outer one'));
      fail();
    });
    await expect(request).rejects.toThrow(new Error('undo'));
    expect(await at.world.savedTexts()).toEqual(['of the inner one']);
  });

  it('W3: inside of not_supported there is no transaction to lend from', async () => {
    await at.run(() =>
      at.session.transactional(
        async () => {
          await expect(
            at.dbContext.withClient((client) => insertInto(client, 'never')),
          ).rejects.toMatchObject({
            constructor: InvalidTransactionStateError,
            message: expect.stringContaining('withClient() was called inside of "not_supported"'),
          });
        },
        { propagation: 'not_supported' as never },
      ),
    );
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('C7: it works under the settings of the transaction', async () => {
    const rows = await at.run(() =>
      at.dbContext.atomic(
        () =>
          at.dbContext.withClient(async (client) => {
            const level = await client.query('show transaction_isolation');
            return level.rows;
          }),
        { isolationLevel: 'serializable' },
      ),
    );
    expect(rows).toEqual([{ transaction_isolation: 'serializable' }]);
  });

  it('S5: outside of a context it is refused', async () => {
    await expect(at.dbContext.withClient(() => 1)).rejects.toMatchObject({
      code: 'DB_CONTEXT_NOT_ACTIVE',
    });
    await expect(
      at.run(() => at.dbContext.withClient(() => 1, { connection: 'none' })),
    ).rejects.toMatchObject({ code: 'UNKNOWN_CONNECTION' });
  });

  it('F3: no statement of the session runs while the callback has the client', async () => {
    const hasClient = deferred();
    const isOver = deferred();
    const meanwhile = (): string[] => at.world.proxy.log.filter((sql) => /meanwhile/.test(sql));
    await at.run(async () => {
      const lent = at.dbContext.withClient(async (client) => {
        hasClient.resolve();
        // A statement that nothing holds back is with the server long before these are answered.
        for (let trip = 0; trip < 10; trip++) {
          await client.query('select 1');
        }
        expect(meanwhile()).toEqual([]);
        await insertInto(client, 'by pg');
        isOver.resolve();
      });
      await hasClient.promise;
      await Promise.all([
        at.insert('meanwhile'),
        at.session.execute("insert into note (text) values ('meanwhile, too')"),
        at.session.transactional((em) => em.insert(Note, { text: 'meanwhile, in a savepoint' })),
        lent,
        isOver.promise,
      ]);
    });
    const texts = await at.world.savedTexts();
    expect(texts[0]).toBe('by pg');
    expect(texts.toSorted()).toEqual([
      'by pg',
      'meanwhile',
      'meanwhile, in a savepoint',
      'meanwhile, too',
    ]);
  });

  it('F5: it waits for the savepoint of a parallel branch', async () => {
    await at.run(async () => {
      await at.insert('before');
      const branch = at.session
        .transactional(async (em) => {
          await em.insert(Note, { text: 'undone' });
          await em.execute('select pg_sleep(0.05)');
          fail();
        })
        .catch(() => undefined);
      await Promise.all([
        branch,
        at.dbContext.withClient((client) => insertInto(client, 'not of the savepoint')),
      ]);
    });
    expect(await at.world.savedTexts()).toEqual(['before', 'not of the savepoint']);
  });
});

describe('F4: what fails in withClient()', () => {
  const at = useWorld();

  it('F4: a failed statement whose error was swallowed refuses the commit', async () => {
    const request = at.run(async () => {
      await at.dbContext.withClient(async (client) => {
        await insertInto(client, 'lost');
        await client.query('select 1 / 0').catch(() => undefined);
      });
      await expect(at.insert('after')).rejects.toMatchObject({
        constructor: TransactionAbortedError,
        cause: expect.objectContaining({ code: '22012' }),
      });
    });
    await expect(request).rejects.toMatchObject({
      constructor: UnexpectedRollbackError,
      reason: 'failed-statement',
      cause: expect.objectContaining({ code: '22012' }),
    });
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F4: an error after a failed statement reaches the caller as it is, and the transaction has failed', async () => {
    const own = new Error('of the application');
    const request = at.run(async () => {
      await at.dbContext
        .withClient(async (client) => {
          await client.query('select 1 / 0').catch(() => undefined);
          throw own;
        })
        .catch((error: unknown) => expect(error).toBe(own));
    });
    await expect(request).rejects.toMatchObject({
      constructor: UnexpectedRollbackError,
      cause: expect.objectContaining({ code: '22012' }),
    });
  });

  it('F4: an error of the callback alone leaves the transaction usable', async () => {
    await at.run(async () => {
      await expect(
        at.dbContext.withClient(async (client) => {
          await insertInto(client, 'kept');
          fail();
        }),
      ).rejects.toThrow(new Error('undo'));
      await at.insert('after');
    });
    expect(await at.world.savedTexts()).toEqual(['kept', 'after']);
  });

  it('F4: a callback that throws at once is a rejection', async () => {
    await at.run(async () => {
      await expect(at.dbContext.withClient(() => fail())).rejects.toThrow(new Error('undo'));
      await at.insert('after');
    });
    expect(await at.world.savedTexts()).toEqual(['after']);
  });

  it('F4: what a savepoint of the callback undid does not refuse the commit', async () => {
    await at.run(() =>
      at.dbContext.withClient(async (client) => {
        await insertInto(client, 'before');
        await client.query('savepoint mine');
        await client.query('select 1 / 0').catch(() => undefined);
        await client.query('rollback to savepoint mine');
        await insertInto(client, 'after');
      }),
    );
    expect(await at.world.savedTexts()).toEqual(['before', 'after']);
  });

  it('F4: what failed in a nested transaction is undone with it', async () => {
    await at.run(async () => {
      await at.insert('before');
      await expect(
        at.session.transactional(() =>
          at.dbContext.withClient((client) => client.query('select 1 / 0')),
        ),
      ).rejects.toMatchObject({ code: '22012' });
      await at.insert('after');
    });
    expect(await at.world.savedTexts()).toEqual(['before', 'after']);
  });

  it.each([
    ['commit', ['by hand']],
    ['rollback', []],
    ['commit and chain', ['by hand']],
    ['rollback; begin', []],
  ])('F4: %j is found out, and nothing after it is sent', async (text, saved) => {
    const request = at.run(async () => {
      await at.dbContext.withClient(async (client) => {
        await insertInto(client, 'by hand');
        await client.query(text);
        await expect(insertInto(client, 'late')).rejects.toMatchObject({
          constructor: TransactionAbortedError,
          cause: expect.any(InvalidTransactionStateError),
        });
      });
      await expect(at.insert('after')).rejects.toMatchObject({
        constructor: TransactionAbortedError,
      });
    });
    await expect(request).rejects.toMatchObject({
      constructor: InvalidTransactionStateError,
      message: expect.stringContaining(
        saved.length > 0
          ? 'a plain COMMIT statement ended the transaction, so what it did stands'
          : 'a plain ROLLBACK statement ended the transaction, so what it did is undone',
      ),
    });
    expect(await at.world.savedTexts()).toEqual(saved);
    expect(at.world.proxy.log.filter((sql) => sql.includes('late'))).toEqual([]);
  });

  it('F4: a COMMIT in a query object is found out as the callback returns', async () => {
    const request = at.run(() =>
      at.dbContext.withClient(async (client) => {
        const { default: pg } = await import('pg');
        await insertInto(client, 'by hand');
        await new Promise<void>((resolve) => {
          const query = new pg.Query('commit');
          query.on('end', () => resolve());
          client.query<typeof query>(query);
        });
      }),
    );
    await expect(request).rejects.toMatchObject({
      constructor: InvalidTransactionStateError,
      message: expect.stringContaining('a plain COMMIT statement'),
    });
  });

  it('F1: a backend that is killed costs the transaction, and no slot of the pool', async () => {
    const request = at.run(() =>
      at.dbContext.withClient(async (client) => {
        const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
        await at.world.database.query('select pg_terminate_backend($1)', [rows[0]!.pid]);
        await insertInto(client, 'never');
      }),
    );
    const error = (await request.catch((reason: unknown) => reason)) as {
      readonly code: string;
      readonly cause?: { readonly code?: string };
    };
    // Where the loss has been noticed before the insert, that is refused, with the loss as its cause.
    expect(error.code === 'TRANSACTION_ABORTED' ? error.cause?.code : error.code).toBe('57P01');
    expect(await at.world.savedTexts()).toEqual([]);
  });
});

describe('what the client of withClient() lets nobody do', () => {
  const at = useWorld();

  it('S5: a client that was kept sends nothing after the callback has ended', async () => {
    await at.run(async () => {
      let kept!: TransactionClient;
      let query!: TransactionClient['query'];
      await at.dbContext.withClient((client) => {
        kept = client;
        // oxlint-disable-next-line typescript/unbound-method -- a method that is kept is what this is about
        query = client.query;
      });
      for (const late of [() => insertInto(kept, 'late'), () => query('select 1')]) {
        await expect(late()).rejects.toMatchObject({
          constructor: SessionClosedError,
          message: expect.stringContaining('the callback of withClient() has ended'),
        });
      }
      expect(() => kept.escapeLiteral('a')).toThrow(SessionClosedError);
      const refused = deferred<unknown>();
      const submit = (): void => refused.resolve('submitted');
      kept.query({ submit, handleError: refused.resolve });
      expect(await refused.promise).toBeInstanceOf(SessionClosedError);
      expect(() => (kept as unknown as { connection: unknown }).connection).toThrow(
        SessionClosedError,
      );
      // A promise that is resolved with it asks for this.
      expect(await Promise.resolve(kept)).toBe(kept);
    });
    expect(at.world.proxy.log).toEqual(['begin', 'commit']);
  });

  it.each(['release', 'end', 'connect', 'setTypeParser'])(
    'F1: %s() is refused, and the transaction goes on',
    async (method) => {
      await at.run(async () => {
        await at.dbContext.withClient(async (client) => {
          const call = (client as unknown as Record<string, () => unknown>)[method]!;
          expect(() => call.call(client)).toThrow(InvalidTransactionStateError);
          expect(() => call.call(client)).toThrow(
            `${method}() was called on the client of withClient()`,
          );
          await insertInto(client, 'kept');
        });
      });
      expect(await at.world.savedTexts()).toEqual(['kept']);
    },
  );

  it('F7: listeners and properties of the callback do not stay on the client', async () => {
    const names = ['notice', 'notification', 'drain'] as const;
    const look = (client: unknown): unknown => {
      const real = client as NodeJS.EventEmitter & { mine?: string };
      return [...names.map((name) => real.listenerCount(name)), real.mine];
    };
    await at.run(async () => {
      const before = await at.dbContext.withClient((client) => look(client));
      await at.dbContext.withClient((client) => {
        const emitter = client as unknown as NodeJS.EventEmitter & { mine?: string };
        expect(emitter.on('notice', () => undefined)).toBe(emitter);
        emitter.once('notification', () => undefined);
        emitter.prependListener('drain', () => undefined);
        emitter.mine = 'a mark';
        expect(emitter.mine).toBe('a mark');
        expect(emitter.listenerCount('notice')).toBe(1);
      });
      expect(await at.dbContext.withClient((client) => look(client))).toEqual(before);
    });
  });

  it('it is a client of pg for those who look', async () => {
    const { default: pg } = await import('pg');
    await at.run(() =>
      at.dbContext.withClient((client: EntityManager | object) => {
        expect(client).toBeInstanceOf(pg.Client);
      }),
    );
  });

  it('callbacks and configuration objects work as with pg', async () => {
    const seen = await at
      .run(() =>
        at.dbContext
          .withClient(async (client) => {
            const raw = client as unknown as {
              query(...args: readonly unknown[]): unknown;
            };
            const byCallback = await new Promise<unknown>((resolve) => {
              raw.query('select $1::int as a', [1], (_: unknown, result: { rows: unknown[] }) =>
                resolve(result.rows),
              );
            });
            const error = await new Promise<unknown>((resolve) => {
              raw.query('savepoint a; select 1 / 0', (failure: unknown) => resolve(failure));
            });
            await client.query('rollback');
            return [byCallback, error];
          })
          .catch((error: unknown) => error),
      )
      .catch((error: unknown) => error);
    expect(seen).toBeInstanceOf(InvalidTransactionStateError);
    const rows = await at.run(() =>
      at.dbContext.withClient(async (client) => {
        const result = await client.query<[number]>({
          text: 'select $1::int as a',
          values: [1],
          rowMode: 'array',
        });
        return result.rows;
      }),
    );
    expect(rows).toEqual([[1]]);
  });
});
