import type { EntityManager } from '@mikro-orm/core';

import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { TestRun } from './test-run.js';
import { registryOf, type TestTarget } from './test-target.js';
import type { DriverEntityManager } from '../session/driver-entity-manager.js';

/**
 * A context that stays open until a test closes it, and is rolled back then. All code that runs in no
 * context of its own joins it: the test, and requests, which then share its sessions and settle nothing.
 *
 * Entities that a request only persisted are not written until the test flushes (`commit()`, or
 * `session().flush()`). Where requests are to behave as in production, use {@link TestTransaction}.
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
  readonly #registry: ContextRegistry;
  readonly #context: Context;
  readonly #leave: () => void;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(registry: ContextRegistry) {
    this.#registry = registry;
    this.#context = registry.open('openTestContext()');
    TestRun.expectLater(this.#context);
    this.#leave = registry.attach({ common: this.#context });
    // A test that fails or times out may never come to its close().
    TestRun.stopAtEnd(registry, () => void this.#closeLeft());
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
  session<E extends EntityManager = DriverEntityManager>(
    name: string = DEFAULT_CONNECTION_NAME,
  ): E {
    return this.#context.session(name).manager as E;
  }

  /**
   * Commits the work so far, and runs the hooks that are bound to single connections; the context stays
   * open. Together with a {@link TestTransaction} nothing of it outlives the test.
   *
   * @throws what `dbContext.commitAll()` throws
   */
  async commit(): Promise<void> {
    await this.#registry.runIn(this.#context, () => this.#context.early.commit());
  }

  /**
   * Rolls back what is not committed; other code no longer joins. May be called again. Together with
   * {@link useTestTransaction} or {@link TestTransaction} the end of the test does it as well.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#leave();
    await this.#registry.settle(this.#context, 'rollback');
  }

  async #closeLeft(): Promise<void> {
    await this.close().catch((error: unknown) =>
      this.#registry.report('openTestContext() could not be closed at the end of its test', error),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Opens a {@link TestContext}. The caller has to close it; where a {@link TestTransaction} runs, its end does so too.
 *
 * @throws {@link ShuttingDownError} the application is closing
 * @publicApi
 */
export function openTestContext(app: TestTarget): TestContext {
  return new TestContext(registryOf(app));
}
