import type { EntityManager, EntityName, MikroORM } from '@mikro-orm/core';
import type { FactoryProvider, OptionalFactoryDependency, Provider } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';

import type { DbConnection } from '../connection/db-connection.js';
import { assertRoot } from '../context/assert-root.js';
import { ContextRegistry } from '../context/context-registry.js';
import type { DbConnectionOptions } from '../options/connection-options.js';
import type { DbContextModuleOptions } from '../options/module-options.js';
import { DB_CONTEXT_OPTIONS } from '../options/options-token.js';
import { connectionNameOf } from '../options/resolve-connection-options.js';
import { getConnectionToken, getSessionToken } from '../tokens.js';
import { createConnection } from './connection-factory.js';
import { collectFeatureEntities, DeclaredConnection } from './declarations.js';
import { hasMikroOrmModule } from './foreign-features.js';
import { logReporters } from './log-reporters.js';

/** It is optional, so that its absence gets the error of {@link assertRoot} rather than Nest's. */
export const OPTIONAL_REGISTRY: OptionalFactoryDependency = {
  token: ContextRegistry,
  optional: true,
};

/** Providers of the connection that the options declare, and of its session. */
export function connectionProviders(options: DbConnectionOptions): Provider[] {
  const name = connectionNameOf(options);
  return [
    declarationOf(name),
    {
      provide: getConnectionToken(name),
      inject: [OPTIONAL_REGISTRY, ModulesContainer],
      useFactory: (registry: ContextRegistry | undefined, modules: ModulesContainer) =>
        connect(options, registry, modules),
    },
    sessionProvider(name),
  ];
}

/** As {@link connectionProviders}, where the options come from the factory of the module. */
export function asyncConnectionProviders(name: string): Provider[] {
  return [
    declarationOf(name),
    {
      provide: getConnectionToken(name),
      inject: [ContextRegistry, ModulesContainer, DB_CONTEXT_OPTIONS],
      useFactory: (
        registry: ContextRegistry,
        modules: ModulesContainer,
        { connections }: DbContextModuleOptions,
      ) => {
        // It is never missing: the names were compared when the factory returned.
        const options = connections.find((each) => connectionNameOf(each) === name)!;
        return connect(options, registry, modules);
      },
    },
    sessionProvider(name),
  ];
}

async function connect(
  options: DbConnectionOptions,
  registry: ContextRegistry | undefined,
  modules: ModulesContainer,
): Promise<DbConnection> {
  assertRoot(registry);
  const entities = collectFeatureEntities(modules, connectionNameOf(options));
  const connection = await createConnection(options, entities, logReporters);
  if (options.orm !== undefined && hasMikroOrmModule(modules)) {
    discoverMissing(options.orm, entities);
  }
  registry.connections.register(connection);
  return connection;
}

/** Completes the list of entities that `autoLoadEntities` of `@mikro-orm/nestjs` makes of its own modules. */
function discoverMissing(orm: MikroORM, entities: readonly EntityName[]): void {
  const missing = entities.filter(
    (entity) => orm.getMetadata().find(entity as never) === undefined,
  );
  if (missing.length > 0) {
    orm.discoverEntity(missing as Parameters<MikroORM['discoverEntity']>[0]);
  }
}

function declarationOf(name: string): Provider {
  return {
    provide: Symbol('nestjs-db-context:declared-connection'),
    useValue: new DeclaredConnection(name),
  };
}

function sessionProvider(name: string): FactoryProvider<EntityManager> {
  return {
    provide: getSessionToken(name),
    // The connection is injected so that it is made first, which puts its session into the registry.
    inject: [OPTIONAL_REGISTRY, getConnectionToken(name)],
    useFactory: (registry: ContextRegistry | undefined) => {
      assertRoot(registry);
      return registry.connections.handle(name);
    },
  };
}
