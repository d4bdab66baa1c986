import { raw, ScalarReference } from '@mikro-orm/core';

import { Author, AuthorName, Book, Tag } from './contract.entities.js';
import { ADD_ONE, CURSORS, DOUBLED } from './contract.routines.js';
import { useContract } from './use-contract.js';

const { compare, own, expectCovered } = useContract();

interface Tables {
  author: { id: number; name: string; age: number | null };
  tag: { id: number; name: string };
}

describe('execute', () => {
  compare.each(['all', 'get', 'run'] as const)('with the method %s', async (em, _, method) => [
    await em.execute('select id, name from author order by id', [], method),
    await em.execute('select * from author where id = 99', [], method),
    await em.execute("insert into tag (name) values ('x'), ('y') returning id", [], method),
    await em.execute('update author set age = 1 where id < ?', [3], method),
    await em.execute('delete from membership', [], method),
    await em.execute('select 1 as one; select 2 as two', [], method),
    await em.execute('create temporary table t (id int) on commit drop', [], method),
    await em.execute('insert into t select * from generate_series(1, 3)', [], { method }),
  ]);
  compare('parameters by place, by name, and a raw fragment', async (em) => [
    await em.execute('select ? as a, ? as b, ?? from author', [1, "o'", 'name']),
    await em.execute('select :a as a, :b as b', { a: [1, 2], b: null }),
    await em.execute(raw('select ? as a', [{ json: true }])),
    await em.execute(em.createQueryBuilder(Tag).select('id').getNativeQuery()),
  ]);
  compare('types as the driver has them', (em) =>
    em.execute(
      `select 1::bigint, 1.5::numeric, true as b, null as n, '{"a":1}'::jsonb, '{1,2}'::int[],
        '2020-01-02T03:04:05Z'::timestamptz, '2020-01-02'::date, '\\x01'::bytea, '1 day'::interval`,
    ),
  );
  compare.failure('errors keep their class, their code and their SQL', (em) =>
    em.execute('select nothing'),
  );
  compare.failure('a division by zero', (em) => em.execute('select 1 / 0'));
});

describe('the query builder', () => {
  compare('reads: joins, subqueries, groups', async (em) => {
    const sub = em
      .createQueryBuilder(Book, 's')
      .count('s.id')
      .where({ author: raw('a.id') });
    return [
      await em
        .createQueryBuilder(Author, 'a')
        .select(['a.*', sub.as('bookCount')])
        .leftJoinAndSelect('a.books', 'b')
        .where({ 'b.price': { $gte: 10 } })
        .orderBy({ 'a.id': 'asc', 'b.id': 'asc' })
        .getResult(),
      await em.qb(Author).select('status').groupBy('status').having('count(*) > 1').execute(),
      await em
        .qb(Author)
        .where({ id: { $in: em.qb(Book).select('author') } } as never)
        .getCount(),
      await em.qb(Author).where({ id: 2 }).getSingleResult(),
      await em.qb(Author).where({ id: 99 }).getSingleResult(),
      await em.qb(Author).orderBy({ id: 'asc' }).limit(2).getResultAndCount(),
    ];
  });
  compare('writes', async (em) => [
    await em.createQueryBuilder(Tag).insert({ name: 'qb' }).execute(),
    await em.qb(Tag).insert({ name: 'red' }).onConflict('name').ignore().execute('run'),
    await em.qb(Author).update({ age: 1 }).where({ id: 1 }).returning('age').execute('all'),
    await em.qb(Author).delete({ id: 3 }).execute(),
    em.qb(Book).truncate().getQuery(),
  ]);
  compare('entities of it are managed', async (em) => {
    const [author] = await em.qb(Author).where({ id: 1 }).getResult();
    author!.name = 'managed';
    return (await em.findOne(Author, 1)) === author;
  });
  compare('streams', async (em) => {
    const seen = [];
    for await (const author of em.qb(Author).orderBy({ id: 'asc' }).stream()) {
      seen.push(author);
    }
    for await (const row of em.qb(Author).select('id').stream({ rawResults: true })) {
      seen.push(row);
    }
    return seen;
  });
});

describe('stream', () => {
  compare('yields entities that are not managed, relations included', async (em) => {
    const seen = [];
    for await (const author of em.stream(Author, {
      where: { id: { $lt: 3 } },
      populate: ['books'],
      orderBy: { id: 'asc' },
      chunkSize: 1,
    } as never)) {
      seen.push(author);
    }
    return [seen, em.getUnitOfWork().getIdentityMap().keys()];
  });
  compare.failure('can be left early, and is over when it fails', async (em) => {
    for await (const author of em.stream(Author, { orderBy: { id: 'asc' } })) {
      if (author.id === 1) {
        break;
      }
    }
    const tags = [];
    for await (const tag of em.stream(Tag, { where: { id: 99 } })) {
      tags.push(tag);
    }
    await em.stream(Author, { where: { [raw('1 / 0')]: 1 } as never }).next();
  });
});

describe('Kysely', () => {
  compare('reads and writes in the transaction', async (em) => {
    em.create(Tag, { name: 'before' });
    await em.flush();
    const kysely = em.getKysely<Tables>();
    return [
      await kysely.selectFrom('tag').selectAll().orderBy('id').execute(),
      await kysely
        .insertInto('tag')
        .values({ name: 'k' } as never)
        .returning('id')
        .execute(),
      await kysely
        .insertInto('tag')
        .values({ name: 'l' } as never)
        .executeTakeFirst(),
      await kysely.updateTable('author').set({ age: 1 }).where('id', '<', 3).execute(),
      await kysely.deleteFrom('tag').where('name', '=', 'k').executeTakeFirst(),
      await kysely
        .with('old', (db) => db.selectFrom('author').select('id').where('age', '>', 0))
        .selectFrom('old')
        .selectAll()
        .orderBy('id')
        .execute(),
      await kysely.selectFrom('tag').selectAll().where('id', '=', 99).executeTakeFirst(),
      kysely.isTransaction,
    ];
  });
  compare('with names and values of the entities', (em) =>
    em
      .getKysely<{ Author: { id: number; nameLength: number; name: string } }>({
        tableNamingStrategy: 'entity',
        columnNamingStrategy: 'property',
        convertValues: true,
      })
      .selectFrom('Author')
      .select(['id', 'name'])
      .orderBy('id')
      .execute(),
  );
  compare('streams', async (em) => {
    const seen = [];
    for await (const row of em
      .getKysely<Tables>()
      .selectFrom('author')
      .select(['id', 'name'])
      .where('id', '<', 3)
      .orderBy('id')
      .stream(1)) {
      seen.push(row);
    }
    return seen;
  });
  compare.failure('an error keeps its code', (em) =>
    em.getKysely<{ nowhere: { id: number } }>().selectFrom('nowhere').selectAll().execute(),
  );
  // Plain Kysely refuses it as well, in words of its own.
  own('refuses a transaction of its own', async (em) => {
    const kysely = em.getKysely<Tables>();
    await expect(kysely.transaction().execute(async () => undefined)).rejects.toMatchObject({
      code: 'INVALID_TRANSACTION_STATE',
    });
  });
});

describe('routines and views', () => {
  compare('functions and procedures', async (em) => {
    const twice = new ScalarReference<number>();
    await em.callRoutine(DOUBLED, { n: 21, twice });
    return [await em.callRoutine(ADD_ONE, { n: 1 }), twice.unwrap()];
  });
  compare(
    'cursors of the server, which live in the transaction',
    (em) =>
      em.callRoutine(CURSORS, {
        first: new ScalarReference<string>(),
      }) as Promise<unknown>,
  );
  compare('refreshMaterializedView()', async (em) => {
    await em.execute("update author set name = 'Anne' where id = 1");
    await em.refreshMaterializedView(AuthorName);
    const names = await em.find(AuthorName, {}, { orderBy: { id: 'asc' } });
    return [names, await em.refreshMaterializedView(Author).catch((error: unknown) => error)];
  });
});

expectCovered('sql');
