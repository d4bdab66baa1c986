import { raw, sql } from '@mikro-orm/core';

import { Author, AuthorStats, Book, Membership, Tag } from './contract.entities.js';
import { useContract } from './use-contract.js';

const { compare, expectCovered } = useContract();

describe('find', () => {
  compare('by condition, order, limit and offset', (em) =>
    em.find(Author, { age: { $gt: 1 } }, { orderBy: { name: 'desc' }, limit: 1, offset: 1 }),
  );
  compare('by operators, groups and relations', (em) =>
    em.find(
      Book,
      { $or: [{ author: { name: 'Ann' } }, { price: null }] },
      { orderBy: { id: 'asc' } },
    ),
  );
  compare('by JSON, embedded and enum', (em) =>
    Promise.all([
      em.find(Author, { settings: { theme: 'dark' } }),
      em.find(Author, { address: { city: { $ne: null } } }, { orderBy: { id: 'asc' } }),
      em.find(Author, { status: 'retired' }),
    ]),
  );
  compare('by raw fragments and $some', (em) =>
    Promise.all([
      em.find(Author, { [raw('lower(name)')]: 'ann' }),
      em.find(Author, { [sql`age > ${40}`]: [] }),
      em.find(Author, { books: { $some: { title: 'Delta' } } }),
    ]),
  );
  compare('only some fields, and all but some', async (em) => {
    const partial = await em.find(Author, {}, { fields: ['name'], orderBy: { id: 'asc' } });
    em.clear();
    return [partial, await em.find(Author, {}, { exclude: ['email'], orderBy: { id: 'asc' } })];
  });
  compare('the same row is the same entity', async (em) => {
    const [first] = await em.find(Author, { name: 'Ann' });
    const [again] = await em.find(Author, 1);
    return [first === again, em.getUnitOfWork().getIdentityMap().keys()];
  });
  compare('with disableIdentityMap', async (em) => {
    const found = await em.find(Author, {}, { disableIdentityMap: true, populate: ['books'] });
    return [found, em.getUnitOfWork().getIdentityMap().keys()];
  });
  compare('with refresh', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    author.name = 'changed';
    return em.find(Author, { id: 1 }, { refresh: true, flushMode: 'commit' });
  });
  compare('a composite key, and a virtual entity', (em) =>
    Promise.all([
      em.find(Membership, { author: { id: 1 } }, { orderBy: { tag: 'asc' } }),
      em.find(Membership, { author: { name: 'Bob' }, tag: { name: 'red' } }),
      em.find(AuthorStats, {}, { orderBy: { authorId: 'asc' } }),
    ]),
  );
  compare('refuses what is not known', async (em) =>
    Promise.all([
      em.find(Author, { nobody: 1 } as never).catch((error: unknown) => error),
      em.find(Author, {}, { populate: ['nobody'] as never }).catch((error: unknown) => error),
      em.find(Author, {}, { fields: ['id'], exclude: ['id'] as never }).catch((e: unknown) => e),
      em.find(Author, { age: 1 }, { using: 'no_index' as never }).catch((e: unknown) => e),
      em
        .find(
          class Unknown {
            id = 1;
          },
          {},
        )
        .catch((error: unknown) => error),
    ]),
  );
  compare('using an index that is named', (em) =>
    em.find(Author, { email: 'ann@example.org' }, { using: 'author_email_unique' }),
  );
  compare('options of the caller stay as they are', async (em) => {
    const options = { populate: ['books'] as const, orderBy: { id: 'asc' as const } };
    await em.find(Author, {}, options);
    return options;
  });
  compare('findAll', (em) =>
    Promise.all([
      em.findAll(Tag, { orderBy: { name: 'asc' } }),
      em.findAll(Author, { where: { id: 2 } }),
    ]),
  );
});

describe('findOne', () => {
  compare('finds one, or none', async (em) => [
    await em.findOne(Author, 1),
    await em.findOne(Author, { name: 'nobody' }),
    await em.findOne(Author, { email: 'bob@example.org' }, { populate: ['profile'] }),
    await em.findOne(Membership, [1, 2] as never),
    await em.findOne(AuthorStats, { authorId: 2 }),
  ]);
  compare('asks the identity map first', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    return (await em.findOne(Author, 1)) === author;
  });
  compare.failure('refuses an empty condition', (em) => em.findOne(Author, {}));
  compare('OrFail fails, in the way of the ORM or of the caller', (em) =>
    Promise.all([
      em.findOneOrFail(Author, 99).catch((error: unknown) => error),
      em.findOneOrFail(Author, { name: 'x' }).catch((error: unknown) => error),
      em
        .findOneOrFail(Author, { name: 'x' }, { failHandler: (name) => new RangeError(name) })
        .catch((error: unknown) => error),
      em.findOneOrFail(Author, { id: { $gt: 0 } }, { strict: true }).catch((e: unknown) => e),
    ]),
  );
});

describe('counts and cursors', () => {
  compare('count', async (em) => [
    await em.count(Author),
    await em.count(Book, { price: { $gt: 10 } }),
    await em.count(Book, { author: { name: 'Ann' } }, { filters: false }),
    await em.count(AuthorStats),
  ]);
  compare('countBy', async (em) => [
    await em.countBy(Book, 'author'),
    await em.countBy(Membership, ['author', 'role'], { where: { role: 'guest' } }),
  ]);
  compare('findAndCount', (em) =>
    em.findAndCount(Author, { id: { $gt: 0 } }, { limit: 2, orderBy: { id: 'asc' } }),
  );
  compare('findByCursor forward and backward', async (em) => {
    const orderBy = { name: 'asc' } as const;
    const first = await em.findByCursor(Author, { first: 2, orderBy });
    const second = await em.findByCursor(Author, { first: 2, after: first, orderBy });
    const back = await em.findByCursor(Author, { last: 1, before: second.startCursor!, orderBy });
    const bare = await em.findByCursor(Author, { first: 1, orderBy, includeCount: false });
    return [first, second, back, bare].map((cursor) => ({
      items: cursor.items,
      total: (cursor as { totalCount?: number }).totalCount,
      ends: [cursor.startCursor, cursor.endCursor, cursor.hasPrevPage, cursor.hasNextPage],
      length: cursor.length,
    }));
  });
  compare.failure('findByCursor wants an order', (em) =>
    em.findByCursor(Author, { first: 1, orderBy: {} }),
  );
});

expectCovered('reading');
