import { FlushMode, IsolationLevel, TransactionPropagation } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';

import { Author, Book, Tag } from './contract.entities.js';
import { useContract } from './use-contract.js';

const { compare, expectCovered } = useContract({ events: 'ignored' });

const error = (thrown: unknown): unknown => thrown;
const settings = (em: EntityManager): Promise<unknown> =>
  em.execute(`select current_setting('transaction_isolation') as isolation,
    current_setting('transaction_read_only') as read_only`);
const { NEVER, MANDATORY, SUPPORTS, REQUIRED, NESTED, REQUIRES_NEW, NOT_SUPPORTED } =
  TransactionPropagation;

describe('transactional() as the first thing', () => {
  const top = { plain: 'fork' } as const;

  compare(
    'flushes, commits and returns what the callback returns',
    (em) =>
      em.transactional(async (inner) => {
        const author = inner.create(Author, { name: 'Dan', email: 'dan@example.org' });
        return [author, inner.isInTransaction(), await inner.count(Author)];
      }),
    top,
  );
  compare(
    'rolls back what throws, and throws it on',
    async (em) => {
      await em
        .transactional(async (inner) => {
          await inner.insert(Tag, { name: 'undone' });
          throw new RangeError('no');
        })
        .catch(error);
      return em.count(Tag);
    },
    top,
  );
  compare(
    'entities of the callback are those of the outside afterwards',
    async (em) => {
      const author = await em.transactional((inner) => inner.findOneOrFail(Author, 1));
      return [(await em.findOne(Author, 1)) === author, author];
    },
    top,
  );
  for (const isolationLevel of Object.values(IsolationLevel)) {
    if (isolationLevel !== IsolationLevel.SNAPSHOT) {
      compare(
        `with the isolation level ${isolationLevel}`,
        (em) => em.transactional(settings, { isolationLevel }),
        top,
      );
    }
  }
  compare('read-only', (em) => em.transactional(settings, { readOnly: true }), top);
  compare.failure(
    'read-only, and a statement that writes',
    (em) => em.transactional((inner) => inner.insert(Tag, { name: 'x' }), { readOnly: true }),
    top,
  );
  for (const propagation of [REQUIRED, NESTED, REQUIRES_NEW, NOT_SUPPORTED]) {
    compare(
      `with the propagation ${propagation}`,
      async (em) => {
        const inner = await em.transactional((fork) => fork.insert(Tag, { name: 'inside' }), {
          propagation,
        });
        return [inner, await em.count(Tag)];
      },
      top,
    );
  }
});

describe('transactional() in a transaction', () => {
  compare.each([REQUIRED, NESTED, REQUIRES_NEW, SUPPORTS, MANDATORY, NEVER])(
    'with the propagation %s',
    async (em, _, propagation) => {
      await em.insert(Tag, { name: 'before' });
      const inside = await em
        .transactional(
          async (inner) => {
            inner.create(Tag, { name: 'inside' });
            return [await inner.count(Tag), inner.isInTransaction()];
          },
          { propagation },
        )
        .catch(error);
      return [inside, await em.count(Tag)];
    },
  );
  // The fork keeps the transaction of its flush as its context, and that one has ended.
  compare('with the propagation not_supported, after a flush in it', (em) =>
    em.transactional(
      async (inner) => {
        inner.create(Tag, { name: 'inside' });
        await inner.flush();
        return inner.count(Tag);
      },
      { propagation: NOT_SUPPORTED },
    ),
  );
  compare.each([REQUIRED, NESTED, REQUIRES_NEW, NOT_SUPPORTED])(
    'with the propagation %s, and a callback that throws',
    async (em, _, propagation) => {
      await em.insert(Tag, { name: 'before' });
      const thrown = await em
        .transactional(
          async (inner) => {
            await inner.insert(Tag, { name: 'inside' });
            throw new RangeError('no');
          },
          { propagation },
        )
        .catch(error);
      return [thrown, await em.count(Tag)];
    },
  );
  compare.failure('a propagation that there is not', (em) =>
    em.transactional(async () => undefined, { propagation: 'odd' as never }),
  );
  compare('nested deeply, inner ones undone alone', async (em) => {
    await em.transactional(async (first) => {
      await first.insert(Tag, { name: 'first' });
      await first
        .transactional(async (second) => {
          await second.insert(Tag, { name: 'second' });
          await second.transactional((third) => third.insert(Tag, { name: 'third' }));
          throw new Error('second');
        })
        .catch(error);
      await first.transactional((fourth) => fourth.insert(Tag, { name: 'fourth' }));
    });
    return em.find(Tag, {}, { orderBy: { id: 'asc' } });
  });
  compare('a failure of the server is undone with its savepoint', async (em) => {
    const thrown = await em
      .transactional((inner) => inner.insert(Tag, { name: 'red' }))
      .catch(error);
    return [thrown, await em.count(Tag)];
  });
  compare('clear: true does not see the entities of the outside', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    const seen = async (inner: EntityManager): Promise<unknown> => [
      (await inner.findOne(Author, 1)) === author,
      inner.getUnitOfWork().getIdentityMap().keys(),
    ];
    return [
      await em.transactional(seen, { clear: true }),
      await em.transactional(seen, { clear: false }),
      (await em.findOne(Author, 1)) === author,
    ];
  });
  compare('flushMode is that of the callback alone', (em) =>
    em.transactional(
      async (inner) => {
        inner.create(Tag, { name: 'late' });
        return inner.count(Tag);
      },
      { flushMode: FlushMode.COMMIT },
    ),
  );
  compare('ignoreNestedTransactions takes those in it for nothing', (em) =>
    em.transactional(
      async (inner) => {
        await inner
          .transactional(async (same) => {
            await same.insert(Tag, { name: 'kept' });
            throw new Error('no savepoint');
          })
          .catch(error);
        return inner.count(Tag);
      },
      { ignoreNestedTransactions: true },
    ),
  );
  compare('loggerContext is that of the callback', (em) =>
    em.transactional(async (inner) => inner.getLoggerContext(), { loggerContext: { job: 7 } }),
  );
  compare('what was removed inside is gone outside', async (em) => {
    const book = await em.findOneOrFail(Book, 5);
    await em.transactional(async (inner) => {
      inner.remove(inner.getReference(Book, 5));
    });
    return [em.getUnitOfWork().getById(Book, 5) === undefined, book.id];
  });
  compare('what was changed inside is changed outside', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    await em.transactional(
      async (inner) => {
        (await inner.findOneOrFail(Author, 1)).age = 99;
      },
      { clear: true },
    );
    return author.age;
  });
  compare('options of the caller, as MikroORM leaves them, may be used twice', async (em) => {
    const options = { clear: true };
    await em.transactional((inner) => inner.insert(Tag, { name: 'a' }), options);
    await em.transactional((inner) => inner.insert(Tag, { name: 'b' }), { clear: options.clear });
  });
  compare('one that is begun with its parent', async (em) => {
    await em.transactional((inner) => inner.insert(Tag, { name: 'inner' }), {
      ctx: em.getTransactionContext(),
    });
    return em.count(Tag);
  });
});

expectCovered('transactions');
