import { setImmediate as turn } from 'node:timers/promises';

import type { InflightQueryAbortStrategy } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const STRATEGIES: readonly InflightQueryAbortStrategy[] = [
  'ignore query',
  'cancel query',
  'kill session',
];
const GATE = 7_001;

describe.each(STRATEGIES)('a statement that waits as its signal fires, with "%s"', (strategy) => {
  const current = useWorld(() => startWorld({ poolMax: 2 }));

  /** Inserts a row with a signal; `fire()` aborts it, and checks what the caller gets. */
  async function insertAbortably(text = 'aborted'): Promise<{ fire(): Promise<void> }> {
    const controller = new AbortController();
    const { signal } = controller;
    const inserted = current.session
      .insert(Note, { text }, { signal, inflightQueryAbortStrategy: strategy })
      .catch((error: unknown) => error);
    // All that it does before it has to wait is done in one turn.
    await turn();
    return {
      fire: async () => {
        controller.abort(new RangeError('no longer wanted'));
        expect(await inserted).toMatchObject({ message: 'no longer wanted' });
      },
    };
  }

  /** Runs `callback` while a statement of another connection has the advisory lock `GATE`. */
  async function whileLocked(
    callback: (unlock: () => Promise<void>) => Promise<void>,
  ): Promise<void> {
    const [locked, unlock] = [deferred(), deferred()];
    const holder = current.world.connection().orm.em.fork() as EntityManager;
    const holding = holder.transactional(async (em) => {
      await em.execute(`select pg_advisory_xact_lock(${GATE})`);
      locked.resolve();
      await unlock.promise;
    });
    await locked.promise;
    try {
      await callback(async () => {
        unlock.resolve();
        await holding;
      });
    } finally {
      unlock.resolve();
      await holding;
    }
  }

  const lockIsWaitedFor = (): Promise<void> =>
    waitFor(
      async () =>
        (
          await current.world.database.query(
            `select 1 from pg_locks where locktype = 'advisory' and not granted`,
          )
        ).length === 1,
      { what: 'the statement to wait for the lock' },
    );

  it('C6, F3: in the queue of its transaction, it is never sent', async () => {
    await whileLocked(async (unlock) => {
      await current.run(async () => {
        await current.insert('kept');
        const before = current.session.execute(`select pg_advisory_xact_lock(${GATE})`);
        await lockIsWaitedFor();
        const insert = await insertAbortably();
        await insert.fire();
        await unlock();
        await before;
        await current.insert('kept as well');
      });
    });
    expect(await current.world.savedTexts()).toEqual(['kept', 'kept as well']);
  });

  it('C6, F3: as the first one of its transaction, which waits for a connection', async () => {
    const [taken, giveBack] = [deferred(), deferred()];
    let users = 0;
    const use = (): Promise<void> =>
      current.run(async () => {
        await current.insert(`user ${users++}`);
        if (users === 2) {
          taken.resolve();
        }
        await giveBack.promise;
      });
    const using = [use(), use()];
    await taken.promise;
    const waiting = current.run(async () => {
      const insert = await insertAbortably();
      await waitFor(() => Promise.resolve(current.world.pool().waiting === 1), {
        what: 'the context to wait for a connection',
      });
      await insert.fire();
      giveBack.resolve();
      await current.insert('kept');
    });
    await Promise.all([...using, waiting]);
    expect((await current.world.savedTexts()).toSorted()).toEqual(['kept', 'user 0', 'user 1']);
  });

  it('C6, F3, F5: behind a savepoint of another branch', async () => {
    await current.run(async () => {
      const [inside, leave] = [deferred(), deferred()];
      const nested = current.session.transactional(async (em) => {
        await current.insert('kept', em);
        inside.resolve();
        await leave.promise;
      });
      await inside.promise;
      const insert = await insertAbortably();
      await insert.fire();
      leave.resolve();
      await nested;
      await current.insert('kept as well');
    });
    expect(await current.world.savedTexts()).toEqual(['kept', 'kept as well']);
  });

  it('C6: a stream that waits is never opened', async () => {
    await whileLocked(async (unlock) => {
      await current.run(async () => {
        const before = current.session.execute(`select pg_advisory_xact_lock(${GATE})`);
        await lockIsWaitedFor();
        const controller = new AbortController();
        const stream = current.session.stream(Note, { signal: controller.signal });
        const first = stream.next().catch((error: unknown) => error);
        await turn();
        controller.abort(new RangeError('no longer wanted'));
        expect(await first).toMatchObject({ message: 'no longer wanted' });
        await unlock();
        await before;
      });
    });
    expect(current.world.proxy.log.filter((sql) => sql.includes('declare'))).toEqual([]);
  });
});
