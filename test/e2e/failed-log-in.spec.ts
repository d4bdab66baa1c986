import { defineConfig, MikroORM } from '@mikro-orm/postgresql';
import { ConnectionFailedError, type DbConnectionOptions } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { WireProxy } from '../support/wire-proxy.js';

const REQUESTS = 40;

const refuse = (): Promise<string> => Promise.reject(new RangeError('the vault is sealed'));

describe('a log-in that the client gives up', () => {
  let database: TestDatabase;
  let proxy: WireProxy;
  let app: TestApp | undefined;

  beforeEach(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    proxy = await WireProxy.start(database.url);
  });
  afterEach(async () => {
    await app?.close();
    app = undefined;
    await proxy.stop();
    await database.drop();
  });

  const options = (driverOptions: object): DbConnectionOptions => {
    const url = new URL(proxy.url);
    url.password = '';
    return defineConfig({
      clientUrl: url.href,
      entities: [Note],
      pool: { min: 0, max: 5 },
      driverOptions,
    }) as DbConnectionOptions;
  };

  /** Processes of the server that wait for a password. */
  const authenticating = async (): Promise<number> => {
    const [row] = await database.query<{ count: number }>(
      `select count(*)::int as count from pg_stat_activity where state = 'starting'`,
    );
    return row!.count;
  };

  async function expectNothingLeft(): Promise<void> {
    await waitFor(() => proxy.openConnections === 0, {
      what: `all connections to be closed, now ${proxy.openConnections}`,
      timeoutMs: 3_000,
    });
    await waitFor(async () => (await authenticating()) === 0, {
      what: 'no process of the server to wait for a password',
      timeoutMs: 3_000,
    });
  }

  const ask = ({ dbContext, session }: TestApp): Promise<unknown> =>
    dbContext.run(() => session().execute('select 1'));

  it.each<readonly [string, object, unknown]>([
    [
      'password() rejects',
      { password: refuse },
      { name: 'RangeError', message: 'the vault is sealed' },
    ],
    [
      'password() is no text',
      { password: () => 7 },
      { name: 'TypeError', message: 'Password must be a string' },
    ],
  ])(`F1: as ${REQUESTS} requests find that %s, nothing stays`, async (_, driverOptions, cause) => {
    app = await startApp({ connections: [options(driverOptions)] });
    const outcomes = await Promise.allSettled(Array.from({ length: REQUESTS }, () => ask(app!)));
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { constructor: ConnectionFailedError, code: 'CONNECTION_FAILED', cause },
      });
    }
    await expectNothingLeft();
    expect(app.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  });

  it('F1: nothing stays of an orm that was handed over, and its next log-in works', async () => {
    let isSealed = true;
    const { password } = new URL(database.url);
    const orm = await MikroORM.init({
      ...options({ password: () => (isSealed ? refuse() : Promise.resolve(password)) }),
      ensureDatabase: false,
    } as never);
    try {
      app = await startApp({ connections: [{ orm } as DbConnectionOptions] });
      await expect(ask(app)).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
      await expectNothingLeft();
      isSealed = false;
      await ask(app);
      expect(app.pool()).toMatchObject({ checkedOut: 0, idle: 1 });
    } finally {
      await orm.close(true);
    }
  });

  it('F1: nothing stays after the pool was closed meanwhile', async () => {
    app = await startApp({ connections: [options({ password: refuse })] });
    await expect(ask(app)).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    await app.close();
    await expectNothingLeft();
  });
});
