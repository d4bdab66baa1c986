import {
  Inject,
  Logger,
  Module,
  type DynamicModule,
  type NestModule,
  type Type,
} from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost, ModulesContainer } from '@nestjs/core';

import { applicationRoutes } from './application-routes.js';
import { routeCollisions } from './route-collisions.js';

/** Where the page is, and the controller that serves it. */
interface CheckedPage {
  readonly path: string;
  readonly controller: Type;
}

const CHECKED_PAGE = Symbol('nestjs-db-context:inspector-checked-page');

/** Looks for routes of the application that stand in the way of the page, or in whose way the page stands. */
@Module({})
export class RouteCheckModule implements NestModule {
  readonly #page: CheckedPage;
  readonly #modules: ModulesContainer;
  readonly #config: ApplicationConfig;
  readonly #host: HttpAdapterHost;

  constructor(
    @Inject(CHECKED_PAGE) page: CheckedPage,
    modules: ModulesContainer,
    config: ApplicationConfig,
    host: HttpAdapterHost,
  ) {
    this.#page = page;
    this.#modules = modules;
    this.#config = config;
    this.#host = host;
  }

  static of(page: CheckedPage): DynamicModule {
    return { module: RouteCheckModule, providers: [{ provide: CHECKED_PAGE, useValue: page }] };
  }

  /**
   * Nest calls it before it hands the routes to the server, which may refuse them with an error of its own.
   *
   * @throws {@link InvalidOptionsError} the application has routes at or below the path of the page
   */
  configure(): void {
    const { path, controller } = this.#page;
    const routes = applicationRoutes(this.#modules, this.#config);
    const own = routes.findIndex((route) => route.controller === controller);
    const isForeign = (route: { readonly controller: Type }): boolean =>
      route.controller !== controller;
    const around = {
      before: routes.slice(0, own),
      after: routes.slice(own).filter(isForeign),
    };
    const isByOrder = this.#host.httpAdapter.getType() === 'express';
    const logger = new Logger('DbContextInspectorModule');
    routeCollisions(path, around, isByOrder).forEach((warning) => logger.warn(warning));
  }
}
