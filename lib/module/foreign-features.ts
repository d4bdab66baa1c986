import { EntityManager, type EntityName } from '@mikro-orm/core';
import type { ModulesContainer } from '@nestjs/core';

import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';

/** The part of one of Nest's provider wrappers that tells of a repository. */
interface RepositoryWrapper {
  readonly metatype: unknown;
  readonly inject?: readonly unknown[] | null;
}

/** A factory of `MikroOrmModule.forFeature()`. */
type RepositoryFactory = (em: { getRepository(entity: EntityName): EntityName }) => unknown;

/** Whether the application imports `@mikro-orm/nestjs`, which is not imported for the sake of asking. */
export function hasMikroOrmModule(modules: ModulesContainer): boolean {
  return modulesOf(modules).length > 0;
}

/**
 * The entities of `MikroOrmModule.forFeature()`. Their list is private to `@mikro-orm/nestjs`; the providers
 * of the repositories have them.
 */
export function collectForeignEntities(
  modules: ModulesContainer,
  connectionName: string,
): EntityName[] {
  const token =
    connectionName === DEFAULT_CONNECTION_NAME ? EntityManager : `${connectionName}_EntityManager`;
  return modulesOf(modules)
    .flatMap(({ providers }) => [...providers.values()] as readonly RepositoryWrapper[])
    .filter(({ inject }) => inject?.length === 1 && inject[0] === token)
    .flatMap(({ metatype }) => entityOf(metatype as RepositoryFactory));
}

function modulesOf(
  modules: ModulesContainer,
): readonly { readonly providers: ReadonlyMap<unknown, unknown> }[] {
  return [...modules.values()].filter(({ metatype }) => metatype?.name === 'MikroOrmModule');
}

/** Asks the factory for its repository, and is asked for that of its entity. */
function entityOf(factory: RepositoryFactory): EntityName[] {
  const entities: EntityName[] = [];
  factory({
    getRepository: (entity) => {
      entities.push(entity);
      return entity;
    },
  });
  return entities;
}
