import { CommitOutcomeUnknownError } from 'nestjs-db-context';

import type { PgClient, PgResult } from '../../lib/postgresql/pg-client.js';
import { TransactionLease } from '../../lib/session/lease.js';

/** A client whose answers are scripted, for what a real server cannot be made to say. */
function scriptedClient(answers: Record<string, () => Promise<PgResult>>): {
  client: PgClient;
  released: unknown[];
} {
  const released: unknown[] = [];
  const client: PgClient = {
    host: '127.0.0.1',
    port: 1,
    processID: null,
    secretKey: null,
    connection: { stream: { destroy: () => undefined } },
    query: (sql) =>
      answers[sql]?.() ?? Promise.resolve({ command: 'BEGIN', rowCount: 0, rows: [] }),
    getTransactionStatus: () => 'T',
    escapeLiteral: (value) => `'${value}'`,
    release: (destroy) => released.push(destroy),
    on: () => undefined,
    off: () => undefined,
  };
  return { client, released };
}

function leaseOn(client: PgClient): TransactionLease {
  return new TransactionLease(
    {
      name: 'default',
      limits: { transactionTimeoutMs: 1_000, drainTimeoutMs: 1_000, endTimeoutMs: 1_000 },
      checkOut: () => Promise.resolve(client),
      onSend: () => undefined,
      onStatement: () => undefined,
      onFailure: () => undefined,
    },
    {
      holder: undefined,
      statements: () => [{ sql: 'begin', values: [] }],
      isReadOnly: () => false,
      mayReadReplica: () => false,
      mayRide: () => false,
      readAhead: () => undefined,
      before: () => Promise.resolve(),
      after: () => Promise.resolve(),
    },
  );
}

describe('a lease', () => {
  it('F2: destroys a client that the server does not report outside a transaction', async () => {
    // It answers ROLLBACK, and goes on to report a transaction.
    const { client, released } = scriptedClient({});
    const lease = leaseOn(client);
    await lease.begin();
    await lease.rollback();
    expect(released).toEqual([true]);
  });

  it.each(['FATAL', 'PANIC', 'SCHWERWIEGEND'])(
    'F4: takes %s in answer to COMMIT for an unknown outcome, in whatever language',
    async (severity) => {
      const fatal = Object.assign(new Error('terminating connection'), { severity, code: '57P01' });
      const { client, released } = scriptedClient({
        commit: () => Promise.reject(fatal),
        rollback: () => Promise.reject(new Error('Connection terminated')),
      });
      const lease = leaseOn(client);
      await lease.begin();
      await expect(lease.commit()).rejects.toMatchObject({
        constructor: CommitOutcomeUnknownError,
        cause: fatal,
      });
      expect(released).toEqual([true]);
    },
  );
});
