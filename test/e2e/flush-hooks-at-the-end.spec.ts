import type { EventSubscriber } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  InvalidOptionsError,
  InvalidTransactionStateError,
  UnexpectedRollbackError,
} from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';

const EVENTS = [
  'beforeFlush',
  'onFlush',
  'afterFlush',
  'beforeCreate',
  'afterCreate',
  'beforeTransactionCommit',
] as const;
const FLUSH_EVENTS = EVENTS.filter((event) => event !== 'beforeTransactionCommit');

type HookEvent = (typeof EVENTS)[number];

let one: TestDatabase;
let two: TestDatabase;
let app: TestApp;
/** What the subscriber of connection "default" does at the next event of this name. */
let next: { readonly event: HookEvent; readonly act: () => unknown } | undefined;

/** Does once what a test asks for. */
const subscriber: EventSubscriber = Object.fromEntries(
  EVENTS.map((event) => [
    event,
    () => {
      const due = next;
      if (due?.event !== event) {
        return undefined;
      }
      next = undefined;
      return due.act();
    },
  ]),
);

const at = (event: HookEvent, act: () => unknown): void => {
  next = { event, act };
};
const a = (): EntityManager => app.session();
const b = (): EntityManager => app.session('other');
const run = <T>(callback: () => Promise<T>): Promise<T> => app.dbContext.run(callback);
const saved = async (database: TestDatabase): Promise<string[]> =>
  (await database.query<{ text: string }>('select text from note order by id')).map(
    ({ text }) => text,
  );
const errorOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'no error',
    (error: unknown) => error,
  );
const veto = (): never => {
  throw new RangeError('vetoed');
};

beforeAll(async () => {
  [one, two] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  await Promise.all([one.query(NOTE_SCHEMA), two.query(NOTE_SCHEMA)]);
  app = await startApp({
    connections: [noteConnection(one.url), noteConnection(two.url, { name: 'other' })],
  });
  app.connection().orm.em.getEventManager().registerSubscriber(subscriber);
});
afterAll(async () => {
  await app.close();
  await Promise.all([one.drop(), two.drop()]);
});
beforeEach(async () => {
  next = undefined;
  await one.query('truncate note restart identity');
  await two.query('truncate note restart identity');
});
afterEach(() => {
  expect(app.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
});

const ENDS: Record<string, () => Promise<unknown>> = {
  'session.commit()': () => a().commit(),
  'session.rollback()': () => a().rollback(),
  'dbContext.commit()': () => app.dbContext.commit(),
  'dbContext.rollback()': () => app.dbContext.rollback(),
  'dbContext.close()': () => app.dbContext.close(),
  'dbContext.commitAll()': () => app.dbContext.commitAll(),
  'dbContext.rollbackAll()': () => app.dbContext.rollbackAll(),
  'dbContext.closeAll()': () => app.dbContext.closeAll(),
  'dbContext.atomic()': () => app.dbContext.atomic(() => a().insert(Note, { text: 'atomic' })),
  'dbContext.popSession()': async () => app.dbContext.popSession(),
};

describe.each(Object.entries(ENDS))('%s in a hook of a flush by hand', (_, end) => {
  it.each(FLUSH_EVENTS)('F4, C1: in %s it is refused, and undoes nothing', async (event) => {
    let refusal: Promise<unknown> | undefined;
    at(event, () => {
      // Not awaited: what it does must not be decided by who waits for it.
      refusal = errorOf(end());
    });
    await run(async () => {
      a().create(Note, { text: 'flushed' });
      await a().flush();
      a().create(Note, { text: 'later' });
    });
    const error = (await refusal) as InvalidTransactionStateError;
    expect(error).toBeInstanceOf(InvalidTransactionStateError);
    expect(error.message).toContain('was called by a flush hook or a subscriber');
    expect(await saved(one)).toEqual(['flushed', 'later']);
  });

  it('F4: what the hook does not catch fails the flush, and with it the end of the context', async () => {
    at('afterCreate', end);
    let flushError: unknown;
    const done = run(async () => {
      a().create(Note, { text: 'flushed' });
      flushError = await errorOf(a().flush());
    });
    const error = (await errorOf(done)) as UnexpectedRollbackError;
    expect(flushError).toBeInstanceOf(InvalidTransactionStateError);
    expect(error).toBeInstanceOf(UnexpectedRollbackError);
    expect(error.reason).toBe('failed-flush');
    expect(await saved(one)).toEqual([]);
  });
});

it('C1: an end in a hook of a flush that is over is as any other', async () => {
  let late: (() => void) | undefined;
  const waiting = new Promise<void>((resolve) => {
    late = resolve;
  });
  let committed: Promise<unknown> | undefined;
  at('afterFlush', () => {
    committed = waiting.then(() => a().commit());
  });
  await run(async () => {
    a().create(Note, { text: 'a' });
    await a().flush();
    late!();
    await committed;
    expect(await saved(one)).toEqual(['a']);
  });
});

describe.each(EVENTS)('beforeCommit() in a hook of the last flush, in %s', (event) => {
  it.each([{}, { connection: 'default' }])(
    'C5: runs, and may veto the commit: %j',
    async (options) => {
      at(event, () => app.dbContext.beforeCommit(veto, options));
      const done = run(async () => {
        a().create(Note, { text: 'a' });
      });
      await expect(done).rejects.toEqual(new RangeError('vetoed'));
      expect(await saved(one)).toEqual([]);
    },
  );

  it.each([{}, { connection: 'default' }])(
    'C5: what it writes is committed: %j',
    async (options) => {
      at(event, () =>
        app.dbContext.beforeCommit(() => {
          a().create(Note, { text: 'by the hook' });
          b().create(Note, { text: 'by the hook' });
        }, options),
      );
      await run(async () => {
        a().create(Note, { text: 'a' });
      });
      expect([await saved(one), await saved(two)]).toEqual([['a', 'by the hook'], ['by the hook']]);
    },
  );

  it('C5: one that is bound to the connection runs before an early commit as well', async () => {
    at(event, () => app.dbContext.beforeCommit(veto, { connection: 'default' }));
    const done = run(async () => {
      a().create(Note, { text: 'a' });
      await app.dbContext.commit();
    });
    await expect(done).rejects.toEqual(new RangeError('vetoed'));
    expect(await saved(one)).toEqual([]);
  });

  it('C2, C5: and before the commit of an atomic() block', async () => {
    at(event, () => app.dbContext.beforeCommit(veto, { connection: 'default' }));
    const done = run(() =>
      app.dbContext.atomic((session) => {
        session.create(Note, { text: 'a' });
      }),
    );
    await expect(done).rejects.toEqual(new RangeError('vetoed'));
    expect(await saved(one)).toEqual([]);
  });
});

describe.each(EVENTS)('a change in a hook of the last flush, in %s', (event) => {
  beforeEach(() => two.query("insert into note (text) values ('b')"));

  const ORDERS: Record<string, () => Promise<Note>> = {
    'used before': async () => {
      const found = await b().findOneOrFail(Note, { text: 'b' });
      a().create(Note, { text: 'a' });
      return found;
    },
    'used after': async () => {
      await a().count(Note);
      a().create(Note, { text: 'a' });
      return b().findOneOrFail(Note, { text: 'b' });
    },
  };
  it.each(Object.keys(ORDERS))('S3, M1: of another session that was %s is saved', async (order) => {
    let found: Note | undefined;
    at(event, () => {
      found!.text = 'changed';
    });
    await run(async () => {
      found = await ORDERS[order]!();
    });
    expect([await saved(one), await saved(two)]).toEqual([['a'], ['changed']]);
  });

  it('S3: of an entity of the session itself is saved', async () => {
    await one.query("insert into note (text) values ('before')");
    let found: Note | undefined;
    at(event, () => {
      found!.text = 'changed';
    });
    await run(async () => {
      found = await a().findOneOrFail(Note, { text: 'before' });
      a().create(Note, { text: 'a' });
    });
    expect((await saved(one)).toSorted()).toEqual(['a', 'changed']);
  });

  it('S3: new entities and those that are removed are saved, in both sessions', async () => {
    at(event, () => {
      a().create(Note, { text: 'more' });
      b().create(Note, { text: 'more' });
      const [known] = [...b().getContext().getUnitOfWork().getIdentityMap()] as Note[];
      b().remove(known!);
    });
    await run(async () => {
      await b().findOneOrFail(Note, { text: 'b' });
      a().create(Note, { text: 'a' });
    });
    expect([await saved(one), await saved(two)]).toEqual([['a', 'more'], ['more']]);
  });
});

it('S3: hooks that give one another work without end fail the commit', async () => {
  let count = 0;
  const again = (): void => {
    count += 1;
    a().create(Note, { text: `note ${count}` });
    at('afterFlush', again);
  };
  at('afterFlush', again);
  const error = await errorOf(
    run(async () => {
      a().create(Note, { text: 'a' });
    }),
  );
  next = undefined;
  expect(error).toBeInstanceOf(InvalidOptionsError);
  expect((error as Error).message).toContain('keep giving');
  expect(await saved(one)).toEqual([]);
});

it('S3: an entity that differs after each flush is written once more, and fails nothing', async () => {
  await one.query("insert into note (text) values ('0')");
  let found: Note | undefined;
  let count = 0;
  const again = (): void => {
    count += 1;
    found!.text = String(count);
    at('afterFlush', again);
  };
  at('afterFlush', again);
  await run(async () => {
    found = await a().findOneOrFail(Note, { text: '0' });
    a().create(Note, { text: 'a' });
  });
  next = undefined;
  expect((await saved(one)).toSorted()).toEqual(['1', 'a']);
});

it('C5: the beforeCommit option is called once for each session, however often that is flushed', async () => {
  const called: string[] = [];
  const own = await startApp({
    connections: [noteConnection(one.url), noteConnection(two.url, { name: 'other' })],
    beforeCommit: (_, connectionName) => {
      called.push(connectionName);
    },
  });
  try {
    own.connection().orm.em.getEventManager().registerSubscriber(subscriber);
    at('afterFlush', () => {
      own.session().create(Note, { text: 'more' });
      own.session('other').create(Note, { text: 'more' });
    });
    await own.dbContext.run(async () => {
      // Has nothing to commit as it is flushed for the first time.
      own.session('other').getReference(Note, 1);
      own.session().create(Note, { text: 'a' });
    });
  } finally {
    await own.close();
  }
  expect(called).toEqual(['default', 'other']);
  expect([await saved(one), await saved(two)]).toEqual([['a', 'more'], ['more']]);
});
