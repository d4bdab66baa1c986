import type { EntityManager } from '@mikro-orm/postgresql';

import { Author, Book, Tag } from './contract.entities.js';
import type { Kit } from './contract.types.js';
import { useContract } from './use-contract.js';

const contract = useContract();
const { compare, own, expectCovered } = contract;

const error = (thrown: unknown): unknown => thrown;
const all = { events: 'all' } as const;

/** The names of the events of transactions so far, with whether they have a transaction. */
const published = ({ events }: Kit): unknown =>
  events.comparable('all').map(({ event, hasTransaction }) => [event, hasTransaction]);

describe('events of entities and flushes', () => {
  compare('come in order, with all their arguments', async (em) => {
    const author = await em.findOneOrFail(Author, 1, { populate: ['books.tags'] });
    author.name = 'Anne';
    author.books[0]!.tags.add(em.create(Tag, { name: 'new' }));
    em.remove(author.books[1]!);
    em.create(Book, { title: 'x', author } as never);
    await em.flush();
    await em.upsert(Tag, { name: 'red' });
    await em.upsertMany(Tag, [{ name: 'green' }, { name: 'pink' }]);
  });
  compare.each(['beforeFlush', 'onFlush', 'beforeCreate', 'afterCreate', 'afterFlush'])(
    'a subscriber of %s may change more',
    async (em, { events }, event) => {
      let isDone = false;
      events.onEvent = (name, manager) => {
        if (name === event && !isDone) {
          isDone = true;
          manager
            .getUnitOfWork()
            .computeChangeSet(
              Object.assign(manager.create(Book, { title: `by ${event}` } as never), {}),
            );
        }
      };
      em.create(Tag, { name: 'first' });
      await em.flush().catch(error);
      return em.count(Book);
    },
  );
  compare.each(['beforeFlush', 'beforeCreate', 'afterCreate', 'afterFlush'])(
    'a subscriber of %s that throws fails the flush',
    async (em, { events }, event) => {
      events.onEvent = (name) => {
        if (name === event) {
          throw new RangeError(event);
        }
      };
      em.create(Tag, { name: 'first' });
      const thrown = await em.flush().catch(error);
      events.onEvent = undefined;
      const count = await em.count(Tag, {}, { flushMode: 'commit' });
      // Let through: a session whose flush failed in silence refuses to commit (F4).
      throw Object.assign(new Error('the flush failed'), { thrown, count });
    },
    { fails: true },
  );
  compare('a subscriber may ask in the same transaction', async (em, { events }) => {
    const seen: unknown[] = [];
    events.onEvent = async (name, manager) => {
      if (name === 'afterCreate') {
        const count = `select count(*)::int as n from tag where name = 'first'`;
        seen.push(await (manager as EntityManager).execute(count));
      }
    };
    em.create(Tag, { name: 'first' });
    await em.flush();
    return seen;
  });
  compare(
    'getEventManager() takes subscribers',
    async (em) => {
      const names: string[] = [];
      await em.transactional(async (inner) => {
        // The manager of a transaction is a copy, so this one is gone afterwards.
        inner.getEventManager().registerSubscriber({
          getSubscribedEntities: () => [Tag],
          beforeCreate: ({ entity }) => void names.push((entity as Tag).name),
        });
        inner.create(Tag, { name: 'seen' });
      });
      em.create(Tag, { name: 'not seen' });
      await em.flush();
      return [names, typeof em.getEventManager().dispatchEvent];
    },
    { events: 'ignored' },
  );
});

describe('events of transactions', () => {
  // Begins with a statement, as the transaction of a session begins with its first one.
  compare(
    'of a commit',
    async (em) => {
      await em.execute('select 1');
      em.create(Tag, { name: 'x' });
    },
    all,
  );
  compare.failure(
    'of a rollback',
    async (em) => {
      await em.execute('select 1');
      em.create(Tag, { name: 'x' });
      await em.flush();
      throw new RangeError('undone');
    },
    all,
  );
  compare(
    'of nested transactions',
    async (em, kit) => {
      await em.execute('select 1');
      await em.transactional((inner) => inner.execute('select 2'));
      await em
        .transactional(async (inner) => {
          await inner.transactional((third) => third.execute('select 3'));
          throw new RangeError('undone');
        })
        .catch(error);
      // Not the flushes: a session flushes before each savepoint.
      return (published(kit) as [string][]).filter(([event]) => event.includes('Transaction'));
    },
    { events: 'ignored' },
  );
  compare('beforeTransactionStart has no transaction', async (em, kit) => {
    await em.execute('select 1');
    return published(kit);
  });
  compare.each(['beforeTransactionStart', 'beforeTransactionCommit'])(
    'a subscriber of %s that throws fails the transaction',
    async (em, { events }, event) => {
      // The event is that of a nested transaction: on plain MikroORM that of the scenario has begun already.
      await em.execute('select 1');
      events.onEvent = (name) => {
        if (name === event) {
          throw new RangeError(event);
        }
      };
      const thrown = await em
        .transactional((inner) => inner.insert(Tag, { name: 'undone' }))
        .catch(error);
      events.onEvent = undefined;
      return [thrown, await em.count(Tag)];
    },
    { events: 'ignored' },
  );
  compare(
    'a subscriber of afterTransactionStart that throws fails the nested transaction alone',
    async (em, { events }) => {
      await em.execute('select 1');
      events.onEvent = (name) => {
        if (name === 'afterTransactionStart') {
          throw new RangeError(name);
        }
      };
      const thrown = await em
        .transactional((inner) => inner.insert(Tag, { name: 'undone' }))
        .catch(error);
      events.onEvent = undefined;
      return [thrown, await em.count(Tag)];
    },
    { events: 'ignored' },
  );
  own(
    'a subscriber of afterTransactionStart that throws fails the first statement',
    async (em, { events }) => {
      events.onEvent = (name) => {
        if (name === 'afterTransactionStart') {
          throw new RangeError(name);
        }
      };
      // MikroORM's driver takes what is thrown in a statement for a failure of its own.
      await expect(em.count(Tag)).rejects.toThrow('afterTransactionStart');
      events.onEvent = undefined;
      await em.rollback();
      expect(await em.count(Tag)).toBe(3);
    },
  );
  own('a context that sends nothing has no transaction, and no events of one', async (em, kit) => {
    em.isInTransaction();
    await em.commit();
    expect((published(kit) as [string][]).filter(([name]) => name.includes('Transaction'))).toEqual(
      [],
    );
  });
  own('a subscriber cannot fail what is saved', async (em, { events }) => {
    await em.insert(Tag, { name: 'kept' });
    events.onEvent = (name) => {
      if (name === 'afterTransactionCommit') {
        throw new RangeError('too late');
      }
    };
    await em.commit();
    events.onEvent = undefined;
    expect(await em.count(Tag)).toBe(4);
  });
});

expectCovered('events');
