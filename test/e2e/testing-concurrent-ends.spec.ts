import type { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';
import { useTestTransaction } from 'nestjs-db-context/testing';

import { concurrentBlock, type ConcurrentBlock } from '../support/concurrent-block.js';
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
}

describe.each(['express', 'fastify'] as const)(
  'T1: concurrent tests whose bodies go on after they have timed out, over %s',
  (adapter) => {
    let world: TestWorld;

    beforeAll(async () => {
      world = await startWorld(
        { poolMax: 2, acquireTimeoutMs: 1_000 },
        { adapter, controllers: [NotesController] },
      );
    });
    afterEach(async () => {
      await world.database.query('delete from note');
    });
    afterAll(() => world.close());

    const insert = (text: string): Promise<unknown> =>
      world.dbContext.run(() => world.session().insert(Note, { text }));
    const post = (
      text: string,
      headers: Readonly<Record<string, string>> = {},
    ): Promise<Response> =>
      world.fetch('/notes', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ text }),
      });

    /** A block of concurrent tests, whose bodies the spec runs itself. */
    const openBlock = async (): Promise<ConcurrentBlock> => {
      const block = concurrentBlock(() => world.app, { testName: 'a test that hangs' });
      await block.hooks.run('beforeAll');
      return block;
    };

    /** A block with one test whose body goes on after the afterAll(). */
    const leaveZombie = async (): Promise<{
      readonly headers: Readonly<Record<string, string>>;
      /** Runs work as a part of the body. */
      readonly goOn: <T>(work: () => T) => Promise<T>;
      readonly end: () => Promise<void>;
    }> => {
      const { hooks, db, runTest } = await openBlock();
      const hasBegun = deferred<Readonly<Record<string, string>>>();
      const next = deferred<() => unknown>();
      const result = deferred<unknown>();
      const running = runTest(async () => {
        hasBegun.resolve(db.headers());
        const work = await next.promise;
        result.resolve(Promise.resolve().then(work));
      });
      const headers = await hasBegun.promise;
      await hooks.run('afterAll');
      return {
        headers,
        goOn: <T>(work: () => T) => {
          next.resolve(work);
          return result.promise as Promise<T>;
        },
        end: () => running,
      };
    };

    it('a request of theirs is refused after the afterAll(), and others are served again', async () => {
      const { headers, goOn, end } = await leaveZombie();
      expect((await post('zombie', headers)).status).toBe(500);
      await expect(goOn(() => insert('zombie by a service'))).rejects.toMatchObject({
        code: 'OUTSIDE_TEST',
        reason: 'test-ended',
      });
      expect((await post('ordinary')).status).toBe(201);
      await insert('by a service');
      expect(await world.savedTexts()).toEqual(['ordinary', 'by a service']);
      await end();
    });

    it('nothing of them reaches the next block, whose tests run one after another', async () => {
      const { headers, goOn, end } = await leaveZombie();
      const next = new RunnerHooks();
      const db = useTestTransaction(() => world.app, next.options);
      await next.run('beforeAll');
      await next.runTest(async () => {
        expect((await post('zombie', headers)).status).toBe(500);
        await expect(goOn(() => insert('zombie by a service'))).rejects.toMatchObject({
          reason: 'test-ended',
        });
        expect((await post('own')).status).toBe(201);
        expect(await db.session().find(Note, {})).toMatchObject([{ text: 'own' }]);
      });
      await next.run('afterAll');
      expect(await world.savedTexts()).toEqual([]);
      await end();
    });

    it('nothing of them reaches the next block of concurrent tests', async () => {
      const { headers, goOn, end } = await leaveZombie();
      const { hooks, db, runTest } = await openBlock();
      await runTest(async () => {
        expect((await post('zombie', headers)).status).toBe(500);
        expect((await post('own', db.headers())).status).toBe(201);
        expect(await db.session().find(Note, {})).toMatchObject([{ text: 'own' }]);
      });
      await expect(goOn(() => insert('zombie by a service'))).rejects.toMatchObject({
        reason: 'test-ended',
      });
      await hooks.run('afterAll');
      expect(await world.savedTexts()).toEqual([]);
      await end();
    });

    it('those that wait for a connection at the afterAll() do not begin', async () => {
      const { hooks, runTest } = await openBlock();
      const mayEnd = deferred();
      const begun = [deferred(), deferred()];
      const holding = begun.map(({ resolve }) =>
        runTest(async () => {
          resolve();
          await mayEnd.promise;
        }),
      );
      await Promise.all(begun.map(({ promise }) => promise));
      let hasRun = false;
      const waiting = runTest(() => {
        hasRun = true;
      }).catch((error: unknown) => error);
      await hooks.run('afterAll');
      const client = await (await world.connection().pool()).connect();
      await client.query(`insert into note (text) values ('past the sessions')`);
      client.release();
      expect(await world.savedTexts()).toEqual(['past the sessions']);
      expect(await waiting).toMatchObject({
        code: 'TEST_TIMEOUT',
        message: expect.stringContaining('"a test that hangs"'),
      });
      expect(hasRun).toBe(false);
      mayEnd.resolve();
      await Promise.all(holding);
    });
  },
);
