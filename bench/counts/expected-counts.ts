/**
 * What one request of this library costs, counted: `npm run check:counts` fails when any of it changes. A
 * change that is meant changes this file with it; `npm run bench:counts` prints what it has counted.
 */

import type { Candidate } from '../candidates.js';

/** What one request counts. */
export interface RequestCounts {
  /** Messages to the server that ask for an answer. */
  readonly roundTrips: number;
  /** Statements that the server completes, BEGIN and COMMIT included. */
  readonly statements: number;
  /** Promises that the server of the application makes, on Fastify, Nest's and the driver's included. */
  readonly promises: number;
}

/** Counts by candidate and workload. */
export type CountsByWorkload = Readonly<
  Partial<Record<Candidate, Readonly<Record<string, RequestCounts>>>>
>;

export const EXPECTED_COUNTS: CountsByWorkload = {
  library: {
    nothing: { roundTrips: 0, statements: 0, promises: 14 },
    'one-read': { roundTrips: 2, statements: 3, promises: 119 },
    'five-reads': { roundTrips: 6, statements: 7, promises: 367 },
    'one-insert': { roundTrips: 2, statements: 3, promises: 131 },
    'read-modify-write': { roundTrips: 3, statements: 4, promises: 199 },
    'ten-services': { roundTrips: 2, statements: 3, promises: 137 },
  },
  'first-write': {
    nothing: { roundTrips: 0, statements: 0, promises: 14 },
    'one-read': { roundTrips: 1, statements: 3, promises: 116 },
    'five-reads': { roundTrips: 5, statements: 15, promises: 420 },
    'one-insert': { roundTrips: 2, statements: 3, promises: 131 },
    'read-modify-write': { roundTrips: 3, statements: 6, promises: 213 },
    'ten-services': { roundTrips: 1, statements: 3, promises: 134 },
  },
  middleware: {
    nothing: { roundTrips: 0, statements: 0, promises: 14 },
    'one-read': { roundTrips: 2, statements: 3, promises: 119 },
    'five-reads': { roundTrips: 6, statements: 7, promises: 367 },
    'one-insert': { roundTrips: 2, statements: 3, promises: 131 },
    'read-modify-write': { roundTrips: 3, statements: 4, promises: 199 },
    'ten-services': { roundTrips: 2, statements: 3, promises: 137 },
  },
};

/** One read, in a unit of work of its own, that comes while all connections of the pool are in use. */
export const WAITING = 'a unit of work that waits for a connection';

/** The same where the transaction is begun by itself before. */
export const WAITING_AT_BEGIN = 'a unit of work that waits with BEGIN';

/** The promises of one unit of work each, on canned answers. */
export const EXPECTED_PROMISES: Readonly<Record<string, number>> = {
  [WAITING]: 108,
};

/** How many contexts are open at the same time where {@link MOST_BYTES} are measured. */
export const OPEN_CONTEXTS = 10_000;

/**
 * The most heap that each of many takes, in bytes: what it takes today and a tenth, since what else lives on
 * the heap moves it by a few bytes from run to run.
 */
export const MOST_BYTES: Readonly<Record<string, number>> = {
  'an open context that has not touched a session': 1_930,
  'an open context with an untouched session': 6_740,
  [WAITING]: 20_900,
  [WAITING_AT_BEGIN]: 12_600,
};
