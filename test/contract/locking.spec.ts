import { LockMode } from '@mikro-orm/core';

import { Author, Profile, Tag } from './contract.entities.js';
import { useContract } from './use-contract.js';

const { compare, expectCovered } = useContract({ events: 'ignored' });

const error = (thrown: unknown): unknown => thrown;
const PESSIMISTIC = [
  LockMode.PESSIMISTIC_READ,
  LockMode.PESSIMISTIC_WRITE,
  LockMode.PESSIMISTIC_PARTIAL_WRITE,
  LockMode.PESSIMISTIC_WRITE_OR_FAIL,
  LockMode.PESSIMISTIC_PARTIAL_READ,
  LockMode.PESSIMISTIC_READ_OR_FAIL,
] as const;

describe('pessimistic locks', () => {
  compare.each(PESSIMISTIC)('mode %s: find, findOne, lock', async (em, _, lockMode) => {
    const found = await em.find(Tag, { id: [1, 2] }, { lockMode, orderBy: { id: 'asc' } });
    const author = await em.findOneOrFail(Author, 1, { lockMode });
    await em.lock(await em.findOneOrFail(Tag, 3), lockMode);
    await em.qb(Profile).setLockMode(lockMode).where({ id: 1 }).getResult();
    return [found, author];
  });
  compare('a row that another transaction holds', async (em, { orm }) => {
    const other = orm.em.fork();
    await other.begin();
    try {
      await other.findOneOrFail(Tag, 1, { lockMode: LockMode.PESSIMISTIC_WRITE });
      return [
        await em.find(
          Tag,
          {},
          { lockMode: LockMode.PESSIMISTIC_PARTIAL_WRITE, orderBy: { id: 'asc' } },
        ),
        await em
          .transactional((inner) =>
            inner.findOne(Tag, 1, { lockMode: LockMode.PESSIMISTIC_WRITE_OR_FAIL }),
          )
          .catch(error),
      ];
    } finally {
      await other.rollback();
    }
  });
  compare.failure('of an entity that is not managed', (em) => {
    const tag = em.create(Tag, { name: 'x' }, { persist: false });
    return em.lock(tag, LockMode.PESSIMISTIC_WRITE);
  });
});

describe('optimistic locks', () => {
  compare('look at the version', async (em) => {
    const bob = await em.findOneOrFail(Author, 2);
    return [
      await em.lock(bob, LockMode.OPTIMISTIC, 3),
      await em.lock(bob, LockMode.OPTIMISTIC, { lockVersion: 2 }).catch(error),
      await em.findOne(Author, 2, { lockMode: LockMode.OPTIMISTIC, lockVersion: 1 }).catch(error),
      await em.findOne(Tag, 1, { lockMode: LockMode.OPTIMISTIC, lockVersion: 1 }).catch(error),
    ];
  });
  compare.failure('a flush notices that somebody else was faster', async (em, { database }) => {
    const author = await em.findOneOrFail(Author, 1);
    await database.query('update author set version = 7 where id = 1');
    author.age = 1;
    await em.flush();
  });
  compare('the version rises with each flush', async (em) => {
    const author = await em.findOneOrFail(Author, 1);
    for (const age of [1, 2]) {
      author.age = age;
      await em.flush();
    }
    return author.version;
  });
});

expectCovered('locking');
