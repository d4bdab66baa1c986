/** What the properties of this folder have found and that takes two connections to show. */
import type { EntityManager } from '@mikro-orm/postgresql';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { DATABASES, type Database } from './program.js';

let database: TestDatabase;
let app: TestApp;

beforeAll(async () => {
  database = await createTestDatabase();
  await database.query(NOTE_SCHEMA);
  app = await startApp({
    shutdownTimeoutMs: 500,
    connections: DATABASES.map((name) => noteConnection(database.url, { name })),
  });
});

afterAll(async () => {
  await app.close();
  await database.drop();
});

beforeEach(() => database.query('truncate note restart identity'));

const insert = (db: Database, text: string): Promise<unknown> =>
  app.session(db).insert(Note, { text });

it('C5: onRollback hooks of all sessions run in the order of their registration', async () => {
  const calls: string[] = [];
  await app.dbContext.run(async () => {
    await insert('default', 'a');
    await insert('other', 'b');
    app.dbContext.onRollback(() => calls.push('first'), { connection: 'other' });
    app.dbContext.onRollback(() => calls.push('second'), { connection: 'default' });
    await app.dbContext.rollbackAll();
  });
  expect(calls).toEqual(['first', 'second']);
});

it('C5: onRollback hooks run when all sessions are rolled back', async () => {
  let open: number | undefined;
  await app.dbContext.run(async () => {
    await insert('default', 'a');
    await insert('other', 'b');
    app.dbContext.onRollback(() => {
      open = app.pool('other').checkedOut;
    });
    await app.dbContext.rollbackAll();
  });
  expect(open).toBe(0);
});

it('C5: onCommit hooks of all sessions run in the order of their registration', async () => {
  const calls: string[] = [];
  await app.dbContext.run(async () => {
    await insert('default', 'a');
    await insert('other', 'b');
    app.dbContext.onCommit(() => calls.push('first'), { connection: 'other' });
    app.dbContext.onCommit(() => calls.push('second'), { connection: 'default' });
    await app.dbContext.commitAll();
  });
  expect(calls).toEqual(['first', 'second']);
});

it('F6, C2: parallel blocks of two connections, each inside of the other, end', async () => {
  const block = (outer: Database, inner: Database): Promise<unknown> =>
    app.dbContext.atomic(
      () =>
        app.dbContext.atomic(
          async (own: EntityManager) => {
            await own.insert(Note, { text: `${inner} in ${outer}` });
          },
          { connection: inner },
        ),
      { connection: outer },
    );
  const work = app.dbContext.run(() =>
    Promise.all([block('default', 'other'), block('other', 'default')]),
  );
  const limit = deferred<never>();
  const timer = setTimeout(() => limit.reject(new Error('they wait for each other')), 2_000);
  try {
    await Promise.race([work, limit.promise]);
  } finally {
    clearTimeout(timer);
  }
});
