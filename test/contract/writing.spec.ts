import { FlushMode, ref, wrap } from '@mikro-orm/core';

import { Author, Book, Membership, Profile, Tag } from './contract.entities.js';
import { useContract } from './use-contract.js';

const { compare, expectCovered } = useContract();

const DAN = { name: 'Dan', email: 'dan@example.org' };

describe('create, persist and flush', () => {
  compare('writes what was created, with defaults, version and relations', async (em) => {
    const author = em.create(Author, {
      ...DAN,
      address: { street: null, city: 'Rom' },
      settings: { tags: ['x'] },
      books: [{ title: 'Zeta', tags: [1, { name: 'new' }] }],
    } as never);
    await em.flush();
    return [author, author.version, author.books];
  });
  compare('create() with persist: false neither persists nor writes', async (em) => {
    const author = em.create(Author, DAN, { persist: false });
    const managed = em.create(Author, { id: 2, name: 'as is' } as never, { managed: true });
    await em.flush();
    return [author, managed, wrap(author).isManaged()];
  });
  compare('create() with a partial object, and of an unknown entity', (em) => {
    const author = em.create(Author, { name: 'x' }, { partial: true, persist: false });
    return [
      author,
      thrownBy(() =>
        em.create(
          class Unknown {
            id = 1;
          },
          {},
        ),
      ),
    ];
  });
  compare('persist() takes one and many, and can be chained', async (em) => {
    const [red, blue] = [new Tag(), new Tag()];
    red.name = 'reddish';
    blue.name = 'bluish';
    const first = em.persist(red);
    await em.persist([blue]).flush();
    return [first, red, blue, thrownBy(() => em.persist({} as never))];
  });
  compare('remove() takes one and many, and references', async (em) => {
    const profile = await em.findOneOrFail(Profile, 2);
    const first = em.remove(profile);
    em.remove([em.getReference(Tag, 3), em.getReference(Membership, [1, 2] as never)]);
    await em.flush();
    return [first, wrap(profile).isManaged(), thrownBy(() => em.remove({} as never))];
  });
  compare('writes changes of every kind of column, and raises the version', async (em) => {
    const author = await em.findOneOrFail(Author, 1, { populate: ['bio'] });
    author.age = null;
    author.status = 'retired';
    author.settings = { ...author.settings, theme: 'light' };
    author.address!.city = 'Graz';
    author.bio!.set('writes more');
    await em.flush();
    const book = await em.findOneOrFail(Book, 2);
    book.views = '9007199254740994';
    book.deletedAt = new Date('2021-05-06T07:08:09Z');
    await em.flush();
    return [author, book, author.version];
  });
  compare('what is changed and not flushed is written at the end', async (em) => {
    (await em.findOneOrFail(Author, 2)).name = 'Rob';
    em.create(Tag, { name: 'late' });
  });
  compare.failure('a flush that fails throws the reason', async (em) => {
    em.create(Author, { ...DAN, email: 'ann@example.org' });
    await em.flush();
  });
  compare.failure('a flush at the end that fails throws the reason', (em) => {
    em.create(Author, { ...DAN, status: 'unheard of' as never });
  });
  compare.failure('a missing value is found before anything is sent', async (em) => {
    em.create(Author, { name: 'nobody' } as never);
    await em.flush();
  });
  compare('flushes that meet are one after another', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    author.age = 50;
    await Promise.all([em.flush(), em.flush()]);
    return author;
  });
});

describe('auto flush', () => {
  compare('before a query that the changes could touch', async (em) => {
    em.create(Tag, { name: 'violet' });
    return [await em.count(Author), await em.count(Tag), await em.find(Tag, { name: 'violet' })];
  });
  compare.each([FlushMode.COMMIT, FlushMode.AUTO, FlushMode.ALWAYS])(
    'setFlushMode(%s)',
    async (em, _, mode) => {
      em.setFlushMode(mode);
      em.create(Tag, { name: 'violet' });
      const author = await em.findOneOrFail(Author, 1);
      author.age = 1;
      const counts = [await em.count(Tag), await em.count(Author, { age: 1 })];
      em.setFlushMode();
      return [counts, await em.count(Tag)];
    },
  );
  compare('flushMode of a query', async (em) => {
    em.create(Tag, { name: 'violet' });
    return [
      await em.find(Tag, {}, { flushMode: FlushMode.COMMIT, orderBy: { id: 'asc' } }),
      await em.find(Tag, {}, { flushMode: FlushMode.ALWAYS, orderBy: { id: 'asc' } }),
    ];
  });
  compare('tryFlush()', async (em) => {
    em.create(Tag, { name: 'violet' });
    await em.tryFlush(Author, {});
    await em.tryFlush(Tag, {});
  });
  compare('a query builder flushes, too', async (em) => {
    em.create(Tag, { name: 'violet' });
    return em.createQueryBuilder(Tag).where({ name: 'violet' }).getCount();
  });
});

describe('assign', () => {
  compare('merges what it is given', async (em) => {
    const author = await em.findOneOrFail(Author, 1, { populate: ['books'] });
    em.assign(author, { age: 5, address: { city: 'Wien' }, settings: { tags: ['t'] } } as never);
    await em.flush();
    em.assign(author, { settings: { theme: 'x' } }, { mergeObjectProperties: true });
    em.assign(author, { books: [{ id: 1, title: 'Alef' }] } as never, {
      updateNestedEntities: true,
    });
    await em.flush();
    return author;
  });
  compare('sets relations by key and by entity', async (em) => {
    const book = await em.findOneOrFail(Book, 5, { populate: ['tags'] });
    em.assign(book, { author: 2, tags: [1, 3] } as never);
    await em.flush();
    em.assign(book, { author: ref(em.getReference(Author, 3)) });
    return book;
  });
});

function thrownBy(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    return error;
  }
}

expectCovered('writing');
