import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import {
  Controller,
  Get,
  HttpException,
  Injectable,
  Param,
  Post,
  Res,
  UseGuards,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import {
  DbContext,
  DbTransaction,
  InjectSession,
  RetryOnSerializationFailure,
  type DbConnectionOptions,
  type ReadYourWritesOptions,
} from 'nestjs-db-context';
import { dbContextChannels, type ReplicaWaitEvent } from 'nestjs-db-context/telemetry';

import { Note } from '../support/note.entity.js';
import { startReplicated, type ReplicatedDatabase } from '../support/replicated-database.js';
import { startApp, type TestApp, type TestAppOptions } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

interface Seen {
  readonly standby: boolean;
  readonly found: boolean;
}

interface AnyResponse {
  cookie?(name: string, value: string): void;
  setHeader?(name: string, value: string): void;
  header(name: string, value: string): AnyResponse;
  send(body: string): void;
}

@Injectable()
class WritingGuard implements CanActivate {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  async canActivate(_context: ExecutionContext): Promise<boolean> {
    await this.session.insert(Note, { text: `guard ${Math.random()}` });
    await this.dbContext.commit();
    return false;
  }
}

@Controller()
class NotesController {
  private attempts = 0;

  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('notes/:text')
  async write(@Param('text') text: string): Promise<void> {
    await this.session.insert(Note, { text });
  }

  @DbTransaction({ readOnly: true })
  @Get('notes/:text')
  read(@Param('text') text: string): Promise<Seen> {
    return this.find(this.session, text);
  }

  @Get('count')
  async count(): Promise<number> {
    return this.session.count(Note);
  }

  @Post('both/:text')
  async both(@Param('text') text: string): Promise<Seen> {
    await this.session.insert(Note, { text });
    await this.dbContext.commit();
    return this.dbContext.atomic((session) => this.find(session, text), {
      readOnly: true,
    });
  }

  @Post('apart/:text')
  async apart(@Param('text') text: string): Promise<void> {
    await this.dbContext.runInNewContext(() => this.session.insert(Note, { text }));
  }

  @RetryOnSerializationFailure({ attempts: 2 })
  @Post('again/:text')
  async again(@Param('text') text: string): Promise<void> {
    await this.session.insert(Note, { text });
    if (this.attempts++ === 0) {
      await this.session.execute("do $$ begin raise sqlstate '40001'; end $$");
    }
  }

  @Post('hooked/:text')
  hooked(@Param('text') text: string): void {
    this.dbContext.onCommit(() => this.session.insert(Note, { text }));
  }

  @Post('failing/:text')
  async failing(@Param('text') text: string): Promise<void> {
    await this.session.insert(Note, { text });
    await this.dbContext.commit();
    throw new HttpException('after an early commit', 409);
  }

  @Post('undone/:text')
  async undone(@Param('text') text: string): Promise<void> {
    await this.session.insert(Note, { text });
    throw new HttpException('nothing is committed', 409);
  }

  @Post('sent/:text')
  async sent(@Param('text') text: string, @Res() response: AnyResponse): Promise<void> {
    await this.session.insert(Note, { text });
    await this.dbContext.commit();
    response.send('sent');
  }

  @Post('cookies/:text')
  async cookies(
    @Param('text') text: string,
    @Res({ passthrough: true }) response: AnyResponse,
  ): Promise<void> {
    response.header('set-cookie', 'mine=1; Path=/');
    await this.session.insert(Note, { text });
    await this.dbContext.commit();
    await this.session.insert(Note, { text: `${text} again` });
  }

  @UseGuards(WritingGuard)
  @Get('guarded')
  guarded(): void {}

  private async find(session: EntityManager, text: string): Promise<Seen> {
    const [row] = await session.execute<Seen[]>(
      'select pg_is_in_recovery() as standby, exists (select from note where text = ?) as found',
      [text],
    );
    return row!;
  }
}

describe('reading your own writes', () => {
  let database: ReplicatedDatabase;
  let app: TestApp | undefined;

  beforeAll(async () => {
    database = await startReplicated(2);
  }, 60_000);

  afterAll(() => database.cluster.stop());

  afterEach(async () => {
    const pool = app?.pool() ?? { checkedOut: 0, waiting: 0 };
    await app?.close();
    app = undefined;
    await database.resume(0);
    await database.resume(1);
    await database.caughtUp(0, 1);
    expect(pool).toMatchObject({ checkedOut: 0, waiting: 0 });
  });

  function connectionTo(
    standbys: readonly number[],
    readYourWrites?: ReadYourWritesOptions,
    extra: object = {},
  ): DbConnectionOptions {
    return {
      ...defineConfig({
        clientUrl: database.cluster.primaryUrl,
        replicas: standbys.map((each) => ({
          host: '127.0.0.1',
          port: database.ports.standbys[each]!,
        })),
        entities: [Note],
        pool: { min: 0, max: 3 },
      }),
      ...(readYourWrites !== undefined && { readYourWrites }),
      ...extra,
    };
  }

  async function start(
    readYourWrites: ReadYourWritesOptions | undefined,
    { standbys = [0], ...options }: Partial<TestAppOptions> & { standbys?: number[] } = {},
  ): Promise<void> {
    app = await startApp({
      connections: [connectionTo(standbys, readYourWrites)],
      controllers: [NotesController],
      ...options,
    });
  }

  const post = (path: string): Promise<Response> => app!.fetch(path, { method: 'POST' });

  const cookieOf = (response: Response): string | undefined =>
    response.headers
      .getSetCookie()
      .find((each) => each.startsWith('db-position-default='))
      ?.split(';')[0];

  async function read(text: string, headers: Record<string, string> = {}): Promise<Seen> {
    const response = await app!.fetch(`/notes/${text}`, { headers });
    expect(response.status).toBe(200);
    return (await response.json()) as Seen;
  }

  describe.each(['express', 'fastify'] as const)('on %s', (adapter) => {
    it('Read-your-own-writes: with a standby whose replay is paused, the client that wrote reads its write, others read from the standby', async () => {
      await start({ via: 'cookie', waitMs: 20 }, { adapter });
      await database.pause(0);
      const text = `paused-${adapter}`;
      const response = await post(`/notes/${text}`);
      expect(response.headers.getSetCookie()).toEqual([
        expect.stringMatching(
          /^db-position-default=[0-9a-f]+\.\d+; Max-Age=60; Path=\/; HttpOnly; SameSite=Lax$/,
        ),
      ]);
      const cookie = cookieOf(response)!;
      expect(await read(text, { cookie: `other=1; ${cookie}; more=2` })).toEqual({
        standby: false,
        found: true,
      });
      expect(await read(text)).toEqual({ standby: true, found: false });
      await database.resume(0);
      await database.caughtUp(0);
      expect(await read(text, { cookie })).toEqual({ standby: true, found: true });
    });

    it('Read-your-own-writes: a header carries it as well', async () => {
      await start({ via: 'header', name: 'X-Written', waitMs: 0 }, { adapter });
      await database.pause(0);
      const text = `header-${adapter}`;
      const response = await post(`/notes/${text}`);
      const lsn = response.headers.get('x-written')!;
      expect(lsn).toMatch(/^[0-9a-f]+\.\d+$/);
      expect(response.headers.getSetCookie()).toEqual([]);
      expect(await read(text, { 'x-written': lsn })).toEqual({ standby: false, found: true });
      expect(await read(text)).toEqual({ standby: true, found: false });
    });

    it('Read-your-own-writes: the LSN of an early commit is sent, also if the request fails; a rollback and a read send none', async () => {
      await start({ via: 'cookie' }, { adapter });
      for (const path of ['failing', 'sent', 'apart', 'both', 'hooked', 'again']) {
        const response = await post(`/${path}/${path}-${adapter}`);
        expect([path, response.status]).toEqual([path, path === 'failing' ? 409 : 201]);
        expect([path, cookieOf(response)]).toEqual([path, expect.any(String)]);
      }
      expect(cookieOf(await post(`/undone/undone-${adapter}`))).toBeUndefined();
      expect(cookieOf(await app!.fetch('/count'))).toBeUndefined();
      expect(cookieOf(await app!.fetch('/notes/x'))).toBeUndefined();
    });

    it('Read-your-own-writes: its cookie stands beside those of the application, once', async () => {
      await start({ via: 'cookie', secure: true, maxAgeSeconds: 5 }, { adapter });
      const response = await post(`/cookies/cookies-${adapter}`);
      expect(response.headers.getSetCookie()).toEqual([
        'mine=1; Path=/',
        expect.stringMatching(/^db-position-default=.*Max-Age=5; .*; Secure$/),
      ]);
    });

    it('Read-your-own-writes: the LSN of what a guard committed is sent, also where it refuses', async () => {
      await start({ via: 'cookie' }, { adapter, mount: 'middleware', providers: [WritingGuard] });
      const response = await app!.fetch('/guarded');
      expect(response.status).toBe(403);
      expect(cookieOf(response)).toEqual(expect.any(String));
      const written = await post(`/cookies/middleware-${adapter}`);
      expect(written.headers.getSetCookie()).toEqual(['mine=1; Path=/', expect.any(String)]);
    });
  });

  it('Read-your-own-writes: within one request, a read-only transaction after a commit sees it', async () => {
    await start({ via: 'cookie', waitMs: 20 });
    await database.pause(0);
    const response = await post('/both/within');
    expect(await response.json()).toEqual({ standby: false, found: true });
  });

  it('Read-your-own-writes: without the option such a read may be of the past', async () => {
    await start(undefined);
    await database.pause(0);
    const response = await post('/both/without');
    expect(await response.json()).toEqual({ standby: true, found: false });
  });

  it('Read-your-own-writes: a replica that is far enough is preferred to the primary', async () => {
    await start({ via: 'cookie', waitMs: 5_000 }, { standbys: [0, 1] });
    await database.pause(0);
    const cookie = cookieOf(await post('/notes/preferred'))!;
    const seen = [await read('preferred', { cookie }), await read('preferred', { cookie })];
    expect(seen).toEqual([
      { standby: true, found: true },
      { standby: true, found: true },
    ]);
  });

  /** Whether a client of the application has asked a replica how far it is. */
  const isAsked = async (standby: number): Promise<boolean> => {
    const [row] = await database.query<{ is: boolean }>(
      standby,
      `select exists (select from pg_stat_activity
         where query like '%replay_lsn%' and pid <> pg_backend_pid()) as is`,
    );
    return row!.is;
  };
  /** What is published of the waits of reads while `work` runs. */
  const waitsIn = async (work: () => Promise<void>): Promise<ReplicaWaitEvent[]> => {
    const waits: ReplicaWaitEvent[] = [];
    const listener = (event: ReplicaWaitEvent): void => void waits.push(event);
    dbContextChannels.replicaWait.subscribe(listener);
    try {
      await work();
    } finally {
      dbContextChannels.replicaWait.unsubscribe(listener);
    }
    return waits;
  };

  it('O1: the wait of a read for the replica is published where that has the write in the end', async () => {
    await start({ via: 'cookie', waitMs: 10_000 });
    await database.pause(0);
    const cookie = cookieOf(await post('/notes/reached'))!;
    const waits = await waitsIn(async () => {
      const reading = read('reached', { cookie });
      await waitFor(() => isAsked(0), { what: 'the replica to be asked for its position' });
      await database.resume(0);
      expect(await reading).toEqual({ standby: true, found: true });
    });
    expect(waits).toEqual([
      {
        connection: expect.objectContaining({ name: 'default' }),
        context: expect.objectContaining({ origin: 'NotesController.read' }),
        durationMs: expect.any(Number),
        isReached: true,
      },
    ]);
    expect(waits[0]!.durationMs).toBeGreaterThan(0);
  });

  it('O1: no wait is published of a read that another replica serves at once', async () => {
    await start({ via: 'cookie', waitMs: 5_000 }, { standbys: [0, 1] });
    await database.pause(0);
    const cookie = cookieOf(await post('/notes/at-once'))!;
    await database.caughtUp(1);
    const waits = await waitsIn(async () => {
      for (let reads = 0; reads < 4; reads++) {
        expect(await read('at-once', { cookie })).toEqual({ standby: true, found: true });
      }
    });
    expect(waits).toEqual([]);
  });

  it('O1: the wait of a read for the replica is published, whether that had the write in time or not, and no read that has not waited', async () => {
    await start({ via: 'cookie', waitMs: 20 });
    const waits: ReplicaWaitEvent[] = [];
    const listener = (event: ReplicaWaitEvent): void => void waits.push(event);
    dbContextChannels.replicaWait.subscribe(listener);
    try {
      await database.pause(0);
      const cookie = cookieOf(await post('/notes/published'))!;
      await read('not mine');
      expect(await read('published', { cookie })).toEqual({ standby: false, found: true });
      await database.resume(0);
      await database.caughtUp(0);
      expect(await read('published', { cookie })).toEqual({ standby: true, found: true });
      expect(waits).toMatchObject([
        {
          connection: { name: 'default' },
          context: { origin: 'NotesController.read' },
          isReached: false,
        },
      ]);
      expect(waits[0]!.durationMs).toBeGreaterThanOrEqual(20);
    } finally {
      dbContextChannels.replicaWait.unsubscribe(listener);
    }
  });

  it('Read-your-own-writes: a read waits for the replica, and holds no connection meanwhile', async () => {
    await start({ via: 'cookie', waitMs: 10_000 });
    await database.pause(0);
    const cookie = cookieOf(await post('/notes/waited'))!;
    const reading = Array.from({ length: 10 }, () => read('waited', { cookie }));
    await read('others are served');
    await database.resume(0);
    expect(await Promise.all(reading)).toEqual(reading.map(() => ({ standby: true, found: true })));
  });

  it('F6: the clock is set back by 4 s while a read waits for the replica: it waits no longer than waitMs', async () => {
    const { now: trueNow } = Date;
    const choose = (): number => {
      Date.now = () => trueNow() - 4_000;
      return 0;
    };
    app = await startApp({
      connections: [connectionTo([0], { via: 'cookie', waitMs: 100 }, { readFrom: { choose } })],
      controllers: [NotesController],
    });
    await database.pause(0);
    const cookie = cookieOf(await post('/notes/clock'))!;
    try {
      const startedAt = performance.now();
      expect(await read('clock', { cookie })).toEqual({ standby: false, found: true });
      expect(Date.now).not.toBe(trueNow);
      expect(performance.now() - startedAt).toBeLessThan(2_000);
    } finally {
      Date.now = trueNow;
    }
  });

  it.each([
    ['no LSN', 'nonsense'],
    ['SQL', "0'; drop table note; --.1"],
    ['a quoted one', '"1.1"'],
    ['too many digits', `${'f'.repeat(17)}.${now()}`],
    ['one that is too old', `ffffffff.${now() - 100}`],
    ['one of the future', `ffffffff.${now() + 100}`],
    ['a negative one', `-1.${now()}`],
  ])('Read-your-own-writes: %s in the cookie is ignored', async (_what, value) => {
    await start({ via: 'cookie', waitMs: 0 });
    expect(await read('forged', { cookie: `db-position-default=${value}` })).toEqual({
      standby: true,
      found: false,
    });
  });

  it.each([
    ['no server has come to', 'fffffffffffffff'],
    ['none ever comes to', 'ffffffffffffffff'],
  ])('Read-your-own-writes: a forged LSN that %s leads to the primary', async (_, digits) => {
    await start({ via: 'cookie', waitMs: 20 }, { standbys: [0, 1] });
    const cookie = `db-position-default=${digits}.${now()}`;
    expect(await read('forged', { cookie })).toEqual({ standby: false, found: false });
    expect(await read('forged')).toEqual({ standby: true, found: false });
  });

  it('Read-your-own-writes: each connection has its own', async () => {
    await start(undefined, {
      connections: [
        connectionTo([0], { via: 'cookie' }),
        connectionTo([0], { via: 'cookie' }, { name: 'second' }),
        connectionTo([0], { via: 'header' }, { name: 'third' }),
      ],
    });
    const names = (): Promise<Response> => post('/notes/each');
    const response = await names();
    expect(response.headers.getSetCookie().map((each) => each.split('=')[0])).toEqual([
      'db-position-default',
    ]);
    expect(response.headers.get('db-position-third')).toBeNull();
  });

  it('Read-your-own-writes: two connections cannot share a cookie', async () => {
    await expect(
      start(undefined, {
        connections: [
          connectionTo([0], { via: 'cookie', name: 'same' }),
          connectionTo([0], { via: 'cookie', name: 'same' }, { name: 'second' }),
        ],
      }),
    ).rejects.toThrow('both have readYourWrites with the cookie "same"');
  });
});

function now(): number {
  return Math.floor(Date.now() / 1_000);
}
