import { Embeddable, Embedded, Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Param, ParseIntPipe, Post, Put } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';
import { useTestTransaction, type CurrentTestTransaction } from 'nestjs-db-context/testing';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Author, Book, LIBRARY_SCHEMA } from '../support/library.entities.js';
import { startApp, type TestApp } from '../support/test-app.js';

@Embeddable()
class Address {
  @Property({ type: 'text' })
  city!: string;
}

@Entity({ tableName: 'profile' })
class Profile {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'json' })
  settings!: { theme: string };

  @Property({ type: 'datetime' })
  born!: Date;

  @Embedded(() => Address)
  address!: Address;
}

@Controller('authors/:id')
class AuthorsController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Put()
  async rename(
    @Param('id', ParseIntPipe) id: number,
    @Body() { name }: { name: string },
  ): Promise<void> {
    const author = await this.session.findOneOrFail(Author, id);
    author.name = name;
  }

  @Post('books')
  async add(
    @Param('id', ParseIntPipe) id: number,
    @Body() { title }: { title: string },
  ): Promise<void> {
    const author = await this.session.findOneOrFail(Author, id);
    author.books.add(new Book(title));
  }
}

let database: TestDatabase;
let app: TestApp;

beforeAll(async () => {
  database = await createTestDatabase();
  await database.query(LIBRARY_SCHEMA);
  await database.query(
    'create table profile (id serial primary key, settings jsonb, born timestamptz, address_city text)',
  );
  app = await startApp({
    connections: [
      defineConfig({
        clientUrl: database.url,
        entities: [Author, Book, Profile],
        pool: { min: 0, max: 5 },
      }),
    ],
    controllers: [AuthorsController],
  });
});
// Jest runs it before the afterAll() of the block of this file, which has a client until then.
afterAll(async () => {
  await app.close();
  expect(await saved()).toEqual({ authors: '0', books: '0' });
  await database.drop();
});

const db = useTestTransaction(() => app.app);

let ada: Author;
let firstBook: Book;
let profile: Profile;
let setUps = 0;

db.beforeAll((session) => {
  setUps++;
  ada = session.create(Author, { name: 'Ada' });
  firstBook = session.create(Book, { title: 'Notes', author: ada });
  profile = session.create(Profile, {
    settings: { theme: 'light' },
    born: new Date('1815-12-10T00:00:00Z'),
    address: { city: 'London' },
  });
});

async function saved(): Promise<unknown> {
  const [row] = await database.query(
    'select (select count(*) from author) as authors, (select count(*) from book) as books',
  );
  return row;
}

async function send(method: string, path: string, body: object): Promise<number> {
  const response = await app.fetch(path, {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  await response.arrayBuffer();
  return response.status;
}

async function rows(): Promise<unknown> {
  const authors = await db
    .session()
    .find(Author, {}, { orderBy: { id: 'asc' }, populate: ['books'] });
  return authors.map(({ name, books }) => [name, books.getItems().map(({ title }) => title)]);
}

/** What each test finds, and what the entities are like. */
async function expectUntouched(): Promise<void> {
  expect(await rows()).toEqual([['Ada', ['Notes']]]);
  expect([ada.name, firstBook.title, firstBook.author.unwrap()]).toEqual(['Ada', 'Notes', ada]);
  expect(ada.books.getItems()).toEqual([firstBook]);
  expect(ada.books.isDirty()).toBe(false);
  expect([profile.settings.theme, profile.born.getUTCFullYear(), profile.address]).toEqual([
    'light',
    1815,
    expect.any(Address),
  ]);
  expect(profile.address.city).toBe('London');
  expect(ada.id).toBeGreaterThan(0);
}

describe('data that is made once for a block of tests', () => {
  const changes: [string, () => Promise<unknown>][] = [
    ['a request that changes it', () => send('PUT', `/authors/${ada.id}`, { name: 'Eve' })],
    ['a request that adds to it', () => send('POST', `/authors/${ada.id}/books`, { title: 'B' })],
    [
      'an entity of it that is changed and saved',
      async () => {
        ada.name = 'Eve';
        await db.session().persist(ada).flush();
        expect(await rows()).toEqual([['Eve', ['Notes']]]);
      },
    ],
    [
      'an entity of it that is changed and not saved',
      async () => {
        ada.name = 'Eve';
        ada.books.add(new Book('never saved'));
        profile.settings.theme = 'dark';
        profile.born.setFullYear(1900);
        profile.address.city = 'Paris';
        await db.session().count(Author);
      },
    ],
    [
      'an entity that is added to it',
      async () => {
        const session = db.session();
        const book = session.create(Book, { title: 'More', author: ada });
        await session.flush();
        expect(book.author.unwrap()).toBe(ada);
        expect(await rows()).toEqual([['Ada', ['Notes', 'More']]]);
      },
    ],
    [
      'an entity that is removed from it',
      async () => {
        await db.session().remove(firstBook).flush();
        expect(await rows()).toEqual([['Ada', []]]);
      },
    ],
    [
      'an entity that is loaded again after a request',
      async () => {
        await send('PUT', `/authors/${ada.id}`, { name: 'Eve' });
        await db.session().refresh(ada);
        expect(ada.name).toBe('Eve');
      },
    ],
    [
      'a collection that is loaded again after a request',
      async () => {
        await send('POST', `/authors/${ada.id}/books`, { title: 'More' });
        await ada.books.load({ refresh: true });
        expect(ada.books.getItems().map(({ title }) => title)).toEqual(['Notes', 'More']);
      },
    ],
    [
      'a statement of the test that fails',
      () =>
        expect(db.session().insert(Author, { id: ada.id, name: 'again' })).rejects.toMatchObject({
          code: '23505',
        }),
    ],
  ];

  it.each(changes)('T1: %s', async (_, change) => {
    await expectUntouched();
    await change();
  });

  it('T1: is as it was after each of these, was made once, and is not saved', async () => {
    await expectUntouched();
    expect(setUps).toBe(1);
    expect(await saved()).toEqual({ authors: '0', books: '0' });
  });

  it('T1: entities of a test are not those of another one', async () => {
    expect(await db.session().findOneOrFail(Author, ada.id)).not.toBe(ada);
    expect(db.session().getUnitOfWork().getIdentityMap().values()).toEqual([]);
  });

  describe('and of a block inside of it', () => {
    let grace: Author;
    let inner: CurrentTestTransaction | undefined;

    db.beforeAll(async (session) => {
      inner = db;
      ada.name = 'Ada L.';
      grace = session.create(Author, { name: 'Grace' });
      await session.flush();
      // Requests work in a set-up, too, and so does a session by its name.
      await send('POST', `/authors/${grace.id}/books`, { title: 'Compilers' });
      await db.session('default').insert(Book, { title: 'Debugging', author: grace.id });
    });

    it.each(['first', 'second'])('T1: sees both, whatever another test does (%s)', async () => {
      expect(inner?.openTransactions).toBe(0);
      expect([ada.name, grace.name]).toEqual(['Ada L.', 'Grace']);
      expect(await rows()).toEqual([
        ['Ada L.', ['Notes']],
        ['Grace', ['Compilers', 'Debugging']],
      ]);
      await send('PUT', `/authors/${ada.id}`, { name: 'changed' });
      grace.name = 'changed';
      await db.session().persist(grace).remove(firstBook).flush();
    });

    describe('with a set-up that uses what is around it', () => {
      db.beforeAll((session) => {
        session.create(Book, { title: 'Third', author: grace });
      });

      it('T1: sees all three', async () => {
        expect(await rows()).toEqual([
          ['Ada L.', ['Notes']],
          ['Grace', ['Compilers', 'Debugging', 'Third']],
        ]);
      });
    });
  });

  it('T1: is as it was after the block inside of it', async () => {
    await expectUntouched();
  });
});
