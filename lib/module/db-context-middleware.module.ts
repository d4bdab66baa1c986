import {
  Global,
  Inject,
  Module,
  RequestMethod,
  type MiddlewareConsumer,
  type NestModule,
} from '@nestjs/common';
import { ExternalContextCreator, HttpAdapterHost } from '@nestjs/core';

import type { DbContextOptions } from '../options/context-options.js';
import { DB_CONTEXT_OPTIONS } from '../options/options-token.js';
import { DbContextMiddleware } from '../transport/db-context.middleware.js';
import { enterFromPlatform } from '../transport/platform-entry.js';
import { PASS_ON, removeGlobalInterceptor } from '../transport/global-interceptor.js';

/**
 * Mounts the middleware, where the application wants it (`mount: 'middleware'`). Nest runs the middleware of
 * global modules before that of others. `DbContextCoreModule` is no place for it, as its distance is another
 * one for the sake of its shutdown hooks.
 */
@Global()
@Module({ providers: [DbContextMiddleware] })
export class DbContextMiddlewareModule implements NestModule {
  readonly #options: DbContextOptions;
  readonly #contextCreator: ExternalContextCreator;
  readonly #adapterHost: HttpAdapterHost;
  readonly #middleware: DbContextMiddleware;

  constructor(
    @Inject(DB_CONTEXT_OPTIONS) options: DbContextOptions,
    contextCreator: ExternalContextCreator,
    adapterHost: HttpAdapterHost,
    middleware: DbContextMiddleware,
  ) {
    this.#options = options;
    this.#contextCreator = contextCreator;
    this.#adapterHost = adapterHost;
    this.#middleware = middleware;
  }

  configure(consumer: MiddlewareConsumer): void {
    removeGlobalInterceptor(this.#contextCreator, PASS_ON);
    const { httpAdapter } = this.#adapterHost;
    if (this.#options.mount === 'middleware' && !enterFromPlatform(httpAdapter, this.#middleware)) {
      consumer.apply(DbContextMiddleware).forRoutes({ path: '{*path}', method: RequestMethod.ALL });
    }
  }
}
