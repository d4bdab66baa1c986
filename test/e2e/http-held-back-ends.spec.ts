import { Readable } from 'node:stream';

import {
  Controller,
  Get,
  Injectable,
  Module,
  UseGuards,
  type CanActivate,
  type MiddlewareConsumer,
  type NestMiddleware,
  type NestModule,
} from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { commitOnSuccess, DbContext, InjectSession, SkipDbContext } from 'nestjs-db-context';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { http2Adapter } from '../support/http2-adapters.js';
import { Http2Client } from '../support/http2-client.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { RawClient } from '../support/raw-client.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const CHUNK = 'x'.repeat(1_024);
const CHUNKS = 2_000;

let reached: Deferred<void>;
let mayGoOn: Deferred<void>;
let chunksRead = 0;

/** Answers by itself what lies under `/answered`, which is not saved before `mayGoOn`. */
@Injectable()
class AnsweringMiddleware implements NestMiddleware {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  async use(
    request: { readonly originalUrl: string },
    response: NodeJS.WritableStream & { statusCode: number },
    next: () => void,
  ): Promise<void> {
    const { originalUrl } = request;
    if (!originalUrl.startsWith('/answered')) {
      next();
      return;
    }
    await this.session.insert(Note, { text: originalUrl });
    if (originalUrl === '/answered/vetoed') {
      this.dbContext.beforeCommit(() => {
        throw new Error('vetoed');
      });
    } else {
      this.dbContext.beforeCommit(() => mayGoOn.promise);
    }
    response.statusCode = originalUrl === '/answered/policy' ? 299 : 201;
    if (originalUrl === '/answered/piped') {
      Readable.from(chunks(), { objectMode: false, highWaterMark: 4_096 }).pipe(response);
    } else {
      response.end('answered');
    }
    reached.resolve();
  }
}

function* chunks(): Generator<string> {
  for (chunksRead = 0; chunksRead < CHUNKS; chunksRead++) {
    yield CHUNK;
  }
}

@Module({ providers: [AnsweringMiddleware] })
class AnsweringModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(AnsweringMiddleware).forRoutes('{*path}');
  }
}

@Injectable()
class SlowGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(): Promise<boolean> {
    await this.session.insert(Note, { text: 'guard' });
    reached.resolve();
    await mayGoOn.promise;
    return true;
  }
}

@Controller()
@UseGuards(SlowGuard)
class SlowController {
  @Get('slow')
  slow(): string {
    return 'slow';
  }

  @SkipDbContext()
  @Get('skipped')
  skipped(): string {
    return 'skipped';
  }
}

const logger = new LogRecorder();
let world: TestWorld;

async function start(options: Parameters<typeof startWorld>[1]): Promise<void> {
  world = await startWorld(
    {},
    {
      mount: 'middleware',
      imports: [AnsweringModule],
      controllers: [SlowController],
      configure: (app) => app.useLogger(logger),
      ...options,
    },
  );
}

async function contextsAreGone(): Promise<void> {
  const registry = world.app.get(ContextRegistry);
  await waitFor(() => registry.runningCount === 0, { what: 'the context to end' });
  await world.serverIsIdle();
  await waitFor(() => world.pool().checkedOut === 0, { what: 'the connection to be given back' });
}

const errors = (): string[] => logger.ofLibrary('error');

beforeEach(() => {
  logger.lines.length = 0;
  reached = deferred();
  mayGoOn = deferred();
});
afterEach(() => mayGoOn.resolve());

describe.each<AdapterName>(['express', 'fastify'])(
  'answers that are held back, over %s',
  (adapter) => {
    beforeAll(() =>
      start({
        adapter,
        commitOn: (outcome) => {
          if (outcome.status === 299) {
            throw new Error('a policy that fails');
          }
          return commitOnSuccess(outcome);
        },
      }),
    );
    afterAll(() => world.close());

    it('W1: a client that leaves while its answer is held has it rolled back, and the log says so', async () => {
      const client = await RawClient.get(`${world.url}/answered/left`);
      await reached.promise;
      await client.leave();
      await contextsAreGone();
      expect(await world.savedTexts()).toEqual([]);
      expect(errors()).toEqual([
        'The work of GET /answered/left was rolled back: its client has left before it was answered.',
      ]);
    });

    it('W1: what a guard did for a client that left is in the log', async () => {
      const client = await RawClient.get(`${world.url}/slow`);
      await reached.promise;
      await client.leave();
      await contextsAreGone();
      expect(await world.savedTexts()).toEqual([]);
      expect(errors()).toEqual([
        'The work of GET /slow was rolled back: its client has left before it was answered.',
      ]);
    });

    it('W1: what a guard did before a route under @SkipDbContext() is in the log', async () => {
      mayGoOn.resolve();
      expect(await (await world.fetch('/skipped')).text()).toBe('skipped');
      await contextsAreGone();
      expect(await world.savedTexts()).toEqual([]);
      expect(errors()).toEqual([
        expect.stringContaining('The work of SlowController.skipped was rolled back'),
      ]);
    });

    it.each([
      ['/answered/vetoed', 'vetoed'],
      ['/answered/policy', 'a policy that fails'],
    ])('W1: %s, which must not be saved, is an error', async (path, message) => {
      mayGoOn.resolve();
      expect((await world.fetch(path)).status).toBe(500);
      await contextsAreGone();
      expect(await world.savedTexts()).toEqual([]);
      expect(errors()).toEqual([expect.stringContaining(message)]);
    });

    it('W1: a piped answer waits: its source is not read on before the commit', async () => {
      const answer = world.fetch('/answered/piped');
      await reached.promise;
      // A whole exchange with the same server, in which the source had time to be read on.
      expect((await world.fetch('/nowhere')).status).toBe(404);
      expect(chunksRead).toBeLessThan(CHUNKS / 10);
      mayGoOn.resolve();
      expect((await (await answer).text()).length).toBe(CHUNK.length * CHUNKS);
      expect(await world.savedTexts()).toEqual(['/answered/piped']);
    });
  },
);

describe.each<AdapterName>(['express', 'fastify'])(
  'limits of unanswered requests, over %s',
  (adapter) => {
    afterEach(() => world.close());

    it('W1: contextTimeoutMs ends the context of a guard that hangs, with 503', async () => {
      await start({ adapter, contextTimeoutMs: 200 });
      const answer = await world.fetch('/slow');
      expect([answer.status, await answer.json()]).toEqual([
        503,
        expect.objectContaining({ message: 'The request took too long, and was rolled back.' }),
      ]);
      await contextsAreGone();
      expect(errors()).toEqual([
        expect.stringContaining('The context of GET /slow was open for more than 200 ms'),
      ]);
    });

    it('H3: a shutdown answers it with 503', async () => {
      await start({ adapter, shutdownTimeoutMs: 100 });
      const answer = world.fetch('/slow');
      await reached.promise;
      const closed = world.app.close();
      expect((await answer).status).toBe(503);
      await closed;
      expect(await world.savedTexts()).toEqual([]);
    });
  },
);

describe.each(['express', 'fastify'] as const)(
  'answers that are held back, over HTTP/2 (%s)',
  (name) => {
    let client: Http2Client;

    beforeAll(async () => {
      await start({ adapter: http2Adapter(name) });
      client = new Http2Client(world.url);
    });
    afterAll(async () => {
      await client.leave();
      await world.close();
    });
    afterEach(() => world.database.query('truncate note'));

    it('W1: an answer is sent when its work is saved', async () => {
      const response = client.get('/answered/created').response();
      await reached.promise;
      expect(await world.savedTexts()).toEqual([]);
      mayGoOn.resolve();
      expect(await response).toEqual({ status: 201, body: 'answered' });
      expect(await world.savedTexts()).toEqual(['/answered/created']);
    });

    it('W1: a piped answer is whole', async () => {
      const response = client.get('/answered/piped').response();
      await reached.promise;
      mayGoOn.resolve();
      expect((await response).body.length).toBe(CHUNK.length * CHUNKS);
    });

    it('W1: one whose commit is vetoed is an error', async () => {
      const { status } = await client.get('/answered/vetoed').response();
      expect(status).toBe(500);
      expect(await world.savedTexts()).toEqual([]);
    });

    it('W1: one whose request is reset is rolled back', async () => {
      const request = client.get('/answered/reset');
      await reached.promise;
      request.reset();
      await contextsAreGone();
      expect(await world.savedTexts()).toEqual([]);
      expect(errors()).toEqual([expect.stringContaining('its client has left')]);
    });
  },
);
