import type { EntityManager } from '@mikro-orm/core';
import type { FactoryProvider, OptionalFactoryDependency, Provider } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';

import type { DbConnection } from '../connection/db-connection.js';
import { ContextRegistry } from '../context/context-registry.js';
import { InvalidOptionsError } from '../errors.js';
import type { DbConnectionOptions } from '../options/connection-options.js';
import type { DbContextModuleOptions } from '../options/module-options.js';
import { DB_CONTEXT_OPTIONS } from '../options/options-token.js';
import { connectionNameOf } from '../options/resolve-connection-options.js';
import { getConnectionToken, getSessionToken } from '../tokens.js';
import { createConnection } from './connection-factory.js';
import { collectFeatureEntities, DeclaredConnection } from './declarations.js';
import { logReporters } from './log-reporters.js';

/** Optional, so that its absence gets this library's error; see {@link assertRoot}. */
export const OPTIONAL_HOST: OptionalFactoryDependency = { token: ContextRegistry, optional: true };

/** The connection and the session of one set of options. */
export function connectionProviders(options: DbConnectionOptions): Provider[] {
  const name = connectionNameOf(options);
  return [
    declarationOf(name),
    {
      provide: getConnectionToken(name),
      inject: [OPTIONAL_HOST, ModulesContainer],
      useFactory: (host: ContextRegistry | undefined, modules: ModulesContainer) =>
        connect(options, host, modules),
    },
    sessionProvider(name),
  ];
}

/** The connection and the session of a name whose options come from the module's factory. */
export function asyncConnectionProviders(name: string): Provider[] {
  return [
    declarationOf(name),
    {
      provide: getConnectionToken(name),
      inject: [ContextRegistry, ModulesContainer, DB_CONTEXT_OPTIONS],
      useFactory: (
        host: ContextRegistry,
        modules: ModulesContainer,
        { connections }: DbContextModuleOptions,
      ) => {
        // It is there: the names have been compared when the factory returned.
        const options = connections.find((each) => connectionNameOf(each) === name)!;
        return connect(options, host, modules);
      },
    },
    sessionProvider(name),
  ];
}

/** @throws {@link InvalidOptionsError} the application has no `DbContextModule.forRoot()` */
export function assertRoot(host: ContextRegistry | undefined): asserts host is ContextRegistry {
  if (host === undefined) {
    throw new InvalidOptionsError(
      'DbContextModule.forFeature() is imported, and DbContextModule.forRoot() is missing. Import ' +
        'it once, in the AppModule; connections: [] is enough.',
    );
  }
}

async function connect(
  options: DbConnectionOptions,
  host: ContextRegistry | undefined,
  modules: ModulesContainer,
): Promise<DbConnection> {
  assertRoot(host);
  const entities = collectFeatureEntities(modules, connectionNameOf(options));
  const connection = await createConnection(options, entities, logReporters.report);
  host.connections.register(connection);
  return connection;
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
    // The connection is awaited for its effect: it puts the session into the host.
    inject: [OPTIONAL_HOST, getConnectionToken(name)],
    useFactory: (host: ContextRegistry | undefined) => {
      assertRoot(host);
      return host.connections.handle(name);
    },
  };
}
