import type { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Get, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';
import {
  TestTransaction,
  useTestTransaction,
  type ConcurrentTestTransactions,
} from 'nestjs-db-context/testing';

import { concurrentBlock, type ConcurrentBlock } from '../support/concurrent-block.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { RunnerHooks } from '../support/runner-hooks.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

const POOL_MAX = 2;
const NAMES = ['default', 'audit'];

/** What requests wait for that have set a tenant. */
let tenantSet = deferred();

@Controller('notes')
class NotesController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('audit') private readonly audit: EntityManager,
  ) {}

  @Post()
  async add(@Body() { text }: { text: string }): Promise<void> {
    await this.session.insert(Note, { text });
    await this.audit.insert(Note, { text: `audit of ${text}` });
  }
}

@Controller('tenant')
class TenantController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get()
  async tenant(): Promise<unknown> {
    const [row] = await this.session.execute<unknown[]>(
      `select coalesce(current_setting('app.tenant', true), '') as value`,
    );
    return row;
  }

  @Post()
  async setTenant(): Promise<void> {
    // The text alone shows it, unlike that of SET, which the server answers by this name.
    await this.session.execute(`select set_config('app.tenant', 'a', false)`);
    await tenantSet.promise;
  }
}

describe.each(['express', 'fastify'] as const)(
  'T1: two blocks of tests on one application, over %s',
  (adapter) => {
    let database: TestDatabase;
    let app: TestApp;

    beforeAll(async () => {
      database = await createTestDatabase();
      await database.query(NOTE_SCHEMA);
      const limits = { poolMax: POOL_MAX };
      app = await startApp({
        adapter,
        connections: NAMES.map((name) => noteConnection(database.url, { ...limits, name })),
        controllers: [NotesController, TenantController],
      });
    });
    afterAll(async () => {
      await app.close();
      await database.drop();
    });
    afterEach(async () => {
      expect(await database.query('select text from note')).toEqual([]);
      for (const name of NAMES) {
        expect(app.pool(name)).toMatchObject({ checkedOut: 0, waiting: 0 });
      }
    });

    const insert = (text: string): Promise<unknown> =>
      app.dbContext.run(() => app.session().insert(Note, { text }));
    const post = (text: string, headers: Readonly<Record<string, string>>): Promise<Response> =>
      app.fetch('/notes', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ text }),
      });
    const openBlocks = async (): Promise<[ConcurrentBlock, ConcurrentBlock]> => {
      const blocks = ['orders', 'customers'].map((testName) =>
        concurrentBlock(() => app.app, { testName }),
      );
      await Promise.all(blocks.map(({ hooks }) => hooks.run('beforeAll')));
      return blocks as [ConcurrentBlock, ConcurrentBlock];
    };
    const writesItsOwn = async (db: ConcurrentTestTransactions, name: string): Promise<void> => {
      await db.session().insert(Note, { text: `${name} prepared` });
      expect((await post(`${name} posted`, db.headers())).status).toBe(201);
      await db.allow(db.token, () => insert(`${name} by a job`));
      const found = await db.session().find(Note, {}, { orderBy: { id: 'asc' } });
      expect(found.map(({ text }) => text)).toEqual(
        ['prepared', 'posted', 'by a job'].map((each) => `${name} ${each}`),
      );
      expect(await db.session('audit').count(Note)).toBe(1);
    };

    it('those at the same time know their own tests, and wait for connections as one', async () => {
      const blocks = await openBlocks();
      let together = 0;
      let most = 0;
      const runs = blocks.flatMap(({ db, runTest }, block) =>
        [1, 2, 3].map((n) =>
          runTest(async () => {
            most = Math.max(most, ++together);
            await writesItsOwn(db, `${block}.${n}`);
            together -= 1;
          }),
        ),
      );
      await Promise.all(runs);
      expect(most).toBe(POOL_MAX);
      await Promise.all(blocks.map(({ hooks }) => hooks.run('afterAll')));
    });

    it('a test that waits for one of the other block names it, and begins when that has ended', async () => {
      const [first, second] = await openBlocks();
      const mayEnd = deferred();
      const begun = [deferred(), deferred()];
      const holding = begun.map(({ resolve }) =>
        first.runTest(async () => {
          resolve();
          await mayEnd.promise;
        }),
      );
      await Promise.all(begun.map(({ promise }) => promise));
      second.db.test('is short', () => insert('short'), 300);
      await expect(second.bodies[0]!()).rejects.toMatchObject({
        code: 'TEST_TIMEOUT',
        message: expect.stringContaining('has 2, held by: "orders", "orders".'),
      });
      const waiting = second.runTest(() => writesItsOwn(second.db, 'waited'));
      mayEnd.resolve();
      await Promise.all([...holding, waiting]);
      await Promise.all([first, second].map(({ hooks }) => hooks.run('afterAll')));
    });

    it('the end of one leaves the other one as it was, and its late work is refused', async () => {
      const [first, second] = await openBlocks();
      const hasBegun = deferred();
      const firstIsOver = deferred<Readonly<Record<string, string>>>();
      const late = second.runTest(async () => {
        hasBegun.resolve();
        const ended = await firstIsOver.promise;
        expect((await post('of the first block', ended)).status).toBe(500);
        await writesItsOwn(second.db, 'second');
      });
      await hasBegun.promise;
      let headers = {};
      let token = '';
      await first.runTest(() => {
        headers = first.db.headers();
        ({ token } = first.db);
      });
      await expect(
        second.db.allow(token, () => insert('of the first block')),
      ).rejects.toMatchObject({ reason: 'unknown-test' });
      await first.hooks.run('afterAll');
      firstIsOver.resolve(headers);
      await late;
      await expect(second.hooks.run('afterAll')).rejects.toMatchObject({ reason: 'unknown-test' });
    });

    it('a shared transaction that begins while tests run at the same time is refused', async () => {
      const { hooks, db, runTest } = concurrentBlock(() => app.app);
      await hooks.run('beforeAll');
      const refused = {
        code: 'TEST_ISOLATION',
        connectionName: 'default',
        message: expect.stringMatching(
          /with \{ concurrent: true \}.* Tests that share a transaction run one after another/,
        ),
      };
      await expect(TestTransaction.begin(app.app)).rejects.toMatchObject(refused);
      await runTest(async () => {
        await expect(TestTransaction.begin(app.app)).rejects.toMatchObject(refused);
        await writesItsOwn(db, 'goes on');
      });
      await hooks.run('afterAll');
      const begun = await TestTransaction.begin(app.app);
      await begun.end();
    });

    describe('and what a request leaves in the session of its connection', () => {
      const setTenant = async (): Promise<void> => {
        expect((await app.fetch('/tenant', { method: 'POST' })).status).toBe(201);
      };
      const tenantIsGone = async (): Promise<void> => {
        await waitFor(() => app.pool().checkedOut === 0, {
          what: 'the connections to be given back',
        });
        const [first, second] = await Promise.all([app.fetch('/tenant'), app.fetch('/tenant')]);
        expect(await first.json()).toMatchObject({ value: '' });
        expect(await second.json()).toMatchObject({ value: '' });
      };
      const runBlock = async (): Promise<void> => {
        const { hooks, db, runTest } = concurrentBlock(() => app.app);
        await hooks.run('beforeAll');
        await runTest(() => writesItsOwn(db, 'own'));
        await hooks.run('afterAll');
      };
      beforeEach(() => {
        tenantSet = deferred();
      });

      it('F7: is reset after a block, and between the tests of one that may commit', async () => {
        tenantSet.resolve();
        await runBlock();
        await setTenant();
        await tenantIsGone();
        const hooks = new RunnerHooks();
        const db = useTestTransaction(() => app.app, { ...hooks.options, outside: 'commit' });
        await hooks.run('beforeAll');
        await hooks.runTest(() => db.session().insert(Note, { text: 'own' }));
        await setTenant();
        await tenantIsGone();
        await hooks.run('afterAll');
        await setTenant();
        await tenantIsGone();
      });

      it('F7: is reset where the request began after one block, and ends after the next', async () => {
        await runBlock();
        const held = setTenant();
        await waitFor(() => app.pool().checkedOut === 1, {
          what: 'the request to have its connection',
        });
        const { hooks, db, runTest } = concurrentBlock(() => app.app);
        await hooks.run('beforeAll');
        await runTest(() => db.session().insert(Note, { text: 'own' }));
        await hooks.run('afterAll');
        tenantSet.resolve();
        await held;
        await tenantIsGone();
      });
    });
  },
);
