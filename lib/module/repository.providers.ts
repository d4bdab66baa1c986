import {
  EntitySchema,
  MetadataStorage,
  Utils,
  type EntityManager,
  type EntityName,
  type EntityRepository,
} from '@mikro-orm/core';
import type { ExistingProvider, FactoryProvider, InjectionToken } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';

import type { DbConnection } from '../connection/db-connection.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { UnknownConnectionError, UnknownEntityError } from '../errors.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import {
  entityNameOf,
  getConnectionToken,
  getRepositoryToken,
  getSessionToken,
} from '../tokens.js';
import { assertRoot } from '../context/assert-root.js';
import { OPTIONAL_REGISTRY } from './connection.providers.js';
import { collectConnectionNames } from './declarations.js';

/**
 * Providers of the repository of an entity, bound to the session of a connection: by the token of this
 * library, and by the class of the repository and the token of `@mikro-orm/nestjs`, which a service of an
 * application on MikroORM injects it by.
 */
export function repositoryProviders(
  entity: EntityName,
  connectionName: string,
): [FactoryProvider<EntityRepository<object>>, ...ExistingProvider[]] {
  const useExisting = getRepositoryToken(entity, connectionName);
  return [
    repositoryProvider(entity, connectionName),
    ...otherTokens(entity, connectionName).map((provide) => ({ provide, useExisting })),
  ];
}

function otherTokens(entity: EntityName, connectionName: string): InjectionToken[] {
  const suffix = connectionName === DEFAULT_CONNECTION_NAME ? '' : `_${connectionName}`;
  const token = `${Utils.className(entity)}Repository${suffix}`;
  const ownClass = repositoryClassOf(entity);
  return ownClass === undefined ? [token] : [token, ownClass];
}

/** The class that the entity names as its repository; no orm knows the entity yet. */
function repositoryClassOf(entity: EntityName): InjectionToken | undefined {
  const schema =
    entity instanceof EntitySchema ? entity : EntitySchema.REGISTRY.get(entity as object);
  const meta =
    schema?.meta ??
    Object.values(MetadataStorage.getMetadata()).find((each) => each.class === entity);
  return meta?.repository?.() as InjectionToken | undefined;
}

function repositoryProvider(
  entity: EntityName,
  connectionName: string,
): FactoryProvider<EntityRepository<object>> {
  return {
    provide: getRepositoryToken(entity, connectionName),
    inject: [
      OPTIONAL_REGISTRY,
      ModulesContainer,
      // They are optional, so that an unknown name gets this library's error rather than Nest's.
      { token: getConnectionToken(connectionName), optional: true },
      { token: getSessionToken(connectionName), optional: true },
    ],
    useFactory: (
      registry: ContextRegistry | undefined,
      modules: ModulesContainer,
      connection?: DbConnection,
      session?: EntityManager,
    ) => {
      assertRoot(registry);
      if (connection === undefined || session === undefined) {
        throw new UnknownConnectionError(connectionName, collectConnectionNames(modules));
      }
      if (connection.orm.getMetadata().find(entity as never) === undefined) {
        throw new UnknownEntityError(entityNameOf(entity), connectionName);
      }
      return session.getRepository(entity as EntityName<object>);
    },
  };
}
