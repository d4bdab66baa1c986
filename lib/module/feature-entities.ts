import type { EntityName } from '@mikro-orm/core';
import type { ModulesContainer } from '@nestjs/core';

/** Entities that a feature module adds to a connection; a provider of that module. */
export class FeatureEntities {
  constructor(
    readonly connectionName: string,
    readonly entities: readonly EntityName[],
  ) {}
}

/**
 * Collects the entities of all feature modules from Nest's own list of modules, which is complete
 * before the first provider is made. A list of our own would outlive the application.
 */
export function collectFeatureEntities(
  modules: ModulesContainer,
  connectionName: string,
): EntityName[] {
  const entities = new Set<EntityName>();
  for (const module of modules.values()) {
    for (const { instance } of module.providers.values()) {
      if (instance instanceof FeatureEntities && instance.connectionName === connectionName) {
        instance.entities.forEach((entity) => entities.add(entity));
      }
    }
  }
  return [...entities];
}
