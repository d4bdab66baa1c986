import { Controller, Get } from '@nestjs/common';
import { defineConfig, type EntityManager, type EntityRepository } from '@mikro-orm/postgresql';
import {
  ConnectionFailedError,
  DbContextModule,
  getRepositoryToken,
  InjectSession,
  type DbConnectionOptions,
} from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Author, Book, LIBRARY_SCHEMA } from '../support/library.entities.js';
import { Note } from '../support/note.entity.js';
import { startApp, type TestApp } from '../support/test-app.js';
import { startWorld } from '../support/test-world.js';
import { WireProxy } from '../support/wire-proxy.js';

@Controller()
class CountController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('count')
  count(): Promise<number> {
    return this.session.count(Note);
  }
}

describe('while the database is down', () => {
  it('L1: the application boots, a request fails clearly, and the next works once it is back', async () => {
    const database = await createTestDatabase();
    await database.query('create table note (id serial primary key, text text)');
    const proxy = await WireProxy.start(database.url);
    proxy.refuse = true;
    const app = await startApp({
      connections: [
        defineConfig({ clientUrl: proxy.url, entities: [Note] }) as DbConnectionOptions,
      ],
      controllers: [CountController],
    });

    expect((await app.fetch('/count')).status).toBe(500);
    await expect(app.dbContext.run(() => app.session().count(Note))).rejects.toMatchObject({
      constructor: ConnectionFailedError,
      code: 'CONNECTION_FAILED',
      connectionName: 'default',
    });
    expect(app.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });

    proxy.refuse = false;
    const response = await app.fetch('/count');
    expect([response.status, await response.text()]).toEqual([200, '0']);

    await app.close();
    await proxy.stop();
    await database.drop();
  });
});

describe('a session', () => {
  let database: TestDatabase;
  let proxy: WireProxy;
  let app: TestApp;

  let books: { session: EntityManager; authors: EntityRepository<Author> };

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(LIBRARY_SCHEMA);
    proxy = await WireProxy.start(database.url);
    app = await startApp({
      connections: [defineConfig({ clientUrl: proxy.url, entities: [Author, Book] })],
      imports: [DbContextModule.forFeature([Author])],
    });
    books = {
      session: app.session(),
      authors: app.app.get(getRepositoryToken(Author), { strict: false }),
    };
  });

  afterAll(async () => {
    await app.close();
    await proxy.stop();
    await database.drop();
  });

  beforeEach(() => proxy.reset());

  it('L3: holds no connection while entities are only persisted', async () => {
    await app.dbContext.run(async () => {
      books.session.persist(new Author('Ann'));
      await new Promise(setImmediate);
      expect(app.pool().checkedOut).toBe(0);
      expect(proxy.log).toEqual([]);
      books.session.clear();
    });
    expect(proxy.log).toEqual([]);
  });

  it('L3: everything in a context runs in one transaction on one connection', async () => {
    const xid = 'select pg_current_xact_id()::text as xid';
    const seen = await app.dbContext.run(async () => {
      const { session, authors } = books;
      const author = authors.create({ name: 'Bob' });
      await session.flush();
      await session.insert(Book, { title: 'One', author: author.id });
      session.clear();
      const reloaded = await authors.findOneOrFail({ name: 'Bob' });
      // a lazy collection, a query builder, Kysely, raw SQL, and parallel branches
      expect((await reloaded.books.loadItems()).map(({ title }) => title)).toEqual(['One']);
      const kysely = session.getKysely<{ author: { id: number; name: string } }>();
      const [byBuilder, byKysely, ...ids] = await Promise.all([
        session.createQueryBuilder(Author).where({ name: 'Bob' }).getCount(),
        kysely.selectFrom('author').select('name').where('name', '=', 'Bob').execute(),
        session.execute<{ xid: string }[]>(xid),
        session.execute<{ xid: string }[]>(xid),
        app.dbContext.session().execute<{ xid: string }[]>(xid),
      ]);
      expect([byBuilder, byKysely]).toEqual([1, [{ name: 'Bob' }]]);
      expect(await database.query('select * from author')).toEqual([]);
      return ids.map(([row]) => row?.xid);
    });
    expect(new Set(seen).size).toBe(1);
    expect(new Set(proxy.statements.map(({ connection }) => connection)).size).toBe(1);
    expect(proxy.log.filter((sql) => /^(begin|commit)/.test(sql))).toEqual(['begin', 'commit']);
    expect(await database.query('select name from author')).toEqual([{ name: 'Bob' }]);
  });

  it('F5: BEGIN is sent once, however many branches begin at the same time', async () => {
    await app.dbContext.run(() =>
      Promise.all(Array.from({ length: 10 }, () => books.session.execute('select 1'))),
    );
    expect(proxy.log).toEqual(['begin', ...Array.from({ length: 10 }, () => 'select 1'), 'commit']);
  });

  it('L3: a stream lets other statements of the same transaction through', async () => {
    await app.dbContext.run(async () => {
      for (let each = 0; each < 5; each++) {
        books.session.create(Author, { name: `streamed ${each}` });
      }
    });
    const names = await app.dbContext.run(async () => {
      const result: string[] = [];
      const stream = books.session.stream(Author, {
        where: { name: { $like: 'streamed %' } },
        orderBy: { id: 'asc' },
        chunkSize: 2,
      } as never);
      for await (const author of stream) {
        const [row] = await books.session.execute<{ name: string }[]>(
          'select name from author where id = ?',
          [author.id],
        );
        result.push(row!.name);
      }
      return result;
    });
    expect(names).toEqual([0, 1, 2, 3, 4].map((each) => `streamed ${each}`));
    expect(app.pool().checkedOut).toBe(0);
  });

  it('L3: Kysely streams with parameters, and refuses a transaction of its own', async () => {
    const rows = await app.dbContext.run(async () => {
      const kysely = books.session.getKysely<{ author: { id: number; name: string } }>();
      const result: string[] = [];
      for await (const { name } of kysely
        .selectFrom('author')
        .select('name')
        .where('name', 'like', 'streamed %')
        .orderBy('id')
        .stream(2)) {
        result.push(name);
      }
      await expect(
        kysely
          .withSchema('public')
          .transaction()
          .execute(async () => undefined),
      ).rejects.toMatchObject({ code: 'INVALID_TRANSACTION_STATE' });
      return result;
    });
    expect(rows).toHaveLength(5);
  });
});

describe('the first statement', () => {
  it('L3: applies the filters that were added to the global entity manager', async () => {
    const world = await startWorld();
    world.connection().orm.em.addFilter({
      name: 'visible',
      cond: { text: { $ne: 'hidden' } },
      entity: [Note],
      default: true,
    } as never);
    await world.database.query(`insert into note (text) values ('hidden'), ('shown')`);
    const found = await world.dbContext.run(() => world.session().find(Note, {}));
    expect(found.map(({ text }) => text)).toEqual(['shown']);
    await world.close();
  });
});
