import type { INestApplication } from '@nestjs/common';
import { DbContext, DbContextNotActiveError } from 'nestjs-db-context';
import {
  expectNoOpenConnections,
  expectStatements,
  recordStatements,
  useTestTransaction,
  type RecordedStatement,
} from 'nestjs-db-context/testing';

import { createTestDatabase, type TestDatabase } from '../../../test/support/database.js';
import { EntriesService } from '../entries/entries.service.js';
import { NightlyJob } from '../jobs/nightly.job.js';
import { startControlApp } from './control-app.js';

const MODES = ['commit', 'rollback', 'append', 'raise', 'savepoint'] as const;

/** Nothing here is cleaned up: each test shares one transaction with the application. */
describe('sample 02-control, a shared transaction', () => {
  let database: TestDatabase;
  let app: INestApplication;
  let url: string;
  let statements: readonly RecordedStatement[];

  beforeAll(async () => {
    database = await createTestDatabase();
    app = await startControlApp(database.url);
    url = await app.getUrl();
  });

  afterAll(async () => {
    try {
      expect(await database.query('select * from entry')).toEqual([]);
    } finally {
      await app?.close();
      await database?.drop();
    }
  });

  const db = useTestTransaction(() => app);

  beforeEach(() => {
    statements = [];
  });

  // No waiting here: what a request took is back before its response leaves.
  afterEach(() => expectNoOpenConnections(app));

  const post = (path: string): Promise<Response> => fetch(`${url}${path}`, { method: 'POST' });

  /** Runs `work`, and keeps what the application has sent for it, as it would to the server. */
  const recorded = async (work: () => unknown): Promise<void> => {
    statements = await recordStatements(app, work, { withTransactions: true });
  };

  /** Calls a route and looks, in the test's session, at what it has saved. */
  async function saved(path: string, status: number): Promise<string[]> {
    await recorded(async () => {
      const response = await post(path);
      expect(response.status).toBe(status);
      await response.arrayBuffer();
    });
    return (await rows()).map(({ text }) => text);
  }

  /** `xid` is the transaction that wrote the row: each of the application's has an id of its own. */
  const rows = (): Promise<{ id: number; text: string; xid: string }[]> =>
    db.session().execute('select id, text, xmin::text as xid from entry order by id');

  const transactions = async (): Promise<string[]> => (await rows()).map(({ xid }) => xid);

  const count = (pattern: RegExp): number =>
    statements.filter(({ sql }) => pattern.test(sql)).length;

  const ends = (): string[] =>
    statements.map(({ sql }) => sql).filter((sql) => /^(commit|rollback)$/i.test(sql));

  const INSERT = /^insert into "entry"/i;

  describe('the session of the request', () => {
    it('a plain session: 1 row, and its id in the response', async () => {
      let answer: unknown;
      await recorded(async () => {
        const response = await post('/plain-session');
        expect(response.status).toBe(201);
        answer = await response.json();
      });

      const [row, ...more] = await rows();
      expect(more).toHaveLength(0);
      expect(answer).toEqual({ id: row!.id, text: 'saved by the end of the request' });
      expect(ends()).toEqual(['commit']);
    });

    it('GET /entries lists what is saved, the latest first', async () => {
      await post('/early-commit');
      const response = await fetch(`${url}/entries`);

      expect(response.status).toBe(200);
      const listed = (await response.json()) as { id: number }[];
      expect(listed).toHaveLength(4);
      // A sequence is not rolled back, so the ids are others in each run.
      expect(listed.map(({ id }) => id)).toEqual((await rows()).map(({ id }) => id).toReversed());
    });
  });

  describe('early ends', () => {
    it('early commits, and a close between: 4 rows of 3 transactions', async () => {
      expect(await saved('/early-commit', 201)).toHaveLength(4);
      const [first, second, third, fourth] = await transactions();
      expect(new Set([first, second, third]).size).toBe(3);
      expect(fourth).toBe(third);
      expect(ends()).toEqual(['commit', 'commit', 'commit']);
    });

    it('early rollbacks through the context and the session: 0 rows of 2 sent', async () => {
      expect(await saved('/early-rollback', 201)).toHaveLength(0);
      expect(count(INSERT)).toBe(2);
      expect(ends()).toEqual(['rollback', 'rollback']);
    });

    it('commit and rollback by hand, then the end of the request: 2 rows of 3 sent', async () => {
      expect(await saved('/end-by-hand', 201)).toEqual([
        'committed by hand',
        'committed by the request',
      ]);
      expect(ends()).toEqual(['commit', 'rollback', 'commit']);
    });
  });

  describe('atomic blocks', () => {
    it('a block, then the request: 2 rows of 2 transactions', async () => {
      expect(await saved('/atomic', 201)).toHaveLength(2);
      expect(new Set(await transactions()).size).toBe(2);
    });

    it('every mode after a previous transaction, the last one raising: 5 rows, 500', async () => {
      expect((await saved('/atomic/in-a-row', 500)).map((text) => text[0])).toEqual([
        '1',
        '2',
        '4',
        '5',
        '6',
      ]);
      expect(count(INSERT)).toBe(9);
      const [one, two, four, five, six] = await transactions();
      expect(new Set([one, two, four, five]).size).toBe(4);
      expect(six).toBe(five);
    });

    it('@Atomic() in a request that fails after it: 1 row', async () => {
      expect(await saved('/atomic/decorated', 409)).toEqual(['committed by @Atomic()']);
    });

    it.each(MODES)('%s without a previous transaction: 1 row', async (mode) => {
      expect(await saved(`/atomic-modes/${mode}/without-previous`, 201)).toEqual(['inside']);
    });

    it.each(MODES)('%s without a previous transaction, the block failing: 0 rows', async (mode) => {
      expect(await saved(`/atomic-modes/${mode}/failing-without-previous`, 201)).toEqual([]);
      expect(count(INSERT)).toBe(1);
    });

    it.each([
      { mode: 'commit', status: 201, texts: ['before', 'inside'], xids: 2 },
      { mode: 'rollback', status: 201, texts: ['inside'], xids: 1 },
      { mode: 'append', status: 201, texts: ['before', 'inside'], xids: 1 },
      { mode: 'raise', status: 500, texts: [], xids: 0 },
    ])('$mode after a previous transaction: $texts', async ({ mode, status, texts, xids }) => {
      expect(await saved(`/atomic-modes/${mode}/after-previous`, status)).toEqual(texts);
      expect(new Set(await transactions()).size).toBe(xids);
    });

    // Not compared by xmin: a savepoint writes under a transaction id of its own.
    it('savepoint after a previous transaction: 2 rows of one COMMIT', async () => {
      expect(await saved('/atomic-modes/savepoint/after-previous', 201)).toEqual([
        'before',
        'inside',
      ]);
      expect(ends()).toEqual(['commit']);
    });

    it.each([
      { mode: 'commit', status: 201, texts: ['before'] },
      { mode: 'rollback', status: 201, texts: [] },
      { mode: 'append', status: 201, texts: [] },
      { mode: 'raise', status: 500, texts: [] },
      { mode: 'savepoint', status: 201, texts: ['before'] },
    ])(
      '$mode after a previous transaction, the block failing: $texts',
      async ({ mode, status, texts }) => {
        expect(await saved(`/atomic-modes/${mode}/failing-after-previous`, status)).toEqual(texts);
      },
    );

    it('an unknown mode: 400, and no statement', async () => {
      expect(await saved('/atomic-modes/nope/after-previous', 400)).toEqual([]);
      expect(statements).toEqual([]);
    });
  });

  describe('sessions outside the context', () => {
    it('newSession(), one INSERT committed and one not: 1 row', async () => {
      expect(await saved('/own-session', 201)).toEqual(['committed']);
      expect(count(INSERT)).toBe(2);
    });
  });

  describe('failures', () => {
    it.each([
      { path: '/failures/exception', status: 500, situation: 'an exception' },
      { path: '/failures/server-error', status: 500, situation: 'an HttpException of 500' },
      { path: '/failures/client-error', status: 409, situation: 'an HttpException of 409' },
      { path: '/failures/status-only', status: 422, situation: 'the status 422 alone' },
    ])('$situation after an INSERT: 0 rows', async ({ path, status }) => {
      expect(await saved(path, status)).toEqual([]);
      expect(count(INSERT)).toBe(1);
      expect(ends()).toEqual(['rollback']);
    });
  });

  describe('jobs', () => {
    it.each([
      { path: '/jobs/decorated', status: 201, rowCount: 2, situation: '@WithDbContext()' },
      {
        path: '/jobs/called',
        status: 500,
        rowCount: 1,
        situation: 'dbContext.run(), failing after it',
      },
      { path: '/jobs/failing', status: 500, rowCount: 0, situation: 'a job that fails' },
    ])('$situation, triggered over HTTP, rows: $rowCount', async ({ path, status, rowCount }) => {
      expect(await saved(path, status)).toHaveLength(rowCount);
      expect(ends()).toEqual([rowCount === 0 ? 'rollback' : 'commit']);
    });

    it('no request and no scheduler, a plain call of the job: 2 rows of one transaction', async () => {
      await app.get(NightlyJob).decorated();

      expect(await rows()).toHaveLength(2);
      expect(new Set(await transactions()).size).toBe(1);
    });

    it('a plain call of a job that fails: 0 rows, and its own error', async () => {
      await expect(app.get(NightlyJob).failing()).rejects.toThrow('The job fails.');
      expect(await rows()).toHaveLength(0);
    });
  });

  describe('services called without HTTP', () => {
    it('in dbContext.run(): what they write is saved', async () => {
      await app.get(DbContext).run(() => app.get(EntriesService).add('straight'));
      expect(await rows()).toHaveLength(1);
    });

    it('without a context: an error, and no statement', async () => {
      const work = (): Promise<void> =>
        expect(app.get(EntriesService).add('nowhere')).rejects.toBeInstanceOf(
          DbContextNotActiveError,
        );
      await expectStatements(app, [], work, { withTransactions: true });
      expect(await rows()).toHaveLength(0);
    });
  });
});
