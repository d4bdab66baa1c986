import { EventEmitter } from 'node:events';

import { RetiredPool } from '../../lib/connection/retired-pool.js';
import type { PgClient, PgPool } from '../../lib/postgresql/pg-client.js';

type Callback = (error: Error | undefined, client?: PgClient, release?: () => void) => void;

describe('a pool that is retired', () => {
  it('H1: serves nobody whose time is over when the connection comes', async () => {
    const received: unknown[] = [];
    const asked: Callback[] = [];
    const waiter = (): { callback: Callback; timedOut?: boolean } => ({
      callback: (_error, client) => received.push(client),
    });
    const [late, patient] = [waiter(), waiter()];
    const pool = Object.assign(new EventEmitter(), {
      _pendingQueue: [late, patient],
      _clients: [],
      ending: false,
      connect: () => undefined,
      end: () => Promise.resolve(),
    });
    const successor = { connect: (callback: Callback) => void asked.push(callback) };
    const retired = new RetiredPool(pool as unknown as PgPool, successor as unknown as PgPool, {
      connectionName: 'default',
      host: 'one:5432',
      limitMs: 1_000,
      telemetry: { name: 'default', host: 'two:5432', database: undefined, pool: undefined },
    });
    await retired.closed;

    late.timedOut = true;
    const client = {} as PgClient;
    let released = 0;
    const release = (): void => void released++;
    asked.forEach((callback) => callback(undefined, client, release));
    expect([received, released]).toEqual([[client], 1]);
    // An error of the successor is nobody's then.
    asked[0]!(new Error('refused'));
    expect(received).toHaveLength(1);
  });
});
