import { wrap } from '@mikro-orm/core';

import { Author, Book, Tag } from './contract.entities.js';
import { useContract } from './use-contract.js';

const { compare, expectCovered } = useContract();

describe('merge and map', () => {
  compare('merge() makes data managed, and writes what changes then', async (em) => {
    const author = em.merge(Author, { id: 1, name: 'Ann', email: 'ann@example.org', age: 31 });
    author.age = 32;
    await em.flush();
    return [author, em.merge<Author>(Author, { id: 1, name: 'other' }) === author];
  });
  compare('merge() of an entity, with refresh and without cascade', async (em) => {
    const author = await em.findOneOrFail(Author, 1, { populate: ['books'] });
    em.clear();
    const merged = em.merge(author);
    const again = em.merge<Author>(Author, { id: 1, name: 'fresh' }, { refresh: true });
    em.merge(Tag, { id: 9, name: 'x' }, { cascade: false, validate: false });
    return [merged === author, again === author, em.getUnitOfWork().getIdentityMap().keys()];
  });
  compare.failure('merge() wants a key', (em) => em.merge(Author, { name: 'x' } as never));
  compare('map() turns rows into entities', async (em) => {
    const [row] = await em.execute<object[]>('select * from author where id = 1');
    const author = em.map(Author, row as never);
    return [
      author,
      await em.findOne(Author, 1),
      em.map(Author, { id: 7, name: 'x' } as never, { mapped: true, disableIdentityMap: true }),
      em.getUnitOfWork().getIdentityMap().keys(),
    ];
  });
});

describe('clear and detach', () => {
  compare('clear() forgets everything, also what waits', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    author.age = 1;
    em.create(Tag, { name: 'lost' });
    em.clear();
    await em.flush();
    return [em.getUnitOfWork().getIdentityMap().keys(), wrap(author).isManaged()];
  });
  compare('an entity can be taken out alone', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    em.getUnitOfWork().unsetIdentity(author);
    author.age = 1;
    await em.flush();
    return (await em.findOneOrFail(Author, 1)) === author;
  });
  compare('getUnitOfWork() with and without the context is the same one', (em) => {
    em.create(Tag, { name: 'waits' });
    return [
      em.getUnitOfWork() === em.getUnitOfWork(false),
      em.getUnitOfWork(false).getPersistStack(),
    ];
  });
  compare('the unit of work shows what is to be written', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    author.age = 1;
    em.create(Tag, { name: 'new' });
    em.remove(await em.findOneOrFail(Book, 5));
    const uow = em.getUnitOfWork();
    uow.computeChangeSets();
    return [
      uow.getChangeSets().map(({ type, meta, payload }) => [type, meta.className, payload]),
      uow.getPersistStack(),
      uow.getRemoveStack(),
      uow.getById(Author, 1) === author,
      uow.getOriginalEntityData(author),
    ];
  });
});

describe('refresh', () => {
  compare('reads the row again into the same entity', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    author.name = 'changed';
    const same = await em.refresh(author);
    return [same === author, author, await em.refreshOrFail(author, { populate: ['books'] })];
  });
  compare('says when the row is gone', async (em) => {
    const tag = await em.findOneOrFail(Tag, 3);
    await em.execute('delete from book_tag; delete from tag where id = 3');
    return [
      await em.refreshOrFail(tag).catch((error: unknown) => error),
      await em.refresh(tag),
      wrap(tag).isManaged(),
    ];
  });
  compare('sees what the same transaction has written', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    await em.nativeUpdate(Author, 1, { name: 'written' });
    return em.refresh(author);
  });
});

expectCovered('unit-of-work');
