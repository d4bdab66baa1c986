import type { EntityManager } from '@mikro-orm/core';

import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { registryOf, type TestTarget } from './test-target.js';

/** A session that never commits by itself, see {@link openRollbackSession}. */
export interface RollbackSession<E extends EntityManager = EntityManager> extends AsyncDisposable {
  readonly session: E;
  /** Rolls back, and gives the connection back. May be called again. */
  close(): Promise<void>;
}

/**
 * Opens a session for a test, in no context and on a connection of its own. Its work is rolled back when
 * it is closed, unless the test commits it (`session.commit()`). Of the work of the application it sees
 * only what is committed.
 *
 * @param name name of the connection
 * @typeParam E the driver's EntityManager
 * @throws {@link UnknownConnectionError}
 * @throws {@link ShuttingDownError} the application is closing
 * @publicApi
 */
export function openRollbackSession<E extends EntityManager = EntityManager>(
  app: TestTarget,
  name: string = DEFAULT_CONNECTION_NAME,
): RollbackSession<E> {
  const registry = registryOf(app);
  registry.connections.factory(name);
  const context = registry.openDetached('openRollbackSession()');
  const close = (): Promise<void> => registry.settle(context, 'rollback');
  return {
    session: context.session(name).manager as E,
    close,
    [Symbol.asyncDispose]: close,
  };
}
