import type { EntityName } from '@mikro-orm/core';
import { Module, type DynamicModule, type Provider } from '@nestjs/common';

import { InvalidOptionsError } from './errors.js';
import { asyncConnectionProviders, connectionProviders } from './module/connection.providers.js';
import { DbContextCoreModule } from './module/db-context-core.module.js';
import { FeatureEntities } from './module/declarations.js';
import { DbContextOrmModule, mayNeedOrm } from './module/orm.module.js';
import { repositoryProviders } from './module/repository.providers.js';
import {
  assertDistinct,
  checkConnectionNames,
  checkConnectionOptions,
  checkModuleOptions,
} from './options/check-module-options.js';
import type { DbConnectionOptions } from './options/connection-options.js';
import { DEFAULT_CONNECTION_NAME } from './options/defaults.js';
import type {
  DbContextModuleAsyncOptions,
  DbContextModuleOptions,
  DbContextOptionsFactory,
} from './options/module-options.js';
import { checkKeys } from './options/option-keys.js';
import { DB_CONTEXT_OPTIONS } from './options/options-token.js';
import { connectionNameOf } from './options/resolve-connection-options.js';
import { getConnectionToken, getSessionToken } from './tokens.js';

/**
 * Gives every request one lazy MikroORM session per named database.
 *
 * @publicApi
 */
@Module({})
export class DbContextModule {
  /**
   * Declares the connections and the options of all contexts. It is imported once, in the AppModule.
   *
   * @throws {@link InvalidOptionsError}, {@link DuplicateConnectionError}
   * @example
   * ```ts
   * @Module({
   *   imports: [
   *     DbContextModule.forRoot({
   *       connections: [defineConfig({ clientUrl: process.env.DATABASE_URL, entities: [Account] })],
   *     }),
   *   ],
   * })
   * export class AppModule {}
   * ```
   */
  static forRoot(options: DbContextModuleOptions): DynamicModule {
    checkModuleOptions(options, 'forRoot');
    return {
      module: DbContextModule,
      imports: [
        DbContextCoreModule.register(
          { provide: DB_CONTEXT_OPTIONS, useValue: options },
          options.connections.flatMap(connectionProviders),
        ),
        DbContextOrmModule.register(options.connections.map(connectionNameOf)),
      ],
    };
  }

  /**
   * As `forRoot()`, with options that come from other providers.
   *
   * @throws {@link InvalidOptionsError}, {@link DuplicateConnectionError}
   * @example
   * ```ts
   * DbContextModule.forRootAsync({
   *   connectionNames: ['default', 'audit'],
   *   inject: [ConfigService],
   *   useFactory: (config: ConfigService) => ({
   *     connections: [
   *       defineConfig({ clientUrl: config.getOrThrow('DATABASE_URL'), entities: [Account] }),
   *       { name: 'audit', ...defineConfig({ clientUrl: config.getOrThrow('AUDIT_URL') }) },
   *     ],
   *   }),
   * });
   * ```
   */
  static forRootAsync(options: DbContextModuleAsyncOptions): DynamicModule {
    const names = options.connectionNames ?? [DEFAULT_CONNECTION_NAME];
    assertDistinct(names);
    return {
      module: DbContextModule,
      imports: [
        DbContextCoreModule.register(
          asyncOptionsProvider(options, names),
          names.flatMap(asyncConnectionProviders),
          options.useClass === undefined ? [] : [options.useClass],
          options.imports,
        ),
        ...(mayNeedOrm([...(options.inject ?? []), options.useClass ?? options.useExisting])
          ? []
          : [DbContextOrmModule.register(names)]),
      ],
    };
  }

  /** Declares a further named connection from a feature module; it can be injected anywhere. */
  static forFeature(connection: DbConnectionOptions): DynamicModule;
  /**
   * Adds entities to a connection and provides their repositories, for `@InjectRepository()` in
   * the importing module.
   *
   * @param entities entity classes or schemas
   * @param connectionName name of the connection
   * @defaultValue 'default'
   * @throws {@link UnknownConnectionError}, {@link UnknownEntityError} while the application boots
   */
  static forFeature(entities: readonly EntityName[], connectionName?: string): DynamicModule;
  static forFeature(
    feature: DbConnectionOptions | readonly EntityName[],
    connectionName: string = DEFAULT_CONNECTION_NAME,
  ): DynamicModule {
    return isEntityList(feature)
      ? repositoriesModule(feature, connectionName)
      : connectionModule(feature);
  }
}

function isEntityList(
  feature: DbConnectionOptions | readonly EntityName[],
): feature is readonly EntityName[] {
  return Array.isArray(feature);
}

function connectionModule(options: DbConnectionOptions): DynamicModule {
  checkConnectionOptions(options, 'DbContextModule.forFeature()');
  const name = connectionNameOf(options);
  return {
    module: DbContextModule,
    global: true,
    imports: [DbContextOrmModule.register([name])],
    providers: connectionProviders(options),
    exports: [getConnectionToken(name), getSessionToken(name)],
  };
}

function repositoriesModule(
  entities: readonly EntityName[],
  connectionName: string,
): DynamicModule {
  const missing = entities.findIndex((entity) => entity === undefined || entity === null);
  if (missing >= 0) {
    throw new InvalidOptionsError(
      `DbContextModule.forFeature() was given nothing as entity number ${missing + 1}. Two files ` +
        'that import each other are the usual cause; break the cycle.',
    );
  }
  const providers = entities.flatMap((entity) => repositoryProviders(entity, connectionName));
  return {
    module: DbContextModule,
    providers: [
      {
        provide: Symbol('nestjs-db-context:feature-entities'),
        useValue: new FeatureEntities(connectionName, entities),
      },
      ...providers,
    ],
    exports: providers.map(({ provide }) => provide),
  };
}

function asyncOptionsProvider(
  options: DbContextModuleAsyncOptions,
  names: readonly string[],
): Provider {
  const { useFactory, useClass, useExisting, inject = [] } = options;
  checkKeys(options, 'asyncModule', 'DbContextModule.forRootAsync()');
  const given = [useFactory, useClass, useExisting].filter((each) => each !== undefined);
  if (given.length !== 1) {
    throw new InvalidOptionsError(
      'DbContextModule.forRootAsync() takes exactly one of useFactory, useClass and useExisting, ' +
        `and was given ${given.length}.`,
    );
  }
  const check = (made: DbContextModuleOptions): DbContextModuleOptions => {
    checkModuleOptions(made, 'forRootAsync');
    checkConnectionNames(names, made);
    return made;
  };
  if (useFactory !== undefined) {
    return {
      provide: DB_CONTEXT_OPTIONS,
      inject,
      useFactory: async (...dependencies: never[]) => check(await useFactory(...dependencies)),
    };
  }
  return {
    provide: DB_CONTEXT_OPTIONS,
    inject: [useClass ?? useExisting],
    useFactory: async (factory: DbContextOptionsFactory) =>
      check(await factory.createDbContextOptions()),
  };
}
