import type { EntityManager } from '@mikro-orm/postgresql';
import {
  Controller,
  Injectable,
  Sse,
  type CallHandler,
  type ExecutionContext,
  type MessageEvent,
  type NestInterceptor,
} from '@nestjs/common';
import {
  DbContext,
  InjectSession,
  SkipDbContext,
  UseAfterCommit,
  type DbContextError,
} from 'nestjs-db-context';
import {
  dbContextChannels,
  type ContextEndEvent,
  type TransactionEndEvent,
} from 'nestjs-db-context/telemetry';
import { concat, defer, exhaustMap, interval, of, tap, type Observable } from 'rxjs';

import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const LISTENERS = 50;
const EVENTS = 2;

const kept: Error[] = [];

/** Keeps what Nest gets to send; version 11 sends the message of any error. */
@Injectable()
class ErrorKeeper implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(tap({ error: (error: Error) => kept.push(error) }));
  }
}

@Controller()
class EventsController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @SkipDbContext()
  @Sse('counts')
  counts(): Observable<MessageEvent> {
    return interval(300).pipe(
      exhaustMap(() =>
        this.dbContext.run(async () => ({ data: `${await this.session.count(Note)}` })),
      ),
    );
  }

  @UseAfterCommit(ErrorKeeper)
  @Sse('refused')
  refused(): Observable<MessageEvent> {
    return concat(
      of({ data: 'first' }),
      defer(async () => {
        await this.session.execute('select 1');
        this.dbContext.rollbackOnly();
        return { data: 'last' };
      }),
    );
  }

  @SkipDbContext()
  @UseAfterCommit(ErrorKeeper)
  @Sse('without-context')
  withoutContext(): Observable<MessageEvent> {
    return concat(
      of({ data: 'first' }),
      defer(async () => ({ data: `${await this.session.count(Note)}` })),
    );
  }

  @Sse('held-counts')
  heldCounts(): Observable<MessageEvent> {
    return interval(50).pipe(
      exhaustMap(async () => ({ data: `${await this.session.count(Note)}` })),
    );
  }
}

describe.each<AdapterName>(['express', 'fastify'])('server-sent events over %s', (adapter) => {
  let world: TestWorld;
  const logger = new LogRecorder();

  beforeAll(async () => {
    world = await startWorld(
      {},
      {
        adapter,
        controllers: [EventsController],
        configure: (app) => app.useLogger(logger),
      },
    );
  });
  afterAll(() => world.close());
  beforeEach(() => {
    logger.lines.length = 0;
  });

  /** Listens until `isEnough` or the end, and stays. */
  const listen = async (
    path: string,
    isEnough: (text: string) => boolean,
  ): Promise<{ readonly text: string; readonly leave: () => void }> => {
    const leaving = new AbortController();
    const response = await world.fetch(path, { signal: leaving.signal });
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    let isOver = false;
    while (!isOver) {
      const { value = '', done } = await reader.read();
      text += value;
      isOver = done || isEnough(text);
    }
    return { text, leave: () => leaving.abort() };
  };
  const eventsIn = (text: string): number => text.match(/^data: 0$/gm)?.length ?? 0;

  it('F1: listeners whose events have a context each share a pool', async () => {
    const listeners = await Promise.all(
      Array.from({ length: LISTENERS }, () =>
        listen('/counts', (text) => eventsIn(text) >= EVENTS),
      ),
    );
    const texts = listeners.map(({ text }) => text);
    expect(texts.filter((text) => eventsIn(text) < EVENTS)).toEqual([]);
    listeners.forEach(({ leave }) => leave());
    expect(logger.ofLibrary('warn')).toEqual([]);
    await waitFor(() => world.pool().checkedOut === 0, { what: 'the connections to come back' });
  });

  it.each([
    ['/refused', 'UNEXPECTED_ROLLBACK'],
    ['/without-context', 'DB_CONTEXT_NOT_ACTIVE'],
  ])(
    '%s: what Nest may send of an error has no line for developers, its stack has',
    async (path, code) => {
      kept.length = 0;
      const { text } = await listen(path, () => false);
      expect(text).toContain('data: first');
      const [error] = kept;
      const line = `See nestjs-db-context/docs/errors.md#${code.toLowerCase()}`;
      expect((error as DbContextError | undefined)?.code).toBe(code);
      expect(error?.message).not.toContain(line);
      expect(error?.stack).toContain(line);
    },
  );

  it('O1: the end of a stream whose client has left is published as CLIENT_GONE', async () => {
    const ended: (ContextEndEvent | TransactionEndEvent)[] = [];
    const keep = (event: ContextEndEvent | TransactionEndEvent): void => {
      const context = 'context' in event ? event.context : event.transaction.context;
      // A stream of another test may end as well.
      if (context?.origin === 'EventsController.heldCounts') {
        ended.push(event);
      }
    };
    const { contextEnd, transactionEnd } = dbContextChannels;
    contextEnd.subscribe(keep);
    transactionEnd.subscribe(keep);
    try {
      const { leave } = await listen('/held-counts', (text) => eventsIn(text) > 0);
      leave();
      await waitFor(() => ended.length === 2, { what: 'the context to end' });
    } finally {
      contextEnd.unsubscribe(keep);
      transactionEnd.unsubscribe(keep);
    }
    expect(ended).toMatchObject(
      ended.map(() => ({
        outcome: 'rolled-back',
        endedBy: { code: 'CLIENT_GONE', what: 'the client went away' },
        error: undefined,
      })),
    );
    await waitFor(() => world.pool().checkedOut === 0, { what: 'the connection to come back' });
  });

  it('warns of a stream that goes on while its context holds a connection, once', async () => {
    const { leave } = await listen('/held-counts', () => logger.ofLibrary('warn').length > 0);
    leave();
    expect(logger.ofLibrary('warn')).toEqual([
      expect.stringMatching(/^EventsController\.heldCounts sends events while its context holds/),
    ]);
    await waitFor(() => world.pool().checkedOut === 0, { what: 'the connection to come back' });
  });
});
