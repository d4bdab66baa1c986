import { IsolationLevel, TransactionPropagation } from '@mikro-orm/core';

import { Author, Tag } from './contract.entities.js';
import type { Scenario } from './contract.types.js';
import { useContract } from './use-contract.js';

const { compare, own, expectCovered } = useContract();

const beginsInside: Scenario = async (em) => {
  await em.transactional(async (inner) => {
    const outer = inner.getTransactionContext()!;
    const outcome = await em.begin().then(
      () => 'begun',
      (error: { code?: string }) => error.code,
    );
    const begun = inner.getTransactionContext()!;
    if (begun !== outer) {
      // Or its connection would be lost to the tests after this one.
      inner.setTransactionContext(outer);
      await inner.getConnection().rollback(begun);
    }
    expect(outcome).toBe('INVALID_TRANSACTION_STATE');
  });
};

// What is different on purpose, and says docs/sessions.md why: the transaction is there before it
// has begun, and there is another one after each end.
describe('begin, commit and rollback', () => {
  own('commit() flushes, commits, and goes on in a new transaction', async (em, { database }) => {
    em.create(Tag, { name: 'kept' });
    await em.commit();
    const kept = `select count(*)::int as n from tag where name like 'kept%'`;
    expect(await database.query(kept)).toEqual([{ n: 1 }]);
    await em.insert(Tag, { name: 'kept, too' });
    expect(await database.query(kept)).toEqual([{ n: 1 }]);
    await em.commit();
    expect(await database.query(kept)).toEqual([{ n: 2 }]);
  });
  own('commit() keeps the entities, rollback() forgets them', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    await em.commit();
    expect(await em.findOne(Author, 1)).toBe(author);
    await em.rollback();
    expect(await em.findOne(Author, 1)).not.toBe(author);
  });
  own('begin() begins at once, and only once', async (em, { app }) => {
    expect(app.pool().checkedOut).toBe(0);
    await em.begin({ isolationLevel: 'serializable' });
    expect(app.pool().checkedOut).toBe(1);
    await expect(em.begin()).rejects.toMatchObject({ code: 'INVALID_TRANSACTION_STATE' });
    await em.rollback();
    expect(app.pool().checkedOut).toBe(0);
  });
  own('neither end can be had inside em.transactional()', async (em) => {
    await em.transactional(async (inner) => {
      for (const manager of [em, inner]) {
        for (const verb of ['commit', 'rollback'] as const) {
          await expect(manager[verb]()).rejects.toMatchObject({
            code: 'INVALID_TRANSACTION_STATE',
          });
        }
      }
    });
  });
  own('begin() is refused inside em.transactional(), too', beginsInside);
  compare(
    'begin({ ctx }) sets a savepoint, as in a plain transaction',
    async (em, { isSession }) => {
      const parent = em.getTransactionContext();
      await em.begin({ ctx: parent! });
      await em.insert(Tag, { name: 'undone' });
      await em.rollback();
      if (!isSession) {
        // A plain one leaves no context behind; the session goes back to the one above.
        em.setTransactionContext(parent);
      }
      return em.count(Tag);
    },
  );
});

describe('the transaction context', () => {
  own('is there from the beginning, and a new one after each end', async (em) => {
    expect(em.isInTransaction()).toBe(true);
    const context = em.getTransactionContext();
    expect(context).toBeDefined();
    await em.count(Tag);
    expect(em.getTransactionContext() === context).toBe(true);
    await em.commit();
    expect([em.isInTransaction(), em.getTransactionContext() === context]).toEqual([true, false]);
  });
  const cannotBeTaken: Scenario = async (em, { app, database }) => {
    await em.insert(Tag, { name: 'not saved' });
    em.resetTransactionContext();
    em.setTransactionContext(undefined);
    await em.insert(Tag, { name: 'autocommitted?' });
    const saved = await database.query(`select 1 from tag where name = 'autocommitted?'`);
    // Without this the session would be left without a transaction for what comes after.
    app.dbContext.getSession()?.setTransactionContext(undefined);
    await em.rollback();
    expect(saved).toEqual([]);
  };
  own('cannot be taken away', cannotBeTaken);
  compare('can be handed to a fork, and to a driver', async (em) => {
    await em.insert(Tag, { name: 'not saved' });
    const fork = em.fork();
    fork.setTransactionContext(em.getTransactionContext());
    const seen = [await fork.count(Tag), fork.isInTransaction()];
    fork.resetTransactionContext();
    return [seen, await fork.count(Tag), fork.isInTransaction()];
  });
});

describe('transactional()', () => {
  own('changes that wait are written before the savepoint, and outlive it', async (em) => {
    em.create(Tag, { name: 'waits' });
    await expect(em.transactional(() => Promise.reject(new RangeError('undone')))).rejects.toThrow(
      RangeError,
    );
    expect(await em.count(Tag, { name: 'waits' })).toBe(1);
    await em.rollback();
  });
  own('it always counts as in a transaction: never throws, the others join', async (em) => {
    await expect(
      em.transactional(async () => undefined, { propagation: TransactionPropagation.NEVER }),
    ).rejects.toThrow(/never/);
    for (const propagation of [TransactionPropagation.SUPPORTS, TransactionPropagation.MANDATORY]) {
      await em.transactional((inner) => inner.insert(Tag, { name: propagation }), { propagation });
    }
    expect(await em.count(Tag)).toBe(5);
    await em.rollback();
  });
  own('settings that come too late are refused rather than dropped', async (em) => {
    await em.count(Tag);
    for (const late of [{ isolationLevel: IsolationLevel.SERIALIZABLE }, { readOnly: true }]) {
      await expect(em.transactional((inner) => inner.count(Tag), late)).rejects.toMatchObject({
        code: 'INVALID_TRANSACTION_STATE',
      });
    }
  });
  own('read-only: a flush that has something to write fails before it is sent', async (em) => {
    await expect(
      em.transactional(async (inner) => void inner.create(Tag, { name: 'x' }), { readOnly: true }),
    ).rejects.toMatchObject({ code: 'READ_ONLY_TRANSACTION' });
    await em.rollback();
  });
});

expectCovered('own-ways');
