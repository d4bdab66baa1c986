import { defineConfig } from '@mikro-orm/postgresql';
import { ConnectionFailedError } from 'nestjs-db-context';

import { fullMessage } from '../support/full-message.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { startApp, type TestApp } from '../support/test-app.js';

interface OwnOptions {
  readonly dbName?: string;
  readonly ensureDatabase?: boolean;
  readonly debug?: 'query'[];
  readonly colors?: boolean;
  readonly logger?: (message: string) => void;
}

describe("options of MikroORM's own", () => {
  let database: TestDatabase;
  let at: TestApp | undefined;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });
  afterEach(async () => {
    await at?.close();
    at = undefined;
  });
  afterAll(() => database.drop());

  const start = async (options: OwnOptions): Promise<TestApp> => {
    at = await startApp({
      connections: [defineConfig({ clientUrl: database.url, entities: [Note], ...options })],
    });
    return at;
  };

  describe('logger', () => {
    const debugging: OwnOptions = { debug: ['query'], colors: false };

    it("MikroORM's log goes through Nest's logger", async () => {
      const { app, dbContext, session } = await start(debugging);
      const log = new LogRecorder();
      app.useLogger(log);
      await dbContext.run(() => session().count(Note));
      const lines = log.lines.filter(({ context }) => context === 'MikroORM');
      expect(lines.map(({ level }) => level)).not.toContain('error');
      expect(lines.map(({ message }) => message)).toEqual(
        expect.arrayContaining([expect.stringMatching(/^\[query\] .*select count\(\*\)/)]),
      );
    });

    it("the application's own wins", async () => {
      const own: string[] = [];
      const { app, dbContext, session } = await start({
        ...debugging,
        logger: (message) => void own.push(message),
      });
      const log = new LogRecorder();
      app.useLogger(log);
      await dbContext.run(() => session().count(Note));
      expect(own).toEqual(
        expect.arrayContaining([expect.stringMatching(/^\[query\] .*select count\(\*\)/)]),
      );
      expect(log.lines.filter(({ context }) => context === 'MikroORM')).toEqual([]);
    });
  });

  describe('ensureDatabase', () => {
    const dbName = (suffix: string): string => `${database.name}_${suffix}`;

    it('L1: is off: a database that is missing is an error, which names the option', async () => {
      const missing = dbName('missing');
      const { dbContext, connection, session } = await start({ dbName: missing });
      const failedIn = (context: string): object => ({
        constructor: ConnectionFailedError,
        code: 'CONNECTION_FAILED',
        message: fullMessage(
          'CONNECTION_FAILED',
          `Could not connect to the database of connection "default"${context}: database "${missing}" does not ` +
            'exist. Create it, or set ensureDatabase: true among the options of the connection, with which ' +
            'MikroORM creates it before the first statement. The next request tries again; no restart is ' +
            'needed.',
        ),
        cause: expect.objectContaining({ code: '3D000' }),
      });
      await expect(dbContext.run(() => session().count(Note))).rejects.toMatchObject(
        failedIn(' in the context of dbContext.run()'),
      );
      await expect(connection().connect()).rejects.toMatchObject(failedIn(''));
      expect(
        await database.query('select 1 from pg_database where datname = $1', [missing]),
      ).toEqual([]);
    });

    it('L1: creates the database before the first statement where it is on, and none at boot', async () => {
      const created = dbName('created');
      const exists = async (): Promise<boolean> =>
        (await database.query('select 1 from pg_database where datname = $1', [created])).length >
        0;
      const { dbContext, session } = await start({ dbName: created, ensureDatabase: true });
      try {
        expect(await exists()).toBe(false);
        const [row] = await dbContext.run(() =>
          session().execute<{ name: string }[]>('select current_database() as name'),
        );
        expect(row).toEqual({ name: created });
        await at?.close();
      } finally {
        await database.query(`drop database if exists ${created} with (force)`);
      }
    });
  });
});
