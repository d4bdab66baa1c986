import { UniqueConstraintViolationException } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  CommitOutcomeUnknownError,
  SessionClosedError,
  TransactionAbortedError,
  UnexpectedRollbackError,
} from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

const swallow = (): void => undefined;

/** What may be thrown: an error, and what is no more than its absence to a careless reader. */
const thrown: readonly (readonly [string, unknown])[] = [
  ['an Error', new Error('the hook failed')],
  ['undefined', undefined],
  ['null', null],
];

describe('a hook that throws anything, and whose failure the handler swallows', () => {
  type Place =
    | 'beforeTransactionStart'
    | 'afterTransactionStart'
    | 'beforeFlush'
    | 'onFlush'
    | 'the option beforeCommit';
  /** Thrown once, at one place. */
  let armed: { readonly place: Place; readonly value: unknown } | undefined;
  let hits = 0;

  const strike = (place: Place): void => {
    if (armed?.place === place) {
      const { value } = armed;
      armed = undefined;
      hits++;
      throw value;
    }
  };
  const at = useWorld(() =>
    startWorld({}, { beforeCommit: () => strike('the option beforeCommit') }),
  );

  beforeAll(() => {
    const subscriber = Object.fromEntries(
      (['beforeTransactionStart', 'afterTransactionStart', 'beforeFlush', 'onFlush'] as const).map(
        (place) => [place, async () => strike(place)],
      ),
    );
    at.world.connection().orm.em.getEventManager().registerSubscriber(subscriber);
  });
  beforeEach(() => {
    armed = undefined;
    hits = 0;
  });

  const insert = (): Promise<unknown> => at.insert('lost');
  const flush = (): Promise<unknown> => {
    at.session.persist(new Note('lost'));
    return at.session.flush();
  };
  const nested = (): Promise<unknown> =>
    at.session.transactional(async (em) => em.persist(new Note('lost')));
  const commit = (): Promise<unknown> => {
    at.session.persist(new Note('lost'));
    return at.session.commit();
  };
  const dbContextCommit = async (): Promise<unknown> => {
    await insert();
    return at.dbContext.commit();
  };

  const places: readonly (readonly [Place, string, () => Promise<unknown>])[] = [
    ['beforeTransactionStart', 'a statement', insert],
    ['beforeTransactionStart', 'flush()', flush],
    ['beforeTransactionStart', 'commit()', commit],
    ['afterTransactionStart', 'a statement', insert],
    ['afterTransactionStart', 'flush()', flush],
    ['afterTransactionStart', 'em.transactional()', nested],
    ['afterTransactionStart', 'commit()', commit],
    ['beforeFlush', 'flush()', flush],
    ['beforeFlush', 'commit()', commit],
    ['onFlush', 'flush()', flush],
    ['onFlush', 'commit()', commit],
    ['the option beforeCommit', 'commit()', commit],
    ['the option beforeCommit', 'dbContext.commit()', dbContextCommit],
  ];

  it.each(
    places.flatMap(([place, way, work]) =>
      thrown.map(([what, value]) => [place, way, what, work, value] as const),
    ),
  )('F4: in %s, of %s, %s: the commit is refused', async (place, _, _what, work, value) => {
    armed = { place, value };
    const request = at.run(async () => {
      await work().catch(swallow);
      expect(hits).toBe(1);
    });
    await expect(request).rejects.toMatchObject({
      constructor: UnexpectedRollbackError,
      code: 'UNEXPECTED_ROLLBACK',
      connectionName: 'default',
    });
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it.each(thrown)(
    'F4, C5: a bound beforeCommit hook, %s: the commit is refused',
    async (_, value) => {
      const request = at.run(async () => {
        at.dbContext.beforeCommit(
          () => {
            throw value;
          },
          { connection: 'default' },
        );
        await at.insert('lost');
        await at.session.commit().catch(swallow);
      });
      await expect(request).rejects.toMatchObject({
        constructor: UnexpectedRollbackError,
        code: 'UNEXPECTED_ROLLBACK',
      });
      expect(await at.world.savedTexts()).toEqual([]);
    },
  );

  it.each(thrown)(
    'F4, C5: a beforeCommit hook at the end, %s, vetoes the commit',
    async (_, value) => {
      const request = at.run(async () => {
        at.dbContext.beforeCommit(() => {
          throw value;
        });
        await at.insert('lost');
      });
      const outcome = await request.then(
        () => 'resolved',
        (error: unknown) => ({ error }),
      );
      expect(outcome).toEqual({ error: value });
      expect(await at.world.savedTexts()).toEqual([]);
    },
  );

  it.each(thrown)(
    'F4, C1: %s in a first statement, undone on purpose, is over',
    async (_, value) => {
      armed = { place: 'beforeTransactionStart', value };
      await at.run(async () => {
        await at.insert('lost').catch(swallow);
        await at.session.rollback();
        await at.insert('new');
      });
      expect(await at.world.savedTexts()).toEqual(['new']);
    },
  );
});

describe('a statement after one that failed', () => {
  const at = useWorld();

  beforeEach(() => at.world.database.query("insert into note (text) values ('taken')"));

  const failures: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['em.insert()', () => at.insert('taken')],
    ['em.execute()', () => at.session.execute("insert into note (text) values ('taken')")],
    [
      'em.flush()',
      () => {
        at.session.persist(new Note('taken'));
        return at.session.flush();
      },
    ],
    [
      'em.getKysely()',
      () =>
        at.session
          .getKysely<{ note: { text: string } }>()
          .insertInto('note')
          .values({ text: 'taken' })
          .execute(),
    ],
  ];
  const following: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['em.insert()', () => at.insert('after')],
    ['em.execute()', () => at.session.execute("insert into note (text) values ('after')")],
    ['em.find()', () => at.session.find(Note, { text: 'after' })],
    [
      'em.getKysely()',
      () =>
        at.session
          .getKysely<{ note: { text: string } }>()
          .insertInto('note')
          .values({ text: 'after' })
          .execute(),
    ],
    [
      'em.flush()',
      () => {
        at.session.persist(new Note('after'));
        return at.session.flush();
      },
    ],
    ['em.transactional()', () => at.session.transactional((em) => at.insert('after', em))],
    ['em.stream()', () => at.session.stream(Note, { where: { text: 'after' } }).next()],
  ];

  const cells = failures.flatMap(([failure, fail]) =>
    following.map(([next, goOn]) => [failure, next, fail, goOn] as const),
  );
  it.each(cells)(
    'F4: after a caught violation by %s, %s names it as the cause',
    async (_, _next, fail, goOn) => {
      let first: unknown;
      let second: unknown;
      const request = at.run(async () => {
        await at.insert('before');
        first = await fail().catch((error: unknown) => error);
        second = await goOn().catch((error: unknown) => error);
      });
      await expect(request).rejects.toMatchObject({
        constructor: UnexpectedRollbackError,
        code: 'UNEXPECTED_ROLLBACK',
        reason: 'failed-statement',
        cause: { code: '23505' },
      });
      expect(first).toMatchObject({ code: '23505' });
      expect(second).toMatchObject({
        constructor: TransactionAbortedError,
        code: 'TRANSACTION_ABORTED',
        connectionName: 'default',
        cause: { code: '23505' },
      });
      expect(await at.world.savedTexts()).toEqual(['taken']);
    },
  );

  it('F4: of a first statement as well', async () => {
    let second: unknown;
    const request = at.run(async () => {
      await at.insert('taken').catch(swallow);
      second = await at.insert('after').catch((error: unknown) => error);
    });
    await expect(request).rejects.toMatchObject({ constructor: UnexpectedRollbackError });
    expect(second).toMatchObject({
      constructor: TransactionAbortedError,
      cause: { code: '23505' },
    });
  });

  it('F4: the cause stays the first failure, however many follow', async () => {
    const causes: unknown[] = [];
    const request = at.run(async () => {
      await at.insert('taken').catch(swallow);
      for (let each = 0; each < 3; each++) {
        await at.session.execute('select 1 / 0').catch((error: unknown) => causes.push(error));
      }
    });
    await expect(request).rejects.toMatchObject({ cause: { code: '23505' } });
    expect(causes).toEqual([1, 2, 3].map(() => expect.any(TransactionAbortedError)));
    expect(causes.map((error) => (error as Error).cause)).toEqual(
      [1, 2, 3].map(() => expect.objectContaining({ code: '23505' })),
    );
  });

  it('F4, C6: inside of em.transactional() too, and the outer transaction goes on', async () => {
    let second: unknown;
    await at.run(async () => {
      await at.insert('before');
      const block = at.session.transactional(async (em) => {
        await at.insert('taken', em).catch(swallow);
        second = await at.insert('inside', em).catch((error: unknown) => error);
      });
      await expect(block).rejects.toMatchObject({
        constructor: UnexpectedRollbackError,
        cause: { code: '23505' },
      });
      await at.insert('after');
    });
    expect(second).toMatchObject({
      constructor: TransactionAbortedError,
      cause: { code: '23505' },
    });
    expect(await at.world.savedTexts()).toEqual(['taken', 'before', 'after']);
  });

  it('F4: a savepoint of the application’s own may still undo it', async () => {
    await at.run(async () => {
      await at.insert('before');
      await at.session.execute('savepoint mine');
      await expect(at.insert('taken')).rejects.toBeInstanceOf(UniqueConstraintViolationException);
      await at.session.execute('rollback to savepoint mine');
      await at.insert('after');
    });
    expect(await at.world.savedTexts()).toEqual(['taken', 'before', 'after']);
  });

  it('F4: so may one whose rollback stands at the head of a longer text', async () => {
    await at.run(async () => {
      await at.session.execute('savepoint mine');
      await at.insert('taken').catch(swallow);
      await at.session.execute(
        "/* undo */ rollback to mine; insert into note (text) values ('after')",
      );
    });
    expect(await at.world.savedTexts()).toEqual(['taken', 'after']);
  });
});

describe('an end inside of a stream', () => {
  const at = useWorld();

  beforeEach(() =>
    at.world.database.query(
      `insert into note (text) select 'note ' || i from generate_series(1, 500) i`,
    ),
  );

  it.each<readonly [string, () => Promise<void>]>([
    ['session.commit()', () => at.session.commit()],
    ['dbContext.commit()', () => at.dbContext.commit()],
    ['dbContext.commitAll()', () => at.dbContext.commitAll()],
  ])('C1: %s per batch: the error names it and the stream', async (_, commit) => {
    let seen = 0;
    const request = at.run(async () => {
      for await (const note of at.session.stream(Note, { orderBy: { id: 'asc' } })) {
        seen++;
        note.text = `changed ${seen}`;
        if (seen % 50 === 0) {
          await commit();
        }
      }
    });
    await expect(request).rejects.toMatchObject({
      constructor: SessionClosedError,
      code: 'SESSION_CLOSED',
      connectionName: 'default',
      message: expect.stringMatching(/commit\(\)[^]*stream|stream[^]*commit\(\)/),
    });
    await expect(request).rejects.not.toMatchObject({
      message: expect.stringContaining('Await everything'),
    });
    expect(seen).toBeGreaterThanOrEqual(50);
  });

  it('C1: the message of work that nobody has awaited stays what it was', async () => {
    let late: Promise<unknown> | undefined;
    await at.run(async () => {
      await at.insert('saved');
      late = Promise.resolve().then(async () => {
        // The context has ended by then.
        await at.world.database.query('select 1');
        await at.insert('late');
      });
      late.catch(swallow);
    });
    await expect(late).rejects.toMatchObject({
      code: 'SESSION_CLOSED',
      message: expect.stringContaining('Await everything'),
    });
  });
});

describe('MikroORM’s recipe: begin(), try { commit() } catch { rollback(); throw }', () => {
  const at = useWorld();

  const recipe = async (em: EntityManager, work: () => Promise<unknown>): Promise<void> => {
    await em.begin();
    try {
      await work();
      await em.commit();
    } catch (error) {
      await em.rollback();
      throw error;
    }
  };

  type Manager = readonly [
    string,
    (use: (em: EntityManager) => Promise<unknown>) => Promise<unknown>,
  ];
  const managers: readonly Manager[] = [
    ['the injected session', (use) => at.run(() => use(at.session))],
    [
      'dbContext.getSession()',
      (use) =>
        at.run(async () => {
          // There is none before its first use.
          await at.session.execute('select 1');
          await at.session.commit();
          return use(at.dbContext.getSession() as EntityManager);
        }),
    ],
    ['atomic()', (use) => at.run(() => at.dbContext.atomic((em: EntityManager) => use(em)))],
    ['newSession()', (use) => at.dbContext.newSession((em: EntityManager) => use(em))],
    ['newAtomicSession()', (use) => at.dbContext.newAtomicSession((em: EntityManager) => use(em))],
  ];

  type Failure = readonly [
    string,
    (em: EntityManager) => Promise<unknown>,
    expected: object,
    saved: readonly string[],
  ];
  const failures: readonly Failure[] = [
    [
      'refused by the server',
      async (em) => {
        await em.execute('set constraints note_text_unique deferred');
        await em.insert(Note, { text: 'twice' });
        await em.insert(Note, { text: 'twice' });
      },
      { constructor: UniqueConstraintViolationException, code: '23505' },
      [],
    ],
    [
      'refused for a failure that was swallowed',
      (em) => em.execute('select 1 / 0').catch(swallow),
      { constructor: UnexpectedRollbackError, code: 'UNEXPECTED_ROLLBACK' },
      [],
    ],
    [
      'of an unknown outcome',
      async (em) => {
        await em.insert(Note, { text: 'saved' });
        at.world.proxy.dropAnswerTo(/^commit/);
      },
      { constructor: CommitOutcomeUnknownError, code: 'COMMIT_OUTCOME_UNKNOWN' },
      ['saved'],
    ],
  ];

  it.each(
    managers.flatMap(([manager, withManager]) =>
      failures.map(
        ([failure, work, expected, saved]) =>
          [manager, failure, withManager, work, expected, saved] as const,
      ),
    ),
  )(
    'F4, C6: on %s, a commit %s: its error comes out',
    async (_manager, _failure, withManager, work, expected, saved) => {
      const request = withManager((em) => recipe(em, () => work(em)));
      const error: unknown = await request.then(
        () => 'resolved',
        (reason: unknown) => reason,
      );
      expect(error).toMatchObject(expected);
      expect(await at.world.savedTexts()).toEqual(saved);
    },
  );

  it.each(managers)(
    'F4, C6: on %s, a second rollback() does nothing either',
    async (_, withManager) => {
      const [, work] = failures[0]!;
      const request = withManager((em) =>
        recipe(em, () => work(em)).catch(async (error: unknown) => {
          await em.rollback();
          throw error;
        }),
      );
      await expect(request).rejects.toMatchObject({ code: '23505' });
    },
  );

  it('F4, C1: the injected session goes on after it', async () => {
    const [, work] = failures[0]!;
    await at.run(async () => {
      await expect(recipe(at.session, () => work(at.session))).rejects.toBeInstanceOf(
        UniqueConstraintViolationException,
      );
      await at.insert('new');
    });
    expect(await at.world.savedTexts()).toEqual(['new']);
  });

  it('F4: rollback() of a transaction that has begun since undoes that one', async () => {
    const [, work] = failures[0]!;
    await at.run(async () => {
      await recipe(at.session, () => work(at.session)).catch(swallow);
      await at.insert('undone');
      await at.session.rollback();
      await at.insert('kept');
    });
    expect(await at.world.savedTexts()).toEqual(['kept']);
  });
});
