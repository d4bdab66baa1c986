import type {
  InjectionToken,
  ModuleMetadata,
  OptionalFactoryDependency,
  Type,
} from '@nestjs/common';

import type { DbConnectionOptions, DbContextOptions } from './db-context.options.js';

/**
 * Options of `DbContextModule.forRoot()`.
 *
 * @publicApi
 */
export interface DbContextModuleOptions extends DbContextOptions {
  /** The named databases; at least one, here or by `forFeature()`. */
  readonly connections: readonly DbConnectionOptions[];
}

/**
 * A class that makes the options, for `useClass` and `useExisting`.
 *
 * @publicApi
 */
export interface DbContextOptionsFactory {
  createDbContextOptions(): DbContextModuleOptions | Promise<DbContextModuleOptions>;
}

/**
 * Options of `DbContextModule.forRootAsync()`: exactly one of `useFactory`, `useClass` and
 * `useExisting`.
 *
 * @publicApi
 */
export interface DbContextModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  /**
   * Names of the connections that the factory will return; providers are made for them before it
   * runs.
   * @defaultValue ['default']
   */
  readonly connectionNames?: readonly string[];
  /** What `useFactory` is called with. */
  readonly inject?: (InjectionToken | OptionalFactoryDependency)[];
  readonly useFactory?: (
    // Nest cannot know the types of what it injects.
    ...dependencies: never[]
  ) => DbContextModuleOptions | Promise<DbContextModuleOptions>;
  readonly useClass?: Type<DbContextOptionsFactory>;
  readonly useExisting?: InjectionToken<DbContextOptionsFactory>;
}
