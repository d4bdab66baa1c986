import { Readable } from 'node:stream';

import {
  Controller,
  Get,
  Query,
  Res,
  Sse,
  StreamableFile,
  type MessageEvent,
} from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  DbContext,
  DbContextNotActiveError,
  InjectSession,
  SessionClosedError,
  SkipDbContext,
} from 'nestjs-db-context';
import { Observable, type Subscriber } from 'rxjs';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { RawClient } from '../support/raw-client.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

/** The part of Express' and Fastify's responses that the routes use. */
interface Answer {
  status(code: number): Answer;
  send(body: string): unknown;
}

let source: Subscriber<MessageEvent> | undefined;
const seenByBody: unknown[] = [];

/** Routes that send their response themselves, or after the handler. */
@Controller()
class SendingController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('file')
  async file(@Query('text') text: string): Promise<StreamableFile> {
    await this.#write(text);
    return new StreamableFile(Readable.from(this.#body()));
  }

  @Get('generator')
  async generator(@Query('text') text: string): Promise<AsyncIterable<string>> {
    await this.#write(text);
    return this.#body();
  }

  @Sse('events')
  events(@Query('text') text: string): Observable<MessageEvent> {
    return new Observable((subscriber) => {
      void this.#write(text).then(() => {
        source = subscriber;
        subscriber.next({ data: 'first' });
      });
    });
  }

  @Sse('idle-events')
  idleEvents(): Observable<MessageEvent> {
    return new Observable((subscriber) => {
      subscriber.next({ data: 'first' });
      subscriber.complete();
    });
  }

  @Get('res')
  async res(@Query('text') text: string, @Res() response: Answer): Promise<void> {
    await this.#write(text);
    response.status(200).send('sent');
  }

  @Get('res-persisted')
  resPersisted(@Query('text') text: string, @Res() response: Answer): void {
    this.session.persist(new Note(text));
    response.status(200).send('sent');
  }

  @Get('res-400')
  async res400(@Query('text') text: string, @Res() response: Answer): Promise<void> {
    await this.#write(text);
    response.status(400).send('sent');
  }

  @Get('res-nothing')
  resNothing(@Res() response: Answer): void {
    response.status(200).send('sent');
  }

  @Get('res-committed')
  async resCommitted(@Query('text') text: string, @Res() response: Answer): Promise<void> {
    await this.#write(text);
    await this.dbContext.commit();
    response.status(200).send('sent');
  }

  @SkipDbContext()
  @Get('res-skipped')
  resSkipped(@Res() response: Answer): void {
    response.status(200).send('sent');
  }

  async #write(text: string): Promise<void> {
    await this.session.persist(new Note(text)).flush();
  }

  async *#body(): AsyncGenerator<string> {
    yield 'body';
    try {
      await this.session.find(Note, {});
    } catch (error) {
      seenByBody.push(error);
    }
    yield ` ${await this.dbContext.run(() => this.session.count(Note))}`;
  }
}

describe.each<AdapterName>(['express', 'fastify'])('responses of their own over %s', (adapter) => {
  let world: TestWorld;
  let logger: LogRecorder;

  const start = async (mount: 'interceptor' | 'middleware' = 'interceptor'): Promise<void> => {
    world = await startWorld(
      {},
      {
        adapter,
        mount,
        controllers: [SendingController],
        configure: (app) => app.useLogger(logger),
      },
    );
  };

  beforeEach(async () => {
    logger = new LogRecorder();
    seenByBody.length = 0;
    source = undefined;
    await start();
  });

  afterEach(() => world?.close());

  const contextsAreGone = () =>
    waitFor(() => world.app.get(ContextRegistry).runningCount === 0, {
      what: 'the context to end',
    });
  // Fastify keeps the connection open after it.
  const ended = (client: RawClient) =>
    waitFor(() => client.received.endsWith('\r\n0\r\n\r\n'), { what: 'the last chunk' });
  const warnings = () => logger.ofLibrary('warn');

  it.each([
    ['file', 'interceptor', DbContextNotActiveError],
    ['generator', 'interceptor', DbContextNotActiveError],
    ['file', 'middleware', SessionClosedError],
    ['generator', 'middleware', SessionClosedError],
  ] as const)(
    'S1: /%s is committed before its body is produced, which may open a context (%s)',
    async (path, mount, error) => {
      if (mount === 'middleware') {
        await world.close();
        await start(mount);
      }
      const answer = await world.fetch(`/${path}?text=a`);
      expect(await answer.text()).toBe('body 1');
      expect(await world.savedTexts()).toEqual(['a']);
      expect(seenByBody).toEqual([expect.any(error)]);
      expect(warnings()).toEqual([]);
      expect(world.pool().checkedOut).toBe(0);
    },
  );

  it('S2: server-sent events commit as they complete, and warn once per route', async () => {
    for (const text of ['a', 'b']) {
      source = undefined;
      const client = await RawClient.get(`${world.url}/events?text=${text}`);
      await waitFor(() => client.received.includes('first'), { what: 'the first event' });
      expect(await world.savedTexts()).not.toContain(text);
      source!.complete();
      await ended(client);
      await client.leave();
      expect(await world.savedTexts()).toContain(text);
    }
    expect(warnings()).toEqual([
      expect.stringContaining('SendingController.events sends its response before'),
    ]);
    expect(world.pool().checkedOut).toBe(0);
  });

  it('S2: server-sent events without a transaction do not warn', async () => {
    expect(await (await world.fetch('/idle-events')).text()).toContain('data: first');
    await contextsAreGone();
    expect(warnings()).toEqual([]);
  });

  it('F1: server-sent events are rolled back when the client leaves', async () => {
    const client = await RawClient.get(`${world.url}/events?text=a`);
    await waitFor(() => client.received.includes('first'), { what: 'the first event' });
    await client.leave();
    await contextsAreGone();
    await world.serverIsIdle();
    expect(await world.savedTexts()).toEqual([]);
    expect(world.proxy.log.filter((sql) => sql === 'rollback')).toHaveLength(1);
    expect(world.pool().checkedOut).toBe(0);
    expect(warnings()).toEqual([]);
  });

  it('S4: a commit of server-sent events that fails is an event', async () => {
    const client = await RawClient.get(`${world.url}/events?text=a`);
    await waitFor(() => client.received.includes('first'), { what: 'the first event' });
    world.proxy.cutBefore(/^commit/);
    source!.complete();
    await ended(client);
    expect(client.received).toContain('event: error');
    await client.leave();
    expect(await world.savedTexts()).toEqual([]);
    await contextsAreGone();
  });

  it('S2: @Res() commits by status, before its answer leaves', async () => {
    expect((await world.fetch('/res?text=a')).status).toBe(200);
    expect((await world.fetch('/res-persisted?text=b')).status).toBe(200);
    expect((await world.fetch('/res-400?text=c')).status).toBe(400);
    expect(await world.savedTexts()).toEqual(['a', 'b']);
    await contextsAreGone();
    expect(warnings()).toEqual([]);
  });

  it.each(['res-nothing', 'res-committed', 'res-skipped'])(
    'S2: /%s, which has nothing open when it sends, does not warn',
    async (path) => {
      expect((await world.fetch(`/${path}?text=a`)).status).toBe(200);
      await contextsAreGone();
      expect(warnings()).toEqual([]);
      expect(await world.savedTexts()).toEqual(path === 'res-committed' ? ['a'] : []);
    },
  );
});
