import type { EventEmitter } from 'node:events';

import { InvalidOptionsError } from '../errors.js';
import { OutsideTestError } from './outside-test-error.js';
import { bindRequests } from './request-ownership.js';
import { testConnectionsOf, type TestTransactionOptions } from './test-connections.js';
import { ownerIn, runOwned, TestOwner } from './test-owner.js';
import { TestSlots } from './test-slots.js';
import type { TestTarget } from './test-target.js';
import { TestTransaction } from './test-transaction.js';
import { TestWatch } from './test-watch.js';

/** A test that has begun, with its transactions. */
export interface RunningTest {
  readonly owner: TestOwner;
  readonly transaction: TestTransaction;
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
  #slots: Promise<TestSlots> | undefined;

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
   */
  async begin(name?: string): Promise<RunningTest> {
    const app = this.#app();
    await this.cover(app);
    const slots = await (this.#slots ??= this.#makeSlots(app));
    await slots.take();
    const owner = new TestOwner(this, name);
    this.#owners.set(owner.token, owner);
    try {
      const transaction = await runOwned(this, owner, () =>
        TestTransaction.beginOwned(app, this.#options, owner),
      );
      const test = { owner, transaction };
      this.#running.set(owner.token, test);
      return test;
    } catch (error) {
      owner.isOver = true;
      slots.giveBack();
      throw error;
    }
  }

  /** Rolls back what a test did; see {@link TestTransaction.end}. */
  async end({ owner, transaction }: RunningTest): Promise<void> {
    if (owner.isOver) {
      return;
    }
    owner.isOver = true;
    try {
      await transaction.end();
    } finally {
      this.#running.delete(owner.token);
      const slots = await this.#slots;
      slots?.giveBack();
    }
  }

  /** Runs a whole test. */
  async run(name: string, body: () => unknown): Promise<void> {
    const test = await this.begin(name);
    try {
      await this.runIn(test.owner, body);
    } catch (error) {
      await this.end(test).catch(() => undefined);
      throw error;
    }
    await this.end(test);
  }

  /** Ends the tests that still run, and the watch. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#running.values()].map((test) => this.end(test)));
    if (!this.hasBegun) {
      this.#servers.forEach((undo) => undo());
    }
    await this.#watch.end();
  }

  /** Runs `work` as part of a test. */
  runIn<T>(owner: TestOwner, work: () => T): T {
    return runOwned(this, owner, work);
  }

  /** See `ConcurrentTestTransactions.allow()`. */
  allow<T>(token: string, work: () => T): T {
    return this.runIn(this.#running.get(token)?.owner ?? this.#refuseEnded(), work);
  }

  /** The test that the current code belongs to. */
  current(): RunningTest | undefined {
    const owner = ownerIn(this);
    return owner && (this.#running.get(owner.token) ?? this.#refuseEnded());
  }

  #refuseEnded(): never {
    const [first] = testConnectionsOf(this.#app(), this.#options).shared;
    throw first === undefined
      ? new InvalidOptionsError(
          'useTestTransaction() shares no connection; name one in connections.',
        )
      : new OutsideTestError(first.name, 'test-ended');
  }

  /** A test holds one connection of each pool, and waits for no second one while it holds the first. */
  async #makeSlots(app: TestTarget): Promise<TestSlots> {
    const { shared } = testConnectionsOf(app, this.#options);
    const sizes = await Promise.all(shared.map((connection) => connection.poolSize()));
    return new TestSlots(Math.min(...sizes));
  }
}
