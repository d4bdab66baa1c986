import type { INestApplicationContext } from '@nestjs/common';

import type { DbConnection } from '../connection/db-connection.js';
import { ContextHost } from '../context/context-host.js';

/** An application or a compiled `TestingModule`. */
export type TestTarget = Pick<INestApplicationContext, 'get'>;

/** @throws Nest's error when the application does not import `DbContextModule` */
export function hostOf(app: TestTarget): ContextHost {
  return app.get(ContextHost, { strict: false });
}

/**
 * The connections of those names, or all.
 *
 * @throws {@link UnknownConnectionError}
 */
export function connectionsOf(app: TestTarget, names?: readonly string[]): DbConnection[] {
  const host = hostOf(app);
  return names === undefined
    ? [...host.connections]
    : names.map((name) => host.factory(name).connection);
}
