import type { EntityName } from '@mikro-orm/core';
import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';

// What modules declare is a provider of theirs, and is read from Nest's own list of modules, which
// is complete before the first provider is made. A list of our own would outlive the application.

/** A module declares a connection. */
export class DeclaredConnection {
  constructor(readonly name: string) {}
}

/** A feature module adds entities to a connection. */
export class FeatureEntities {
  constructor(
    readonly connectionName: string,
    readonly entities: readonly EntityName[],
  ) {}
}

/** The names of all connections, whether they have been made yet or not. */
export function collectConnectionNames(modules: ModulesContainer): string[] {
  return collect(modules, DeclaredConnection).map(({ name }) => name);
}

/** The entities that feature modules add to a connection. */
export function collectFeatureEntities(
  modules: ModulesContainer,
  connectionName: string,
): EntityName[] {
  const features = collect(modules, FeatureEntities).filter(
    (feature) => feature.connectionName === connectionName,
  );
  return [...new Set(features.flatMap(({ entities }) => entities))];
}

function collect<T>(modules: ModulesContainer, Declaration: Type<T>): T[] {
  return [...modules.values()]
    .flatMap((module) => [...module.providers.values()])
    .map(({ instance }): unknown => instance)
    .filter((instance): instance is T => instance instanceof Declaration);
}
