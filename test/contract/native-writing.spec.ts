import { sql } from '@mikro-orm/core';

import { Author, Book, Membership, Tag } from './contract.entities.js';
import { useContract } from './use-contract.js';

const { compare, expectCovered } = useContract();

const DAN = { name: 'Dan', email: 'dan@example.org' };

function newTag(name: string): Tag {
  const tag = new Tag();
  tag.name = name;
  return tag;
}

describe('insert', () => {
  compare('by data, by entity, and of a composite key', async (em) => [
    await em.insert(Author, { ...DAN, address: { city: 'Rom', street: null } }),
    await em.insert(newTag('by entity')),
    await em.insert(Membership, { author: 3, tag: 3, role: 'x' }),
    em.getUnitOfWork().getIdentityMap().keys(),
  ]);
  compare('many', async (em) => [
    await em.insertMany(Tag, [{ name: 'a' }, { name: 'b' }]),
    await em.insertMany([newTag('c'), newTag('d')]),
    await em.insertMany(Tag, []),
  ]);
  compare.failure('a failure has the class and the code of the server', (em) =>
    em.insert(Author, { ...DAN, email: 'ann@example.org' }),
  );
  compare.failure('refuses what has no value', (em) =>
    em.insert(Tag, { name: undefined } as never),
  );
  compare.each(['author', 'tag'] as const)(
    'a foreign key that is broken (%s)',
    (em, _, key) => em.insert(Membership, { author: 1, tag: 3, role: 'x', [key]: 99 }),
    { fails: true },
  );
});

describe('upsert', () => {
  compare('inserts, or updates by its unique property', async (em) => {
    const fresh = await em.upsert(Author, { ...DAN, age: 1 });
    const known = await em.upsert(Author, { name: 'Anne', email: 'ann@example.org', age: 2 });
    await em.flush();
    return [fresh, known, em.getUnitOfWork().getIdentityMap().keys()];
  });
  compare('by key, of an entity that is loaded', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    const same = await em.upsert(Author, { id: 1, name: 'Anne', email: 'a@example.org' });
    return [same === author, author];
  });
  compare('by an entity', async (em) => em.upsert(newTag('red')));
  compare('with its options', async (em) => [
    await em.upsert(Tag, { name: 'red' }, { onConflictAction: 'ignore' }),
    await em.upsert(
      Author,
      { ...DAN, email: 'bob@example.org', age: 9 },
      {
        onConflictFields: ['email'],
        onConflictMergeFields: ['age'],
      },
    ),
    await em.upsert(
      Author,
      { ...DAN, email: 'cid@example.org' },
      {
        onConflictFields: ['email'],
        onConflictExcludeFields: ['name'],
        disableIdentityMap: true,
      },
    ),
  ]);
  compare('many', async (em) => {
    const authors = await em.upsertMany(Author, [{ name: 'Anne', email: 'ann@example.org' }, DAN]);
    const tags = await em.upsertMany([newTag('red'), newTag('pink')]);
    const batches = await em.upsertMany(Tag, [{ name: 'a' }, { name: 'b' }, { name: 'c' }], {
      batchSize: 2,
    });
    return [authors, tags, batches];
  });
});

describe('native', () => {
  compare('update', async (em) => [
    await em.nativeUpdate(Author, { age: { $gt: 1 } }, { age: sql<number>`age + 1` }),
    await em.nativeUpdate(Author, { id: 99 }, { name: 'nobody' }),
    await em.nativeUpdate(Book, { author: { name: 'Ann' } }, { price: 1 }),
    await em.nativeUpdate(Author, { id: 3 }, { address: { city: 'Köln' } }),
  ]);
  compare('delete', async (em) => [
    await em.nativeDelete(Membership, { role: 'guest' }),
    await em.nativeDelete(Book, { id: [1, 3] }),
    await em.nativeDelete(Book, { id: 3 }, { filters: false }),
  ]);
  compare('leaves the entities that are loaded as they are', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    await em.nativeUpdate(Author, 1, { name: 'other' });
    const before = author.name;
    return before;
  });
  compare.failure('a failure in the middle ends the transaction for both', async (em) => {
    await em.nativeUpdate(Author, 1, { name: 'undone' });
    await em.nativeUpdate(Author, 2, { email: 'ann@example.org' });
  });
  compare('clone', async (em) => [
    await em.clone(await em.findOneOrFail(Tag, 1), { name: 'copy' }),
    await em.clone(Book, 1),
  ]);
});

expectCovered('native-writing');
