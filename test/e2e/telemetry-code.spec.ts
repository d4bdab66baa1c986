import { AsyncLocalStorage } from 'node:async_hooks';
import { readFileSync } from 'node:fs';

import {
  dbContextChannels,
  UNMASKED,
  type FlushEvent,
  type ForkEvent,
  type RefusalEvent,
  type StatementEvent,
  type StatementRequest,
} from 'nestjs-db-context/telemetry';
import { Client, type ClientBase } from 'pg';

import { endLeftoverSubscriptions } from '../support/leftover-subscribers.js';
import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

const SOURCE = readFileSync(import.meta.filename, 'utf8').split('\n');
let notes = 0;

beforeAll(endLeftoverSubscriptions);
const at = useWorld(() => startWorld({}, { watch: false }));

/** Collects the events of a channel while `work` runs. */
async function collect<T>(
  channel: {
    subscribe(listener: (event: T) => void): void;
    unsubscribe(l: (event: T) => void): boolean;
  },
  work: () => Promise<unknown>,
): Promise<T[]> {
  const events: T[] = [];
  const listener = (event: T): void => void events.push(event);
  channel.subscribe(listener);
  try {
    await work();
  } finally {
    channel.unsubscribe(listener);
  }
  return events;
}

const { flush, sessionFork, sessionRefuse, statement, statementRequest } = dbContextChannels;

describe('O1: where in the code a statement was asked for', () => {
  const keepStack = (request: StatementRequest): void => request.keepStack();
  /** The lines of this file that the stacks of the application's statements begin with. */
  const places = (events: StatementEvent[]): string[] =>
    events
      .filter(({ kind, hasRun }) => kind === 'statement' && hasRun)
      .map(
        ({ stack = '' }) =>
          SOURCE[Number(/telemetry-code\.spec\.ts:(\d+)/.exec(stack)?.[1]) - 1] ?? stack,
      )
      .map((line) => line.trim());

  async function firstStatement(): Promise<void> {
    await at.session.execute('select 1');
  }
  async function laterStatement(): Promise<void> {
    await at.session.execute('select 2');
  }
  async function flushedStatement(): Promise<void> {
    await at.session.persist(new Note(`note ${notes++}`)).flush();
  }
  async function autocommitStatement(): Promise<void> {
    await at.session.execute('select 3');
  }
  async function clientStatement(client: object): Promise<void> {
    await (client as ClientBase).query('select 4');
  }

  const work = (): Promise<void> =>
    at.run(async () => {
      await firstStatement();
      await laterStatement();
      await flushedStatement();
      await at.session.transactional(autocommitStatement, {
        propagation: 'not_supported' as never,
      });
      await at.dbContext.withClient(clientStatement);
    });

  it('is known to all where one listener keeps it', async () => {
    statementRequest.subscribe(keepStack);
    const events = await collect(statement.start, work).finally(() =>
      statementRequest.unsubscribe(keepStack),
    );
    expect(places(events)).toEqual([
      "await at.session.execute('select 1');",
      "await at.session.execute('select 2');",
      'await at.session.persist(new Note(`note ${notes++}`)).flush();',
      "await at.session.execute('select 3');",
      "await (client as ClientBase).query('select 4');",
    ]);
    // Statements with `not_supported` are in no transaction, and all others here in one.
    const own = events.filter(({ kind }) => kind === 'statement');
    const inNone = own.filter(({ transaction }) => transaction === undefined);
    expect(inNone.map(({ sql }) => sql)).toEqual(['select ?']);
    expect(new Set(own.map(({ transaction }) => transaction)).size).toBe(2);
    // The library's own are asked for by nobody.
    expect(events.filter(({ kind }) => kind === 'commit').map(({ stack }) => stack)).toEqual([
      undefined,
    ]);
    for (const { stack, sql, request } of events.filter(({ kind }) => kind === 'statement')) {
      expect(stack).not.toMatch(/node_modules|node:/);
      expect(request!.sql).toBe(sql);
    }
  });

  it('is not kept where no listener asks for it', async () => {
    const events = await collect(statement.start, work);
    expect(events.map(({ stack, request }) => stack ?? request)).toEqual(
      events.map(() => undefined),
    );
    const requests = await collect(statementRequest, work);
    expect(requests).toHaveLength(5);
    expect(requests.map(({ stack }) => stack)).toEqual(requests.map(() => undefined));
  });

  it('is that of a read before the first write, too', async () => {
    const early = await startWorld({ transaction: { begin: 'first-write' } });
    statementRequest.subscribe(keepStack);
    try {
      const events = await collect(statement.start, () =>
        early.dbContext.run(async () => {
          await early.session().execute('select 5');
        }),
      );
      expect(places(events)).toEqual(["await early.session().execute('select 5');"]);
      expect(events.map(({ transaction }) => transaction)).toEqual(events.map(() => undefined));
    } finally {
      statementRequest.unsubscribe(keepStack);
      await early.close();
    }
  });
});

describe('O1: queries on the client of withClient()', () => {
  it('leave with the stores that are bound, and the code after them goes on in its own', async () => {
    const store = new AsyncLocalStorage<string>();
    const seen: (readonly [text: string, store: string | undefined])[] = [];
    const query = Reflect.get(Client.prototype, 'query') as (...args: unknown[]) => unknown;
    Client.prototype.query = function spied(this: Client, ...args: unknown[]): unknown {
      const [first] = args as [{ readonly text?: string }];
      seen.push([first.text ?? 'other', store.getStore()]);
      return query.apply(this, args);
    } as never;
    statement.start.bindStore(store, ({ sql }) => `of ${sql}`);
    try {
      await store.run('request', () =>
        at.run(() =>
          at.dbContext.withClient(async (client) => {
            const own = client as ClientBase;
            await Promise.all([own.query('select 1 as one'), own.query('select 2 as two')]);
            seen.push(['after', store.getStore()]);
            await new Promise<void>((resolve, reject) => {
              own.query('select 3 as three', (error) => {
                seen.push(['callback', store.getStore()]);
                if (error) {
                  reject(error);
                  return;
                }
                resolve();
              });
            });
          }),
        ),
      );
    } finally {
      Client.prototype.query = query as never;
      statement.start.unbindStore(store);
    }
    expect(seen.filter(([text]) => text !== 'other')).toEqual([
      ['select 1 as one', 'of select ? as one'],
      ['select 2 as two', 'of select ? as two'],
      ['after', 'request'],
      ['select 3 as three', 'of select ? as three'],
      ['callback', 'request'],
    ]);
  });
});

describe('O1: sessions', () => {
  it('S5: publish that they were used after their end', async () => {
    const isOver = deferred();
    const refusals = await collect<RefusalEvent>(sessionRefuse, async () => {
      let late: Promise<unknown> | undefined;
      await at.run(async () => {
        await at.session.count(Note);
        late = isOver.promise.then(() => at.session.insert(Note, { text: 'too late' }));
      });
      isOver.resolve();
      await expect(late).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    });
    expect(refusals).toMatchObject([
      {
        context: { origin: 'dbContext.run()' },
        connection: { name: 'default' },
        reason: undefined,
        error: { code: 'SESSION_CLOSED' },
      },
    ]);
  });

  it('publish their flushes and forks', async () => {
    const starts: FlushEvent[] = [];
    const ends: FlushEvent[] = [];
    const forks: ForkEvent[] = [];
    let fork: unknown;
    starts.push(
      ...(await collect(flush.start, async () => {
        ends.push(
          ...(await collect(flush.asyncEnd, async () => {
            forks.push(
              ...(await collect(sessionFork, () =>
                at.run(async () => {
                  fork = at.session.fork();
                  await at.session.transactional(async (em) => em.count(Note));
                  await at.session.persist(new Note('a note')).flush();
                }),
              )),
            );
          })),
        );
      })),
    );
    expect(starts.length).toBeGreaterThan(0);
    expect(ends).toEqual(starts);
    expect(ends[0]).toMatchObject({
      connection: { name: 'default' },
      context: { origin: 'dbContext.run()' },
      durationMs: expect.any(Number) as number,
      error: undefined,
    });
    expect(forks).toHaveLength(1);
    expect(forks[0]![UNMASKED].manager).toBe(fork);
  });
});
