import { loadavg } from 'node:os';
import { setImmediate as turn } from 'node:timers/promises';

import type { SoakApp } from './soak-app.js';
import { OVER_TLS } from './soak-connection.js';

/** What is left when nothing happens. */
export interface Sample {
  readonly minute: number;
  readonly heapMb: number;
  readonly checkedOut: number;
  readonly waiting: number;
  readonly serverConnections: number;
  /** Those of them that are encrypted. */
  readonly tlsConnections: number;
  readonly openTransactions: number;
  readonly openContexts: number;
  readonly sockets: number;
  /** Of the machine over the last minute, which this run is a part of. */
  readonly load: number;
}

const MB = 2 ** 20;

export async function takeSample(apps: readonly SoakApp[], startedAt: number): Promise<Sample> {
  const connections = apps.flatMap((app) => app.connections);
  const pools = connections.map((connection) => connection.pool());
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  const backends = async (condition?: string): Promise<number> =>
    sum(await Promise.all(connections.map((each) => each.backends(condition))));
  return {
    minute: (Date.now() - startedAt) / 60_000,
    heapMb: (await heapAfterGc()) / MB,
    checkedOut: sum(pools.map(({ checkedOut }) => checkedOut)),
    waiting: sum(pools.map(({ waiting }) => waiting)),
    serverConnections: await backends(),
    tlsConnections: await backends(OVER_TLS),
    openTransactions: await backends('xact_start is not null'),
    openContexts: sum(apps.map((app) => app.openContexts())),
    sockets: process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length,
    load: loadavg()[0]!,
  };
}

async function heapAfterGc(): Promise<number> {
  if (globalThis.gc === undefined) {
    throw new Error('start node with --expose-gc');
  }
  // Finalizers free more in the turns that follow.
  for (let each = 0; each < 4; each++) {
    await globalThis.gc({ execution: 'async', type: 'major' });
    await turn();
  }
  return process.memoryUsage().heapUsed;
}

/** Two or three samples would take the noise of a collector for growth. */
const LEAST_LATE_SAMPLES = 4;

/**
 * Growth of the heap over the second half of the samples, by least squares, in MB per minute.
 *
 * @returns `undefined` when there are too few samples to say
 */
export function growthPerMinute(samples: readonly Sample[]): number | undefined {
  const late = samples.slice(Math.floor(samples.length / 2));
  if (late.length < LEAST_LATE_SAMPLES) {
    return undefined;
  }
  const mean = (pick: (sample: Sample) => number): number =>
    late.reduce((sum, each) => sum + pick(each), 0) / late.length;
  const minute = mean((each) => each.minute);
  const heap = mean((each) => each.heapMb);
  const spread = late.reduce((sum, each) => sum + (each.minute - minute) ** 2, 0);
  const together = late.reduce(
    (sum, each) => sum + (each.minute - minute) * (each.heapMb - heap),
    0,
  );
  return together / spread;
}
