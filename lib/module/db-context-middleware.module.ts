import {
  Global,
  Inject,
  Module,
  RequestMethod,
  type MiddlewareConsumer,
  type NestModule,
} from '@nestjs/common';
import { ExternalContextCreator } from '@nestjs/core';

import type { DbContextOptions } from '../options/context-options.js';
import { DB_CONTEXT_OPTIONS } from '../options/options-token.js';
import { DbContextMiddleware } from '../transport/db-context.middleware.js';
import { PASS_ON, removeGlobalInterceptor } from '../transport/global-interceptor.js';

/**
 * Mounts the middleware, where the application wants it (`mount: 'middleware'`). Nest runs the middleware of
 * global modules before that of others. `DbContextCoreModule` is no place for it, as its distance is another
 * one for the sake of its shutdown hooks.
 */
@Global()
@Module({})
export class DbContextMiddlewareModule implements NestModule {
  readonly #options: DbContextOptions;
  readonly #contextCreator: ExternalContextCreator;

  constructor(
    @Inject(DB_CONTEXT_OPTIONS) options: DbContextOptions,
    contextCreator: ExternalContextCreator,
  ) {
    this.#options = options;
    this.#contextCreator = contextCreator;
  }

  configure(consumer: MiddlewareConsumer): void {
    removeGlobalInterceptor(this.#contextCreator, PASS_ON);
    if (this.#options.mount === 'middleware') {
      consumer.apply(DbContextMiddleware).forRoutes({ path: '{*path}', method: RequestMethod.ALL });
    }
  }
}
