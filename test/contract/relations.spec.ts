import { LoadStrategy, Reference, wrap } from '@mikro-orm/core';

import { Author, Book, Membership, Profile, Tag } from './contract.entities.js';
import { useContract } from './use-contract.js';

const { compare, expectCovered } = useContract();

describe('populate', () => {
  compare.each([LoadStrategy.JOINED, LoadStrategy.SELECT_IN, LoadStrategy.BALANCED])(
    'with the strategy %s',
    (em, _, strategy) =>
      em.find(
        Author,
        {},
        { populate: ['books.tags', 'profile', 'bio'], strategy, orderBy: { id: 'asc' } },
      ),
  );
  compare.each([LoadStrategy.JOINED, LoadStrategy.SELECT_IN])(
    'with conditions, orders and limits (%s)',
    async (em, _, strategy) => {
      const options = { populate: ['books'], strategy, orderBy: { id: 'asc' } } as const;
      const inferred = await em.find(
        Author,
        { books: { price: 20 } },
        { ...options, populateWhere: 'infer' },
      );
      em.clear();
      const chosen = await em.find(
        Author,
        {},
        { ...options, populateWhere: { books: { price: 10 } } },
      );
      em.clear();
      const ordered = await em.find(
        Author,
        {},
        { ...options, populateOrderBy: { books: { id: 'desc' } } },
      );
      return [inferred, chosen, ordered];
    },
  );
  compare('all, references only, and by $infer', async (em) => {
    const all = await em.find(Book, {}, { populate: ['*'], orderBy: { id: 'asc' } });
    em.clear();
    const refs = await em.find(Book, {}, { populate: ['tags:ref'], orderBy: { id: 'asc' } });
    em.clear();
    return [all, refs, await em.find(Book, { author: { name: 'Ann' } }, { populate: ['$infer'] })];
  });
  compare('afterwards, with em.populate()', async (em) => {
    const books = await em.find(Book, {}, { orderBy: { id: 'asc' } });
    await em.populate(books, ['author.profile', 'tags']);
    await em.populate(books[0]!, ['author.books'] as never, { refresh: true });
    return [books, await em.populate([], [])];
  });
  compare('canPopulate() and preparePopulate()', async (em) => [
    await em.count(Author),
    em.canPopulate(Author, 'books.tags'),
    em.canPopulate(Author, 'nobody'),
    await em.preparePopulate(Author, { populate: ['books.tags'] as never }),
    await em.preparePopulate(Author, { populate: ['no'] as never }).catch((e: unknown) => e),
  ]);
});

describe('collections', () => {
  compare('init, load, count and match', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    const counts = [await author.books.loadCount(), author.books.isInitialized()];
    const matching = await author.books.matching({ where: { price: 20 }, populate: ['tags'] });
    const where = await author.books.loadCount({ where: { price: 10 } });
    await author.books.init({ populate: ['tags'], orderBy: { id: 'desc' } });
    const items = await author.books.loadItems();
    return [counts, matching, where, items, author.books, author.books.getIdentifiers()];
  });
  compare('matching() can store what it finds', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    await author.books.matching({ where: { price: 10 }, store: true });
    return author.books;
  });
  compare.failure('the items of one that is not loaded are refused', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    return author.books.getItems();
  });
  compare('add, remove, set and removeAll of 1:m', async (em) => {
    const author = await em.findOneOrFail(Author, 1, { populate: ['books'] });
    author.books.add(em.create(Book, { title: 'new', author } as never));
    author.books.remove(author.books[0]!);
    await em.flush();
    const [bob, cid] = await em.find(Author, [2, 3], {
      populate: ['books'],
      orderBy: { id: 'asc' },
    });
    cid!.books.set(bob!.books.getItems());
    bob!.books.removeAll();
    await em.flush();
    return [author, bob, cid];
  });
  compare('add, remove, set and removeAll of m:n, from both sides', async (em) => {
    const book = await em.findOneOrFail(Book, 1, { populate: ['tags'] });
    book.tags.remove(em.getReference(Tag, 1));
    book.tags.add(em.getReference(Tag, 3), em.create(Tag, { name: 'new' }));
    await em.flush();
    const red = await em.findOneOrFail(Tag, 1, { populate: ['books'] });
    red.books.add(await em.findOneOrFail(Book, 5));
    await em.flush();
    const beta = await em.findOneOrFail(Book, 2);
    beta.tags.add(em.getReference(Tag, 3));
    await em.flush();
    await beta.tags.init();
    beta.tags.set([]);
    return [book, red, beta];
  });
});

describe('references', () => {
  compare('getReference() asks nobody', async (em) => {
    const author = em.getReference(Author, 2);
    const wrapped = em.getReference(Author, 2, { wrapped: true });
    const isLoaded = wrap(author).isInitialized();
    const membership = em.getReference(Membership, [1, 1] as never);
    await wrap(author).init();
    await wrap(membership).init();
    return [isLoaded, wrapped.unwrap() === author, author, membership];
  });
  compare.failure('a composite key wants all of it', (em) =>
    em.getReference(Membership, 1 as never),
  );
  compare('load, and load of one property', async (em) => {
    const book = await em.findOneOrFail(Book, 1);
    const { author } = book;
    const before = author!.isInitialized();
    const name = await author!.loadProperty('name');
    const loaded = await author!.load({ populate: ['profile'] });
    return [before, name, loaded, author!.getEntity() === loaded, loaded?.profile];
  });
  compare('load of a row that is gone', async (em) => {
    const gone = em.getReference(Author, 99, { wrapped: true });
    return [await gone.load(), await gone.loadOrFail().catch((error: unknown) => error)];
  });
  compare('a lazy scalar', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    const before = author.bio?.isInitialized();
    return [before, await author.bio?.load(), author.bio];
  });
  compare('1:1 from both sides', async (em) => {
    const profile = await em.findOneOrFail(Profile, 1);
    const author = await profile.author.load();
    const back = author?.profile?.unwrap() === profile;
    const cid = await em.findOneOrFail(Author, 3);
    cid.profile = Reference.create(em.create(Profile, { motto: 'new', author: cid } as never));
    await em.flush();
    return [author, back, cid];
  });
  compare('wrap() finds the manager of the entity', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    const wrapped = wrap(author, true);
    wrap(author).assign({ age: 3 });
    await wrap(author).populate(['books']);
    return [
      // oxlint-disable-next-line no-underscore-dangle -- MikroORM's name
      wrapped.__em?.getContext(false) === em.getContext(false),
      wrap(author).toObject(),
      wrap(author).serialize({ populate: ['books'] }),
      JSON.stringify(author),
    ];
  });
});

describe('data loaders', () => {
  compare.each(['ref', '1:m', 'm:n', 'count'] as const)(
    'getDataLoader(%s)',
    (em, _, type) => em.getDataLoader(type) as Promise<unknown>,
  );
  compare('in a load', async (em) => {
    const book = await em.findOneOrFail(Book, 1);
    return Promise.all([
      book.author!.load({ dataloader: true }),
      book.tags.load({ dataloader: true }),
    ]);
  });
});

expectCovered('relations');
