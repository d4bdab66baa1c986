import type { Claim } from '../connection/claim.js';
import type { DbConnection } from '../connection/db-connection.js';
import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { originOf, OutsideTestError, refusalOf, type RefusedWork } from './outside-test-error.js';
import { testConnectionsOf, type TestTransactionOptions } from './test-connections.js';
import type { TestOwner } from './test-owner.js';
import { TestRouting, type ConcurrentBlock, type OutsideWatch } from './test-routing.js';
import type { TestTarget } from './test-target.js';

/**
 * What becomes of work that belongs to no test.
 *
 * - `'refuse'`: it gets an {@link OutsideTestError}, and nothing is sent;
 * - `'hold'`: it waits for the next test, and is a part of that, for as long as it may wait for a
 *   connection (`acquireTimeoutMs`);
 * - `'commit'`: it is really committed; between the tests of a block that has data of its own, it becomes a
 *   part of the block, whose transaction is rolled back.
 *
 * @publicApi
 */
export type OutsideMode = 'refuse' | 'hold' | 'commit';

/** How long work waits, and until when. */
interface Waiting {
  readonly limitMs: number;
  readonly deadline: number;
}

interface TestWatchOptions extends TestTransactionOptions {
  readonly outside: Exclude<OutsideMode, 'commit'>;
  /** See {@link OutsideWatch.block}. */
  readonly block?: ConcurrentBlock | undefined;
}

/** Watches the connections of applications for work that belongs to no test, between tests too (T1). */
export class TestWatch {
  readonly #options: TestWatchOptions;
  readonly #watched = new Set<DbConnection>();
  readonly #waiting = new WeakMap<Claim, Waiting>();
  readonly #refused: RefusedWork[] = [];
  readonly #ended = Promise.withResolvers<void>();
  #stops: readonly (() => void)[] = [];
  #isOver = false;
  #lastTest: string | undefined;

  constructor(options: TestWatchOptions) {
    this.#options = options;
  }

  /** Watches the connections of an application, unless it does so already. */
  async cover(app: TestTarget): Promise<void> {
    const { shared, leftOut } = testConnectionsOf(app, this.#options);
    const { block } = this.#options;
    for (const connection of [...shared, ...leftOut]) {
      if (!this.#watched.has(connection)) {
        this.#watched.add(connection);
        const stop = await TestRouting.of(connection).watch(
          leftOut.includes(connection)
            ? refusingLeftOut(connection, (refused) => this.note(refused), block)
            : {
                block,
                outside: (claim, owner, changed) =>
                  this.#outside(connection, claim, owner, changed),
                note: (refused) => this.note(refused),
              },
        );
        this.#stops = [...this.#stops, stop];
      }
    }
  }

  /**
   * Ends the watch. Work that it holds is refused.
   *
   * @throws {@link OutsideTestError} work that belongs to no test was refused, of which nobody else may have
   *   learned
   */
  async end(): Promise<void> {
    this.#isOver = true;
    this.#ended.resolve();
    this.#stops.forEach((stop) => stop());
    this.#stops = [];
    const [first, ...more] = this.#refused.splice(0);
    if (first !== undefined) {
      const { error, origin, owner, test, after } = first;
      const times = more.length + 1;
      throw times === 1
        ? error
        : new OutsideTestError(error.connectionName, error.reason, {
            times,
            origin,
            after,
            test: owner?.name ?? test,
            cause: error,
          });
    }
  }

  /** A test is over, which messages about the work that comes then name. */
  testIsOver(name: string | undefined): void {
    this.#lastTest = name;
  }

  /** Work was refused, with which the end fails as well, unless its test has failed already. */
  note(refused: RefusedWork): void {
    const isNews = this.#options.outside === 'refuse' || refused.error.reason === 'left-out';
    if (isNews && refused.owner?.hasFailed !== true) {
      this.#refused.push(refused);
    }
  }

  async #outside(
    connection: DbConnection,
    claim: Claim,
    owner: TestOwner | undefined,
    changed: Promise<void>,
  ): Promise<void> {
    const { outside, block } = this.#options;
    const begins = owner?.isOver === false;
    if (begins || (outside === 'hold' && !this.#isOver)) {
      await this.#wait(connection, claim, changed);
    } else if (owner !== undefined) {
      const error = refusalOf(connection.name, claim.holder, owner);
      this.note({ error, origin: originOf(claim.holder), owner });
      throw error;
    } else {
      this.#refuse(connection, claim, block === undefined ? 'no-test' : 'no-owner');
    }
  }

  async #wait(connection: DbConnection, claim: Claim, changed: Promise<void>): Promise<void> {
    const { acquireTimeoutMs } = connection.limits;
    const now = performance.now();
    const { limitMs, deadline } = this.#waiting.get(claim) ?? {
      limitMs: acquireTimeoutMs,
      deadline: now + acquireTimeoutMs,
    };
    this.#waiting.set(claim, { limitMs, deadline });
    let forget: (() => void) | undefined;
    const given = new Promise<never>((_, reject) => {
      forget = claim.whenOver?.(reject);
    });
    try {
      const waited = Promise.race([changed, this.#ended.promise, given]);
      const isLate = (await withinLimit(waited, Math.max(deadline - now, 1))) === TIMED_OUT;
      if (isLate || this.#isOver) {
        this.#refuse(connection, claim, 'no-test', isLate ? limitMs : undefined);
      }
    } finally {
      forget?.();
    }
  }

  #refuse(
    { name }: DbConnection,
    { holder }: Claim,
    reason: OutsideTestError['reason'],
    waitedMs?: number,
  ): never {
    const origin = originOf(holder);
    const after = this.#lastTest;
    const error = new OutsideTestError(name, reason, { origin, after, waitedMs });
    this.note({ error, origin, after });
    throw error;
  }
}

/**
 * Refuses all work on a connection that is not part of the shared transaction.
 *
 * @param note is called with each refusal, since nobody else may see it
 */
export function refusingLeftOut(
  { name }: DbConnection,
  note: (refused: RefusedWork) => void = () => undefined,
  block?: ConcurrentBlock,
): OutsideWatch {
  return {
    block,
    note,
    outside: ({ holder }, owner) => {
      const origin = originOf(holder);
      const error = new OutsideTestError(name, 'left-out', { origin });
      note({ error, origin, owner });
      return Promise.reject(error);
    },
  };
}
