import { once } from 'node:events';
import { Writable, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { UniqueConstraintViolationException } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  DbContextNotActiveError,
  InvalidOptionsError,
  ReadOnlyTransactionError,
  SessionClosedError,
  ShuttingDownError,
  StreamFailedError,
  UnknownConnectionError,
  type StreamOptions,
} from 'nestjs-db-context';
import { from, lastValueFrom, take, toArray } from 'rxjs';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const ROWS = 1_000;

describe('dbContext.stream()', () => {
  const logger = new LogRecorder();
  const at = useWorld(() => startWorld({}, { configure: (app) => app.useLogger(logger) }), {
    // A reader that leaves does not wait for the rollback.
    hasLateWork: true,
  });
  beforeEach(() => {
    logger.lines.length = 0;
  });

  const fill = (): Promise<unknown> =>
    at.world.database.query(
      `insert into note (text) select 'n' || i from generate_series(1, ${ROWS}) i`,
    );
  const notes = (options: StreamOptions = {}): Readable =>
    at.dbContext.stream(
      async function* (session: EntityManager) {
        yield* session.stream(Note, { orderBy: { id: 'asc' } });
      },
      { ...options, objectMode: true },
    );
  const sent = (pattern: RegExp): string[] => at.world.proxy.log.filter((sql) => pattern.test(sql));
  const closed = async (stream: Readable): Promise<void> => {
    await waitFor(() => stream.closed, { what: 'the stream to be closed' });
  };

  it('L3, W3: is one read-only transaction, which ends before the stream does', async () => {
    await fill();
    const stream = notes({ isolationLevel: 'repeatable read' });
    const texts: string[] = [];
    stream.on('data', ({ text }: Note) => texts.push(text));
    await once(stream, 'end');
    expect(sent(/^(commit|rollback)/)).toEqual(['commit']);
    expect(texts).toHaveLength(ROWS);
    expect(texts.at(-1)).toBe(`n${ROWS}`);
    expect(sent(/^begin/)).toEqual(['begin isolation level repeatable read read only']);
    expect(sent(/idle_in_transaction_session_timeout.*'600000'/)).toHaveLength(1);
    await closed(stream);
  });

  it('reads no further than its reader does', async () => {
    await fill();
    const stream = notes({ highWaterMark: 1 });
    const reader = stream[Symbol.asyncIterator]();
    for (let row = 1; row <= 150; row++) {
      await expect(reader.next()).resolves.toMatchObject({ value: { text: `n${row}` } });
      // One row is read ahead, and each FETCH brings 100.
      expect(sent(/^fetch/).length).toBeLessThanOrEqual(Math.ceil((row + 2) / 100));
    }
    await reader.return?.();
    await closed(stream);
    expect(sent(/^(commit|rollback)/)).toEqual(['rollback']);
    expect(logger.ofLibrary('error')).toEqual([]);
  });

  it('lends itself to pipeline() and to Observables', async () => {
    await fill();
    const chunks: string[] = [];
    const target = new Writable({
      write: (chunk: Buffer, _, onWritten) => {
        chunks.push(chunk.toString());
        onWritten();
      },
    });
    const bytes = at.dbContext.stream(async function* (session) {
      yield 'ä';
      yield '';
      yield Buffer.from(String(await session.count(Note)));
    });
    await pipeline(bytes, target);
    expect(chunks.join('')).toBe(`ä${ROWS}`);

    const first = await lastValueFrom(from(notes()).pipe(take(2), toArray()));
    expect(first).toMatchObject([{ text: 'n1' }, { text: 'n2' }]);
  });

  it('S4: rolls back where its reader fails, and fires its signal', async () => {
    let signal: AbortSignal | undefined;
    const stream = at.dbContext.stream(async function* (session, given) {
      signal = given;
      for (;;) {
        yield String(await session.count(Note));
      }
    });
    const target = new Writable({
      write: (_chunk, _encoding, onWritten) => onWritten(new Error('the disk is full')),
    });
    await expect(pipeline(stream, target)).rejects.toThrow('the disk is full');
    await closed(stream);
    expect(signal?.aborted).toBe(true);
    expect(sent(/^(commit|rollback)/)).toEqual(['rollback']);
    expect(logger.ofLibrary('error')).toEqual([]);
  });

  it('S5: is a context of its own, for injected services too, also inside of another one', async () => {
    const xids: string[] = [];
    const read = (): Readable =>
      at.dbContext.stream(
        async function* () {
          xids.push(await at.xid(), await at.xid());
          yield '';
        },
        { readOnly: false },
      );
    await at.run(async () => {
      xids.push(await at.xid());
      await read().toArray();
    });
    expect(xids[1]).toBe(xids[2]);
    expect(xids[0]).not.toBe(xids[1]);
    // Made inside of a context, and read after that has ended.
    const later = await at.run(async () => read());
    await later.toArray();
    expect(xids).toHaveLength(5);
  });

  it('C7: refuses writes with the reason, unless it is made for them', async () => {
    const write = (options?: StreamOptions & { objectMode?: false }): Readable =>
      at.dbContext.stream(async function* (session) {
        session.persist(new Note('written'));
        yield 'a';
        yield 'b';
      }, options);
    await expect(write().toArray()).rejects.toMatchObject({
      constructor: StreamFailedError,
      code: 'STREAM_FAILED',
      origin: 'dbContext.stream()',
      cause: expect.any(ReadOnlyTransactionError),
    });
    expect(logger.ofLibrary('error')).toEqual([
      expect.stringMatching(/^dbContext\.stream\(\) failed: .*read-only/),
    ]);
    await expect(write({ readOnly: false }).toArray()).resolves.toHaveLength(2);
    expect(await at.world.savedTexts()).toEqual(['written']);
  });

  it('W1: of one that writes, the last chunk leaves after the commit', async () => {
    const write = (texts: readonly string[]): Readable =>
      at.dbContext.stream(
        async function* (session: EntityManager) {
          await session.execute('set constraints all deferred');
          for (const text of texts) {
            session.persist(new Note(text));
            yield text;
          }
        },
        { readOnly: false, objectMode: true, name: 'the import' },
      );
    await expect(write(['a', 'b']).toArray()).resolves.toEqual(['a', 'b']);

    const passed: unknown[] = [];
    const twice = write(['c', 'd', 'd']).on('data', (chunk: unknown) => passed.push(chunk));
    const [error] = (await once(twice, 'error').catch((reason: unknown) => [reason])) as [unknown];
    expect(error).toMatchObject({
      constructor: StreamFailedError,
      origin: 'the import',
      cause: expect.any(UniqueConstraintViolationException),
    });
    expect(passed).toEqual(['c', 'd']);
    expect(await at.world.savedTexts()).toEqual(['a', 'b']);
  });

  it('W1: work that is dropped is in the log', async () => {
    const stream = at.dbContext.stream(
      async function* (session) {
        await session.insert(Note, { text: 'dropped' });
        yield 'a';
        yield 'b';
        yield 'c';
      },
      { readOnly: false, name: 'the import', highWaterMark: 1 },
    );
    await once(stream, 'readable');
    stream.destroy();
    await closed(stream);
    expect(await at.world.savedTexts()).toEqual([]);
    expect(logger.ofLibrary('error')).toEqual([
      'what the import had written was rolled back: it was destroyed before its end',
    ]);
  });

  it('F3: a statement under way is cut off where its reader leaves, and what its source sends later is refused', async () => {
    const begun = deferred();
    const late = deferred<unknown>();
    const stream = at.dbContext.stream(async function* (session: EntityManager) {
      try {
        begun.resolve();
        await session.execute('select pg_sleep(0.2)');
        yield 'slept';
      } finally {
        await session.count(Note).then(late.resolve, late.resolve);
      }
    });
    stream.resume();
    await begun.promise;
    stream.destroy();
    await closed(stream);
    expect(await late.promise).toBeInstanceOf(SessionClosedError);
    expect(at.world.pool()).toMatchObject({ checkedOut: 0 });
  });

  it.each([
    ['an object', { text: 'a' }, {}, 'a value of type object'],
    ['null', null, {}, 'was given null'],
    ['null, of objects', null, { objectMode: true }, 'with which Node ends a stream'],
  ])('says what is wrong with a chunk that is %s', async (_, chunk, options, message) => {
    const stream = at.dbContext.stream<unknown>(
      async function* () {
        yield chunk;
      },
      options as { objectMode: true },
    );
    await expect(stream.toArray()).rejects.toMatchObject({
      constructor: StreamFailedError,
      cause: { constructor: InvalidOptionsError, message: expect.stringContaining(message) },
    });
  });

  it('refuses options that cannot be, and connections that are not', () => {
    const make = (options: object) => () =>
      at.dbContext.stream(async function* () {}, options as StreamOptions & { objectMode?: false });
    expect(make({ timeoutMs: 0 })).toThrow(InvalidOptionsError);
    expect(make({ timeoutMs: 'soon' })).toThrow('dbContext.stream() has timeoutMs: soon');
    expect(make({ mode: 'object' })).toThrow(InvalidOptionsError);
    expect(make({ connection: 'other' })).toThrow(UnknownConnectionError);
  });

  it('a failure that nobody listens for is in the log, and ends nothing else', async () => {
    at.dbContext
      .stream(async function* () {
        yield '';
        throw new DbContextNotActiveError();
      })
      .resume();
    await waitFor(() => logger.ofLibrary('error').length === 1, { what: 'the failure in the log' });
  });
});

describe('dbContext.stream() of an application of its own', () => {
  it('is not warned of in development for what its reader takes its time for', async () => {
    const logger = new LogRecorder();
    const world = await startWorld(
      {},
      {
        watch: { contextOpenMs: 20, idleInTransactionMs: 20 },
        configure: (app) => app.useLogger(logger),
      },
    );
    try {
      const stream = world.dbContext.stream(
        async function* (session) {
          yield String(await session.count(Note));
          yield 'the end';
        },
        { highWaterMark: 1 },
      );
      await once(stream, 'readable');
      // Longer than both limits, during which the watch looks several times.
      await world.database.query('select pg_sleep(0.15)');
      await stream.toArray();
      expect(logger.ofLibrary('warn')).toEqual([]);
    } finally {
      await world.close();
    }
  });

  it('H3: one that was made before a shutdown may be read during it, and none after it', async () => {
    const world = await startWorld();
    try {
      const count = (): Readable =>
        world.dbContext.stream(async function* (session) {
          yield String(await session.count(Note));
        });
      const hold = deferred();
      const before = count();
      const running = world.dbContext.run(() => hold.promise);
      const closing = world.app.close();
      const { shutdown } = world.app.get(ContextRegistry);
      await waitFor(() => shutdown.hasBegun, { what: 'the shutdown to begin' });
      await expect(before.toArray()).resolves.toHaveLength(1);
      hold.resolve();
      await running;
      await closing;
      await expect(count().toArray()).rejects.toBeInstanceOf(ShuttingDownError);
    } finally {
      await world.close();
    }
  });
});
