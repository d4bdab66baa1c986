import type { EntityManager } from '@mikro-orm/core';

import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { hostOf, type TestTarget } from './test-target.js';

/** A session that never commits by itself, see {@link openRollbackSession}. */
export interface RollbackSession<E extends EntityManager = EntityManager> extends AsyncDisposable {
  readonly session: E;
  /** Rolls back, and gives the connection back. May be called again. */
  close(): Promise<void>;
}

/**
 * Opens a session of the test's own, in no context, on a connection of its own: what it does is
 * rolled back when it is closed, unless the test commits it (`session.commit()`). It sees what the
 * application has committed, and nothing else.
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
  const host = hostOf(app);
  host.connections.factory(name);
  const container = host.openDetached('openRollbackSession()');
  const close = (): Promise<void> => host.settle(container, 'rollback');
  return {
    session: container.session(name).manager as E,
    close,
    [Symbol.asyncDispose]: close,
  };
}
