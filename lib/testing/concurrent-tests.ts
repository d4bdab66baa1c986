import type { EventEmitter } from 'node:events';

import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { TestTimeoutError } from './errors.js';
import { OutsideTestError } from './outside-test-error.js';
import { bindRequests } from './request-ownership.js';
import { testConnectionsOf, type TestTransactionOptions } from './test-connections.js';
import { untilTimeout, type TestLimit } from './test-limit.js';
import { ownerIn, runOwned, TestOwner } from './test-owner.js';
import { TestSlots } from './test-slots.js';
import { registryOf, type TestTarget } from './test-target.js';
import { TestTransaction } from './test-transaction.js';
import { TestWatch } from './test-watch.js';

/** The part of its timeout for which a test may wait, so that the error comes before that of the runner. */
const WAIT_SHARE = 0.9;

/** A test that has begun, with its transactions. */
export interface RunningTest {
  readonly owner: TestOwner;
  readonly transaction: TestTransaction;
  /** Lets the next test begin. */
  readonly giveBack: () => void;
}

/**
 * Tests that run at the same time on one application, each with a transaction of its own on each
 * connection. All that belongs to none of them is refused (T1).
 */
export class ConcurrentTests {
  readonly #app: () => TestTarget;
  readonly #options: TestTransactionOptions;
  readonly #watch: TestWatch;
  readonly #running = new Map<string, RunningTest>();
  /** All tests that have begun, by their tokens, which stay those of these tests after their end. */
  readonly #owners = new Map<string, TestOwner>();
  readonly #servers = new Map<EventEmitter, () => void>();
  /** Those of the applications that its tests have run on. */
  readonly #slots = new Set<TestSlots>();

  constructor(app: () => TestTarget, options: TestTransactionOptions) {
    this.#app = app;
    this.#options = options;
    this.#watch = new TestWatch({ ...options, outside: 'refuse', block: this });
  }

  /** Watches the application from now on, and the requests that it serves. */
  async cover(app: TestTarget): Promise<void> {
    await this.#watch.cover(app);
    const { getHttpServer } = app as { readonly getHttpServer?: () => EventEmitter | undefined };
    const server = getHttpServer?.call(app);
    if (server !== undefined && !this.#servers.has(server)) {
      this.#servers.set(server, bindRequests(server, this));
    }
  }

  /** See {@link ConcurrentBlock}. */
  get hasBegun(): boolean {
    return this.#owners.size > 0;
  }

  /** See {@link RequestBlock}. */
  ownerOf(token: string): TestOwner | undefined {
    return this.#owners.get(token);
  }

  /**
   * Begins a test, as soon as each pool has a connection for it.
   *
   * @param name what the test runner calls it
   * @param limitMs longest wait for that, in milliseconds
   * @throws {@link TestTimeoutError}
   */
  async begin(name = 'a test', limitMs?: number): Promise<RunningTest> {
    const app = this.#app();
    await this.cover(app);
    const { shared: connections } = testConnectionsOf(app, this.#options);
    const slots = this.#slotsOf(app);
    const giveBack = await slots.take({ name, block: this, connections, limitMs });
    const owner = new TestOwner(this, name);
    this.#owners.set(owner.token, owner);
    try {
      const transaction = await runOwned(this, owner, () =>
        TestTransaction.beginOwned(app, this.#options, owner),
      );
      transaction.ownContexts(app, { name, isMine: () => ownerIn(this) === owner });
      const test = { owner, transaction, giveBack };
      this.#running.set(owner.token, test);
      return test;
    } catch (error) {
      owner.isOver = true;
      giveBack();
      throw error;
    }
  }

  /** Rolls back what a test did; see {@link TestTransaction.end}. */
  async end({ owner, transaction, giveBack }: RunningTest): Promise<void> {
    if (owner.isOver) {
      return;
    }
    owner.isOver = true;
    try {
      await transaction.end();
    } finally {
      this.#running.delete(owner.token);
      giveBack();
    }
  }

  /**
   * Runs a whole test. One that times out ends at once, so that its locks and its connections are free; what
   * its body goes on with is refused.
   */
  async run(name: string, body: () => unknown, limit: TestLimit): Promise<void> {
    const { timeoutMs } = limit;
    const test = await this.begin(name, timeoutMs && timeoutMs * WAIT_SHARE);
    try {
      limit.signal?.throwIfAborted();
      const running = this.runIn(test.owner, async () => body());
      await untilTimeout(
        limit,
        running,
        () => new TestTimeoutError(`The test "${name}" was not over after ${timeoutMs} ms.`),
      );
    } catch (error) {
      test.owner.hasFailed = true;
      await this.end(test).catch(() => undefined);
      throw error;
    }
    await this.end(test);
  }

  /** Ends the tests that still run, and the watch. */
  async close(): Promise<void> {
    this.#slots.forEach((slots) => slots.close(this));
    const running = [...this.#running.values()];
    running.forEach(({ owner }) => {
      // The runner has given it up: its body is still at work.
      owner.hasFailed = true;
    });
    await Promise.allSettled(running.map((test) => this.end(test)));
    if (!this.hasBegun) {
      this.#servers.forEach((undo) => undo());
    }
    await this.#watch.end();
  }

  /** Runs `work` as part of a test. */
  runIn<T>(owner: TestOwner, work: () => T): T {
    return runOwned(this, owner, work);
  }

  /**
   * See `ConcurrentTestTransactions.allow()`. A refusal is noted for the end of the block, and may be left
   * alone: the timer or the emitter that has called this would end the process with it.
   */
  allow<T>(token: string, work: () => T): Promise<Awaited<T>> {
    const owner = this.#owners.get(token);
    if (owner?.isOver === false) {
      return new Promise((resolve) => {
        resolve(this.runIn(owner, work) as Awaited<T>);
      });
    }
    const error = this.#refusal(
      owner,
      owner === undefined
        ? `db.allow() was given the token ${JSON.stringify(token)}, which no test of this block has.`
        : `db.allow() was given the token of the test "${owner.name}", which has ended.`,
    );
    this.#watch.note({ error, owner });
    const refused = Promise.reject<Awaited<T>>(error);
    refused.catch(() => undefined);
    return refused;
  }

  /** The test that the current code belongs to. */
  current(): RunningTest | undefined {
    const owner = ownerIn(this);
    if (owner === undefined) {
      return undefined;
    }
    const test = this.#running.get(owner.token);
    if (test === undefined) {
      throw this.#refusal(
        owner,
        `useTestTransaction() was asked for the test that runs by code of the test "${owner.name}", ` +
          'which has ended.',
      );
    }
    return test;
  }

  #refusal(owner: TestOwner | undefined, what: string): OutsideTestError {
    const [first] = testConnectionsOf(this.#app(), this.#options).shared;
    const reason = owner === undefined ? 'unknown-test' : 'test-ended';
    return new OutsideTestError(first?.name ?? DEFAULT_CONNECTION_NAME, reason, { what });
  }

  #slotsOf(app: TestTarget): TestSlots {
    const slots = TestSlots.of(registryOf(app));
    this.#slots.add(slots);
    return slots;
  }
}
