import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Get, Post } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { InjectSession } from 'nestjs-db-context';
import { useTestTransaction, type ConcurrentTestTransactions } from 'nestjs-db-context/testing';
import { WebSocket, WebSocketServer } from 'ws';

import { concurrentBlock } from '../support/concurrent-block.js';
import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { RunnerHooks } from '../support/runner-hooks.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

@Controller('notes')
class NotesController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post()
  add(@Body() { text }: { text: string }): void {
    this.session.persist(new Note(text));
  }

  @Get()
  count(): Promise<number> {
    return this.session.count(Note);
  }
}

/** Jobs that a worker takes from a queue; it is started before any test, and belongs to none. */
class Jobs {
  #next = deferred<() => Promise<void>>();
  #isOver = false;

  async work(): Promise<void> {
    while (!this.#isOver) {
      const job = await this.#next.promise;
      this.#next = deferred();
      await job();
    }
  }

  /** @returns what became of the job, in the worker */
  run<T>(job: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#next.resolve(() => Promise.resolve().then(job).then(resolve, reject));
    });
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.run(() => Promise.resolve());
  }
}

// In an ES module Jest has no global of that name.
const { jest } = import.meta;

describe('T1: what belongs to a test of those that run at the same time', () => {
  let world: TestWorld;
  let hooks: RunnerHooks;
  let db: ConcurrentTestTransactions;
  /** How often work of the test was refused, by the message of the afterAll(); '' for never. */
  let timesRefused: string;
  let runTest: (body: () => unknown) => Promise<void>;

  beforeAll(async () => {
    world = await startWorld(
      { poolMax: 2, acquireTimeoutMs: 1_000 },
      { adapter: 'fastify', controllers: [NotesController] },
    );
  });
  afterAll(() => world.close());

  beforeEach(async () => {
    ({ hooks, db, runTest } = concurrentBlock(() => world.app));
    timesRefused = '';
    await hooks.run('beforeAll');
  });
  afterEach(async () => {
    // What a test has had refused on purpose is in its afterAll().
    const { message = '' } = (await endOfBlock()) ?? {};
    expect(/This happened (\d+) times/.exec(message)?.[1] ?? (message && '1')).toBe(timesRefused);
    expect(await world.savedTexts()).toEqual([]);
    expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  });

  const endOfBlock = (): Promise<Error | undefined> =>
    hooks.run('afterAll').then(
      () => undefined,
      (error: unknown) => error as Error,
    );
  const insert = (text: string): Promise<unknown> =>
    world.dbContext.run(() => world.session().insert(Note, { text }));
  const post = (text: string, headers: Readonly<Record<string, string>> = {}): Promise<Response> =>
    world.fetch('/notes', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ text }),
    });
  const refused = (reason: string): unknown =>
    expect.objectContaining({ name: 'OutsideTestError', code: 'OUTSIDE_TEST', reason });

  it('a request without the header belongs to none, and one of a test that has ended neither', async () => {
    timesRefused = '4';
    let ended: Readonly<Record<string, string>> = {};
    await runTest(async () => {
      ended = db.headers();
      expect((await post('no header')).status).toBe(500);
      expect((await post('header', db.headers())).status).toBe(201);
      expect((await post('header', { 'x-db-context-test': 'invented' })).status).toBe(500);
      expect(await db.session().count(Note)).toBe(1);
    });
    expect((await post('ended', ended)).status).toBe(500);
    await expect(insert('nobody')).rejects.toEqual(refused('no-owner'));
  });

  it('a test sees neither the rows of another one nor its variables, and ends by itself', async () => {
    const hasWritten = deferred();
    const mayEnd = deferred();
    const first = runTest(async () => {
      await insert('first');
      hasWritten.resolve();
      await mayEnd.promise;
      expect(await db.session().find(Note, {})).toMatchObject([{ text: 'first' }]);
    });
    await hasWritten.promise;
    await expect(
      runTest(async () => {
        await insert('second');
        expect(await db.session().find(Note, {})).toMatchObject([{ text: 'second' }]);
        throw new Error('as asked');
      }),
    ).rejects.toThrow('as asked');
    mayEnd.resolve();
    await first;
  });

  it('more tests than the pool has connections wait for one another', async () => {
    let together = 0;
    let most = 0;
    const twoRun = deferred();
    await Promise.all(
      Array.from({ length: 7 }, (_, n) =>
        runTest(async () => {
          most = Math.max(most, ++together);
          if (most === 2) {
            twoRun.resolve();
          }
          await twoRun.promise;
          await insert(`${n}`);
          expect((await post(`${n} again`, db.headers())).status).toBe(201);
          expect(await db.session().count(Note)).toBe(2);
          together -= 1;
        }),
      ),
    );
    expect(most).toBe(2);
  });

  it('a job belongs to a test by db.allow(), and else to none', async () => {
    timesRefused = '1';
    const jobs = new Jobs();
    const worker = jobs.work();
    await runTest(async () => {
      const { token } = db;
      await jobs.run(() => db.allow(token, () => insert('allowed')));
      await expect(jobs.run(() => insert('not allowed'))).rejects.toEqual(refused('no-owner'));
      expect(await db.session().find(Note, {})).toMatchObject([{ text: 'allowed' }]);
    });
    await jobs.end();
    await worker;
  });

  it('work that outlives its test is refused', async () => {
    timesRefused = '1';
    const isOver = deferred();
    let late: Promise<unknown> | undefined;
    await runTest(() => {
      late = isOver.promise.then(() => insert('late')).catch((error: unknown) => error);
    });
    isOver.resolve();
    expect(await late).toEqual(refused('test-ended'));
  });

  it('db.allow() rejects where its token is that of no test, or of one that has ended', async () => {
    timesRefused = '3';
    let ended = '';
    await runTest(() => {
      ended = db.token;
    });
    const isRun = jest.fn();
    await expect(db.allow('invented', isRun)).rejects.toMatchObject({
      code: 'OUTSIDE_TEST',
      reason: 'unknown-test',
      message: expect.stringContaining(
        'given the token "invented", which no test of this block has',
      ),
    });
    await expect(db.allow(ended, isRun)).rejects.toMatchObject({
      reason: 'test-ended',
      message: expect.stringContaining('given the token of the test "a test", which has ended'),
    });
    // A timer or an emitter handles no rejection; Node.js would end the process.
    void db.allow(undefined as never, isRun);
    await nextTurn();
    expect(isRun).not.toHaveBeenCalled();
  });

  it('the afterAll() fails with what was refused, even where a test has swallowed that', async () => {
    const jobs = new Jobs();
    const worker = jobs.work();
    await runTest(async () => {
      expect((await post('no header')).status).toBe(500);
      expect((await post('wrong header', { 'x-db-context-test': 'invented' })).status).toBe(500);
      await jobs.run(() => insert('swallowed by the queue').catch(() => undefined));
    });
    await jobs.end();
    await worker;
    expect(await endOfBlock()).toMatchObject({
      code: 'OUTSIDE_TEST',
      reason: 'no-owner',
      message: expect.stringMatching(
        /NotesController\.add, which belongs to no test.* This happened 3 times\./,
      ),
    });
    hooks = new RunnerHooks();
  });

  it('the late work of a test that has failed is no news to the afterAll()', async () => {
    const isOver = deferred();
    let late: Promise<unknown> | undefined;
    await expect(
      runTest(() => {
        late = isOver.promise.then(() => insert('late')).catch((error: unknown) => error);
        throw new Error('as asked');
      }),
    ).rejects.toThrow('as asked');
    isOver.resolve();
    expect(await late).toEqual(refused('test-ended'));
  });

  it('an upgraded socket belongs to the test whose header it was opened with', async () => {
    timesRefused = '1';
    const sockets = new WebSocketServer({ noServer: true });
    const server = world.app.getHttpServer() as Server;
    const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void =>
      sockets.handleUpgrade(request, socket, head, (opened) => {
        opened.on('message', (text: Buffer) => {
          insert(text.toString()).then(
            () => opened.send('saved'),
            (error: Error) => opened.send(error.name),
          );
        });
      });
    server.on('upgrade', onUpgrade);
    const say = async (headers: Readonly<Record<string, string>>): Promise<string> => {
      const socket = new WebSocket(world.url.replace('http', 'ws'), { headers });
      await once(socket, 'open');
      socket.send('hello');
      const [answer] = (await once(socket, 'message')) as [Buffer];
      socket.close();
      await once(socket, 'close');
      return String(answer);
    };
    await runTest(async () => {
      expect(await say(db.headers())).toBe('saved');
      expect(await say({})).toBe('OutsideTestError');
      expect(await db.session().count(Note)).toBe(1);
    });
    server.off('upgrade', onUpgrade);
  });

  it('requests on one kept connection each belong to the test of their own header', async () => {
    timesRefused = '1';
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const send = (headers: Readonly<Record<string, string>>): Promise<number> =>
      new Promise((resolve, reject) => {
        const sent = httpRequest(
          `${world.url}/notes`,
          { method: 'POST', agent, headers },
          (got) => {
            got.resume().on('end', () => resolve(got.statusCode!));
          },
        );
        sent.on('error', reject).end(JSON.stringify({ text: 'kept' }));
      });
    const json = { 'content-type': 'application/json' };
    await runTest(async () => {
      const statuses = [await send({ ...json, ...db.headers() }), await send(json)];
      expect(statuses).toEqual([201, 500]);
      expect(await db.session().count(Note)).toBe(1);
    });
    agent.destroy();
  });

  it('db.request() sends by inject() as well, past the events of the server', async () => {
    const app = world.app as NestFastifyApplication;
    await runTest(async () => {
      const sent = db.request(app);
      const { statusCode } = await sent.inject({
        method: 'POST',
        url: '/notes',
        payload: { text: 'injected' },
      });
      expect(statusCode).toBe(201);
      expect((await sent.inject('/notes')).body).toBe('1');
    });
    const { statusCode } = await app.inject({ method: 'POST', url: '/notes', payload: {} });
    expect(statusCode).toBe(500);
  });

  it('a block without db.test() has a test by its hooks, with db.run() and db.headers()', async () => {
    timesRefused = '1';
    await hooks.runTest(async () => {
      await expect(insert('by nobody')).rejects.toEqual(refused('no-owner'));
      await db.run(() => insert('by the test'));
      expect((await post('posted', db.headers())).status).toBe(201);
      const found = await db.session().find(Note, {}, { orderBy: { id: 'asc' } });
      expect(found).toMatchObject([{ text: 'by the test' }, { text: 'posted' }]);
    });
  });

  it('a block in which no test has begun leaves the server and the pool as they were', async () => {
    const other = await startWorld({}, { controllers: [] });
    const server = other.app.getHttpServer() as object;
    const pool = await other.connection().pool();
    const own = pool.connect;
    const unused = new RunnerHooks();
    useTestTransaction(() => other.app, { ...unused.options, concurrent: true });
    await unused.run('beforeAll');
    expect(Object.hasOwn(server, 'emit')).toBe(true);
    await unused.run('afterAll');
    expect(Object.hasOwn(server, 'emit')).toBe(false);
    expect(pool.connect).toBe(own);
    await other.close();
  });

  it('says what to do where code that belongs to no test asks for it', () => {
    expect(() => db.session()).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining('Ask in the body of db.test(name, fn)'),
      }),
    );
    expect(() =>
      useTestTransaction(() => world.app, { concurrent: true, outside: 'commit' }),
    ).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining('leave outside away'),
      }),
    );
  });
});
