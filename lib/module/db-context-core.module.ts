import {
  Inject,
  Module,
  RequestMethod,
  type BeforeApplicationShutdown,
  type DynamicModule,
  type MiddlewareConsumer,
  type NestModule,
  type OnApplicationShutdown,
  type Provider,
} from '@nestjs/common';
import { APP_INTERCEPTOR, ExternalContextCreator, ModulesContainer } from '@nestjs/core';

import { ContextHost } from '../context/context-host.js';
import { DbContext } from '../context/db-context.service.js';
import { DEFAULTS, type DbContextOptions } from '../db-context.options.js';
import { InvalidOptionsError } from '../errors.js';
import { DbContextInterceptor } from '../transport/db-context.interceptor.js';
import { DbContextMiddleware } from '../transport/db-context.middleware.js';
import { DB_CONTEXT_OPTIONS } from '../transport/options-token.js';
import { MiddlewareContexts } from '../transport/middleware-contexts.js';
import { moveOutermost } from '../transport/outermost.js';
import { reportFault } from './fault-report.js';
import { MODULE_OPTIONS } from './internal-tokens.js';

/** Everything of which an application has one. Global; `DbContextModule` is its public face. */
@Module({})
export class DbContextCoreModule
  implements NestModule, BeforeApplicationShutdown, OnApplicationShutdown
{
  readonly #host: ContextHost;
  readonly #options: DbContextOptions;
  readonly #contextCreator: ExternalContextCreator;

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
          useFactory: (options: DbContextOptions) => new ContextHost(reportFault, options),
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
          inject: [DbContextInterceptor, DB_CONTEXT_OPTIONS],
          useFactory: (interceptor: DbContextInterceptor, options: DbContextOptions) =>
            options.mount === 'none' ? { intercept: passOn } : interceptor,
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
    moveOutermost(
      this.#contextCreator,
      (interceptor) => interceptor instanceof DbContextInterceptor,
    );
    if (this.#options.mount === 'middleware') {
      consumer.apply(DbContextMiddleware).forRoutes({ path: '{*path}', method: RequestMethod.ALL });
    }
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

function passOn(_context: unknown, next: { handle(): unknown }): unknown {
  return next.handle();
}

function tokenOf(provider: Provider): string | symbol {
  return (provider as { readonly provide: string | symbol }).provide;
}
