import type { InflightQueryAbortStrategy } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';

import { waitFor } from '../support/wait-for.js';
import { Author, Tag } from './contract.entities.js';
import type { Kit } from './contract.types.js';
import { useContract } from './use-contract.js';

const { compare, own } = useContract({ events: 'ignored' });

const error = (thrown: unknown): unknown => thrown;
const aborted = (): AbortSignal => AbortSignal.abort(new RangeError('aborted'));

describe('a signal that was aborted before', () => {
  compare('stops each method that takes one', async (em) => {
    const options = { signal: aborted() };
    const author = await em.findOneOrFail(Author, 1);
    const calls: (() => Promise<unknown>)[] = [
      () => em.find(Tag, {}, options),
      () => em.findOne(Tag, 1, options),
      () => em.count(Tag, {}, options),
      () => em.insert(Tag, { name: 'x' }, options),
      () => em.nativeUpdate(Tag, {}, { name: 'x' }, options),
      () => em.nativeDelete(Tag, { id: 3 }, options),
      () => em.upsert(Tag, { name: 'red' }, options),
      () => em.execute('select 1', [], options),
      () => em.populate(author, ['books'], options),
      () => author.books.init(options),
      () => em.stream(Tag, options).next(),
      () =>
        em
          .fork({ ...options, keepTransactionContext: true })
          .qb(Tag)
          .getResult(),
    ];
    const seen = [];
    for (const call of calls) {
      seen.push(await call().catch(error));
    }
    return [seen, await em.count(Tag)];
  });
  compare('of transactional() stops what is in it, and undoes it', async (em) => {
    const controller = new AbortController();
    const thrown = await em
      .transactional(
        async (inner) => {
          await inner.insert(Tag, { name: 'undone' });
          controller.abort(new RangeError('aborted'));
          await inner.count(Tag);
        },
        { signal: controller.signal },
      )
      .catch(error);
    return [thrown, await em.count(Tag)];
  });
  compare('of a fork stops its queries, and no others', async (em) => {
    const fork = em.fork({ signal: aborted() });
    return [await fork.count(Tag).catch(error), await em.count(Tag)];
  });
});

describe('a signal that is aborted while the statement runs', () => {
  /** A statement that waits until it is aborted, or for a lock that is never freed before. */
  async function abortInFlight(
    em: EntityManager,
    { database }: Kit,
    inflightQueryAbortStrategy: InflightQueryAbortStrategy,
  ): Promise<unknown> {
    const controller = new AbortController();
    const waiting = em
      .execute('select pg_sleep(30)', [], { signal: controller.signal, inflightQueryAbortStrategy })
      .catch(error);
    await waitFor(
      async () => {
        const rows = await database.query(
          `select 1 from pg_stat_activity where query = 'select pg_sleep(30)' and state = 'active'
             and datname = current_database()`,
        );
        return rows.length === 1;
      },
      { what: 'the statement to run' },
    );
    controller.abort(new RangeError('aborted'));
    return waiting;
  }

  compare(
    '"cancel query": its savepoint is undone, and the transaction goes on',
    async (em, kit) => {
      await em.insert(Tag, { name: 'kept' });
      const thrown = await em
        .transactional(async (inner) => {
          await inner.insert(Tag, { name: 'undone' });
          throw (await abortInFlight(inner, kit, 'cancel query')) as Error;
        })
        .catch(error);
      return [thrown, await em.count(Tag)];
    },
  );
  // A plain one ends with the same error, and then MikroORM loses its connection.
  own('"kill session": the error is that of the signal, and nothing is saved', async (em, kit) => {
    await em.insert(Tag, { name: 'lost' });
    expect(await abortInFlight(em, kit, 'kill session')).toMatchObject({ message: 'aborted' });
    await em.rollback();
    expect(await em.count(Tag)).toBe(3);
  });
});
