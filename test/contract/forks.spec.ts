import { FlushMode } from '@mikro-orm/core';
import type { EntityManager, ForkOptions } from '@mikro-orm/postgresql';

import { Author, Tag } from './contract.entities.js';
import { useContract } from './use-contract.js';

const { compare, own, expectCovered } = useContract({ events: 'ignored' });

const error = (thrown: unknown): unknown => thrown;

/** What a fork is, and what it sees. */
async function describeFork(fork: EntityManager): Promise<unknown> {
  return [
    fork.isInTransaction(),
    fork.schema,
    fork.global,
    fork.getLoggerContext(),
    fork.getSessionContext(),
    fork.getUnitOfWork().getIdentityMap().keys(),
    fork.getUnitOfWork().getPersistStack(),
    await fork.count(Author, {}, { flushMode: FlushMode.COMMIT }),
  ];
}

const OPTIONS: Record<keyof ForkOptions, readonly ForkOptions[]> = {
  clear: [{ clear: true }, { clear: false }],
  // Compared below: the plain one of this comparison is in the context of its transaction.
  useContext: [],
  freshEventManager: [{ freshEventManager: true }],
  cloneEventManager: [{ cloneEventManager: true }],
  disableContextResolution: [{ disableContextResolution: true }],
  flushMode: [{ flushMode: FlushMode.COMMIT }],
  disableTransactions: [{ disableTransactions: true }],
  keepTransactionContext: [{ keepTransactionContext: true }],
  schema: [{ schema: 'shelf' }],
  session: [{ session: { variables: { 'app.tenant': 'a' } } }],
  loggerContext: [{ loggerContext: { job: 1 } }],
  signal: [{ signal: AbortSignal.abort(new Error('aborted')) }],
  inflightQueryAbortStrategy: [{ inflightQueryAbortStrategy: 'cancel query' }],
};

describe('fork()', () => {
  for (const options of Object.values(OPTIONS).flat()) {
    compare(`with ${JSON.stringify(options)}`, async (em) => {
      await em.findOneOrFail(Author, 1);
      em.create(Author, { name: 'Dan', email: 'dan@example.org' });
      const fork = em.fork(options);
      return [fork === em, await describeFork(fork).catch(error)];
    });
  }
  compare('useContext: follows the transaction that it is used in', (em) =>
    em.transactional(async (inner) => {
      const fork = inner.fork({ useContext: true });
      return [fork.isInTransaction(), fork.getContext() === inner, await fork.count(Tag)];
    }),
  );
  compare('has a transaction of its own', async (em) => {
    const fork = em.fork();
    await fork.transactional((inner) => inner.insert(Tag, { name: 'kept' }));
    await fork.begin();
    await fork.insert(Tag, { name: 'undone' });
    await fork.rollback();
    await fork.begin();
    fork.create(Tag, { name: 'kept, too' });
    await fork.commit();
    return [fork.isInTransaction(), await fork.commit().catch(error), await em.count(Tag)];
  });
  compare.failure('its transactions outlive the failure of the other', async (em) => {
    await em.insert(Tag, { name: 'undone' });
    await em.fork().transactional((inner) => inner.insert(Tag, { name: 'kept' }));
    throw new RangeError('undone');
  });
  compare('disableTransactions: transactional() is the callback alone', async (em) => {
    const fork = em.fork({ disableTransactions: true });
    await fork
      .transactional(async (same) => {
        await same.insert(Tag, { name: 'kept' });
        throw new RangeError('after');
      })
      .catch(error);
    await fork.begin();
    return [fork.isInTransaction(), await fork.count(Tag)];
  });
  compare('keepTransactionContext: sees and writes what is not saved', async (em) => {
    await em.insert(Tag, { name: 'not saved' });
    const fork = em.fork({ keepTransactionContext: true });
    await fork.insert(Tag, { name: 'by the fork' });
    await fork.transactional((inner) => inner.insert(Tag, { name: 'in a savepoint' }));
    fork.create(Tag, { name: 'flushed' });
    await fork.flush();
    return [await fork.count(Tag), await em.count(Tag)];
  });
  compare('clear: false shares what is managed and what waits', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    em.create(Tag, { name: 'by the fork' });
    const fork = em.fork({ clear: false });
    await fork.flush();
    em.clear();
    return [(await fork.findOne(Author, 1)) === author, fork.getUnitOfWork().getPersistStack()];
  });
  compare('session: the variables are set in its transactions', async (em) => {
    const fork = em.fork({ session: { variables: { 'app.tenant': 'a' } } });
    const query = `select current_setting('app.tenant', true) as tenant`;
    return [
      await fork.execute(query),
      await fork.transactional((inner) => inner.execute(query)),
      fork.getTransactionSessionContext(),
    ];
  });
  own('keepTransactionContext: the transaction is not its own to end', async (em) => {
    await em.count(Tag);
    const fork = em.fork({ keepTransactionContext: true });
    for (const verb of ['commit', 'rollback'] as const) {
      await expect(fork[verb]()).rejects.toMatchObject({ code: 'INVALID_TRANSACTION_STATE' });
    }
  });
});

expectCovered('forks');
