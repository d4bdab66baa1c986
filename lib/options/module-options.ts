import type {
  InjectionToken,
  ModuleMetadata,
  OptionalFactoryDependency,
  Type,
} from '@nestjs/common';

import type { DbConnectionOptions } from './connection-options.js';
import type { DbContextOptions } from './context-options.js';

/**
 * Options of `DbContextModule.forRoot()`.
 *
 * @publicApi
 */
export interface DbContextModuleOptions extends DbContextOptions {
  /** The named databases. The list may be empty where `forFeature()` declares all of them. */
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
export type DbContextModuleAsyncOptions = Pick<ModuleMetadata, 'imports'> & {
  /**
   * Names of the connections that the factory will return; providers are made for them before it
   * runs.
   * @defaultValue ['default']
   */
  readonly connectionNames?: readonly string[];
} & (
    | {
        /** A function that makes the options. */
        readonly useFactory: (
          // The types of the dependencies are unknown here: `inject` names them by tokens.
          ...dependencies: never[]
        ) => DbContextModuleOptions | Promise<DbContextModuleOptions>;
        /** The tokens of the arguments that `useFactory` is called with. */
        readonly inject?: (InjectionToken | OptionalFactoryDependency)[];
        readonly useClass?: never;
        readonly useExisting?: never;
      }
    | {
        /** A class that makes the options; Nest makes an instance of it for this module. */
        readonly useClass: Type<DbContextOptionsFactory>;
        readonly inject?: never;
        readonly useFactory?: never;
        readonly useExisting?: never;
      }
    | {
        /** The token of a provider of the application that makes the options. */
        readonly useExisting: InjectionToken<DbContextOptionsFactory>;
        readonly inject?: never;
        readonly useFactory?: never;
        readonly useClass?: never;
      }
  );
