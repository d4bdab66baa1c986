import type { EntityManager, EntityName, EntityRepository } from '@mikro-orm/core';
import type { FactoryProvider } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';

import type { DbConnection } from '../connection/db-connection.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { UnknownConnectionError, UnknownEntityError } from '../errors.js';
import {
  entityNameOf,
  getConnectionToken,
  getRepositoryToken,
  getSessionToken,
} from '../tokens.js';
import { assertRoot } from '../context/assert-root.js';
import { OPTIONAL_REGISTRY } from './connection.providers.js';
import { collectConnectionNames } from './declarations.js';

/** Provider of the repository of an entity, bound to the session of a connection. */
export function repositoryProvider(
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
