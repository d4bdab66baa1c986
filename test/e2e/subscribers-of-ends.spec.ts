import { UniqueConstraintViolationException } from '@mikro-orm/core';
import { defineConfig, MikroORM, type EntityManager } from '@mikro-orm/postgresql';
import { UnexpectedRollbackError } from 'nestjs-db-context';

import { clientOf } from '../support/client-of.js';
import { Note } from '../support/note.entity.js';
import { useWorld } from '../support/use-world.js';

/** What a test does with an entity manager, on plain MikroORM and on a session. */
type Work = (em: EntityManager) => Promise<unknown>;

const swallow = (): void => undefined;

const TRANSACTION_EVENTS = [
  'beforeTransactionStart',
  'afterTransactionStart',
  'beforeTransactionCommit',
  'afterTransactionCommit',
  'beforeTransactionRollback',
  'afterTransactionRollback',
] as const;
const FLUSH_EVENTS = ['beforeFlush', 'onFlush', 'afterFlush'] as const;

describe('subscribers hear what they hear on plain MikroORM', () => {
  const at = useWorld();
  let plain: MikroORM;
  let heard: string[] = [];
  let fails: string | undefined;
  let count = 0;

  /** A text that no other note has. */
  const text = (): string => `note ${++count}`;

  function subscribeTo(orm: Pick<MikroORM, 'em'>): void {
    const ofTransactions = TRANSACTION_EVENTS.map((event) => [
      event,
      async () => {
        heard.push(event);
        if (fails === event) {
          throw new Error('the subscriber failed');
        }
      },
    ]);
    const ofFlushes = FLUSH_EVENTS.map((event) => [
      event,
      async ({ uow }: { uow: { getChangeSets(): unknown[] } }) => {
        heard.push(`${event} ${uow.getChangeSets().length}`);
      },
    ]);
    orm.em
      .getEventManager()
      .registerSubscriber(Object.fromEntries([...ofTransactions, ...ofFlushes]));
  }

  beforeAll(async () => {
    plain = await MikroORM.init(
      defineConfig({
        clientUrl: at.world.database.url,
        entities: [Note],
        pool: { min: 0, max: 2 },
      }),
    );
    subscribeTo(plain);
    subscribeTo(at.world.connection().orm);
  });
  afterAll(() => plain.close(true));
  beforeEach(() => {
    fails = undefined;
  });

  /** What subscribers hear while `run` does its work in an empty table, and what comes of it. */
  async function listen(
    run: () => Promise<unknown>,
  ): Promise<{ readonly events: string[]; readonly error: unknown }> {
    await at.world.database.query("truncate note; insert into note (text) values ('there')");
    heard = [];
    const error: unknown = await run().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    return { events: heard, error };
  }

  const ofFlushes = (events: readonly string[]): string[] =>
    events.filter((event) => event.includes('Flush'));
  const ofTransactions = (events: readonly string[]): string[] =>
    events.filter((event) => event.includes('Transaction'));
  /** A lazy transaction begins later than a plain one; from its first end on all is as there. */
  const ofEnds = (events: readonly string[]): string[] =>
    events.filter((event) => /Transaction(?:Commit|Rollback)/.test(event));

  describe('when the server refuses the COMMIT', () => {
    const twice: Work = async (em) => {
      await em.execute('set constraints note_text_unique deferred');
      await em.insert(Note, { text: 'twice' });
      await em.insert(Note, { text: 'twice' });
    };
    const works: readonly (readonly [string, Work])[] = [
      ['statements', twice],
      [
        'entities that the end flushes',
        async (em) => {
          await em.execute('set constraints note_text_unique deferred');
          em.persist([new Note('twice'), new Note('twice')]);
        },
      ],
      ['a nested transaction', (em) => em.transactional(twice)],
    ];

    const recipe = async (em: EntityManager, work: Work): Promise<void> => {
      await em.begin();
      try {
        await work(em);
        await em.commit();
      } catch (error) {
        await em.rollback();
        throw error;
      }
    };
    const ends: readonly (readonly [string, (work: Work) => Promise<unknown>])[] = [
      ['the end of a context', (work) => at.run(() => work(at.session))],
      [
        'session.commit()',
        (work) =>
          at.run(async () => {
            await work(at.session);
            await at.session.commit();
          }),
      ],
      [
        'dbContext.commitAll()',
        (work) =>
          at.run(async () => {
            await work(at.session);
            await at.dbContext.commitAll();
          }),
      ],
      ['atomic()', (work) => at.run(() => at.dbContext.atomic((em: EntityManager) => work(em)))],
      [
        'newAtomicSession()',
        (work) => at.dbContext.newAtomicSession((em: EntityManager) => work(em)),
      ],
      ['runInNewContext()', (work) => at.dbContext.runInNewContext(() => work(at.session))],
      [
        'commit() in newSession()',
        (work) =>
          at.dbContext.newSession(async (em: EntityManager) => {
            await work(em);
            await em.commit();
          }),
      ],
      [
        'propagation "requires_new"',
        (work) =>
          at.run(() => at.session.transactional((em) => work(em), { propagation: 'requires_new' })),
      ],
      [
        'the transaction of a fork',
        (work) => at.run(() => at.session.fork().transactional((em) => work(em))),
      ],
    ];

    it.each(
      ends.flatMap(([end, settle]) =>
        works.map(([what, work]) => [end, what, settle, work] as const),
      ),
    )('F4, C6: %s, of %s', async (_, _what, settle, work) => {
      const there = await listen(() => plain.em.fork().transactional((em) => work(em)));
      const here = await listen(() => settle(work));
      expect(ofEnds(there.events).slice(-3)).toEqual([
        'beforeTransactionCommit',
        'beforeTransactionRollback',
        'afterTransactionRollback',
      ]);
      expect(ofEnds(here.events)).toEqual(ofEnds(there.events));
      expect(ofTransactions(here.events).toSorted()).toEqual(
        ofTransactions(there.events).toSorted(),
      );
      expect(there.error).toMatchObject({ code: '23505' });
      expect(here.error).toBeInstanceOf(UniqueConstraintViolationException);
      expect(await at.world.savedTexts()).toEqual(['there']);
    });

    it.each(works)('F4, C6: begin(), commit(), rollback(), of %s', async (_, work) => {
      const there = await listen(() => recipe(plain.em.fork(), work));
      const here = await listen(() => at.run(() => recipe(at.session, work)));
      expect(ofTransactions(here.events)).toEqual(ofTransactions(there.events));
    });

    it.each(['beforeTransactionRollback', 'afterTransactionRollback'] as const)(
      'F4: a subscriber that fails in %s does not hide the error of the COMMIT',
      async (event) => {
        fails = event;
        const { events, error } = await listen(() => at.run(() => twice(at.session)));
        expect(error).toBeInstanceOf(UniqueConstraintViolationException);
        expect(ofEnds(events)).toEqual([
          'beforeTransactionCommit',
          'beforeTransactionRollback',
          'afterTransactionRollback',
        ]);
      },
    );

    // PostgreSQL answers COMMIT of a failed transaction with the tag ROLLBACK and no error; plain
    // MikroORM takes that for a success.
    it.each(ends)(
      'S6, C6: %s, whose COMMIT is answered with ROLLBACK, is one of a rollback',
      async (_, settle) => {
        at.world.proxy.reset();
        const { events, error } = await listen(() =>
          settle(async (em) => {
            await em.insert(Note, { text: 'lost' });
            // A statement that fails past the session, so that only the answer to COMMIT says so.
            const client = await clientOf(em, at.world.connection());
            const failed = client.query('select 1 / 0');
            await expect(failed).rejects.toMatchObject({ code: '22012' });
          }),
        );
        expect(ofEnds(events)).toEqual([
          'beforeTransactionCommit',
          'beforeTransactionRollback',
          'afterTransactionRollback',
        ]);
        expect(error).toMatchObject({
          constructor: UnexpectedRollbackError,
          code: 'UNEXPECTED_ROLLBACK',
          connectionName: 'default',
          reason: 'server-rollback',
        });
        expect(at.world.proxy.log.filter((sql) => /^(?:commit|rollback)/.test(sql))).toEqual([
          'commit',
        ]);
        expect(await at.world.savedTexts()).toEqual(['there']);
      },
    );

    it('F4, C5: they hear of it before the onRollback hooks run, and once', async () => {
      const { events } = await listen(() =>
        at.run(() => {
          at.dbContext.onRollback(() => heard.push('onRollback'));
          return twice(at.session);
        }),
      );
      expect(events.slice(-3)).toEqual([
        'beforeTransactionRollback',
        'afterTransactionRollback',
        'onRollback',
      ]);
    });
  });

  describe('of the flushes', () => {
    const persist: Work = async (em) => em.persist(new Note(text()));
    const change: Work = async (em) => {
      (await em.findOneOrFail(Note, { text: 'there' })).text = text();
    };

    const works: readonly (readonly [string, Work])[] = [
      ['a read', (em) => em.find(Note, {})],
      ['a statement', (em) => em.execute('select 1')],
      ['an insert()', (em) => em.insert(Note, { text: text() })],
      ['an entity persisted', persist],
      ['an entity changed', change],
      [
        'flush()',
        async (em) => {
          await persist(em);
          await em.flush();
        },
      ],
      ['flush() of nothing', (em) => em.flush()],
      [
        'flush() twice',
        async (em) => {
          await persist(em);
          await em.flush();
          await persist(em);
          await em.flush();
        },
      ],
      [
        'a find() that flushes first',
        async (em) => {
          await persist(em);
          await em.find(Note, {});
        },
      ],
      ['em.transactional() of nothing', (em) => em.transactional(async () => undefined)],
      ['em.transactional() that reads', (em) => em.transactional((inner) => inner.find(Note, {}))],
      ['em.transactional() that persists', (em) => em.transactional(persist)],
      ['em.transactional() that changes', (em) => em.transactional(change)],
      [
        'em.transactional() that flushes',
        (em) =>
          em.transactional(async (inner) => {
            await persist(inner);
            await inner.flush();
          }),
      ],
      [
        'a read and then em.transactional()',
        async (em) => {
          await em.find(Note, {});
          await em.transactional(persist);
        },
      ],
      [
        'flush() and then em.transactional()',
        async (em) => {
          await persist(em);
          await em.flush();
          await em.transactional(persist);
        },
      ],
      [
        'em.transactional() twice',
        async (em) => {
          await em.transactional(persist);
          await em.transactional(persist);
        },
      ],
      [
        'em.transactional() that throws',
        async (em) => {
          const failing = em.transactional(async (inner) => {
            await persist(inner);
            throw new Error('the block has failed');
          });
          await failing.catch(swallow);
        },
      ],
      [
        'em.transactional() in another',
        (em) => em.transactional((inner) => inner.transactional(persist)),
      ],
      ['propagation "required"', (em) => em.transactional(persist, { propagation: 'required' })],
      [
        'propagation "requires_new"',
        (em) => em.transactional(persist, { propagation: 'requires_new' }),
      ],
    ];

    it.each(works)('C6: %s: as often as there', async (_, work) => {
      const there = await listen(() => plain.em.fork().transactional((em) => work(em)));
      const here = await listen(() => at.run(() => work(at.session)));
      expect([there.error, here.error]).toEqual([undefined, undefined]);
      expect(ofFlushes(there.events)).not.toEqual([]);
      expect(ofFlushes(here.events)).toEqual(ofFlushes(there.events));
    });

    it('C6, L2: a context that does nothing flushes nothing, where plain MikroORM does', async () => {
      const nothing: Work = async () => undefined;
      const there = await listen(() => plain.em.fork().transactional((em) => nothing(em)));
      const here = await listen(() => at.run(() => nothing(at.session)));
      expect(ofFlushes(there.events)).toEqual(['beforeFlush 0', 'onFlush 0', 'afterFlush 0']);
      expect(here.events).toEqual([]);
    });

    // On plain MikroORM the savepoint takes along what was pending before it. A session writes that
    // first, so that it is not lost with the savepoint, and flushes once more for it.
    const pending: readonly (readonly [string, Work, there: number[], here: number[]])[] = [
      [
        'an entity persisted',
        async (em) => {
          await persist(em);
          await em.transactional(persist);
        },
        [2, 0],
        [1, 1, 0],
      ],
      [
        'an entity changed',
        async (em) => {
          await change(em);
          await em.transactional(persist);
        },
        [2, 0],
        [1, 1, 0],
      ],
      [
        'an entity persisted, in another savepoint',
        (em) =>
          em.transactional(async (inner) => {
            await persist(inner);
            await inner.transactional(persist);
          }),
        [2, 0, 0],
        [1, 1, 0, 0],
      ],
    ];

    it.each(pending)(
      'C6, S3: em.transactional() after %s: one flush more, and none that is empty',
      async (_, work, expectedThere, expectedHere) => {
        const changeSets = (events: readonly string[]): number[] =>
          events.flatMap((event) => (event.startsWith('onFlush') ? [Number(event.slice(8))] : []));
        const there = await listen(() => plain.em.fork().transactional((em) => work(em)));
        const here = await listen(() => at.run(() => work(at.session)));
        expect(changeSets(there.events)).toEqual(expectedThere);
        expect(changeSets(here.events)).toEqual(expectedHere);
      },
    );

    it.each([
      ['persisted', persist, ['there', 'note']],
      ['changed', change, ['note']],
    ] as const)(
      'C6, S3: an entity %s before a savepoint that is undone is saved',
      async (_, work, expected) => {
        await listen(() =>
          at.run(async () => {
            await work(at.session);
            const failing = at.session.transactional(async () => {
              throw new Error('the block has failed');
            });
            await failing.catch(swallow);
          }),
        );
        const saved = await at.world.savedTexts();
        expect(saved.map((each) => each.replace(/ \d+$/, ''))).toEqual(expected);
      },
    );
  });
});
