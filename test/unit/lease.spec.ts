import {
  CommitOutcomeUnknownError,
  InvalidTransactionStateError,
  UnexpectedRollbackError,
} from 'nestjs-db-context';

import type { PgClient } from '../../lib/postgresql/pg-client.js';
import { postgresql } from '../../lib/postgresql/server.js';
import { Transaction } from '../../lib/transaction/transaction.js';

/** A client whose answers are scripted, for what a real server cannot be made to say. */
function scriptedClient(answers: Record<string, () => ReturnType<PgClient['query']>>): {
  client: PgClient;
  released: unknown[];
} {
  const released: unknown[] = [];
  const client: PgClient = {
    host: '127.0.0.1',
    port: 1,
    processID: null,
    secretKey: null,
    connection: {
      stream: { destroy: () => undefined },
      on: () => undefined,
      off: () => undefined,
    },
    query: (sql) => answers[sql]?.() ?? Promise.resolve(answerTo(sql)),
    getTransactionStatus: () => 'T',
    readyForQuery: true,
    escapeLiteral: (value) => `'${value}'`,
    release: (destroy) => released.push(destroy),
    on: () => undefined,
    off: () => undefined,
  };
  return { client, released };
}

/** The answer to each statement of a text, with its first word as the tag. */
function answerTo(sql: string): Awaited<ReturnType<PgClient['query']>> {
  const all = sql.split(';').map((each) => ({
    command: each.split(' ')[0]!.toUpperCase(),
    rowCount: 0,
    rows: [],
  }));
  return all.length === 1 ? all[0]! : all;
}

function transactionOn(client: PgClient): Transaction {
  const statements = [{ sql: 'begin', values: [] }];
  return new Transaction(
    {
      name: 'default',
      server: postgresql,
      limits: {
        transactionTimeoutMs: 1_000,
        drainTimeoutMs: 1_000,
        endTimeoutMs: 1_000,
        savepointTimeoutMs: 1_000,
      },
      transactionOptions: {},
      knownCode: { names: undefined },
      checkOut: () => Promise.resolve(client),
      onStatement: () => undefined,
      onFailure: () => undefined,
      report: () => undefined,
    },
    {
      holder: undefined,
      plan: (settings) => ({ settings, statements, before: undefined, after: undefined }),
      plansAlone: true,
      planMisused: () => new Error('not in this test'),
      mayReadAhead: () => false,
      planOfRead: () => statements,
      announce: () => undefined,
    },
    {},
  );
}

describe('the client of a transaction', () => {
  it('F2: is destroyed where the server does not report it outside a transaction', async () => {
    // It answers ROLLBACK, and goes on to report a transaction.
    const { client, released } = scriptedClient({});
    const transaction = transactionOn(client);
    await transaction.begin({});
    await transaction.rollback();
    expect(released).toEqual([true]);
  });

  it.each(['FATAL', 'PANIC', 'SCHWERWIEGEND'])(
    'F4: that answers COMMIT with %s, in any language, leaves the outcome unknown',
    async (severity) => {
      const fatal = Object.assign(new Error('terminating connection'), { severity, code: '57P01' });
      const { client, released } = scriptedClient({
        commit: () => Promise.reject(fatal),
        rollback: () => Promise.reject(new Error('Connection terminated')),
      });
      const transaction = transactionOn(client);
      await transaction.run("insert into note (text) values ('a')");
      await expect(transaction.commit()).rejects.toMatchObject({
        constructor: CommitOutcomeUnknownError,
        cause: fatal,
      });
      expect(released).toEqual([true]);
    },
  );

  it('F4, F2: that was closed by the idle limit before it read COMMIT has committed nothing', async () => {
    const idle = Object.assign(new Error('terminating connection due to idle-in-transaction'), {
      severity: 'FATAL',
      code: '25P03',
    });
    const sent: string[] = [];
    const { client, released } = scriptedClient({
      commit: () => Promise.reject(idle),
      rollback: () => {
        sent.push('rollback');
        return Promise.reject(new Error('Connection terminated'));
      },
    });
    const transaction = transactionOn(client);
    await transaction.run("insert into note (text) values ('a')");
    await expect(transaction.commit()).rejects.toMatchObject({
      constructor: UnexpectedRollbackError,
      code: 'UNEXPECTED_ROLLBACK',
      connectionName: 'default',
      reason: 'connection-lost',
      cause: idle,
    });
    // Nothing more is sent to a connection that is gone, and its client is not given back.
    expect(sent).toEqual([]);
    expect(released).toEqual([true]);
  });

  it('F4: that has prepared its transaction and begun another is found out by the command tag', async () => {
    const text = "prepare transaction 'x'; begin";
    const { client, released } = scriptedClient({
      [text]: () =>
        Promise.resolve(
          ['PREPARE TRANSACTION', 'BEGIN'].map((command) => ({ command, rowCount: 0, rows: [] })),
        ),
      commit: () => Promise.reject(new Error('COMMIT must not be sent')),
    });
    const transaction = transactionOn(client);
    await transaction.run("insert into note (text) values ('a')");
    await transaction.run(text);
    await expect(transaction.commit()).rejects.toMatchObject({
      constructor: InvalidTransactionStateError,
      code: 'INVALID_TRANSACTION_STATE',
      connectionName: 'default',
    });
    expect(released).toEqual([true]);
  });
});
