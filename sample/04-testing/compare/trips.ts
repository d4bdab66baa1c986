import assert from 'node:assert/strict';

import { orderOf, post, type Bench } from './bodies.js';
import { ADA, LAMP } from '../fixtures.js';
import { sharedWay, unwrappedWay, type Way, type WayOptions } from './ways.js';
import { WireCounter } from './wire-counter.js';

/** Round trips to both databases. */
export interface Trips {
  readonly begin: number;
  readonly request: number;
  readonly requestInProduction: number;
  readonly end: number;
}

/** Counts the round trips of a shared transaction, and of a request in it and outside of it. */
export async function countTrips(shared: WayOptions, unwrapped: WayOptions): Promise<Trips> {
  const inShared = await countIn(shared, sharedWay);
  const inProduction = await countIn(unwrapped, unwrappedWay);
  return { ...inShared, requestInProduction: inProduction.request };
}

async function countIn(
  { urls, tables }: WayOptions,
  open: (options: WayOptions) => Promise<Way>,
): Promise<Pick<Trips, 'begin' | 'request' | 'end'>> {
  const counters = [await WireCounter.start(urls.shopUrl), await WireCounter.start(urls.auditUrl)];
  const [shopUrl, auditUrl] = counters.map(({ url }) => url) as [string, string];
  const way = await open({ urls: { shopUrl, auditUrl }, tables });
  const tripsOf = async (work: () => Promise<unknown>): Promise<number> => {
    const before = sum(counters);
    await work();
    return sum(counters) - before;
  };
  try {
    const count = async (): Promise<Pick<Trips, 'begin' | 'request' | 'end'>> => {
      const begin = await tripsOf(() => way.before());
      const request = await tripsOf(() => order(way));
      const end = await tripsOf(() => way.after());
      await way.tidy();
      return { begin, request, end };
    };
    // The first time, connections are made and asked for what is the same later.
    await count();
    return await count();
  } finally {
    await way.close();
    await Promise.all(counters.map((counter) => counter.stop()));
  }
}

async function order(bench: Bench): Promise<void> {
  assert.equal(await post(bench, '/orders', orderOf(ADA.id, LAMP.id, 2)), 201);
}

function sum(counters: readonly WireCounter[]): number {
  return counters.reduce((all, { roundTrips }) => all + roundTrips, 0);
}
