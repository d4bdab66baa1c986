import {
  Inject,
  Module,
  type BeforeApplicationShutdown,
  type DynamicModule,
  type OnApplicationShutdown,
  type OnModuleInit,
  type Provider,
} from '@nestjs/common';
import {
  APP_INTERCEPTOR,
  ExternalContextCreator,
  HttpAdapterHost,
  ModulesContainer,
} from '@nestjs/core';

import { ContextRegistry } from '../context/context-registry.js';
import { DbContext } from '../context/db-context.service.js';
import { InvalidOptionsError } from '../errors.js';
import type { DbContextOptions } from '../options/context-options.js';
import { DEFAULTS } from '../options/defaults.js';
import { DB_CONTEXT_OPTIONS } from '../options/options-token.js';
import { AfterCommitInterceptors } from '../transport/after-commit-interceptors.js';
import { DbContextInterceptor } from '../transport/db-context.interceptor.js';
import { PASS_ON, prependGlobalInterceptor } from '../transport/global-interceptor.js';
import { watchHandlers } from '../transport/handler-calls.js';
import { shortenChain } from '../transport/interceptor-chain.js';
import { MiddlewareContexts } from '../transport/middleware-contexts.js';
import { RouteLog } from '../transport/route-log.js';
import { RouteInterceptors } from '../transport/route-interceptors.js';
import { DbContextMiddlewareModule } from './db-context-middleware.module.js';
import { logReporters } from './log-reporters.js';
import { checkRoutes } from './route-checks.js';

/**
 * Provides everything of which an application has exactly one. It is global, and imported by
 * `DbContextModule` alone.
 */
@Module({})
export class DbContextCoreModule
  implements OnModuleInit, BeforeApplicationShutdown, OnApplicationShutdown
{
  readonly #registry: ContextRegistry;
  readonly #options: DbContextOptions;
  readonly #modules: ModulesContainer;
  readonly #afterCommit: AfterCommitInterceptors;

  constructor(
    registry: ContextRegistry,
    @Inject(DB_CONTEXT_OPTIONS) options: DbContextOptions,
    modules: ModulesContainer,
    adapterHost: HttpAdapterHost,
    afterCommit: AfterCommitInterceptors,
  ) {
    assertOnlyOne(modules);
    watchHandlers(modules);
    endLast(modules);
    registry.isServing = () => adapterHost.listening;
    this.#registry = registry;
    this.#options = options;
    this.#modules = modules;
    this.#afterCommit = afterCommit;
  }

  /**
   * @param optionsProvider provides `DB_CONTEXT_OPTIONS`
   * @param optionsProviders further providers that `optionsProvider` needs, besides those of `imports`
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
      imports: [...imports, DbContextMiddlewareModule],
      providers: [
        optionsProvider,
        ...optionsProviders,
        {
          provide: ContextRegistry,
          inject: [DB_CONTEXT_OPTIONS],
          useFactory: (options: DbContextOptions) => new ContextRegistry(logReporters, options),
        },
        {
          provide: DbContext,
          inject: [ContextRegistry],
          useFactory: (registry: ContextRegistry) => new DbContext(registry),
        },
        RouteLog,
        MiddlewareContexts,
        RouteInterceptors,
        AfterCommitInterceptors,
        DbContextInterceptor,
        {
          provide: APP_INTERCEPTOR,
          inject: [DbContextInterceptor, DB_CONTEXT_OPTIONS, ExternalContextCreator],
          useFactory: (
            interceptor: DbContextInterceptor,
            { mount }: DbContextOptions,
            creator: ExternalContextCreator,
          ) => {
            shortenChain(creator);
            return mount === 'none' || prependGlobalInterceptor(creator, interceptor)
              ? PASS_ON
              : interceptor;
          },
        },
        ...connectionProviders,
      ],
      exports: [
        ContextRegistry,
        DbContext,
        DB_CONTEXT_OPTIONS,
        RouteLog,
        MiddlewareContexts,
        RouteInterceptors,
        AfterCommitInterceptors,
        DbContextInterceptor,
        ...connectionTokens,
      ],
    };
  }

  /** Checks the routes in this hook, since all modules have declared their connections by then. */
  async onModuleInit(): Promise<void> {
    checkRoutes(this.#modules);
    await this.#afterCommit.create();
  }

  /** Lets requests and messages end while the servers still answer, and refuses new requests (H3). */
  async beforeApplicationShutdown(): Promise<void> {
    await this.#registry.shutdown.drain(this.#shutdownTimeoutMs);
  }

  /** Closes the pools when every other module has closed its consumers in this hook. */
  async onApplicationShutdown(): Promise<void> {
    await this.#registry.shutdown.close(this.#shutdownTimeoutMs);
    await this.#registry.connections.close();
  }

  get #shutdownTimeoutMs(): number {
    return this.#options.shutdownTimeoutMs ?? DEFAULTS.shutdownTimeoutMs;
  }
}

/**
 * Makes Nest call the shutdown hooks of this module after those of all others: it calls them in the order
 * of the distance from the AppModule, and those of global modules last, in the order of the imports.
 * Workers of queues close in such a hook of a global module, and need the pools until then.
 *
 * `test/e2e/nest-surface.spec.ts` fails when an upgrade of Nest sorts otherwise.
 */
function endLast(modules: ModulesContainer): void {
  for (const each of modules.values()) {
    if (each.metatype === DbContextCoreModule) {
      each.distance = Infinity;
    }
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
