import { once } from 'node:events';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { eq, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';
import { Kysely, PostgresDialect } from 'kysely';
import { UnexpectedRollbackError } from 'nestjs-db-context';
import { Client, type ClientBase, type PoolClient } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';

import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { fail, useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const lines = (...texts: readonly string[]): Readable =>
  Readable.from(texts.map((each) => `${each}\n`));

const backends = async (client: ClientBase): Promise<number> => {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]!.pid;
};

describe('COPY through withClient()', () => {
  const at = useWorld(() => startWorld({ drainTimeoutMs: 300 }), { hasLateWork: true });

  it('L3: COPY FROM STDIN writes in the transaction, between statements of the session', async () => {
    await at.run(async () => {
      await at.insert('before');
      await at.dbContext.withClient((client: PoolClient) =>
        pipeline(lines('a', 'b', 'c'), client.query(copyFrom('copy note (text) from stdin'))),
      );
      expect(await at.session.count(Note)).toBe(4);
      await at.insert('after');
    });
    expect(await at.world.savedTexts()).toEqual(['before', 'a', 'b', 'c', 'after']);
  });

  it('S2: COPY FROM STDIN is undone with the context', async () => {
    const request = at.run(async () => {
      await at.dbContext.withClient((client: PoolClient) =>
        pipeline(lines('a', 'b'), client.query(copyFrom('copy note (text) from stdin'))),
      );
      fail();
    });
    await expect(request).rejects.toThrow(new Error('undo'));
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F4: a COPY that the server refuses refuses the commit, with its own error as the cause', async () => {
    const request = at.run(() =>
      at.dbContext
        .withClient((client: PoolClient) =>
          pipeline(lines('1\tx'), client.query(copyFrom('copy note (text) from stdin'))),
        )
        .catch((error: unknown) => expect(error).toMatchObject({ code: '22P04' })),
    );
    await expect(request).rejects.toMatchObject({
      constructor: UnexpectedRollbackError,
      reason: 'failed-statement',
      cause: expect.objectContaining({ code: '22P04' }),
    });
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F4: a source that fails ends the COPY, and the savepoint undoes it', async () => {
    await at.run(async () => {
      const source = Readable.from(
        (function* () {
          yield 'a\n';
          throw new Error('the source');
        })(),
      );
      const copy = at.session.transactional(() =>
        at.dbContext.withClient((client: PoolClient) =>
          pipeline(source, client.query(copyFrom('copy note (text) from stdin'))),
        ),
      );
      await expect(copy).rejects.toThrow(new Error('the source'));
      await at.insert('after');
    });
    expect(await at.world.savedTexts()).toEqual(['after']);
  });

  it('L3: COPY TO STDOUT reads what the transaction has written', async () => {
    const chunks: string[] = [];
    await at.run(async () => {
      await at.insert('unsaved');
      await at.dbContext.withClient((client: PoolClient) =>
        pipeline(
          client.query(copyTo('copy note (text) to stdout')),
          new Writable({
            write(chunk: Buffer, _, done) {
              chunks.push(chunk.toString());
              done();
            },
          }),
        ),
      );
      await at.insert('after');
    });
    expect(chunks.join('')).toBe('unsaved\n');
    expect(await at.world.savedTexts()).toEqual(['unsaved', 'after']);
  });

  it('F1: a COPY TO STDOUT that nobody reads to its end breaks the transaction', async () => {
    const request = at.run(() =>
      at.dbContext.withClient(async (client: PoolClient) => {
        const copy = client.query(
          copyTo('copy (select repeat($$x$$, 1000) from generate_series(1, 100000)) to stdout'),
        );
        await once(copy, 'readable');
      }),
    );
    await expect(request).rejects.toMatchObject({
      code: 'INVALID_TRANSACTION_STATE',
      message: expect.stringContaining('its client was still at work'),
    });
    await at.run(() => at.insert('the next request'));
    expect(await at.world.savedTexts()).toEqual(['the next request']);
  });
});

describe('cursors of pg through withClient()', () => {
  const at = useWorld();

  it('L3: a cursor reads in chunks', async () => {
    const chunks = await at.run(async () => {
      await at.session.execute(
        "insert into note (text) select 'n' || i from generate_series(1, 25) i",
      );
      return at.dbContext.withClient(async (client: PoolClient) => {
        const cursor = client.query(new Cursor('select text from note'));
        const sizes = [(await cursor.read(10)).length, (await cursor.read(10)).length];
        await cursor.close();
        return sizes;
      });
    });
    expect(chunks).toEqual([10, 10]);
    expect(await at.world.savedTexts()).toHaveLength(25);
  });

  it('L3: a stream of pg-query-stream that is left early leaves the transaction usable', async () => {
    await at.run(async () => {
      await at.dbContext.withClient(async (client: PoolClient) => {
        const stream = client.query(new QueryStream('select generate_series(1, 100000) as n'));
        for await (const { n } of stream as AsyncIterable<{ n: number }>) {
          if (n === 5) {
            break;
          }
        }
      });
      await at.insert('after');
    });
    expect(await at.world.savedTexts()).toEqual(['after']);
  });

  it('F4: a cursor that fails, and whose error is swallowed, refuses the commit', async () => {
    const request = at.run(() =>
      at.dbContext.withClient(async (client: PoolClient) => {
        const cursor = client.query(new Cursor('select 1 / (3 - n) from generate_series(1, 9) n'));
        await cursor.read(9).catch(() => undefined);
      }),
    );
    await expect(request).rejects.toMatchObject({
      constructor: UnexpectedRollbackError,
      cause: expect.objectContaining({ code: '22012' }),
    });
  });
});

describe('what else of PostgreSQL withClient() reaches', () => {
  const at = useWorld();

  it('S1: NOTIFY is delivered by the commit, and not by a rollback', async () => {
    const listener = new Client({ connectionString: at.world.database.url });
    await listener.connect();
    try {
      const heard: (string | undefined)[] = [];
      listener.on('notification', ({ payload }) => heard.push(payload));
      await listener.query('listen notes');
      const notify = (payload: string): Promise<unknown> =>
        at.dbContext.withClient((client) =>
          client.query('select pg_notify($1, $2)', ['notes', payload]),
        );
      await at
        .run(async () => {
          await notify('lost');
          fail();
        })
        .catch(() => undefined);
      await at.run(() => notify('saved'));
      await waitFor(() => heard.length > 0, { what: 'a notification' });
      expect(heard).toEqual(['saved']);
    } finally {
      await listener.end();
    }
  });

  it('L3: a large object is written and read in pieces, in the transaction', async () => {
    const read = await at.run(() =>
      at.dbContext.withClient(async (client: PoolClient) => {
        const value = async (query: string, ...values: readonly unknown[]): Promise<unknown> => {
          const { rows } = await client.query<{ value: unknown }>(query, [...values]);
          return rows[0]!.value;
        };
        const oid = await value('select lo_create(0) as value');
        const WRITE_AND_READ = 0x60000;
        const file = await value('select lo_open($1, $2) as value', oid, WRITE_AND_READ);
        await value('select lowrite($1, $2) as value', file, Buffer.from('first, '));
        await value('select lowrite($1, $2) as value', file, Buffer.from('second'));
        await value('select lo_lseek($1, 0, 0) as value', file);
        const content = await value('select loread($1, 100) as value', file);
        await value('select lo_unlink($1) as value', oid);
        return String(content);
      }),
    );
    expect(read).toBe('first, second');
  });
});

interface Tables {
  note: { id?: number; text: string };
}

const notes = pgTable('note', {
  id: integer('id').primaryKey().generatedAlwaysAsIdentity(),
  text: text('text').notNull(),
});

describe('other libraries join the transaction through withClient()', () => {
  const at = useWorld();

  it('L3: Kysely with a dialect of its own', async () => {
    const run = at.run(async () => {
      await at.insert('by MikroORM');
      const found = await at.dbContext.withClient(async (client: PoolClient) => {
        const own = { query: client.query.bind(client), release: () => undefined };
        const db = new Kysely<Tables>({
          dialect: new PostgresDialect({
            pool: {
              options: {},
              connect: () => Promise.resolve(own),
              end: () => Promise.resolve(),
            },
          }),
        });
        await db.insertInto('note').values({ text: 'by Kysely' }).execute();
        return db.selectFrom('note').select('text').orderBy('id').execute();
      });
      expect(found).toEqual([{ text: 'by MikroORM' }, { text: 'by Kysely' }]);
      fail();
    });
    await expect(run).rejects.toThrow(new Error('undo'));
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('L3: Drizzle', async () => {
    const run = at.run(async () => {
      await at.insert('by MikroORM');
      const found = await at.dbContext.withClient(async (client: PoolClient) => {
        const db = drizzle(client);
        await db.insert(notes).values({ text: 'by Drizzle' });
        await db.update(notes).set({ text: 'changed' }).where(eq(notes.text, 'by MikroORM'));
        return db.select({ text: notes.text }).from(notes).orderBy(notes.id);
      });
      expect(found).toEqual([{ text: 'changed' }, { text: 'by Drizzle' }]);
      fail();
    });
    await expect(run).rejects.toThrow(new Error('undo'));
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F4: a transaction of Drizzle itself is found out, as every plain COMMIT', async () => {
    const request = at.run(async () => {
      await at.insert('before');
      await at.dbContext.withClient((client: PoolClient) =>
        drizzle(client).transaction((tx) => tx.execute(sql`select 1`)),
      );
    });
    await expect(request).rejects.toMatchObject({
      code: 'INVALID_TRANSACTION_STATE',
      message: expect.stringContaining('a plain COMMIT statement'),
    });
  });

  it('L3: code that was written for pg', async () => {
    const addTwice = async (client: ClientBase, value: string): Promise<void> => {
      await client.query('insert into note (text) values ($1)', [value]);
      await client.query({ text: 'insert into note (text) values ($1)', values: [`${value}!`] });
    };
    await at.run(async () => {
      const [before] = await at.session.execute<{ pid: number }[]>(
        'select pg_backend_pid() as pid',
      );
      await at.dbContext.withClient(async (client: PoolClient) => {
        expect(await backends(client)).toBe(before!.pid);
        await addTwice(client, 'twice');
      });
    });
    expect(await at.world.savedTexts()).toEqual(['twice', 'twice!']);
  });
});
