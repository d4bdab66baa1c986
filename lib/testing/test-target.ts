import type { INestApplicationContext } from '@nestjs/common';

import type { DbConnection } from '../connection/db-connection.js';
import { ContextRegistry } from '../context/context-registry.js';

/** An application or a compiled `TestingModule`. */
export type TestTarget = Pick<INestApplicationContext, 'get'>;

/** @throws Nest's error when the application does not import `DbContextModule` */
export function hostOf(app: TestTarget): ContextRegistry {
  return app.get(ContextRegistry, { strict: false });
}

/**
 * The connections of those names, or all.
 *
 * @throws {@link UnknownConnectionError}
 */
export function connectionsOf(app: TestTarget, names?: readonly string[]): DbConnection[] {
  const host = hostOf(app);
  return names === undefined
    ? [...host.connections.all]
    : names.map((name) => host.connections.factory(name).connection);
}
