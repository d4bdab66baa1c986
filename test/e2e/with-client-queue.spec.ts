import {
  InvalidTransactionStateError,
  SessionClosedError,
  type TransactionClient,
} from 'nestjs-db-context';
import Cursor from 'pg-cursor';
import { from as copyFrom } from 'pg-copy-streams';
import { Query } from 'pg';

import { Note } from '../support/note.entity.js';
import { useWorld } from '../support/use-world.js';

/** A client of pg in the forms that `TransactionClient` does not name. */
type RawClient = { query(...args: readonly unknown[]): unknown };

const rawOf = (client: TransactionClient): RawClient => client;
const insert = (text: string): string => `insert into note (text) values ('${text}')`;

const QUEUES: readonly (readonly [
  string,
  (client: TransactionClient, sql: string) => Promise<unknown>,
])[] = [
  ['promises', (client, sql) => client.query(sql)],
  ['the extended protocol', (client, sql) => client.query({ text: sql, name: sql.slice(0, 60) })],
  [
    'callbacks',
    (client, sql) =>
      new Promise((resolve, reject) => {
        rawOf(client).query(sql, (error: Error | null, answer: unknown) =>
          error == null ? resolve(answer) : reject(error),
        );
      }),
  ],
  [
    'query objects of pg',
    (client, sql) =>
      new Promise((resolve, reject) => {
        const query = new Query(sql);
        query.on('end', resolve);
        query.on('error', reject);
        client.query<typeof query>(query);
      }),
  ],
  [
    'cursors',
    async (client, sql) => {
      const cursor = client.query(new Cursor(sql));
      await cursor.read(1);
      await cursor.close();
    },
  ],
];

describe('F3: what the callback of withClient() queues behind the end of its transaction', () => {
  const at = useWorld();

  it.each(
    QUEUES.flatMap(([name, send]) =>
      ['commit', 'rollback', 'end', 'commit and chain', 'rollback and chain'].map(
        (end) => [name, end, send] as const,
      ),
    ),
  )('F3: by %s, behind %j: is never sent', async (_, end, send) => {
    const request = at.run(() =>
      at.dbContext.withClient(async (client) => {
        const queued = [insert('before'), end, insert('late'), insert('later')];
        const ends = await Promise.allSettled(queued.map((sql) => send(client, sql)));
        expect(ends.map(({ status }) => status)).toEqual([
          'fulfilled',
          'fulfilled',
          'rejected',
          'rejected',
        ]);
        expect(ends[2]).toMatchObject({
          reason: { code: 'TRANSACTION_ABORTED', cause: { code: 'INVALID_TRANSACTION_STATE' } },
        });
      }),
    );
    await expect(request).rejects.toMatchObject({
      constructor: InvalidTransactionStateError,
      message: expect.stringContaining('a plain'),
    });
    expect(at.world.proxy.log.filter((sql) => sql.includes('late'))).toEqual([]);
    expect(await at.world.savedTexts()).toEqual(/commit|end/.test(end) ? ['before'] : []);
  });

  it('F3: a copy behind a COMMIT is refused by an error event', async () => {
    const request = at.run(() =>
      at.dbContext.withClient(async (client) => {
        const committed = client.query('commit');
        const copy = client.query(copyFrom('copy note (text) from stdin'));
        copy.end('late\n');
        const failure = new Promise((resolve) => copy.once('error', resolve));
        await committed;
        expect(await failure).toMatchObject({ code: 'TRANSACTION_ABORTED' });
        expect(copy.destroyed).toBe(true);
      }),
    );
    await expect(request).rejects.toMatchObject({ constructor: InvalidTransactionStateError });
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F3: a COMMIT of a query object ends what its own end listener sends', async () => {
    let late: Promise<unknown> | undefined;
    const request = at.run(() =>
      at.dbContext.withClient(async (client) => {
        const query = new Query('commit');
        const isOver = new Promise<void>((resolve) => {
          query.on('end', () => {
            late = client.query(insert('late'));
            resolve();
          });
        });
        client.query<typeof query>(query);
        await isOver;
        await expect(late).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED' });
      }),
    );
    await expect(request).rejects.toMatchObject({ constructor: InvalidTransactionStateError });
    expect(await at.world.savedTexts()).toEqual([]);
  });

  it('F3: what is queued runs in its order, in every form, also behind what fails', async () => {
    await at.run(() =>
      at.dbContext.withClient(async (client) => {
        const ends = await Promise.allSettled([
          client.query(insert('first')),
          client.query('savepoint mine'),
          client.query({ text: 'select 1 / $1::int', values: [0] }),
          client.query('rollback to savepoint mine'),
          ...QUEUES.map(([name, send]) => send(client, insert(name))),
          client.query({ name: 'named', text: 'select $1::int as n', values: [1] }),
          client.query({ name: 'named', text: 'select $1::int as n', values: [2] }),
        ]);
        expect(ends.map(({ status }) => status)).toEqual([
          'fulfilled',
          'fulfilled',
          'rejected',
          ...Array.from({ length: QUEUES.length + 3 }, () => 'fulfilled'),
        ]);
        expect(ends[2]).toMatchObject({ reason: { code: '22012' } });
        expect(ends.at(-1)).toMatchObject({ value: { rows: [{ n: 2 }] } });
      }),
    );
    expect(await at.world.savedTexts()).toEqual(['first', ...QUEUES.map(([name]) => name)]);
  });

  it('F4: what is queued as the callback fails is not sent', async () => {
    const request = at.run(() =>
      at.dbContext.withClient((client) => {
        client.query('select pg_sleep(0.05)').catch(() => undefined);
        client.query(insert('late')).catch(() => undefined);
        throw new Error('of the application');
      }),
    );
    await expect(request).rejects.toThrow('of the application');
    expect(at.world.proxy.log.filter((sql) => sql.includes('late'))).toEqual([]);
  });

  it('F3: the connection that pg gives to a query object sends nothing after its answer', async () => {
    const kept: { query(sql: string): void; stream: { write(bytes: Buffer): unknown } }[] = [];
    class Custom {
      readonly text = 'select 1';
      callback: (() => void) | undefined;
      submit(connection: (typeof kept)[number]): void {
        kept.push(connection);
        connection.query(this.text);
      }
      handleRowDescription(): void {}
      handleDataRow(): void {}
      handleCommandComplete(): void {}
      handleReadyForQuery(): void {
        this.callback?.();
      }
      handleError(): void {}
    }
    const use = (): void => {
      const text = Buffer.from(`${insert('late')}\0`);
      const message = Buffer.alloc(5 + text.length, 'Q');
      message.writeInt32BE(4 + text.length, 1);
      text.copy(message, 5);
      kept[0]!.query(insert('late'));
      kept[0]!.stream.write(message);
    };
    await at.run(async () => {
      await at.dbContext.withClient(async (client) => {
        const custom = new Custom();
        const isAnswered = new Promise<void>((resolve) => {
          custom.callback = resolve;
        });
        client.query(custom);
        await isAnswered;
        await client.query('select 2');
        use();
        await client.query(insert('kept'));
      });
      use();
    });
    use();
    await at.run(() => at.insert('next'));
    expect(await at.world.savedTexts()).toEqual(['kept', 'next']);
  });
});

describe('F3: what is used after its nested transaction', () => {
  const at = useWorld();
  const ENDED = {
    constructor: SessionClosedError,
    message: expect.stringMatching(
      /^The nested transaction of connection "default" in the context of dbContext.run\(\) is closed: it has ended, .* before the callback of session.transactional\(\) returns.$/m,
    ),
  };

  it('F3: a stream that was begun in it says that the nested transaction has ended', async () => {
    await at.run(async () => {
      await at.session.insertMany(Note, [{ text: 'one' }, { text: 'two' }]);
      const rows = await at.session.transactional(async (em) => {
        const stream = em.stream(Note, { chunkSize: 1 })[Symbol.asyncIterator]();
        await stream.next();
        return { stream };
      });
      await expect(rows.stream.next()).rejects.toMatchObject(ENDED);
    });
  });
});
