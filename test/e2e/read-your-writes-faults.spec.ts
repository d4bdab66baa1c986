import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Param, Post } from '@nestjs/common';
import { DbConnection, DbTransaction, InjectConnection, InjectSession } from 'nestjs-db-context';

import { clientOf } from '../support/client-of.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { startApp, type TestApp } from '../support/test-app.js';
import { WireProxy } from '../support/wire-proxy.js';

const POOL_SIZE = 3;
const TIMES = 10;
const ASKS_LSN = /^select pg_catalog\.pg_current_wal_insert_lsn/;
const NEVER_REACHED = /^db-position-default=ffffffffffffffff\./;

@Controller()
class FaultsController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectConnection() private readonly connection: DbConnection,
  ) {}

  @Post('notes/:text')
  async write(@Param('text') text: string): Promise<void> {
    await this.session.insert(Note, { text });
  }

  @Post('aborted/:text')
  async aborted(@Param('text') text: string): Promise<void> {
    await this.session.insert(Note, { text });
    // The statement goes past the session, so that only the COMMIT shows its failure.
    const client = await clientOf(this.session, this.connection);
    await client.query('select 1 / 0').catch(() => undefined);
  }

  @Post('deferred/:text')
  async deferred(@Param('text') text: string): Promise<void> {
    await this.session.execute('set constraints all deferred');
    await this.session.execute('insert into note (text) values (?), (?)', [text, text]);
  }

  @Post('nothing')
  async nothing(): Promise<void> {
    await this.session.count(Note);
  }

  @DbTransaction({ readOnly: true })
  @Get('port')
  async port(): Promise<number> {
    const [row] = await this.session.execute<{ port: number }[]>('select 1 as port');
    return row!.port;
  }
}

// Its replica is the same server, past the proxy: what is sent to the primary is what the proxy sees.
describe('the LSN of a write', () => {
  let database: TestDatabase;
  let proxy: WireProxy;
  let app: TestApp;
  const log = new LogRecorder();

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    proxy = await WireProxy.start(database.url);
    const { hostname, port } = new URL(database.url);
    app = await startApp({
      connections: [
        {
          ...defineConfig({
            clientUrl: proxy.url,
            replicas: [{ host: hostname, port: Number(port) }],
            entities: [Note],
            pool: { min: 0, max: POOL_SIZE },
          }),
          endTimeoutMs: 300,
          acquireTimeoutMs: 2_000,
          readYourWrites: { via: 'cookie' },
        },
      ],
      controllers: [FaultsController],
      configure: (each) => each.useLogger(log),
    });
  });

  afterAll(async () => {
    await app.close();
    await proxy.stop();
    await database.drop();
  });

  beforeEach(async () => {
    await database.query('truncate note');
    log.lines.length = 0;
    proxy.reset();
  });

  afterEach(async () => {
    proxy.onStatement = undefined;
    expect(app.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    expect((await app.fetch('/notes/afterwards', { method: 'POST' })).status).toBe(201);
  });

  const post = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
    app.fetch(path, { method: 'POST', headers });
  const cookieOf = (response: Response): string =>
    response.headers.getSetCookie()[0]?.split(';')[0] ?? 'none';
  const saved = async (): Promise<number> => (await database.query('select from note')).length;

  it('is asked for after the COMMIT of a write, which asks in the same message whether it is one', async () => {
    const response = await post('/notes/written');
    expect(response.headers.getSetCookie()).toHaveLength(1);
    expect(proxy.messages.slice(1)).toEqual([
      expect.stringMatching(/^select pg_catalog\.pg_current_xact_id_if_assigned\(\).*;commit$/),
      expect.stringMatching(ASKS_LSN),
    ]);
    proxy.reset();
    expect((await post('/nothing')).headers.getSetCookie()).toEqual([]);
    expect(proxy.messages).toHaveLength(2);
  });

  it('S6: a transaction that had failed unseen is an error, and saves and sends nothing', async () => {
    const response = await post('/aborted/lost');
    expect(response.status).toBe(500);
    expect(response.headers.getSetCookie()).toEqual([]);
    expect(log.lines.map(({ message }) => message).join('\n')).toMatch(/UnexpectedRollbackError/);
    expect(await saved()).toBe(0);
  });

  it('F4: a COMMIT that the server refuses is its error, and sends no LSN', async () => {
    const response = await post('/deferred/twice');
    expect(response.status).toBe(500);
    expect(response.headers.getSetCookie()).toEqual([]);
    expect(log.lines.map(({ message }) => message).join('\n')).toMatch(
      /UniqueConstraintViolationException/,
    );
    expect(await saved()).toBe(0);
  });

  it('F4: where the answer to COMMIT is lost, the client reads from the primary, where it may be', async () => {
    proxy.dropAnswerTo(/commit$/);
    const response = await post('/notes/unknown');
    expect(response.status).toBe(500);
    const [cookie] = response.headers.getSetCookie();
    expect(cookie).toMatch(NEVER_REACHED);
    expect(await saved()).toBe(1);
    proxy.reset();
    await app.fetch('/port', { headers: { cookie: cookie!.split(';')[0]! } });
    expect(proxy.log).toContain('begin read only');
    proxy.reset();
    await app.fetch('/port');
    expect(proxy.log).toEqual([]);
  });

  it('F4: after one lost answer, the next write of the client leads its reads back to replicas', async () => {
    proxy.dropAnswerTo(/commit$/);
    const lost = cookieOf(await post('/notes/lost'));
    expect(lost).toMatch(NEVER_REACHED);
    const written = cookieOf(await post('/notes/known', { cookie: lost }));
    expect(written).toMatch(/^db-position-default=[0-9a-f]{1,15}\./);
    proxy.reset();
    const read = await app.fetch('/port', { headers: { cookie: written } });
    expect([read.status, proxy.log]).toEqual([200, []]);
    expect(await saved()).toBe(2);
  });

  it(`F1: where it cannot be asked for, the request has succeeded all the same, ${TIMES} times`, async () => {
    for (let time = 1; time <= TIMES; time++) {
      proxy.dropAnswerTo(ASKS_LSN);
      const response = await post(`/notes/asked-${time}`);
      expect(response.status).toBe(201);
      expect(response.headers.getSetCookie()).toEqual([expect.stringMatching(NEVER_REACHED)]);
      expect(app.pool().checkedOut).toBe(0);
    }
    expect(await saved()).toBe(TIMES);
    expect(log.ofLibrary('error')).toHaveLength(TIMES);
    expect(log.ofLibrary('error')[0]).toMatch(
      /^the LSN of a write on connection "default" in the context of FaultsController\.write is not known/,
    );
  });

  it('F6: where no answer comes, it is given up after endTimeoutMs, with the connection', async () => {
    let isHeld = false;
    let release = (): void => undefined;
    proxy.onStatement = (sql) => {
      if (!ASKS_LSN.test(sql)) {
        return undefined;
      }
      isHeld = true;
      return new Promise((resolve) => {
        release = resolve;
      });
    };
    const response = await post('/notes/hanging');
    release();
    expect([response.status, isHeld]).toEqual([201, true]);
    expect(response.headers.getSetCookie()).toEqual([expect.stringMatching(NEVER_REACHED)]);
    expect(await saved()).toBe(1);
    expect(app.pool()).toMatchObject({ checkedOut: 0 });
  });
});
