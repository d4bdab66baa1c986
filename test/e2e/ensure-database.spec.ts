import { createServer, type AddressInfo, type Socket } from 'node:net';

import { defineConfig } from '@mikro-orm/postgresql';
import { ConnectionFailedError } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note } from '../support/note.entity.js';
import { startApp, type TestApp } from '../support/test-app.js';
import { WireProxy } from '../support/wire-proxy.js';

describe('ensureDatabase: true', () => {
  let database: TestDatabase;
  let created: string;
  let apps: TestApp[] = [];

  beforeAll(async () => {
    database = await createTestDatabase();
    created = `${database.name}_created`;
  });
  afterEach(async () => {
    await Promise.all(apps.map((app) => app.close()));
    apps = [];
    await database.query(`drop database if exists ${created} with (force)`);
  });
  afterAll(() => database.drop());

  const start = async (options: object = {}): Promise<TestApp> => {
    const app = await startApp({
      connections: [
        {
          ...defineConfig({ clientUrl: database.url, entities: [Note] }),
          dbName: created,
          ensureDatabase: true,
          ...options,
        },
      ],
    });
    apps.push(app);
    return app;
  };
  const place = (app: TestApp): Promise<string> =>
    app.dbContext.run(async () => {
      const [row] = await app
        .session()
        .execute<{ name: string }[]>('select current_database() as name');
      return row!.name;
    });
  const placeByKysely = (app: TestApp): Promise<string> =>
    app.dbContext.run(async () => {
      const { rows } = await app.dbContext.withClient((client) =>
        client.query('select current_database() as name'),
      );
      return (rows as { name: string }[])[0]!.name;
    });

  it('L1: first requests at the same time wait for one creation', async () => {
    const app = await start();
    const places = await Promise.all([
      ...Array.from({ length: 3 }, () => place(app)),
      placeByKysely(app),
    ]);
    expect(new Set(places)).toEqual(new Set([created]));
    expect(app.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  });

  it('L1: of several instances one creates it, and all use it', async () => {
    const all = [await start(), await start(), await start()];
    const places = await Promise.all(all.flatMap((app) => [place(app), place(app)]));
    expect(new Set(places)).toEqual(new Set([created]));
    expect(await Promise.all(all.map(place))).toEqual([created, created, created]);
  });

  it('L1, F6: a host that never answers is a ConnectionFailedError, the first time as well', async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => sockets.push(socket.on('error', () => undefined)));
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const clientUrl = `postgres://nobody@127.0.0.1:${port}/nothing`;
    const app = await start({ clientUrl, host: '127.0.0.1', port, acquireTimeoutMs: 200 });
    for (const attempt of [place, place, placeByKysely]) {
      const failed = attempt(app);
      await expect(failed).rejects.toBeInstanceOf(ConnectionFailedError);
      await expect(failed).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    }
    await app.close();
    apps = [];
    sockets.forEach((socket) => socket.destroy());
    await new Promise((resolve) => void server.close(resolve));
  });

  it('L1: a server that is down at first creates it with the first request that reaches it', async () => {
    const proxy = await WireProxy.start(database.url);
    const clientUrl = new URL(proxy.url);
    clientUrl.pathname = created;
    const app = await start({ clientUrl: clientUrl.href });
    proxy.refuse = true;
    await expect(place(app)).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    proxy.refuse = false;
    expect(await place(app)).toBe(created);
    await app.close();
    apps = [];
    await proxy.stop();
  });
});
