import { Author, Book, Tag } from './contract.entities.js';
import { useContract } from './use-contract.js';

const contract = useContract();
const { compare, expectCovered } = contract;

const error = (thrown: unknown): unknown => thrown;
const BOOKS = { populate: ['books'], orderBy: { id: 'asc' } } as const;
const ONLY_DEAR = { name: 'onlyDear', cond: { price: { $gte: 20 } }, entity: [Book] };

describe('filters of entities', () => {
  compare('apply to everything that looks for rows', async (em) => [
    await em.find(Book, {}, { orderBy: { id: 'asc' } }),
    await em.findOne(Book, 3),
    await em.count(Book),
    await em.nativeUpdate(Book, {}, { price: 1 }),
    await em.find(Author, {}, BOOKS),
    await em.applyFilters(Book, {}, {}, 'read'),
  ]);
  compare('can be disabled, enabled and given arguments', async (em) => {
    em.setFilterParams('dear', { min: 20 });
    return [
      await em.count(Book, {}, { filters: { alive: false } }),
      await em.count(Book, {}, { filters: false }),
      await em.count(Book, {}, { filters: { dear: { min: 40 } } }),
      await em.count(Book, {}, { filters: ['dear'] }),
      em.getFilterParams('dear'),
    ];
  });
  compare.failure('arguments that are missing', (em) => em.count(Book, {}, { filters: ['dear'] }));
  compare('params do not outlive the session', (em) =>
    em.count(Book, {}, { filters: ['dear'] }).catch(error),
  );
});

describe('filters that are added to the entity manager', () => {
  compare('apply to rows that are looked for', async (em) => {
    em.addFilter(ONLY_DEAR as never);
    return [
      await em.find(Book, {}, { orderBy: { id: 'asc' } }),
      await em.count(Book),
      await em.count(Book, {}, { filters: { onlyDear: false } }),
      await em.findAndCount(Book, { price: { $ne: null } }),
      await em.nativeDelete(Book, {}),
    ];
  });
  compare('apply in a collection, a reference and em.populate()', async (em) => {
    em.addFilter(ONLY_DEAR as never);
    const author = await em.findOneOrFail(Author, 1);
    const count = await author.books.loadCount();
    const [bob] = await em.find(Author, { id: 2 });
    return [count, await author.books.loadItems(), await em.populate(bob!, ['books'])];
  });
  compare('are gone with it', (em) => em.count(Book));
  compare('apply to a fork', async (em) => {
    em.addFilter(ONLY_DEAR as never);
    em.setFilterParams('dear', { min: 1 });
    const fork = em.fork();
    return [await fork.count(Book), fork.getFilterParams('dear')];
  });

  compare('apply to what find() joins', async (em) => {
    em.addFilter(ONLY_DEAR as never);
    return em.find(Author, {}, { ...BOOKS, strategy: 'joined' });
  });
  compare('apply to what findOne() joins', async (em) => {
    em.addFilter(ONLY_DEAR as never);
    return em.findOne(Author, 1, { populate: ['books'], strategy: 'joined' });
  });
  compare('apply to what stream() joins', async (em) => {
    em.addFilter(ONLY_DEAR as never);
    const seen = [];
    for await (const author of em.stream(Author, BOOKS)) {
      seen.push(author);
    }
    return seen;
  });
  compare('apply to a query builder that is asked to', async (em) => {
    em.addFilter(ONLY_DEAR as never);
    const builder = em.createQueryBuilder(Book);
    await builder.applyFilters();
    return builder.orderBy({ id: 'asc' }).getResult();
  });
  compare('are returned by applyFilters()', (em) => {
    em.addFilter(ONLY_DEAR as never);
    return em.applyFilters(Book, {}, {}, 'read');
  });
});

describe('filters that are added to the global entity manager', () => {
  beforeAll(() =>
    contract.kit.orm.em.addFilter({
      name: 'cheap',
      cond: { price: { $lte: 10 } },
      entity: [Book],
    } as never),
  );

  compare('apply to rows that are looked for', (em) =>
    em.find(Book, {}, { orderBy: { id: 'asc' } }),
  );
  compare('apply to what em.populate() loads', async (em) =>
    em.populate(await em.find(Author, {}, { orderBy: { id: 'asc' } }), ['books']),
  );
  compare('apply to what find() joins', (em) =>
    em.find(Author, {}, { ...BOOKS, strategy: 'joined' }),
  );
  compare('leave a count by what it joins', async (em) =>
    em.count(Author, { books: { price: { $gt: 0 } } }, { populate: ['books'] as never }),
  );
  compare('params of its own are copied, and stay what they are', async (em, { orm }) => {
    orm.em.fork().setFilterParams('dear', { min: 5 });
    return [em.getFilterParams('dear'), await em.count(Tag)];
  });
});

expectCovered('filters');
