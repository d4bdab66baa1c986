import { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';
import { TestTransaction } from 'nestjs-db-context/testing';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const held = { begun: deferred(), mayEnd: deferred() };

@Controller()
class HeldController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('held')
  async hold(): Promise<void> {
    await this.session.insert(Note, { text: 'before' });
    held.begun.resolve();
    await held.mayEnd.promise;
    await this.session.insert(Note, { text: 'after' });
  }
}

/** Tests that end while something of them goes on, as a test that times out does. */
describe('the end of a shared test transaction', () => {
  let world: TestWorld;

  beforeAll(async () => {
    world = await startWorld({ drainTimeoutMs: 60_000 }, { controllers: [HeldController] });
  });
  afterAll(() => world.close());

  it('T1: cancels the statement that the test left running, and its locks go with it', async () => {
    const ended = await TestTransaction.begin(world.app);
    await ended.session().insert(Note, { text: 'mine' });
    const running = ended.session().execute('select pg_sleep(60)');
    const failure = expect(running).rejects.toMatchObject({ code: '57014' });
    const isRunning = (): Promise<unknown[]> =>
      world.database.query(
        `select 1 from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()
           and state = 'active' and query like '%pg_sleep(60)%'`,
      );
    await waitFor(async () => (await isRunning()).length === 1, { what: 'the statement to run' });
    await expect(ended.end()).rejects.toMatchObject({
      name: 'TestIsolationError',
      message: expect.stringContaining('1 statement(s) had not been answered when the test ended'),
    });
    await failure;
    expect(await isRunning()).toEqual([]);

    const next = await TestTransaction.begin(world.app);
    // The same value of a unique column: it would wait for the transaction that still holds it.
    await next.session().insert(Note, { text: 'mine' });
    expect(await next.session().count(Note)).toBe(1);
    await next.end();
  });

  it('T1: a request that goes on afterwards is refused, and the next test does not notice', async () => {
    const ended = await TestTransaction.begin(world.app);
    const response = world.fetch('/held', { method: 'POST' });
    await held.begun.promise;
    await expect(ended.end()).rejects.toThrow(
      '1 unit(s) of work that began in the test were still open when the test ended: HeldController.hold.',
    );

    const next = await TestTransaction.begin(world.app);
    await world.dbContext.run(async () => {
      await world.session().insert(Note, { text: 'of the next test' });
      held.mayEnd.resolve();
      expect((await response).status).toBe(500);
      // Its rollback has the name of this savepoint, which is still open.
      expect(await world.session().count(Note)).toBe(1);
    });
    expect(await next.session().count(Note)).toBe(1);
    await next.end();
    expect(await world.savedTexts()).toEqual([]);
  });

  it('T1: comes first where the application is closed before, and is done once', async () => {
    const db = await TestTransaction.begin(world.app);
    await db.session().insert(Note, { text: 'gone' });
    // It would wait for drainTimeoutMs, a minute, for a client that nobody gives back.
    await world.app.close();
    await world.serverIsIdle();
    await db.end();
    expect(await world.savedTexts()).toEqual([]);
  });
});
