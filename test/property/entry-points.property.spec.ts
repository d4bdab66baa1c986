/**
 * Random requests to random applications: what runs (a middleware, a guard, the handler, an exception
 * filter) writes a note and then answers, throws, returns or goes on; the commit may fail. A success must
 * never be answered for a note that is not saved, and a failure never for one that is.
 *
 * ```sh
 * DB_CONTEXT_PROPERTY_RUNS=3000 npm test -- test/property/entry-points --coverage=false
 * ```
 *
 * That runs a new seed, an ordinary run a fixed one; `DB_CONTEXT_PROPERTY_SEED=<seed>` runs the
 * requests of a failure again.
 */
import * as fc from 'fast-check';

import type { AdapterName } from '../support/test-app.js';
import { EntryPointApp } from './entry-point-app.js';
import { MOUNTS, requests, type EntryRequest } from './entry-point-requests.js';

const FIXED_SEED = 20_261_126;
const given = process.env['DB_CONTEXT_PROPERTY_RUNS'];
const RUNS = Number(given ?? 25);
const SEED = Number(
  process.env['DB_CONTEXT_PROPERTY_SEED'] ??
    (given === undefined ? FIXED_SEED : Math.floor(Math.random() * 2 ** 31)),
);
const TIMEOUT_MS = 60_000 + RUNS * 200;

describe.each<AdapterName>(['express', 'fastify'])('entry points over %s', (adapter) => {
  describe.each(MOUNTS)('mount: %s', (mount) => {
    let app: EntryPointApp;

    beforeAll(async () => {
      app = await EntryPointApp.start(adapter, mount);
    });
    afterAll(() => app?.close());

    it(
      `W1: no success without its rows, no rows with a failure (seed ${SEED})`,
      () =>
        fc.assert(
          fc.asyncProperty(requests(mount), async (request: EntryRequest) => {
            const { status, written, saved } = await app.send(request);
            const isSuccess = status !== undefined && status < 400;
            const isWhole = JSON.stringify(saved) === JSON.stringify(written);
            // A client that has left got no answer: all of its request is saved, or nothing.
            const holds =
              status === undefined
                ? saved.length === 0 || isWhole
                : isSuccess
                  ? isWhole
                  : saved.length === 0;
            expect({ status, written, saved, holds }).toMatchObject({ holds: true });
          }),
          { seed: SEED, numRuns: RUNS, interruptAfterTimeLimit: TIMEOUT_MS - 10_000 },
        ),
      TIMEOUT_MS,
    );
  });
});
