import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Param, Post } from '@nestjs/common';
import {
  DbContext,
  DbTransaction,
  InjectSession,
  ReplicasUnavailableError,
  type ConnectionReadOptions,
  type DbConnectionOptions,
} from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { startReplicated, type ReplicatedDatabase } from '../support/replicated-database.js';
import { startApp, type TestApp, type TestAppOptions } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

interface Place {
  readonly port: number;
  readonly standby: boolean;
}

const WHERE = 'select inet_server_port() as port, pg_is_in_recovery() as standby';

@Controller()
class PlacesController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  private async where(session = this.session): Promise<Place> {
    const [place] = await session.execute<Place[]>(WHERE);
    return place!;
  }

  @DbTransaction({ readOnly: true })
  @Get('read')
  read(): Promise<Place> {
    return this.where();
  }

  @DbTransaction({ readOnly: true, isolationLevel: 'serializable' })
  @Get('serializable')
  serializable(): Promise<Place> {
    return this.where();
  }

  @DbTransaction({ readOnly: true, isolationLevel: 'repeatable read' })
  @Get('snapshot')
  snapshot(): Promise<Place> {
    return this.where();
  }

  @Get('plain')
  plain(): Promise<Place> {
    return this.where();
  }

  @DbTransaction({ readOnly: false })
  @Get('writes')
  async writes(): Promise<Place> {
    await this.session.insert(Note, { text: `written by a GET ${Math.random()}` });
    return this.where();
  }

  @DbTransaction({ begin: 'first-write' })
  @Get('early')
  async early(): Promise<Place> {
    const [row] = await this.session.execute<{ standby: boolean }[]>(
      "select exists (select from pg_stat_wal_receiver where status = 'streaming') as standby",
    );
    return { port: 0, standby: row!.standby };
  }

  @Get('blocks')
  async blocks(): Promise<Place[]> {
    const read = (): Promise<Place> =>
      this.dbContext.atomic((session) => this.where(session), {
        readOnly: true,
      });
    const first = await read();
    await this.session.insert(Note, { text: `between ${Math.random()}` });
    const between = await this.where();
    await this.dbContext.commit();
    return [first, between, await read(), await read()];
  }

  @DbTransaction({ readOnly: true })
  @Post('entity/:text')
  entity(@Param('text') text: string): void {
    this.session.persist(new Note(text));
  }

  @DbTransaction({ readOnly: true })
  @Post('statement/:text')
  async statement(@Param('text') text: string): Promise<void> {
    await this.session.insert(Note, { text });
  }
}

describe('replicas', () => {
  let database: ReplicatedDatabase;
  let app: TestApp | undefined;

  beforeAll(async () => {
    database = await startReplicated(2);
  }, 60_000);

  afterAll(() => database.cluster.stop());

  afterEach(async () => {
    const pool = app?.pool();
    await app?.close();
    app = undefined;
    expect(pool).toMatchObject({ checkedOut: 0, waiting: 0 });
    await waitFor(async () => (await connections()) === 0, { what: 'no connection to be left' });
  });

  /** Number of connections of the applications, on all servers that answer. */
  async function connections(): Promise<number> {
    const counts = await Promise.all(
      (['primary', 0, 1] as const).map((server) =>
        database.query<{ count: number }>(
          server,
          "select count(*)::int from pg_stat_activity where application_name = 'replicas_spec'",
        ),
      ),
    );
    return counts.reduce((sum, [row]) => sum + row!.count, 0);
  }

  function connectionTo(
    ports: readonly number[],
    reading: ConnectionReadOptions = {},
    extra: object = {},
  ): DbConnectionOptions {
    return {
      ...defineConfig({
        clientUrl: database.cluster.primaryUrl,
        replicas: ports.map((port) => ({ host: '127.0.0.1', port })),
        entities: [Note],
        pool: { min: 0, max: 3 },
        driverOptions: { application_name: 'replicas_spec' },
      }),
      ...reading,
      ...extra,
    };
  }

  const start = async (
    reading: ConnectionReadOptions = {},
    options: Partial<TestAppOptions> = {},
  ): Promise<TestApp> => {
    app = await startApp({
      connections: [connectionTo(database.ports.standbys, reading)],
      controllers: [PlacesController],
      ...options,
    });
    return app;
  };

  const readOnly = <T>(work: (session: EntityManager) => T | Promise<T>): Promise<T> =>
    app!.dbContext.run(() =>
      app!.dbContext.atomic(async (session) => work(session), { readOnly: true }),
    );

  const get = async (path: string): Promise<Place> => {
    const response = await app!.fetch(path);
    expect(response.status).toBe(200);
    return (await response.json()) as Place;
  };

  const portsOf = async (path: string, times: number): Promise<number[]> => {
    const ports: number[] = [];
    for (let time = 0; time < times; time++) {
      ports.push((await get(path)).port);
    }
    return ports;
  };

  describe.each(['express', 'fastify'] as const)('on %s', (adapter) => {
    it('Replicas: read-only transactions go to the replicas in turn, all others to the primary', async () => {
      await start({}, { adapter });
      const [one, two] = database.ports.standbys;
      expect(await portsOf('/read', 4)).toEqual([one, two, one, two]);
      expect(await get('/read')).toMatchObject({ standby: true });
      expect(await get('/plain')).toEqual({ port: database.ports.primary, standby: false });
      expect(await get('/snapshot')).toMatchObject({ standby: true });
    });
  });

  it('Replicas: serializable transactions, which a standby refuses, are on the primary', async () => {
    await start();
    expect(await get('/serializable')).toMatchObject({ standby: false });
  });

  it('Replicas: plain reads before the first write of a read-write context are on the primary', async () => {
    await start();
    expect(await get('/early')).toMatchObject({ standby: false });
  });

  it('Replicas: the read-only blocks of one request are on one replica, its writes on the primary', async () => {
    await start();
    const [first, between, ...later] = (await get('/blocks')) as unknown as Place[];
    expect(first).toMatchObject({ standby: true });
    expect(between).toMatchObject({ standby: false });
    expect(later).toEqual([first, first]);
  });

  it('Replicas: a read-only connection reads from them altogether', async () => {
    app = await startApp({
      connections: [connectionTo(database.ports.standbys, {}, { transaction: { readOnly: true } })],
      controllers: [PlacesController],
    });
    expect(await get('/plain')).toMatchObject({ standby: true });
  });

  it('Replicas: BEGIN says READ ONLY, and a write is refused', async () => {
    await start();
    const entity = await app!.fetch('/entity/refused', { method: 'POST' });
    const statement = await app!.fetch('/statement/refused', { method: 'POST' });
    expect([entity.status, statement.status]).toEqual([500, 500]);
    await expect(
      readOnly((session) => session.insert(Note, { text: 'refused' })),
    ).rejects.toMatchObject({ code: '25006' });
    await expect(
      readOnly((session) => void session.persist(new Note('refused'))),
    ).rejects.toMatchObject({ code: 'READ_ONLY_TRANSACTION' });
    expect(await database.query('primary', "select from note where text = 'refused'")).toEqual([]);
  });

  it('Replicas: with readOnlyMethods, GET is read-only unless a decorator says otherwise', async () => {
    await start({}, { readOnlyMethods: ['GET', 'HEAD'] });
    expect(await get('/plain')).toMatchObject({ standby: true });
    expect(await get('/writes')).toMatchObject({ standby: false });
    expect((await app!.fetch('/plain', { method: 'HEAD' })).status).toBe(200);
  });

  it('Replicas: readOnlyMethods leave a connection alone that says otherwise', async () => {
    app = await startApp({
      connections: [
        connectionTo(database.ports.standbys, {}, { transaction: { readOnly: false } }),
      ],
      controllers: [PlacesController],
      readOnlyMethods: ['GET'],
    });
    expect(await get('/plain')).toMatchObject({ standby: false });
  });

  it('Replicas: readFrom.choose() decides, by host or by index', async () => {
    const hosts: (readonly string[])[] = [];
    await start({ readFrom: { choose: (given) => (hosts.push(given), given[1]!) } });
    const [one, two] = database.ports.standbys;
    expect(await portsOf('/read', 3)).toEqual([two, two, two]);
    expect(hosts[0]).toEqual([`127.0.0.1:${one}`, `127.0.0.1:${two}`]);
    await app!.close();
    await start({ readFrom: { choose: () => 0 } });
    expect(await portsOf('/read', 2)).toEqual([one, one]);
    await app!.close();
    await start({ readFrom: { choose: () => 'elsewhere' } });
    await expect(readOnly((session) => session.execute(WHERE))).rejects.toThrow(
      'readFrom.choose() of connection "default" returned elsewhere',
    );
  });

  it('Replicas: where none answers, and the primary is not to serve, the error names each', async () => {
    app = await startApp({
      connections: [connectionTo([1, 2], { readFrom: { fallback: 'error' } })],
      controllers: [PlacesController],
    });
    const read = (): Promise<unknown> => readOnly((session) => session.execute(WHERE));
    const error = await read().catch((each: unknown) => each);
    expect(error).toBeInstanceOf(ReplicasUnavailableError);
    const { replicas, message, code } = error as ReplicasUnavailableError;
    expect(code).toBe('REPLICAS_UNAVAILABLE');
    expect(replicas.map(({ host }) => host)).toEqual(['127.0.0.1:1', '127.0.0.1:2']);
    expect(message).toMatch(/127\.0\.0\.1:1: .*ECONNREFUSED.*127\.0\.0\.1:2: .*ECONNREFUSED/);
    await expect(read()).rejects.toBeInstanceOf(ReplicasUnavailableError);
    expect(await get('/plain')).toMatchObject({ standby: false });
  });

  it('Replicas: where none answers, the primary serves, and they are left out for a while', async () => {
    app = await startApp({
      connections: [connectionTo([1, 2])],
      controllers: [PlacesController],
    });
    expect(await get('/read')).toMatchObject({ standby: false });
    const states = app.connection().replicaStates();
    expect(states).toMatchObject([
      { host: '127.0.0.1:1', isLeftOut: true },
      { host: '127.0.0.1:2', isLeftOut: true },
    ]);
    expect(await get('/read')).toMatchObject({ standby: false });
  });

  it('Replicas: one that is killed costs no request, and is used again when it is back', async () => {
    await start({ readFrom: { retryAfterMs: 100 } });
    const [one, two] = database.ports.standbys as [number, number];
    const stateOfTwo = () => app!.connection().replicaStates()[1]!;
    expect(await portsOf('/read', 2)).toEqual([one, two]);
    await database.cluster.kill(1);
    await waitFor(() => stateOfTwo().pool?.idle === 0, { what: 'the broken connections to go' });
    try {
      expect(await portsOf('/read', 6)).toEqual([one, one, one, one, one, one]);
      expect(stateOfTwo()).toMatchObject({ isLeftOut: true });
      await Promise.all(Array.from({ length: 20 }, () => get('/read')));
    } finally {
      await database.cluster.restart(1);
    }
    await waitFor(async () => (await get('/read')).port === two, {
      what: 'the replica to be used',
    });
    expect(stateOfTwo()).toMatchObject({ isLeftOut: false });
    await database.caughtUp(0, 1);
  });

  it('Replicas: poolState() counts their pools, and so does the look for open connections', async () => {
    await start();
    expect(app!.connection().poolState()).toBeUndefined();
    await readOnly(async (session) => {
      await session.execute(WHERE);
      expect(app!.pool()).toMatchObject({ size: 3, checkedOut: 1 });
    });
    await portsOf('/read', 1);
    await get('/plain');
    expect(app!.pool()).toEqual({ size: 9, checkedOut: 0, idle: 3, waiting: 0 });
  });

  it('Replicas: without any, the options are of no effect', async () => {
    app = await startApp({
      connections: [
        connectionTo([], { readFrom: { fallback: 'error' }, readYourWrites: { via: 'cookie' } }),
      ],
      controllers: [PlacesController],
    });
    expect(await get('/read')).toMatchObject({ standby: false });
    expect(app.connection().replicaStates()).toEqual([]);
    expect((await app.fetch('/writes')).headers.getSetCookie()).toEqual([]);
  });
});
