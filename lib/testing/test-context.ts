import type { EntityManager } from '@mikro-orm/core';

import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { hostOf, type TestTarget } from './test-target.js';

/**
 * A context that is open for as long as a test wants. Whatever runs in no context of its own joins
 * it: the test, and requests, which then share its sessions and settle nothing (S8). It is rolled
 * back when it is closed.
 *
 * What a request only persisted is not written until the test asks for it (`commit()`, or
 * `session().flush()`). Where requests shall behave as in production, use {@link TestTransaction}.
 *
 * @example
 * ```ts
 * const context = openTestContext(app);
 * await app.get(OrderService).place(order);
 * expect(await context.session().count(Order)).toBe(1);
 * await context.close();
 * ```
 * @publicApi
 */
export class TestContext {
  readonly #host: ContextRegistry;
  readonly #container: Context;
  readonly #leave: () => void;

  /** @internal */
  constructor(host: ContextRegistry) {
    this.#host = host;
    this.#container = host.open('openTestContext()');
    this.#leave = host.attach({ common: this.#container });
  }

  /**
   * The session of the context.
   *
   * @param name name of the connection
   * @typeParam E the driver's EntityManager
   * @throws {@link SessionClosedError} the context is closed
   * @throws {@link UnknownConnectionError}
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows its driver
  session<E extends EntityManager = EntityManager>(name: string = DEFAULT_CONNECTION_NAME): E {
    return this.#container.session(name).manager as E;
  }

  /**
   * Commits what was done so far, hooks of single connections included, and goes on. Together with a
   * {@link TestTransaction} nothing of it outlives the test.
   *
   * @throws what `dbContext.commitAll()` throws
   */
  async commit(): Promise<void> {
    await this.#host.runIn(this.#container, () => this.#container.commitEarly());
  }

  /** Rolls back what is not committed, and lets nobody join any more. May be called again. */
  async close(): Promise<void> {
    this.#leave();
    await this.#host.settle(this.#container, 'rollback');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Opens a {@link TestContext}; whoever opens one closes it.
 *
 * @throws {@link ShuttingDownError} the application is closing
 * @publicApi
 */
export function openTestContext(app: TestTarget): TestContext {
  return new TestContext(hostOf(app));
}
