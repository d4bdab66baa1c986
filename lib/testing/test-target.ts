import type { INestApplicationContext } from '@nestjs/common';

import type { DbConnection } from '../connection/db-connection.js';
import { ContextRegistry } from '../context/context-registry.js';
import { InvalidOptionsError } from '../errors.js';

/** An application or a compiled `TestingModule`. */
export type TestTarget = Pick<INestApplicationContext, 'get'>;

/**
 * @throws {@link InvalidOptionsError} there is no application
 * @throws UnknownElementException the application does not import `DbContextModule`
 */
export function registryOf(app: TestTarget | undefined): ContextRegistry {
  if (typeof app?.get !== 'function') {
    throw new InvalidOptionsError(
      `A test transaction was given ${app === undefined ? 'no application' : typeof app}. Make the ` +
        'application in a beforeAll() or beforeEach() that stands before useTestTransaction(() => app); where ' +
        'that hook has failed, its error is the one to look at.',
    );
  }
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
