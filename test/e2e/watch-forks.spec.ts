import { Collection } from '@mikro-orm/core';
import { Entity, ManyToMany, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Author, Book, LIBRARY_SCHEMA } from '../support/library.entities.js';
import { LogRecorder } from '../support/log-recorder.js';
import { startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

@Entity({ tableName: 'shelf' })
class Shelf {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text', onUpdate: () => 'set by a flush' })
  updatedBy!: string;

  @ManyToMany({ entity: () => Author, pivotTable: 'shelf_authors' })
  authors = new Collection<Author>(this);
}

const SHELF_SCHEMA = `
  create table shelf (id serial primary key, updated_by text not null);
  create table shelf_authors (shelf_id int references shelf (id), author_id int references author (id));
  insert into author (name) values ('a'), ('b');
  insert into book (title, author_id) values ('one', 1), ('two', 1);
  insert into shelf (updated_by) values ('nobody');
  insert into shelf_authors values (1, 1)`;

type Work = (fork: EntityManager) => Promise<unknown>;

/** What a flush of the fork would write nothing of. */
const READS: Record<string, Work> = {
  'populate of one to many, joined': (fork) =>
    fork.find(Author, {}, { populate: ['books'], strategy: 'joined' }),
  'populate of one to many, select-in': (fork) =>
    fork.find(Author, {}, { populate: ['books'], strategy: 'select-in' }),
  'populate of many to one': (fork) => fork.find(Book, {}, { populate: ['author'] }),
  'populate of many to many': (fork) => fork.find(Shelf, {}, { populate: ['authors.books'] }),
  'init of a collection': async (fork) => (await fork.findOneOrFail(Author, 1)).books.init(),
  'em.populate()': async (fork) => fork.populate(await fork.find(Author, {}), ['books']),
  'persist of what has not changed': async (fork) =>
    fork.persist([await fork.findOneOrFail(Author, 1), fork.getReference(Book, 1)]),
};

/** What is lost, and the entities that the warning names. */
const LOSSES: Record<string, readonly [names: string, work: Work]> = {
  'a changed entity of a collection': [
    'Book',
    async (fork) => {
      const [author] = await fork.find(Author, {}, { populate: ['books'] });
      author!.books[0]!.title = 'changed';
    },
  ],
  'an entity that was moved to another collection': [
    'Book',
    async (fork) => {
      const [a, b] = await fork.find(Author, {}, { populate: ['books'], orderBy: { id: 'asc' } });
      b!.books.add(a!.books[0]!);
    },
  ],
  'an entity that was added to many to many': [
    'Shelf',
    async (fork) => {
      const [shelf] = await fork.find(Shelf, {}, { populate: ['authors'] });
      shelf!.authors.add(await fork.findOneOrFail(Author, 2));
    },
  ],
  'a new entity': ['Author', async (fork) => fork.persist(new Author('new'))],
  'a removed entity': ['Book', async (fork) => fork.remove(await fork.findOneOrFail(Book, 1))],
};

const log = new LogRecorder();

describe('the watch and forks that are never flushed', () => {
  let database: TestDatabase;
  let app: TestApp;
  const managers = new Map<string, EntityManager>();

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(`${LIBRARY_SCHEMA}; ${SHELF_SCHEMA}`);
    app = await startApp({
      watch: { contextOpenMs: 60_000, idleInTransactionMs: 60_000 },
      connections: [defineConfig({ clientUrl: database.url, entities: [Author, Book, Shelf] })],
    });
    app.app.useLogger(log);
  });
  afterAll(async () => {
    await app.close();
    await database.drop();
  });

  const runIn = (name: string, work: Work): Promise<unknown> =>
    app.dbContext.run(
      async () => {
        const fork = app.connection().orm.em.fork() as EntityManager;
        managers.set(name, fork);
        await work(fork);
      },
      { name },
    );

  it('W2: warns of those alone that a flush would write something of, and leaves them as they are', async () => {
    for (const [name, work] of Object.entries(READS)) {
      await runIn(name, work);
    }
    for (const [name, [, work]] of Object.entries(LOSSES)) {
      await runIn(name, work);
    }
    // Looks come in the order of the contexts, so those at forks that were only read are the first.
    await waitFor(() => log.ofLibrary('warn').length >= Object.keys(LOSSES).length, {
      what: 'the warnings of what is lost',
    });
    const warned = log
      .ofLibrary('warn')
      .map((line) => /^The context of (.*?) persisted .*\((.*?)\)\. A fork/s.exec(line)?.slice(1));
    expect(warned).toEqual(Object.entries(LOSSES).map(([name, [names]]) => [name, names]));

    const computed = Object.keys(READS).map((name) => {
      const uow = managers.get(name)!.getUnitOfWork(false);
      uow.computeChangeSets();
      return [name, uow.getChangeSets().length, uow.getCollectionUpdates().length];
    });
    expect(computed).toEqual(Object.keys(READS).map((name) => [name, 0, 0]));
    const shelf = managers.get('an entity that was added to many to many')!;
    expect((await shelf.findOneOrFail(Shelf, 1)).updatedBy).toBe('nobody');
  });
});
