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

  const start = async (options: Parameters<typeof startWorld>[1]): Promise<void> => {
    world = await startWorld(
      { drainTimeoutMs: 200 },
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
