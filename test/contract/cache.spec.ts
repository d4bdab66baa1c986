import { Author, Tag } from './contract.entities.js';
import { useContract } from './use-contract.js';

const { compare, own, expectCovered } = useContract();

describe('the result cache', () => {
  compare('answers a second time without asking', async (em) => {
    const options = { cache: 60_000, orderBy: { id: 'asc' }, populate: ['books'] } as const;
    const first = await em.find(Author, {}, options);
    em.clear();
    const second = await em.find(Author, {}, options);
    await em.findOne(Author, { name: 'Bob' }, { cache: true });
    em.clear();
    const one = await em.findOne(Author, { name: 'Bob' }, { cache: true });
    return [first, second, one, await em.count(Tag, {}, { cache: 1_000 }), await em.count(Tag)];
  });
  compare('serves a count, a none, and a query builder', async (em) => {
    const seen = [];
    for (const _ of [1, 2]) {
      seen.push(await em.count(Tag, {}, { cache: true }));
      seen.push(await em.findOne(Tag, { name: 'none' }, { cache: true }));
      seen.push(await em.createQueryBuilder(Tag).cache().getResult());
      await em.execute("insert into tag (name) values ('x') on conflict do nothing");
    }
    return seen;
  });
  compare('under a name can be cleared', async (em) => {
    const count = (): Promise<number> => em.count(Tag, {}, { cache: ['tags', 60_000] });
    const before = await count();
    await em.insert(Tag, { name: 'x' });
    const cached = await count();
    await em.clearCache('tags');
    return [before, cached, await count()];
  });
  compare('its parts', async (em) => {
    const key = em.cacheKey(Tag, { cache: true }, 'em.find', { id: 1 });
    const missed = await em.tryCache(Tag, true, key);
    await em.storeCache(true, missed!, [{ id: 1, name: 'cached' }]);
    return [
      key,
      missed,
      await em.tryCache(Tag, true, key, false, true),
      await em.tryCache(Tag, false, key),
    ];
  });
  own('keeps what a query returned also when it is rolled back', async (em) => {
    const count = (): Promise<number> => em.count(Tag, {}, { cache: ['kept', 60_000] });
    await em.clearCache('kept');
    await em.insert(Tag, { name: 'undone' });
    expect(await count()).toBe(4);
    await em.rollback();
    expect([await count(), await em.count(Tag)]).toEqual([4, 3]);
  });
});

expectCovered('cache');
