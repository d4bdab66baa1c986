/** Ways that docs/transactions.md names for two requests that change one row, by the code that stands there. */
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { CountersController } from '../types/transactions-examples.js';

describe('requests that change one row at the same time', () => {
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await startApp({
      connections: [noteConnection(database.url)],
      controllers: [CountersController],
    });
  });
  beforeEach(() =>
    database.query(`truncate note restart identity; insert into note (text) values ('')`),
  );
  afterAll(async () => {
    await app.close();
    await database.drop();
  });

  it.each(['locked', 'computed', 'refused'])('S3: none is lost: %s', async (way) => {
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => app.fetch(`/counters/${way}`, { method: 'POST' })),
    );

    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201, 201]);
    expect(await database.query('select text from note')).toEqual([{ text: '!!!!' }]);
  });
});
