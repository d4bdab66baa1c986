import { once } from 'node:events';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import type { EntityManager } from '@mikro-orm/postgresql';
import { TestDbContext, TestIsolationError, TestTransaction } from 'nestjs-db-context/testing';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import type { TransactionClient } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

let world: TestWorld;
let session: EntityManager;
let db: TestTransaction;

beforeAll(async () => {
  world = await startWorld({ acquireTimeoutMs: 1_000, drainTimeoutMs: 200, endTimeoutMs: 1_000 });
  session = world.session();
});
afterAll(() => world.close());

beforeEach(async () => {
  db = await TestTransaction.begin(world.app);
});
afterEach(async () => {
  await db.end();
  expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  expect(await world.savedTexts()).toEqual([]);
});

const texts = async (): Promise<string[]> =>
  (await db.session().find(Note, {}, { orderBy: { id: 'asc' } })).map(({ text }) => text);

const insertInto = (client: TransactionClient, text: string): Promise<unknown> =>
  client.query('insert into note (text) values ($1)', [text]);

describe('withClient() in a shared transaction', () => {
  it('T1: it works in the savepoint of its unit of work, and nothing is saved', async () => {
    await world.dbContext.run(async () => {
      await session.insert(Note, { text: 'before' });
      await world.dbContext.withClient(async (client) => {
        await insertInto(client, 'by pg');
        await pipeline(
          Readable.from(['a\n', 'b\n']),
          client.query(copyFrom('copy note (text) from stdin')),
        );
      });
      await session.insert(Note, { text: 'after' });
    });
    expect(await texts()).toEqual(['before', 'by pg', 'a', 'b', 'after']);
  });

  it('S2: a rollback of its unit of work undoes it, and nothing else', async () => {
    await world.dbContext.run(() =>
      world.dbContext.withClient((client) => insertInto(client, 'kept')),
    );
    const failed = world.dbContext.run(async () => {
      await world.dbContext.withClient((client) => insertInto(client, 'undone'));
      throw new Error('undo');
    });
    await expect(failed).rejects.toThrow(new Error('undo'));
    expect(await texts()).toEqual(['kept']);
  });

  it('T1: the test itself can use it', async () => {
    const chunks: string[] = [];
    await db.session().insert(Note, { text: 'of the test' });
    await world.dbContext.run(() =>
      world.dbContext.withClient(async (client) => {
        const copy = client.query(copyTo('copy note (text) to stdout'));
        copy.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
        await once(copy, 'end');
      }),
    );
    expect(chunks.join('')).toBe('of the test\n');
  });

  it('F4: a failure in it refuses the commit, as in production', async () => {
    const request = world.dbContext.run(() =>
      world.dbContext.withClient((client) => client.query('select 1 / 0').catch(() => undefined)),
    );
    await expect(request).rejects.toMatchObject({
      code: 'UNEXPECTED_ROLLBACK',
      cause: expect.objectContaining({ code: '22012' }),
    });
    expect(await texts()).toEqual([]);
  });

  it('T1: settings of the transaction end with it, as in production', async () => {
    await world.dbContext.run(() =>
      world.dbContext.withClient(async (client) => {
        await client.query("set local app.mine = 'a'");
        await client.query("select set_config('app.other', 'b', true)");
      }),
    );
    const rows = await world.dbContext.run(() =>
      session.execute("select current_setting('app.mine') as a, current_setting('app.other') as b"),
    );
    expect(rows).toEqual([{ a: '', b: '' }]);
  });

  it.each(['commit', 'rollback', 'select 1; end'])(
    'T1: %j in it is refused, and the transaction of the test goes on',
    async (text) => {
      await world.dbContext.run(() =>
        world.dbContext.withClient(async (client) => {
          await insertInto(client, 'before');
          await expect(client.query(text)).rejects.toMatchObject({
            constructor: TestIsolationError,
            message: expect.stringContaining('a COMMIT or ROLLBACK was to be sent on the client'),
          });
          await insertInto(client, 'after');
        }),
      );
      expect(await texts()).toEqual(['before', 'after']);
    },
  );

  it('T1: another unit of work in it is refused rather than left to wait', async () => {
    await world.dbContext.run(() =>
      world.dbContext.withClient(async () => {
        const inner = world.dbContext.runInNewContext(() => session.execute('select 1'));
        await expect(inner).rejects.toMatchObject({
          constructor: TestIsolationError,
          message: expect.stringContaining('in the callback of withClient()'),
        });
        await expect(session.execute('select 1')).rejects.toMatchObject({
          code: 'INVALID_TRANSACTION_STATE',
        });
      }),
    );
  });

  it('F1: a copy that nobody ends fails its unit of work and the rest of the test', async () => {
    const request = world.dbContext.run(() =>
      world.dbContext.withClient((client) => {
        client.query(copyFrom('copy note (text) from stdin')).write('half\n');
      }),
    );
    await expect(request).rejects.toMatchObject({ code: 'INVALID_TRANSACTION_STATE' });
    await expect(texts()).rejects.toMatchObject({
      constructor: TestIsolationError,
      message: expect.stringContaining('its client was still at work'),
    });
  });
});

describe('withClient() of a TestDbContext', () => {
  it('T1: there is no client, and it says so', async () => {
    await expect(
      new TestDbContext().withClient(() => 1, { connection: 'audit' }),
    ).rejects.toMatchObject({
      code: 'INVALID_TRANSACTION_STATE',
      connectionName: 'audit',
      message: expect.stringContaining('TestDbContext, which has no database'),
    });
  });
});
