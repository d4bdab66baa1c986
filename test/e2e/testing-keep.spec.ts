import { execFile } from 'node:child_process';

import { InvalidOptionsError } from 'nestjs-db-context';
import {
  KeptRowsError,
  useTestTransaction,
  type CurrentTestTransaction,
  type UseTestTransactionOptions,
} from 'nestjs-db-context/testing';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { NOTE_SCHEMA, Note } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';

const SCHEMA = `${NOTE_SCHEMA};
  create table pair (id int primary key, other int references pair deferrable initially deferred)`;

let database: TestDatabase;
let audit: TestDatabase;

beforeAll(async () => {
  [database, audit] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  await Promise.all([database.query(SCHEMA), audit.query(SCHEMA)]);
});
afterAll(() => Promise.all([database.drop(), audit.drop()]));

async function savedTexts(of: TestDatabase): Promise<string[]> {
  const rows = await of.query<{ text: string }>('select text from note order by id');
  return rows.map(({ text }) => text);
}

/** The URL of a database without its password. */
function openUrl({ url }: TestDatabase): string {
  const { username, host, pathname } = new URL(url);
  return `postgresql://${username}@${host}${pathname}`;
}

describe('keepOnFailure and keep()', () => {
  let app: TestApp;

  beforeEach(async () => {
    app = await startApp({
      connections: [
        noteConnection(database.url, { endTimeoutMs: 500 }),
        noteConnection(audit.url, { name: 'audit' }),
      ],
    });
  });
  afterEach(async () => {
    const pools = [app.pool(), app.pool('audit')];
    await app.close();
    await Promise.all([database.query('truncate note'), audit.query('truncate note')]);
    expect(pools).toMatchObject([
      { checkedOut: 0, waiting: 0 },
      { checkedOut: 0, waiting: 0 },
    ]);
  });

  type Callback = (...args: unknown[]) => Promise<void>;

  /** A runner whose hooks this spec calls. */
  class HandRunner {
    readonly db: CurrentTestTransaction;
    readonly #hooks = new Map<string, Callback>();

    constructor(options: UseTestTransactionOptions) {
      const register = (name: string) => (callback: Callback) => this.#hooks.set(name, callback);
      this.db = useTestTransaction(() => app.app, {
        beforeEach: register('beforeEach'),
        afterEach: register('afterEach'),
        beforeAll: register('beforeAll'),
        afterAll: register('afterAll'),
        ...options,
      });
    }

    /** @param self the `this` of the hook, which Mocha gives it */
    run(
      hook: 'beforeEach' | 'afterEach' | 'beforeAll' | 'afterAll',
      arg?: unknown,
      self?: unknown,
    ): Promise<void> {
      return this.#hooks.get(hook)!.call(self, arg);
    }
  }

  const keptBy = async (end: Promise<void>): Promise<KeptRowsError> => {
    const error = await end.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(KeptRowsError);
    return error as KeptRowsError;
  };

  it('T1: rolls a passed test back, and commits all connections of a failed one', async () => {
    let hasFailed = false;
    const runner = new HandRunner({ keepOnFailure: () => hasFailed });
    await runner.run('beforeEach');
    await runner.db.session().insert(Note, { text: 'passed' });
    await runner.run('afterEach');
    expect(runner.db.hasKeptRows).toBe(false);

    await runner.run('beforeEach');
    await runner.db.session().insert(Note, { text: 'failed' });
    await runner.db.session('audit').insert(Note, { text: 'audit' });
    await app.dbContext.run(() => app.session().insert(Note, { text: 'application' }));
    hasFailed = true;
    const error = await keptBy(runner.run('afterEach'));

    expect(await savedTexts(database)).toEqual(['failed', 'application']);
    expect(await savedTexts(audit)).toEqual(['audit']);
    expect(runner.db.hasKeptRows).toBe(true);
    expect(error).toMatchObject({
      code: 'TEST_ROWS_KEPT',
      kept: [
        { connectionName: 'default', url: openUrl(database) },
        { connectionName: 'audit', url: openUrl(audit) },
      ],
    });
    expect(error.message).toContain(`psql '${openUrl(database)}'`);
    expect(error.message).toContain(`psql '${openUrl(audit)}'`);
    expect(error.message).not.toContain(`:${new URL(database.url).password}@`);
  });

  it('T1: refuses the tests after it on that application, those of other calls too', async () => {
    const runner = new HandRunner({ keepOnFailure: () => true });
    await runner.run('beforeEach');
    await runner.db.session().insert(Note, { text: 'failed' });
    await keptBy(runner.run('afterEach'));

    const other = new HandRunner({});
    for (const each of [runner, other]) {
      const error = await keptBy(each.run('beforeEach'));
      expect(error.message).toContain('This test would see them');
      await each.run('afterEach');
    }
    expect(await savedTexts(database)).toEqual(['failed']);
  });

  it('T1: commits the data of the blocks around the failed test as well', async () => {
    const runner = new HandRunner({ keepOnFailure: () => true });
    runner.db.beforeAll(async (session) => {
      await session.insert(Note, { text: 'of the block' });
    });
    await runner.run('beforeAll');
    await runner.run('beforeEach');
    await runner.db.session().insert(Note, { text: 'of the test' });
    const session = runner.db.session();
    await keptBy(runner.run('afterEach'));
    await expect(session.count(Note)).rejects.toMatchObject({ name: 'SessionClosedError' });
    await keptBy(runner.run('beforeEach'));
    await runner.run('afterAll');
    expect(await savedTexts(database)).toEqual(['of the block', 'of the test']);
  });

  it('T1: keeps what came before a failed statement, and not what is open', async () => {
    const runner = new HandRunner({ keepOnFailure: () => true });
    await runner.run('beforeEach');
    await runner.db.session().insert(Note, { text: 'before' });
    const inserted = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    const open = app.dbContext.run(async () => {
      await app.session().insert(Note, { text: 'open' });
      await app
        .session()
        .execute('select 1/0')
        .catch(() => undefined);
      inserted.resolve();
      await released.promise;
    });
    await inserted.promise;
    const error = await keptBy(runner.run('afterEach'));
    expect(error.message).toContain('1 transaction(s) of the application were still open');
    expect(await savedTexts(database)).toEqual(['before']);
    released.resolve();
    await expect(open).rejects.toMatchObject({ name: 'UnexpectedRollbackError' });
  });

  it('T1: says so where a deferred constraint refuses the COMMIT', async () => {
    const runner = new HandRunner({ keepOnFailure: () => true });
    await runner.run('beforeEach');
    await runner.db.session().execute('insert into pair values (1, 2)');
    await runner.db.session('audit').insert(Note, { text: 'audit' });
    const error = await keptBy(runner.run('afterEach'));
    expect(error.message).toMatch(
      /default: nothing is kept.*insert or update on table "pair" violates foreign key constraint/,
    );
    expect(error.kept).toMatchObject([
      { connectionName: 'default', failure: { code: '23503' } },
      { connectionName: 'audit', failure: undefined },
    ]);
    expect(await database.query('select * from pair')).toEqual([]);
    expect(await savedTexts(audit)).toEqual(['audit']);
  });

  it('T1: stops a statement that the test left at work, and keeps what was done before it', async () => {
    const runner = new HandRunner({ keepOnFailure: () => true });
    await runner.run('beforeEach');
    await runner.db.session().insert(Note, { text: 'before' });
    const left = runner.db.session().execute('select pg_sleep(60)');
    const stopped = expect(left).rejects.toMatchObject({ code: '57014' });
    await runner.db.session('audit').insert(Note, { text: 'audit' });
    const error = await keptBy(runner.run('afterEach'));
    expect(error.kept).toMatchObject([{ failure: undefined }, { failure: undefined }]);
    await stopped;
    expect([await savedTexts(database), await savedTexts(audit)]).toEqual([['before'], ['audit']]);
  });

  it('T1: keep() keeps the rows of a test that passes, which then fails', async () => {
    const runner = new HandRunner({});
    expect(() => runner.db.keep()).toThrow(InvalidOptionsError);
    await runner.run('beforeEach');
    await runner.db.session().insert(Note, { text: 'kept' });
    runner.db.keep();
    await keptBy(runner.run('afterEach'));
    expect(await savedTexts(database)).toEqual(['kept']);
  });

  it('T1: learns from the context of Mocha that a test has failed', async () => {
    const runner = new HandRunner({ keepOnFailure: true });
    const currentTest = { title: 'of Mocha', state: 'passed' };
    for (const state of ['passed', 'failed']) {
      await runner.run('beforeEach', undefined, { currentTest });
      await runner.db.session().insert(Note, { text: state });
      currentTest.state = state;
      const end = runner.run('afterEach', undefined, { currentTest });
      if (state === 'failed') {
        const error = await keptBy(end);
        expect(error.message).toContain('The rows of the test "of Mocha" were kept');
      } else {
        await end;
      }
    }
    expect(await savedTexts(database)).toEqual(['failed']);
  });

  it('T1: does not keep what is meant to fail', async () => {
    const runner = new HandRunner({ keepOnFailure: true });
    const context = { task: { name: 'x', fails: true, result: { state: 'fail' } } };
    await runner.run('beforeEach', context);
    await runner.db.session().insert(Note, { text: 'as meant' });
    await runner.run('afterEach', context);
    expect(await savedTexts(database)).toEqual([]);
  });

  it('names a database on a socket by its directory', async () => {
    const { keptUrl } = await import('../../lib/testing/kept-rows.js');
    const client = { host: "/tmp/it's", port: 5433, user: 'a b', database: 'shop' };
    expect(keptUrl(client)).toBe('postgresql://a%20b@/shop?host=%2Ftmp%2Fit%27s&port=5433');
    expect(keptUrl({ host: '::1', port: 5432, user: 'u', database: 'd' })).toBe(
      'postgresql://u@[::1]:5432/d',
    );
  });

  describe('the environment', () => {
    const before = { ...process.env };
    afterEach(() => {
      for (const name of ['DB_CONTEXT_KEEP_ON_FAILURE', 'NODE_ENV']) {
        delete process.env[name];
        if (before[name] !== undefined) process.env[name] = before[name];
      }
    });

    it('T1: DB_CONTEXT_KEEP_ON_FAILURE=1 is the default, which the option outranks', async () => {
      process.env['DB_CONTEXT_KEEP_ON_FAILURE'] = '1';
      const failed = { task: { name: 'x', result: { state: 'fail' } } };
      for (const [options, texts] of [
        [{ keepOnFailure: false }, []],
        [{}, ['kept']],
      ] as const) {
        const runner = new HandRunner(options);
        await runner.run('beforeEach', failed);
        await runner.db.session().insert(Note, { text: 'kept' });
        await runner.run('afterEach', failed).catch(() => undefined);
        expect(await savedTexts(database)).toEqual(texts);
      }
    });

    it.each([
      ['DB_CONTEXT_KEEP_ON_FAILURE', 'yes', {}],
      ['DB_CONTEXT_KEEP_ON_FAILURE', '1', { concurrent: true }],
      ['NODE_ENV', 'production', { keepOnFailure: true }],
    ])('%s=%s is refused', (name, value, options) => {
      process.env[name] = value;
      expect(() => new HandRunner(options)).toThrow(
        expect.objectContaining({
          code: 'INVALID_OPTIONS',
          message: expect.stringContaining(name),
        }),
      );
    });
  });

  it('is refused with concurrent: true', () => {
    expect(() => new HandRunner({ keepOnFailure: true, concurrent: true })).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining('with concurrent: true'),
      }),
    );
  });

  it('is refused where the runner does not say whether a test has failed', async () => {
    const symbol = Object.getOwnPropertySymbols(globalThis).find(
      ({ description }) => description === 'JEST_STATE_SYMBOL',
    )!;
    const realm = globalThis as Record<symbol, unknown>;
    const state = realm[symbol];
    const runner = new HandRunner({ keepOnFailure: true });
    Reflect.set(globalThis, symbol, undefined);
    try {
      await expect(runner.run('beforeEach')).rejects.toMatchObject({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining('keepOnFailure: () => hasFailed'),
      });
    } finally {
      Reflect.set(globalThis, symbol, state);
    }
  });
});

const FIXTURES = 'test/fixtures/keep';
const RUNNERS = {
  Jest: [
    '--experimental-vm-modules',
    '--disable-warning=ExperimentalWarning',
    'node_modules/jest/bin/jest.js',
    '--config',
    `${FIXTURES}/jest.config.mjs`,
    '--runInBand',
  ],
  Vitest: ['node_modules/vitest/vitest.mjs', 'run', '--config', `${FIXTURES}/vitest.config.ts`],
  'node:test': [
    '--import',
    './test/support/typescript.register.mjs',
    '--test-reporter=tap',
    `${FIXTURES}/keep.node.ts`,
  ],
};

describe.each(['Jest', 'Vitest', 'node:test'] as const)('keepOnFailure in %s', (name) => {
  it('T1: keeps the rows of the failed test, says so beside it, and runs no later test', async () => {
    await database.query('truncate note');
    const { JEST_WORKER_ID: _own, NODE_OPTIONS: _options, ...environment } = process.env;
    const output = await new Promise<string>((resolve) => {
      execFile(
        process.execPath,
        RUNNERS[name],
        { env: { ...environment, KEEP_URL: database.url, NO_COLOR: '1' }, timeout: 110_000 },
        (_error, stdout, stderr) => resolve(`${stdout}\n${stderr}`),
      );
    });
    expect(output).toContain('the words of the test');
    expect(output).toContain('The rows of the test "fails" were kept');
    expect(output).toContain(`psql '${openUrl(database)}'`);
    expect(output).toContain('This test would see them');
    expect(await savedTexts(database)).toEqual(['of the test', 'of the application']);
  }, 120_000);
});
