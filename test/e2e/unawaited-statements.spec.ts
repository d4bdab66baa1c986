import type { UnawaitedAppOptions } from '../fixtures/unawaited/app.fixture.js';
import { AppProcess } from '../support/app-process.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { NOTE_SCHEMA } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const FILE = 'test/fixtures/unawaited/app.fixture.ts';
const START_MS = 60_000;

interface Seen {
  readonly errors: readonly string[];
  readonly stacks: readonly string[];
  readonly caught: string;
  readonly listeners: number;
}

/** What an application with a listener for unhandled rejections would not show: the process ends. */
describe.each<AdapterName>(['express', 'fastify'])(
  'statements that nobody awaits, %s',
  (adapter) => {
    let database: TestDatabase;
    let app: AppProcess | undefined;
    let hasEnded = false;

    beforeAll(async () => {
      database = await createTestDatabase();
      await database.query(NOTE_SCHEMA);
    });
    afterAll(() => database.drop());
    beforeEach(async () => {
      await database.query('truncate note restart identity');
      if (app !== undefined && !hasEnded) {
        await get('/forget');
        return;
      }
      app = await AppProcess.start(FILE, {
        adapter,
        databaseUrl: database.url,
        mount: 'middleware',
      } satisfies UnawaitedAppOptions);
      hasEnded = false;
      void app.ended.then(() => {
        hasEnded = true;
      });
    }, START_MS);
    afterAll(() => app?.kill());

    const get = async (path: string): Promise<unknown> =>
      (await fetch(`${app!.url}${path}`)).json();
    const late = async (kind: string): Promise<void> => {
      expect(await (await fetch(`${app!.url}/late/${kind}`)).text()).toBe('done');
    };
    const seen = async (): Promise<Seen> => (await get('/seen')) as Seen;
    const texts = async (): Promise<string[]> =>
      (await database.query<{ text: string }>('select text from note')).map(({ text }) => text);

    const kinds =
      adapter === 'express'
        ? ['insert', 'find', 'flush', 'repository', 'query builder', 'kysely', 'async listener']
        : ['insert'];

    it.each(kinds)(
      'S5: %s: it is refused and reported, and does not end the process',
      async (kind) => {
        await late(kind);
        await waitFor(async () => hasEnded || (await seen()).errors.length > 0, {
          what: 'the report',
        });
        expect(hasEnded).toBe(false);
        const { errors, stacks } = await seen();
        expect(errors).toEqual([
          expect.stringMatching(
            /^a statement that nobody awaits was refused in the context of LateController\.late: The session of connection "default" in the context of LateController\.late is closed/,
          ),
        ]);
        expect(stacks).toEqual([expect.stringContaining('app.fixture.ts')]);
        expect(await texts()).toEqual([kind]);
      },
      START_MS,
    );

    it('S5: several of one context are reported once, with their number', async () => {
      await late('three');
      await waitFor(async () => hasEnded || (await seen()).errors.length > 0, {
        what: 'the report',
      });
      expect((await seen()).errors).toEqual([
        expect.stringMatching(
          /^3 statements that nobody awaits were refused in the context of LateController\.late: /,
        ),
      ]);
    });

    it('S5: a statement that is awaited gets its error, and nothing else is reported', async () => {
      await late('awaited');
      await waitFor(async () => (await seen()).caught !== 'nothing', { what: 'the error' });
      expect(await seen()).toMatchObject({ errors: [], stacks: [], caught: 'SESSION_CLOSED' });
      expect(await texts()).toEqual(['awaited']);
    });

    it('S5: a rejection of the application in the same turn still ends the process', async () => {
      await late('foreign');
      expect(await app!.ended).toEqual({ code: 1, signal: null });
    });
  },
);

// The listener runs in the context of the socket there, which is none of the library's.
describe('statements that nobody awaits, with the default mount', () => {
  let database: TestDatabase;
  let app: AppProcess | undefined;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await AppProcess.start(FILE, {
      adapter: 'express',
      databaseUrl: database.url,
      mount: 'interceptor',
    } satisfies UnawaitedAppOptions);
  }, START_MS);
  afterAll(async () => {
    await app?.kill();
    await database.drop();
  });

  it('S5: one outside of any context is refused and reported, and does not end the process', async () => {
    expect(await (await fetch(`${app!.url}/late/insert`)).text()).toBe('done');
    const seen = async (): Promise<Seen> =>
      (await (await fetch(`${app!.url}/seen`)).json()) as Seen;
    await waitFor(async () => (await seen()).errors.length > 0, { what: 'the report' });
    const { errors, stacks } = await seen();
    expect(errors).toEqual([
      expect.stringMatching(/^a statement that nobody awaits was refused outside of any context: /),
    ]);
    expect(stacks).toEqual([expect.stringContaining('app.fixture.ts')]);
    expect(await database.query('select text from note')).toEqual([{ text: 'insert' }]);
  });

  it('S5: nor does work that has joined the context of a request that failed', async () => {
    await fetch(`${app!.url}/forget`);
    const path = '/leave/a%20joined%20context,%20and%20throws';
    expect((await fetch(`${app!.url}${path}`)).status).toBe(400);
    const seen = async (): Promise<Seen> =>
      (await (await fetch(`${app!.url}/seen`)).json()) as Seen;
    await waitFor(async () => (await seen()).errors.length > 0, { what: 'the report' });
    expect((await seen()).errors).toEqual([
      expect.stringMatching(
        /^a statement that nobody awaits was refused in the context of LateController\.leave: The transaction on connection "default" in the context of LateController\.leave was rolled back instead of committed: it had joined a context that was ended before it was done/,
      ),
    ]);
  });

  const LEFT = [
    'a first statement',
    'an atomic block',
    'withClient()',
    'a nested transaction',
    'a commit',
    'a flush',
  ].flatMap((kind) => [kind, `${kind}, and throws`]);
  it.each(LEFT)(
    'S5: %s that nobody awaits as the request ends does not end the process',
    async (kind) => {
      const response = await fetch(`${app!.url}/leave/${encodeURIComponent(kind)}`);
      expect([200, 400, 500]).toContain(response.status);
      // The process would have ended by the time that it answers again.
      expect((await fetch(`${app!.url}/seen`)).status).toBe(200);
    },
  );

  const LENT: readonly (readonly [string, number])[] = [
    ['a query', 0],
    ['a loop of queries', 1],
    ['a later query', 1],
    ['a later async query', 1],
    ['a later copy', 1],
    ['a pipeline into a copy', 1],
    ['a pipe into a copy', 0],
    ['chunks of a copy', 0],
    ['a loop of a cursor', 1],
    ['a loop of a query stream', 1],
    ['a loop of a copy', 1],
  ];
  it.each(LENT)(
    'S5: %s of a lent client that nobody awaits does not end the process, and %i is reported',
    async (kind, reports) => {
      await fetch(`${app!.url}/forget`);
      await database.query('truncate note');
      const response = await fetch(`${app!.url}/lent/${encodeURIComponent(kind)}`);
      expect([200, 500]).toContain(response.status);
      const errors = async (): Promise<readonly string[]> =>
        ((await (await fetch(`${app!.url}/seen`)).json()) as Seen).errors;
      await waitFor(async () => (await errors()).length >= reports, { what: 'the report' });
      expect(await errors()).toEqual(
        Array.from({ length: reports }, () =>
          expect.stringMatching(
            /^a statement that nobody awaits was refused in the context of LateController\.lent: .*the callback of withClient\(\) has ended/,
          ),
        ),
      );
      if (kind !== 'a loop of queries') {
        expect(await database.query('select text from note')).toEqual([]);
      }
    },
    START_MS,
  );

  it('S5: after all of these it lives, and listens to rejections no longer', async () => {
    await waitFor(
      async () => ((await (await fetch(`${app!.url}/seen`)).json()) as Seen).listeners === 0,
      { what: 'the end of it' },
    );
  });
});
