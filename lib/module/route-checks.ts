import type { ModulesContainer } from '@nestjs/core';

import { TRANSACTION_METADATA, type RouteTransaction } from '../decorators/route.decorators.js';
import { UnknownConnectionError } from '../errors.js';
import { collectConnectionNames } from './declarations.js';
import { declaredClasses, type DeclaredClass } from './declared-classes.js';
import { assertDecoratorsHaveEffect } from './misplaced-decorators.js';

/**
 * Looks at the decorators of routes on all controllers and providers, and on their methods.
 *
 * @throws {@link UnknownConnectionError} `@DbTransaction()` names a connection that no module declares
 * @throws {@link InvalidOptionsError} a decorator has no effect where it stands
 */
export function checkRoutes(modules: ModulesContainer): void {
  const known = new Set(collectConnectionNames(modules));
  const classes = declaredClasses(modules);
  for (const [place, target] of classes.flatMap(targetsOf)) {
    for (const { connection } of transactionsOf(target)) {
      if (!known.has(connection)) {
        throw new UnknownConnectionError(connection, [...known], `@DbTransaction() on ${place}: `);
      }
    }
  }
  classes.forEach(assertDecoratorsHaveEffect);
}

/** A class and its methods, each with its name. */
function targetsOf({
  type,
  methods,
}: DeclaredClass): readonly (readonly [place: string, target: object])[] {
  return [
    [type.name, type],
    ...methods.map(({ name, method }) => [`${type.name}.${name}`, method] as const),
  ];
}

function transactionsOf(target: object): readonly RouteTransaction[] {
  return (Reflect.getMetadata(TRANSACTION_METADATA, target) ?? []) as readonly RouteTransaction[];
}
