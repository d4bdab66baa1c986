import { setTimeout as sleep } from 'node:timers/promises';

import { Client } from 'pg';

import type { Cluster } from '../../starter/cluster.js';

const POLL_INTERVAL_MS = 5;

/**
 * Promotes the standby.
 *
 * @returns when it was a primary, by `performance.now()`; `pg_promote()` itself says so later
 */
export async function promote(cluster: Cluster): Promise<number> {
  const client = new Client({ connectionString: cluster.standbyUrls[0] });
  await client.connect();
  const promoted = cluster.promote(0);
  for (;;) {
    const { rows } = await client.query<{ is: boolean }>('select not pg_is_in_recovery() as is');
    if (rows[0]!.is) {
      break;
    }
    await sleep(POLL_INTERVAL_MS);
  }
  const now = performance.now();
  await Promise.all([promoted, client.end()]);
  return now;
}

/** References of all payments on a server. */
export async function paymentsOn(url: string): Promise<Set<string>> {
  const client = new Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query<{ reference: string }>('select reference from payment');
  await client.end();
  return new Set(rows.map(({ reference }) => reference));
}
