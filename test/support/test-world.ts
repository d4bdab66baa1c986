import { createTestDatabase, type TestDatabase } from './database.js';
import { NOTE_SCHEMA } from './note.entity.js';
import { noteConnection, startApp, type TestApp, type TestAppOptions } from './test-app.js';
import { waitFor } from './wait-for.js';
import { WireProxy } from './wire-proxy.js';

/** An application, its database, and the wire between them. */
export interface TestWorld extends TestApp {
  readonly database: TestDatabase;
  readonly proxy: WireProxy;
  /** Texts of the notes that are really saved. */
  readonly savedTexts: () => Promise<string[]>;
  /** Waits until no transaction of the application is open on the server. */
  readonly serverIsIdle: () => Promise<void>;
}

/** Starts a world with one connection over a pool of 5. */
export async function startWorld(
  limits: Parameters<typeof noteConnection>[1] = {},
  options: Partial<TestAppOptions> = {},
): Promise<TestWorld> {
  const database = await createTestDatabase();
  await database.query(NOTE_SCHEMA);
  const proxy = await WireProxy.start(database.url);
  const app = await startApp({ connections: [noteConnection(proxy.url, limits)], ...options });
  return {
    ...app,
    database,
    proxy,
    savedTexts: async () =>
      (await database.query<{ text: string }>('select text from note order by id')).map(
        ({ text }) => text,
      ),
    serverIsIdle: () =>
      waitFor(async () => (await openTransactions(database)).length === 0, {
        what: 'the server to have no open transaction',
      }),
    close: async () => {
      await app.close();
      await proxy.stop();
      await database.drop();
    },
  };
}

async function openTransactions(database: TestDatabase): Promise<unknown[]> {
  return database.query(
    `select pid, state, query from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
       and query not like '%pg_stat_activity%'`,
  );
}
