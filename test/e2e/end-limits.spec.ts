import { Socket } from 'node:net';

import { IsolationLevel } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Post } from '@nestjs/common';
import {
  CommitOutcomeUnknownError,
  DbTransaction,
  InjectSession,
  TransactionTimeoutError,
} from 'nestjs-db-context';

import { deferred, type Deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { noteConnection, startApp } from '../support/test-app.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const TRANSACTION_TIMEOUT_MS = 300;
/** What a request has to be answered within that should end after 300 ms. */
const PATIENCE_MS = 4_000;

@Controller()
class LimitsController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('persisted')
  persisted(): string {
    this.session.persist(new Note('never'));
    return 'ok';
  }

  @DbTransaction({ readOnly: true })
  @Get('read-only')
  async readOnly(): Promise<number> {
    return this.session.count(Note);
  }

  @Get('read')
  async read(): Promise<number> {
    return this.session.count(Note);
  }
}

/** What a promise comes to within {@link PATIENCE_MS}. */
async function outcomeOf(work: Promise<unknown>): Promise<unknown> {
  let timer: NodeJS.Timeout;
  const patience = new Promise((resolve) => {
    timer = setTimeout(resolve, PATIENCE_MS, 'still waiting');
  });
  const outcome = work.then(
    () => 'resolved',
    (error: unknown) => error,
  );
  return Promise.race([outcome, patience]).finally(() => clearTimeout(timer));
}

describe('a flush subscriber that hangs before anything was sent', () => {
  const at = useWorld(() =>
    startWorld(
      { transactionTimeoutMs: TRANSACTION_TIMEOUT_MS },
      { controllers: [LimitsController] },
    ),
  );
  type FlushEvent = 'beforeFlush' | 'onFlush';
  let hangsIn: FlushEvent | undefined;
  let mayGoOn: Deferred<void>;

  const hang = (event: FlushEvent) => async (): Promise<void> => {
    if (hangsIn === event) {
      hangsIn = undefined;
      await mayGoOn.promise;
    }
  };
  beforeAll(() => {
    at.world
      .connection()
      .orm.em.getEventManager()
      .registerSubscriber({
        beforeFlush: hang('beforeFlush'),
        onFlush: hang('onFlush'),
      });
  });
  beforeEach(() => {
    mayGoOn = deferred();
  });
  afterEach(() => {
    // So that even a test that has failed leaves nothing behind.
    mayGoOn.resolve();
  });

  const ways: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['the end of the context', async () => at.session.persist(new Note('never'))],
    [
      'flush()',
      async () => {
        at.session.persist(new Note('never'));
        await at.session.flush();
      },
    ],
    [
      'commit()',
      async () => {
        at.session.persist(new Note('never'));
        await at.session.commit();
      },
    ],
    [
      'a find() that flushes first',
      async () => {
        at.session.persist(new Note('never'));
        await at.session.find(Note, {});
      },
    ],
    [
      'em.transactional()',
      () => at.session.transactional(async (em) => em.persist(new Note('never'))),
    ],
    [
      'atomic()',
      () => at.dbContext.atomic(async (em: EntityManager) => em.persist(new Note('never'))),
    ],
  ];
  const cells = (['beforeFlush', 'onFlush'] as const).flatMap((event) =>
    ways.map(([way, work]) => [event, way, work] as const),
  );

  it.each(cells)('F6: %s of %s is ended in time', async (event, _, work) => {
    hangsIn = event;
    const request = at.run(work);
    const outcome = await outcomeOf(request);
    mayGoOn.resolve();
    await request.catch(() => undefined);
    expect(outcome).toBeInstanceOf(TransactionTimeoutError);
    expect(outcome).toMatchObject({
      code: 'TRANSACTION_TIMEOUT',
      connectionName: 'default',
      timeoutMs: TRANSACTION_TIMEOUT_MS,
    });
    // What the subscriber held up was not sent afterwards, either.
    expect(at.world.proxy.log.filter((sql) => sql.includes('never'))).toEqual([]);
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F6, S1: its request is answered', async () => {
    hangsIn = 'onFlush';
    const answer = at.world.fetch('/persisted', { method: 'POST' });
    const outcome = await outcomeOf(answer);
    mayGoOn.resolve();
    const { status } = await answer;
    expect(outcome).toBe('resolved');
    expect(status).toBe(500);
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F6, L3: the deadline is one of work: waiting with entities persisted is none', async () => {
    await at.run(async () => {
      at.session.persist(new Note('kept'));
      // Somebody else's work, which takes longer than a transaction may.
      await at.world.database.query('select pg_sleep(0.5)');
    });
    expect(await at.world.savedTexts()).toEqual(['kept']);
  });
});

describe('a flush that waits for a connection for longer than a transaction may take', () => {
  const at = useWorld(() =>
    startWorld({ poolMax: 1, transactionTimeoutMs: TRANSACTION_TIMEOUT_MS }),
  );

  const flush = (text: string): Promise<unknown> => at.session.persist(new Note(text)).flush();

  it.each<[string, () => Promise<unknown>]>([
    ['a flush', () => flush('first')],
    ['flushes of parallel branches', () => Promise.all([flush('first'), flush('second')])],
    ['a flush after a read', () => at.session.find(Note, {}).then(() => flush('first'))],
  ])('F6: has all of that time once it has one (%s)', async (_, work) => {
    const isHeld = deferred();
    const mayEnd = deferred();
    // Another user of the pool, whose transaction the library does not limit.
    const orm = at.world.connection().orm;
    const holder = orm.em.fork().transactional(async (em) => {
      await (em as EntityManager).execute('select 1');
      isHeld.resolve();
      await mayEnd.promise;
    });
    await isHeld.promise;
    const waiter = at.run(work);
    await waitFor(() => at.world.pool().waiting === 1, { what: 'the flush to wait' });
    // It was set after the timer of the limit, so that it fires after it.
    await new Promise((resolve) => setTimeout(resolve, TRANSACTION_TIMEOUT_MS + 50));
    mayEnd.resolve();
    await holder;
    await waiter;
    expect(await at.world.savedTexts()).toContain('first');
  });
});

describe('the answer to the COMMIT of what has only read', () => {
  const at = useWorld(() => startWorld({ endTimeoutMs: 300 }, { controllers: [LimitsController] }));

  beforeAll(async () => {
    await at.world.database.query(`
      create function writes() returns int language sql as
        $$ insert into note (text) values ('by a function') returning id $$;
      create view writing as select writes() as id`);
    // After the first loss the catalogue is asked on another connection, which stays in the pool.
    at.world.proxy.dropAnswerTo(/^commit/);
    await at.run(() => at.session.find(Note, {}));
    expect(at.world.pool()).toMatchObject({ checkedOut: 0, idle: 1 });
  });
  afterEach(() => {
    at.world.proxy.disarm();
    at.world.proxy.heal();
  });

  const losses = [
    ['lost with its connection', () => at.world.proxy.dropAnswerTo(/^commit/)],
    ['never there', () => at.world.proxy.arm('lose-answer', /^commit/)],
    ['lost as COMMIT leaves', () => at.world.proxy.cutBefore(/^commit/)],
  ] as const;

  const readOnly = (work: (em: EntityManager) => Promise<unknown>): Promise<unknown> =>
    at.run(() => at.dbContext.atomic((em: EntityManager) => work(em), { readOnly: true }));
  const undeclared = (work: (em: EntityManager) => Promise<unknown>): Promise<unknown> =>
    at.run(() => work(at.session));

  const reads: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['declared read-only: find()', () => readOnly((em) => em.find(Note, {}))],
    [
      'declared read-only: a function',
      () => readOnly((em) => em.execute('select txid_current_if_assigned()')),
    ],
    [
      'declared read-only: em.transactional()',
      () => at.run(() => at.session.transactional((em) => em.find(Note, {}), { readOnly: true })),
    ],
    ['not declared: find()', () => undeclared((em) => em.find(Note, {}))],
    ['not declared: count()', () => undeclared((em) => em.count(Note))],
    [
      'not declared: a SELECT',
      () => undeclared((em) => em.execute("select 'insert' as text, count(*) from note")),
    ],
    [
      'not declared: two reads',
      () =>
        undeclared(async (em) => {
          await em.find(Note, {});
          await em.execute('select 1');
        }),
    ],
    [
      'not declared: early commit()',
      () =>
        undeclared(async (em) => {
          await em.find(Note, {});
          await em.commit();
        }),
    ],
    [
      'not declared: newAtomicSession()',
      () => at.dbContext.newAtomicSession((em: EntityManager) => em.find(Note, {})),
    ],
  ];

  it.each(
    losses.flatMap(([loss, lose]) =>
      reads.map(([read, work]) => [loss, read, lose, work] as const),
    ),
  )('F4, F2: %s, it is no unknown outcome (%s)', async (_, _read, lose, work) => {
    lose();
    await work();
    expect(at.world.proxy.log.filter((sql) => sql === 'commit')).toHaveLength(1);
    // Nobody can say that the connection is outside of a transaction.
    expect(at.world.pool()).toMatchObject({ checkedOut: 0, idle: 0, waiting: 0 });
    at.world.proxy.heal();
    expect(await at.run(() => at.session.count(Note))).toBe(0);
  });

  it.each(losses)(
    'F4: %s, it is an unknown outcome where a view may have written',
    async (_, lose) => {
      lose();
      await expect(undeclared((em) => em.execute('select * from writing'))).rejects.toMatchObject({
        constructor: CommitOutcomeUnknownError,
      });
      expect(at.world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
      at.world.proxy.heal();
    },
  );

  it('F4, F6: it is an unknown outcome where the catalogue gives no answer', async () => {
    const world = await startWorld({ endTimeoutMs: 300 });
    try {
      world.proxy.dropAnswerTo(/^commit/);
      world.proxy.arm('lose-answer', /pg_catalog\.pg_operator/);
      await expect(world.dbContext.run(() => world.session().find(Note, {}))).rejects.toMatchObject(
        { constructor: CommitOutcomeUnknownError },
      );
      expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
      world.proxy.dropAnswerTo(/^commit/);
      expect(await world.dbContext.run(() => world.session().find(Note, {}))).toEqual([]);
    } finally {
      world.proxy.heal();
      await world.close();
    }
  });

  it.each(['/read-only', '/read'])('F4, S1: %s is answered with what was read', async (path) => {
    at.world.proxy.dropAnswerTo(/^commit/);
    const response = await at.world.fetch(path);
    expect([response.status, await response.text()]).toEqual([200, '0']);
    expect(at.world.pool()).toMatchObject({ checkedOut: 0, idle: 0 });
  });

  it('F4, C5: its onCommit hooks run', async () => {
    const ran: string[] = [];
    at.world.proxy.dropAnswerTo(/^commit/);
    await at.run(async () => {
      at.dbContext.onCommit(() => ran.push('onCommit'));
      at.dbContext.onRollback(() => ran.push('onRollback'));
      await at.session.find(Note, {});
    });
    expect(ran).toEqual(['onCommit']);
  });

  /** Ways to read in a transaction of an isolation level. */
  const readAt = (
    isolationLevel: IsolationLevel,
    text: 'repeatable read' | 'serializable',
  ): (readonly [string, () => Promise<unknown>])[] => {
    const settings = { isolationLevel: text };
    const count = (em: EntityManager): Promise<number> => em.count(Note);
    return [
      ['atomic()', () => at.run(() => at.dbContext.atomic(count, settings))],
      [
        'atomic(), declared read-only',
        () => at.run(() => at.dbContext.atomic(count, { ...settings, readOnly: true })),
      ],
      [
        'em.transactional(), declared read-only',
        () => at.run(() => at.session.transactional(count, { isolationLevel, readOnly: true })),
      ],
      [
        'begin()',
        () =>
          at.run(async () => {
            await at.session.begin({ isolationLevel });
            const found = await at.session.count(Note);
            await at.session.commit();
            return found;
          }),
      ],
    ];
  };

  // A serializable read may be a wrong one, and only its COMMIT says so.
  it.each(
    losses.flatMap(([loss, lose]) =>
      readAt(IsolationLevel.SERIALIZABLE, 'serializable').map(
        ([way, work]) => [loss, way, lose, work] as const,
      ),
    ),
  )('F4: %s, it is an unknown outcome of a serializable read (%s)', async (_, _way, lose, work) => {
    lose();
    await expect(work()).rejects.toMatchObject({
      constructor: CommitOutcomeUnknownError,
      code: 'COMMIT_OUTCOME_UNKNOWN',
      connectionName: 'default',
    });
    expect(at.world.proxy.log.filter((sql) => sql === 'commit')).toHaveLength(1);
    expect(at.world.pool()).toMatchObject({ checkedOut: 0, idle: 0, waiting: 0 });
  });

  it.each(readAt(IsolationLevel.REPEATABLE_READ, 'repeatable read'))(
    'F4: it is none of a read that sees one snapshot (%s)',
    async (_, work) => {
      at.world.proxy.dropAnswerTo(/^commit/);
      expect(await work()).toBe(0);
      expect(at.world.pool()).toMatchObject({ checkedOut: 0, idle: 0, waiting: 0 });
    },
  );

  it.each<readonly [string, () => Promise<unknown>, string[]]>([
    ['an INSERT', () => at.insert('written'), ['written']],
    ['a SELECT of a function', () => at.session.execute('select writes()'), ['by a function']],
    [
      'a read and then a write',
      async () => {
        await at.session.find(Note, {});
        await at.insert('written');
      },
      ['written'],
    ],
    [
      'a WITH that writes',
      () =>
        at.session.execute(
          "with w as (insert into note (text) values ('written') returning id) select * from w",
        ),
      ['written'],
    ],
  ])('F4: %s has an unknown outcome as before', async (_, work, saved) => {
    at.world.proxy.dropAnswerTo(/^commit/);
    await expect(at.run(work)).rejects.toMatchObject({
      constructor: CommitOutcomeUnknownError,
      code: 'COMMIT_OUTCOME_UNKNOWN',
    });
    expect(at.world.pool()).toMatchObject({ checkedOut: 0, idle: 0 });
    expect(await at.world.savedTexts()).toEqual(saved);
  });
});

describe('an event loop that is blocked while the answer to an end comes', () => {
  const END_TIMEOUT_MS = 100;
  const BLOCKED_MS = 1_000;
  const at = useWorld();
  let app: Awaited<ReturnType<typeof startApp>>;
  const restore: (() => void)[] = [];

  beforeAll(async () => {
    // Past the proxy, which lives in the same process and would be blocked, too.
    app = await startApp({
      connections: [noteConnection(at.world.database.url, { endTimeoutMs: END_TIMEOUT_MS })],
    });
  });
  afterAll(() => app.close());
  afterEach(() => {
    restore.splice(0).forEach((each) => each());
  });

  /**
   * Blocks the process once, from the turn of the event loop in which a message leaves that matches
   * until long after the server has answered it.
   */
  function blockAfter(pattern: RegExp): { readonly times: number } {
    const state = { times: 0 };
    // Inherited by the prototype, which gets one of its own until the end of the test.
    const prototype: { write: (...args: unknown[]) => boolean } = Socket.prototype as never;
    const inherited = prototype.write;
    restore.push(() => Reflect.deleteProperty(prototype, 'write'));
    prototype.write = function watched(this: Socket, ...args) {
      const [chunk] = args;
      if (state.times === 0 && chunk instanceof Uint8Array && pattern.test(String(chunk))) {
        state.times++;
        setImmediate(() => {
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BLOCKED_MS);
        });
      }
      return Reflect.apply(inherited, this, args);
    };
    return state;
  }

  it('F4, F6: a COMMIT that was answered is a success, after the limit too', async () => {
    const blocked = blockAfter(/commit/);
    await app.dbContext.run(() => app.session().insert(Note, { text: 'saved' }));
    expect(blocked.times).toBe(1);
    expect(await at.world.savedTexts()).toEqual(['saved']);
    expect(app.pool()).toMatchObject({ checkedOut: 0, idle: 1 });
  });

  it('F4, F6: so is one of a read', async () => {
    const blocked = blockAfter(/commit/);
    expect(await app.dbContext.run(() => app.session().count(Note))).toBe(0);
    expect(blocked.times).toBe(1);
    expect(app.pool()).toMatchObject({ checkedOut: 0, idle: 1 });
  });

  it('F4, F6: a COMMIT that was refused fails with the error of the server', async () => {
    const blocked = blockAfter(/commit/);
    await expect(
      app.dbContext.run(async () => {
        await app.session().execute('set constraints note_text_unique deferred');
        await app.session().insert(Note, { text: 'twice' });
        await app.session().insert(Note, { text: 'twice' });
      }),
    ).rejects.toMatchObject({ code: '23505' });
    expect(blocked.times).toBe(1);
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F2, F6: a ROLLBACK that was answered gives its connection back', async () => {
    await app.dbContext.run(() => app.session().execute('select 1'));
    const { size: _, ...before } = app.pool();
    const blocked = blockAfter(/rollback/);
    await expect(
      app.dbContext.run(async () => {
        await app.session().insert(Note, { text: 'undone' });
        throw new Error('the handler has failed');
      }),
    ).rejects.toThrow('the handler has failed');
    expect(blocked.times).toBe(1);
    expect(app.pool()).toMatchObject(before);
    await waitFor(() => app.pool().checkedOut === 0, { what: 'the connection to be back' });
  });
});
