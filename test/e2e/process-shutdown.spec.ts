import { randomUUID } from 'node:crypto';

import type { ShutdownAppOptions } from '../fixtures/shutdown/app.fixture.js';
import { AppProcess, type ProcessEnd } from '../support/app-process.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { NOTE_SCHEMA } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { WireProxy } from '../support/wire-proxy.js';

const FILE = 'test/fixtures/shutdown/app.fixture.ts';
/** Enough for what ends in time, on slow cores. */
const GRACE_MS = 1_500;
/** The grace period, the limits of a dead link, and slow cores. */
const END_WITHIN_MS = 9_000;

interface Answer {
  readonly status: number;
  readonly body: string;
}

describe.each<AdapterName>(['express', 'fastify'])('a process that gets SIGTERM, %s', (adapter) => {
  let database: TestDatabase;
  let proxy: WireProxy;
  let app: AppProcess | undefined;
  let applicationName: string;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });
  afterAll(() => database.drop());
  beforeEach(async () => {
    await database.query('truncate note restart identity');
    proxy = await WireProxy.start(database.url);
    applicationName = `shutdown_${randomUUID()}`;
  });
  afterEach(async () => {
    await app?.kill();
    await proxy.stop();
  });

  const start = async (options: Partial<ShutdownAppOptions> = {}): Promise<AppProcess> => {
    app = await AppProcess.start(FILE, {
      adapter,
      databaseUrl: proxy.url,
      applicationName,
      shutdownTimeoutMs: GRACE_MS,
      usesShutdownHooks: true,
      ...options,
    } satisfies ShutdownAppOptions);
    return app;
  };
  const get = async (path: string): Promise<Answer> => {
    const response = await fetch(`${app!.url}${path}`);
    return { status: response.status, body: await response.text() };
  };
  const savedTexts = async (): Promise<string[]> =>
    (await database.query<{ text: string }>('select text from note order by text')).map(
      ({ text }) => text,
    );
  const backends = (condition = 'true'): Promise<unknown[]> =>
    database.query(
      `select pid, state, query from pg_stat_activity
       where application_name = $1 and ${condition}`,
      [applicationName],
    );
  const until = (count: number, condition: string): Promise<void> =>
    waitFor(async () => (await backends(condition)).length === count, {
      what: `${count} backends where ${condition}`,
    });
  const endOf = async ({ ended }: AppProcess): Promise<ProcessEnd> => {
    let end: ProcessEnd | undefined;
    void ended.then((value) => (end = value));
    await waitFor(() => end !== undefined, {
      what: 'the process to end by itself',
      timeoutMs: END_WITHIN_MS,
    });
    return end!;
  };
  const isDraining = async (): Promise<Answer> => {
    let answer: Answer | undefined;
    await waitFor(async () => (answer = await get('/quick')).status !== 200, {
      what: 'the drain to begin',
    });
    return answer!;
  };

  it.each([
    ['enableShutdownHooks()', true, { code: null, signal: 'SIGTERM' }],
    ['app.close() alone', false, { code: 0, signal: null }],
  ] as const)(
    'H3: %s: what ends in time is committed, the rest is rolled back and gets an error, and the process ends',
    async (_name, usesShutdownHooks, end) => {
      const running = await start({ usesShutdownHooks });
      const inTime = get('/work/in-time');
      const tooLate = get('/work/too-late');
      const inStatement = get('/sleep/in-statement');
      await until(2, `state = 'idle in transaction'`);
      await until(1, `wait_event = 'PgSleep'`);

      running.terminate();
      const refused = await isDraining();
      expect(refused.status).toBe(503);
      expect(refused.body).toContain('The application is shutting down');
      expect((await get('/release/in-time')).status).toBe(200);
      expect(await inTime).toEqual({ status: 200, body: 'done' });
      for (const answer of await Promise.all([tooLate, inStatement])) {
        expect(answer.status).toBe(503);
        expect(answer.body).toContain('took too long, and was rolled back');
      }

      expect(await endOf(running)).toEqual(end);
      await until(0, 'true');
      expect(await savedTexts()).toEqual(['in-time 1', 'in-time 2']);
    },
  );

  it.each([
    ['half open', () => proxy.freeze()],
    [
      'gone',
      () => {
        proxy.refuse = true;
        proxy.cut();
      },
    ],
  ] as const)(
    'H3: the process ends by itself with requests in flight while the link to the database is %s',
    async (_name, breakLink) => {
      const running = await start({ usesShutdownHooks: false, shutdownTimeoutMs: 500 });
      const answers = Promise.all(['/work/held', '/sleep/in-statement'].map(get));
      await until(1, `state = 'idle in transaction'`);
      await until(1, `wait_event = 'PgSleep'`);

      breakLink();
      running.terminate();
      expect((await answers).map(({ status }) => status >= 500)).toEqual([true, true]);
      expect(await endOf(running)).toEqual({ code: 0, signal: null });

      proxy.thaw();
      proxy.cut();
      // The server learns of the end only where it writes or reads; it does neither in its sleep.
      await database.query(
        `select pg_cancel_backend(pid) from pg_stat_activity where application_name = $1`,
        [applicationName],
      );
      await until(0, 'true');
      expect(await savedTexts()).toEqual([]);
    },
  );

  it('H3: the process ends by itself while its idle connections are half open', async () => {
    const running = await start({ usesShutdownHooks: false });
    expect(await get('/quick')).toEqual({ status: 200, body: '0' });
    await until(1, `state = 'idle'`);
    proxy.freeze();
    running.terminate();
    expect(await endOf(running)).toEqual({ code: 0, signal: null });
  });
});
