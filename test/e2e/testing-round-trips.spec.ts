import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Post, UnprocessableEntityException } from '@nestjs/common';
import { DbContext, DbTransaction, InjectSession } from 'nestjs-db-context';
import { TestTransaction } from 'nestjs-db-context/testing';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type AdapterName, type TestApp } from '../support/test-app.js';
import { WireProxy } from '../support/wire-proxy.js';

let notes = 0;
const text = (): string => `note ${++notes}`;

@Controller()
class NotesController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('audit') private readonly audit: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('both')
  async both(): Promise<void> {
    this.session.persist(new Note(text()));
    this.audit.persist(new Note(text()));
    await this.session.count(Note);
  }

  @Post('refused')
  async refused(): Promise<void> {
    await this.session.insert(Note, { text: text() });
    throw new UnprocessableEntityException();
  }

  @Post('stream')
  async stream(): Promise<number> {
    let count = 0;
    for await (const note of this.session.stream(Note)) {
      count += note.id > 0 ? 1 : 0;
    }
    return count;
  }

  @Post('parameters')
  async parameters(): Promise<void> {
    // Kysely sends values apart from the text, which leave in no message with others.
    await this.session.getKysely<{ note: Note }>().selectFrom('note').where('id', '=', 1).execute();
  }

  @DbTransaction({ begin: 'first-write' })
  @Get('count')
  count(): Promise<number> {
    return this.session.count(Note);
  }

  @DbTransaction({ sessionVariables: { 'app.tenant': "o'neil", 'app.user': 'ada' } })
  @Post('tenant')
  async tenant(): Promise<void> {
    await this.session.insert(Note, { text: text() });
  }

  @Post('inner')
  async inner(): Promise<void> {
    await this.session.insert(Note, { text: text() });
    await this.dbContext.runInNewContext(() => this.session.insert(Note, { text: text() }));
  }
}

interface Trips {
  readonly default: number;
  readonly audit: number;
}

let database: TestDatabase;
let auditDatabase: TestDatabase;
let wire: WireProxy;
let auditWire: WireProxy;
const apps: Partial<Record<AdapterName, TestApp>> = {};
let app: TestApp;
let session: EntityManager;

beforeAll(async () => {
  [database, auditDatabase] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  await database.query(NOTE_SCHEMA);
  await auditDatabase.query('create table note (id serial primary key, text text unique)');
  [wire, auditWire] = (await Promise.all(
    [database, auditDatabase].map(({ url }) => WireProxy.start(url)),
  )) as [WireProxy, WireProxy];
  for (const adapter of ['express', 'fastify'] as const) {
    apps[adapter] = await startApp({
      adapter,
      connections: [noteConnection(wire.url), noteConnection(auditWire.url, { name: 'audit' })],
      controllers: [NotesController],
    });
    await request(apps[adapter], 'POST /both');
  }
  app = apps.express!;
  session = app.session();
});
afterAll(async () => {
  await Promise.all([apps.express?.close(), apps.fastify?.close()]);
  await Promise.all([wire.stop(), auditWire.stop()]);
  await Promise.all([database.drop(), auditDatabase.drop()]);
});

async function request(to: TestApp, what: string): Promise<number> {
  const [method, path] = what.split(' ') as [string, string];
  const response = await to.fetch(path, { method });
  await response.arrayBuffer();
  return response.status;
}

async function tripsOf(work: () => Promise<unknown>): Promise<Trips> {
  wire.reset();
  auditWire.reset();
  await work();
  return { default: wire.roundTrips, audit: auditWire.roundTrips };
}

const run = <T>(callback: () => Promise<T>): Promise<T> => app.dbContext.run(callback);

async function inTest<T>(work: (db: TestTransaction) => Promise<T>, of = app): Promise<T> {
  const saved = await database.query('select count(*) from note');
  const db = await TestTransaction.begin(of.app);
  try {
    return await work(db);
  } finally {
    await db.end();
    expect(of.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    expect(await database.query('select count(*) from note')).toEqual(saved);
  }
}

describe('round trips of a shared transaction', () => {
  it('T1: it begins with one on each connection, and ends with one', async () => {
    let db: TestTransaction | undefined;
    const begin = await tripsOf(async () => {
      db = await TestTransaction.begin(app.app);
    });
    const end = await tripsOf(async () => db?.end());
    const one = { default: 1, audit: 1 };
    expect({ begin, end }).toEqual({ begin: one, end: one });
  });

  it('T1: it begins and ends on all connections at once', async () => {
    const left = { default: deferred(), audit: deferred() };
    // Each waits for the other one to leave: one after another they would wait for ever.
    wire.onStatement = () => {
      left.default.resolve();
      return left.audit.promise;
    };
    auditWire.onStatement = () => {
      left.audit.resolve();
      return left.default.promise;
    };
    try {
      const db = await TestTransaction.begin(app.app);
      left.default = deferred();
      left.audit = deferred();
      await db.end();
    } finally {
      wire.onStatement = undefined;
      auditWire.onStatement = undefined;
    }
  });

  it.each(['express', 'fastify'] as const)(
    'T1: requests send as many in it as in production, over %s',
    async (adapter) => {
      const requests = [
        'POST /both',
        'POST /refused',
        'POST /stream',
        'POST /parameters',
        'POST /tenant',
        'GET /count',
      ];
      const of = apps[adapter]!;
      const count = async (): Promise<(readonly [string, number, Trips])[]> => {
        const counted: (readonly [string, number, Trips])[] = [];
        for (const each of requests) {
          let status = 0;
          const trips = await tripsOf(async () => {
            status = await request(of, each);
          });
          counted.push([each, status, trips]);
        }
        return counted;
      };
      await count();
      const production = await count();
      expect(production).toContainEqual(['POST /both', 201, { default: 3, audit: 2 }]);
      expect(await inTest(count, of)).toEqual(production);
    },
  );

  it('T1: a new context inside of another one in the same database takes one more', async () => {
    const inner = (): Promise<number> => request(app, 'POST /inner');
    await inner();
    expect(await tripsOf(inner)).toEqual({ default: 4, audit: 0 });
    expect(await inTest(() => tripsOf(inner))).toEqual({ default: 5, audit: 0 });
  });

  it('T1: the test itself sends one for each statement', async () => {
    await inTest(async (db) => {
      const work = async (): Promise<void> => {
        await db.session().insert(Note, { text: text() });
        await db.session().count(Note);
      };
      expect(await tripsOf(work)).toEqual({ default: 2, audit: 0 });
    });
  });

  it('T1: constraints are asked for once, and checked only where some are deferrable', async () => {
    const messagesOf = async (): Promise<{ default: string[]; audit: string[] }> => {
      wire.reset();
      auditWire.reset();
      await inTest(() => request(app, 'POST /both'));
      return { default: [...wire.messages], audit: [...auditWire.messages] };
    };
    await messagesOf();
    const messages = await messagesOf();
    expect(messages.default.filter((each) => each.includes('pg_constraint'))).toEqual([]);
    expect(messages.default).toContainEqual(
      expect.stringMatching(/^set constraints all immediate; release/),
    );
    expect(messages.audit).toEqual([
      expect.stringMatching(/^begin; select [^;]*; savepoint db_context_guard$/),
      expect.stringMatching(/^savepoint db_context_test_\d+;insert into "note"/),
      'release savepoint db_context_guard; savepoint db_context_guard',
      'rollback',
    ]);
  });

  it('T1: a constraint that the test itself adds is checked as well', async () => {
    await inTest(async (db) => {
      await db
        .session('audit')
        .execute('alter table note add constraint n unique (text) deferrable initially deferred');
      const audit = app.session('audit');
      const twice = run(async () => {
        await audit.execute("insert into note (text) values ('same')");
        await audit.execute("insert into note (text) values ('same')");
      });
      await expect(twice).rejects.toMatchObject({ code: '23505' });
      await run(() => audit.execute("insert into note (text) values ('same')"));
      expect(
        await db.session('audit').execute("select text from note where text = 'same'"),
      ).toEqual([{ text: 'same' }]);
    });
  });
});

describe('what is refused in a shared transaction', () => {
  const invalid = 'selekt 1';
  const failureOf = async (work: () => Promise<unknown>): Promise<object> => {
    const error = (await work().catch((reason: unknown) => reason)) as Record<string, unknown>;
    const { name, code, position, message } = error;
    return { name, code, position, message };
  };
  const first = (): Promise<unknown> => run(() => session.execute(invalid));
  const later = (): Promise<unknown> =>
    run(async () => {
      await session.count(Note);
      await session.execute(invalid);
    });
  const caught = (): Promise<unknown> =>
    run(async () => {
      await session.execute(invalid).catch(() => undefined);
      await session.count(Note);
    });
  const unknownColumn = (): Promise<unknown> => run(() => session.execute('select nothing'));
  const inside = (): Promise<unknown> =>
    run(async () => {
      await session.insert(Note, { text: 'outer' });
      await app.dbContext.runInNewContext(() => session.execute(invalid)).catch(() => undefined);
      await session.execute('select nothing');
    });

  it.each([
    ['a text that cannot be parsed, as the first statement', first],
    ['such a text later', later],
    ['such a text whose failure is caught', caught],
    ['a statement that fails as the first one', unknownColumn],
    ['such a text in a new context inside', inside],
  ])('F4, T1: %s fails as in production, and takes nothing else along', async (_, work) => {
    const production = await failureOf(work);
    await inTest(async (db) => {
      await db.session().insert(Note, { text: 'prepared' });
      expect(await request(app, 'POST /both')).toBe(201);
      const before = await db.session().count(Note);
      expect(await failureOf(work)).toEqual(production);
      expect(await db.session().count(Note)).toBe(before);
      expect(await request(app, 'POST /both')).toBe(201);
      expect(await db.session().count(Note)).toBe(before + 1);
    });
  });

  it('T1: a failure in the session of the test itself is undone alone', async () => {
    await inTest(async (db) => {
      await db.session().insert(Note, { text: 'one' });
      const again = db.session().insert(Note, { text: 'one' });
      await expect(again).rejects.toMatchObject({ code: '23505' });
      await expect(db.session().execute(invalid)).rejects.toMatchObject({ code: '42601' });
      const parameters = db
        .session()
        .getKysely<{ note: Note }>()
        .insertInto('note')
        .values({ id: 1_000_000, text: 'one' });
      await expect(parameters.execute()).rejects.toMatchObject({ code: '23505' });
      expect(await request(app, 'POST /both')).toBe(201);
      expect(await db.session().count(Note, { text: 'one' })).toBe(1);
    });
  });

  it('T1: so is one while a request is open, which goes on', async () => {
    await inTest(async (db) => {
      await run(async () => {
        await session.insert(Note, { text: 'by the request' });
        await db.session().count(Note);
        await expect(db.session().execute(invalid)).rejects.toMatchObject({ code: '42601' });
        await session.insert(Note, { text: 'by the request, later' });
      });
      expect(await db.session().count(Note, { text: { $like: 'by the request%' } })).toBe(2);
    });
  });

  it('T1: savepoints of the test itself keep and undo what they should', async () => {
    await inTest(async (db) => {
      const em = db.session();
      await em.transactional(async (outer) => {
        await outer.insert(Note, { text: 'kept' });
        expect(await request(app, 'POST /both')).toBe(201);
        await outer
          .transactional(async (inner) => {
            await inner.insert(Note, { text: 'undone' });
            throw new Error('undo');
          })
          .catch(() => undefined);
        await outer.insert(Note, { text: 'kept as well' });
      });
      await em.execute('savepoint mine');
      await em.insert(Note, { text: 'undone' });
      await em.execute('rollback to savepoint mine');
      await expect(em.execute(invalid)).rejects.toMatchObject({ code: '42601' });
      expect(await em.count(Note, { text: { $in: ['kept', 'kept as well', 'undone'] } })).toBe(2);
      expect(await request(app, 'POST /both')).toBe(201);
    });
  });

  it.each(['select 1; commit', 'select 1; rollback'])(
    'T1: %s in one text is refused, rather than end the transaction of the test',
    async (sql) => {
      await inTest(async (db) => {
        await db.session().insert(Note, { text: 'of the test' });
        const refusal = {
          code: 'TEST_ISOLATION',
          message: expect.stringContaining('was to be sent as SQL'),
        };
        await expect(run(() => session.execute(sql))).rejects.toMatchObject(refusal);
        const fork = app.connection().orm.em.fork() as EntityManager;
        await expect(fork.execute(sql)).rejects.toMatchObject(refusal);
        expect(await database.query("select text from note where text = 'of the test'")).toEqual(
          [],
        );
      });
    },
  );

  it.each([
    'commit',
    'rollback',
    'select 1; commit; begin',
    '/* c */ commit',
    'commit and chain',
    "prepare transaction 'x'",
  ])('T1: %s by the session of the test itself is refused, and the test goes on', async (sql) => {
    await inTest(async (db) => {
      const em = db.session();
      await em.insert(Note, { text: 'of the test' });
      await expect(em.execute(sql)).rejects.toMatchObject({ code: 'TEST_ISOLATION' });
      expect(await em.count(Note, { text: 'of the test' })).toBe(1);
      await db.session().insert(Note, { text: 'afterwards' });
      expect(await db.session().count(Note, { text: 'afterwards' })).toBe(1);
      expect(await database.query("select text from note where text = 'of the test'")).toEqual([]);
      expect(await request(app, 'POST /both')).toBe(201);
    });
  });
});
