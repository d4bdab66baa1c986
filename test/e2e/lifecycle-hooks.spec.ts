import { EntitySchema } from '@mikro-orm/core';
import { EntityManager } from '@mikro-orm/postgresql';
import { TransactionTimeoutError } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

/** What the hook of an entity does; another thing in each test. */
let hook: () => Promise<unknown> = () => Promise.resolve();

/** A row that an application knows from the beginning, or discovers later. */
class HookedNote {
  id!: number;
  text!: string;
}

const HOOKED = new EntitySchema<HookedNote>({
  class: HookedNote,
  tableName: 'hooked_note',
  properties: {
    id: { type: 'integer', primary: true, autoincrement: true },
    text: { type: 'text' },
  },
  hooks: { beforeCreate: [() => hook()] },
});

/** A manager of the application's own, whose flush is code of the application as well. */
class OwnManager extends EntityManager {
  override async flush(): Promise<void> {
    await hook();
    await super.flush();
  }
}

const HOOKED_SCHEMA = 'create table hooked_note (id serial primary key, text text not null)';
const LIMIT_MS = 300;

const WAYS: Record<string, () => Promise<TestWorld>> = {
  'an entity that is known from the beginning': () =>
    startWorld({ transactionTimeoutMs: LIMIT_MS, entities: [Note, HOOKED] }),
  'an entity that is discovered later': async () => {
    const world = await startWorld({ transactionTimeoutMs: LIMIT_MS });
    // A flush before has seen no hook.
    await world.dbContext.run(async () => {
      world.session().persist(new Note('before'));
      await world.session().flush();
    });
    world.connection().orm.discoverEntity(HOOKED);
    return world;
  },
};

// The only code of the application that runs in a flush: no subscriber is registered.
describe.each(Object.entries(WAYS))('a lifecycle hook of %s', (_, start) => {
  const current = useWorld(start, { hasLateWork: true });
  const persist = (): void => {
    current.session.create(HookedNote, { text: 'hooked' });
  };
  const saved = async (): Promise<unknown[]> =>
    (await current.world.database.query('select text from hooked_note')).map(({ text }) => text);
  beforeAll(() => current.world.database.query(HOOKED_SCHEMA));
  beforeEach(() => current.world.database.query('truncate hooked_note'));
  afterEach(() => {
    hook = () => Promise.resolve();
  });

  it('S3: runs in the session', async () => {
    let seen: string | undefined;
    hook = async () => {
      seen = await current.xid();
    };
    await current.run(async () => {
      persist();
      await current.session.flush();
      expect(seen).toBe(await current.xid());
    });
    expect(await saved()).toEqual(['hooked']);
  });

  it('S3: gets MikroORM’s error for a flush of its own, which would wait for itself', async () => {
    hook = () => current.session.flush();
    const done = current.run(async () => {
      persist();
      await current.session.flush();
    });
    await expect(done).rejects.toThrow(
      'You cannot call em.flush() from inside lifecycle hook handlers',
    );
    expect(await saved()).toEqual([]);
  });

  it('F6: is given up with its transaction, also before the first statement', async () => {
    hook = () => new Promise(() => undefined);
    const done = current.run(async () => {
      persist();
      await Promise.resolve();
    });
    await expect(done).rejects.toThrow(TransactionTimeoutError);
    expect(await saved()).toEqual([]);
  });
});

describe('a flush of a manager of the application', () => {
  const current = useWorld(
    () => startWorld({ transactionTimeoutMs: LIMIT_MS, entityManager: OwnManager }),
    { hasLateWork: true },
  );
  afterEach(() => {
    hook = () => Promise.resolve();
  });

  it('F6: is given up with its transaction, also before the first statement', async () => {
    hook = () => new Promise(() => undefined);
    const done = current.run(async () => {
      current.session.persist(new Note('never'));
      await Promise.resolve();
    });
    await expect(done).rejects.toThrow(TransactionTimeoutError);
    expect(await current.world.savedTexts()).toEqual([]);
  });
});
