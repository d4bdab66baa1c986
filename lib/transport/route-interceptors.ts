import { Injectable, type NestInterceptor } from '@nestjs/common';
import { ApplicationConfig } from '@nestjs/core';

import { PASS_ON } from './global-interceptor.js';
import type { RouteSettings } from './route-settings.js';

// Nest's own metadata key; `test/e2e/nest-surface.spec.ts` fails when an upgrade changes it.
export const INTERCEPTORS_METADATA = '__interceptors__';

/** An interceptor as a route names it: a class, or an object. */
export type NamedInterceptor =
  | NestInterceptor
  | (abstract new (...args: never[]) => NestInterceptor);

/** Knows which interceptors Nest runs inside of ours. They do not change once requests are served. */
@Injectable()
export class RouteInterceptors {
  readonly #config: ApplicationConfig;
  readonly #known = new WeakMap<RouteSettings, readonly NamedInterceptor[]>();

  constructor(config: ApplicationConfig) {
    this.#config = config;
  }

  /**
   * The interceptors of a route that see the value of its handler before `outermost` does.
   *
   * @param outermost an interceptor, which the route may also name by its class
   */
  inside(outermost: NestInterceptor, route: RouteSettings): readonly NamedInterceptor[] {
    let known = this.#known.get(route);
    if (known === undefined) {
      const all = this.#all(route);
      const place = all.findIndex((each) => each === outermost || each === outermost.constructor);
      // A second one of the same class only joins.
      known = all
        .slice(place + 1)
        .filter((each) => each !== PASS_ON && each !== outermost.constructor);
      this.#known.set(route, known);
    }
    return known;
  }

  #all({ handler, owner }: RouteSettings): readonly NamedInterceptor[] {
    const scoped = this.#config.getGlobalRequestInterceptors().map(({ metatype }) => metatype);
    const own = [owner, handler].flatMap(
      (target) => Reflect.getMetadata(INTERCEPTORS_METADATA, target) ?? [],
    ) as readonly NamedInterceptor[];
    return [
      ...this.#config.getGlobalInterceptors(),
      ...(scoped as unknown as readonly NamedInterceptor[]),
      ...own,
    ];
  }
}
