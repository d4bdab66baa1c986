import { MetadataScanner, type ModulesContainer } from '@nestjs/core';

import { TRANSACTION_METADATA, type RouteTransaction } from '../decorators/route.decorators.js';
import { UnknownConnectionError } from '../errors.js';
import { collectConnectionNames } from './declarations.js';

/**
 * Looks at `@DbTransaction()` on all controllers and providers (gateways and resolvers are
 * providers), and on their methods.
 *
 * @throws {@link UnknownConnectionError} a decorator names a connection that no module declares
 */
export function checkRoutes(modules: ModulesContainer): void {
  const known = new Set(collectConnectionNames(modules));
  const scanner = new MetadataScanner();
  for (const [place, target] of targetsOf(modules, scanner)) {
    for (const { connection } of transactionsOf(target)) {
      if (!known.has(connection)) {
        throw new UnknownConnectionError(connection, [...known], `@DbTransaction() on ${place}: `);
      }
    }
  }
}

/** The classes and their methods, each with its name. */
function* targetsOf(
  modules: ModulesContainer,
  scanner: MetadataScanner,
): Generator<readonly [place: string, target: object]> {
  for (const { controllers, providers } of modules.values()) {
    for (const { metatype } of [...controllers.values(), ...providers.values()]) {
      // A provider of a value has no metatype, and that of a factory is a function, which may be an
      // arrow function without a prototype.
      const prototype = metatype?.prototype as Record<string, object> | undefined;
      if (metatype !== null && metatype !== undefined && prototype !== undefined) {
        yield [metatype.name, metatype];
        for (const method of scanner.getAllMethodNames(prototype)) {
          yield [`${metatype.name}.${method}`, prototype[method]!];
        }
      }
    }
  }
}

function transactionsOf(target: object): readonly RouteTransaction[] {
  return (Reflect.getMetadata(TRANSACTION_METADATA, target) ?? []) as readonly RouteTransaction[];
}
