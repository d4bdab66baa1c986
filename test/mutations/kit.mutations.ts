import type { Mutation } from './mutation.js';

/** Lines of `lib/telemetry`, of what publishes on it, and of `lib/testing`. */
export const KIT_MUTATIONS: readonly Mutation[] = [
  {
    id: 'O1',
    what: 'Events are made where nobody listens.',
    file: 'lib/connection/lease.ts',
    find: 'return statement.hasSubscribers ? this.#source?.telemetry : undefined;',
    replace: 'return this.#source?.telemetry;',
    spec: 'e2e/telemetry.spec',
    test: 'make no object where nobody listens',
  },
  {
    id: 'O1',
    what: 'The end of a transaction is not published.',
    file: 'lib/transaction/transaction-telemetry.ts',
    find: 'this.#ended(now);',
    replace: 'void now;',
    spec: 'e2e/telemetry.spec',
    test: 'O1: the events over express of a read',
  },
  {
    id: 'O1',
    what: 'Events show what the server quotes in its messages.',
    file: 'lib/telemetry/error-info.ts',
    find: ': own.replaceAll(QUOTED, maskOf);',
    replace: ': own;',
    spec: 'e2e/telemetry-attacks.spec',
  },
  {
    id: 'O1',
    what: 'A client that is closed is announced as given back.',
    file: 'lib/connection/lease.ts',
    find: 'this.#publishRelease(!isUsable);',
    replace: 'this.#publishRelease(false);',
    spec: 'e2e/telemetry-attacks.spec',
  },
  {
    id: 'T1',
    what: 'A context that was opened in one test joins the next.',
    file: 'lib/testing/test-routing.ts',
    find: 'if (run?.isOver === true) {',
    replace: 'if (run === null) {',
    spec: 'e2e/testing-left-open.spec',
  },
  {
    id: 'T1',
    what: 'The requests of concurrent tests that have ended are served as any other.',
    file: 'lib/testing/concurrent-tests.ts',
    find: 'if (!this.hasBegun) {',
    replace: 'if (this.#owners !== undefined) {',
    spec: 'e2e/testing-concurrent-ends.spec',
  },
  {
    id: 'T1',
    what: 'The rows of a failed test are rolled back although they were to be kept.',
    file: 'lib/testing/keeping.ts',
    find: "await real.send(['commit']);",
    replace: "await real.send(['rollback']);",
    spec: 'e2e/testing-keep.spec',
    test: 'T1: rolls a passed test back',
  },
];
