import { RequestContext, TransactionPropagation, TransactionStateError } from '@mikro-orm/core';
import {
  CreateRequestContext,
  EnsureRequestContext,
  Transactional,
} from '@mikro-orm/decorators/legacy';
import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { DbContextNotActiveError, type DbContext } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { fail, useWorld } from '../support/use-world.js';

/** Where a method of a service has run. */
interface Ran {
  /** The transactions of two statements of it. */
  readonly xids: readonly [string, string];
}

/** Its methods are decorated; its subclasses differ in the property that MikroORM's decorators look for. */
abstract class NoteService {
  protected abstract manager(): EntityManager;

  async write(text: string): Promise<Ran> {
    await this.manager().insert(Note, { text });
    return { xids: [await xidOf(this.manager()), await xidOf(this.manager())] };
  }

  @Transactional()
  async byDefault(text: string, after: () => void = () => undefined): Promise<Ran> {
    const ran = await this.write(text);
    after();
    return ran;
  }

  @Transactional({ propagation: TransactionPropagation.REQUIRED })
  async required(text: string): Promise<Ran> {
    return this.write(text);
  }

  @Transactional({ propagation: TransactionPropagation.SUPPORTS })
  async supports(text: string): Promise<Ran> {
    return this.write(text);
  }

  @Transactional({ propagation: TransactionPropagation.MANDATORY })
  async mandatory(text: string): Promise<Ran> {
    return this.write(text);
  }

  @Transactional({ propagation: TransactionPropagation.NESTED })
  async nested(text: string, after: () => void = () => undefined): Promise<Ran> {
    const ran = await this.write(text);
    after();
    return ran;
  }

  @Transactional({ propagation: TransactionPropagation.REQUIRES_NEW })
  async requiresNew(text: string): Promise<Ran> {
    return this.write(text);
  }

  @Transactional({ propagation: TransactionPropagation.NOT_SUPPORTED })
  async notSupported(text: string): Promise<Ran> {
    return this.write(text);
  }

  @Transactional({ propagation: TransactionPropagation.NEVER })
  async never(text: string): Promise<Ran> {
    return this.write(text);
  }

  @CreateRequestContext()
  async inRequestContext(text: string): Promise<Ran> {
    this.manager().persist(new Note(text));
    await this.manager().flush();
    return { xids: [await xidOf(this.manager()), await xidOf(this.manager())] };
  }

  @EnsureRequestContext()
  async ensured(text: string): Promise<Ran> {
    return this.write(text);
  }
}

class WithOrm extends NoteService {
  constructor(readonly orm: MikroORM) {
    super();
  }

  protected manager(): EntityManager {
    return this.orm.em;
  }
}

class WithEm extends NoteService {
  constructor(readonly em: EntityManager) {
    super();
  }

  protected manager(): EntityManager {
    return this.em;
  }
}

class WithSession extends NoteService {
  constructor(readonly session: EntityManager) {
    super();
  }

  protected manager(): EntityManager {
    return this.session;
  }
}

class WithNothing extends NoteService {
  readonly #dbContext: DbContext;

  constructor(dbContext: DbContext) {
    super();
    this.#dbContext = dbContext;
  }

  protected manager(): EntityManager {
    return this.#dbContext.session();
  }
}

class WithUnknownName {
  @Transactional({ contextName: 'unknown' })
  async write(): Promise<void> {
    await Promise.resolve();
  }
}

async function xidOf(em: EntityManager): Promise<string> {
  const [row] = await em.execute<{ xid: string }[]>('select pg_current_xact_id()::text as xid');
  return row!.xid;
}

const shared = useWorld();
const { run, insert, xid } = shared;
const orm = (): MikroORM => shared.world.connection().orm;

const SERVICES = {
  'orm: MikroORM': () => new WithOrm(orm()),
  'em, the global one': () => new WithEm(orm().em),
  'em, the injected session': () => new WithEm(shared.session),
  session: () => new WithSession(shared.session),
  'no property': () => new WithNothing(shared.dbContext),
} as const;
type Shape = keyof typeof SERVICES;
const SHAPES = Object.keys(SERVICES) as Shape[];

/** A request context of MikroORM, as the middleware of `@mikro-orm/nestjs` opens it, or none. */
const AROUND = {
  'no request context': <T>(work: () => Promise<T>) => work(),
  'a request context around': <T>(work: () => Promise<T>) => RequestContext.create(orm().em, work),
};

/** A request that fails in the end: what is saved was not in its transaction. */
const failing = async (work: (own: string) => Promise<void>): Promise<string[]> => {
  const undone = run(async () => {
    await insert('before');
    await work(await xid());
    fail();
  });
  await expect(undone).rejects.toThrow('undo');
  return shared.world.savedTexts();
};

describe.each(Object.entries(AROUND))('@Transactional() in a context, with %s', (_what, around) => {
  describe.each(SHAPES)('of a class with %s', (shape) => {
    const service = (): NoteService => SERVICES[shape]();

    it.each(['byDefault', 'required', 'supports', 'mandatory', 'nested'] as const)(
      'C6: %s runs in the transaction of the request',
      async (method) => {
        const saved = await around(() =>
          failing(async (own) => {
            expect(await service()[method]('inner')).toEqual({ xids: [own, own] });
            expect(await xid()).toBe(own);
          }),
        );
        expect(saved).toEqual([]);
      },
    );

    it('C6: requiresNew runs in one of its own', async () => {
      const saved = await around(() =>
        failing(async (own) => {
          const { xids } = await service().requiresNew('inner');
          expect(xids[0]).toBe(xids[1]);
          expect(xids[0]).not.toBe(own);
        }),
      );
      expect(saved).toEqual(['inner']);
    });

    it('C6: notSupported runs in none', async () => {
      const saved = await around(() =>
        failing(async () => {
          const { xids } = await service().notSupported('inner');
          expect(xids[0]).not.toBe(xids[1]);
        }),
      );
      expect(saved).toEqual(['inner']);
    });

    it('C6: never is refused', async () => {
      const saved = await around(() =>
        failing(async () => {
          await expect(service().never('inner')).rejects.toThrow(TransactionStateError);
        }),
      );
      expect(saved).toEqual([]);
    });

    it('C6: one that throws and is caught keeps its row, as REQUIRED does in a transaction', async () => {
      await around(() =>
        run(async () => {
          await expect(service().byDefault('inner', fail)).rejects.toThrow('undo');
          await insert('after');
        }),
      );
      expect(await shared.world.savedTexts()).toEqual(['inner', 'after']);
    });

    it('C6: with NESTED its row is undone', async () => {
      await around(() =>
        run(async () => {
          await expect(service().nested('inner', fail)).rejects.toThrow('undo');
          await insert('after');
        }),
      );
      expect(await shared.world.savedTexts()).toEqual(['after']);
    });
  });
});

describe('@Transactional() where it finds no entity manager', () => {
  it('C6: of a name that no connection has fails, and says what the class lacks', async () => {
    await run(async () => {
      await expect(new WithUnknownName().write()).rejects.toThrow(
        'can only be applied to methods of classes with `orm: MikroORM` property, `em: EntityManager` property',
      );
    });
  });

  it('C6: outside of a context fails as well', async () => {
    await expect(SERVICES['session']().byDefault('a')).rejects.toThrow(
      'can only be applied to methods of classes with `orm: MikroORM` property, `em: EntityManager` property',
    );
    await expect(SERVICES['em, the injected session']().byDefault('a')).rejects.toThrow(
      DbContextNotActiveError,
    );
    await SERVICES['orm: MikroORM']().byDefault('plain MikroORM');
    expect(await shared.world.savedTexts()).toEqual(['plain MikroORM']);
  });
});

const WITH_PROPERTY = ['orm: MikroORM', 'em, the global one', 'em, the injected session'] as const;

describe.each(Object.entries(AROUND))('request contexts in a context, with %s', (_what, around) => {
  it.each(WITH_PROPERTY)(
    'C6: @CreateRequestContext() with %s has a transaction of its own, which outlasts the request',
    async (shape) => {
      const saved = await around(() =>
        failing(async (own) => {
          const { xids } = await SERVICES[shape]().inRequestContext('inner');
          expect(xids).not.toContain(own);
          expect(await xid()).toBe(own);
        }),
      );
      expect(saved).toEqual(['inner']);
    },
  );

  it.each(WITH_PROPERTY)('W2: @EnsureRequestContext() with %s is in the session', async (shape) => {
    const saved = await around(() =>
      failing(async (own) => {
        expect(await SERVICES[shape]().ensured('inner')).toEqual({ xids: [own, own] });
      }),
    );
    expect(saved).toEqual([]);
  });
});
