import { wrap } from '@mikro-orm/core';
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Post } from '@nestjs/common';
import { InjectSession, SessionClosedError } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Author, Book, LIBRARY_SCHEMA } from '../support/library.entities.js';
import { startApp, type AdapterName, type TestApp } from '../support/test-app.js';

interface Snapshot {
  readonly entity: Author | Book;
  readonly json: string;
  readonly object: unknown;
}

let snapshot: Snapshot | undefined;

/** What an entity looks like while its session is open. */
function look<T extends Author | Book>(entity: T): T {
  snapshot = { entity, json: JSON.stringify(entity), object: wrap(entity).toObject() };
  return entity;
}

@Controller()
class LibraryController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('nested')
  async nested(): Promise<Author> {
    return look(await this.session.findOneOrFail(Author, { id: 1 }, { populate: ['books'] }));
  }

  @Get('unloaded-collection')
  async unloadedCollection(): Promise<Author> {
    return look(await this.session.findOneOrFail(Author, { id: 1 }));
  }

  @Get('lazy-reference')
  async lazyReference(): Promise<Book> {
    return look(await this.session.findOneOrFail(Book, { id: 1 }));
  }

  @Get('loaded-reference')
  async loadedReference(): Promise<Book> {
    return look(await this.session.findOneOrFail(Book, { id: 1 }, { populate: ['author'] }));
  }

  @Post('flushed')
  async flushed(): Promise<Author> {
    const author = new Author('new');
    author.books.add(new Book('newer'));
    await this.session.persist(author).flush();
    return look(author);
  }

  @Post('persisted')
  persisted(): Author {
    const author = new Author('pending');
    this.session.persist(author);
    return author;
  }
}

describe.each<AdapterName>(['express', 'fastify'])('entities sent over %s', (adapter) => {
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(LIBRARY_SCHEMA);
    await database.query(`insert into author (name) values ('Le Guin')`);
    await database.query(
      `insert into book (title, author_id) values ('The Dispossessed', 1), ('Lavinia', 1)`,
    );
    app = await startApp({
      adapter,
      connections: [defineConfig({ clientUrl: database.url, entities: [Author, Book] })],
      controllers: [LibraryController],
    });
  });

  afterAll(async () => {
    await app?.close();
    await database?.drop();
  });

  beforeEach(() => {
    snapshot = undefined;
  });

  it.each([
    ['GET', '/nested'],
    ['GET', '/unloaded-collection'],
    ['GET', '/lazy-reference'],
    ['GET', '/loaded-reference'],
    ['POST', '/flushed'],
  ])('S3: %s %s serialises after settlement as before it', async (method, path) => {
    const body = await (await app.fetch(path, { method })).text();
    const { entity, json, object } = snapshot!;
    expect(JSON.parse(body)).toEqual(JSON.parse(json));
    expect(JSON.stringify(entity)).toBe(json);
    expect(wrap(entity).toObject()).toEqual(object);
  });

  it('S3: what was only persisted is sent with the id that the commit gave it', async () => {
    const sent = (await (await app.fetch('/persisted', { method: 'POST' })).json()) as Author;
    const [saved] = await database.query(`select id, name from author where name = 'pending'`);
    expect(sent).toMatchObject(saved!);
  });

  it('S5: a relation cannot be loaded any more after settlement', async () => {
    await app.fetch('/lazy-reference');
    const book = snapshot!.entity as Book;
    await expect(book.author.load()).rejects.toThrow(SessionClosedError);
  });
});
