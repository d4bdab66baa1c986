import type { EntityManager } from '@mikro-orm/core';
import type { FactoryProvider, Provider } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';

import { connectionNameOf, createConnection } from '../connection/connection-factory.js';
import type { DbConnection } from '../connection/db-connection.js';
import { ContextHost } from '../context/context-host.js';
import type { DbContextModuleOptions } from '../db-context.module-options.js';
import type { DbConnectionOptions } from '../db-context.options.js';
import { getConnectionToken, getSessionToken } from '../db-context.tokens.js';
import { InvalidOptionsError } from '../errors.js';
import { reportFault } from './fault-report.js';
import { collectFeatureEntities } from './feature-entities.js';
import { MODULE_OPTIONS } from './internal-tokens.js';

/** The connection and the session of one set of options. */
export function connectionProviders(options: DbConnectionOptions): Provider[] {
  const name = connectionNameOf(options);
  return [
    {
      provide: getConnectionToken(name),
      inject: [ContextHost, ModulesContainer],
      useFactory: (host: ContextHost, modules: ModulesContainer) => connect(options, host, modules),
    },
    sessionProvider(name),
  ];
}

/** The connection and the session of a name whose options come from the module's factory. */
export function asyncConnectionProviders(name: string): Provider[] {
  return [
    {
      provide: getConnectionToken(name),
      inject: [ContextHost, ModulesContainer, MODULE_OPTIONS],
      useFactory: (
        host: ContextHost,
        modules: ModulesContainer,
        { connections }: DbContextModuleOptions,
      ) => {
        const options = connections.find((each) => connectionNameOf(each) === name);
        if (options === undefined) {
          const returned = connections.map((each) => `'${connectionNameOf(each)}'`).join(', ');
          throw new InvalidOptionsError(
            `forRootAsync() declares the connection "${name}", but its factory returned only ` +
              `${returned}. Make connectionNames and the names of connections the same.`,
          );
        }
        return connect(options, host, modules);
      },
    },
    sessionProvider(name),
  ];
}

async function connect(
  options: DbConnectionOptions,
  host: ContextHost,
  modules: ModulesContainer,
): Promise<DbConnection> {
  const entities = collectFeatureEntities(modules, connectionNameOf(options));
  const connection = await createConnection(options, entities, reportFault);
  host.register(connection);
  return connection;
}

function sessionProvider(name: string): FactoryProvider<EntityManager> {
  return {
    provide: getSessionToken(name),
    // The connection is awaited for its effect: it puts the session into the host.
    inject: [ContextHost, getConnectionToken(name)],
    useFactory: (host: ContextHost) => host.handle(name),
  };
}
