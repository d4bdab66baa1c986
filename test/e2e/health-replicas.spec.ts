import { defineConfig } from '@mikro-orm/postgresql';
import { Controller, Get } from '@nestjs/common';
import { HealthCheck, HealthCheckService, TerminusModule } from '@nestjs/terminus';
import type { ConnectionHealth, ReplicaHealth } from 'nestjs-db-context';
import { DbContextHealthIndicator, type DbContextHealth } from 'nestjs-db-context/terminus';
import { Client } from 'pg';

import { Cluster } from '../../sample/starter/cluster.js';
import { Note } from '../support/note.entity.js';
import { startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { WireProxy } from '../support/wire-proxy.js';

const MAX_LAG_MS = 5_000;

@Controller()
class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicator: DbContextHealthIndicator,
  ) {}

  @Get('health')
  @HealthCheck()
  check() {
    return this.health.check([
      () => this.indicator.pingCheck('any lag', { timeoutMs: 2_000 }),
      () => this.indicator.pingCheck('small lag', { timeoutMs: 2_000, maxLagMs: MAX_LAG_MS }),
      () => this.indicator.pingCheck('no lag', { timeoutMs: 2_000, maxLagMs: 0 }),
    ]);
  }
}

describe('a primary and a standby', () => {
  let cluster: Cluster;
  let proxy: WireProxy;
  let primary: Client;
  let standby: Client;
  let app: TestApp;

  const connect = async (connectionString: string): Promise<Client> => {
    const client = new Client({ connectionString });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  };

  beforeAll(async () => {
    cluster = await Cluster.start({ standbys: 1 });
    const [standbyUrl] = cluster.standbyUrls as [string];
    [primary, standby] = await Promise.all([connect(cluster.primaryUrl), connect(standbyUrl)]);
    await primary.query('create table note (id serial primary key, text text)');
    proxy = await WireProxy.start(standbyUrl);
    app = await startApp({
      connections: [
        defineConfig({
          clientUrl: cluster.primaryUrl,
          entities: [Note],
          pool: { min: 0, max: 2 },
          replicas: [{ clientUrl: proxy.url }],
        }),
      ],
      controllers: [HealthController],
      providers: [DbContextHealthIndicator],
      imports: [TerminusModule.forRoot({ logger: false })],
    });
  }, 60_000);

  afterAll(async () => {
    await app.close();
    await proxy.stop();
    await Promise.all([primary.end(), standby.end()]);
    await cluster.stop();
  });

  const check = async (
    timeoutMs = 2_000,
  ): Promise<ConnectionHealth & { readonly replica: ReplicaHealth }> => {
    const health = await app.connection().check({ timeoutMs });
    expect(health.replicas).toHaveLength(1);
    return { ...health, replica: health.replicas![0]! };
  };

  const look = async (): Promise<Record<string, DbContextHealth & { readonly status: string }>> => {
    const response = await app.fetch('/health');
    return ((await response.json()) as { details: never }).details;
  };

  const paused = async (work: () => Promise<void>): Promise<void> => {
    await standby.query('select pg_wal_replay_pause()');
    try {
      await waitFor(
        async () =>
          (await standby.query(`select 1 where pg_get_wal_replay_pause_state() = 'paused'`))
            .rowCount === 1,
        { what: 'the replay to pause' },
      );
      await work();
    } finally {
      await standby.query('select pg_wal_replay_resume()');
    }
  };

  it('L1: neither is connected to before the first check, nor after it', async () => {
    expect(proxy.openConnections).toBe(0);
    expect(await check()).toMatchObject({
      isReachable: true,
      isPrimary: true,
      replica: { host: new URL(proxy.url).host, isReachable: true, isReplayPaused: false },
    });
    await waitFor(() => proxy.openConnections === 0, { what: 'the standby to be left' });
    expect(app.pool()).toMatchObject({ checkedOut: 0, idle: 0 });
  });

  it('a standby that keeps up lags by no bytes, however long nothing was written', async () => {
    await primary.query(`insert into note (text) values ('here')`);
    const { replica } = await check();
    expect(replica).toMatchObject({ isReachable: true, lagBytes: 0 });
    // What the first look may have waited for it.
    expect(replica.lagMs).toBeLessThan(1_000);
  });

  it('one whose replay is paused lags by what was written since, and by its age', async () => {
    await paused(async () => {
      const started = performance.now();
      await primary.query(
        `insert into note (text) select repeat('x', 1000) from generate_series(1, 50)`,
      );
      const { replica } = await check();
      expect(replica).toMatchObject({ isReachable: true, isReplayPaused: true });
      expect(replica.lagBytes).toBeGreaterThan(50_000);
      // The last transaction that it replayed was there before.
      expect(replica.lagMs).toBeGreaterThan(performance.now() - started - 1_000);

      const details = await look();
      expect(details['any lag']).toMatchObject({ status: 'up', isReachable: true });
      expect(details['no lag']).toMatchObject({ status: 'down', isReachable: true });
      expect(details['no lag']!.message).toMatch(
        /^replica 127.0.0.1:\d+ is \d+ ms behind, more than 0$/,
      );
    });
    await waitFor(async () => (await check()).replica.lagBytes === 0, { what: 'the replay' });
    expect((await look())['small lag']).toMatchObject({ status: 'up' });
  });

  it('a replica that is away, or silent, is shown; it is down where its lag was asked for', async () => {
    proxy.refuse = true;
    expect(await check()).toMatchObject({
      isReachable: true,
      replica: { isReachable: false, error: { code: 'ECONNRESET' } },
    });
    const details = await look();
    expect(details['any lag']).toMatchObject({ status: 'up' });
    expect(details['small lag']).toMatchObject({
      status: 'down',
      message: expect.stringMatching(/^replica \S+ cannot be reached/),
    });
    proxy.refuse = false;

    proxy.freeze();
    const { tookMs, replica } = await check(300);
    expect(replica).toMatchObject({ isReachable: false, error: { code: 'ETIMEDOUT' } });
    expect(tookMs).toBeLessThan(300);
    proxy.thaw();
  });

  it('a standby as the host of a connection is reachable, and no primary', async () => {
    const { host } = new URL(cluster.standbyUrls[0]!);
    const before = app.connection().host;
    await app.connection().changeHost(host);
    expect(await check()).toMatchObject({
      isReachable: true,
      isPrimary: false,
      host,
      replica: { isReachable: true },
    });
    await app.connection().changeHost(before);
  });

  it('without the primary a standby still shows what it has received and not replayed', async () => {
    await cluster.kill('primary');
    const { isReachable, error, replica } = await check();
    expect([isReachable, error?.code]).toEqual([false, 'ECONNREFUSED']);
    expect(replica).toMatchObject({ isReachable: true, lagBytes: 0, lagMs: 0 });
    expect((await look())['small lag']).toMatchObject({ status: 'down' });
  });
});
