import { RequestContext, TransactionContext } from '@mikro-orm/core';
import { defineConfig, MikroORM, type EntityManager, type Options } from '@mikro-orm/postgresql';

import {
  InvalidTransactionStateError,
  SessionClosedError,
  type DbConnectionOptions,
} from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { startApp, type TestApp } from '../support/test-app.js';
import { useWorld } from '../support/use-world.js';

const globalOf = ({ connection }: TestApp, name?: string): EntityManager => connection(name).orm.em;

describe('the global entity manager inside of a context', () => {
  const shared = useWorld();
  const { run, insert, xid } = shared;
  const em = (): EntityManager => globalOf(shared.world);
  const saved = (): Promise<string[]> => shared.world.savedTexts();
  const undo = async (work: () => Promise<unknown>): Promise<void> => {
    const undone = run(async () => {
      await work();
      throw new Error('undo');
    });
    await expect(undone).rejects.toThrow('undo');
  };

  it('W2: is the session: one transaction, one identity map, one end', async () => {
    await undo(async () => {
      await insert('by the session');
      await insert('by the global one', em());
      expect(await xid(em())).toBe(await xid());
      const note = await em().findOneOrFail(Note, { text: 'by the session' });
      expect(await shared.session.findOneOrFail(Note, { id: note.id })).toBe(note);
    });
    expect(await saved()).toEqual([]);
  });

  it('W2: what is persisted in it is saved by the end of the context, with no flush', async () => {
    await run(async () => {
      em().persist(new Note('by the global one'));
      await Promise.resolve();
    });
    expect(await saved()).toEqual(['by the global one']);
  });

  it('L3: touching it takes no connection', async () => {
    await run(async () => {
      em().getRepository(Note);
      em().persist(new Note('a'));
      em().clear();
      expect(em().isInTransaction()).toBe(true);
      await Promise.resolve();
      expect(shared.world.pool().checkedOut).toBe(0);
    });
    expect(await saved()).toEqual([]);
  });

  it('L2: a context that does not touch it makes no session', async () => {
    await run(async () => {
      await Promise.resolve();
      expect(shared.dbContext.getSession()).toBeUndefined();
    });
  });

  it('W2: flush() and clear() are those of the session', async () => {
    await undo(async () => {
      shared.session.persist(new Note('a'));
      await em().flush();
      expect(await shared.session.count(Note)).toBe(1);
      em().clear();
      expect(shared.session.getUnitOfWork().getIdentityMap().keys()).toEqual([]);
    });
    expect(await saved()).toEqual([]);
  });

  it('C1: commit() and rollback() end the transaction of the session, and the next one begins', async () => {
    await run(async () => {
      await insert('committed', em());
      const first = await xid();
      await em().commit();
      expect(await saved()).toEqual(['committed']);
      await insert('undone');
      expect(await xid(em())).not.toBe(first);
      await em().rollback();
    });
    expect(await saved()).toEqual(['committed']);
  });

  it('C6: begin() begins the transaction of the session, on the one connection', async () => {
    await undo(async () => {
      await em().begin();
      expect(shared.world.pool().checkedOut).toBe(1);
      await insert('a');
      expect(await xid(em())).toBe(await xid());
      expect(shared.world.pool().checkedOut).toBe(1);
    });
    expect(await saved()).toEqual([]);
  });

  it('C6: transactional() is a savepoint of the session, in which both are its entity manager', async () => {
    await run(async () => {
      await insert('before', em());
      const outer = await xid();
      await expect(
        em().transactional(async (inner) => {
          expect(await xid(em())).toBe(outer);
          expect(em().getContext()).toBe(inner);
          await insert('inner', em());
          throw new Error('the savepoint');
        }),
      ).rejects.toThrow('the savepoint');
      await insert('after', em());
    });
    expect(await saved()).toEqual(['before', 'after']);
  });

  it('C6: commit() inside of transactional() is refused', async () => {
    await run(async () => {
      await em().transactional(async () => {
        await expect(em().commit()).rejects.toThrow(InvalidTransactionStateError);
      });
    });
  });

  it('C3: in a new context inside of transactional() it is the session of the new one', async () => {
    await undo(async () => {
      await em().transactional(async () => {
        const outer = await xid(em());
        await shared.dbContext.runInNewContext(async () => {
          await insert('in the new one', em());
          expect(await xid(em())).not.toBe(outer);
          expect(await xid(em())).toBe(await xid());
          expect(TransactionContext.getEntityManager()).toBeUndefined();
        });
      });
    });
    expect(await saved()).toEqual(['in the new one']);
  });

  it('C6: inside of fork().transactional() it is the entity manager of that transaction', async () => {
    await undo(async () => {
      await insert('by the session', em());
      await em()
        .fork()
        .transactional(async (inner) => {
          await insert('by the global one', em());
          expect(await xid(em())).toBe(await xid(inner));
        });
    });
    expect(await saved()).toEqual(['by the global one']);
  });

  it('W2: a fork of it is the application’s own, outside of the transaction, with the filters of the session', async () => {
    await undo(async () => {
      const own = await xid(em());
      em().setFilterParams('tenant', { name: 'a' });
      em().persist(new Note('pending'));
      const fork = em().fork();
      expect(fork.isInTransaction()).toBe(false);
      expect(fork.getUnitOfWork().getPersistStack().size).toBe(0);
      expect(fork.getFilterParams('tenant')).toEqual({ name: 'a' });
      fork.persist(new Note('by the fork'));
      await fork.flush();
      expect(await xid(fork)).not.toBe(own);
      em().clear();
    });
    expect(await saved()).toEqual(['by the fork']);
  });

  it('L2: a fork of it makes no session, and can become it', async () => {
    await undo(async () => {
      const fork = em().fork();
      expect(shared.dbContext.getSession()).toBeUndefined();
      expect(fork.constructor).toBe(em().constructor);
      shared.dbContext.putSession(fork);
      expect(em().getContext()).toBe(fork);
      await insert('by the fork', fork);
      expect(await xid(em())).toBe(await xid());
    });
    expect(await saved()).toEqual([]);
  });

  it('W2: a fork with useContext is the session inside of a context, and itself outside', async () => {
    const fork = em().fork({ useContext: true });
    await undo(async () => {
      await fork.begin();
      fork.persist(new Note('a'));
      await fork.flush();
      expect(await xid(fork)).toBe(await xid());
      await fork.transactional(async () => {
        await insert('b', fork);
        expect(await xid(fork)).toBe(await xid());
      });
      expect(shared.world.pool().checkedOut).toBe(1);
    });
    expect(await saved()).toEqual([]);
    fork.persist(new Note('outside'));
    await fork.flush();
    expect(await saved()).toEqual(['outside']);
    expect(fork.constructor).toBe(em().constructor);
  });

  it('S5: after the end of the context it is refused, and a fork is not', async () => {
    const ended = deferred();
    let late: Promise<unknown> = Promise.resolve();
    await run(async () => {
      late = (async () => {
        await ended.promise;
        await expect(insert('late', em())).rejects.toThrow(SessionClosedError);
        expect(() => em().persist(new Note('late'))).toThrow(SessionClosedError);
        await insert('by a fork', em().fork());
        await RequestContext.create(em(), () => insert('in a request context', em()));
      })();
      await insert('in time', em());
    });
    ended.resolve();
    await late;
    expect(await saved()).toEqual(['in time', 'by a fork', 'in a request context']);
  });

  describe('and MikroORM’s RequestContext', () => {
    it('W2: one that was opened around the context does not shadow the session', async () => {
      await RequestContext.create(em(), () =>
        undo(async () => {
          await insert('a', em());
          expect(await xid(em())).toBe(await xid());
          const current = RequestContext.getEntityManager() as EntityManager;
          expect(await xid(current)).toBe(await xid());
          expect(RequestContext.getEntityManager('unknown')).toBeUndefined();
        }),
      );
      expect(await saved()).toEqual([]);
    });

    it.each([
      ['', <T>(work: () => T): T => work()],
      [', inside of one of MikroORM', <T>(work: () => T): T => RequestContext.create(em(), work)],
    ])('W2: each context has its own, with its session%s', async (_name, around) => {
      const seen = (): unknown[] => {
        const context = RequestContext.currentRequestContext();
        return [context, context?.id, context?.em, RequestContext.getEntityManager()];
      };
      const both: unknown[][] = await Promise.all(
        [0, 1].map(() =>
          around(() =>
            run(async () => {
              const first = seen();
              await insert(String(first[1]), em());
              expect(await xid(first[2] as EntityManager)).toBe(await xid());
              await shared.dbContext.run(() => {
                expect(seen()).toEqual(first);
                return Promise.resolve();
              });
              expect(seen()).toEqual(first);
              return first;
            }),
          ),
        ),
      );
      const [one, other] = both as [unknown[], unknown[]];
      one.forEach((each, index) => expect(each).not.toBe(other[index]));
      expect(await saved()).toHaveLength(2);
    });

    it('W2: an inner context has another one, and the outer one is seen again after it', async () => {
      await run(async () => {
        const outer = RequestContext.currentRequestContext();
        await shared.dbContext.runInNewContext(async () => {
          const inner = RequestContext.currentRequestContext();
          expect(inner).not.toBe(outer);
          expect(inner!.em).not.toBe(outer!.em);
          await Promise.resolve();
          expect(RequestContext.currentRequestContext()).toBe(inner);
        });
        expect(RequestContext.currentRequestContext()).toBe(outer);
      });
    });

    it('S5: after the end of its context it is the session that has ended', async () => {
      let late: Promise<unknown> | undefined;
      const ended = deferred();
      await run(async () => {
        await insert('in time', em());
        late = (async () => {
          await ended.promise;
          await insert('late', RequestContext.getEntityManager() as EntityManager);
        })();
      });
      ended.resolve();
      await expect(late).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
      expect(await saved()).toEqual(['in time']);
    });

    it('W2: those of other orms can still be seen', async () => {
      const other = await MikroORM.init({
        ...configOf(shared.world.database),
        contextName: 'other',
      });
      try {
        await RequestContext.create(other.em, () =>
          run(async () => {
            const outer = RequestContext.getEntityManager('other');
            expect(outer?.config).toBe(other.config);
            expect(other.em.getContext()).toBe(outer);
            await Promise.resolve();
          }),
        );
      } finally {
        await other.close();
      }
    });

    it('W2: one that is opened inside is what MikroORM makes it, for the injected session too', async () => {
      await undo(async () => {
        await insert('by the session');
        const own = await xid();
        await RequestContext.create(em(), async () => {
          em().persist(new Note('in the request context'));
          await em().flush();
          expect(await xid(em())).not.toBe(own);
          expect(shared.session.getContext()).toBe(em().getContext());
          await expect(shared.dbContext.commit()).rejects.toThrow(InvalidTransactionStateError);
        });
        expect(await xid(em())).toBe(own);
      });
      expect(await saved()).toEqual(['in the request context']);
    });

    it('outside of a context it is what MikroORM makes it', async () => {
      await RequestContext.create(em(), async () => {
        expect(em().getContext()).toBe(RequestContext.getEntityManager());
        await insert('a', em());
      });
      expect(await saved()).toEqual(['a']);
    });
  });

  it('W2: outside of a context it is MikroORM’s own, and refuses to be used', async () => {
    await expect(em().find(Note, {})).rejects.toThrow(
      'Using global EntityManager instance methods for context specific actions is disallowed',
    );
    expect(em().getContext(false)).toBe(em());
    expect(em().isInTransaction()).toBe(false);
    const texts = await em().transactional(async (inner) => {
      await insert('outside', inner);
      return (await em().find(Note, {})).map(({ text }) => text);
    });
    expect(texts).toEqual(['outside']);
  });
});

function configOf({ url }: TestDatabase, options: Partial<Options> = {}): Options {
  return defineConfig({
    clientUrl: url,
    entities: [Note],
    ensureDatabase: false,
    pool: { min: 0, max: 5 },
    ...options,
  }) as Options;
}

describe('the global entity manager of an orm that is handed over', () => {
  let database: TestDatabase;
  let orm: MikroORM;
  const apps: TestApp[] = [];

  const start = async (...connections: DbConnectionOptions[]): Promise<TestApp> => {
    const app = await startApp({ connections });
    apps.push(app);
    return app;
  };
  const em = (): EntityManager => orm.em;
  const xid = async (of: EntityManager): Promise<string> => {
    const [row] = await of.execute<{ xid: string }[]>('select pg_current_xact_id()::text as xid');
    return row!.xid;
  };

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
  });
  afterAll(() => database.drop());
  beforeEach(async () => {
    orm = await MikroORM.init(configOf(database));
  });
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()));
    await orm.close();
  });

  it('W2: is the session, and MikroORM’s own again when the application is closed', async () => {
    const prototype: unknown = Object.getPrototypeOf(orm.em);
    const context: unknown = orm.config.get('context');
    const app = await start({ orm });
    await app.dbContext.run(async () => {
      expect(await xid(em())).toBe(await xid(app.session()));
    });
    await app.close();
    expect(Object.getPrototypeOf(orm.em)).toBe(prototype);
    expect(orm.config.get('context')).toBe(context);
  });

  it('W2: a fork with useContext of before is the session, also where the application has its own context function', async () => {
    const own = orm.em.fork();
    orm.config.set('context', () => own);
    const before = orm.em.fork({ useContext: true });
    const app = await start({ orm });
    await app.dbContext.run(async () => {
      expect(await xid(before)).toBe(await xid(app.session()));
    });
    expect(before.getContext()).toBe(own);
  });

  it('W2: the context function of the application is asked where there is no context', async () => {
    const own = orm.em.fork();
    orm.config.set('context', () => own);
    const app = await start({ orm });
    expect(orm.em.getContext()).toBe(own);
    await app.dbContext.run(async () => {
      expect(await xid(em())).toBe(await xid(app.session()));
      expect(orm.em.getContext()).not.toBe(own);
    });
  });

  it('W2: globalEntityManager: "own" leaves it alone', async () => {
    const app = await start({ orm, globalEntityManager: 'own' });
    await app.dbContext.run(async () => {
      await expect(em().find(Note, {})).rejects.toThrow(
        'Using global EntityManager instance methods',
      );
      await RequestContext.create(orm.em, async () => {
        expect(await xid(em())).not.toBe(await xid(app.session()));
        expect(orm.em.getContext()).toBe(RequestContext.getEntityManager());
      });
    });
  });

  it('M1: an orm that two connections share is the session of the first of them', async () => {
    const app = await start({ orm }, { name: 'again', orm });
    await app.dbContext.run(async () => {
      expect(await xid(em())).toBe(await xid(app.session()));
      expect(await xid(em())).not.toBe(await xid(app.session('again')));
    });
  });

  it('M1: the first of them may leave it to the second', async () => {
    const app = await start({ orm, globalEntityManager: 'own' }, { name: 'again', orm });
    await app.dbContext.run(async () => {
      expect(await xid(em())).toBe(await xid(app.session('again')));
    });
  });

  it('W2: two applications that share an orm each have their own contexts', async () => {
    const one = await start({ orm });
    const two = await start({ orm });
    await one.dbContext.run(async () => {
      expect(await xid(em())).toBe(await xid(one.session()));
      await two.dbContext.run(async () => {
        expect(await xid(em())).toBe(await xid(two.session()));
        await one.dbContext.runInNewContext(async () => {
          expect(await xid(em())).toBe(await xid(one.session()));
        });
      });
      expect(await xid(em())).toBe(await xid(one.session()));
    });
    await two.close();
    await one.dbContext.run(async () => {
      expect(await xid(em())).toBe(await xid(one.session()));
    });
  });

  it('M1: orms of several context names are told apart by their names', async () => {
    const audit = await MikroORM.init(configOf(database, { contextName: 'audit' }));
    try {
      const app = await start({ orm }, { name: 'audit', orm: audit });
      await app.dbContext.run(async () => {
        expect(await xid(audit.em as EntityManager)).toBe(await xid(app.session('audit')));
        expect(await xid(em())).toBe(await xid(app.session()));
        expect(RequestContext.getEntityManager('audit')?.config).toBe(audit.config);
        await orm.em.transactional(async () => {
          expect(await xid(audit.em as EntityManager)).toBe(await xid(app.session('audit')));
        });
      });
    } finally {
      await Promise.all(apps.splice(0).map((app) => app.close()));
      await audit.close();
    }
  });

  it('M1: orms that have the same context name are told apart as well', async () => {
    const audit = await MikroORM.init(configOf(database));
    try {
      const app = await start({ orm }, { name: 'audit', orm: audit });
      await app.dbContext.run(async () => {
        await orm.em.transactional(async () => {
          expect(await xid(em())).toBe(await xid(app.session()));
          expect(await xid(audit.em as EntityManager)).toBe(await xid(app.session('audit')));
        });
      });
    } finally {
      await Promise.all(apps.splice(0).map((app) => app.close()));
      await audit.close();
    }
  });

  it('H2: in beforeSession it is MikroORM’s own', async () => {
    const seen: boolean[] = [];
    const app = await start({
      orm,
      beforeSession: async () => {
        await em().fork().execute('select 1');
        seen.push(em().getContext(false) === em());
      },
    });
    await app.dbContext.run(async () => {
      await em().count(Note);
    });
    expect(seen).toEqual([true]);
  });

  it('allowGlobalContext does not open a way past the session', async () => {
    await orm.close();
    orm = await MikroORM.init(configOf(database, { allowGlobalContext: true }));
    const app = await start({ orm });
    await app.dbContext.run(async () => {
      expect(await xid(em())).toBe(await xid(app.session()));
    });
    expect(em().getContext()).toBe(em());
  });
});
