import type { EntityName } from '@mikro-orm/core';
import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';

import { collectForeignEntities } from './foreign-features.js';

// A module declares a connection or entities by a provider. These are read from Nest's own list of
// modules, which is complete before the first provider is made; a list of our own would outlive the
// application.

/** Says that a module declares a connection. */
export class DeclaredConnection {
  constructor(readonly name: string) {}
}

/** Says that a feature module adds entities to a connection. */
export class FeatureEntities {
  constructor(
    readonly connectionName: string,
    readonly entities: readonly EntityName[],
  ) {}
}

/** The names of all connections that modules declare; those that are not made yet are among them. */
export function collectConnectionNames(modules: ModulesContainer): string[] {
  return collect(modules, DeclaredConnection).map(({ name }) => name);
}

/** The entities that feature modules add to a connection, also those of `@mikro-orm/nestjs`. */
export function collectFeatureEntities(
  modules: ModulesContainer,
  connectionName: string,
): EntityName[] {
  const features = collect(modules, FeatureEntities).filter(
    (feature) => feature.connectionName === connectionName,
  );
  return [
    ...new Set([
      ...features.flatMap(({ entities }) => entities),
      ...collectForeignEntities(modules, connectionName),
    ]),
  ];
}

function collect<T>(modules: ModulesContainer, Declaration: Type<T>): T[] {
  return [...modules.values()]
    .flatMap((module) => [...module.providers.values()])
    .map(({ instance }): unknown => instance)
    .filter((instance): instance is T => instance instanceof Declaration);
}
