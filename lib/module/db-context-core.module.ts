import {
  Inject,
  Module,
  RequestMethod,
  type BeforeApplicationShutdown,
  type DynamicModule,
  type MiddlewareConsumer,
  type NestInterceptor,
  type NestModule,
  type OnApplicationShutdown,
  type OnModuleInit,
  type Provider,
} from '@nestjs/common';
import { APP_INTERCEPTOR, ExternalContextCreator, ModulesContainer } from '@nestjs/core';

import { ContextHost } from '../context/context-host.js';
import { DbContext } from '../context/db-context.service.js';
import { DEFAULTS, type DbContextOptions } from '../db-context.options.js';
import { InvalidOptionsError } from '../errors.js';
import { DbContextInterceptor } from '../transport/db-context.interceptor.js';
import { DbContextMiddleware } from '../transport/db-context.middleware.js';
import {
  prependGlobalInterceptor,
  removeGlobalInterceptor,
} from '../transport/global-interceptor.js';
import { MiddlewareContexts } from '../transport/middleware-contexts.js';
import { DB_CONTEXT_OPTIONS } from '../transport/options-token.js';
import { MODULE_OPTIONS } from './internal-tokens.js';
import { logReporters } from './log-reporters.js';
import { checkRoutes } from './route-checks.js';

/** Holds the place of an interceptor where there is to be none, or where it stands elsewhere. */
const PASS_ON: NestInterceptor = { intercept: (_context, next) => next.handle() };

/** Everything of which an application has one. Global; `DbContextModule` is its public face. */
@Module({})
export class DbContextCoreModule
  implements NestModule, OnModuleInit, BeforeApplicationShutdown, OnApplicationShutdown
{
  readonly #host: ContextHost;
  readonly #options: DbContextOptions;
  readonly #contextCreator: ExternalContextCreator;
  readonly #modules: ModulesContainer;

  constructor(
    host: ContextHost,
    @Inject(DB_CONTEXT_OPTIONS) options: DbContextOptions,
    contextCreator: ExternalContextCreator,
    modules: ModulesContainer,
  ) {
    assertOnlyOne(modules);
    this.#host = host;
    this.#options = options;
    this.#contextCreator = contextCreator;
    this.#modules = modules;
  }

  /**
   * @param optionsProvider provides `MODULE_OPTIONS`
   * @param optionsProviders what it needs besides, and `imports`
   */
  static register(
    optionsProvider: Provider,
    connectionProviders: readonly Provider[],
    optionsProviders: readonly Provider[] = [],
    imports: NonNullable<DynamicModule['imports']> = [],
  ): DynamicModule {
    const connectionTokens = connectionProviders.map(tokenOf);
    return {
      module: DbContextCoreModule,
      global: true,
      imports,
      providers: [
        optionsProvider,
        ...optionsProviders,
        { provide: DB_CONTEXT_OPTIONS, useExisting: MODULE_OPTIONS },
        {
          provide: ContextHost,
          inject: [DB_CONTEXT_OPTIONS],
          useFactory: (options: DbContextOptions) => new ContextHost(logReporters, options),
        },
        {
          provide: DbContext,
          inject: [ContextHost],
          useFactory: (host: ContextHost) => new DbContext(host),
        },
        MiddlewareContexts,
        DbContextInterceptor,
        {
          provide: APP_INTERCEPTOR,
          inject: [DbContextInterceptor, DB_CONTEXT_OPTIONS, ExternalContextCreator],
          useFactory: (
            interceptor: DbContextInterceptor,
            { mount }: DbContextOptions,
            creator: ExternalContextCreator,
          ) =>
            mount === 'none' || prependGlobalInterceptor(creator, interceptor)
              ? PASS_ON
              : interceptor,
        },
        ...connectionProviders,
      ],
      exports: [
        ContextHost,
        DbContext,
        DB_CONTEXT_OPTIONS,
        MODULE_OPTIONS,
        MiddlewareContexts,
        DbContextInterceptor,
        ...connectionTokens,
      ],
    };
  }

  configure(consumer: MiddlewareConsumer): void {
    removeGlobalInterceptor(this.#contextCreator, PASS_ON);
    if (this.#options.mount === 'middleware') {
      consumer.apply(DbContextMiddleware).forRoutes({ path: '{*path}', method: RequestMethod.ALL });
    }
  }

  /** By now all modules have declared their connections. */
  onModuleInit(): void {
    checkRoutes(this.#modules);
  }

  /** While the server still answers: running contexts may end, new ones are refused (H3). */
  async beforeApplicationShutdown(): Promise<void> {
    await this.#host.drain(this.#options.shutdownTimeoutMs ?? DEFAULTS.shutdownTimeoutMs);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.#host.closeConnections();
  }
}

function assertOnlyOne(modules: ModulesContainer): void {
  const count = [...modules.values()].filter(
    ({ metatype }) => metatype === DbContextCoreModule,
  ).length;
  if (count > 1) {
    throw new InvalidOptionsError(
      'DbContextModule.forRoot() was imported twice. Import it once, in the AppModule, and declare ' +
        "further connections with DbContextModule.forFeature({ name: 'reports', ... }).",
    );
  }
}

function tokenOf(provider: Provider): string | symbol {
  return (provider as { readonly provide: string | symbol }).provide;
}
