import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Post } from '@nestjs/common';
import {
  ContextTimeoutError,
  DbContext,
  InjectSession,
  ShuttingDownError,
  type DbContextError,
} from 'nestjs-db-context';

import { deferred, type Deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

let hasBegun: Deferred<void>;
let mayGoOn: Deferred<void>;
/** What a statement that was under way, and one that came after the end, were refused with. */
let errors: Promise<DbContextError>[];

const refusalOf = (work: Promise<unknown>): Promise<DbContextError> =>
  work.then(
    () => undefined as never,
    (error: DbContextError) => error,
  );

@Controller()
class WorkController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  /** Two statements of the session, of which the first one is under way and the other one waits for it. */
  @Post('queue')
  async queue(): Promise<void> {
    await this.session.insert(Note, { text: 'undone' });
    errors = [
      refusalOf(this.session.execute('select pg_sleep(30)')),
      refusalOf(this.session.execute('select 1')),
    ];
    hasBegun.resolve();
    await Promise.all(errors);
  }

  @Post('wait')
  async wait(): Promise<void> {
    errors = [refusalOf(this.session.execute('select 1'))];
    hasBegun.resolve();
    await Promise.all(errors);
  }

  @Post('work')
  async work(): Promise<void> {
    await this.session.insert(Note, { text: 'undone' });
    errors = [
      refusalOf(
        this.dbContext.withClient(async (client) => {
          await client.query('select 1');
          hasBegun.resolve();
          await mayGoOn.promise;
        }),
      ),
      mayGoOn.promise.then(() => refusalOf(this.session.insert(Note, { text: 'late' }))),
    ];
    await Promise.all(errors);
  }
}

describe('what ended a context under its running code is what that is told', () => {
  let world: TestWorld;

  beforeEach(() => {
    hasBegun = deferred();
    mayGoOn = deferred();
  });
  afterEach(async () => {
    mayGoOn.resolve();
    await world.close();
  });

  const start = async (
    options: Parameters<typeof startWorld>[1],
    limits: Parameters<typeof startWorld>[0] = {},
  ): Promise<void> => {
    world = await startWorld(
      { drainTimeoutMs: 200, ...limits },
      { controllers: [WorkController], ...options },
    );
  };
  const ended = async (): Promise<readonly DbContextError[]> => {
    await waitFor(() => world.pool().checkedOut === 0, { what: 'its connection to be back' });
    mayGoOn.resolve();
    return Promise.all(errors);
  };
  const expectCause = async (because: string, cause: unknown): Promise<void> => {
    const [underWay, late] = await ended();
    expect(underWay).toMatchObject({ code: 'UNEXPECTED_ROLLBACK', reason: 'context-ended' });
    expect(underWay!.cause).toEqual(cause);
    expect(underWay!.message).toContain(`its context had been ended before, because ${because}`);
    expect(late).toMatchObject({ code: 'SESSION_CLOSED' });
    expect(late!.cause).toEqual(cause);
    expect(late!.message).toContain(`its transaction has ended, because ${because}`);
    expect(late!.message).not.toContain('before the handler returns');
    expect(await world.savedTexts()).toEqual([]);
  };

  it('F3, S4: a client that went away', async () => {
    await start({ onDisconnect: 'rollback' });
    const controller = new AbortController();
    const left = world.fetch('/work', { method: 'POST', signal: controller.signal });
    await hasBegun.promise;
    controller.abort();
    await expect(left).rejects.toMatchObject({ name: 'AbortError' });
    await expectCause(`the client went away (onDisconnect: 'rollback')`, undefined);
  });

  const LEFT = `its transaction has ended, because the client went away (onDisconnect: 'rollback')`;
  const leave = async (path: string, isReady: () => Promise<void>): Promise<void> => {
    const controller = new AbortController();
    const left = world.fetch(path, { method: 'POST', signal: controller.signal });
    await hasBegun.promise;
    await isReady();
    controller.abort();
    await expect(left).rejects.toMatchObject({ name: 'AbortError' });
  };

  it('F3, S4: a client that went away, for the statement under way and for the one behind it', async () => {
    await start({ onDisconnect: 'rollback' });
    await leave('/queue', () =>
      waitFor(
        async () =>
          (
            await world.database.query(
              `select from pg_stat_activity where query = 'select pg_sleep(30)' and state = 'active'`,
            )
          ).length === 1,
        { what: 'the statement to be under way' },
      ),
    );
    const [underWay, behind] = await Promise.all(errors);
    expect(underWay).toMatchObject({ code: 'SESSION_CLOSED' });
    expect(underWay!.message).toContain(`${LEFT}, and this query was broken off.`);
    expect(behind).toMatchObject({ code: 'SESSION_CLOSED' });
    expect(behind!.message).toContain(`${LEFT}, and this statement was not sent.`);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F3, S4: a client that went away, for the statement that waits for a connection', async () => {
    await start({ onDisconnect: 'rollback' }, { poolMax: 1 });
    const busy = deferred();
    const holds = deferred();
    const holder = world.dbContext.run(async () => {
      await world.session().execute('select 1');
      holds.resolve();
      await busy.promise;
    });
    await holds.promise;
    await leave('/wait', () =>
      waitFor(() => world.pool().waiting === 1, { what: 'the statement to wait for a connection' }),
    );
    const [waiting] = await Promise.all(errors);
    expect(waiting).toMatchObject({ code: 'SESSION_CLOSED' });
    expect(waiting!.message).toContain(`${LEFT}, and this statement was not sent.`);
    busy.resolve();
    await holder;
  });

  it('F3, F6: contextTimeoutMs', async () => {
    await start({ contextTimeoutMs: 200 });
    const answer = world.fetch('/work', { method: 'POST' });
    await hasBegun.promise;
    await expectCause(
      'it was open for longer than contextTimeoutMs',
      expect.any(ContextTimeoutError),
    );
    expect((await answer).status).toBe(503);
  });

  it('F3, H3: a shutdown; run() rejects with it as its cause', async () => {
    await start({ shutdownTimeoutMs: 100 });
    const run = refusalOf(
      world.dbContext.run(async () => {
        await world.session().insert(Note, { text: 'of run()' });
        await mayGoOn.promise;
      }),
    );
    const answer = world.fetch('/work', { method: 'POST' }).catch(() => undefined);
    await hasBegun.promise;
    const closing = world.app.close();
    await expectCause('the application shuts down', expect.any(ShuttingDownError));
    await closing;
    expect(await run).toBeInstanceOf(ShuttingDownError);
    await answer;
  });
});
