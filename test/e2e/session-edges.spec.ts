import { once } from 'node:events';
import { type AddressInfo, type Socket, connect, createServer } from 'node:net';
import v8 from 'node:v8';
import vm from 'node:vm';

import {
  LockMode,
  RequestContext,
  TransactionPropagation,
  type EventArgs,
  type EventSubscriber,
} from '@mikro-orm/core';
import { Transactional } from '@mikro-orm/decorators/legacy';
import { defineConfig, EntityManager, type Options } from '@mikro-orm/postgresql';
import { Controller, Get } from '@nestjs/common';
import {
  DbContextNotActiveError,
  SessionClosedError,
  TransactionTimeoutError,
  ShuttingDownError,
  UnexpectedRollbackError,
  type ConnectionLimits,
} from 'nestjs-db-context';
import { Client } from 'pg';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred } from '../support/deferred.js';
import { Author, Book, LIBRARY_SCHEMA } from '../support/library.entities.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import {
  noteConnection,
  startApp,
  type TestApp,
  type TestAppOptions,
} from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { WireProxy } from '../support/wire-proxy.js';

let database: TestDatabase;
let otherDatabase: TestDatabase;
let proxy: WireProxy;
let app: TestApp;
let session: EntityManager;

class OwnEntityManager extends EntityManager {
  countNotes(): Promise<number> {
    return this.count(Note, {});
  }
}

@Controller()
class PersistController {
  @Get('persist')
  persist(): string {
    session.persist(new Note('persisted'));
    return 'ok';
  }
}

async function start(
  options: Partial<Options> & ConnectionLimits = {},
  appOptions: Partial<TestAppOptions> = {},
): Promise<void> {
  const limits = {
    acquireTimeoutMs: 1_000,
    savepointTimeoutMs: 700,
    drainTimeoutMs: 500,
    endTimeoutMs: 1_000,
    transactionTimeoutMs: 4_000,
  };
  app = await startApp({
    connections: [
      {
        ...defineConfig({
          clientUrl: proxy.url,
          entities: [Note, Author, Book],
          pool: { min: 0, max: 2 },
        }),
        ...limits,
        ...options,
      } as TestAppOptions['connections'][number],
      noteConnection(otherDatabase.url, { name: 'other', ...limits }),
    ],
    controllers: [PersistController],
    shutdownTimeoutMs: 50,
    ...appOptions,
  });
  session = app.session();
}

beforeAll(async () => {
  [database, otherDatabase] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  await database.query(NOTE_SCHEMA);
  await database.query(LIBRARY_SCHEMA);
  await otherDatabase.query(NOTE_SCHEMA);
});

afterAll(async () => {
  await database.drop();
  await otherDatabase.drop();
});

beforeEach(async () => {
  proxy = await WireProxy.start(database.url);
  await database.query('truncate note, author, book restart identity');
  await otherDatabase.query('truncate note restart identity');
});

afterEach(async () => {
  const { checkedOut, waiting } = app.pool();
  // The proxy goes first: a connection that leaked would keep the application from closing.
  proxy.onStatement = undefined;
  await proxy.stop();
  await app.close();
  expect({ checkedOut, waiting }).toEqual({ checkedOut: 0, waiting: 0 });
});

const run = <T>(callback: () => Promise<T>): Promise<T> => app.dbContext.run(callback);
const insert = (text: string): Promise<unknown> => session.insert(Note, { text });
const saved = async (where = database): Promise<string[]> =>
  (await where.query<{ text: string }>('select text from note order by id')).map(
    ({ text }) => text,
  );
const xid = async (em: EntityManager = session): Promise<string> => {
  const [row] = await em.execute<{ xid: string }[]>('select pg_current_xact_id()::text as xid');
  return row!.xid;
};
const subscribe = (subscriber: EventSubscriber, connection = 'default'): void =>
  app.connection(connection).orm.em.getEventManager().registerSubscriber(subscriber);
/** `ok`, or the class of the error. */
const outcome = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: Error) => error.constructor.name,
  );
const failed = (): never => {
  throw new Error('undo');
};
const ticks = async (count: number): Promise<void> => {
  for (let index = 0; index < count; index++) {
    await Promise.resolve();
  }
};

describe('hooks that use the injected session', () => {
  const auditCreations: EventSubscriber = {
    async afterCreate({ entity }: EventArgs<object>) {
      const { text } = entity as Note;
      if (!text.startsWith('audit')) {
        await insert(`audit ${text}`);
      }
    },
  };

  it('S3: the flush of the settlement runs them inside the context', async () => {
    await start();
    subscribe(auditCreations);
    await run(async () => {
      session.persist(new Note('x'));
    });
    expect(await saved()).toEqual(['x', 'audit x']);
  });

  it('S8: while a request is being settled its context is still the active one, and is joined', async () => {
    await start();
    const seen: unknown[] = [];
    subscribe({
      async afterCreate({ entity, em }: EventArgs<object>) {
        if ((entity as Note).text === 'persisted') {
          const own = await xid(em as EntityManager);
          seen.push(app.dbContext.isActive());
          seen.push(
            await outcome(run(() => app.dbContext.session().insert(Note, { text: 'hook' }))),
          );
          seen.push((await run(() => xid())) === own);
        }
      },
    });
    const { status } = await app.fetch('/persist');
    expect({ status, seen }).toEqual({ status: 200, seen: [true, 'ok', true] });
    expect(await saved()).toEqual(['persisted', 'hook']);
  });

  it('F5: the flush at the end of em.transactional() runs them inside its savepoint', async () => {
    await start();
    subscribe(auditCreations);
    await run(async () => {
      await session
        .transactional(async (em) => {
          em.persist(new Note('undone'));
          await em.flush();
          failed();
        })
        .catch(() => undefined);
      await session.transactional(async (em) => {
        em.persist(new Note('inside'));
      });
    });
    expect(await saved()).toEqual(['inside', 'audit inside']);
  });

  it('C6: begin and commit of em.transactional() do, too', async () => {
    await start();
    let count = 0;
    subscribe({
      afterTransactionStart: async () => void (await insert(`start ${++count}`)),
      beforeTransactionCommit: async () => void (await insert(`commit ${++count}`)),
    });
    await run(async () => {
      await insert('before');
      await session.transactional(() => insert('inside'));
    });
    const steps = 'start 1, before, start 2, inside, commit 3, commit 4';
    expect((await saved()).join(', ')).toBe(steps);
  });

  it('M1: what a flush puts into a session that had been flushed before is not lost', async () => {
    await start();
    let first!: EntityManager;
    subscribe(
      {
        async afterCreate() {
          first.persist(new Note('audit'));
        },
      },
      'other',
    );
    await run(async () => {
      await session.find(Note, {});
      first = app.dbContext.getSession()!;
      app.session('other').persist(new Note('x'));
    });
    expect([await saved(otherDatabase), await saved()]).toEqual([['x'], ['audit']]);
  });
});

describe('gates of savepoints', () => {
  it('F3: an inner savepoint writes nothing while an outer one is being rolled back', async () => {
    await start();
    await run(async () => {
      const innerIsOpen = deferred();
      const isRollingBack = deferred();
      const goOn = deferred();
      proxy.onStatement = async (sql) => {
        if (sql.startsWith('rollback to savepoint')) {
          isRollingBack.resolve();
          await goOn.promise;
        }
      };
      let late!: Promise<unknown>;
      let inner!: Promise<unknown>;
      const outer = session.transactional(async () => {
        inner = session.transactional(async () => {
          await insert('inner');
          innerIsOpen.resolve();
          await isRollingBack.promise;
          late = insert('late');
          await ticks(50);
          goOn.resolve();
          await late;
        });
        inner.catch(() => undefined);
        await innerIsOpen.promise;
        failed();
      });
      await expect(outer).rejects.toThrow('undo');
      await expect(inner).rejects.toBeInstanceOf(SessionClosedError);
      await expect(late).rejects.toBeInstanceOf(SessionClosedError);
      await insert('after');
    });
    expect(await saved()).toEqual(['after']);
  });

  it('F3: what a savepoint left behind is refused, also by a Kysely from outside of it', async () => {
    await start();
    await run(async () => {
      await insert('kept');
      const ended = deferred();
      const kysely = session.getKysely<{ note: { text: string } }>();
      let late!: Promise<unknown>;
      await session
        .transactional(async () => {
          late = ended.promise.then(() =>
            kysely.insertInto('note').values({ text: 'late' }).execute(),
          );
          failed();
        })
        .catch(() => undefined);
      ended.resolve();
      await expect(late).rejects.toBeInstanceOf(SessionClosedError);
    });
    expect(await saved()).toEqual(['kept']);
  });

  it.each([TransactionPropagation.REQUIRES_NEW, TransactionPropagation.NOT_SUPPORTED])(
    'F3: %s inside em.transactional() puts no parallel statement into autocommit',
    async (propagation) => {
      await start();
      await run(async () => {
        const isInside = deferred();
        const goOn = deferred();
        const outer = session.transactional(async () => {
          await insert('first');
          const other = session.transactional(
            async () => {
              isInside.resolve();
              await goOn.promise;
            },
            { propagation },
          );
          await isInside.promise;
          await insert('parallel').finally(() => goOn.resolve());
          await other;
          failed();
        });
        await expect(outer).rejects.toThrow('undo');
      });
      expect(await saved()).toEqual([]);
    },
  );

  it('F4: em.transactional() does not resolve when its work was rolled back under it', async () => {
    await start();
    const nested = await run(() =>
      outcome(
        session.transactional(async () => {
          await insert('inside');
          await app.dbContext.close();
        }),
      ),
    );
    expect({ nested, saved: await saved() }).not.toEqual({ nested: 'ok', saved: [] });
  });

  it.each(['commitAll', 'rollbackAll', 'close', 'closeAll'] as const)(
    'C6: dbContext.%s() inside em.transactional() is refused like commit()',
    async (end) => {
      await start();
      let refused: unknown;
      const result = await outcome(
        run(() =>
          session.transactional(async () => {
            await insert('inside');
            refused = await app.dbContext[end]().catch((error: unknown) => error);
          }),
        ),
      );
      expect(refused).toMatchObject({ code: 'INVALID_TRANSACTION_STATE' });
      expect({ result, saved: await saved() }).toEqual({ result: 'ok', saved: ['inside'] });
    },
  );

  it('F6: a wait for a savepoint of a transaction that ran out of time fails with its timeout', async () => {
    await start({ transactionTimeoutMs: 300, savepointTimeoutMs: 2_000 });
    let received = '';
    await run(async () => {
      const isInside = deferred();
      const hangs = deferred();
      const nested = session.transactional(async () => {
        await insert('a');
        isInside.resolve();
        await hangs.promise;
      });
      nested.catch(() => undefined);
      await isInside.promise;
      received = await outcome(insert('b'));
      hangs.resolve();
    }).catch(() => undefined);
    expect(received).toBe(TransactionTimeoutError.name);
  });
});

describe('ends that meet', () => {
  it('S4: a rollback() that came first is not overtaken by a commit()', async () => {
    await start();
    const goOn = deferred();
    let isHeld = true;
    subscribe({ beforeTransactionRollback: () => (isHeld ? goOn.promise : undefined) });
    await run(async () => {
      await insert('undone');
      const rollback = session.rollback();
      const commit = outcome(session.commit()).finally(() => goOn.resolve());
      // With the ends serialised, the commit waits for the rollback.
      await ticks(500);
      goOn.resolve();
      await rollback;
      await commit;
    });
    isHeld = false;
    expect(await saved()).toEqual([]);
  });

  it('S4: parallel commits are one', async () => {
    await start();
    await run(async () => {
      await insert('saved');
      const both = [outcome(session.commit()), outcome(session.commit())];
      expect(await Promise.all(both)).toEqual(['ok', 'ok']);
    });
    expect(await saved()).toEqual(['saved']);
  });

  it('F4: the settlement waits for a commit() that nobody awaited, and has its outcome', async () => {
    await start();
    const result = await outcome(
      run(async () => {
        await insert('saved');
        session.commit().catch(() => undefined);
      }),
    );
    expect({ result, saved: await saved() }).toEqual({ result: 'ok', saved: ['saved'] });
  });

  it('F1: a rollback() during a COMMIT orphans no transaction', async () => {
    await start();
    await run(async () => {
      await insert('first');
      const isCommitting = deferred();
      const goOn = deferred();
      proxy.onStatement = async (sql) => {
        if (sql === 'commit') {
          isCommitting.resolve();
          await goOn.promise;
        }
      };
      const commit = session.commit();
      await isCommitting.promise;
      const second = session.rollback().then(() => insert('second'));
      await ticks(500);
      goOn.resolve();
      await commit;
      await second;
      await insert('third');
    });
    expect(await saved()).toEqual(['first', 'second', 'third']);
    expect(app.pool().checkedOut).toBe(0);
  });

  it('S4: a context that was rolled back is settled once: a later commit of it fails, and sends nothing', async () => {
    await start();
    const registry = app.app.get(ContextRegistry);
    const context = registry.open('a transport');
    registry.runIn(context, () => session.persist(new Note('lost')));
    await registry.abandon(context);
    await expect(registry.settle(context, 'commit')).rejects.toMatchObject({
      code: 'UNEXPECTED_ROLLBACK',
      reason: 'context-ended',
    });
    await expect(registry.settle(context, 'rollback')).resolves.toBeUndefined();
    expect(await saved()).toEqual([]);
    expect(app.pool().checkedOut).toBe(0);
  });

  it('S1: an abandoned context fails its commit also when work was lost that was only persisted', async () => {
    await start();
    const isInside = deferred();
    const goOn = deferred();
    const work = outcome(
      run(async () => {
        session.persist(new Note('lost'));
        isInside.resolve();
        await goOn.promise;
      }),
    );
    await isInside.promise;
    const closing = app.close();
    await waitFor(() => app.connection().isClosed, { what: 'the connections to be closed' });
    goOn.resolve();
    expect(await work).toBe(ShuttingDownError.name);
    await closing;
  });

  it('C6: a fork that shares the transaction cannot end it', async () => {
    await start();
    await run(async () => {
      await insert('a');
      const fork = session.fork({ keepTransactionContext: true });
      await expect(fork.commit()).rejects.toMatchObject({ code: 'INVALID_TRANSACTION_STATE' });
      await expect(fork.rollback()).rejects.toMatchObject({ code: 'INVALID_TRANSACTION_STATE' });
      await insert('b');
    });
    expect(await saved()).toEqual(['a', 'b']);
  });

  it('F3: a statement that meets a commit() at any point is saved as its caller was answered, or refused', async () => {
    await start();
    for (let count = 0; count < 60; count++) {
      await database.query('truncate note');
      let late = '';
      let commit = '';
      await run(async () => {
        await insert('a');
        const committing = outcome(session.commit());
        await ticks(count);
        const inserting = outcome(insert('late'));
        commit = await committing;
        late = await inserting;
      }).catch(() => undefined);
      const isSaved = (await saved()).includes('late');
      expect({ count, isSaved }).toEqual({ count, isSaved: late === 'ok' && commit === 'ok' });
      expect(app.pool().checkedOut).toBe(0);
    }
  });

  it('F3: so is a flush() that nobody awaited', async () => {
    await start();
    for (let count = 0; count < 60; count++) {
      await database.query('truncate note');
      let flushed = '';
      const result = await outcome(
        run(async () => {
          await insert('a');
          session.persist(new Note('b'));
          const flushing = outcome(session.flush());
          await ticks(count);
          await session.commit();
          flushed = await flushing;
          await insert('c');
        }),
      );
      const texts = await saved();
      expect({ count, result, flushed, texts }).toEqual(
        result === 'ok'
          ? { count, result, flushed: 'ok', texts: ['a', 'b', 'c'] }
          : { count, result, flushed, texts: [] },
      );
    }
  });

  it('F1: closing at any point of a BEGIN leaves no connection behind', async () => {
    await start({ pool: { min: 0, max: 1 } });
    for (let count = 0; count < 80; count++) {
      await run(async () => {
        insert('never').catch(() => undefined);
        await ticks(count);
        await app.dbContext.close();
      });
      await waitFor(() => app.pool().checkedOut === 0, { what: 'the connection to be back' });
    }
    expect(await saved()).toEqual([]);
  });

  it('F6: a flush hook that asks for the end that it is part of is refused, and does not wait for it', async () => {
    await start({ transactionTimeoutMs: 1_000 });
    let received: string | undefined;
    subscribe({
      async afterCreate() {
        received = await outcome(app.dbContext.commitAll());
      },
    });
    const result = run(async () => {
      session.persist(new Note('x'));
      await session.commit();
    });
    result.catch(() => undefined);
    await waitFor(() => received !== undefined, {
      what: 'the outcome of commitAll() in the hook',
      timeoutMs: 3_000,
    });
    expect(received).not.toBe('ok');
    await Promise.allSettled([result]);
  });

  it('S5: what returns a promise rejects outside a context, and does not throw', async () => {
    await start();
    for (const call of [
      () => session.transactional(async () => undefined),
      () => session.begin(),
      () => session.commit(),
      () => session.rollback(),
    ]) {
      let result: Promise<unknown> | undefined;
      expect(() => {
        result = call();
      }).not.toThrow();
      await expect(result).rejects.toBeInstanceOf(DbContextNotActiveError);
    }
  });
});

describe('the unit of work around a savepoint', () => {
  it('S3: pending changes of the session outlive the rollback of a nested transaction', async () => {
    await start();
    await database.query(`insert into note (text) values ('old')`);
    await run(async () => {
      const note = await session.findOneOrFail(Note, { text: 'old' });
      note.text = 'new';
      session.persist(new Note('pending'));
      await session
        .transactional(async (em) => {
          await em.flush();
          failed();
        })
        .catch(() => undefined);
    });
    expect(await saved()).toEqual(['new', 'pending']);
  });

  it('C7: the isolation level of em.transactional() as the first thing is not dropped', async () => {
    await start();
    await run(() =>
      session.transactional(
        async () => {
          expect(await session.execute('show transaction_isolation')).toEqual([
            { transaction_isolation: 'serializable' },
          ]);
        },
        { isolationLevel: 'serializable' as never },
      ),
    );
  });

  it('C6: the options object of em.transactional() may be a constant', async () => {
    await start();
    const options = { propagation: TransactionPropagation.NESTED };
    await run(() => session.transactional(() => insert('x'), options));
    expect(Object.keys(options)).toEqual(['propagation']);
  });

  it('L3: collections and references load after commit() and rollback(), in the next transaction', async () => {
    await start();
    await database.query(`
      insert into author (name) values ('a');
      insert into book (title, author_id) values ('b', 1)`);
    await run(async () => {
      const author = await session.findOneOrFail(Author, 1);
      await session.transactional(failed).catch(() => undefined);
      expect(await author.books.loadItems()).toHaveLength(1);
      await session.rollback();
      expect(await author.books.loadItems({ refresh: true })).toHaveLength(1);
      const book = await session.findOneOrFail(Book, 1);
      await session.commit();
      expect((await book.author.loadOrFail()).name).toBe('a');
      await session.transactional(async (em) => {
        const found = await em.findOneOrFail(Author, 1);
        await em.refresh(found);
        await em.lock(found, LockMode.PESSIMISTIC_WRITE);
        await em.upsert(Author, { id: 1, name: 'z' });
      });
    });
    expect(await database.query('select name from author')).toEqual([{ name: 'z' }]);
  });

  it('L3: a stream broken off closes its cursor, and one outlives a savepoint that was undone', async () => {
    await start();
    await database.query(`insert into note (text) select 'n' || i from generate_series(1, 300) i`);
    await run(async () => {
      const seen: string[] = [];
      for await (const note of session.stream(Note, {})) {
        seen.push(note.text);
        break;
      }
      expect(seen).toEqual(['n1']);
      expect(await session.execute('select name from pg_cursors')).toEqual([]);
      let count = 0;
      for await (const note of session.stream(Note, {})) {
        count += note.text.length > 0 ? 1 : 0;
        if (count === 5) {
          await session.transactional(failed).catch(() => undefined);
        }
      }
      expect(count).toBe(300);
    });
  });

  it('L3: refuses to stream a statement that writes in a WITH, for which there is no cursor', async () => {
    await start();
    await run(async () => {
      const rows = session
        .getKysely<{ note: { text: string } }>()
        .with('written', (db) => db.insertInto('note').values({ text: 'x' }).returning('text'))
        .selectFrom('written')
        .selectAll()
        .stream();
      await expect(rows.next()).rejects.toMatchObject({ code: 'STREAM_REFUSED', reason: 'writes' });
    });
    expect(await saved()).toEqual([]);
  });
});

describe('REQUIRES_NEW', () => {
  const requiresNew = (callback: (em: EntityManager) => Promise<unknown>): Promise<unknown> =>
    session.transactional((em) => callback(em), {
      propagation: TransactionPropagation.REQUIRES_NEW,
    });

  it('F1: a backend that is killed in it costs no slot of the pool', async () => {
    await start();
    for (let index = 0; index < 3; index++) {
      const result = await outcome(
        run(() =>
          requiresNew(async (em) => {
            const [row] = await em.execute<{ pid: number }[]>('select pg_backend_pid() as pid');
            await database.query('select pg_terminate_backend($1, 5000)', [row!.pid]);
            await em.execute('select 1');
          }),
        ),
      );
      expect(result).not.toBe('ok');
    }
    expect(await outcome(run(() => requiresNew((em) => em.insert(Note, { text: 'x' }))))).toBe(
      'ok',
    );
  });

  it('F4: a failure that was swallowed in it refuses its commit', async () => {
    await start();
    const result = await run(() =>
      outcome(
        requiresNew(async (em) => {
          await em.insert(Note, { text: 'a' });
          await em.insert(Note, { text: 'a' }).catch(() => undefined);
        }),
      ),
    );
    expect({ result, saved: await saved() }).toEqual({
      result: UnexpectedRollbackError.name,
      saved: [],
    });
  });
});

describe('connections', () => {
  it('F3: a cancel request that is late hits no statement of another request', async () => {
    const isCancelled = deferred();
    const goOn = deferred();
    const target = new URL(proxy.url);
    // Holds cancel requests back, and passes everything else on.
    const sockets: Socket[] = [];
    const relay = createServer((client) => {
      sockets.push(client);
      client.on('error', () => undefined);
      const forward = (first: Buffer): void => {
        const server = connect(Number(target.port), target.hostname);
        server.on('error', () => undefined);
        server.write(first);
        client.pipe(server);
        server.pipe(client);
      };
      client.once('data', (first) => {
        if (first.length === 16 && first.readInt32BE(4) === 80_877_102) {
          isCancelled.resolve();
          void goOn.promise.then(() => forward(first));
        } else {
          forward(first);
        }
      });
    }).listen(0, '127.0.0.1');
    await once(relay, 'listening');
    const url = new URL(proxy.url);
    url.port = String((relay.address() as AddressInfo).port);
    await start({ clientUrl: url.href, pool: { min: 0, max: 1 } });

    const holder = new Client({ connectionString: database.url });
    await holder.connect();
    await holder.query('select pg_advisory_lock(1), pg_advisory_lock(2)');
    const waiters = (lock: number): Promise<unknown[]> =>
      database.query(
        `select 1 from pg_locks where locktype = 'advisory' and not granted and objid = $1
           and database = (select oid from pg_database where datname = current_database())`,
        [lock],
      );
    const waiting = (lock: number): Promise<void> =>
      waitFor(async () => (await waiters(lock)).length > 0, { what: `a waiter for lock ${lock}` });

    const controller = new AbortController();
    const aborted = run(async () => {
      const statement = session.execute('select pg_advisory_xact_lock(1)', [], {
        signal: controller.signal,
        inflightQueryAbortStrategy: 'cancel query',
      });
      statement.catch(() => undefined);
      await waiting(1);
      controller.abort(new Error('aborted'));
      await expect(statement).rejects.toThrow('aborted');
      await isCancelled.promise;
      // The statement ends by itself before the cancel request gets through.
      await holder.query('select pg_advisory_unlock(1)');
      failed();
    });
    await expect(aborted).rejects.toThrow('undo');

    const innocent = outcome(run(() => session.execute('select pg_advisory_xact_lock(2)')));
    await waiting(2);
    goOn.resolve();
    await waitFor(async () => (await waiters(2)).length === 0, {
      what: 'a victim of the cancel request',
      timeoutMs: 500,
    }).catch(() => undefined);
    await holder.query('select pg_advisory_unlock(2)');
    await holder.end();
    expect(await innocent).toBe('ok');
    relay.close();
    sockets.forEach((socket) => socket.destroy());
  });

  it('F6: an onReserveConnection that hangs is given up on, and costs no slot', async () => {
    const stuck = deferred();
    let hangs = false;
    await start({
      onReserveConnection: async () => (hangs ? stuck.promise : undefined),
      pool: { min: 0, max: 1 },
    });
    await run(() => insert('a'));
    hangs = true;
    let first: string | undefined;
    const hanging = outcome(run(() => insert('b'))).then((result) => (first = result));
    await waitFor(() => first !== undefined, { what: 'the limit', timeoutMs: 3_000 }).catch(
      () => undefined,
    );
    const limited = first;
    hangs = false;
    const next = await outcome(run(() => insert('c')));
    stuck.resolve();
    await hanging;
    expect({ limited, next }).toEqual({ limited: expect.stringContaining('Error'), next: 'ok' });
  });

  it('F3: refuses sessionContext "connection", under which a session would see the variables of another tenant', async () => {
    await start();
    await expect(
      startApp({
        connections: [
          {
            ...defineConfig({
              clientUrl: proxy.url,
              entities: [Note],
              sessionContext: 'connection',
            }),
          } as TestAppOptions['connections'][number],
        ],
      }),
    ).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
  });

  it('C7: the session variables of a fork are not dropped when it becomes the session', async () => {
    await start();
    const fork = app
      .connection()
      .orm.em.fork({ session: { variables: { 'app.tenant': 'A' } } }) as EntityManager;
    const rows = await run(async () => {
      app.dbContext.putSession(fork);
      return session.execute(`select current_setting('app.tenant', true) as tenant`);
    });
    expect(rows).toEqual([{ tenant: 'A' }]);
  });

  it('F1: 1000 transactions leave no listener on a pooled client', async () => {
    await start({ pool: { min: 0, max: 1 } });
    for (let index = 0; index < 1_000; index++) {
      await run(async () => {
        await session.execute('select 1');
        if (index % 3 === 0) {
          failed();
        }
      }).catch(() => undefined);
    }
    const listeners = await run(async () => {
      const pool = (await session.getConnection().getNativeClient()) as {
        once(event: 'acquire', listener: (client: Client) => void): void;
      };
      const acquired = deferred<Client>();
      pool.once('acquire', acquired.resolve);
      await session.execute('select 1');
      return (await acquired.promise).listenerCount('error');
    });
    expect(listeners).toBeLessThanOrEqual(2);
  });

  it('F1: a job that schedules its successor from inside its context retains no session', async () => {
    await start();
    v8.setFlagsFromString('--expose_gc');
    const collectGarbage = vm.runInNewContext('gc') as () => void;
    const sessions: WeakRef<object>[] = [];
    let current: Promise<unknown> = Promise.resolve();
    const done = deferred();
    const job = (rest: number): void => {
      const own = run(async () => {
        await session.execute('select 1');
        sessions.push(new WeakRef(app.dbContext.getSession()!));
        setImmediate(() => {
          void current.then(() => (rest > 0 ? job(rest - 1) : done.resolve()));
        });
      });
      current = own;
    };
    job(50);
    await done.promise;
    await current;
    for (let round = 0; round < 5; round++) {
      collectGarbage();
      await new Promise((resolve) => void setImmediate(resolve));
    }
    expect(sessions).toHaveLength(51);
    expect(sessions.filter((each) => each.deref() !== undefined).length).toBeLessThan(5);
  });

  it('C6: @Transactional(), an EntityManager class of one’s own, and other contexts of MikroORM', async () => {
    await start({ entityManager: OwnEntityManager });
    class Service {
      readonly em = session;

      @Transactional()
      async required(): Promise<string> {
        await insert('required');
        return xid();
      }

      @Transactional({ propagation: TransactionPropagation.NESTED })
      async nested(): Promise<void> {
        await insert('nested');
        failed();
      }
    }
    const service = new Service();
    const { em } = app.connection().orm;
    await RequestContext.create(em, () =>
      run(async () => {
        const own = await service.required();
        expect(await xid()).toBe(own);
        await expect(service.nested()).rejects.toThrow('undo');
        expect(await (session as OwnEntityManager).countNotes()).toBe(1);
        await em.fork().transactional(async (foreign) => {
          const other = await xid(foreign);
          expect(other).not.toBe(own);
          // What MikroORM's TransactionContext says holds for the session, too.
          expect(await xid()).toBe(other);
          await session.transactional(() => insert('savepoint'));
        });
      }),
    );
    expect(await saved()).toEqual(['required', 'savepoint']);
  });
});
