import type { INestApplicationContext } from '@nestjs/common';

import type { DbConnection } from '../connection/db-connection.js';
import { ContextRegistry } from '../context/context-registry.js';

/** An application or a compiled `TestingModule`. */
export type TestTarget = Pick<INestApplicationContext, 'get'>;

/** @throws UnknownElementException the application does not import `DbContextModule` */
export function registryOf(app: TestTarget): ContextRegistry {
  return app.get(ContextRegistry, { strict: false });
}

/**
 * The connections of the given names, or all connections.
 *
 * @throws {@link UnknownConnectionError}
 */
export function connectionsOf(app: TestTarget, names?: readonly string[]): DbConnection[] {
  const registry = registryOf(app);
  return names === undefined
    ? [...registry.connections.all]
    : names.map((name) => registry.connections.factory(name).connection);
}
