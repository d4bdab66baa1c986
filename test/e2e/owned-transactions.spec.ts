import { Controller, Post } from '@nestjs/common';
import { TransactionPropagation } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  ContextTimeoutError,
  DbContext,
  InjectSession,
  SessionClosedError,
  UnexpectedRollbackError,
} from 'nestjs-db-context';

import { deferred, type Deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const LOCK = 7_101;
const PROPAGATIONS = [TransactionPropagation.REQUIRES_NEW, TransactionPropagation.NOT_SUPPORTED];

/** What a test leaves behind: work beside the transaction of the session, which nobody awaits. */
interface Left {
  readonly started: Deferred<void>;
  readonly mayGoOn: Deferred<void>;
  /** Resolves when the context of a request has been rolled back. */
  readonly rolledBack: Deferred<void>;
  /** What became of it. */
  result?: Promise<unknown>;
}

let left: Left;

beforeEach(() => {
  left = { started: deferred(), mayGoOn: deferred(), rolledBack: deferred() };
});

/** Leaves work behind that has sent a statement, and then hangs in its callback. */
async function leave(session: EntityManager, propagation: TransactionPropagation): Promise<void> {
  left.result = session
    .transactional(
      async (em) => {
        await em.execute('select 1');
        left.started.resolve();
        await left.mayGoOn.promise;
        await em.insert(Note, { text: 'left' });
      },
      { propagation },
    )
    .catch((error: unknown) => error);
  await left.started.promise;
}

/** Lets it go on, and expects that it is refused. */
async function expectRefused(): Promise<void> {
  left.mayGoOn.resolve();
  expect(await left.result).toBeInstanceOf(SessionClosedError);
}

const UNAWAITED = { code: 'UNEXPECTED_ROLLBACK', reason: 'unawaited-statements' };

@Controller()
class LeavingController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('requires_new')
  requiresNew(): Promise<never> {
    return this.#leave(TransactionPropagation.REQUIRES_NEW);
  }

  @Post('not_supported')
  notSupported(): Promise<never> {
    return this.#leave(TransactionPropagation.NOT_SUPPORTED);
  }

  async #leave(propagation: TransactionPropagation): Promise<never> {
    this.dbContext.onRollback(() => left.rolledBack.resolve());
    await leave(this.session, propagation);
    return deferred<never>().promise;
  }
}

describe.each(PROPAGATIONS)('work with the propagation %s that nobody awaits', (propagation) => {
  const current = useWorld(() => startWorld({ drainTimeoutMs: 200 }));

  const expectObjection = async (run: Promise<unknown>, checkedOut = 0): Promise<void> => {
    const error: unknown = await run.catch((each: unknown) => each);
    expect(error).toBeInstanceOf(UnexpectedRollbackError);
    expect(error).toMatchObject(UNAWAITED);
    expect(current.world.pool().checkedOut).toBe(checkedOut);
  };

  it('W3, F3: objects to the commit of its context, and ends with it', async () => {
    const hooks: string[] = [];
    await expectObjection(
      current.run(async () => {
        current.dbContext.onCommit(() => hooks.push('onCommit'));
        current.dbContext.onRollback(() => hooks.push('onRollback'));
        await current.insert('row');
        await leave(current.session, propagation);
      }),
    );
    await expectRefused();
    expect([hooks, await current.world.savedTexts()]).toEqual([['onRollback'], []]);
  });

  it('W3, F3: objects also where the session itself has nothing to commit', async () => {
    await expectObjection(current.run(() => leave(current.session, propagation)));
    await expectRefused();
    expect(await current.world.savedTexts()).toEqual([]);
  });

  it('W3: objects also when the session is closed, or inside of a nested transaction', async () => {
    await expectObjection(
      current.run(async () => {
        await current.session.transactional((em) => leave(em, propagation));
        await current.dbContext.close();
      }),
    );
    await expectRefused();
  });

  it('W3, F3: ends with a context that fails', async () => {
    const run = current.run(async () => {
      await leave(current.session, propagation);
      throw new RangeError('the handler');
    });
    await expect(run).rejects.toThrow(new RangeError('the handler'));
    expect(current.world.pool().checkedOut).toBe(0);
    await expectRefused();
    expect(await current.world.savedTexts()).toEqual([]);
  });

  it('W3, F3: a statement of it that is running is undone', async () => {
    const holder = current.world.connection().orm.em.fork() as EntityManager;
    await holder.transactional(async (em) => {
      await em.execute(`select pg_advisory_xact_lock(${LOCK})`);
      let insert: Promise<unknown> | undefined;
      await expectObjection(
        current.run(async () => {
          insert = current.session
            .transactional(
              (own) =>
                own.execute(
                  `with lock as (select pg_advisory_xact_lock(${LOCK}))
                   insert into note (text) select 'left' from lock`,
                ),
              { propagation },
            )
            .catch((error: unknown) => error);
          await waitFor(
            async () =>
              (
                await current.world.database.query(
                  `select 1 from pg_locks where locktype = 'advisory' and not granted`,
                )
              ).length === 1,
            { what: 'the statement to wait for the lock' },
          );
        }),
        // The connection of `holder` is the only one that is left.
        1,
      );
      expect(await insert).toBeInstanceOf(Error);
    });
    expect(await current.world.savedTexts()).toEqual([]);
  });

  it('C6: what is awaited is kept, also when its context fails', async () => {
    const run = current.run(async () => {
      await current.session.transactional((em) => em.insert(Note, { text: 'kept' }), {
        propagation,
      });
      throw new RangeError('the handler');
    });
    await expect(run).rejects.toThrow(new RangeError('the handler'));
    expect(await current.world.savedTexts()).toEqual(['kept']);
  });

  it('C6, L3: streams, flushes, query builders and errors of it work', async () => {
    await current.run(() =>
      current.session.transactional(
        async (em) => {
          em.persist([new Note('a'), new Note('b'), new Note('c')]);
          await em.flush();
          const streamed: string[] = [];
          for await (const note of em.stream(Note, { orderBy: { id: 'asc' } })) {
            streamed.push(note.text);
          }
          expect(streamed).toEqual(['a', 'b', 'c']);
          expect(await em.qb(Note).getCount()).toBe(3);
          const isNone = propagation === TransactionPropagation.NOT_SUPPORTED;
          expect(em.isInTransaction()).toBe(!isNone);
          expect(current.session.isInTransaction()).toBe(!isNone);
          if (isNone) {
            await expect(em.insert(Note, { text: 'a' })).rejects.toMatchObject({
              name: 'UniqueConstraintViolationException',
            });
            // Each statement is by itself.
            await em.insert(Note, { text: 'd' });
          }
        },
        { propagation },
      ),
    );
    expect((await current.world.savedTexts()).slice(0, 3)).toEqual(['a', 'b', 'c']);
  });
});

describe.each(PROPAGATIONS)('ends from outside, with the propagation %s', (propagation) => {
  let world: TestWorld;

  afterEach(async () => {
    await world.close();
  });

  const nothingIsOpen = async (): Promise<void> => {
    await waitFor(() => Promise.resolve(world.pool().checkedOut === 0), {
      what: 'all connections to be back',
    });
    await world.serverIsIdle();
    await expectRefused();
    expect(await world.savedTexts()).toEqual([]);
  };

  it('W3, F6: contextTimeoutMs ends it', async () => {
    world = await startWorld({}, { contextTimeoutMs: 300 });
    const run = world.dbContext.run(async () => {
      await leave(world.session(), propagation);
      await deferred().promise;
    });
    await expect(run).rejects.toBeInstanceOf(ContextTimeoutError);
    await nothingIsOpen();
  });

  it('W3, S4: a client that leaves ends it, with onDisconnect: rollback', async () => {
    world = await startWorld({}, { onDisconnect: 'rollback', controllers: [LeavingController] });
    const client = new AbortController();
    const response = world
      .fetch(`/${propagation}`, { method: 'POST', signal: client.signal })
      .catch((error: unknown) => error);
    await left.started.promise;
    client.abort();
    expect(await response).toMatchObject({ name: 'AbortError' });
    // `not_supported` holds no connection between its statements that would say when the server knows.
    await left.rolledBack.promise;
    await nothingIsOpen();
  });

  it('W3, H3: the shutdown of the application ends it', async () => {
    world = await startWorld({}, { shutdownTimeoutMs: 200 });
    const { promise: never } = deferred();
    const run = world.dbContext
      .run(async () => {
        await leave(world.session(), propagation);
        await never;
      })
      .catch((error: unknown) => error);
    await left.started.promise;
    await world.app.close();
    expect(await run).toMatchObject({ code: 'SHUTTING_DOWN', cutOff: 'dbContext.run()' });
    await nothingIsOpen();
  });
});
