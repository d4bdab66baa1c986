import { Controller, Post } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { CommitOn, DbContext, HookTimeoutError, InjectSession } from 'nestjs-db-context';

import { deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { fail, useWorld } from '../support/use-world.js';

@Controller()
class HookController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('hooked')
  hooked(): string {
    this.session.persist(new Note('saved'));
    this.dbContext.onCommit(() => {
      calls.push('first');
      throw new Error('the hook failed');
    });
    this.dbContext.onCommit(async () => {
      await this.session.insert(Note, { text: 'by the second hook' });
      calls.push('second');
    });
    return 'ok';
  }

  @CommitOn((async () => true) as never)
  @Post('promised')
  promised(): string {
    this.session.persist(new Note('undone'));
    return 'ok';
  }
}

const shared = useWorld(() =>
  startWorld(
    {},
    {
      controllers: [HookController],
      hookTimeoutMs: 200,
      beforeCommit: (manager, name) => {
        called.push(name);
        manager.persist(new Note(`called ${called.length}`));
        if (veto !== undefined) {
          throw veto;
        }
      },
    },
  ),
);
const { run, insert } = shared;
let world: TestWorld;
let session: EntityManager;
let dbContext: DbContext;
const log = new LogRecorder();
let calls: string[] = [];
let called: string[] = [];
let veto: Error | undefined;

beforeAll(() => {
  ({ world, session, dbContext } = shared);
  world.app.useLogger(log);
});

beforeEach(() => {
  log.lines.length = 0;
  calls = [];
  called = [];
  veto = undefined;
});

const call = (name: string) => () => void calls.push(name);
const saved = async (): Promise<string[]> =>
  (await world.savedTexts()).filter((text) => !text.startsWith('called'));

describe('before a commit', () => {
  it('C5: the option is called once for each session that commits, inside its transaction', async () => {
    await run(() => insert('a'));
    expect(called).toEqual(['default']);
    expect(await world.savedTexts()).toEqual(['a', 'called 1']);
    await run(async () => void session.getUnitOfWork());
    await run(async () => {
      await insert('b');
      fail();
    }).catch(() => undefined);
    expect(called).toEqual(['default']);
    await dbContext.runInNewContext(() => insert('c'));
    await run(async () => {
      await insert('d');
      await session.commit();
    });
    expect(called).toHaveLength(3);
    await dbContext.newAtomicSession((em: EntityManager) => em.insert(Note, { text: 'e' }));
    await dbContext.newSession((em: EntityManager) => em.insert(Note, { text: 'undone' }));
    expect(called).toHaveLength(4);
    expect(await world.savedTexts()).toContain('called 4');
  });

  it('C5: the option vetoes by throwing', async () => {
    veto = new Error('veto');
    await expect(run(() => insert('a'))).rejects.toBe(veto);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('C5: a hook runs inside the transaction, and vetoes by throwing', async () => {
    await run(async () => {
      await insert('a');
      dbContext.beforeCommit(() => insert('by the hook'));
    });
    const error = new Error('veto');
    await expect(
      run(async () => {
        await insert('b');
        dbContext.beforeCommit(() => Promise.reject(error));
        dbContext.onRollback(call('rolled back'));
      }),
    ).rejects.toBe(error);
    expect(await saved()).toEqual(['a', 'by the hook']);
    expect(calls).toEqual(['rolled back']);
  });
});

describe('what is asked at an end', () => {
  const never = (): Promise<never> => new Promise(() => undefined);

  it('C5, F6: a beforeCommit hook that never returns vetoes the commit', async () => {
    for (const options of [{}, { connection: 'default' }]) {
      const error: unknown = await run(async () => {
        await insert('undone');
        dbContext.beforeCommit(never, options);
      }).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(HookTimeoutError);
      expect(error).toMatchObject({
        code: 'HOOK_TIMEOUT',
        hook: 'a beforeCommit hook',
        timeoutMs: 200,
      });
    }
    expect(await world.savedTexts()).toEqual([]);
  });

  it('S2: a policy that returns a promise is refused, rather than taken for a yes', async () => {
    await expect(
      dbContext.run(() => insert('undone'), { commitOn: (async () => true) as never }),
    ).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('commitOn returned a promise for dbContext.run()'),
    });
    const response = await world.fetch('/promised', { method: 'POST' });
    expect(response.status).toBe(500);
    expect(await world.savedTexts()).toEqual([]);
  });
});

describe('after the end of a context', () => {
  it('C5: onCommit runs in order after the commit, onRollback after the rollback', async () => {
    await run(async () => {
      await insert('a');
      dbContext.onCommit(async () => {
        calls.push(`1 sees ${(await saved()).length}`);
      });
      dbContext.onRollback(call('never'));
      dbContext.onCommit(call('2'));
    });
    expect(calls).toEqual(['1 sees 1', '2']);
    await run(async () => {
      await insert('b');
      dbContext.onCommit(call('never'));
      dbContext.onRollback(call('rolled back'));
      fail();
    }).catch(() => undefined);
    expect(calls).toEqual(['1 sees 1', '2', 'rolled back']);
  });

  it('C5: onCommit runs at a successful end also when no transaction was opened', async () => {
    await run(async () => dbContext.onCommit(call('ran')));
    expect(calls).toEqual(['ran']);
  });

  it('C5: a hook that throws is logged; the client gets its 2xx and the next hook runs', async () => {
    const response = await world.fetch('/hooked', { method: 'POST' });
    expect([response.status, await response.text()]).toEqual([201, 'ok']);
    expect(calls).toEqual(['first', 'second']);
    expect(log.ofLibrary('error').join()).toContain('the hook failed');
    expect(await saved()).toEqual(['saved', 'by the second hook']);
  });

  it('C5, F6: a hook that never returns is given up on', async () => {
    const never = deferred();
    await run(async () => {
      dbContext.onCommit(() => never.promise);
      dbContext.onCommit(call('next'));
    });
    expect(calls).toEqual(['next']);
    expect(log.ofLibrary('error').join()).toContain('did not return within 200 ms');
    never.resolve();
  });

  it('C5: a commit that fails runs onRollback', async () => {
    await run(async () => {
      await insert('a');
      await insert('a').catch(() => undefined);
      dbContext.onCommit(call('never'));
      dbContext.onRollback(call('rolled back'));
    }).catch(() => undefined);
    expect(calls).toEqual(['rolled back']);
  });

  it('C5: neither runs when the outcome of the commit is unknown', async () => {
    world.proxy.dropAnswerTo(/^commit/);
    await run(async () => {
      await insert('a');
      dbContext.onCommit(call('never'));
      dbContext.onRollback(call('never'));
    }).catch((error: Error) => calls.push(error.constructor.name));
    expect(calls).toEqual(['CommitOutcomeUnknownError']);
  });
});

describe('hooks and parts of a context', () => {
  it('C5: are discarded with the savepoint that they were registered in', async () => {
    await run(async () => {
      await session
        .transactional(async () => {
          dbContext.onCommit(call('undone'));
          dbContext.onRollback(call('undone, too'));
          fail();
        })
        .catch(() => undefined);
      await session.transactional(async () => {
        dbContext.onCommit(call('kept'));
      });
      await insert('a');
    });
    expect(calls).toEqual(['kept']);
  });

  it('C5: are discarded with the transaction of an atomic() block that was rolled back', async () => {
    await run(async () => {
      await dbContext
        .atomic(async () => {
          await insert('undone');
          dbContext.onCommit(call('never'));
          dbContext.onRollback(call('rolled back'));
          fail();
        })
        .catch(() => undefined);
      expect(calls).toEqual(['rolled back']);
      await insert('kept');
    });
    expect(calls).toEqual(['rolled back']);
    expect(await saved()).toEqual(['kept']);
  });

  it('C5: those of a connection run at its early commit, those of the context at its end', async () => {
    await run(async () => {
      await insert('a');
      dbContext.onCommit(call('connection'), { connection: 'default' });
      dbContext.onCommit(call('context'));
      dbContext.beforeCommit(call('before'), { connection: 'default' });
      await session.commit();
      expect(calls).toEqual(['before', 'connection']);
      await insert('b');
    });
    expect(calls).toEqual(['before', 'connection', 'context']);
  });

  it('C5: those registered before an early commit are not undone by a later rollback', async () => {
    await run(async () => {
      await insert('a');
      dbContext.onCommit(call('ran'));
      await dbContext.commitAll();
      await insert('b');
      await dbContext.rollbackAll();
    });
    expect(calls).toEqual(['ran']);
    expect(await saved()).toEqual(['a']);
  });

  it('C5: close() is a rollback', async () => {
    await run(async () => {
      await insert('a');
      dbContext.onRollback(call('rolled back'));
      dbContext.onCommit(call('never'));
      await dbContext.close();
    });
    expect(calls).toEqual(['rolled back']);
  });

  it('C3: a new context has hooks of its own', async () => {
    await run(async () => {
      await dbContext.runInNewContext(async () => {
        await insert('inner');
        dbContext.onCommit(call('inner'));
      });
      expect(calls).toEqual(['inner']);
      fail();
    }).catch(() => undefined);
    expect(calls).toEqual(['inner']);
  });
});
